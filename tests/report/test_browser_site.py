# ruff: noqa: F811
"""The browser: opens from disk, asks for nothing, runs no text, stays quick with ten thousand features."""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from functools import partial
from http.server import ThreadingHTTPServer

import numpy as np
import pytest
import scipy.sparse as sp
import synthetic_run as made
from hypothesis import given, settings
from hypothesis import strategies as st
from report_fixtures import chromium, hostile_run, run  # noqa: F401

import sciinterp as si
from sciinterp.errors import FormatError, InputError
from sciinterp.report import browser as site
from sciinterp.report import peaks as pk
from sciinterp.report.site_data import SiteData
from sciinterp.report.structures import find_structures, read_trace

OURS = ("file:", "data:", "chrome:")


def pdb_text(sequence: str, *, chain: str = "A") -> str:
    """A spiral of alpha carbons in PDB format."""
    from Bio.SeqUtils import seq3

    lines = []
    for i, letter in enumerate(sequence):
        x, y, z = 2.3 * np.cos(1.745 * i), 2.3 * np.sin(1.745 * i), 1.5 * i
        lines.append(
            f"ATOM  {i + 1:5d}  CA  {seq3(letter).upper()} {chain}{i + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
            f"  1.00  0.00           C  "
        )
    return "\n".join([*lines, "END", ""])


@pytest.fixture(scope="module")
def page(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    structure = folder / "one.pdb"
    structure.write_text(pdb_text(run["samples"][2].sequence))
    return site.write_browser(
        folder / "site",
        features=run["features"],
        hits=run["hits"],
        sae=run["sae"],
        candidates=run["candidates"],
        structures={run["samples"].ids[2]: structure},
    )


def read_chunk(path):
    """What the page would parse."""
    name, text = re.fullmatch(r'sciinterpChunk\("([a-z0-9-]+)",(".*")\);\n', path.read_text()).groups()
    assert name == path.stem
    return json.loads(json.loads(text))


def go(chromium, page, where):
    chromium.open(page.as_uri() + "#" + where)
    chromium.wait(f"return document.documentElement.dataset.page === '#{where}'")


def test_same_run_same_bytes(run, page, tmp_path):
    structure = page.parent.parent / "one.pdb"
    again = site.write_browser(
        tmp_path / "s",
        features=run["features"],
        hits=run["hits"],
        sae=run["sae"],
        candidates=run["candidates"],
        structures={run["samples"].ids[2]: structure},
    )
    first, second = (
        {p.relative_to(r.parent): p.read_bytes() for p in r.parent.rglob("*") if p.is_file()}
        for r in (page, again)
    )
    assert first == second


def test_chunks_agree_with_the_codes(run, page):
    features, data = run["features"], page.parent / "data"
    index = read_chunk(data / "index.js")
    assert index["n_features"] == features.n_features
    assert index["samples"]["id"] == list(features.samples.ids)
    dense = features.codes.toarray()
    for j, entry in enumerate(read_chunk(data / "features-0.js")):
        for shown in entry["examples"]:
            rows = dense[features.rows(shown["sample"]), j]
            assert [p for p, _ in shown["on"]] == np.flatnonzero(rows > 0).tolist()
            assert np.allclose([v for _, v in shown["on"]], rows[rows > 0], atol=1e-3)
    for s, entry in enumerate(read_chunk(data / "samples-0.js")):
        assert entry["sequence"] == features.samples[s].sequence
        for j, on in entry["tracks"]:
            rows = dense[features.rows(s), j]
            assert [p for p, _ in on] == np.flatnonzero(rows > 0).tolist()


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=12),
        lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v, max_size=3),
        max_leaves=6,
    )
)
@settings(max_examples=150, deadline=None)
def test_a_chunk_is_one_call_with_inert_text(value):
    raw = site.chunk("x", value).decode("ascii")
    assert raw.count("\n") == 1
    assert "<" not in raw
    text = re.fullmatch(r'sciinterpChunk\("x",("(?:[^"\\]|\\.)*")\);\n', raw).group(1)
    assert json.loads(json.loads(text)) == value


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_peaks_are_the_maxima(seed):
    rng = np.random.default_rng(seed)
    samples = made.make_samples(4, seed=seed % 1000)
    dense = rng.random((samples.n_positions, 5)) * (rng.random((samples.n_positions, 5)) < 0.01)
    features = si.FeatureMatrix(sp.csr_array(dense.astype(np.float32)), samples)
    found = pk.find_peaks(features)
    best = features.max_per_sample().toarray()
    for j in range(5):
        span = found.of(j)
        assert np.array_equal(np.sort(found.sample[span]), np.flatnonzero(best[:, j]))
        assert np.array_equal(found.value[span], best[found.sample[span], j])
        assert (np.diff(found.value[span]) <= 0).all()
        assert np.allclose(dense[found.position[span], j], found.value[span])


