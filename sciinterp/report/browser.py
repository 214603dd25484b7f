"""The feature browser: a folder of static files that opens from disk and asks for nothing else.

Data lie in chunks that are loaded when needed. A browser refuses to fetch files from disk, so a chunk is a
script file with exactly one call and two JSON strings, ``sciinterpChunk("name", "...")``: the second is parsed as
JSON by our own static script, never run. Text from data reaches the page as text nodes only.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciinterp.errors import InputError
from sciinterp.report import content as c
from sciinterp.report import peaks as pk
from sciinterp.report.structures import find_structures, read_trace

if TYPE_CHECKING:
    import pandas as pd

    from sciinterp.features import FeatureMatrix
    from sciinterp.sae import SAE

log = logging.getLogger(__name__)

FEATURES_A_CHUNK = 64
SAMPLES_A_CHUNK = 32
TRACKS_A_SAMPLE = 40  # features drawn on a sample page, strongest first
PAIRS_A_CONCEPT = 25
SITE_FILES = ("browser.css", "core.js", "draw.js", "pages.js")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'none'; "
    "base-uri 'none'; form-action 'none'"
)


def browse(
    run: str | Path,
    *,
    out: str | Path | None = None,
    structures: Any = None,
    serve: bool = False,
    port: int = 8765,
) -> Path:
    """Write the feature browser of a finished run, and serve it on this machine when asked to.

    Parameters
    ----------
    run : path
        A run folder.
    out : path, optional
        Folder to write; ``browser/`` inside the run when not given.
    structures : mapping or path, optional
        Identifier -> PDB or mmCIF file, or a folder of files named by identifier.
    serve : bool
        Serve it on the loopback interface until interrupted.
    port : int
        Where to serve; 0 picks a free port.

    Returns
    -------
    Path
        ``index.html``.
    """
    from sciinterp.run import load_run

    found = load_run(run)
    page = write_browser(
        out or Path(run) / "browser",
        features=found.features,
        hits=found.hits,
        sae=found.sae,
        candidates=found.candidates,
        structures=structures,
        manifest=found.manifest,
    )
    if serve:
        serve_folder(page.parent, port=port)
    return page


def write_browser(
    out: str | Path,
    *,
    features: FeatureMatrix,
    hits: pd.DataFrame,
    sae: SAE | None = None,
    candidates: pd.DataFrame | None = None,
    structures: Any = None,
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """Write the feature browser of features and hits made anywhere.

    Parameters
    ----------
    out : path
        Folder to write.
    features : FeatureMatrix
    hits : pandas.DataFrame
        What ``associate`` returned.
    sae : SAE, optional
        Its decoder directions make the map; ``features.sae`` when not given.
    candidates : pandas.DataFrame, optional
    structures : mapping or path, optional
        Identifier -> PDB or mmCIF file, or a folder of files named by identifier.
    manifest : mapping, optional
        The run's manifest.

    Returns
    -------
    Path
        ``index.html``.
    """
    from sciinterp.report.write import describe
    from sciinterp.store.atomic import atomic_write

    out = Path(out)
    if out.is_dir() and any(out.iterdir()) and not (out / "index.html").is_file():
        raise InputError(
            "the output folder is in use by something else",
            where=f"folder '{out}'",
            expected="a new, empty or browser folder",
            do="Choose another folder.",
        )
    (out / "data").mkdir(parents=True, exist_ok=True)
    sae = sae if sae is not None else features.sae
    data = SiteData(
        features,
        hits,
        sae,
        candidates,
        c.plain_data(describe(sae, features, hits, manifest or {})),
        structures,
    )
    for name, value in data.chunks():
        atomic_write(out / "data" / f"{name}.js", chunk(name, value))
    for name in SITE_FILES:
        atomic_write(out / name, _asset(name).encode())
    page = _asset("browser.html").replace("POLICY", POLICY.replace("'", "&#39;"))
    atomic_write(out / "index.html", page.encode())
    return out / "index.html"


def chunk(name: str, value: Any) -> bytes:
    """One chunk: a call with two string literals, in ASCII, in which no character can end script or string.

    Examples
    --------
    >>> chunk("index", {"a": "</script>"})
    b'sciinterpChunk("index","{\\\\"a\\\\":\\\\"\\\\u003c/script>\\\\"}");\\n'
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    literal = json.dumps(text, ensure_ascii=True).replace("<", "\\u003c")
    return f"sciinterpChunk({json.dumps(name)},{literal});\n".encode("ascii")


