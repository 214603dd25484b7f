"""The content of a report as plain data: what ``report.json`` holds and the page shows.

Every number in the report comes from here; the template only lays it out.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sciinterp.plots.concepts import baseline_kind, baselines_of, selected
from sciinterp.plots.style import finite

if TYPE_CHECKING:
    from sciinterp.features import FeatureMatrix

FOUND = 0.5  # held-out F1 from which a concept counts as found
NEAR = 0.3  # a feature whose best concept stays below this held-out F1 is called unexplained
MAX_UNEXPLAINED = 300
MAX_CANDIDATES = 500
# order in which verdicts are listed, with what each says
VERDICTS = {
    "above": "beats every baseline",
    "position": "position alone does as well",
    "composition": "composition alone does as well",
    "neuron": "one raw neuron does as well",
    "components": "a linear component does as well",
    "randomised": "randomised weights do as well",
    "density": "how much is active does as well",
    "prevalence": "calling everything positive does as well",
    "other": "a baseline does as well",
    "unclear": "not separated from the best baseline",
    "untested": "not tested",
}
NUMBERS = (
    "f1_train",
    "threshold",
    "precision",
    "recall",
    "f1",
    "f1_low",
    "f1_high",
    "average_precision",
    "auroc",
    "prevalence",
    "n_positive",
    "n_families",
    "q",
    "best_baseline_f1",
    "delta_f1",
    "delta_low",
    "delta_high",
)


def plain_data(value: Any) -> Any:
    """The value as JSON knows it: arrays become lists, records become objects, NaN becomes null."""
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None and not isinstance(value, type):
        return {name: plain_data(getattr(value, name)) for name in fields}
    if isinstance(value, Mapping):
        return {str(k): plain_data(v) for k, v in value.items()}
    if isinstance(value, pd.DataFrame):
        return [plain_data(row) for row in value.to_dict("records")]
    if isinstance(value, np.ndarray | pd.Series | pd.Index | list | tuple | set | frozenset):
        items: Any = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [plain_data(v) for v in items]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def in_order(value: Any) -> Any:
    """:func:`plain_data` with the keys of every mapping in order, as they come back from a file."""
    return json.loads(json.dumps(plain_data(value), sort_keys=True))


def number(value: Any) -> float | None:
    """A finite float, or None."""
    try:
        out = float(value)
    except (TypeError, ValueError):
        return None
    return out if math.isfinite(out) else None


def verdict(row: Mapping[str, Any], baselines: Mapping[str, float | None]) -> str:
    """What the held-out numbers of one concept say, as a key of :data:`VERDICTS`.

    A feature is above when the interval of its difference to the best baseline lies above zero. Otherwise the
    baselines that reach its F1 on their own are named, the simplest explanation first.
    """
    f1 = number(row.get("f1"))
    if f1 is None:
        return "untested"
    low = number(row.get("delta_low"))
    if low is not None and low > 0:
        return "above"
    reached = {
        baseline_kind(name)[0] for name, value in baselines.items() if value is not None and value >= f1
    }
    for kind in (
        "position",
        "composition",
        "prevalence",
        "density",
        "neuron",
        "components",
        "randomised",
        "other",
    ):
        if kind in reached:
            return kind
    best, value = str(row.get("best_baseline") or ""), number(row.get("best_baseline_f1"))
    if not baselines and best and value is not None and value >= f1:
        kind = baseline_kind(best)[0]
        return kind if kind in VERDICTS else "other"
    return "unclear"


def concept_rows(
    hits: pd.DataFrame, names: Mapping[str, str]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """One row a concept, strongest first, and the baselines that were run."""
    chosen, table = selected(hits), baselines_of(hits)
    used = [{"name": str(c), "kind": baseline_kind(c)[0]} for c in table.columns]
    rows = []
    for record in chosen.to_dict("records"):
        concept = str(record["concept"])
        base = {
            str(c): number(table.at[record["concept"], c]) if record["concept"] in table.index else None
            for c in table.columns
        }
        competing = {k: v for k, v in base.items() if baseline_kind(k)[0] != "ceiling"}
        row: dict[str, Any] = {"concept": concept, "name": names.get(concept, concept)}
        feature = number(record.get("feature"))
        row["feature"] = int(feature) if feature is not None and feature >= 0 else None
        row.update({key: number(record.get(key)) for key in NUMBERS})
        row["test"], row["best_baseline"] = (
            str(record.get("test") or ""),
            str(record.get("best_baseline") or ""),
        )
        row["baselines"], row["verdict"] = base, verdict(record, competing)
        row["explained_by"] = str(record.get("explained_by") or "")
        row["found"] = row["f1"] is not None and row["f1"] >= FOUND
        rows.append(row)
    return rows, used


def letters_reach(rows: list[dict[str, Any]]) -> list[str]:
    """Concepts whose selected feature is no better than a fitted reader of the letters around a position."""
    out = []
    for row in rows:
        fitted = [v for k, v in row["baselines"].items() if k in ("window", "kmer") and v is not None]
        if row["f1"] is not None and fitted and max(fitted) >= row["f1"]:
            out.append(row["concept"])
    return out


def unexplained(features: FeatureMatrix, hits: pd.DataFrame, family: np.ndarray | None) -> dict[str, Any]:
    """Active features for which no tested concept reaches :data:`NEAR`, those seen in most families first."""
    best = _best_concepts(hits)
    peak: Any = features.max_per_sample().tocsc()
    density = features.density
    group = np.arange(peak.shape[0]) if family is None else family
    rows = []
    for j in range(features.n_features):
        lo, hi = peak.indptr[j], peak.indptr[j + 1]
        f1, concept = best.get(j) or (None, None)
        if hi == lo or (f1 is not None and f1 >= NEAR):
            continue
        value, where = peak.data[lo:hi], peak.indices[lo:hi]
        top = int(where[np.argmax(value)])
        rows.append(
            {
                "feature": j,
                "density": float(density[j]),
                "samples": int(hi - lo),
                "families": len(np.unique(group[where])),
                "max": float(value.max()),
                "mean_peak": float(value.mean()),
                "top_sample": features.samples.ids[top],
                "nearest_concept": concept,
                "nearest_f1": f1,
            }
        )
    rows.sort(key=lambda r: (-r["families"], -r["mean_peak"], r["feature"]))
    alive = int((density > 0).sum())
    return {
        "n": len(rows),
        "n_active": alive,
        "below": NEAR,
        "shown": min(len(rows), MAX_UNEXPLAINED),
        "rows": rows[:MAX_UNEXPLAINED],
    }


def _best_concepts(hits: pd.DataFrame) -> dict[int, tuple[float, str]]:
    """feature -> its best held-out F1 among the pairs in the table, and the concept."""
    best: dict[int, tuple[float, str]] = {}
    if len(hits) and {"feature", "concept", "f1"} <= set(hits.columns):
        for j, concept, f1 in zip(finite(hits["feature"]), hits["concept"].astype(str), finite(hits["f1"])):
            if not (math.isnan(j) or math.isnan(f1)) and (int(j) not in best or f1 > best[int(j)][0]):
                best[int(j)] = (float(f1), concept)
    return best


def with_motifs(listing: dict[str, Any], features: FeatureMatrix) -> dict[str, Any]:
    """Add to every listed feature what stands around its peaks: a consensus, lower case where it is weak."""
    from sciinterp.plots.letters import information, peak_counts

    for row in listing["rows"]:
        counts, alphabet, n = peak_counts(features, row["feature"], flank=5, top=100)
        text = ""
        if n and alphabet:
            for column, bits in zip(counts, information(counts).sum(axis=1)):
                letter = alphabet[int(np.argmax(column))]
                text += "." if not column.sum() or bits < 0.5 else letter if bits >= 1.5 else letter.lower()
        row["motif"], row["peaks"] = text, n
    return listing


def candidate_rows(candidates: pd.DataFrame | None) -> dict[str, Any]:
    """Candidates by kind, best first, each with its evidence."""
    if candidates is None or not len(candidates):
        context = getattr(candidates, "context", None) or {}
        return {"n": 0, "shown": 0, "by_kind": {}, "rows": [], "context": _context(context)}
    frame = pd.DataFrame(candidates)
    rows = []
    for record in frame.to_dict("records"):
        row = {k: plain_data(v) for k, v in record.items()}
        for key in ("start", "end", "feature"):
            value = number(row.get(key))
            row[key] = None if value is None or value < 0 else int(value)
        for key in ("score", "probability", "q"):
            row[key] = number(row.get(key))
        rows.append(row)
    kinds = frame["kind"].astype(str).value_counts().sort_index()
    rows.sort(key=lambda r: (str(r.get("kind")), -(r["score"] if r["score"] is not None else -math.inf)))
    return {
        "n": len(rows),
        "shown": min(len(rows), MAX_CANDIDATES),
        "by_kind": {str(k): int(v) for k, v in kinds.items()},
        "rows": rows[:MAX_CANDIDATES],
        "context": _context(getattr(candidates, "context", None) or {}),
    }


def _context(context: Mapping[str, Any]) -> dict[str, Any]:
    """What of a table's context is plain enough to print."""
    skip = ("annotations", "split", "baselines", "hits", "features")
    return {str(k): plain_data(v) for k, v in context.items() if k not in skip and not hasattr(v, "frame")}