def test_motif_counts_stay_inside_their_sample():
    samples = si.Samples(["a", "b"], ["WWWW", "CCCC"])
    features = si.FeatureMatrix(sp.csr_array(np.ones((8, 1), np.float32)), samples)
    letters = pk.Letters(features)
    counts = letters.counts(np.array([3]))
    assert counts[:, letters.alphabet.index("C")].sum() == 0
    assert counts[:, letters.alphabet.index("W")].sum() == 4


def test_structures_are_matched_to_positions(tmp_path, run):
    sequence = run["samples"][0].sequence
    path = tmp_path / "x.pdb"
    path.write_text(pdb_text("GG" + sequence[:60] + sequence[63:]))
    trace = read_trace(path, sequence)
    assert trace["matched"] > 0.9
    assert len(trace["xyz"]) == 3 * len(trace["position"])
    inside = [p for p in trace["position"] if p >= 0]
    assert inside == sorted(inside)
    path.write_text("not a structure")
    with pytest.raises(FormatError):
        read_trace(path, sequence)
    with pytest.raises(InputError, match="folder of structures"):
        find_structures(tmp_path / "none", run["samples"])
    assert find_structures(tmp_path, run["samples"]) == {}


def test_a_folder_in_use_is_left_alone(run, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="in use"):
        site.write_browser(tmp_path, features=run["features"], hits=run["hits"])
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_served_on_loopback_only_its_own_files(page):
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(site._handler(), directory=str(page.parent))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        with urllib.request.urlopen(base + "/") as answer:
            assert b"Feature browser" in answer.read()
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        for path, headers in (
            ("/data/", {}),
            ("/../one.pdb", {}),
            ("/data/index.js", {"Host": "example.org"}),
        ):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(urllib.request.Request(base + path, headers=headers))
        server.shutdown()


def test_every_page_opens_from_disk(chromium, page):
    chromium.errors()
    chromium.requests()
    for where in (
        "/",
        "/concepts",
        "/samples",
        "/map",
        "/candidates",
        "/about",
        "/feature/8",
        "/sample/2",
        "/concept/0",
        "/structure/2/0",
        "/feature/999",
        "/nonsense",
    ):
        if where == "/nonsense":
            chromium.open(page.as_uri() + "#" + where)
            chromium.wait("return location.hash === '#/'")
            continue
        go(chromium, page, where)
        assert chromium.run("return document.querySelectorAll('h1').length") == 1
    assert chromium.errors() == []
    assert [u for u in chromium.requests() if not u.startswith(OURS)] == []


def test_search_sort_filter_and_links(chromium, page):
    go(chromium, page, "/")
    first = "return document.querySelector('tbody tr td').textContent"
    column = "return [...document.querySelectorAll('tbody tr')].map(r => r.cells[2].textContent)"
    values = [float(v) for v in chromium.run(column) if v != "–"]
    assert values == sorted(values, reverse=True)
    chromium.run("document.querySelector('thead th button').click()")
    assert chromium.run(first) == "63"
    chromium.run("document.querySelector('thead th button').click()")
    assert chromium.run(first) == "0"
    assert chromium.run("return document.querySelector('thead th').getAttribute('aria-sort')") == "ascending"
    chromium.run(
        "const i = document.querySelector('main input'); i.value = 'cys104'; i.dispatchEvent(new "
        "Event('input'))"
    )
    assert 0 < chromium.run("return document.querySelectorAll('tbody tr').length") < 64
    chromium.run(
        "const s = document.querySelector('main select'); s.value = 'above'; s.dispatchEvent(new "
        "Event('change'))"
    )
    rows = chromium.run("return document.querySelectorAll('tbody tr').length")
    assert rows <= 2
    chromium.run(
        "document.getElementById('goto').value = '17'; document.getElementById('go').requestSubmit()"
    )
    chromium.wait("return document.querySelector('h1').textContent === 'Feature 17'")
    chromium.run("[...document.querySelectorAll('a')].find(a => a.textContent === 'Next feature').click()")
    chromium.wait("return document.querySelector('h1').textContent === 'Feature 18'")
    assert chromium.run("return document.activeElement.tagName") == "H1"


def test_feature_page_draws_sequences_with_annotations(chromium, page):
    go(chromium, page, "/feature/8")
    assert chromium.run("return document.querySelectorAll('.track svg rect.act').length") > 20
    assert chromium.run("return document.querySelectorAll('.track svg text').length") > 300
    assert "imgt:CDR3" in chromium.run("return document.querySelector('.legend').textContent")


def test_map_answers_mouse_and_keyboard(chromium, page):
    go(chromium, page, "/map")
    chromium.run(
        "const c = document.querySelector('canvas'), b = c.getBoundingClientRect(); c.dispatchEvent("
        "new MouseEvent('click', "
        "{clientX: b.left + b.width / 2, clientY: b.top + b.height / 2, bubbles: true}))"
    )
    chosen = chromium.run("return document.querySelector('.side h2').textContent")
    assert chosen.startswith("Feature ")
    press = (
        "document.querySelector('canvas').dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0]}))"
    )
    chromium.run(press, "ArrowRight")
    assert chromium.run("return document.querySelector('.side h2').textContent") != chosen
    chosen = chromium.run("return document.querySelector('.side h2').textContent")
    chromium.run(press, "Enter")
    chromium.wait(f"return document.querySelector('h1').textContent === '{chosen}'")