def _asset(name: str) -> str:
    return resources.files("sciinterp.report").joinpath("static", name).read_text(encoding="utf-8")


class SiteData:
    """Everything the site shows, computed once and cut into chunks."""

    def __init__(
        self,
        features: FeatureMatrix,
        hits: pd.DataFrame,
        sae: Any,
        candidates: Any,
        done: dict[str, Any],
        structures: Any,
    ) -> None:
        context = getattr(hits, "context", None) or {}
        self.features, self.samples, self.hits, self.candidates, self.done = (
            features,
            features.samples,
            hits,
            candidates,
            done,
        )
        self.annotations, split = context.get("annotations"), context.get("split")
        self.family = _families(self.samples, split)
        names = {} if self.annotations is None else self.annotations.concepts["name"].astype(str).to_dict()
        self.concepts, self.baselines = c.concept_rows(hits, names)
        self.peaks, self.letters = pk.find_peaks(features), pk.Letters(features)
        directions = getattr(sae, "W_dec", None)
        if directions is not None:
            directions = (
                directions.detach().cpu().numpy() if hasattr(directions, "detach") else np.asarray(directions)
            )
        self.map, self.similar = pk.decoder_map(directions), pk.similar(directions)
        self.coactive = pk.coactive(features)
        self.names = self._concept_names()
        self.code = {name: i for i, name in enumerate(self.names)}
        self.pairs = self._pairs()
        self.structures = find_structures(structures, self.samples)

    def _concept_names(self) -> list[str]:
        """Every concept the site can name: those tested, then the others that are annotated."""
        names = [row["concept"] for row in self.concepts]
        if self.annotations is not None:
            names += [n for n in self.annotations.names if n not in set(names)]
        return names

    def _pairs(self) -> dict[int, list[dict[str, Any]]]:
        """feature -> its tested pairs, best first."""
        keep = (
            "concept",
            "selected",
            "f1",
            "f1_low",
            "f1_high",
            "precision",
            "recall",
            "auroc",
            "average_precision",
            "q",
            "best_baseline",
            "best_baseline_f1",
            "delta_f1",
            "delta_low",
            "delta_high",
            "threshold",
        )
        out: dict[int, list[dict[str, Any]]] = {}
        for record in self.hits[[k for k in ("feature", *keep) if k in self.hits.columns]].to_dict("records"):
            feature = c.number(record["feature"])
            if feature is None or not 0 <= feature < self.features.n_features:
                continue
            row = {k: c.plain_data(record.get(k)) for k in keep}
            row["concept"] = self.code[str(record["concept"])] if str(record["concept"]) in self.code else -1
            out.setdefault(int(feature), []).append(row)
        for rows in out.values():
            rows.sort(key=lambda r: (-(r["f1"] if r["f1"] is not None else -1.0), r["concept"]))
        return out

    def chunks(self) -> Iterator[tuple[str, Any]]:
        """All chunks, one at a time."""
        motifs: list[str] = []
        for lo in range(0, self.features.n_features, FEATURES_A_CHUNK):
            block = [
                self._feature(j) for j in range(lo, min(lo + FEATURES_A_CHUNK, self.features.n_features))
            ]
            motifs += [entry["motif"] for entry in block]
            yield f"features-{lo // FEATURES_A_CHUNK}", block
        spans = self._annotation_spans()
        tracks = self.features.codes
        for lo in range(0, len(self.samples), SAMPLES_A_CHUNK):
            numbers = range(lo, min(lo + SAMPLES_A_CHUNK, len(self.samples)))
            yield f"samples-{lo // SAMPLES_A_CHUNK}", [self._sample(s, tracks, spans) for s in numbers]
        for s, path in self.structures.items():
            trace = read_trace(path, self.samples[s].sequence)
            yield f"structure-{s}", trace
        yield "concepts", [self._concept(i) for i in range(len(self.names))]
        yield "candidates", c.candidate_rows(self.candidates)
        if self.map:
            yield "map", self.map
        yield "index", self._index(motifs)

    def _index(self, motifs: list[str]) -> dict[str, Any]:
        """What every page needs: the feature table, the samples, the concepts' names."""
        n, span = self.features.n_features, self.peaks.indptr
        count = np.diff(span)
        peak = [float(self.peaks.value[lo]) if hi > lo else 0.0 for lo, hi in zip(span[:-1], span[1:])]
        families = [
            len(np.unique(self.family[self.peaks.sample[lo:hi]])) for lo, hi in zip(span[:-1], span[1:])
        ]
        best = [self.pairs[j][0] if j in self.pairs else None for j in range(n)]
        said = {
            row["feature"]: row["verdict"] for row in reversed(self.concepts) if row["feature"] is not None
        }
        table = {
            "density": [float(f"{v:.4g}") for v in self.features.density],
            "samples": count.tolist(),
            "families": families,
            "peak": [round(v, 3) for v in peak],
            "motif": motifs,
            "concept": [-1 if b is None else b["concept"] for b in best],
            "f1": [None if b is None or b["f1"] is None else round(b["f1"], 4) for b in best],
            "verdict": [said.get(j, "") for j in range(n)],
        }
        return {
            "done": self.done,
            "n_features": n,
            "features": table,
            "concepts": self.names,
            "verdicts": c.VERDICTS,
            "samples": {
                "id": list(self.samples.ids),
                "length": self.samples.lengths.tolist(),
                "family": [str(v) for v in self._family_labels()],
            },
            "chunk": {"features": FEATURES_A_CHUNK, "samples": SAMPLES_A_CHUNK},
            "map": self.map is not None,
            "structures": sorted(self.structures),
            "candidates": 0 if self.candidates is None else len(self.candidates),
            "baselines": [b["name"] for b in self.baselines],
        }

    def _family_labels(self) -> Any:
        table = self.samples.table
        return table["family"].astype(str) if "family" in table.columns else self.family

    def _feature(self, j: int) -> dict[str, Any]:
        """One feature page."""
        motif, logo, n = pk.feature_logos(self.letters, self.peaks, j)
        value = self.peaks.value[self.peaks.of(j)]
        counts, edges = (
            np.histogram(value, bins=24, range=(0, float(value.max()))) if len(value) else ([], [])
        )
        shown = [
            {"set": name, "sample": s, "on": self._active(s, j)}
            for name, s in pk.examples(self.peaks, j, self.family)
        ]
        return {
            "motif": motif,
            "logo": logo,
            "peaks": n,
            "histogram": {
                "counts": [int(v) for v in counts],
                "max": round(float(edges[-1]), 3) if len(edges) else 0,
            },
            "examples": shown,
            "pairs": self.pairs.get(j, []),
            "coactive": self.coactive[j],
            "similar": self.similar[j] if self.similar else [],
        }

    def _active(self, s: int, j: int) -> list[list[float]]:
        """Position and value of one feature in one sample."""
        rows = self.features.rows(s)
        codes = self.features.codes
        lo, hi = codes.indptr[rows.start], codes.indptr[rows.stop]
        at = np.flatnonzero((codes.indices[lo:hi] == j) & (codes.data[lo:hi] > 0))
        position = np.searchsorted(codes.indptr[rows.start : rows.stop + 1], lo + at, side="right") - 1
        return [[int(p), round(float(v), 3)] for p, v in zip(position, codes.data[lo:hi][at])]

    def _sample(self, s: int, codes: Any, spans: dict[int, list[list[int]]]) -> dict[str, Any]:
        """One sample page: sequence, annotations, and the strongest features as tracks."""
        rows = self.features.rows(s)
        lo, hi = codes.indptr[rows.start], codes.indptr[rows.stop]
        position = np.repeat(
            np.arange(rows.stop - rows.start), np.diff(codes.indptr[rows.start : rows.stop + 1])
        )
        feature, value = codes.indices[lo:hi], codes.data[lo:hi]
        tracks = []
        if len(feature):
            order = np.argsort(feature, kind="stable")
            feature, value, position = feature[order], value[order], position[order]
            start = np.flatnonzero(np.r_[True, np.diff(feature) != 0])
            peak = np.maximum.reduceat(value, start)
            end = np.r_[start[1:], len(feature)]
            for i in np.lexsort((feature[start], -peak))[:TRACKS_A_SAMPLE]:
                on = [
                    [int(p), round(float(v), 3)]
                    for p, v in zip(position[start[i] : end[i]], value[start[i] : end[i]])
                ]
                tracks.append([int(feature[start[i]]), on])
        data = self.samples.data[s]
        return {
            "sequence": data if isinstance(data, str) else "",
            "spans": spans.get(s, []),
            "tracks": tracks,
            "facts": self._facts.get(s, []),
        }

    def _annotation_spans(self) -> dict[int, list[list[int]]]:
        """sample -> [start, end, concept] of every annotation on it; facts on whole samples are kept apart."""
        self._facts: dict[int, list[str]] = {}
        out: dict[int, list[list[int]]] = {}
        if self.annotations is None:
            return out
        frame = self.annotations.frame
        for sample, start, end, concept in zip(
            frame["sample"], frame["start"], frame["end"], frame["concept"]
        ):
            if sample not in self.samples:
                continue
            s = self.samples.index(sample)
            if start < 0:
                self._facts.setdefault(s, []).append(str(concept))
            else:
                out.setdefault(s, []).append([int(start), int(end), self.code[str(concept)]])
        return {s: sorted(rows) for s, rows in out.items()}

    def _concept(self, i: int) -> dict[str, Any]:
        """One concept page: the selected feature beside the baselines, the other pairs, samples that carry it."""
        row = self.concepts[i] if i < len(self.concepts) else None
        if not hasattr(self, "_by_concept"):
            self._by_concept: dict[int, list[dict[str, Any]]] = {}
            for feature, rows in self.pairs.items():
                for r in rows:
                    self._by_concept.setdefault(r["concept"], []).append({"feature": feature, **r})
            self._carriers: dict[str, list[int]] = {}
            if self.annotations is not None:
                first = self.annotations.frame.drop_duplicates(["sample", "concept"])
                for sample, concept in zip(first["sample"], first["concept"]):
                    if sample in self.samples:
                        self._carriers.setdefault(str(concept), []).append(self.samples.index(sample))
        rows = sorted(self._by_concept.get(i, []), key=lambda r: -(r["f1"] if r["f1"] is not None else -1.0))
        carriers = self._carriers.get(self.names[i], [])
        return {
            "row": row,
            "pairs": rows[:PAIRS_A_CONCEPT],
            "n_samples": len(carriers),
            "samples": carriers[:40],
        }


