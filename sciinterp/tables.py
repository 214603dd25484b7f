"""A data frame that remembers how it was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd


class Table(pd.DataFrame):
    """A :class:`pandas.DataFrame` with a ``context``: settings, counts, baselines, what was not run.

    The context is carried by reference through selections and copies.

    Examples
    --------
    >>> table = Table({"f1": [0.9, 0.2]}, context={"seed": 0})
    >>> table[table["f1"] > 0.5].context["seed"]
    0
    """

    _metadata = ["context"]  # noqa: RUF012 - the name and type pandas asks for

    def __init__(
        self, data: Any = None, *args: Any, context: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data, *args, **kwargs)
        object.__setattr__(self, "context", dict(context or {}))

    @property
    def _constructor(self) -> Callable[..., Table]:
        return Table
