"""Values as JSON knows them: what the report shows is drawn from these, and from nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, SupportsFloat

import numpy as np
import pandas as pd

from sciinterp.settings import Plain


def plain_data(value: Any) -> Any:
    """The value as JSON knows it: arrays become lists, records become objects, NaN becomes null."""
    if is_dataclass(value):
        return (
            str(value)
            if isinstance(value, type)
            else {f.name: plain_data(getattr(value, f.name)) for f in fields(value)}
        )
    if isinstance(value, Mapping):
        return {str(k): plain_data(v) for k, v in value.items()}
    if isinstance(value, pd.DataFrame):
        return [plain_data(row) for row in value.to_dict("records")]
    if isinstance(value, set | frozenset):
        return plain_data(sorted(value, key=str))
    if isinstance(value, np.ndarray | pd.Series | pd.Index | list | tuple):
        return [plain_data(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def in_order(value: Plain) -> Plain:
    """:func:`plain_data` with the keys of every mapping in order, as they come back from a file."""
    return json.loads(json.dumps(plain_data(value), sort_keys=True))


def number(value: object) -> float | None:
    """A finite float, or None."""
    try:
        out = float(value) if isinstance(value, SupportsFloat | str) else math.nan
    except (TypeError, ValueError):
        return None
    return out if math.isfinite(out) else None
