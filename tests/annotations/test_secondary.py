"""Secondary structure and what the backbone does: built from given torsions, moved, and beside the definition in loops."""

from itertools import product

import numpy as np
import pytest

import sciinterp as si
from sciinterp.annotations.backbone_motifs import (
    TURNS,
    annotate_backbones,
    away,
    motifs,
    runs,
    torsions,
)
from sciinterp.annotations.secondary import _bridges, _ladders, joined, secondary
from sciinterp.errors import InputError
from sciinterp.readers.backbones import pack

LENGTHS = {"N": 1.329, "CA": 1.458, "C": 1.523}
ANGLES = {"N": 116.6, "CA": 121.7, "C": 111.0}


def place(a, b, c, length: float, angle: float, turn: float) -> np.ndarray:
    """The atom bound to c, by its bond's length, its angle with b and its torsion around b-c."""
    angle, turn = np.radians(angle), np.radians(turn)
    axis = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, axis)
    normal /= np.linalg.norm(normal)
    local = length * np.array([-np.cos(angle), np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn)])
    return c + local @ np.stack([axis, np.cross(normal, axis), normal])


def build(angles: list[tuple[float, float]], omega: dict[int, float] | None = None) -> np.ndarray:
    """A backbone with these phi and psi."""
    chain = [np.zeros(3), np.array([1.458, 0, 0]), np.array([2.0, 1.42, 0])]
    for i in range(1, len(angles)):
        for atom, turn in (("N", angles[i - 1][1]), ("CA", (omega or {}).get(i, 180.0)), ("C", angles[i][0])):
            chain.append(place(*chain[-3:], LENGTHS[atom], ANGLES[atom], turn))
    atoms = np.array(chain).reshape(-1, 3, 3)
    oxygen = []
    for i, (n, ca, c) in enumerate(atoms):
        psi = angles[i][1]
        oxygen.append(place(n, ca, c, 1.231, 120.5, psi + 180))
    return np.concatenate([atoms, np.array(oxygen)[:, None]], 1)


HELIX = [(-120, 130)] * 4 + [(-60, -45)] * 12 + [(-120, 130)] * 4


def one_chain(n: int) -> np.ndarray:
    return np.array(["A"] * n)


def test_torsions_are_those_it_was_built_with() -> None:
    draw = np.random.default_rng(0).uniform(-180, 180, (12, 2))
    places = build([tuple(x) for x in draw], {5: 0.0})
    found = torsions(places, joined(places, one_chain(12)))
    assert np.isnan(found["phi"][0]) and np.isnan(found["psi"][-1])
    assert np.allclose(away(found["phi"][1:], draw[1:, 0]), 0, atol=1e-3)
    assert np.allclose(away(found["psi"][:-1], draw[:-1, 1]), 0, atol=1e-3)
    assert away(found["omega"], 0)[5] < 1e-3 and (away(found["omega"][[4, 6]], 180) < 1e-3).all()


def test_a_helix_has_its_state_and_its_caps() -> None:
    places = build(HELIX)
    state = secondary(places, one_chain(20), np.zeros(20, bool)).state
    start, end = state.index("H"), state.rindex("H") + 1
    assert set(state[start:end]) == {"H"} and 10 <= end - start <= 13 and "E" not in state
    found = motifs(places, one_chain(20), "A" * 20)
    at = {
        name: np.flatnonzero(found[f"helix:{name}"]).tolist() for name in ("N-cap", "N1", "N3", "C-cap", "C'")
    }
    assert at == {"N-cap": [start - 1], "N1": [start], "N3": [start + 2], "C-cap": [end], "C'": [end + 1]}


@pytest.mark.parametrize(
    "tail", [[(-95, -5), (60, 30)], [(-95, -5), (75, 10)], [(60, 30)], [(-90, -10), (-95, 0), (60, 40)]]
)
def test_a_helix_ends_where_its_torsions_do(tail) -> None:
    """By bonds alone the first two of these helices end a residue late, and the positive phi of C' is the cap's."""
    places = build([(-120, 130)] * 4 + [(-60, -45)] * 10 + tail + [(-120, 130)] * 5)
    found = motifs(places, one_chain(len(places)), "A" * len(places))
    at = {name: np.flatnonzero(found[f"helix:{name}"]).tolist() for name in ("N-cap", "N1", "C-cap", "C'")}
    assert at == {"N-cap": [3], "N1": [4], "C-cap": [14], "C'": [15]}


def test_a_helix_of_the_other_hand_has_no_caps() -> None:
    mirrored = build(HELIX) * np.array([1.0, 1.0, -1.0])
    assert "H" in secondary(mirrored, one_chain(20), np.zeros(20, bool)).state
    assert not any(
        v.any() for k, v in motifs(mirrored, one_chain(20), "A" * 20).items() if k.startswith("helix")
    )


