"""One record is a baseline, one place says what is explained, and every file is written whatever its neighbours do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp.annotations import Annotations
from sciinterp.association import (
    AssociationSettings,
    associate,
    files,
    read_hits,
    write_association,
    write_h5ad,
    write_hits,
)
from sciinterp.association import baselines as registry
from sciinterp.association import explanations as ex
from sciinterp.association.fitting import Fitted, Inputs, everything
from sciinterp.association.hits import columns
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import StoreError
from sciinterp.plots.concepts import baseline_kind, best_of_kinds
from sciinterp.plots.style import COLOURS
from sciinterp.provenance import HELD_OUT_FAMILIES
from sciinterp.report.content import concept_rows, controls
from sciinterp.report.methods import what_is
from sciinterp.report.prose import statements
from sciinterp.samples import Samples
from sciinterp.splits import split_families

FEW = AssociationSettings(folds=1)


def small(names=("first", "letter A"), *, n=60, seed=0, table=None):
    """60 samples in 30 families; the last third of families carries a rare concept, which training does not."""
    rng = np.random.default_rng(seed)
    sequences = ["".join(rng.choice(list("ACDEFGHIKL"), 30)) for _ in range(n)]
    frame = pd.DataFrame({"family": [f"f{i // 2}" for i in range(n)], **(table or {})})
    samples = Samples([f"s{i}" for i in range(n)], sequences, table=frame)
    rows = [(f"s{i}", 0, 5, names[0]) for i in range(n)]
    rows += [(f"s{i}", p, p + 1, names[1]) for i, s in enumerate(sequences) for p in range(30) if s[p] == "A"]
    codes = np.zeros((30 * n, 4), np.float32)
    codes[:, 0] = np.tile(np.r_[np.ones(5), np.zeros(25)], n)
    codes[:, 1] = [letter == "A" for letter in "".join(sequences)]
    codes[:, 2] = rng.random(30 * n) < 0.1
    annotations = Annotations(pd.DataFrame(rows, columns=["sample", "start", "end", "concept"]))
    return FeatureMatrix(codes, samples), annotations, split_families(samples, by="family", seed=0)


def test_a_new_baseline_is_one_record(monkeypatch):
    """Hits, verdict, figure, report and methods know it, and no file but the record's was touched."""

    def all_of_it(inputs: Inputs) -> Fitted:
        perfect = everything(inputs).counts
        counts = type(perfect)(perfect.positive, perfect.positive, perfect.positive)
        return Fitted(np.ones(len(perfect.tp)), counts, ["told"] * len(perfect.tp))

    toy = registry.Baseline("oracle", all_of_it, "an oracle", "a reader of reach {reach}", "PURPLE", "8")
    lazy = registry.Baseline("far", all_of_it, "letters", "a far one", "SKY", "9", ("control",), ceiling=True)
    monkeypatch.setattr(registry, "BASELINES", (*registry.BASELINES, toy, lazy))
    features, annotations, split = small()
    hits = associate(features, annotations, split=split, settings=FEW)
    table = hits.context["baselines"].set_index(["baseline", "concept"])
    assert table.loc[("oracle", "first"), "f1"] == 1
    assert table.loc[("oracle", "first"), "detail"] == "told"
    assert hits.context["not_run"]["far"] == registry.NEEDS["control"][1]
    assert {"far_f1", "far_delta_low"} <= set(hits.columns) == set(columns())
    chosen = hits[hits["selected"]].set_index("concept")
    assert chosen.loc["first", "explained_by"] == "position"  # simpler than an oracle, and as good
    rows, used = concept_rows(hits)
    assert {"name": "oracle", "kind": "other"} in used or {"name": "oracle", "kind": "an oracle"} in used
    run = controls(hits, None, rows, used)["run"]
    assert next(r for r in run if r["name"] == "oracle")["counted"]
    assert baseline_kind("oracle") == ("an oracle", COLOURS["PURPLE"], "8")
    assert "an oracle" in best_of_kinds(pd.DataFrame({"oracle": [1.0]}))
    assert what_is("oracle", {"baselines": {"reach": 7}}) == "a reader of reach 7"
    assert ex.kind("an oracle").verdict == "an oracle does as well"


def test_every_record_is_whole():
    names = [record.name for record in registry.BASELINES]
    assert len(set(names)) == len(names)
    for record in registry.BASELINES:
        assert record.explains in {kind.name for kind in ex.KINDS}
        assert record.colour in COLOURS
        assert set(record.needs) <= set(registry.NEEDS)
        assert registry.describe(record.name).strip()
        assert "{" not in registry.describe(record.name)
    ceilings = [record.ceiling for record in registry.BASELINES]
    assert ceilings == sorted(ceilings), "counted ones first"
    assert registry.find("no such") is None
    assert registry.describe("no such") == ""


NAN = np.nan
CASES = [  # F1 of the feature, lower end of its lead, best rival by kind -> word
    (0.9, 0.1, {"position": 0.6}, ex.ABOVE),
    (0.9, 0.0, {"position": 0.6}, ex.UNCLEAR),
    (0.5, -0.1, {"position": 0.5, "letters": 0.9}, "position"),
    (0.5, -0.1, {"probe": 0.9, "neuron": 0.6}, "neuron"),
    (0.2, -0.1, {"position": 0.25}, ex.NOT_FOUND),
    (0.1, 0.05, {"position": 0.01}, ex.ABOVE),
    (0.1, -0.1, {"position": 0.31}, "position"),
    (0.5, -0.1, {"something new": 0.6}, "something new"),
    (0.5, -0.1, {"something new": 0.6, "probe": 0.6}, "probe"),
    (0.5, -0.1, {"position": NAN}, ex.UNCLEAR),
    (0.5, NAN, {"position": 0.6}, ex.TOO_FEW),
    (0.1, NAN, {}, ex.TOO_FEW),
    (NAN, NAN, {"position": 0.9}, ex.NOT_TESTED),
    (NAN, 0.3, {}, ex.NOT_TESTED),
]


