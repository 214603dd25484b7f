"""Samples that are records of backbones have a structure in the browser without any file."""

import numpy as np

import sciinterp as si
from sciinterp.readers.backbones import pack
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
