"""The notebooks that stand on their own: executed as committed, and what they write is checked.

Those that go on from the quickstart are in test_readme.py. Each skips by name where its weights or data are absent.
"""

import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pandas as pd
import pytest

import sciinterp as si
from sciinterp.errors import MissingWeightsError
from sciinterp.splits.families import mmseqs_program

AUGUSTUS = Path(os.environ.get("AUGUSTUS_DOC", "/usr/share/doc/augustus")) / "tutorial-cgp" / "data"


def need_model(name: str) -> None:
    try:
        si.load_model(name)
    except MissingWeightsError as error:
        pytest.skip(f"{name}: {error}")


def execute(path: Path, folder: Path, change: tuple[str, str] = ("", "")) -> list:
    """Run a notebook in a folder with the embedded data; what its cells put out."""
    import nbformat
    from nbclient import NotebookClient

    assert path.stat().st_size < 100_000
    if not (folder / "data").exists():
        (folder / "data").symlink_to(path.parent.parent / "data")
    book = nbformat.read(path, as_version=4)
    if change[0]:
        assert sum(change[0] in cell.source for cell in book.cells) == 1
        for cell in book.cells:
            cell.source = cell.source.replace(*change)
    # what is committed must not stand for what is run
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(book, timeout=3000, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [o for cell in book.cells for o in cell.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error"]
    return outputs


def check_proteins(folder: Path, outputs: list) -> pd.DataFrame:
    """The table agrees with the labels, and the words with the intervals they are made of."""
    table = pd.read_csv(folder / "runs/proteins/table.tsv", sep="\t", index_col="concept")
    verdict = pd.read_csv(folder / "runs/proteins/verdict.tsv", sep="\t", index_col="concept")
    assert {"disordered", "exposed", "RNA-binding", "caspase-3 site"} <= set(table.index)
    # labelling everything has precision equal to the prevalence and recall 1, inside the chains of the source alone
    p = table["prevalence"]
    assert table["everything"].dropna().to_numpy() == pytest.approx(
        (2 * p / (1 + p))[table["everything"].notna()].to_numpy()
    )
    # more than half of the residues are exposed, of the chains its source covers: of all chains it would be a few
    assert table.loc["exposed", "prevalence"] > 0.5
    # so no single feature beats saying so everywhere
    assert verdict.loc["exposed", "everything"] == "loses"
    wins = table["f1"] > table["neuron"]
    assert not ((verdict["neuron"] == "wins") & ~wins).any()
    assert not ((verdict["neuron"] == "loses") & wins).any()
    said = "".join(o.get("text", "") for o in outputs)
    assert "against a single raw neuron, a single feature loses on" in said
    assert "against labelling every residue, a single feature loses on" in said
    # what one feature does not tell is in the activations all the same, in many directions at once
    assert table.loc["exposed", "probe"] > table.loc["exposed", "everything"]
    return table


def need_proteins() -> None:
    need_model("unirep-256")
    if mmseqs_program() is None:
        pytest.skip("mmseqs is not installed")
    try:
        distribution("aaanalysis")
    except PackageNotFoundError:
        pytest.skip("the labels of aaanalysis are not installed")


def test_general_proteins(root: Path, tmp_path: Path) -> None:
    need_proteins()
    outputs = execute(root / "notebooks/06_general_proteins.ipynb", tmp_path)
    check_proteins(tmp_path, outputs)


@pytest.mark.slow
def test_general_proteins_in_full(root: Path, tmp_path: Path) -> None:
    need_proteins()
    outputs = execute(
        root / "notebooks/06_general_proteins.ipynb", tmp_path, ("RESIDUES = 20_000", "RESIDUES = None")
    )
    table = check_proteins(tmp_path, outputs)
    assert table.loc["exposed", "n_families"] > 150


def test_layer_sweep(root: Path, tmp_path: Path) -> None:
    """Concepts appear with depth, and not with random weights; the embedding knows letters and no segments."""
    execute(root / "notebooks/05_layer_sweep.ipynb", tmp_path)
    table = pd.read_csv(tmp_path / "runs/sweep/table.tsv", sep="\t", index_col="site")
    hits = pd.read_csv(tmp_path / "runs/sweep/hits.tsv", sep="\t")
    f1 = hits.pivot(index="concept", columns="site", values="f1")
    assert table["sae"].to_dict() == (f1 >= 0.5).sum().to_dict()
    assert table["sae"].max() >= table.loc["embedding", "sae"] + 3
    assert (table["sae"] > table["randomised"]).sum() >= 3
    assert f1.loc["segment:D"].max() > f1.loc["segment:D", "embedding"]


def test_splice_sites(root: Path, tmp_path: Path) -> None:
    """Donors and acceptors: on the right strand at the right base, or nothing here would come out."""
    need_model("spliceai-1")
    if not (AUGUSTUS / "genomes" / "hg38.fa").is_file():
        pytest.skip("hg38.fa of the Debian package augustus-doc is not unpacked here")
    execute(root / "notebooks/07_splice_sites.ipynb", tmp_path)
    output = pd.read_csv(tmp_path / "runs/splice/output.tsv", sep="\t", index_col=0)
    assert (output["average_precision"] > 0.6).all()
    hits = pd.read_csv(tmp_path / "runs/splice/hits.tsv", sep="\t").set_index(["concept", "site"])
    assert hits.loc[("donor", "layers.15"), "f1"] > hits.loc[("donor", "layers.15"), "randomised_f1"] + 0.2
