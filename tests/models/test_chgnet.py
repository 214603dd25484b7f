"""CHGNet on its real weights: its own energies, shares, moments and atom vectors; crystals as samples."""

import warnings
from importlib import import_module

import numpy as np
import pytest
import torch

import sciinterp as si
from sciinterp import testing
from sciinterp.errors import InputError, MissingWeightsError
from sciinterp.models import capture, load_model
from sciinterp.models.chgnet import Chgnet, ChgnetModule
from sciinterp.models.conformance import CHECKS
from sciinterp.models.crystal_graph import NUMBER, build_graph, edges
from sciinterp.testing import AdapterCheckError, check_adapter

SALT = {
    "lattice": [[5.64, 0, 0], [0, 5.64, 0], [0, 0, 5.64]],
    "species": ["Na"] * 4 + ["Cl"] * 4,
    "frac_coords": [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0],
                    [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]],
}  # fmt: skip
IRON = {
    "lattice": [[2.83, 0, 0], [0, 2.83, 0], [0, 0, 2.83]],
    "species": ["Fe", "Fe"],
    "frac_coords": [[0.1, 0, 0], [0.6, 0.5, 0.5]],
}
# A skew cell with coordinates outside of it, in no order.
SKEW = {
    "lattice": [[3.1, 0.2, 0], [-0.4, 4.0, 0.3], [0.5, -0.6, 5.2]],
    "species": ["Li", "O", "Mn", "O"],
    "frac_coords": [[1.05, -0.1, 0.2], [0.5, 0.45, 0.3], [0.05, 0.0, 0.7], [-0.5, 1.5, 0.8]],
}
CRYSTALS = [SALT, IRON, SKEW]
# From chgnet 0.4.2 itself (pymatgen 2026.10): eV per atom.
ENERGIES = {
    "chgnet": [-3.66643, -8.35558, -5.56739],
    "chgnet-r2scan": [-6.86867, -14.42767, -7.5564],
}
CIF = """data_salt
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 Na 0 0 0
Cl1 Cl 0.5 0.5 0.5
"""


def real(name: str):
    try:
        return load_model(name)
    except MissingWeightsError as error:
        pytest.skip(f"{name}: {error}")


@pytest.mark.parametrize("name", ENERGIES)
def test_energies_are_those_of_chgnet(name) -> None:
    model = real(name)
    found = model.forward(model.encode(CRYSTALS))["energy"]
    assert np.allclose(found.numpy(), ENERGIES[name], atol=2e-5)


@pytest.mark.parametrize(("name", "version"), [("chgnet", "0.3.0"), ("chgnet-r2scan", "r2scan")])
def test_every_number_is_that_of_chgnet(name, version) -> None:
    """Beside the program itself, where it can be imported: it needs pymatgen, ase and nvidia-ml-py3."""
    theirs = pytest.importorskip("chgnet.model.model", exc_type=ImportError)
    core = import_module("pymatgen.core")
    model = real(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = theirs.CHGNet.load(model_name=version, use_device="cpu", verbose=False)
    batch = model.encode(CRYSTALS)
    ours = model.forward(batch)
    atoms = capture(model, ["layers.2"], batch)["layers.2"]
    at = 0
    for i, crystal in enumerate(CRYSTALS):
        structure = core.Structure(crystal["lattice"], crystal["species"], crystal["frac_coords"])
        wanted = reference.predict_structure(
            structure, task="em", return_site_energies=True, return_atom_feas=True
        )
        rows = slice(at, at + len(crystal["species"]))
        at = rows.stop
        assert abs(float(ours["energy"][i]) - float(wanted["e"])) < 2e-5
        assert np.abs(ours["site_energies"][rows].numpy() - wanted["site_energies"]).max() < 1e-4
        assert np.abs(ours["moments"][rows].numpy() - wanted["m"]).max() < 2e-5
        scale = wanted["atom_fea"].std()
        assert np.abs(atoms[i].numpy() - wanted["atom_fea"]).max() < 1e-4 * scale


def test_conformance_on_the_real_weights() -> None:
    report = check_adapter(real("chgnet"), CRYSTALS)
    assert (report["result"] == "passed").sum() >= 17
    assert report.loc["illegal", "result"] == report.loc["context", "result"] == "passed"


def test_conformance_on_a_small_module() -> None:
    torch.manual_seed(0)
    model = load_model("chgnet", weights=ChgnetModule(width=8, n_blocks=3, n_radial=5, n_angular=5))
    assert (check_adapter(model, CRYSTALS)["result"] == "passed").sum() >= 17
    assert list(model.sites().loc[["layers.2", "norm"], "norm"]) == ["pre", "post"]


class AnyElement(Chgnet):  # type: ignore[misc]
    """Elements it does not know are hydrogen."""

    def check(self, samples):
        pass

    def _encode(self, data):
        return super()._encode(
            [{**d, "species": [s if s in NUMBER else "H" for s in d["species"]]} for d in data]
        )


@pytest.mark.parametrize(("check", "adapter"), [("illegal", AnyElement), ("context", Chgnet)])
def test_checks_of_samples_that_are_no_text_bite(check, adapter, monkeypatch) -> None:
    torch.manual_seed(0)
    module = ChgnetModule(width=8, n_blocks=2, n_radial=5, n_angular=5)
    if check == "context":
        for layer in module.atom_layers:
            torch.nn.init.zeros_(layer.out.weight)  # nothing reaches an atom
    monkeypatch.setattr(testing, "CHECKS", tuple(f for f in CHECKS if f.__name__ == f"_check_{check}"))
    with pytest.raises(AdapterCheckError) as caught:
        check_adapter(adapter(module), CRYSTALS)
    assert caught.value.check == check


def test_neighbours_by_counting_images() -> None:
    """Against all images of a large block of cells."""
    for crystal in CRYSTALS:
        lattice, places = np.array(crystal["lattice"]), np.array(crystal["frac_coords"])
        shifts = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3), -1).reshape(-1, 3)
        everywhere = (places[None] + shifts[:, None]).reshape(-1, 3) @ lattice
        center, _, _, vector = edges(crystal, 6.0)
        for i, place in enumerate(places @ lattice):
            distance = np.sort(np.linalg.norm(everywhere - place, axis=1))
            wanted = distance[(distance > 1e-6) & (distance <= 6.0)]
            assert np.allclose(np.sort(np.linalg.norm(vector[center == i], axis=1)), wanted)


