"""Any text that samples, concepts and columns may have reaches every file, and a writer that fails costs no other's."""

import csv
import errno
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sciinterp as si
from sciinterp.association import files as association_files
from sciinterp.codes.exports import plain_text
from sciinterp.discovery import read_candidates
from sciinterp.errors import InputError, StoreError
from sciinterp.project import load_run, write_browser
from sciinterp.store import ledger
from sciinterp.store.atomic import make_folder, require_place, write_each
from sciinterp.store.split_file import read_split
from sciinterp.zoo import _cell

# As identifiers, as concepts and as columns: of file systems, HDF5, spreadsheets, mathematics, markup and other scripts.
NAMES = [
    "a/b", "a\\b", "nul\0x", "🧬", "\u202eRTL\u202c", "שלום", "x" * 3000, "index", "_index", "__categories", "=1+1", "+A",
    "@x", "-", "-3", "tab\tx", "line\nx", "cr\rx", 'quote"x', "'q", "a,b", "Case", "case", "007", "1.10", "NA", "nan",
    "None", "null", "  blanks  ", "..", ".", "con", "a|b", "a:b", "a*b?", "%41", "<b>&amp;", "$x_1$", "\\frac", "a\u2028b",
    "\ufeffmark", "\u00e9", "e\u0301", "True", "1e5", "#c", ";c", "inf", "a b", "a_b",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Samples and concepts of all these names, associated: the folder, and what went in."""
    rng = np.random.default_rng(0)
    letters = ["".join(rng.choice(list("ACDEFGHIKL"), 20)) for _ in NAMES]
    columns = {name: [f"v{i % 5}" for i in range(len(NAMES))] for name in NAMES}
    table = pd.DataFrame({**columns, "n_positions": 1, "family": [f"f{i % 17}" for i in range(len(NAMES))]})
    samples = si.Samples(NAMES, letters, table=table)
    rows = [
        (name, (3 * m + k) % 17, (3 * m + k) % 17 + 2, concept, concept[:9], concept[:20])
        for k, name in enumerate(NAMES)
        for m, concept in enumerate(NAMES)
        if (k + m) % 3 == 0
    ]
    rows += [(name, -1, -1, NAMES[k % 5], "whole", "=2") for k, name in enumerate(NAMES)]
    notes = si.Annotations(
        pd.DataFrame(rows, columns=["sample", "start", "end", "concept", "source", "note"])
    )
    dense = rng.gamma(2, 0.6, (samples.n_positions, 6)) * (rng.random((samples.n_positions, 6)) < 0.2)
    out = tmp_path_factory.mktemp("odd") / "run"
    features = si.FeatureMatrix(sp.csr_array(dense.astype(np.float32)), samples)
    features.save(out / "features")
    split = si.split_families(samples, by="family", seed=0)
    hits = si.associate(features, notes, split=split, out=out)
    si.discover(features, notes, hits, split=split, out=out)
    return out, samples, notes, features, split, hits


def test_every_name_comes_back_from_every_table(world):
    out, samples, notes, _, split, hits = world
    assert si.load_features(out / "features").samples.ids == samples.ids
    back = si.read_hits(out)
    assert back["concept"].tolist() == hits["concept"].tolist()
    assert set(back["concept"]) | set(hits.context["not_tested"]) == set(NAMES)
    read = si.read_annotations(out / "annotations.tsv")
    assert read.counts["dropped"] == {}
    pd.testing.assert_frame_equal(read.frame, notes.frame)
    assert set(read.names) == set(notes.names)
    assert (read_split(out / "split.tsv", samples).family == split.family).all()
    assert len(read_candidates(out)) == len(pd.read_csv(out / "candidates.tsv", sep="\t"))
    made = load_run(out)
    assert write_browser(made).is_file(), "the folder belongs together as it was read back"


def test_every_name_reaches_anndata(world):
    out, samples, *_, hits = world
    found = anndata.read_h5ad(out / "samples.h5ad")
    assert found.obs_names.tolist() == [plain_text(name) for name in samples.ids]
    assert len(found.obs.columns) == len(samples.table.columns) + 1
    var = anndata.read_h5ad(out / "features.h5ad").var
    assert var["concept"].tolist() == [plain_text(c) for c in hits.loc[hits["selected"], "concept"]]


def test_no_two_names_become_one_in_tracks(world, tmp_path):
    _, samples, _, features, *_ = world
    si.tracks(features, [1], out=tmp_path)
    rows = (tmp_path / "feature_1.bedgraph").read_text().split("\n")[1:-1]
    assert {len(row.split("\t")) for row in rows} == {4}
    active = features.max_per_sample()[:, [1]].toarray() > 0
    assert len({row.split("\t")[0] for row in rows}) == active.sum()
    named = [
        line.split()[1]
        for line in (tmp_path / "peaks.gff3").read_text().split("\n")
        if line.startswith("##seq")
    ]
    assert len(set(named)) == len(samples)


def test_a_card_holds_any_name_in_one_cell():
    for name in NAMES:
        row = f"| {_cell(name)} | 1 |"
        assert "\n" not in row and len(next(csv.reader([row.replace("\\|", "")], delimiter="|"))) == 4


def test_a_sample_without_a_name_is_refused():
    with pytest.raises(InputError, match="without an identifier"):
        si.Samples(["a", ""], ["MKV", "MKL"])


@pytest.mark.parametrize("name", ["hits.tsv", "annotations.tsv"])
def test_a_writer_that_fails_costs_no_other_file(world, name, tmp_path, monkeypatch):
    *_, notes, features, split, hits = world[1:]
    for function in ("write_tsv", "write_json"):
        real = getattr(association_files, function)

        def write(value, place, *more, real=real):
            path = next(p for p in (value, place) if isinstance(p, Path))
            if path.name == name:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(value, place, *more)

        monkeypatch.setattr(association_files, function, write)
    if name == "annotations.tsv":
        monkeypatch.setattr(si.Annotations, "write", lambda *_: 1 / 0)
    with pytest.raises(StoreError, match=rf"1 of \d+ files could not be written.*{name}") as error:
        association_files.write_association(tmp_path, hits, features, notes, split=split)
    assert error.value.computed is hits and "\n" not in str(error.value)
    assert not (tmp_path / name).exists()
    written = {p.name for p in tmp_path.iterdir()} | {name}
    assert {
        "hits.tsv",
        "hits.parquet",
        "split.tsv",
        "samples.h5ad",
        "features.h5ad",
        "annotations.tsv",
    } <= written


def test_what_was_computed_is_in_the_error_where_nothing_can_be_written(tmp_path):
    with pytest.raises(StoreError, match=r"\.computed") as error:
        write_each(tmp_path, {"a": lambda: 1 / 0, "b": lambda: [][0]}, computed="all of it")
    assert error.value.computed == "all of it"


@pytest.mark.parametrize("stage", ledger.STAGES)
def test_a_place_that_cannot_be_written_is_said_before_work(stage, tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("n" * 300)):
        with pytest.raises(StoreError) as error, ledger.recorded(stage, place):
            raise AssertionError("work began")
        assert "\n" not in str(error.value)
    for ask in (require_place, make_folder):
        with pytest.raises(StoreError, match=r"begins with '~'.*expanduser"):
            ask("~/runs/a")
    require_place(tmp_path / "new" / "deep")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
