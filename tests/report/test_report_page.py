# ruff: noqa: F811
"""The report: one file, the same bytes, nothing executed, nothing asked for, and tables that work."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
import synthetic_run as made
from hypothesis import given, settings
from hypothesis import strategies as st
from report_fixtures import chromium, hostile_run, run  # noqa: F401

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.plots.style import plain
from sciinterp.report.content import VERDICTS, plain_data, verdict
from sciinterp.report.inline import inline_svg
from sciinterp.tables import Table


@pytest.fixture(scope="session")
def page(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return si.report(
        folder / "report.html",
        sae=run["sae"],
        features=run["features"],
        hits=run["hits"],
        candidates=run["candidates"],
        manifest={"licences": {"model": "MIT"}},
    )


@pytest.fixture(scope="session")
def hostile_page(hostile_run, tmp_path_factory):
    r = hostile_run
    folder = tmp_path_factory.mktemp("hostile")
    return si.report(
        folder / "report.html",
        sae=r["sae"],
        features=r["features"],
        hits=r["hits"],
        candidates=r["candidates"],
        manifest=r["manifest"],
    )


def test_same_run_same_bytes(run, page, tmp_path):
    again = si.report(
        tmp_path / "report.html",
        sae=run["sae"],
        features=run["features"],
        hits=run["hits"],
        candidates=run["candidates"],
        manifest={"licences": {"model": "MIT"}},
    )
    assert again.read_bytes() == page.read_bytes()
    assert again.with_suffix(".json").read_bytes() == page.with_suffix(".json").read_bytes()
    first, second = (sorted((p.parent / "figures").iterdir()) for p in (again, page))
    assert [f.name for f in first] == [f.name for f in second]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second))


def test_page_is_self_contained_and_locked(page):
    html = page.read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html).group(1).replace("&#39;", "'")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        assert len(blocks) == 1
        digest = base64.b64encode(hashlib.sha256(blocks[0].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert not re.search(r'\bstyle="', html)
    assert not re.search(r'(?:src|href)="(?!#|data:image/png;base64,)', html)
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers))


def test_json_holds_what_the_page_shows(run, page):
    data = json.loads(page.with_suffix(".json").read_text())
    concepts = {c["concept"]: c for c in data["concepts"]}
    assert set(made.BASELINES) == {b["name"] for b in data["controls"]["run"]}
    chosen = run["hits"][run["hits"]["selected"]].set_index("concept")
    assert set(concepts) == set(chosen.index)
    for name, row in concepts.items():
        assert row["f1"] == chosen.at[name, "f1"]
        assert set(row["baselines"]) == set(made.BASELINES)
    assert len(data["figures"]) >= 6
    assert data["candidates"]["n"] == len(run["candidates"])
    assert data["done"]["data"]["dropped"] == {"repeated sequence": 5}
    assert any("not from the model's own pre-training" in p for p in data["methods"])
    assert data["controls"]["not_run"] == [
        {"stage": "association", "name": "probe", "reason": "no activations were given"}
    ]
    stated = {s["verdict"]: s["concepts"] for s in data["statements"]}
    assert sum(map(len, stated.values())) == len(concepts)
    assert "imgt:CDR1" in stated["position"]


def test_six_figures_as_vector_and_pixels(page):
    names = {p.name for p in (page.parent / "figures").iterdir()}
    for name in ("training", "density", "concepts_vs_baselines", "heatmap", "activation", "logo"):
        assert {f"{name}.svg", f"{name}.png"} <= names


@given(st.floats(0, 1), st.floats(-1, 1), st.dictionaries(st.sampled_from(made.BASELINES), st.floats(0, 1)))
@settings(max_examples=200, deadline=None)
def test_verdict_is_one_of_the_stated_ones_and_honest(f1, low, baselines):
    said = verdict({"f1": f1, "delta_low": low}, baselines)
    assert said in VERDICTS
    assert (said == "above") == (low > 0)
    if low <= 0 and baselines.get("position", -1) >= f1:
        assert said == "position"
    if said == "unclear":
        assert all(v < f1 for v in baselines.values())


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(max_size=3), s, max_size=3),
        max_leaves=8,
    )
)
@settings(max_examples=100, deadline=None)
def test_plain_data_is_strict_json(value):
    json.dumps(plain_data({"v": value, "a": np.array([1.0, np.nan])}), allow_nan=False)


@given(st.text(max_size=30))
@settings(max_examples=50, deadline=None)
def test_inline_svg_escapes_its_title(text):
    out = inline_svg(b'<svg width="9pt" height="3pt"><path style="fill: none"/></svg>', name="f", title=text)
    assert out.count("<") == 5


def test_report_without_anything_optional(tmp_path):
    samples = made.make_samples(4)
    features = made.make_features(samples)
    hits = Table({"feature": [], "concept": [], "selected": [], "f1": []})
    html = si.report(tmp_path / "r.html", features=features, hits=hits).read_text()
    assert "No concept could be tested" in html
    plain_hits = pd.DataFrame({"feature": [1], "concept": ["a"], "f1": [np.nan]})
    assert "not tested" in si.report(tmp_path / "s.html", features=features, hits=plain_hits).read_text()
    with pytest.raises(InputError, match="not a table of hits"):
        si.report(tmp_path / "t.html", features=features, hits=pd.DataFrame({"x": []}))
    assert not (tmp_path / "t.html").exists()


def test_report_can_be_called_whatever_was_imported_first(run, page):
    import sciinterp.report

    assert callable(sciinterp.report)
    assert sciinterp.report.__name__ in ("sciinterp.report", "report")


def test_page_works_in_chromium(chromium, page):
    chromium.errors()
    chromium.requests()
    chromium.open(page.as_uri())
    assert chromium.busy_seconds() < 2
    count = "return [...document.querySelectorAll('#concept-table tbody tr')].filter(r => !r.hidden).length"
    assert chromium.run(count) == 10
    heads = chromium.run(
        "return [...document.querySelectorAll('#concept-table thead th')].map(t => t.textContent)"
    )
    column = heads.index("F1")
    chromium.run(
        f"document.querySelectorAll('#concept-table thead th')[{column}].querySelector('button').click()"
    )
    values = chromium.run(
        f"return [...document.querySelectorAll('#concept-table tbody tr')].map(r => "
        f"+r.cells[{column}].dataset.v)"
    )
    assert values == sorted(values, reverse=True)
    chromium.run(
        f"document.querySelectorAll('#concept-table thead th')[{column}].querySelector('button').click()"
    )
    assert chromium.run(
        f"return document.querySelectorAll('#concept-table tbody tr')[0].cells[{column}].dataset.v"
    ) == str(min(values))
    type_in = (
        "const i = document.querySelector('#concept-tools input'); i.value = arguments[0]; "
        "i.dispatchEvent(new Event('input'))"
    )
    chromium.run(type_in, "cdr3")
    assert chromium.run(count) == 1
    chromium.run(type_in, "")
    chromium.run(
        "const s = document.querySelector('#concept-tools select'); s.value = 'position'; "
        "s.dispatchEvent(new Event('change'))"
    )
    assert 0 < chromium.run(count) < 10
    chromium.run("document.getElementById('theme').click()")
    assert chromium.run("return document.documentElement.dataset.theme") in ("dark", "light")
    assert chromium.errors() == []
    assert all(url.startswith(("file:", "data:", "chrome:")) for url in chromium.requests())


def test_hostile_text_executes_nothing_and_shows(chromium, hostile_page, hostile_run):
    chromium.errors()
    chromium.requests()
    chromium.open(hostile_page.as_uri())
    assert chromium.run("return window.pwned === undefined && document.scripts.length === 1")
    assert (
        chromium.run(
            "return document.querySelectorAll('iframe, img, base, math, form, object, embed').length"
        )
        == 0
    )
    shown = chromium.run("return document.body.textContent")
    squeeze = lambda text: "".join(text.split())  # noqa: E731
    body = squeeze(shown)
    missing = [t for t in hostile_run["texts"] if squeeze(t) not in body]
    assert missing == []
    assert chromium.errors() == []
    assert [u for u in chromium.requests() if not u.startswith(("file:", "data:", "chrome:"))] == []
    assert plain("x") == "x"
