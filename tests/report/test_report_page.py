# ruff: noqa: F811
"""The report: one file, the same bytes, nothing executed, nothing asked for, and tables that work."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import synthetic_run as made
from hypothesis import given, settings
from hypothesis import strategies as st
from report_fixtures import chromium, hostile_run, run  # noqa: F401

import sciinterp as si
from sciinterp.association.explanations import THRESHOLDS
from sciinterp.errors import InputError
from sciinterp.frames import Table
from sciinterp.plots.style import plain
from sciinterp.report.content import VERDICTS, set_rows, verdict
from sciinterp.report.inline import inline_svg
from sciinterp.report.json_values import plain_data
from sciinterp.report.prose import value as number
from sciinterp.report.write import render

MANIFEST = {"licences": {"model": "MIT"}, "full": made.make_full()}


@pytest.fixture(scope="session")
def page(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return si.report(
        folder / "report.html",
        sae=run["sae"],
        features=run["features"],
        hits=run["hits"],
        candidates=run["candidates"],
        annotations=run["annotations"],
        split=run["split"],
        manifest=MANIFEST,
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
        annotations=r["annotations"],
        split=r["split"],
        manifest=r["manifest"],
    )


def test_same_run_same_bytes(run, page, tmp_path):
    again = si.report(
        tmp_path / "report.html",
        sae=run["sae"],
        features=run["features"],
        hits=run["hits"],
        candidates=run["candidates"],
        annotations=run["annotations"],
        split=run["split"],
        manifest=MANIFEST,
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


class Shown(HTMLParser):
    """Text of a page without white space, and the values its tables sort by."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.skip, self.text, self.values = 0, "", set()
        self.feed(re.sub(r"<(style|script|svg)\b.*?</\1>", "", html, flags=re.S))
        self.text = "".join(self.text.split())

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.values |= {value for name, value in attrs if name == "data-v"}


