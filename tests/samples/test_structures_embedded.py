"""The embedded structures: what SOURCES.md says of them is true, and annotations are those of the coordinates."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

import sciinterp as si
from sciinterp.annotations.backbone_motifs import annotate_backbones
from sciinterp.readers.backbones import places_of

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def samples():
    return si.read_samples(DATA / "structures.tsv.gz", table=DATA / "structures.samples.tsv")


@pytest.fixture(scope="module")
def annotations():
    return si.read_annotations(DATA / "structures.annotations.tsv.gz")


def test_files_are_those_that_sources_names() -> None:
    said = dict(re.findall(r"`(structures\.\S+)` \| [\d,]+ \| `(\w{64})`", (DATA / "SOURCES.md").read_text()))
    assert len(said) == 5
    for name, digest in said.items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == digest
    assert sum((DATA / name).stat().st_size for name in said) < 12e6


def test_counts_are_those_of_sources(samples) -> None:
    assert (len(samples), samples.n_positions, samples.table["family"].nunique()) == (360, 80_272, 116)
    whole = samples.table.groupby("complex")["family"].nunique()
    assert (whole == 1).all()
    places = places_of(samples[0].data)
    bond = np.linalg.norm(places[:, 1] - places[:, 0], axis=1)
    assert (np.abs(np.nanmedian(bond) - 1.46) < 0.02).all()


def test_annotations_are_those_of_the_coordinates(samples, annotations) -> None:
    some = samples.subset([3, 120, 300])
    again = annotate_backbones(some, release="BM5-clean").frame
    kept = annotations.frame
    kept = kept[kept["sample"].isin(some.ids) & (kept["source"] == "backbone")]
    columns = ["sample", "concept", "start", "end"]
    assert (
        again[columns].sort_values(columns).values.tolist()
        == kept[columns].sort_values(columns).values.tolist()
    )


def test_every_annotation_fits_its_structure(samples, annotations) -> None:
    frame = annotations.frame
    length = frame["sample"].map(dict(zip(samples.ids, samples.lengths)))
    assert ((frame["start"] >= 0) & (frame["start"] < frame["end"]) & (frame["end"] <= length)).all()
    letters = {s.id: s.sequence for s in samples}
    bridge = frame[frame["concept"] == "disulfide"]
    assert {letters[s][a] for s, a in zip(bridge["sample"], bridge["start"])} == {"C"}
    assert len(annotations.coverage["interface"]) == 348
    caps = frame[frame["concept"] == "capping box"]
    starts = set(map(tuple, frame[frame["concept"] == "helix:N-cap"][["sample", "start"]].to_numpy()))
    assert set(map(tuple, caps[["sample", "start"]].to_numpy())) <= starts
