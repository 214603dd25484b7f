"""Crystals and backbones: what space and order do not change, and networks against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from makers import BACKBONES, backbone, small_mpnn
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from test_chgnet import CRYSTALS, SALT, SKEW

from sciinterp.models import capture, load_model
from sciinterp.models.chgnet import ANGLE_CUTOFF, CUTOFF, ChgnetModule, Radial
from sciinterp.models.crystal_graph import build_graph, edges
from sciinterp.models.mpnn import coordinates
from sciinterp.models.mpnn_layers import bins, distance, in_blocks, nearest, take

TURN = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()


@pytest.fixture(scope="module")
def chgnet():
    torch.manual_seed(0)
    return load_model("chgnet", weights=ChgnetModule(width=8, n_blocks=3, n_radial=5, n_angular=5).double())


@pytest.fixture(scope="module")
def mpnn():
    return small_mpnn("proteinmpnn")(None)


def energies(model, *crystals) -> np.ndarray:
    return model.forward(model.encode(crystals))["energy"].numpy()


def test_neighbours_are_those_of_a_tree_of_images() -> None:
    for crystal in CRYSTALS:
        lattice, places = np.array(crystal["lattice"]), np.array(crystal["frac_coords"])
        shifts = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3), -1).reshape(-1, 3)
        tree = cKDTree((places % 1 + shifts[:, None]).reshape(-1, 3) @ lattice)
        counts = tree.query_ball_point(places % 1 @ lattice, CUTOFF, return_length=True) - 1  # not itself
        assert np.bincount(edges(crystal, CUTOFF)[0], minlength=len(places)).tolist() == counts.tolist()


def test_every_edge_has_its_way_back_and_every_angle_is_that_of_its_vectors() -> None:
    center, neighbour, image, vector = edges(SKEW, CUTOFF)
    ways = {(i, j, *s): tuple(v) for i, j, s, v in zip(center, neighbour, image.tolist(), vector.tolist())}
    for (i, j, a, b, c), v in ways.items():
        assert np.allclose(ways[j, i, -a, -b, -c], -np.array(v))
    graph = build_graph([SKEW], cutoff=CUTOFF, angle_cutoff=ANGLE_CUTOFF)
    short = [k for k in range(len(center)) if np.linalg.norm(vector[k]) < ANGLE_CUTOFF]
    wanted = sorted(
        np.arccos(
            np.clip(vector[k] @ vector[m] / np.linalg.norm(vector[k]) / np.linalg.norm(vector[m]), -1, 1)
        )
        for k in short
        for m in short
        if k != m and center[k] == center[m]
    )
    assert np.allclose(np.sort(graph.angle), wanted, atol=2e-3)  # cosines are a millionth smaller


@pytest.mark.parametrize("crystal", CRYSTALS, ids=["salt", "iron", "skew"])
def test_energies_do_not_depend_on_where_a_crystal_stands(chgnet, crystal) -> None:
    rng = np.random.default_rng(0)
    places, lattice = np.array(crystal["frac_coords"]), np.array(crystal["lattice"])
    order = rng.permutation(len(places))
    twice = np.concatenate([places, places + np.array([1, 0, 0])]) / [2, 1, 1]
    forms = [
        crystal,
        {**crystal, "frac_coords": (places + np.array([0.21, -0.4, 0.77])).tolist()},
        {**crystal, "frac_coords": (places + rng.integers(-2, 3, places.shape)).tolist()},
        {**crystal, "lattice": (lattice @ TURN.T).tolist()},
        {**crystal, "lattice": lattice[[1, 2, 0]].tolist(), "frac_coords": places[:, [1, 2, 0]].tolist()},
        {
            "lattice": crystal["lattice"],
            "species": [crystal["species"][i] for i in order],
            "frac_coords": places[order].tolist(),
        },
        # A cell of two: twice the energy, shared by twice the atoms.
        {
            "lattice": (lattice * np.array([[2], [1], [1]])).tolist(),
            "species": list(crystal["species"]) * 2,
            "frac_coords": twice.tolist(),
        },
    ]
    found = energies(chgnet, *forms)
    assert np.allclose(found, found[0], atol=1e-5 * max(1, abs(found[0])))
    stretched = energies(chgnet, {**crystal, "lattice": (1.1 * lattice).tolist()})
    assert abs(stretched[0] - found[0]) > 1e-4


def test_a_crystal_knows_no_other_crystal(chgnet) -> None:
    together = energies(chgnet, *CRYSTALS)
    alone = np.concatenate([energies(chgnet, crystal) for crystal in CRYSTALS])
    assert np.allclose(together, alone, atol=1e-6)


def test_waves_vanish_at_the_cutoff_with_their_slope() -> None:
    wave = Radial(5, CUTOFF).double()
    r = torch.tensor([1.0, CUTOFF - 1e-4, CUTOFF, CUTOFF + 1], dtype=torch.float64, requires_grad=True)
    found = wave(r)
    assert found[0].abs().max() > 0.1 and found[1:].abs().max() < 1e-8
    slope = torch.autograd.grad(found.sum(), r)[0]
    assert slope[1:].abs().max() < 1e-6


@pytest.mark.parametrize("moved", ["turned", "shifted", "numbered on", "chains renamed"])
def test_backbones_are_read_wherever_they_stand(mpnn, moved) -> None:
    sample = backbone(24, 5, chains="HL")
    places = np.array(sample["backbone"])
    other = {
        "turned": {"backbone": (places @ TURN.T).tolist()},
        "shifted": {"backbone": (places + np.array([7.0, -3.0, 11.0])).tolist()},
        "numbered on": {"number": [n + 100 for n in sample["number"]]},
        "chains renamed": {"chain": ["x" if c == "H" else "y" for c in sample["chain"]]},
    }[moved]
    one, two = (mpnn.logits(mpnn.encode([x]))[0] for x in (sample, {**sample, **other}))
    assert torch.allclose(one, two, atol=2e-4)
    mirrored = {**sample, "backbone": (places * [1, 1, -1]).tolist()}
    assert (mpnn.logits(mpnn.encode([mirrored]))[0] - one).abs().max() > 1e-2  # hands are told apart


def test_encoder_and_nearest_residues_by_brute_force(mpnn) -> None:
    batch = mpnn.encode([BACKBONES[1], BACKBONES[3]])
    alpha, whole, real = batch.inputs["backbone"][:, :, 1], batch.inputs["whole"], batch.inputs["real"]
    d, index, seen = nearest(alpha, whole, real, 6)
    size = whole.shape[1]
    for i, n in enumerate(batch.lengths.tolist()):
        tree = cKDTree(alpha[i][whole[i]].numpy())
        numbers = whole[i].nonzero().flatten().numpy()
        for residue in numbers:
            far, near = tree.query(alpha[i, residue].numpy(), 6)
            assert (index[i, residue] - i * size).tolist() == numbers[near].tolist()
            assert np.allclose(d[i, residue], far, atol=2e-3)
        assert seen[i, :n].all() and not seen[i, n:].any()
    nodes = torch.randn(2, size, 3)
    assert torch.equal(take(nodes, index), nodes.flatten(0, 1)[index])


def test_distances_as_bins_by_their_formula() -> None:
    d = torch.linspace(0, 40, 81)
    centres = np.linspace(2, 22, 16)
    wanted = np.exp(-(((d.numpy()[:, None] - centres) / (20 / 16)) ** 2))
    found = bins(d.clone())
    assert np.allclose(found, wanted, atol=1e-6) and (found > 0).all()  # never denormal
    slopes = bins(d.clone().requires_grad_())
    assert torch.allclose(slopes, found) and slopes.requires_grad
    a, b = torch.zeros(3), torch.tensor([3.0, 4.0, 0.0])
    assert float(distance(a, b)) == pytest.approx(5) and float(distance(a, a)) > 0


@pytest.mark.parametrize("n", [1, 31, 32, 33, 70])
def test_blocks_of_residues_are_the_whole(n) -> None:
    x, y = torch.randn(2, n, 3), torch.randn(2, n, 5)
    calls = []

    def fn(a, b):
        calls.append(len(a))
        return torch.cat([a.cumsum(-1), b.sin()], -1)

    found = in_blocks(fn, x, y)
    assert torch.equal(found, torch.cat([x.cumsum(-1), y.sin()], -1))
    assert sum(calls) == 2 * n and max(calls) <= 32


def test_coordinates_of_packed_and_plain_records() -> None:
    from sciinterp.readers.backbones import pack

    plain = BACKBONES[1]
    places = np.array([[[np.nan] * 3 if a is None else a for a in r] for r in plain["backbone"]])
    one, two = coordinates(plain), coordinates({**plain, "backbone": pack(places)})
    assert np.allclose(one[0], two[0], atol=1e-3) and np.array_equal(one[1], two[1])
    assert np.array_equal(one[1], np.isfinite(places).all(-1)) and not one[0][~one[1]].any()


def test_a_sample_among_others_reads_as_alone(mpnn) -> None:
    batch = mpnn.encode(BACKBONES)
    together = capture(mpnn, ["layers.2", "decoder.2"], batch)
    for i, sample in enumerate(BACKBONES):
        alone = capture(mpnn, ["layers.2", "decoder.2"], mpnn.encode([sample]))
        for site, rows in alone.items():
            assert torch.allclose(rows[0], together[site][i], atol=1e-4), (site, i)


def test_salt_is_two_atoms(chgnet) -> None:
    """The cubic cell of eight atoms and the primitive one of two are one crystal."""
    half = 5.64 / 2
    small = {
        "lattice": [[0, half, half], [half, 0, half], [half, half, 0]],
        "species": ["Na", "Cl"],
        "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
    }
    assert np.allclose(energies(chgnet, small), energies(chgnet, SALT), atol=1e-5)