def test_states_do_not_depend_on_where_the_structure_stands() -> None:
    places, chain, proline = build(HELIX), one_chain(20), np.zeros(20, bool)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    assert secondary(places @ turn + 7, chain, proline).state == secondary(places, chain, proline).state


def test_breaks_and_missing_atoms_end_what_they_cut() -> None:
    places = build(HELIX)
    two = np.array(["A"] * 10 + ["B"] * 10)
    cut = secondary(places, two, np.zeros(20, bool))
    assert cut.joined.tolist() == [False, *[True] * 9, False, *[True] * 9]
    gone = places.copy()
    gone[9:11] = np.nan
    state = secondary(gone, one_chain(20), np.zeros(20, bool)).state
    assert state.count("H") < secondary(places, one_chain(20), np.zeros(20, bool)).state.count("H")
    proline = np.zeros(20, bool)
    proline[12] = True
    assert not secondary(places, one_chain(20), proline).bonds[:, 12].any()


@pytest.mark.parametrize("kind", TURNS)
def test_turns_are_found_by_their_torsions(kind: str) -> None:
    (a, b, c, d), cis = TURNS[kind]
    places = build([(-120, 130), (a, b), (c, d), (-120, 130)], {2: 0.0} if cis else None)
    found = motifs(places, one_chain(4), "GGPG")
    close = np.linalg.norm(places[3, 1] - places[0, 1]) < 7
    marked = {name for name in TURNS if found[f"turn:{name}"].any()}
    assert marked == ({kind} if close else set())
    assert not close or np.flatnonzero(found[f"turn:{kind}"]).tolist() == [1, 2]
    assert found["cis:proline"].tolist() == [False, False, cis, False]
    assert close or kind == "VIb"


def test_bridges_are_those_of_the_definition() -> None:
    draw = np.random.default_rng(2)
    for _ in range(20):
        n = 14
        bonds, run = draw.random((n, n)) < 0.25, np.array([0] * 9 + [1] * 5)
        wanted = {}
        for i, j in product(range(1, n - 1), repeat=2):
            if j - i < 3 or run[i - 1] != run[i + 1] or run[j - 1] != run[j + 1]:
                continue
            if (bonds[i - 1, j] and bonds[j, i + 1]) or (bonds[j - 1, i] and bonds[i, j + 1]):
                wanted[i, j] = True
            elif (bonds[i, j] and bonds[j, i]) or (bonds[i - 1, j + 1] and bonds[j - 1, i + 1]):
                wanted[i, j] = False
        assert {(b.i, b.j): b.parallel for b in _bridges(bonds, run)} == wanted


def test_ladders_join_over_bulges() -> None:
    def of(*pairs):
        bonds = np.zeros((30, 30), bool)
        for i, j in pairs:
            bonds[i, j] = bonds[j, i] = True
        return _ladders(_bridges(bonds, np.zeros(30, int)))

    assert of((3, 20)) == ({3: False, 20: False}, [])
    strands, bulges = of((3, 20), (4, 18))
    assert bulges == [19] and all(strands[i] for i in (3, 4, 18, 19, 20))
    strands, bulges = of((3, 20), (12, 18))
    assert not any(strands.values()) and bulges == []


def test_positive_phi_and_polyproline() -> None:
    found = motifs(build([(-75, 145)] * 3 + [(60, 40)] + [(-75, 145)] * 4), one_chain(8), "APGGPPPA")
    assert np.flatnonzero(found["phi:positive"]).tolist() == [3]
    assert runs(found["ppII"])[-1][0] == 4
    assert found["end:N"].sum() == found["end:C"].sum() == 3
    assert np.flatnonzero(found["residue:proline"]).tolist() == [1, 4, 5, 6]


def test_annotations_of_samples() -> None:
    record = {
        "sequence": "A" * 20,
        "backbone": pack(build(HELIX)),
        "chain": ["A"] * 20,
        "number": list(range(20)),
    }
    samples = si.Samples(["x"], [record], lengths=[20], kind="structure")
    found = annotate_backbones(samples)
    assert {"ss:H", "helix:N-cap", "residue:aliphatic", "end:N"} <= set(found.frame["concept"])
    assert found.concepts["exhaustive"].all() and found.coverage["backbone"] == ("x",)
    helix = found.frame[found.frame["concept"] == "ss:H"]
    assert len(helix) == 1 and helix["end"].iloc[0] - helix["start"].iloc[0] >= 10
    with pytest.raises(InputError, match="no backbone"):
        annotate_backbones(si.Samples(["y"], ["MKV"]))
