"""Every job of the manual runs as it is written, from its first line to its last, without a private import."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sciinterp as si
from sciinterp.association import baselines
from sciinterp.errors import FormatError, MissingWeightsError
from sciinterp.sae import foreign
from sciinterp.store import ledger

PAGES = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("job-*.md"))
# Words of a page -> what must have been written when it ends.
WRITTEN = {
    "job-assay": ["scan.svg", "change.svg"],
    "job-cells": ["cells.h5ad", "runs/cells/hits.tsv"],
    "job-dna": ["runs/dna/hits.tsv"],
    "job-embeddings": ["runs/array/hits.tsv", "runs/array/features/manifest.json"],
    "job-figures": ["counts.svg", "concepts.svg", "heatmap.pdf", "feature.svg", "density.png", "panels.svg"],
    "job-labels": ["readout.svg", "rule.svg"],
    "job-proteins": ["runs/mine/hits.tsv", "runs/mine/candidates.tsv", "runs/mine/control/sae/metrics.json"],
    "job-ranks": [
        "runs/two/activations/manifest.json",
        "runs/two/sae/metrics.json",
        "runs/two/features/manifest.json",
    ],
    "job-sae": ["runs/published/hits.tsv"],
    "job-steering": ["runs/steering/hits.tsv", "control.svg", "dose.svg"],
    "job-variants": ["runs/variants/hits.tsv", "effect.svg"],
}


def code_of(page: Path, language: str = "python") -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.S | re.M))


def test_every_job_is_looked_at() -> None:
    assert [page.stem for page in PAGES] == sorted(WRITTEN)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_job_needs_no_private_name_and_fits_a_page(page: Path) -> None:
    code = code_of(page)
    assert not re.findall(r"(?:import|from) \S*\b_\w+|\.\s*_[a-z]\w*", code)
    assert not re.findall(r"from sciinterp(?! import distributed\n)|import sciinterp\.", code)
    assert page.read_text().count("\n") <= 80


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_job_runs(page: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = code_of(page)
    if "antiberty" in code:
        try:
            si.load_model("antiberty")
        except MissingWeightsError as error:
            pytest.skip(str(error))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(root / "data")
    names: dict = {}
    if page.stem == "job-ranks":
        names["said"] = _started(code, code_of(page, "bash"), root)
    else:
        exec(compile(code, page.name, "exec"), names)  # the text of our own page
    assert not [name for name in WRITTEN[page.stem] if not (tmp_path / name).is_file()]
    check = CHECKS.get(page.stem)
    if check is not None:
        check(names)


def _started(code: str, commands: str, root: Path) -> list[str]:
    """What the page's commands print, its program saved under the name they call it by; each ends well."""
    Path("mine.py").write_text(code)
    ours = {"torchrun": "torch.distributed.run", "sciinterp": "sciinterp"}
    said = []
    for line in commands.splitlines():
        verb, *words = line.split()
        command = [
            sys.executable,
            "-m",
            ours[verb],
            *(["--standalone"] if verb == "torchrun" else []),
            *words,
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr[-2000:]
        said.append(run.stdout)
    return said


def _ranks(names: dict) -> None:
    """The program says once that two processes ran it, and the files of its codes pass their check."""
    ran, *checked = names["said"]
    assert ran.count("2 processes: FeatureMatrix") == 1
    assert len(checked) == 1 and si.load_features("runs/two/features").n_features == 64


def _dna(names: dict) -> None:
    """Every site lies in a window or is cut by two; the word that it is finds all of it, as the page says."""
    annotations, hits = names["annotations"], names["hits"]
    assert annotations.counts["n_in"] == names["chromosome"].count("CAG") <= len(annotations.frame)
    assert (hits["explained_by"] == "letters").all() and (hits["best_baseline_f1"] == 1).all()


def _cells(names: dict) -> None:
    assert set(names["hits"]["concept"]) == {"B cell", "T cell", "monocyte"}
    assert names["cells"].obsm["X_sae"].shape == (240, 64)
    # a cell without a label is unknown: of what is left a third has each type
    assert len(names["rows"]) == 216 and names["chosen"]["prevalence"].between(0.25, 0.42).all()
    covered = names["annotations"].covered(names["samples"], ["B cell"])[:, 0]
    assert covered.tolist() == [i % 10 > 0 for i in range(240)]


def _embeddings(names: dict) -> None:
    features, frame = names["features"], names["frame"]
    assert names["some"].codes.shape == (120, 3)
    assert len(frame) == features.n_stored
    assert names["per_sample"].shape == (40, 64)
    found = names["again"][names["again"]["selected"]].iloc[0]
    assert found["concept"] == "tryptophan" and found["f1"] == pytest.approx(
        names["hits"].loc[names["hits"]["selected"], "f1"].iloc[0]
    )


def _sae(names: dict) -> None:
    """What is loaded, and what is exported and read back, gives the codes of what was trained."""
    rows = names["acts"].read_sample(0)
    trained = names["trained"].encode_scipy(rows).toarray()
    for sae in (names["sae"], names["again"]):
        assert str(sae.origin) == "antiberty layers.4"
        assert sae.encode_scipy(rows).toarray() == pytest.approx(trained, abs=1e-4)
    assert "not known" in names["hits"].context["caveats"]["held_out"]
    assert names["fit"].site in (None, "layers.4") and len(names["known"]) == 6


def _variants(names: dict) -> None:
    context = names["effects"].context
    assert [record["row"] for record in context["variants"]] == [1, 2, 3]
    assert [record["row"] for record in context["refused"]] == [4, 5]


def _steering(names: dict) -> None:
    """The feature is felt where it is taken away; directions are read at one divergence; open positions alone change."""
    assert names["gone"].on_target > names["gone"].off_target > 0
    control, start = names["control"], names["proposals"].context["start"]["sequence"]
    assert {"feature", "means", "neuron", "component", "random", "noise"} == set(control["kind"]) - {"set"}
    assert all(t[:30] + t[34:] == start[:30] + start[34:] for t in names["proposals"]["sequence"])


def _labels(names: dict) -> None:
    """Every plainer reading stands in the table, and the rule's points are what its terms add up to."""
    table, rule = names["table"], names["rule"]
    assert set(table["representation"]) == {
        "features", "activations", "letters", "kmers", "composition", "length", "shuffled labels",
    }  # fmt: skip
    assert len(rule.terms) <= 5 and set(names["points"]) <= set(range(-15, 16))
    assert (
        table.context["needed"] != "yes"
    )  # mean activations read it as well, and 30 steps make no dictionary


CHECKS = {
    "job-labels": _labels,
    "job-cells": _cells,
    "job-dna": _dna,
    "job-embeddings": _embeddings,
    "job-ranks": _ranks,
    "job-sae": _sae,
    "job-steering": _steering,
    "job-variants": _variants,
}


def test_what_the_manual_adds_by_one_record_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A baseline, a stage and a format of the page, with the values that they must have."""
    monkeypatch.setattr(ledger, "STAGES", dict(ledger.STAGES))
    monkeypatch.setattr(foreign, "FORMATS", dict(foreign.FORMATS))
    monkeypatch.setattr(baselines, "BASELINES", baselines.BASELINES)
    monkeypatch.chdir(tmp_path)
    page = PAGES[0].parent / "howto-extend.md"
    found: dict = {}
    exec(compile(code_of(page), page.name, "exec"), found)  # the text of our own manual
    # the feature fires at K, a charge above 0 is K or R
    chosen = found["hits"].query("selected").iloc[0]
    assert found["found"]["f1"] == 1 and (chosen["best_baseline"], chosen["explained_by"]) == (
        "charge",
        "letters",
    )
    letters = "".join(found["sequences"])
    n, hit = sum(x in "KR" for x in letters), letters.count("K")
    assert chosen["f1"] == pytest.approx(2 * hit / (n + hit))  # of all families: folds
    assert found["done"] and ledger.is_done(tmp_path / "runs" / "extended", "rank")
    for sae in (found["sae"], found["again"]):
        assert torch.allclose(sae.reconstruct(found["x"]), found["plain"], atol=1e-4)
    monkeypatch.undo()
    with pytest.raises(FormatError, match=r"got fc1\.bias, .*Save its arrays as W_enc"):
        si.load_sae(tmp_path / "mine.pt")
