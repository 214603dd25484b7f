"""Values as JSON knows them: what the report shows is drawn from these, and from nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


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