def sae_summary(sae: Any, features: FeatureMatrix) -> dict[str, Any]:
    """Reconstruction, sparsity, dead features and densities."""
    metrics = dict(getattr(sae, "metrics", None) or {})
    density = features.density
    alive = density[density > 0]
    quantiles = np.quantile(alive, [0.05, 0.5, 0.95]).tolist() if len(alive) else [None] * 3
    keep: dict[str, Any] = {"fve": None, "l0": None, "dead": None}
    keep |= {k: plain_data(v) for k, v in sorted(metrics.items()) if not isinstance(v, np.ndarray | list | tuple)}
    return {
        "architecture": _architecture(getattr(sae, "architecture", None)),
        "n_features": features.n_features,
        "metrics": keep,
        "density": {"low": quantiles[0], "median": quantiles[1], "high": quantiles[2]},
        "never_active_here": int((density == 0).sum()),
        "l0_here": float(features.codes.nnz / max(features.n_positions, 1)),
    }


def _architecture(value: Any) -> dict[str, Any]:
    if value is None:
        return {"name": "not stated", "settings": {}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        settings = {k: v for k, v in plain_data(value).items() if k != "name"}
        return {"name": type(value).__name__, "settings": settings}
    return {"name": str(value), "settings": {}}


def controls(
    hits: pd.DataFrame, candidates: pd.DataFrame | None, used: list[dict[str, str]]
) -> dict[str, Any]:
    """Which controls and baselines were run, and which were not, with the reason."""
    missing: list[dict[str, str]] = []
    for stage, table in (("association", hits), ("discovery", candidates)):
        not_run = (getattr(table, "context", None) or {}).get("not_run") or {}
        pairs = not_run.items() if isinstance(not_run, Mapping) else ((str(n), "") for n in not_run)
        missing += [{"stage": stage, "name": str(k), "reason": str(v)} for k, v in pairs]
    not_tested = (getattr(hits, "context", None) or {}).get("not_tested") or {}
    return {
        "run": used,
        "not_run": missing,
        "not_tested": [{"name": str(k), "reason": str(v)} for k, v in not_tested.items()],
    }