def test_structure_is_drawn_and_turns(chromium, page):
    go(chromium, page, "/structure/2/0")
    pixels = "return document.querySelector('canvas.structure').toDataURL()"
    before = chromium.run(pixels)
    chromium.run(
        "document.querySelector('canvas.structure').dispatchEvent(new KeyboardEvent('keydown', "
        "{key: 'ArrowLeft'}))"
    )
    assert chromium.run(pixels) != before
    assert len(before) > 5000


def test_hostile_text_executes_nothing_and_shows(chromium, hostile_run, tmp_path):
    r = hostile_run
    page = site.write_browser(
        tmp_path / "site",
        features=r["features"],
        hits=r["hits"],
        sae=r["sae"],
        candidates=r["candidates"],
        manifest=r["manifest"],
    )
    chromium.errors()
    chromium.requests()
    squeeze = lambda text: "".join(str(text).split())  # noqa: E731
    seen = ""
    for where in (
        "/",
        "/concepts",
        "/samples",
        "/candidates",
        "/about",
        "/map",
        "/feature/3",
        "/sample/0",
        "/concept/1",
    ):
        go(chromium, page, where)
        if where in ("/samples", "/candidates"):
            seen += squeeze(chromium.run("return document.querySelector('main').textContent"))
            chromium.run("[...document.querySelectorAll('.pages button')][1].click()")
        seen += squeeze(chromium.run("return document.querySelector('main').textContent"))
        assert chromium.run("return window.pwned === undefined")
        assert (
            chromium.run(
                "return document.querySelectorAll('main script, iframe, img, base, math, form form, "
                "object, embed').length"
            )
            == 0
        )
    assert [t for t in r["texts"] if squeeze(t) not in seen] == []
    assert chromium.errors() == []
    assert [u for u in chromium.requests() if not u.startswith(OURS)] == []


def big_site(folder, *, n_features: int, n_samples: int):
    """A site of a given size."""
    rng = np.random.default_rng(0)
    samples = made.make_samples(n_samples)
    annotations = made.make_annotations(samples)
    n = samples.n_positions
    columns = np.sort(rng.integers(0, n_features, (n, 16)), axis=1)
    codes = sp.csr_array(
        (rng.gamma(2, 1, n * 16).astype(np.float32), columns.ravel(), np.arange(0, 16 * n + 1, 16)),
        shape=(n, n_features),
    )
    codes.sum_duplicates()
    hits = made.make_hits(samples, annotations, n_features=n_features)
    return site.write_browser(
        folder, features=si.FeatureMatrix(codes, samples), hits=hits, sae=made.FakeSAE(n_features)
    )


@pytest.mark.slow
def test_ten_thousand_features_and_five_thousand_samples(chromium, tmp_path):
    check_quick(chromium, big_site(tmp_path / "site", n_features=10_000, n_samples=5_000), 10_000)


def test_ten_thousand_features_are_ready_in_two_seconds(chromium, tmp_path, monkeypatch):
    """The pages that show every feature; the slow test below writes the pages of each as well."""
    page = {
        "motif": "GxS",
        "logo": [],
        "peaks": 0,
        "histogram": {"counts": [], "max": 0},
        "examples": [],
        "pairs": [],
    }
    monkeypatch.setattr(pk, "coactive", lambda features: None)
    monkeypatch.setattr(pk, "similar", lambda directions: None)
    monkeypatch.setattr(SiteData, "_feature", lambda self, j: page)
    check_quick(chromium, big_site(tmp_path / "site", n_features=10_000, n_samples=60), 10_000)


def check_quick(chromium, page, n):
    """Open, sort, search and pick on the map: seconds of the main thread, which other work does not change."""
    chromium.open("about:blank")
    chromium.open(page.as_uri() + "#/")
    chromium.wait("return document.documentElement.dataset.page", 60)
    assert chromium.busy_seconds() < 2
    assert f"of {n:,}" in chromium.run("return document.querySelector('.pages').textContent")
    for action in (
        "document.querySelectorAll('thead th button')[5].click()",
        "const i = document.querySelector('main input'); i.value = 'cdr3'; i.dispatchEvent(new Event('input'))",
        "location.hash = '#/map'",
    ):
        before = chromium.busy_seconds()
        chromium.run(action)
        chromium.wait("return !location.hash.endsWith('map') || document.querySelector('canvas')", 60)
        assert chromium.busy_seconds() - before < 1
    before = chromium.busy_seconds()
    chromium.run(
        "const c = document.querySelector('canvas'), b = c.getBoundingClientRect();"
        "c.dispatchEvent(new MouseEvent('click', {clientX: b.left + 200, clientY: b.top + 200}))"
    )
    assert chromium.busy_seconds() - before < 0.5
