"""``candidates.tsv`` and ``candidates.json``: the list, and the list with its evidence."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from sciinterp.discovery.records import Row
from sciinterp.errors import require_kinds
from sciinterp.frames import Table
from sciinterp.store.atomic import read_json, write_each, write_json
from sciinterp.store.ledger import require_intact
from sciinterp.store.tables import write_tsv

VERSION = 1
COLUMNS = tuple(Row.__annotations__)


def typed(rows: object) -> pd.DataFrame:
    """Rows as a table whose columns are of their types, also where there are no rows."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    whole = dict.fromkeys(("start", "end", "feature"), np.int64)
    return frame.astype({**whole, **dict.fromkeys(("score", "probability", "q"), np.float64)})


def write_candidates(candidates: pd.DataFrame, folder: str | Path) -> None:
    """Write ``candidates.tsv`` (without evidence) and ``candidates.json`` (with it) into a folder.

    Parameters
    ----------
    candidates : Table
        Of :func:`sciinterp.discover`.
    folder : path
    """
    require_kinds(candidates=(candidates, pd.DataFrame), folder=(folder, Path))
    folder, frame = Path(folder), pd.DataFrame(candidates)
    plain = frame[[c for c in COLUMNS if c in frame.columns and c != "evidence"]]
    record = {
        "version": VERSION,
        "note": "Each row is a candidate: a claim that no source states and nobody has confirmed.",
        "context": dict(getattr(candidates, "context", None) or {}),
        "candidates": frame.to_dict("records"),
    }
    files = {
        "candidates.tsv": lambda: write_tsv(plain, folder / "candidates.tsv"),
        "candidates.json": lambda: write_json(folder / "candidates.json", record),
    }
    write_each(folder, files, computed=candidates)


def are_sets(candidates: pd.DataFrame) -> np.ndarray:
    """bool [n]: is a row of candidates a set of features?"""
    return np.array(["set" in record for record in candidates["evidence"]], bool)


def read_candidates(folder: str | Path) -> Table:
    """Read what :func:`write_candidates` wrote.

    Raises
    ------
    StoreError, FormatError
        When the file is missing or no JSON.
    """
    require_kinds(folder=(folder, Path))
    require_intact(folder, "candidates.json")
    found = read_json(Path(folder) / "candidates.json")
    frame = typed(found["candidates"])
    frame["claim"] = frame["claim"].fillna("").astype(object)
    return Table(frame, context=found.get("context", {}))


def describe_candidates(candidates: pd.DataFrame) -> list[str]:
    """What a reader should know before the list: how many of which kind, what to expect, what was left out and why.

    Parameters
    ----------
    candidates : Table
        Of :func:`sciinterp.discover`.

    Returns
    -------
    list of str
        One sentence a line.
    """
    require_kinds(candidates=(candidates, pd.DataFrame))
    context = dict(getattr(candidates, "context", None) or {})
    kinds = Counter(candidates["kind"])
    lines = [
        f"{len(candidates)} candidates ({', '.join(f'{n} {k}' for k, n in kinds.items()) or 'none of any kind'}); none is confirmed"
    ]
    for k, of in sorted((context.get("precision_at") or {}).items(), key=lambda pair: int(pair[0])):
        lines.append(
            f"of the first {k} missing annotations {100 * of['expected']:.0f}% are expected to be right "
            f"(90% interval {100 * of['low']:.0f} to {100 * of['high']:.0f}%)"
        )
    for kind, counts in sorted((context.get("counts") or {}).items()):
        left = {k.replace("_", " "): v for k, v in sorted(counts.items())}
        left = {k: v for k, v in left.items() if isinstance(v, int) and v}
        if kind != "listed" and left:
            lines.append(f"{kind}: " + ", ".join(f"{v} {k}" for k, v in left.items()))
    for reason, n in sorted(Counter((context.get("skipped") or {}).values()).items()):
        lines.append(f"no missing annotation looked for in {n} concept{'s' * (n > 1)}: {reason}")
    lines += [f"not run: {name} ({why})" for name, why in sorted((context.get("not_run") or {}).items())]
    return lines
