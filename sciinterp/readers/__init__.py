"""Readers of samples: one row a format, recognised by name and first lines, and the join of sample columns.

Every reader accounts for what it met: ``samples.n_in == len(samples) + sum(samples.dropped.values())``, and
``samples.changed`` counts what was altered on the way (a stop sign removed from the end of a protein).
Identifiers are data: they are never used as names of files.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from sciinterp.errors import FormatError, InputError, no_such
from sciinterp.readers.bounded import first_lines, open_regular, read_lines
from sciinterp.readers.delimited import unquoted
from sciinterp.readers.identifiers import match_ids, nearest, numbered, spoiled
from sciinterp.readers.indexed import INDEX_FROM, can_be_indexed, read_indexed
from sciinterp.readers.sample_tables import SEQUENCES, SMILES, sample_columns
from sciinterp.samples import Samples
from sciinterp.settings import checked

log = logging.getLogger(__name__)

# format -> module, function, suffixes that settle it (without .gz)
FORMATS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "fasta": ("sequences", "read_fasta", (".fasta", ".fa", ".faa", ".fna", ".ffn", ".fas", ".mpfa")),
    "genbank": ("sequences", "read_genbank", (".gb", ".gbk", ".gbff", ".genbank")),
    "embl": ("sequences", "read_embl", (".embl",)),
    "uniprot": ("sequences", "read_uniprot", ()),
    "uniprot-xml": ("sequences", "read_uniprot_xml", ()),
    "uniprot-json": ("sequences", "read_uniprot_json", ()),
    "airr": ("airr", "read_airr", ()),
    "smiles": ("sample_tables", "read_smiles", (".smi", ".smiles")),
    "receptors": ("receptors", "read_receptors", ()),
    "table": ("sample_tables", "read_table", (".tsv", ".csv", ".tab")),
    "mmcif": ("structures", "read_mmcif", (".mmcif",)),
    "pdb": ("structures", "read_pdb", (".pdb", ".ent")),
    "cif": ("structures", "read_crystals", ()),
    "backbones": ("backbones", "read_backbones", ()),
    "h5ad": ("cells", "read_h5ad", (".h5ad",)),
}
# What the first line of a file begins with, where that settles it.
_STARTS = {
    ">": "fasta",
    "LOCUS ": "genbank",
    **dict.fromkeys(("HEADER ", "ATOM  ", "HETATM", "CRYST1", "REMARK", "MODEL ", "TITLE "), "pdb"),
}
# Columns of the atoms: of a structure (mmCIF) or of a crystal (core CIF).
_ATOMS = re.compile(r"\s*_(?:atom_site|entry|cell|entity)([._])")


@checked()
def read_samples(
    path: str | Path,
    *,
    format: str = "auto",
    table: str | Path | None = None,
    kind: str | None = None,
    layer: str | None = None,
    raw: bool = False,
    index: bool | None = None,
) -> Samples:
    """Read samples from a file, and join a table of sample columns.

    Parameters
    ----------
    path : path
        FASTA, GenBank, EMBL, UniProt (flat, XML, JSON), AIRR rearrangements, tables of SMILES, of sequences or of
        T-cell receptors, PDB and mmCIF structures, CIF crystals, AnnData; text may be gzipped. What a
        position is: a residue or base; an atom of a molecule or crystal; a residue with coordinates or of a
        loop; an expressed gene.
    format : str
        ``auto`` looks at the name and the first lines; else one of :data:`sciinterp.readers.FORMATS`.
    table : path, optional
        Sample columns (family, donor ...), tab-separated, or ``.csv``; its first column holds the
        identifiers.
    kind : str, optional
        What the samples are; guessed from the format and the letters when not given. ``structure`` reads a PDB or
        mmCIF entry with its coordinates, ``chains`` each of its chains.
    layer, raw : str, bool
        Of AnnData: read a matrix of ``layers``, or ``raw.X``, instead of ``X``.
    index : bool, optional
        Of FASTA, plain or bgzip: leave the sequences in the file and read each when it is used. An index is kept
        beside the file. By default so from 256 MiB on.

    Returns
    -------
    Samples
        ``n_in``, ``dropped`` and ``changed`` account for every entry of the file.

    Raises
    ------
    InputError
        No such file or format, no sample in it, an identifier twice, or a table that lacks a sample.
    FormatError
        When the file is not in its format.
    """
    path = Path(path)
    open_regular(path).close()
    if format == "auto":
        format = guess(path)
    if format not in FORMATS:
        raise no_such(
            "format of samples",
            format,
            FORMATS,
            where="format",
            do=f"There are auto, {', '.join(sorted(FORMATS))}.",
        )
    module, name, _ = FORMATS[format]
    chosen = {"layer": layer, "raw": raw} if layer or raw else {}
    if chosen and format != "h5ad":
        where = f"{'layer' if layer else 'raw'}, file '{path}'"
        raise InputError("only AnnData has layers", where=where, expected="h5ad", got=format)
    if format in ("pdb", "mmcif") and kind in ("structure", "chains"):
        module, name, chosen = "backbones", "read_entry", {"format": format}
    if index and format != "fasta":
        raise InputError("only FASTA is read by index", where=f"file '{path}'", got=format)
    if index is None:
        index = format == "fasta" and path.stat().st_size >= INDEX_FROM and can_be_indexed(path)
    if index:
        samples = read_indexed(path, kind=kind)
    else:
        samples = getattr(importlib.import_module(f"sciinterp.readers.{module}"), name)(
            path, kind=kind, **chosen
        )
    for reason, n in samples.dropped.items():
        log.warning("%s: %d of %d entries dropped: %s", path.name, n, samples.n_in, reason)
    for what, n in samples.changed.items():
        log.warning("%s: %s: %d", path.name, what, n)
    return samples if table is None else join(samples, Path(table))


def guess(path: Path) -> str:
    """The format of a file: by its content where that tells, else by its name.

    Raises
    ------
    FormatError
        Neither tells.
    """
    lines = first_lines(path, n=2000)
    return told_by(path, _by_content(path, lines), lines, FORMATS, what="samples")


def told_by(
    path: Path,
    content: str,
    lines: list[str],
    formats: Mapping[str, tuple[str, str, tuple[str, ...]]],
    *,
    what: str,
    more: str = "",
) -> str:
    """The format that the content of a file has told, else its name tells; ``more`` is advice where neither does."""
    name = path.name.lower().removesuffix(".gz")
    found = content or next((f for f, (*_, ends) in formats.items() if ends and name.endswith(ends)), "")
    if not found:
        raise FormatError(
            f"the format of the {what} cannot be told",
            file=str(path),
            expected=", ".join(sorted(formats)),
            got=repr(lines[0][:40]),
            do=f"Name it: format= of read_{what}, --format of a command, {what}_format in a configuration.{more}",
        )
    return found


def _by_content(path: Path, lines: list[str]) -> str:
    first = lines[0] if lines else ""
    for start, format in _STARTS.items():
        if first.startswith(start):
            return format
    if first.startswith("ID   "):
        return "uniprot" if first.rstrip().endswith("AA.") else "embl"
    if first.startswith("<") and any("uniprot" in line for line in lines[:5]):
        return "uniprot-xml"
    if first.startswith(("{", "[")) and any("primaryAccession" in line for line in lines):
        return "uniprot-json"
    if next((line for line in lines if not line.startswith("#")), "").startswith("data_"):
        # The columns of the atoms tell a protein from a crystal; a licence of any length may stand above them.
        with contextlib.suppress(FormatError):
            for _, line in read_lines(path, sequences=True):
                if match := _ATOMS.match(line):
                    return "mmcif" if match[1] == "." else "cif"
    cells = {unquoted(c.strip()).lower() for c in re.split("[\t,;]", first)}
    if {"sequence_id", "sequence_alignment"} <= cells:
        return "airr"
    if {"sample", "chain", "number", "letter", "ca"} <= cells:
        return "backbones"
    if {"cdr3a", "cdr3b"} & cells:
        return "receptors"
    if len(cells) > 1 and not path.name.lower().removesuffix(".gz").endswith((".smi", ".smiles")):
        return "smiles" if cells & set(SMILES) else "table" if cells & set(SEQUENCES) else ""
    return ""


def join(samples: Samples, path: Path) -> Samples:
    """``samples`` with the columns of a table, whose first column holds identifiers.

    Raises
    ------
    InputError
        When the table does not exist, lacks a sample, or has one twice.
    """
    frame = sample_columns(path)
    if (rows := _rows_by_name(frame.index, samples)) is not None:
        return _with_columns(samples, frame.iloc[rows])
    meant = match_ids(frame.index, samples.ids)
    row = {meant[name]: i for i, name in enumerate(frame.index) if name in meant}
    missing = [i for i in samples.ids if i not in row]
    if missing:
        free = [name for name in frame.index if name not in meant]
        near = spoiled(free) or numbered(free, missing) or nearest(missing[0], free)
        other = next((c for c in frame.columns if set(samples.ids) <= set(map(str, frame[c]))), None)
        raise InputError(
            "samples without a row in the table",
            where=f"file '{path}'",
            expected=f"{len(samples)} rows",
            got=f"{len(missing)} missing, the first {missing[0]!r}{'; ' if near else ''}{near}",
            do="Add their rows, or leave these samples out."
            if other is None
            else f"Column {other!r} has them: put it first.",
        )
    if len(row) < len(meant):
        counts = Counter(meant.values())
        twice = [f"{name!r} as {i!r}" for name, i in meant.items() if counts[i] > 1]
        raise InputError("samples occur twice in the table", where=f"file '{path}'", got=", ".join(twice[:2]))
    extra = [name for name in frame.index if name not in meant]
    out = _with_columns(samples, frame.iloc[[row[i] for i in samples.ids]])
    if extra:
        out.changed["rows of the sample table without a sample, left out"] = len(extra)
        log.warning("%s: %d rows are of no sample, left out, the first %r", path.name, len(extra), extra[0])
    return out


def _rows_by_name(names: pd.Index, samples: Samples) -> np.ndarray | None:
    """The row of each sample where the rows of a table are the samples, each named as it is; else None."""
    if len(names) != len(samples):
        return None
    if all(a == b for a, b in zip(names, samples.ids)):
        return np.arange(len(names))
    rows = np.full(len(names), -1)
    for row, name in enumerate(names):
        if name not in samples:
            return None
        rows[samples.index(name)] = row
    return rows if (rows >= 0).all() else None


def _with_columns(samples: Samples, frame: pd.DataFrame) -> Samples:
    """``samples`` with a table in their order, and the columns of their own that it has not."""
    frame, own = frame.reset_index(drop=True), samples.columns
    return samples.with_table(frame.assign(**{c: own[c] for c in own.columns if c not in frame.columns}))
