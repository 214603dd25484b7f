"""The annotation table as a TSV: what this package writes, and what anyone can write in a spreadsheet.

A header with at least ``sample, start, end, concept``, then one row an annotation, 0-based and half-open, with
tabs, commas or semicolons between the cells. Blank ``start`` and ``end`` mean the whole sample, as does a table of
``sample`` and ``concept`` alone; samples and concepts are text as written. ``x.concepts.tsv`` and ``x.coverage.tsv`` beside the table are read with it: names
and parents of concepts, and the samples each source covers.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from sciinterp.annotations.rows import missing
from sciinterp.annotations.table import COLUMNS, Annotations, RowError, concepts_path, coverage_path
from sciinterp.errors import FormatError, InputError
from sciinterp.readers.delimited import each, read_table
from sciinterp.settings import checked
from sciinterp.store.ledger import require_intact
from sciinterp.store.tables import unescape_cell

NEEDED = ("sample", "start", "end", "concept")
WHOLE = ("sample", "concept")
log = logging.getLogger(__name__)
NAMELESS = "no sample or no concept"


@checked()
def parse_tsv(path: str | Path) -> Annotations:
    """An annotation table, with the tables beside it where there are any.

    Raises
    ------
    FormatError
        When a column is missing, a row is wider than the header or an interval is impossible.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "sites.tsv"
    >>> _ = path.write_text("sample\\tstart\\tend\\tconcept\\nP1\\t4\\t9\\tsite\\nP1\\t\\t\\tmembrane\\n")
    >>> parse_tsv(path).frame[["start", "end", "concept"]].to_numpy().tolist()
    [[4, 9, 'site'], [-1, -1, 'membrane']]
    """
    path = Path(path)
    beside, covered = concepts_path(path), coverage_path(path)
    require_intact(path.parent, path.name, beside.name, covered.name)
    table = _table(path, NEEDED, of_samples=True)
    concepts = _table(beside, ("concept",)) if beside.is_file() else None
    stated = set() if concepts is None else set(concepts["concept"])  # "NA" is a concept where it is listed
    absent = {c for c in set(table["concept"]) - stated if missing(c)} | {""}
    named = (table["sample"] != "") & ~table["concept"].isin(absent)
    frame, n = table if named.all() else table[named], len(table)
    if concepts is None and len(table):
        log.info("%s: places are counted from 0, and the end is left out", path.name)
    coverage = None
    if covered.is_file():
        lists = _table(covered, ("source", "sample"))
        coverage = {str(s): tuple(ids) for s, ids in lists.groupby("source", sort=True)["sample"]}
    counts = {
        "n_in": n,
        "n_kept": len(frame),
        "dropped": {NAMELESS: n - len(frame)} if n > len(frame) else {},
    }
    try:
        known = frame[[c for c in COLUMNS if c in frame.columns]]
        found = Annotations(known, concepts=concepts, coverage=coverage, counts=counts)
        found.read_from = (str(path), known.index.to_numpy())
        return found
    except RowError as error:
        line, said = int(frame.index[error.row]), (error.expected, error.got, error.do)
        raise FormatError(
            error.what, file=str(path), line=line, **dict(zip(("expected", "got", "do"), said))
        ) from None
    except InputError as error:
        file = beside if "concepts table" in error.what else path
        raise FormatError(str(error).rstrip("."), file=str(file)) from None


def _table(path: Path, needed: tuple[str, ...], *, of_samples: bool = False) -> pd.DataFrame:
    """Cells as text, indexed by line; names of columns in any case; escaped cells are restored.

    ``of_samples`` lets a table be of whole samples alone, with no column that could be a place.
    """
    names, table, _ = read_table(path).whole(path)
    header = [name.lower() for name in names]
    if of_samples and set(WHOLE) <= set(header) <= {*COLUMNS} - {"start", "end", "strand"}:
        header, table = [*header, "start", "end"], table.assign(**{"start": "", "end": ""})
    if not set(needed) <= set(header) or len(set(header)) != len(header):
        raise FormatError(
            "this is not the header of the table",
            file=str(path),
            line=1,
            expected=", ".join(needed),
            got=repr("\t".join(names)[:60]),
            do="Of single positions the end is the position and 1 more."
            if "position" in header
            else f"There is no column {next((c for c in needed if c not in header), 'that occurs once')!r}.",
        )
    cells = {name: each(column, _restored) for name, (_, column) in zip(header, table.items())}
    return pd.DataFrame(cells, index=table.index, dtype=object)


def _restored(cell: str) -> str:
    return unescape_cell(cell if cell.startswith("'") else cell.strip())
