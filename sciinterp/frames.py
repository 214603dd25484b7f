"""A data frame that remembers how it was made, and how objects show themselves in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd

from sciinterp.errors import InputError, no_such, require_kinds


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
        self,
        data: object = None,
        *args: object,
        context: Mapping[str, object] | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(data, *args, **kwargs)
        object.__setattr__(self, "context", dict(context or {}))

    @property
    def _constructor(self) -> Callable[..., Table]:
        return Table


def stacked(pieces: list[pd.DataFrame], order: np.ndarray, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Pieces of one table under each other, in another order of their rows; the pieces are used up column by column.

    So that a table of hundreds of thousands of rows is never there twice. `order` are rows of the pieces end to
    end, `columns` those wanted, in their order, NaN where there are none; by default those of the pieces.

    Examples
    --------
    >>> stacked([pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})], np.array([1, 0]), ["a", "b"]).to_dict("list")
    {'a': [2, 1], 'b': [nan, nan]}
    """
    lengths = [len(piece) for piece in pieces]
    held = [
        {name: piece[name].to_numpy() for name in piece.columns} for piece in pieces
    ]  # a pop of a table is dear
    pieces.clear()
    out = {}
    for name in columns or dict.fromkeys(name for piece in held for name in piece):
        parts = [piece.pop(name) if name in piece else np.full(n, np.nan) for piece, n in zip(held, lengths)]
        out[name] = np.concatenate(parts)[order]
    return pd.DataFrame(out, copy=False)


def require_columns(table: object, names: Sequence[str], where: str) -> None:
    """Raise where an argument is no table, or one without a column.

    Examples
    --------
    >>> require_columns(pd.DataFrame({"f1": [0.5]}), ["f1", "concept"], "hits")
    Traceback (most recent call last):
    sciinterp.errors.InputError: no such column, hits: expected 'f1', got 'concept'.
    """
    require_kinds(**{where: (table, pd.DataFrame)})
    columns = pd.DataFrame(table).columns
    for name in names:
        if name not in columns:
            raise no_such("column", name, map(str, columns), where=where)


MAX_SHOWN = 160  # characters of one value in a notebook


def html_card(
    title: object, facts: Mapping[str, object] | None = None, table: pd.DataFrame | None = None
) -> str:
    """What an object shows in a notebook: a line, facts, a small table; everything escaped, long text cut.

    Facts that are None or empty are left out; floats are shown with four digits.

    Examples
    --------
    >>> html_card("SAE <b>", {"fve": 0.83012, "seed": None})
    '<p>SAE &lt;b&gt;</p><table><tbody><tr><th scope="row">fve</th><td>0.8301</td></tr></tbody></table>'
    """
    rows = "".join(
        f'<tr><th scope="row">{escape(_short(k))}</th><td>{escape(_short(v))}</td></tr>'
        for k, v in (facts or {}).items()
        if v is not None and v != ""
    )
    body = f"<table><tbody>{rows}</tbody></table>" if rows else ""
    if table is not None:
        cut = table.map(lambda v: _short(v) if isinstance(v, str) else v)
        body += cut.to_html(escape=True, border=0, max_rows=10, max_cols=12)
    return f"<p>{escape(_short(title))}</p>{body}"


def _short(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "\N{HORIZONTAL ELLIPSIS}"


def name_of(value: object) -> str:
    """A name as text: where a cell is missing pandas makes 7 of a column 7.0, which is the name 7.

    Examples
    --------
    >>> name_of(7.0), name_of("7.0"), name_of(1.5)
    ('7', '7.0', '1.5')
    """
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def in_order_of(table: pd.DataFrame, ids: Sequence[str]) -> pd.DataFrame:
    """A table whose index is the identifiers, in their order; one whose index is other numbers, as it stands.

    Identifiers that lie in a file, which are no tuple, are laid by place. InputError where the index is text,
    and not the identifiers.
    """
    index = table.index
    if not isinstance(ids, tuple) or not len(index) or tuple(index) == ids:
        return table
    if (
        index.inferred_type == "integer"
        and index.is_monotonic_increasing
        and index[[0, -1]].tolist() == [0, len(index) - 1]
    ):
        return table  # counted
    names = [str(name) for name in index]
    place = {name: i for i, name in enumerate(names)}
    known = set(ids)
    if len(place) == len(names) and place.keys() == known:
        return table.iloc[[place[name] for name in ids]]
    if index.inferred_type in ("string", "categorical", "mixed", "mixed-integer"):
        other = next((name for name in names if name not in known), names[0])
        raise InputError(
            "the index of the sample table is not the names of the samples",
            where=f"row {other!r}",
            expected="every sample once, in any order",
            got="another name" if other not in known else "a name twice",
            do="Set the index to the names, or lay the rows by place: table.reset_index(drop=True).",
        )
    return table
