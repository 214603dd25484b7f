"""SCEPTR on its real weights: its own vectors and residues; receptors as samples."""

import numpy as np
import pandas as pd
import pytest
import torch

import sciinterp as si
from sciinterp.errors import FormatError, InputError, MissingWeightsError
from sciinterp.models import capture, load_model, spans_of
from sciinterp.models.sceptr import SceptrModule
from sciinterp.testing import check_adapter

GENES = pd.DataFrame(
    {
        "id": ["a", "b", "c", "d"],
        "TRAV": ["TRAV38-1*01", "TRAV3*01", "TRAV38-2/DV8*01", ""],
        "CDR3A": ["CAHRSAGGGTSYGKLTF", "CAVDNARLMF", "CAYRSAGGGTSYGKLTF", ""],
        "TRBV": ["TRBV2*01", "TRBV25-1*01", "TRBV2", "TRBV2*01"],
        "CDR3B": ["CASSEFQGDNEQFF", "CASSDGSFNEQFF", "CASSPGTGGNEQYF", "CASSPGTGGNEQYF"],
    }
)
RECEPTORS = [
    ["TSENNYY", "QEAYKQQN", "CAHRSAGGGTSYGKLTF", "SNHLY", "FYNNEI", "CASSEFQGDNEQFF"],
    ["VSGNPY", "YITGDNLV", "CAVDNARLMF", "MGHDK", "SYGVNS", "CASSDGSFNEQFF"],
    ["TSESDYY", "QEAYKQQN", "CAYRSAGGGTSYGKLTF", "SNHLY", "FYNNEI", "CASSPGTGGNEQYF"],
    ["", "", "", "SNHLY", "FYNNEI", "CASSPGTGGNEQYF"],
]
# From sceptr 1.2.0 itself (libtcrlm 1.1.3): first four numbers of each receptor's vector.
VECTORS = [
    [-0.1753, -0.3129, -0.0957, 0.0225],
    [0.1687, 0.0024, 0.0632, -0.1772],
    [-0.1601, -0.1630, -0.1478, -0.0936],
    [-0.1934, -0.0522, -0.1524, -0.1480],
]


@pytest.fixture(scope="module")
def model():
    try:
        return load_model("sceptr")
    except MissingWeightsError as error:
        pytest.skip(f"sceptr: {error}")


def test_vectors_are_those_of_sceptr(model) -> None:
    found = model.vectors(model.encode(RECEPTORS)).numpy()
    assert np.allclose(found[:, :4], VECTORS, atol=1e-4)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_every_number_is_that_of_sceptr(model) -> None:
    """Beside the program itself, where it can be imported: it needs libtcrlm, tidytcells and blosum."""
    sceptr = pytest.importorskip("sceptr", exc_type=ImportError)
    table = GENES.drop(columns="id").replace("", None)
    batch = model.encode(RECEPTORS)
    assert np.abs(model.vectors(batch).numpy() - sceptr.calc_vector_representations(table)).max() < 1e-5
    theirs = sceptr.calc_residue_representations(table)
    for i, rows in enumerate(capture(model, ["layers.1"], batch)["layers.1"]):
        kept = theirs.compartment_mask[i] > 0
        assert np.abs(rows.numpy() - theirs.representation_array[i][kept]).max() < 1e-5
        loops = spans_of(model, "layers.1", batch)[i][:, 2].numpy()
        assert np.array_equal(loops, theirs.compartment_mask[i][kept])


def test_it_knows_what_it_reads(model) -> None:
    """A hidden cysteine at the start of a junction is found from the rest."""
    batch = model.encode(RECEPTORS[:3])
    where = torch.zeros_like(batch.mask)
    for row, loops in enumerate(RECEPTORS[:3]):
        where[row, 1 + len(loops[0]) + len(loops[1])] = True
    guess = model.logits(model.masked(batch, where)).argmax(-1)[where]
    assert [model.vocabulary[i] for i in guess] == ["C"] * 3


def test_conformance_on_the_real_weights(model) -> None:
    report = check_adapter(model, RECEPTORS)
    assert (report["result"] == "passed").sum() >= 19
    assert report.loc["context", "result"] == "passed"


def test_conformance_on_a_small_module() -> None:
    torch.manual_seed(0)
    small = load_model("sceptr", weights=SceptrModule(width=16, n_blocks=2, n_heads=2))
    assert (check_adapter(small, RECEPTORS)["result"] == "passed").sum() >= 19
    for bad, message in (
        ("CASSF", "six sequences"),
        (["CASSF"] * 5, "six sequences"),
        ([""] * 6, "empty"),
        (["", "", "CASBF", "", "", ""], "CDR3A position 3"),
    ):
        with pytest.raises(InputError, match=message):
            small.encode([bad])


def test_receptors_are_read_by_loops_or_by_genes(tmp_path) -> None:
    loops = pd.DataFrame(RECEPTORS, columns=["cdr1a", "cdr2a", "CDR3A", "cdr1b", "cdr2b", "CDR3B"])
    loops.insert(0, "id", list("abcd"))
    loops["epitope"] = ["x", "x", "y", ""]
    loops.loc[4] = ["e", "", "", "", "", "", "", "z"]
    loops.to_csv(tmp_path / "loops.tsv", sep="\t", index=False)
    samples = si.read_samples(tmp_path / "loops.tsv")
    assert samples.kind == "receptor"
    assert list(samples.data) == RECEPTORS
    assert samples.dropped == {"no loop": 1}
    assert samples.table["epitope"].tolist() == ["x", "x", "y", None]
    torch.manual_seed(0)
    small = load_model("sceptr", weights=SceptrModule(width=16, n_blocks=2, n_heads=2))
    acts = si.extract(small, samples, site="layers.1", out=tmp_path / "acts")
    assert np.diff(acts.token_offsets).tolist() == samples.lengths.tolist() == [57, 48, 57, 25]
    assert list(acts.samples.data) == RECEPTORS
    (tmp_path / "none.tsv").write_text("id\tTRAV\na\tTRAV1\n")
    with pytest.raises(FormatError, match="cdr3a or cdr3b"):
        si.read_samples(tmp_path / "none.tsv", format="receptors")
    pytest.importorskip("tidytcells", reason="V genes need the extra 'receptors'")
    table = pd.concat([GENES, GENES.iloc[:1].assign(id="e", TRAV="TRAV99*01")])
    table.to_csv(tmp_path / "genes.csv", index=False)
    samples = si.read_samples(tmp_path / "genes.csv")
    assert list(samples.data) == RECEPTORS
    assert samples.dropped == {"V gene not known": 1}
