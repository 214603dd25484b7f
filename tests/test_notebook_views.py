"""What objects show in a notebook: short, escaped, and true."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

import sciinterp as si
from sciinterp.frames import html_card
from sciinterp.project import Run
from sciinterp.sae.base import SAE

sys.path.insert(0, str(Path(__file__).resolve().parent / "report"))
import synthetic_run as made

EVIL = "<script>window.pwned=1</script>"


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> dict:
    """Every object with hostile text wherever text can be."""
    samples = made.make_samples(12, names=[EVIL])
    samples.dropped = {EVIL: 3}
    annotations = made.make_annotations(samples, {"imgt:FR1": EVIL})
    annotations.counts["dropped"] = {EVIL: 2}
    codes = sp.csr_array(np.eye(samples.n_positions, 8, dtype=np.float32))
    features = si.FeatureMatrix(codes, samples, identity={"sae": {"model": EVIL, "site": EVIL * 50}})
    folder = tmp_path_factory.mktemp("view")
    sae = si.train(
        torch.randn(300, 4).numpy(), si.TopK(n_features=8, k=2), out=folder / "sae", steps=3, seed=5
    )
    sae.identity = {"model": EVIL, "site": "layers.1"}
    return {
        "Samples": samples,
        "Split": si.split_families(samples, by="family", seed=0),
        "Annotations": annotations,
        "FeatureMatrix": features,
        "SAE": sae,
        "Run": Run(
            Path(EVIL),
            {"complete": True, "stages": {EVIL: {}}, "results": {EVIL: 3, "sae": {"fve": 0.83}}},
            annotations,
            si.split_families(samples, by="family", seed=0),
        ),
        "Table": made.make_hits(samples, annotations),
    }


NAMES = ["Samples", "Split", "Annotations", "FeatureMatrix", "SAE", "Run", "Table"]


@pytest.mark.parametrize("name", NAMES)
def test_view_is_short_and_escaped(shown, name):
    html = shown[name]._repr_html_()
    assert "<script" not in html
    assert len(html) < (6_000 if name != "Table" else 60_000)  # a Table is a data frame and cut by pandas
    opened = re.findall(r"<(p|table|tbody|tr|td|th)\b", html)
    assert len(opened) == len(re.findall(r"</(p|table|tbody|tr|td|th)>", html))


def test_views_say_what_matters(shown):
    assert "&lt;script&gt;" in shown["Samples"]._repr_html_()
    assert f"{len(shown['Samples']):,} protein" in shown["Samples"]._repr_html_()
    for part in ("train", "calibration", "test", "families"):
        assert part in shown["Split"]._repr_html_()
    sae = shown["SAE"]
    for text in ("4 -&gt; 8", f"{sae.metrics['fve']:.4g}", "layers.1", "<td>5</td>"):
        assert text in sae._repr_html_()
    assert "0.83" in shown["Run"]._repr_html_()
    assert "never active" in shown["FeatureMatrix"]._repr_html_()


def test_everything_a_notebook_shows_has_a_view():
    for shown_type in (
        si.Samples,
        si.Split,
        si.Activations,
        si.Annotations,
        si.FeatureMatrix,
        SAE,
        Run,
        pd.DataFrame,
    ):
        assert hasattr(shown_type, "_repr_html_"), shown_type


def test_card_cuts_long_text():
    html = html_card("x" * 10_000, {"k": "y" * 10_000}, pd.DataFrame({"c": ["z" * 10_000] * 100}))
    assert len(html) < 5_000
