"""Readers of samples: one row a format, recognised by name and first lines, and the join of sample columns.

Every reader accounts for what it met: ``samples.n_in == len(samples) + sum(samples.dropped.values())``, and
``samples.changed`` counts what was altered on the way (a stop sign removed from the end of a protein).
Identifiers are data: they are never used as names of files.
"""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from sciinterp.errors import FormatError, InputError
from sciinterp.readers.text import first_lines
from sciinterp.samples import Samples

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

# format -> module, function, suffixes that settle it (without .gz)
FORMATS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "fasta": ("sequences", "read_fasta", (".fasta", ".fa", ".faa", ".fna", ".ffn", ".fas", ".mpfa")),
    "genbank": ("sequences", "read_genbank", (".gb", ".gbk", ".gbff", ".genbank")),
    "embl": ("sequences", "read_embl", (".embl",)),
    "uniprot": ("sequences", "read_uniprot", ()),
    "uniprot-xml": ("sequences", "read_uniprot_xml", ()),
    "airr": ("airr", "read_airr", ()),
    "smiles": ("tables", "read_smiles", (".smi", ".smiles")),
    "receptors": ("receptors", "read_receptors", ()),
    "table": ("tables", "read_table", ()),
    "mmcif": ("structures", "read_mmcif", (".mmcif",)),
    "pdb": ("structures", "read_pdb", (".pdb", ".ent")),
    "cif": ("structures", "read_crystals", ()),
    "h5ad": ("cells", "read_h5ad", (".h5ad",)),
}


def read_samples(
    path: str | Path, *, format: str = "auto", table: str | Path | None = None, kind: str | None = None
) -> Samples:
    """Read samples from a file, and join a table of sample columns.

    Parameters
    ----------
    path : path
        FASTA, GenBank, EMBL, UniProt (flat, XML), AIRR rearrangements, tables of SMILES, of sequences or of
        T-cell receptors, PDB and mmCIF structures, CIF crystals, AnnData; text may be gzipped. What a
        position is: a residue or base; an atom of a molecule or crystal; a residue with coordinates or of a
        loop; an expressed gene.
    format : str
        ``auto`` looks at the name and the first lines; else one of :data:`sciinterp.readers.FORMATS`.
    table : path, optional
        Sample columns (family, donor ...), tab-separated, or ``.csv``; its first column holds the
        identifiers.
    kind : str, optional
        What the samples are; guessed from the format and the letters when not given.

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
    if not path.is_file():
        raise InputError("there is no such file", where=f"file '{path}'")
    if format == "auto":
        format = guess(path)
    if format not in FORMATS:
        raise InputError(
            "there is no such format of samples",
            where=repr(format),
            expected=f"auto, or one of {', '.join(sorted(FORMATS))}",
        )
    module, name, _ = FORMATS[format]
    samples = getattr(importlib.import_module(f"sciinterp.readers.{module}"), name)(path, kind=kind)
    for reason, n in samples.dropped.items():
        log.warning("%s: %d of %d entries dropped: %s", path.name, n, samples.n_in, reason)
    for what, n in samples.changed.items():
        log.warning("%s: %d entries changed: %s", path.name, n, what)
    return samples if table is None else join(samples, Path(table))


def guess(path: Path) -> str:
    """The format of a file, by its name where that settles it, else by its first lines."""
    name = path.name.lower().removesuffix(".gz")
    for format, (_, _, suffixes) in FORMATS.items():
        if suffixes and name.endswith(suffixes):
            return format
    lines = first_lines(path)
    first = lines[0] if lines else ""
    if first.startswith("ID   "):
        return "uniprot" if first.rstrip().endswith("AA.") else "embl"
    if first.startswith("LOCUS "):
        return "genbank"
    if first.startswith("<"):
        return "uniprot-xml"
    if name.endswith(".cif"):
        return "mmcif" if any(line.lstrip().startswith("_entry.") for line in lines) else "cif"
    if first.startswith(("HEADER ", "ATOM  ", "CRYST1")):
        return "pdb"
    cells = {c.strip().strip('"').lower() for c in first.replace(",", "\t").split("\t")}
    if {"sequence_id", "sequence_alignment"} <= cells:
        return "airr"
    if {"cdr3a", "cdr3b"} & cells:
        return "receptors"
    if name.endswith((".tsv", ".csv", ".tab")):
        return "smiles" if any("smiles" in c for c in cells) else "table"
    return "fasta"


def join(samples: Samples, path: Path) -> Samples:
    """``samples`` with the columns of a table, whose first column holds identifiers.

    Raises
    ------
    InputError
        When the table does not exist, lacks a sample, or has one twice.
    """
    if not path.is_file():
        raise InputError("there is no such file", where=f"file '{path}'")
    frame = sample_columns(path)
    missing = [i for i in samples.ids if i not in frame.index]
    if missing:
        raise InputError(
            "samples without a row in the table",
            where=f"file '{path}'",
            expected=f"{len(samples)} rows",
            got=f"{len(missing)} missing, the first {missing[0]!r}",
        )
    extra = len(frame) - len(samples)
    frame = frame.loc[list(samples.ids)].reset_index(drop=True)
    own = samples.table.reset_index(drop=True)
    kept = own[[c for c in own.columns if c not in frame.columns]]
    if len(kept.columns):
        import pandas as pd

        frame = pd.concat([frame, kept], axis=1)
    out = Samples(
        samples.ids,
        samples.data,
        lengths=samples.lengths,
        table=frame,
        kind=samples.kind,
        n_in=samples.n_in,
        dropped=samples.dropped,
        source=samples.source,
    )
    out.changed.update(samples.changed)
    if extra:
        out.changed["rows of the sample table without a sample, left out"] = extra
        log.warning("%s: %d rows are of no sample, left out", path.name, extra)
    return out


def sample_columns(path: Path) -> pd.DataFrame:
    """A table of sample columns, indexed by its first column, which is read as text."""
    import pandas as pd

    separator = "," if path.name.lower().removesuffix(".gz").endswith(".csv") else "\t"
    try:
        frame = pd.read_csv(path, sep=separator, keep_default_na=False, encoding="utf-8-sig", dtype={0: str})
    except (ValueError, OSError, EOFError) as error:
        raise FormatError(
            "this is not a table", file=str(path), line=1, got=str(error).splitlines()[0]
        ) from None
    if not len(frame.columns):
        raise FormatError("this is not a table", file=str(path), line=1, expected="a header line")
    first = frame.columns[0]
    names = frame[first].astype(str)
    twice = names[names.duplicated()]
    if len(twice):
        raise InputError(
            "samples occur twice in the table",
            where=f"file '{path}'",
            got=f"{twice.nunique()}, the first {twice.iloc[0]!r}",
        )
    return frame.drop(columns=[first]).set_index(names.rename("sample"))
