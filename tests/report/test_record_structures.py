"""Samples that are records of backbones have a structure in the browser without any file."""

from pathlib import Path

import numpy as np
import scipy.sparse as sp

import sciinterp as si
from sciinterp.readers.backbones import pack
from sciinterp.report import pictures
from sciinterp.report.pictures import portraits
from sciinterp.report.viewer import record_structure


def test_a_record_is_its_alpha_carbons_chain_by_chain() -> None:
    places = np.random.default_rng(0).normal(0, 9, (7, 4, 3))
    places[2, 1] = np.nan
    record = {
        "sequence": "ACDXFGH",
        "backbone": pack(places),
        "chain": list("HHHLLLL"),
        "number": [1, 2, 3, 1, 2, 3, 4],
    }
    found = record_structure(si.Sample("x", record, 7))
    assert found["chain"] == "L" and found["all_chains"] == 2 and found["matched"] == round(4 / 7, 4)
    assert found["chains"] == {"H": [0, 1, 2], "L": [3, 4, 5, 6]} and found["position"] == [3, 4, 5, 6]
    assert np.allclose(np.reshape(found["xyz"], (-1, 3)), places[3:, 1], atol=0.006)
    atoms = [line.split() for line in found["cif"].splitlines() if line.startswith("ATOM")]
    assert [a[5] for a in atoms] == ["ALA", "CYS", "UNK", "PHE", "GLY", "HIS"]
    assert {a[3] for a in atoms} == {"CA"} and [int(a[1]) for a in atoms] == list(range(1, 7))


def test_figures_of_structures_are_on_the_page_and_speak_of_structures() -> None:
    places = np.cumsum(np.random.default_rng(1).normal(0, 2, (30, 4, 3)), 0)
    record = {"sequence": "A" * 30, "backbone": pack(places), "chain": ["A"] * 30, "number": list(range(30))}
    codes = np.zeros((30, 2), np.float32)
    codes[[4, 5, 19], 1] = 1, 2, 3
    samples = si.Samples(["x"], [record], lengths=[30], kind="structure")
    features = si.FeatureMatrix(sp.csr_array(codes), samples)
    drawn = portraits([{"feature": 1}], features=features, annotations=None, shown=1)
    page = (Path(pictures.__file__).parent / "static" / "report.html").read_text()
    names = [p.name for p in drawn]
    assert names == ["activation", "logo", "trace", "ramachandran", "contact_map"]
    assert all(f'fig("{name}")' in page or f'fig("{name}" if' in page for name in names)
    assert not any("sequence" in p.title + p.caption for p in drawn)
