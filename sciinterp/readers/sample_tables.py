"""Tables: of molecules (SMILES), of sequences, and of the columns that describe samples.

Cells are text as written: identifiers and labels such as ``007`` or ``1.10`` stay so. A column is numbers only
where every cell is a number in its shortest form, so that no digit of a label is lost. Blank cells and NA
are missing values.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from sciinterp.errors import FormatError, InputError
from sciinterp.readers.bounded import read_lines
from sciinterp.readers.delimited import read_table as read_cells
from sciinterp.readers.entries import check_ids, sequences_to_samples
from sciinterp.samples import Samples

log = logging.getLogger(__name__)
MISSING = frozenset(("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>"))
# Columns that may hold identifiers, the likeliest first.
_ID = (
    "id", "sample", "name", "entry", "accession", "identifier", "compound", "compound_id", "molecule_id",
    "mol_id", "chembl_id", "molecule_chembl_id", "sequence_id",
)  # fmt: skip
# Other names that identifiers have, where no two rows share one.
_NAMES = re.compile(
    r"(?:.*[ _.-])?(?:ids?|acc|accession|name|header|barcode|uniprot|protein|gene)", re.IGNORECASE
)
SEQUENCES = ("sequence", "seq", "aa_sequence", "protein_sequence")
SMILES = ("smiles", "canonical_smiles", "isomeric_smiles", "rxn_smiles", "reaction_smiles", "smi")
# Atoms of the SMILES grammar (OpenSMILES 1.0, section 3): bracket atoms, then the organic subset.
_ATOM = re.compile(r"\[[^\[\]]+\]|Br|Cl|[BCNOPSFI]|[bcnops]|\*")


# What ChemAxon and RDKit write behind a SMILES: CCO |r,c:1|
_EXTENSION = re.compile(r"(?<=\S)[ \t]+\|[^|]*\|")


def smiles_atoms(smiles: str) -> list[tuple[int, int]]:
    """Where the atoms of a SMILES stand: half-open intervals of characters, in order.

    Examples
    --------
    >>> smiles_atoms("C[NH3+].Clc1ccccc1")[:3]
    [(0, 1), (1, 7), (8, 10)]
    """
    return [match.span() for match in _ATOM.finditer(smiles)]


def read_smiles(path: Path, *, kind: str | None = None) -> Samples:
    """A table of molecules or reactions as SMILES; positions are the atoms, in the order written.

    ``.smi`` files have a SMILES and a name a line, with or without a header. Other tables have a header with a
    column ``smiles``; a column such as ``id`` or ``name`` holds identifiers, else rows are numbered.

    Raises
    ------
    FormatError
        No such column, or not a table.
    InputError
        No molecule, or an identifier twice.
    """
    headless = path.name.lower().removesuffix(".gz").endswith((".smi", ".smiles"))
    frame = _smi(path) if headless else text_table(path)
    column = find_column(frame, SMILES, path)
    names = identifiers(frame, path)
    smiles = _present(frame[column]).str.replace(_EXTENSION, "", regex=True)
    lengths = np.array([len(smiles_atoms(text)) for text in smiles])
    keep = np.flatnonzero(lengths)
    ids = [names[i] for i in keep]
    check_ids(ids, path, "molecules", len(frame))
    dropped = Counter(
        "no atom in the SMILES" if smiles.iloc[i] else "empty SMILES" for i in np.flatnonzero(lengths == 0)
    )
    return Samples(
        ids,
        smiles.iloc[keep],
        lengths=lengths[keep],
        table=_described(frame, column, path).iloc[keep].reset_index(drop=True),
        kind=kind or "smiles",
        n_in=len(frame),
        dropped=dropped,
        source=str(path),
    )


def _smi(path: Path) -> pd.DataFrame:
    """The lines of a ``.smi`` file: a SMILES, then a name; in lines with tabs, any further columns."""
    rows: list[list[str]] = []
    header: list[str] = []
    for _, written in read_lines(path):
        line = _EXTENSION.sub("", written, count=1)
        cells = [c.strip() for c in (line.split("\t") if "\t" in line else line.split(None, 1))]
        if not rows and not header and cells and "smiles" in cells[0].lower():
            header = cells
        elif line.strip():
            rows.append(cells if len(cells) > 1 else [*cells, f"row{len(rows) + 1}"])
    width = max(map(len, rows), default=2)
    further = (header[2:] + [f"column{i}" for i in range(3, width + 1)][len(header[2:]) :])[: width - 2]
    cells = [row + [""] * (width - len(row)) for row in rows]
    return pd.DataFrame(cells, columns=["smiles", "id", *further], dtype=object)


def read_table(path: Path, *, kind: str | None = None) -> Samples:
    """A table of sequences: a column ``sequence``, one of identifiers, and any others, which are kept.

    Raises
    ------
    FormatError
        No such column, or not a table.
    """
    frame = text_table(path)
    column = find_column(frame, SEQUENCES, path)
    entries = zip(identifiers(frame, path), _present(frame[column]))
    return sequences_to_samples(entries, path, kind=kind, table=_described(frame, column, path))


def _described(frame: pd.DataFrame, column: str, path: Path) -> pd.DataFrame:
    """The columns beside the samples, as what they are; identifiers are text whatever they look like."""
    out = typed(frame.drop(columns=[column]))
    names = _names(frame, path)
    return out if names is None else out.assign(**{names: frame[names].str.strip()})


def _present(column: pd.Series) -> pd.Series:
    """Cells without white space around them; those of a missing value, such as NA, are empty."""
    column = column.str.strip()
    return column.where(~column.isin(MISSING), "")


def text_table(path: Path) -> pd.DataFrame:
    """All cells of a table as text; unnamed columns are numbered, and left out where they are blank.

    Raises
    ------
    FormatError
        No header, a column named twice, or a row wider than the header.
    """
    header, frame, _ = read_cells(path).whole(path)
    keep = [i for i, name in enumerate(header) if name or i == 0 or frame[i].str.strip().any()]
    frame = frame[keep].reset_index(drop=True)
    frame.columns = pd.Index([header[i] or f"column{i + 1}" for i in keep])
    return frame


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Text columns with None for what is missing, as numbers where nothing of the text is lost by that.

    Examples
    --------
    >>> frame = pd.DataFrame({"cath": ["1.1", "1.10"], "cut": ["1", "2"], "donor": ["a", "NA"]})
    >>> [column.tolist() for _, column in typed(frame).items()]
    [['1.1', '1.10'], [1, 2], ['a', None]]
    """
    return pd.DataFrame({name: _typed(frame[name]) for name in frame.columns}, index=frame.index)


