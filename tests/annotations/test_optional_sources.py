"""Sources that need another package: what they place, and what is said where the package is missing."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sciinterp.annotations import read_annotations
from sciinterp.annotations.cells import cell_annotations, parse_h5ad
from sciinterp.annotations.crystals import site_properties
from sciinterp.annotations.go import read_ontology
from sciinterp.annotations.jaspar import jaspar_motifs, motif_hits
from sciinterp.annotations.molecules import functional_groups
from sciinterp.annotations.pfam import pfam_hits
from sciinterp.annotations.structure import parse_structure
from sciinterp.errors import FormatError, InputError
from sciinterp.readers import read_samples
from sciinterp.samples import Samples

FILES = Path(__file__).parent / "files"
DNA = Samples(["a", "b", "c"], ["TTTTTTCACGTGTTTTTTNNNNCACGTG", "AC", "CACGNGTT"], kind="dna")


@pytest.mark.parametrize(
    ("call", "extra"),
    [
        (lambda: read_ontology(FILES / "terms.obo"), "annotations"),
        (lambda: jaspar_motifs(), "annotations"),
        (lambda: motif_hits(DNA, {}), "annotations"),
        (lambda: pfam_hits(DNA, FILES / "x.hmm"), "annotations"),
        (lambda: parse_structure(FILES / "helix.pdb"), "annotations"),
        (lambda: functional_groups(DNA), "chemistry"),
        (lambda: site_properties(DNA), "crystals"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(call, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module
    missing = {"obonet", "pyjaspar", "memelite", "pyhmmer", "biotite", "rdkit", "pymatgen"}

    def without(name: str, package: str | None = None):
        if name.split(".")[0] in missing:
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(InputError, match=rf"sciinterp\[{extra}\]"):
        call()


def test_no_optional_package_is_imported_before_it_is_used() -> None:
    optional = ("obonet", "pyjaspar", "memelite", "pyhmmer", "biotite", "rdkit", "pymatgen", "anndata", "Bio")
    for module in ("go", "jaspar", "pfam", "structure", "molecules", "crystals", "cells", "genbank"):
        path = importlib.import_module(f"sciinterp.annotations.{module}").__file__
        top = [line for line in Path(path).read_text().splitlines() if line.startswith(("import ", "from "))]
        assert not [line for line in top if line.split()[1].split(".")[0] in optional]


class TestStructure:
    @pytest.fixture(autouse=True)
    def _biotite(self) -> None:
        pytest.importorskip("biotite", reason="biotite computes the labels")

    @pytest.mark.parametrize("name", ["helix.pdb", "helix.cif"])
    def test_positions_are_those_of_the_samples_of_the_same_file(self, name: str) -> None:
        annotations, samples = read_annotations(FILES / name), read_samples(FILES / name)
        assert annotations.coverage == {"structure": samples.ids}
        names = ["structure:helix", "structure:strand", "structure:coil"]
        dense = annotations.positives(samples, names).toarray()
        assert (dense.sum(axis=1) == 1).all()
        assert dense[:12, 0].sum() == 10
        assert dense[12:, 1].sum() == 5
        assert annotations.concepts.loc["structure:helix", "exhaustive"]
        assert annotations.counts["n_in"] == annotations.counts["n_kept"] == samples.n_positions

    def test_residues_without_coordinates_are_disordered(self) -> None:
        full = parse_structure(FILES / "helix.cif", positions="full", predicted=True).frame
        found = full.loc[full["concept"] == "structure:disordered", ["sample", "start", "end"]]
        # three residues never seen, and the last three of the helix have a pLDDT of 30 in this file
        assert found.to_numpy().tolist() == [["9TST_A", 0, 3], ["9TST_A", 12, 15]]

    def test_a_pdb_file_has_no_full_positions(self) -> None:
        with pytest.raises(InputError, match="full sequence"):
            parse_structure(FILES / "helix.pdb", positions="full")

    def test_coordinates_blown_apart_are_refused_not_allocated(self, tmp_path: Path) -> None:
        path = tmp_path / "far.pdb"
        path.write_text(
            (FILES / "helix.pdb").read_text().replace("   1.369", "9999.369").replace("  -0.728", "-999.728")
        )
        far = path.read_text().replace(" -0.900", "-999.90")
        path.write_text(far)
        with pytest.raises(FormatError, match="spread"):
            parse_structure(path)


class TestMotifs:
    @pytest.fixture(autouse=True)
    def _memelite(self) -> None:
        pytest.importorskip("memelite", reason="memelite places motifs")

    def test_hits_lie_on_the_sequence_and_never_on_unknown_letters(self) -> None:
        matrix = np.full((4, 6), 0.01)
        for column, letter in enumerate("CACGTG"):
            matrix["ACGT".index(letter), column] = 0.97
        annotations = motif_hits(DNA, {"M1 Ebox": matrix}, threshold=1e-3)
        rows = annotations.frame[["sample", "start", "end", "strand"]].to_numpy().tolist()
        assert sorted(rows) == [["a", 6, 12, "+"], ["a", 6, 12, "-"], ["a", 22, 28, "+"], ["a", 22, 28, "-"]]
        assert annotations.concepts.loc["jaspar:M1", "name"] == "Ebox"
        assert annotations.coverage == {"jaspar": ("a", "b", "c")}

    def test_jaspar_is_read_offline(self) -> None:
        pytest.importorskip("pyjaspar", reason="pyjaspar holds the matrices")
        motifs = jaspar_motifs(ids=["MA0004.1"])
        assert list(motifs) == ["MA0004.1 Arnt"]
        np.testing.assert_allclose(motifs["MA0004.1 Arnt"].sum(axis=0), 1)
        with pytest.raises(InputError, match="release"):
            jaspar_motifs(release="JASPAR1999")

    def test_a_matrix_of_counts_is_refused(self) -> None:
        with pytest.raises(InputError, match="probabilities"):
            motif_hits(DNA, {"M1": np.full((4, 6), 5.0)})


def test_pfam_domains_lie_on_the_envelope(tmp_path: Path) -> None:
    pyhmmer = pytest.importorskip("pyhmmer", reason="pyhmmer searches profiles")
    domain = "MKWLVRDECHYQSTPGNAFIMKWCHDERLVYQSTPGNAFW"
    alphabet = pyhmmer.easel.Alphabet.amino()
    builder, background = pyhmmer.plan7.Builder(alphabet), pyhmmer.plan7.Background(alphabet)
    hmm, _, _ = builder.build(
        pyhmmer.easel.TextSequence(name=b"made_up", sequence=domain).digitize(alphabet), background
    )
    path = tmp_path / "made_up.hmm"
    with path.open("wb") as handle:
        hmm.write(handle)
    samples = Samples(["with", "without", "bad"], ["GSGSGSGSGS" + domain + "GSGSGS", "GSGSGSGSGSGS", "MK1"])
    annotations = pfam_hits(samples, path)
    frame = annotations.frame
    assert frame["sample"].tolist() == ["with"]
    assert abs(frame["start"][0] - 10) <= 1
    assert abs(frame["end"][0] - 50) <= 1
    assert frame["concept"].tolist() == ["pfam:made_up"]
    assert annotations.coverage == {"pfam": ("with", "without")}
    assert annotations.counts["illegal"] == 1
    path.write_text("not a profile")
    with pytest.raises(FormatError):
        pfam_hits(samples, path)


def test_functional_groups_lie_on_atoms_as_written() -> None:
    pytest.importorskip("rdkit", reason="RDKit matches SMARTS")
    smiles = ["CC(=O)Oc1ccccc1C(=O)O", "CCO.[Na+]>>CC=O", "C1CC", "[H]OC"]
    names = ["aspirin", "reaction", "broken", "hydrogen"]
    samples = Samples(names, smiles, lengths=[13, 7, 3, 3], kind="smiles")
    annotations = functional_groups(samples)
    rows = set(map(tuple, annotations.frame[["sample", "start", "end", "concept"]].to_numpy().tolist()))
    assert ("aspirin", 10, 13, "smarts:carboxylic acid") in rows
    assert ("reaction", 4, 7, "smarts:aldehyde") in rows
    assert annotations.counts == {"n_in": 4, "n_kept": 3, "dropped": {"a SMILES RDKit cannot read": 1}}
    annotations.positives(samples)
    with pytest.raises(InputError, match="SMARTS"):
        functional_groups(samples, {"x": "[["})


def test_sites_of_rock_salt() -> None:
    pytest.importorskip("pymatgen.core", reason="pymatgen describes crystals")
    sites = [
        [0, 0, 0],
        [0.5, 0.5, 0],
        [0.5, 0, 0.5],
        [0, 0.5, 0.5],
        [0.5, 0, 0],
        [0, 0.5, 0],
        [0, 0, 0.5],
        [0.5] * 3,
    ]
    crystal = {"lattice": np.eye(3) * 5.64, "species": ["Na"] * 4 + ["Cl"] * 4, "frac_coords": sites}
    samples = Samples(["salt"], [crystal], lengths=[8], kind="crystal")
    annotations = site_properties(samples)
    assert annotations.frame["concept"].value_counts()[
        ["element:Na", "coordination:6", "spacegroup:225"]
    ].tolist() == [4, 8, 1]


def test_columns_of_cells(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata", reason="AnnData holds cells")
    columns = {"cell/type": pd.Categorical(["B", "T", None]), "n": [1.0, 2.0, 3.0], "ok": [True, False, True]}
    obs = pd.DataFrame(columns, index=["c1", "c2", "c3"])
    path = tmp_path / "cells.h5ad"
    anndata.AnnData(np.ones((3, 1), np.float32), obs=obs.rename(columns={"cell/type": "type"})).write_h5ad(
        path
    )
    annotations = read_annotations(path)
    assert annotations.names == ["obs:ok:False", "obs:ok:True", "obs:type:B", "obs:type:T"]
    assert annotations.counts["dropped"] == {"no value": 1, "a column of numbers": 3}
    assert (annotations.frame["start"] == -1).all()
    assert cell_annotations(obs, columns=["cell/type"]).names == ["obs:cell type:B", "obs:cell type:T"]
    with pytest.raises(InputError, match="no such column"):
        parse_h5ad(path, columns=["donor"])
