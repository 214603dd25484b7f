"""Candidates as the report shows them: every kind, the best of each, with its evidence and what it adds up to."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from sciinterp.discovery.calibrate import precision_at
from sciinterp.report.json_values import number, plain_data
from sciinterp.report.turned import with_effects
from sciinterp.settings import Plain

MAX_SHOWN = 300  # candidates listed in all; every kind gets its share
LOW_Q = 0.1
PRECISION_AT = (5, 10, 20, 50, 100, 200, 500)


def candidate_rows(
    candidates: pd.DataFrame | None,
    family: Plain | None = None,
    turning: Plain | None = None,
) -> Plain:
    """Candidates by kind, best first, each with its evidence.

    Parameters
    ----------
    candidates : pandas.DataFrame or None
        What ``discover`` returned.
    family : mapping of sample to family, optional
        Candidates of one family and concept stand or fall together in the interval of a precision.
    turning : mapping, optional
        What turning features did: it joins the evidence.

    Returns
    -------
    dict
        ``n, shown, kinds, rows, precision, context``.
    """
    context = _context(getattr(candidates, "context", None) or {})
    if candidates is None or not len(candidates):
        return {"n": 0, "shown": 0, "kinds": [], "rows": [], "precision": [], "context": context}
    by_kind = _by_kind(candidates)
    share = _shares([len(rows) for rows in by_kind.values()])
    kinds = [_kind(kind, rows, room) for (kind, rows), room in zip(by_kind.items(), share)]
    shown = [row for rows, room in zip(by_kind.values(), share) for row in rows[:room]]
    precision = plain_data((getattr(candidates, "context", None) or {}).get("precision_at_k"))
    return {
        "n": len(candidates),
        "shown": len(shown),
        "kinds": kinds,
        "rows": with_effects(shown, turning),
        "precision": precision if isinstance(precision, list) else _precision(by_kind, family or {}),
        "context": context,
    }


def all_rows(candidates: pd.DataFrame | None, turning: Plain | None = None) -> list[Plain]:
    """Every candidate by kind, best first, each with its evidence."""
    if candidates is None or not len(candidates):
        return []
    return with_effects([row for rows in _by_kind(candidates).values() for row in rows], turning)


def _by_kind(candidates: pd.DataFrame) -> dict[str, list[Plain]]:
    """Candidates as plain rows, kind by kind, in the order of the list itself: by probability, then by score."""
    found: dict[str, list[Plain]] = {}
    for record in pd.DataFrame(candidates).to_dict("records"):
        found.setdefault(str(record.get("kind")), []).append(_row(record))
    for rows in found.values():
        rows.sort(key=lambda r: [math.inf if r[k] is None else -r[k] for k in ("probability", "score")])
    return dict(sorted(found.items()))


def _row(record: Plain) -> Plain:
    row = {str(k): plain_data(v) for k, v in record.items()}
    for key in ("start", "end", "feature"):
        value = number(row.get(key))
        row[key] = None if value is None or value < 0 else int(value)
    for key in ("score", "probability", "q"):
        row[key] = number(row.get(key))
    return row


def _shares(sizes: list[int]) -> list[int]:
    """How many of each kind are listed: an even share of the room, what small kinds leave goes to large ones.

    Examples
    --------
    >>> _shares([664, 12, 1])
    [287, 12, 1]
    """
    out, room = [0] * len(sizes), MAX_SHOWN
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for left, i in zip(range(len(sizes), 0, -1), order):
        out[i] = min(sizes[i], max(room // left, 1))
        room = max(room - out[i], 0)
    return out


def _kind(kind: str, rows: list[Plain], room: int) -> Plain:
    p = [r["probability"] for r in rows if r["probability"] is not None]
    q = [r["q"] for r in rows if r["q"] is not None]
    return {
        "kind": kind,
        "n": len(rows),
        "shown": min(len(rows), room),
        "best_probability": max(p) if p else None,
        "expected": float(sum(p)) if p else None,
        "low_q": sum(v <= LOW_Q for v in q) if q else None,
        "best_q": min(q) if q else None,
    }


def _precision(by_kind: Mapping[str, list[Plain]], family: Plain) -> list[Plain]:
    """Precision to expect among the first k of a kind, from the calibrated probabilities."""
    out = []
    for kind, rows in by_kind.items():
        rows = [r for r in rows if r["probability"] is not None]
        if len(rows) < PRECISION_AT[0]:
            continue
        told = ("concept",) if kind == "missing" else ("concept", "feature")
        names = [
            "\n".join(
                [f"{family.get(str(r.get('sample')), r.get('sample'))}", *(f"{r.get(k)}" for k in told)]
            )
            for r in rows
        ]
        p, cluster = np.array([r["probability"] for r in rows]), pd.factorize(pd.Series(names))[0]
        for k in [k for k in PRECISION_AT if k < len(rows)] + [min(len(rows), PRECISION_AT[-1])]:
            estimate, low, high = precision_at(p, cluster, k)
            out.append({"kind": kind, "k": k, "precision": estimate, "low": low, "high": high})
    return out


def _context(context: Plain) -> Plain:
    """What of a table's context is plain enough to print."""
    skip = ("annotations", "split", "baselines", "hits", "features", "precision_at_k")
    return {str(k): plain_data(v) for k, v in context.items() if k not in skip and not hasattr(v, "frame")}
