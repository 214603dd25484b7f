"""The README's notebook runs as written, says what it promises, and the quickstart notebook is the same code."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from figures_on_a_run import figures_of
from test_notebooks import execute

import sciinterp as si

TWENTY = """imgt:FR1 imgt:CDR1 imgt:FR2 imgt:CDR2 imgt:FR3 imgt:CDR3 imgt:FR4 imgt:CDR segment:D segment:N segment:J shm
motif:N-glycosylation motif:WGxG residue:Cys23 residue:Trp41 residue:Cys104 FR3:IGHV1 FR3:IGHV3 FR3:IGHV4""".split()
HITS = """feature concept selected f1_train threshold precision recall f1 f1_low f1_high average_precision auroc prevalence
n_positive n_families test q best_baseline best_baseline_f1 delta_f1 delta_low delta_high""".split()
CANDIDATES = "kind sample start end concept feature score probability q reason_against".split()


def test_the_notebook_knows_something(readme_run: tuple[Path, dict]) -> None:
    """Floors well under what three seeds give, so that a failure means something broke."""
    folder, names = readme_run
    metrics = json.loads((folder / "runs/ab/sae/metrics.json").read_text())
    assert metrics["fve"] >= 0.80
    assert metrics["l0"] <= 32
    assert metrics["dead"] < 0.10
    hits = names["hits"]
    selected = hits[hits["selected"]].set_index("concept")
    assert set(TWENTY) <= set(selected.index)
    twenty = selected.loc[TWENTY]
    assert (twenty["f1"] >= 0.5).sum() >= 9
    assert (twenty["delta_low"] > 0).sum() >= 2


def test_tables_have_the_promised_columns(readme_run: tuple[Path, dict]) -> None:
    _, names = readme_run
    assert set(HITS) <= set(names["hits"].columns)
    assert set(CANDIDATES) <= set(names["candidates"].columns)
    assert (names["hits"].groupby("concept")["selected"].sum() == 1).all()
    assert isinstance(names["hits"], pd.DataFrame)


def test_the_report_is_one_file(readme_run: tuple[Path, dict]) -> None:
    folder, _ = readme_run
    text = (folder / "runs/ab/report.html").read_text()
    assert "Content-Security-Policy" in text
    for outside in ('src="http', "src='http", "<link", "@import", "url(http"):
        assert outside not in text
    assert "pre-training" in text


def test_every_figure_draws_on_the_run(
    readme_run: tuple[Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On real data every figure shows something, and is written as vector and as pixels."""
    folder, names = readme_run
    monkeypatch.chdir(folder)
    figures = figures_of(names, folder / "runs/ab/control/sae")
    # antibodies come without coordinates, and without an assay
    others = {"ramachandran", "trace", "contact_map", "assay_change", "assay_scan"}
    assert set(figures) == set(si.pl.__all__) - {"save", "style"} - others
    for name, draw in figures.items():
        ax = draw()
        assert ax.has_data(), name
        for ending in ("svg", "pdf", "png"):
            assert si.pl.save(ax, tmp_path / f"{name}.{ending}").stat().st_size > 3_000, name
        plt.close("all")


@pytest.mark.parametrize(
    ("page", "name"), [("howto-model.md", "checks"), ("howto-annotations.md", "annotations")]
)
def test_examples_run(root: Path, page: str, name: str) -> None:
    text = (root / "notebooks" / page).read_text()
    code = text.split("```python\n", 1)[1].split("```", 1)[0]
    assert code.count("\n") <= 60
    names: dict = {}
    exec(compile(code, page, "exec"), names)  # the text of our own manual
    assert len(names[name])


def test_quickstart_notebook(readme_run: tuple[Path, dict], readme_code: str, root: Path) -> None:
    """The notebook holds the README's lines; executed where they ran, it resumes every stage."""
    import nbformat

    folder, _ = readme_run
    path = root / "notebooks" / "01_quickstart.ipynb"
    book = nbformat.read(path, as_version=4)
    code = "\n".join(cell.source for cell in book.cells if cell.cell_type == "code")
    missing = [line for line in readme_code.splitlines() if line.split("#")[0].strip() not in code]
    assert not missing
    execute(path, folder)


@pytest.mark.parametrize(
    "name",
    [
        "02_bring_your_own_model",
        "03_bring_your_own_annotations",
        "04_from_feature_to_variant",
        "09_isotype",
    ],
)
def test_notebooks(readme_run: tuple[Path, dict], root: Path, name: str) -> None:
    """Each story runs where the quickstart ran."""
    assert execute(root / "notebooks" / f"{name}.ipynb", readme_run[0])


def test_paper_figures(readme_run: tuple[Path, dict], root: Path) -> None:
    """Every figure shows in the notebook and is written at the width of a column or page, with fonts embedded."""
    outputs = execute(root / "notebooks" / "08_paper_figures.ipynb", readme_run[0])
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 3
    said = "".join(o.get("text", "") for o in outputs)
    for name, width in (("figure1", 183), ("figure2", 183), ("figure3", 89)):
        line = next(line for line in said.splitlines() if line.startswith(name))
        assert f" {width} x " in line
        assert "Type 3 fonts: False, TrueType embedded: True" in line
    assert "same bytes twice: True" in said