def _families(samples: Any, split: Any) -> np.ndarray:
    family = getattr(split, "family", None)
    if family is not None and len(family) == len(samples):
        return np.asarray(family)
    table = samples.table
    if "family" in table.columns:
        return np.unique(table["family"].astype(str).to_numpy(), return_inverse=True)[1]
    return np.arange(len(samples))


def serve_folder(folder: Path, *, port: int = 8765) -> None:
    """Serve a folder on the loopback interface, files only, until interrupted."""
    from http.server import ThreadingHTTPServer

    with ThreadingHTTPServer(("127.0.0.1", port), partial(_handler(), directory=str(folder))) as server:
        log.info("http://127.0.0.1:%d/ (interrupt to stop)", server.server_address[1])
        server.serve_forever()


def _handler() -> Any:
    """A request handler for files of this site only: names it wrote, and no listing of folders."""
    from http.server import SimpleHTTPRequestHandler

    known = re.compile(
        r"/(index\.html|browser\.css|core\.js|draw\.js|pages\.js|data/[a-z0-9-]+\.js)?(\?.*)?\Z"
    )

    class Handler(SimpleHTTPRequestHandler):
        def send_head(self) -> Any:
            if self.headers.get("Host", "").split(":")[0] not in (
                "127.0.0.1",
                "localhost",
            ) or not known.match(self.path):
                self.send_error(404)
                return None
            return super().send_head()

        def end_headers(self) -> None:
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            super().end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            log.debug(format, *args)

    return Handler