def _typed(column: pd.Series) -> pd.Series:
    cells = [None if (text := cell.strip()) in MISSING else text for cell in column]
    plain = [
        cell if cell is None or cell.isascii() else cell.replace("\N{MINUS SIGN}", "-") for cell in cells
    ]
    present = {cell for cell in plain if cell is not None}
    out = pd.Series(cells, index=column.index, dtype=object)
    numbers = present and all(_shortest(cell, int) or _shortest(cell, float) for cell in present)
    # 1 and 1.0 are two labels, though one number.
    if not numbers or len(set(map(float, present))) < len(present):
        return out
    whole = None not in cells and all(_shortest(cell, int) for cell in present)
    return pd.Series(plain, index=column.index, dtype=object).astype(np.int64 if whole else np.float64)


def _shortest(cell: str, kind: type[int] | type[float]) -> bool:
    """Whether the text is what a number of this kind, that a float holds exactly, is written as."""
    try:
        return len(cell) < (16 if kind is int else 24) and str(kind(cell)) == cell
    except ValueError:
        return False


def find_column(frame: pd.DataFrame, names: tuple[str, ...], path: Path) -> str:
    """The column with the first of these names, in any case.

    Raises
    ------
    FormatError
        There is none, or two differ in their case alone.
    """
    found = _column(frame, names, path)
    if found is None:
        raise FormatError(
            "the table lacks a column",
            file=str(path),
            line=1,
            expected=f"one of {', '.join(names)}",
            got=", ".join(map(str, frame.columns))[:120],
        )
    return found


def _column(frame: pd.DataFrame, names: tuple[str, ...], path: Path) -> str | None:
    for name in names:
        found = [str(column) for column in frame.columns if str(column).lower() == name]
        if len(found) > 1:
            raise FormatError(
                "two columns could be meant", file=str(path), line=1, got=" and ".join(map(repr, found))
            )
        if found:
            return found[0]
    return None


def _names(frame: pd.DataFrame, path: Path) -> str | None:
    """The column of identifiers: that of the likeliest name, else the first by whose name it could be one (also an index
    without a name, as pandas and R write it) and in which every row has its own."""
    likely = _column(frame, _ID, path)
    if likely is not None and not frame[likely].str.strip().duplicated().any():
        return likely
    for number, name in enumerate(map(str, frame.columns)):
        if _NAMES.fullmatch(name) or (number == 0 and name == "column1"):
            cells = frame[name].str.strip().tolist()
            if len(set(cells)) == len(cells) and "" not in cells and cells != [*map(str, range(len(cells)))]:
                return name
    return likely


def identifiers(frame: pd.DataFrame, path: Path) -> list[str]:
    """The identifiers of the rows, from the likeliest column; numbers, said in a line, where there is none."""
    column = _names(frame, path)
    if column is None:
        got = ", ".join(map(str, frame.columns))[:120]
        log.warning("%s: no column of identifiers among %s: samples are row1, row2 ...", Path(path).name, got)
    elif (likely := _column(frame, _ID, path)) not in (None, column):
        log.warning("%s: column %r repeats its names: %r names the samples", Path(path).name, likely, column)
    if column is None:
        return [f"row{i}" for i in range(1, len(frame) + 1)]
    names = frame[column].str.strip().tolist()
    if "" in names:
        raise FormatError("a row without an identifier", file=str(path), got=f"row {names.index('') + 1}")
    return names


def sample_columns(path: Path) -> pd.DataFrame:
    """A table of sample columns, indexed by its first column, which is read as text.

    Raises
    ------
    InputError
        A sample occurs twice.
    """
    frame = text_table(path)
    names = frame.iloc[:, 0].str.strip()
    twice = names[names.duplicated()]
    if len(twice):
        raise InputError(
            "samples occur twice in the table",
            where=f"file '{path}'",
            got=f"{twice.nunique()}, the first {twice.iloc[0]!r}",
        )
    return typed(frame.iloc[:, 1:]).set_index(names.rename("sample"))
