"""Tables of molecules (SMILES) and of sequences: a header, one sample a row, other columns kept."""

from __future__ import annotations

import csv
import re
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from sciinterp.errors import FormatError, InputError
from sciinterp.readers.text import first_lines, open_text, refuse_duplicates, sample_id, sequences_to_samples
from sciinterp.samples import Samples

if TYPE_CHECKING:
    import pandas as pd

_ID = (
    "id",
    "sample",
    "name",
    "entry",
    "accession",
    "identifier",
    "compound",
    "compound_id",
    "molecule_id",
    "mol_id",
    "chembl_id",
    "molecule_chembl_id",
    "sequence_id",
)
_SEQUENCE = ("sequence", "seq", "aa_sequence", "protein_sequence")
_SMILES = ("smiles", "canonical_smiles", "isomeric_smiles", "rxn_smiles", "reaction_smiles", "smi")
# Atoms of the SMILES grammar (OpenSMILES 1.0, section 3): bracket atoms, then the organic subset.
_ATOM = re.compile(r"\[[^\[\]]+\]|Br|Cl|[BCNOPSFI]|[bcnops]|\*")


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

    ``.smi`` files have a SMILES and a name a line, no header. Other tables have a header with a column
    ``smiles``; a column such as ``id`` or ``name`` holds identifiers, else rows are numbered.

    Raises
    ------
    FormatError
        No such column, or not a table.
    InputError
        No molecule, or an identifier twice.
    """
    if path.name.lower().removesuffix(".gz").endswith((".smi", ".smiles")):
        frame = _headless(path)
    else:
        frame = _frame(path)
    column = _find(frame, _SMILES, path)
    names = _names(frame)
    smiles = frame[column].str.strip()
    dropped: Counter[str] = Counter()
    keep, lengths = [], []
    for i, text in enumerate(smiles):
        n = len(smiles_atoms(text))
        if n:
            keep.append(i)
            lengths.append(n)
        else:
            dropped["no atom in the SMILES" if text else "empty SMILES"] += 1
    if not keep:
        raise InputError(
            "no molecules", where=f"file '{path}'", expected="at least one SMILES", got=f"{len(frame)} rows"
        )
    ids = [names[i] for i in keep]
    refuse_duplicates(ids, path)
    table = frame.drop(columns=[column]).iloc[keep].reset_index(drop=True)
    return Samples(
        ids,
        [smiles.iloc[i] for i in keep],
        lengths=lengths,
        table=table,
        kind=kind or "smiles",
        n_in=len(frame),
        dropped=dropped,
        source=str(path),
    )


def read_table(path: Path, *, kind: str | None = None) -> Samples:
    """A table of sequences: a column ``sequence``, one of identifiers, and any others, which are kept.

    Raises
    ------
    FormatError
        No such column, or not a table.
    """
    frame = _frame(path)
    column = _find(frame, _SEQUENCE, path)
    entries = zip([sample_id(name) for name in _names(frame)], frame[column])
    return sequences_to_samples(entries, path, kind=kind, table=frame.drop(columns=[column]))


def _frame(path: Path) -> pd.DataFrame:
    """All cells as text; the separator is a tab where the header has one, else a comma."""
    import pandas as pd

    header = first_lines(path, n=1)
    separator = "\t" if header and "\t" in header[0] else ","
    try:
        with open_text(path) as handle:
            frame = pd.read_csv(handle, sep=separator, dtype=str, keep_default_na=False)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise FormatError(
            "this is not a table", file=str(path), line=1, got=str(error).splitlines()[0]
        ) from None
    return frame.fillna("")


def _headless(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        with open_text(path) as handle:
            lines = [line.split(None, 1) for line in handle if line.strip()]
    except (OSError, EOFError, zlib.error, ValueError, csv.Error) as error:
        raise FormatError("this is not a list of SMILES", file=str(path), line=1, got=str(error)) from None
    rows = [(words[0], words[1].strip() if len(words) > 1 else f"row{i}") for i, words in enumerate(lines, 1)]
    return pd.DataFrame(rows, columns=["smiles", "id"])


def _find(frame: pd.DataFrame, names: tuple[str, ...], path: Path) -> str:
    lower = {str(c).strip().lower(): c for c in frame.columns}
    found = next((lower[n] for n in names if n in lower), None)
    if found is None:
        raise FormatError(
            "the table lacks a column",
            file=str(path),
            line=1,
            expected=f"one of {', '.join(names)}",
            got=", ".join(map(str, frame.columns))[:120],
        )
    return found


def _names(frame: pd.DataFrame) -> list[str]:
    lower = {str(c).strip().lower(): c for c in frame.columns}
    column = next((lower[n] for n in _ID if n in lower), None)
    if column is None:
        return [f"row{i}" for i in range(1, len(frame) + 1)]
    return frame[column].str.strip().tolist()