def leaves(value, path=()):
    """(path, value) of everything in a JSON document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)
    else:
        yield path, value


def figures_of(page) -> dict[str, bytes]:
    names = [f["name"] for f in json.loads(page.with_suffix(".json").read_text())["figures"]]
    return {name: (page.parent / "figures" / f"{name}.svg").read_bytes() for name in names}


def test_page_is_drawn_from_report_json_and_the_figures_alone(page, hostile_page):
    for path in (page, hostile_page):
        content = json.loads(path.with_suffix(".json").read_text())
        assert render(content, figures_of(path)) == path.read_text(encoding="utf-8")


# shown as a mark, a class, a place or a word rather than as this value
NOT_TEXT = {"verdict", "counted", "found", "selected", "width", "digits", "shown_feature", "bin"}
# drawn in a figure alone
IN_FIGURES = {("beyond", "calibration"), ("candidates", "precision")}


def test_page_shows_everything_that_report_json_holds(page):
    content = json.loads(page.with_suffix(".json").read_text())
    shown = Shown(page.read_text(encoding="utf-8"))
    missing, seen = [], 0
    for path, value in leaves(content):
        if value is None or value == "" or isinstance(value, bool):
            continue
        if path[-1] in NOT_TEXT or path[:2] in IN_FIGURES:
            continue
        seen += 1
        if isinstance(value, str):
            found = "".join(value.split()) in shown.text
        else:
            digits = range(1 if path[0] == "sae" else 2, 6) if abs(value) < 10 else range(6)
            written = {
                str(value),
                f"{value:,}",
                f"{value:.4g}",
                *(number(value, d) for d in digits),
                f"{100 * value:.1f}%",
                f"{100 * value:.2f}%",
            }
            cell = path[:-1] in (("concepts",), ("unexplained", "rows"), ("candidates", "rows"))
            text = any(w in shown.text for w in written) and (
                not cell or path[-1].endswith(("_low", "_high"))
            )
            found = text or str(value) in shown.values
        if not found:
            missing.append((".".join(map(str, path)), value))
    assert seen > 500
    assert not missing, missing[:20]


def test_numbers_of_the_page_are_those_of_report_json(page):
    content = json.loads(page.with_suffix(".json").read_text())
    known = {str(v) for _, v in leaves(content) if isinstance(v, int | float)} | {""}
    assert Shown(page.read_text(encoding="utf-8")).values <= known


def test_every_kind_of_candidate_is_listed(run, tmp_path):
    """The commonest kind must not push the others out of the table."""
    many = made.make_candidates(run["samples"], run["annotations"], n=900)
    many.loc[many.index[5:], "kind"] = "missing"
    path = si.report(tmp_path / "r.html", features=run["features"], hits=run["hits"], candidates=many)
    listing = json.loads(path.with_suffix(".json").read_text())["candidates"]
    assert {k["kind"]: (k["n"], k["shown"]) for k in listing["kinds"]} == {
        "missing": (897, 297),
        "novel": (2, 2),
        "refinement": (1, 1),
    }
    assert listing["shown"] == len(listing["rows"]) == 300


def test_methods_state_every_setting(page):
    text = " ".join(json.loads(page.with_suffix(".json").read_text())["methods"])
    for said in (
        "601 steps of 2,048 positions",
        "passes over 109,062",
        "learning rate of 0.0125",
        "warm-up over 5%",
        "Intervals (95%) leave out one of",
        "Benjamini-Hochberg, q at most 0.05",
        "seed 0",
        "Cochran-Mantel-Haenszel",
        "shifting annotations around their chains",
        "Not run: probe",
        "imgt",
        "8 families",
        "4 missing",
    ):
        assert said in text, said


def test_six_figures_as_vector_and_pixels(page):
    names = {p.name for p in (page.parent / "figures").iterdir()}
    for name in ("training", "density", "concepts_vs_baselines", "heatmap", "activation", "logo"):
        assert {f"{name}.svg", f"{name}.png"} <= names


@pytest.mark.parametrize("which", ["page", "hostile_page", "largest_page"])
def test_figures_are_numbered_as_they_stand(which, request):
    page = request.getfixturevalue(which)
    text, drawn = (
        page.read_text(encoding="utf-8"),
        json.loads(page.with_suffix(".json").read_text())["figures"],
    )
    numbers = [int(n) for n in re.findall(r'<figure class="[^"]*" id="figure-(\d+)"', text)]
    assert numbers == list(range(1, len(drawn) + 1))
    assert [int(n) for n in re.findall(r"<b>Figure (\d+)\. ", text)] == numbers


@given(st.floats(0, 1), st.floats(-1, 1), st.dictionaries(st.sampled_from(made.BASELINES), st.floats(0, 1)))
@settings(max_examples=200, deadline=None)
def test_verdict_is_one_of_the_stated_ones_and_honest(f1, low, baselines):
    said = verdict({"f1": f1, "delta_low": low}, baselines)
    assert said in VERDICTS
    assert (said == "above") == (low > 0)
    if low <= 0 and baselines.get("position", -1) >= max(f1, THRESHOLDS.floor):
        assert said == "position"
    if said == "not found":
        assert max([f1, *baselines.values()]) < THRESHOLDS.floor
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
    text = json.dumps(plain_data({"v": value, "a": np.array([1.0, np.nan])}), allow_nan=False)
    assert json.loads(text)["a"] == [1.0, None]


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
    with pytest.raises(InputError, match="no such column, hits: expected 'x', got 'feature'"):
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
    assert not missing, missing[:20]
    assert chromium.errors() == []
    assert [u for u in chromium.requests() if not u.startswith(("file:", "data:", "chrome:"))] == []
    assert plain("x") == "x"


@pytest.fixture(scope="module")
def largest_page(tmp_path_factory):
    """10,000 features, 400 concepts, 900 candidates."""
    samples = made.make_samples(120)
    notes = made.make_annotations(samples)
    rng = np.random.default_rng(0)
    codes = sp.random_array(
        (samples.n_positions, 10_000), density=0.003, rng=rng, format="csr", dtype=np.float32
    )
    one = made.make_hits(samples, notes)
    parts = []
    for i in range(40):
        part = one.copy()
        part["concept"] += f" {i}"
        part["feature"] = rng.integers(0, 10_000, len(part))
        parts.append(part)
    wide = pd.concat([one.context["baselines"].rename(index=lambda c, i=i: f"{c} {i}") for i in range(40)])
    hits = Table(pd.concat(parts, ignore_index=True), context={**one.context, "baselines": wide})
    return si.report(
        tmp_path_factory.mktemp("largest") / "r.html",
        features=si.FeatureMatrix(codes, samples),
        hits=hits,
        candidates=made.make_candidates(samples, notes, n=900),
    )


def test_largest_page_shows_everything(chromium, largest_page):
    content = json.loads(largest_page.with_suffix(".json").read_text())
    assert len(content["concepts"]) == 400
    assert content["unexplained"]["n_active"] == 10_000
    chromium.errors()
    chromium.open(largest_page.as_uri())
    assert chromium.run("return document.querySelectorAll('#concept-table tbody tr').length") == 400
    chromium.run("document.querySelectorAll('#concept-table thead button')[2].click()")
    assert chromium.errors() == []


@pytest.mark.bench
def test_largest_page_is_ready_in_two_seconds(chromium, largest_page):
    """The processor's seconds until the page answers."""
    chromium.open(largest_page.as_uri())
    assert chromium.run("return document.querySelectorAll('#concept-table tbody tr').length") == 400
    assert chromium.busy_seconds() < 2
    before = chromium.busy_seconds()
    chromium.run("document.querySelectorAll('#concept-table thead button')[2].click()")
    assert chromium.busy_seconds() - before < 0.5