@pytest.mark.parametrize(("f1", "low", "rivals", "word"), CASES)
def test_what_is_said_of_a_concept(f1, low, rivals, word):
    given = {kind: np.array([value]) for kind, value in rivals.items()}
    assert ex.explained_by(np.array([f1]), np.array([low]), given).tolist() == [word]


def test_every_word_has_a_sentence_and_is_in_the_legend():
    said = {kind.name or "above" for kind in ex.verdicts()}
    rows = [{"concept": f"c{i}", "verdict": word} for i, word in enumerate(sorted(said))]
    spoken = statements(rows, HELD_OUT_FAMILIES)
    assert {s["verdict"] for s in spoken} == said
    assert all(s["says"].endswith(".") for s in spoken)
    for word in (ex.shown(ex.ABOVE), ex.UNCLEAR, ex.NOT_FOUND, ex.TOO_FEW, ex.NOT_TESTED):
        assert f"'{word}'" in ex.legend()
    assert f"{ex.THRESHOLDS.floor:g}" in ex.legend()


def test_a_concept_without_a_held_out_positive_is_not_tested_anywhere(tmp_path):
    features, annotations, split = small()
    train = {features.samples.ids[i] for i in split.train}
    frame = annotations.frame
    kept = frame[(frame["concept"] == "first") | frame["sample"].isin(train)]
    hits = associate(features, Annotations(kept), split=split, settings=FEW)
    lost = hits[hits["concept"] == "letter A"]
    assert len(lost)
    assert (lost["n_positive"] == 0).all()
    assert set(lost["explained_by"]) == {ex.NOT_TESTED}
    write_hits(hits, tmp_path)
    assert set(read_hits(tmp_path).query("concept == 'letter A'")["explained_by"]) == {ex.NOT_TESTED}
    rows, _ = concept_rows(hits)
    assert {r["concept"]: r["verdict"] for r in rows}["letter A"] == ex.NOT_TESTED
    ax = si.pl.concepts_vs_baselines(hits)
    assert ex.NOT_TESTED in [text.get_text() for text in ax.texts]


HOSTILE = (
    ("a/b", "a|b"),
    ("_index", "n_positions"),
    ("feature", "=SUM(A1)"),
    ("x\0y", "nan"),
    ("é\u2028", "."),
)


@pytest.mark.parametrize("names", HOSTILE, ids=[repr(n) for n in HOSTILE])
def test_any_name_reaches_every_file(names, tmp_path):
    anndata = pytest.importorskip("anndata", reason="AnnData files")
    columns_of_samples = {"a/b": "u", "a|b": "v\0", "n_positions": 1, "_index": 2, "sample_id": "z"}
    features, annotations, split = small(names, table=columns_of_samples)
    hits = associate(features, annotations, split=split, settings=FEW, out=tmp_path)
    back = read_hits(tmp_path)
    assert set(back["concept"]) == set(names)
    pd.testing.assert_frame_equal(pd.DataFrame(back), pd.DataFrame(hits), check_dtype=False)
    pd.testing.assert_frame_equal(
        back.context["baselines"], hits.context["baselines"], check_dtype=False, check_exact=False
    )
    by_feature, by_sample = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("features", "samples"))
    assert by_feature.n_vars == 2
    assert by_feature.var_names.is_unique
    assert by_sample.obs.columns.is_unique
    assert set(by_sample.obs["n_positions"]) == {30}
    for figure in (si.pl.concepts_vs_baselines, si.pl.heatmap, si.pl.concept_counts):
        figure(back).figure.canvas.draw()


def test_nothing_is_lost_to_a_writer_that_fails(tmp_path, monkeypatch):
    features, annotations, split = small()
    hits = associate(features, annotations, split=split, settings=FEW)

    def broken(*given, **named):
        raise ValueError("no room\nleft")

    for name in ("write_parquet", "write_features"):
        monkeypatch.setattr(files, name, broken)
    with pytest.raises(StoreError, match=r"2 of \d+ files") as caught:
        write_association(tmp_path, hits, features, annotations, split=split)
    assert "hits.parquet (no room left); features.h5ad" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    written = {path.name for path in tmp_path.iterdir()}
    assert {"hits.tsv", "hits.baselines.tsv", "hits.context.json", "annotations.tsv", "split.tsv"} <= written
    assert "samples.h5ad" in written
    assert not {"hits.parquet", "features.h5ad"} & written
    assert len(read_hits(tmp_path)) == len(hits)


def test_hits_are_a_plain_table_and_a_missing_part_is_said(tmp_path):
    features, annotations, split = small()
    hits = associate(features, annotations, split=split, settings=FEW, out=tmp_path)
    plain = {
        "baselines",
        "sets",
        "not_run",
        "not_tested",
        "counts",
        "caveats",
        "belongs",
        "held_out",
        "settings",
    }
    assert set(hits.context) == set(read_hits(tmp_path).context) == plain
    for name in ("hits.context.json", "hits.baselines.tsv", "hits.tsv"):
        (tmp_path / name).rename(tmp_path / "away")
        with pytest.raises(StoreError, match=name):
            read_hits(tmp_path)
        (tmp_path / "away").rename(tmp_path / name)
    write_h5ad(features, hits, tmp_path / "again")
    with pytest.warns(DeprecationWarning, match="compare_shifts"):
        assert si.association.localise is si.association.compare_shifts  # type: ignore[attr-defined]