def test_bonds_have_two_ends_and_angles_one_atom() -> None:
    graph = build_graph(CRYSTALS, cutoff=6.0, angle_cutoff=3.0)
    assert (np.bincount(graph.bond) == 2).all()
    assert (graph.length[np.r_[graph.angle_bond, graph.angle_other]] < 3).all()
    ends = [set() for _ in graph.length]
    for edge, bond in enumerate(graph.bond):
        ends[bond] |= {graph.center[edge], graph.neighbour[edge]}
    for atom, one, other in zip(graph.angle_center, graph.angle_bond, graph.angle_other):
        assert atom in ends[one] & ends[other]


def test_what_is_no_crystal_is_refused() -> None:
    torch.manual_seed(0)
    model = load_model("chgnet", weights=ChgnetModule(width=8, n_blocks=2, n_radial=5, n_angular=5))
    far = {**IRON, "lattice": np.diag([30.0, 30.0, 30.0]).tolist()}
    for bad, message in (
        ("NaCl", "not a crystal"),
        ({**IRON, "species": ["Fe", "Xx"]}, r"position 1.*'Xx'"),
        ({**IRON, "species": ["Fe"]}, "not a crystal"),
        ({**IRON, "lattice": [[1, 0, 0]] * 3}, "span a volume"),
        ({**IRON, "frac_coords": [[0, 0, 0], [0, 0, float("nan")]]}, "finite"),
        (far, "position 0.*another atom within 6 angstrom"),
        ({"lattice": IRON["lattice"], "species": [], "frac_coords": []}, "crystal|empty"),
    ):
        with pytest.raises(InputError, match=message):
            model.encode([bad])


def test_from_a_cif_file_to_activations(tmp_path) -> None:
    pytest.importorskip("pymatgen.core", reason="CIF needs the extra 'crystals'")
    (tmp_path / "salt.cif").write_text(CIF)
    samples = si.read_samples(tmp_path / "salt.cif")
    assert samples.lengths.tolist() == [8]
    torch.manual_seed(0)
    model = load_model("chgnet", weights=ChgnetModule(width=8, n_blocks=3, n_radial=5, n_angular=5))
    acts = si.extract(model, samples, site="layers.1", out=tmp_path / "acts")
    rows = capture(model, ["layers.1"], model.encode([samples[0]]))["layers.1"][0]
    assert np.allclose(acts.read_sample(0), rows.numpy(), atol=1e-6)
    # Both kinds of atom are alike by symmetry, and unlike one another.
    assert np.allclose(rows[0], rows[1], atol=1e-4)
    assert not np.allclose(rows[0], rows[-1], atol=1e-2)
    assert acts.fingerprint["n"] == 2