def test_page_can_be_read_by_keyboard_and_screen_reader(chromium, page):
    chromium.open(page.as_uri())
    unnamed = chromium.run(
        "return [...document.querySelectorAll('button, input, select, a, svg[role=img], [role=region], summary')]"
        ".filter(n => !(n.textContent.trim() || n.getAttribute('aria-labelledby') || n.labels?.length))"
        ".map(n => n.outerHTML.slice(0, 80))"
    )
    assert unnamed == []
    dangling = chromium.run(
        "return [...document.querySelectorAll('[aria-labelledby], a[href^=\"#\"]')]"
        ".map(n => n.getAttribute('aria-labelledby') || n.getAttribute('href').slice(1))"
        ".filter(id => !document.getElementById(id))"
    )
    assert dangling == []
    assert chromium.run("return document.querySelectorAll('h1').length") == 1
    heads = chromium.run(
        "return [...document.querySelectorAll('table')].filter(t => [...t.tHead.rows[0].cells].some(c => c.scope !== 'col')).length"
    )
    assert heads == 0
    # every control can be reached by Tab, and a column sorted by Enter says so
    chromium.run("document.querySelector('#concept-table thead th:nth-child(3) button').focus()")
    chromium.command(
        "Input.dispatchKeyEvent", {"type": "keyDown", "key": "Enter", "code": "Enter", "text": "\r"}
    )
    assert (
        chromium.run(
            "return document.querySelector('#concept-table thead th:nth-child(3)').getAttribute('aria-sort')"
        )
        == "descending"
    )
    assert chromium.run(
        "return [...document.querySelectorAll('.scroll[role=region]')].every(n => n.tabIndex === 0)"
    )


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground(chromium, page, dark):
    """WCAG AA: a contrast of 4.5 for text, in the light and in the dark."""
    chromium.open(page.as_uri())
    chromium.run(f"document.documentElement.dataset.theme = '{'dark' if dark else 'light'}'")
    low = chromium.run(
        """
        const value = (c) => { const [r, g, b] = c.match(/[0-9.]+/g).slice(0, 3).map((v) => {
          v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
          return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const ground = (n) => { for (; n; n = n.parentElement) { const c = getComputedStyle(n).backgroundColor;
          if (!/, 0\\)$/.test(c) && c !== "transparent" && !c.startsWith("color")) return c; } return "rgb(255,255,255)"; };
        const out = new Set();
        for (const n of document.querySelectorAll("main *, nav *")) {
          if (n.closest("svg") || ![...n.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim())) continue;
          const [a, b] = [value(getComputedStyle(n).color), value(ground(n))].sort((x, y) => y - x);
          if ((a + 0.05) / (b + 0.05) < 4.5) out.add(n.tagName + "." + n.className + " " + ((a + 0.05) / (b + 0.05)).toFixed(2));
        }
        return [...out];
        """
    )
    assert low == []


def test_paper_shows_what_was_folded_away_and_no_tools(chromium, page):
    chromium.open(page.as_uri())
    printed = chromium.command("Page.printToPDF", {"preferCSSPageSize": True})
    assert len(base64.b64decode(printed["data"])) > 50_000
    chromium.command("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        shown = "return getComputedStyle(document.querySelector(arguments[0])).display"
        assert chromium.run(shown, ".tools") == "none"
        assert chromium.run(shown, "nav.contents") == "block"
        assert chromium.run("return document.documentElement.scrollWidth <= innerWidth")
        chromium.run("dispatchEvent(new Event('beforeprint'))")
        folded = "return [...document.querySelectorAll('details:not(td details)')].filter(d => d.open).length"
        assert chromium.run(folded) >= 3
        chromium.run("dispatchEvent(new Event('afterprint'))")
        assert chromium.run(folded) == 0
    finally:
        chromium.command("Emulation.setEmulatedMedia", {"media": ""})


def test_sets_are_a_section_of_numbers_and_sentences(run, page):
    content = json.loads(page.with_suffix(".json").read_text())
    rows = content["sets"]["rows"]
    assert [row["concept"] for row in rows] == list(dict.fromkeys(run["hits"]["concept"]))
    assert rows[0]["f1"] == pytest.approx([0.5, 0.6, 0.7])
    assert (rows[0]["k_found"], rows[0]["k_probe"]) == (1, 4)
    shown = unescape(page.read_text())
    for text in [*content["sets"]["sentences"], rows[1]["sentence"]]:
        assert text in shown
    assert any(f["name"] == "sets" for f in content["figures"])
    bare = Table(run["hits"], context={k: v for k, v in run["hits"].context.items() if k != "sets"})
    assert set_rows(bare) == {"sentences": [], "sizes": [], "rows": []}
    figures = figures_of(page)
    content["figures"] = [f for f in content["figures"] if f["name"] != "sets"]
    assert "No sets were read." in render({**content, "sets": set_rows(bare)}, figures)
