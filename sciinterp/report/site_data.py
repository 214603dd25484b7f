"""What the feature browser shows, computed once and cut into chunks that a page loads when it needs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.association.explanations import legend
from sciinterp.association.set_facts import set_facts
from sciinterp.codes.active import ACTIVE, ACTIVE_SHARE
from sciinterp.codes.peaks import BLOCK_VALUES
from sciinterp.report import content as c
from sciinterp.report import feature_facts as pk
from sciinterp.report import site_tracks as tr
from sciinterp.report.json_values import number, plain_data
from sciinterp.report.proposals import all_rows
from sciinterp.report.shown import Shown
from sciinterp.report.turned import turned_concepts
from sciinterp.report.viewer import find_structures, read_structure, record_structure
from sciinterp.settings import Plain

if TYPE_CHECKING:
    from pathlib import Path

    from sciinterp.sae import SAE
    from sciinterp.samples import Samples, Split

FEATURES_A_CHUNK = 32
CONCEPTS_A_CHUNK = 16
CANDIDATES_A_CHUNK = 64
PAIRS_A_CONCEPT = 50
WINDOW = 400  # positions drawn around a peak of a sample that is not kept whole
SHARES = 6  # concepts a feature's activity is laid over, by lift
LEAST_SHARE = 0.05  # of a feature's activity that a concept must hold to be listed
PAIR_COLUMNS = (
    "concept selected f1 f1_low f1_high precision recall auroc average_precision q best_baseline best_baseline_f1 delta_f1 "
    "delta_low delta_high threshold"
).split()


class SiteData:
    """Everything the site shows, computed once and cut into chunks.

    Parameters
    ----------
    given : Shown
    done : dict
        What was done: model, site, data, licences.
    structures
        As in :func:`sciinterp.report.browser.write_browser`.
    """

    def __init__(
        self,
        given: Shown,
        *,
        done: Plain,
        structures: str | Path | Mapping[str, str | Path] | None = None,
    ) -> None:
        features, hits, turning = given.features, given.hits, given.manifest.get("turning")
        self.features, self.samples, self.hits = features, features.samples, hits
        self.done, self.full = done, given.manifest.get("full") or {}
        self.candidates = all_rows(given.candidates, turning)
        self.turned: dict[int, list[Plain]] = {}
        for one in turned_concepts(turning):
            self.turned.setdefault(one["feature"], []).append(one)
        self.annotations, self.split = given.annotations, given.split
        self.family = _families(self.samples, self.split)
        self.concepts, self.baselines = c.concept_rows(hits, given.annotations, self.samples)
        self.controls = c.controls(hits, given.candidates, self.concepts, self.baselines)
        self.letters, self.texts = pk.Letters(self.samples), self.samples.letters
        directions = _directions(given.sae)
        self.map, self.similar = pk.decoder_map(directions), pk.similar(directions)
        self.coactive = pk.coactive(features)
        self.names = [row["concept"] for row in self.concepts]
        of_sets = set_facts((getattr(hits, "context", None) or {}).get("sets", pd.DataFrame()))
        self.sets = {one.concept: [text for text in (one.sentence, one.curve) if text] for one in of_sets}
        if self.annotations is not None:
            known = set(self.names)
            self.names += [n for n in self.annotations.names if n not in known]
        self.code = {name: i for i, name in enumerate(self.names)}
        self.pairs = self._pairs()
        self.of_concept: dict[int, list[Plain]] = {}
        for feature, row in ((j, row) for j, rows in self.pairs.items() for row in rows):
            self.of_concept.setdefault(row["concept"], []).append({"feature": feature, **row})
        of_records: dict[int, Path | None] = dict.fromkeys(
            [s for s, data in enumerate(self.samples.data) if isinstance(data, dict) and "backbone" in data]
        )
        self.structures = of_records | find_structures(structures, self.samples)
        self.spans, self.facts, self.carriers = self._placed()
        self.covered = self._covered()
        self.lies = self._shares()
        self.starts = {
            "samples": tr.cut(np.minimum(self.samples.lengths, tr.TILE), tr.LETTERS_A_CHUNK),
            "tracks": tr.cut(tr.entries(features), tr.ENTRIES_A_CHUNK),
        }

    def _pairs(self) -> dict[int, list[Plain]]:
        """feature -> its tested pairs, best first."""
        out: dict[int, list[Plain]] = {}
        columns = [k for k in ("feature", *PAIR_COLUMNS) if k in self.hits.columns]
        choosing = {(row["concept"], row["feature"]): row["choosing"] for row in self.concepts}
        for record in self.hits[columns].to_dict("records"):
            feature = number(record["feature"])
            if feature is None or not 0 <= feature < self.features.n_features:
                continue
            row = {k: plain_data(record.get(k)) for k in PAIR_COLUMNS}
            if record.get("selected") and choosing.get((str(record["concept"]), int(feature))):
                row["choosing"] = choosing[str(record["concept"]), int(feature)]
            row["concept"] = self.code.get(str(record["concept"]), -1)
            out.setdefault(int(feature), []).append(row)
        for rows in out.values():
            rows.sort(key=lambda r: (-(r["f1"] if r["f1"] is not None else -1.0), r["concept"]))
        return out

    def _placed(self) -> tuple[dict[int, list[list[int]]], dict[int, list[str]], dict[str, list[int]]]:
        """What lies on each sample as [start, end, concept]; facts on whole samples; concept -> its samples."""
        spans: dict[int, list[list[int]]] = {}
        facts: dict[int, list[str]] = {}
        carriers: dict[str, dict[int, None]] = {}
        if self.annotations is None:
            return spans, facts, {}
        frame = self.annotations.frame
        for sample, start, end, name in zip(frame["sample"], frame["start"], frame["end"], frame["concept"]):
            if sample not in self.samples:
                continue
            s = self.samples.index(sample)
            carriers.setdefault(str(name), {})[s] = None
            if start < 0:
                facts.setdefault(s, []).append(str(name))
            else:
                spans.setdefault(s, []).append([int(start), int(end), self.code[str(name)]])
        return (
            {s: sorted(rows) for s, rows in spans.items()},
            facts,
            {name: sorted(numbers) for name, numbers in carriers.items()},
        )

    def _covered(self) -> sp.csc_array | None:
        """csc bool [n_positions, n_concepts] over the site's concepts; None without annotations."""
        if self.annotations is None or not len(self.names):
            return None
        placed = [n for n in self.names if n in set(self.annotations.position_names)]
        matrix = self.annotations.positives(self.samples, placed).tocoo()
        column = np.array([self.code[n] for n in placed], np.int64)[matrix.col]
        shape = (self.samples.n_positions, len(self.names))
        return sp.csc_array((np.ones(len(column), np.float32), (matrix.row, column)), shape=shape)

    def _shares(self) -> list[list[list[float]]]:
        """For every feature the concepts its activity lies in: concept, share of activity, lift over chance."""
        if self.covered is None:
            return [[] for _ in range(self.features.n_features)]
        covered = sp.csr_array(self.covered)
        chance = np.asarray(self.covered.sum(axis=0)).ravel() / max(self.samples.n_positions, 1)
        out: list[list[list[float]]] = []
        for first, last in self.features.feature_blocks(BLOCK_VALUES):
            codes = self.features.by_feature(first, last).to_csc().T
            mass, total = codes @ covered, codes @ np.ones(codes.shape[1], np.float32)
            for lo, hi, activity in zip(mass.indptr, mass.indptr[1:], total.tolist()):
                concept, share = mass.indices[lo:hi], mass.data[lo:hi] / max(activity, 1e-12)
                lift = share / np.maximum(chance[concept], 1e-12)
                order = [i for i in np.lexsort((concept, -lift)) if share[i] >= LEAST_SHARE][:SHARES]
                out.append(
                    [[int(concept[i]), round(float(share[i]), 4), round(float(lift[i]), 2)] for i in order]
                )
        return out

    def chunks(self) -> Iterator[tuple[str, object]]:
        """All chunks, one at a time."""
        facts: dict[str, list[object]] = {"samples": [], "families": [], "peak": [], "motif": []}
        block: list[Plain] = []
        for active in pk.activities(self.features):
            block.append(self._feature(active))
            facts["samples"].append(len(active.sample))
            facts["families"].append(len(np.unique(self.family[active.sample])))
            facts["peak"].append(round(float(active.value[0]), 3) if len(active.value) else 0.0)
            facts["motif"].append(block[-1]["motif"])
            if len(block) == FEATURES_A_CHUNK or active.feature == self.features.n_features - 1:
                yield f"features-{active.feature // FEATURES_A_CHUNK}", block
                block = []
        starts = self.starts["samples"]
        for i, (lo, hi) in enumerate(zip(starts, [*starts[1:], len(self.samples)])):
            yield f"samples-{i}", [self._sample(s) for s in range(lo, hi)]
        yield from tr.track_chunks(self.features, self.starts["tracks"])
        for s, path in self.structures.items():
            sample = self.samples[s]
            atoms = read_structure(path, sample.sequence) if path else record_structure(sample)
            yield f"structure-{s}", atoms
        yield "concepts", self.concepts
        for lo in range(0, len(self.names), CONCEPTS_A_CHUNK):
            numbers = range(lo, min(lo + CONCEPTS_A_CHUNK, len(self.names)))
            yield f"concepts-{lo // CONCEPTS_A_CHUNK}", [self._concept(i) for i in numbers]
        yield "candidates", [{k: v for k, v in row.items() if k != "evidence"} for row in self.candidates]
        for lo in range(0, len(self.candidates), CANDIDATES_A_CHUNK):
            rows = self.candidates[lo : lo + CANDIDATES_A_CHUNK]
            yield f"candidates-{lo // CANDIDATES_A_CHUNK}", [row.get("evidence") for row in rows]
        if self.map:
            yield "map", self.map
        yield "index", self._index(facts)

    def _index(self, facts: dict[str, list[object]]) -> Plain:
        """What every page needs: the feature table, the samples, the concepts' names."""
        n = self.features.n_features
        best = [self.pairs[j][0] if j in self.pairs else None for j in range(n)]
        said = {r["feature"]: r["verdict"] for r in reversed(self.concepts) if r["feature"] is not None}
        table = {
            "density": [float(f"{v:.4g}") for v in self.features.density],
            **facts,
            "concept": [-1 if b is None else b["concept"] for b in best],
            "f1": [None if b is None or b["f1"] is None else round(b["f1"], 4) for b in best],
            "verdict": [said.get(j, "") for j in range(n)],
            "stability": self._stability(),
        }
        return {
            "done": self.done,
            "n_features": n,
            "features": table,
            "concepts": self.names,
            "verdicts": c.VERDICTS,
            "legend": legend(),
            "active": ACTIVE,
            "active_share": ACTIVE_SHARE,
            "floor": c.NEAR,
            "found": c.FOUND,
            "samples": self._sample_table(),
            "chunk": {
                "features": FEATURES_A_CHUNK,
                "concepts": CONCEPTS_A_CHUNK,
                "candidates": CANDIDATES_A_CHUNK,
                "tile": tr.TILE,
                **self.starts,
            },
            "map": self.map is not None,
            "structures": sorted(self.structures),
            "candidates": len(self.candidates),
            "baselines": self.baselines,
            "controls": self.controls,
        }

    def _stability(self) -> list[float | None] | None:
        """By feature: how well it comes back with other seeds; None where no other seed was trained."""
        table = (self.full.get("stability") or {}).get("features") or {}
        if not table.get("feature"):
            return None
        score = {int(j): number(v) for j, v in zip(table["feature"], table["score"])}
        found = [score.get(j) for j in range(self.features.n_features)]
        return [None if v is None else round(v, 3) for v in found]

    def _sample_table(self) -> Plain:
        table = self.samples.table
        part = np.full(len(self.samples), "", dtype=object)
        if self.split is not None and len(self.split.family) == len(self.samples):
            for name in ("train", "calibration", "test"):
                part[self.split.part(name)] = name
        out = {
            "id": list(self.samples.ids),
            "length": self.samples.lengths.tolist(),
            "family": [str(v) for v in (table["family"] if "family" in table.columns else self.family)],
            "part": part.tolist(),
        }
        if {"chrom", "start"} <= set(table.columns):  # a genomic place: 0-based start on a named sequence
            out["chrom"] = [str(v) for v in table["chrom"]]
            out["start"] = [int(number(v) or 0) for v in table["start"]]
        return out

    def _feature(self, active: pk.Activity) -> Plain:
        """One feature page."""
        j, value = active.feature, active.value
        motif, logo, n = pk.feature_logos(self.letters, active)
        top = float(value.max()) if len(value) else 0.0
        counts, _ = np.histogram(value, bins=24, range=(0, top)) if top else ([], [])
        return {
            "motif": motif,
            "logo": logo,
            "peaks": n,
            "histogram": {"counts": [int(v) for v in counts], "max": round(top, 3)},
            "examples": [
                {"set": name, **self._example(s, active.rows, active.on)}
                for name, s in pk.examples(active, self.family)
            ],
            "pairs": self.pairs.get(j, []),
            "turned": self.turned.get(j, []),
            "lies": self.lies[j],
            "coactive": self.coactive[j] if self.coactive else [],
            "similar": self.similar[j] if self.similar else [],
        }

    def _example(self, s: int, rows: np.ndarray, on: np.ndarray) -> Plain:
        """One feature along one sample; of a sample that is not kept whole, the window around its peak."""
        start, stop = self.samples.offsets[s : s + 2]
        a, b = np.searchsorted(rows, [start, stop])
        position, value = rows[a:b] - start, on[a:b]
        out: Plain = {"sample": s}
        if stop - start > tr.TILE:
            peak = int(position[np.argmax(value)]) if len(value) else 0
            first = max(0, min(peak - WINDOW // 2, int(stop - start) - WINDOW))
            inside = (position >= first) & (position < first + WINDOW)
            position, value = position[inside], value[inside]
            data = self.texts[s] or ""
            out |= {"from": first, "sequence": data[first : first + WINDOW]}
        return {**out, "on": [[int(p), round(float(v), 3)] for p, v in zip(position, value)]}

    def _sample(self, s: int) -> Plain:
        """One sample: its sequence (where it is kept whole) and what is annotated on it."""
        data = self.texts[s] or ""
        return {
            "sequence": data if len(data) <= tr.TILE else "",
            "spans": self.spans.get(s, []),
            "facts": self.facts.get(s, []),
        }

    def _concept(self, i: int) -> Plain:
        """One concept page: its pairs, its samples, and where the selected feature meets it."""
        rows = sorted(self.of_concept.get(i, []), key=lambda r: -(r["f1"] if r["f1"] is not None else -1.0))
        chosen = next((r for r in rows if r["selected"]), rows[0] if rows else None)
        return {
            "pairs": rows[:PAIRS_A_CONCEPT],
            "samples": self.carriers.get(self.names[i], []),
            "meets": self._meets(i, int(chosen["feature"]), number(chosen["threshold"])) if chosen else [],
            "shown": int(chosen["feature"]) if chosen else None,
            "sets": self.sets.get(self.names[i], []),
        }

    def _meets(self, i: int, j: int, threshold: float | None, each: int = 3) -> list[Plain]:
        """Samples where feature ``j`` above its threshold meets concept ``i``, misses it, or exceeds it elsewhere."""
        if self.covered is None or self.covered.indptr[i] == self.covered.indptr[i + 1]:
            return []
        rows, codes = self.features.by_feature(j, j + 1).column(0)
        fires = rows[codes > (threshold or 0.0)]
        drawn = codes > min(threshold or 0.0, ACTIVE_SHARE * float(codes.max(initial=0.0)))
        rows, codes = rows[drawn], codes[drawn]
        place = self.covered.indices[self.covered.indptr[i] : self.covered.indptr[i + 1]]
        n, home = len(self.samples), self.samples.position_sample()
        on = np.isin(fires, place)
        met, wide = np.bincount(home[fires[on]], minlength=n), np.bincount(home[place], minlength=n)
        stray = np.bincount(home[fires[~on]], minlength=n)
        held_out = np.zeros(n, bool)
        if self.split is not None and len(self.split.family) == n:
            held_out[self.split.test] = True
        out = []
        for name, keep, rank in (
            ("found", met > 0, met / np.maximum(wide, 1)),
            ("missed", (wide > 0) & (met == 0), wide),
            ("elsewhere", stray > 0, stray),
        ):
            order = [s for s in np.lexsort((np.arange(n), -rank, ~held_out)) if keep[s]]
            out += [
                {"set": name, "n": len(order), **self._example(int(s), rows, codes)} for s in order[:each]
            ]
        return out


def _directions(sae: SAE | None) -> np.ndarray | None:
    directions = getattr(sae, "W_dec", None)
    if directions is None:
        return None
    return directions.detach().cpu().numpy() if hasattr(directions, "detach") else np.asarray(directions)


def _families(samples: Samples, split: Split | None) -> np.ndarray:
    family = getattr(split, "family", None)
    if family is not None and len(family) == len(samples):
        return np.asarray(family)
    table = samples.table
    if "family" in table.columns:
        return np.unique(table["family"].astype(str).to_numpy(), return_inverse=True)[1]
    return np.arange(len(samples))
