"""What the feature browser shows, computed once and cut into chunks that a page loads when it needs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sciinterp.report import content as c
from sciinterp.report import peaks as pk
from sciinterp.report.structures import find_structures, read_trace

if TYPE_CHECKING:
    import pandas as pd

    from sciinterp.features import FeatureMatrix

FEATURES_A_CHUNK = 64
SAMPLES_A_CHUNK = 32
TRACKS_A_SAMPLE = 40  # features drawn on a sample page, strongest first
PAIRS_A_CONCEPT = 25


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
            row["concept"] = self.code.get(str(record["concept"]), -1)
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
        """sample -> [start, end, concept] of what lies on it; facts on whole samples are kept apart."""
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
        """One concept page: the selected feature beside the baselines, other pairs, samples."""
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
