"""Which parser reads which file: one row a source, and how to recognise its files."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from sciinterp.annotations.table import Annotations
from sciinterp.annotations.text import read_lines
from sciinterp.errors import InputError

# format -> module, function, suffixes that settle it (without .gz)
FORMATS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "tsv": ("plain", "parse_tsv", ()),
    "uniprot-dat": ("uniprot_text", "parse_uniprot_dat", ()),
    "uniprot-tsv": ("uniprot_text", "parse_uniprot_tsv", ()),
    "uniprot-gff": ("uniprot_text", "parse_uniprot_gff", ()),
    "uniprot-xml": ("uniprot_tree", "parse_uniprot_xml", (".xml",)),
    "uniprot-json": ("uniprot_tree", "parse_uniprot_json", (".json",)),
    "gff3": ("gff", "parse_gff3", ()),
    "gtf": ("gff", "parse_gtf", (".gtf",)),
    "genbank": ("genbank", "parse_genbank", (".gb", ".gbk", ".gbff", ".genbank")),
    "embl": ("genbank", "parse_embl", (".embl",)),
    "interpro": ("interpro", "parse_interpro", ()),
    "go": ("go", "parse_go", (".gaf", ".gpad", ".gpa")),
    "structure": ("structure", "parse_structure", (".pdb", ".ent", ".cif", ".mmcif")),
    "h5ad": ("cells", "parse_h5ad", (".h5ad",)),
    "airr": ("airr", "parse_airr", ()),
    "bed": ("bed", "parse_bed", (".bed",)),
}
_IPRSCAN = re.compile(r"[^\t]+\t[0-9a-f]{32}\t[0-9]+\t")


def parser(format: str) -> Callable[..., Annotations]:
    """The function that reads a format; its module is imported now, not before."""
    if format not in FORMATS:
        raise InputError(
            "there is no such annotation format",
            where=repr(format),
            expected=f"one of {', '.join(sorted(FORMATS))}",
        )
    module, name, _ = FORMATS[format]
    return getattr(importlib.import_module(f"sciinterp.annotations.{module}"), name)


def read_annotations(
    path: str | Path, *, format: str = "auto", ontology: str | Path | None = None
) -> Annotations:
    """Read annotations from a file of any known format.

    Parameters
    ----------
    path : path
        May be gzipped.
    format : str
        ``auto`` looks at the name and the first lines; otherwise a name of :data:`FORMATS`. The functions
        ``parse_*`` beside this one have the options of each format.

    ontology : path, optional
        The OBO file that propagates Gene Ontology annotations to ancestors.

    Returns
    -------
    Annotations
        With ``counts``: every item of the file is kept, or counted under the reason for dropping it.

    Raises
    ------
    InputError
        When there is no such file or format.
    FormatError
        When the bytes are not of the format, with file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("there is no such file", where=f"file '{path}'")
    format = guess(path) if format == "auto" else format
    if ontology is None:
        return parser(format)(path)
    if format != "go":
        raise InputError(
            "an ontology propagates annotations of genes",
            where=f"file '{path}'",
            expected="GAF or GPAD",
            got=format,
        )
    return parser(format)(path, ontology=ontology)


def guess(path: Path) -> str:
    """The format of a file, by its name where that settles it, else by its first lines."""
    name = path.name.lower().removesuffix(".gz")
    for format, (_, _, suffixes) in FORMATS.items():
        if suffixes and name.endswith(suffixes):
            return format
    lines = [line for _, line in islice(read_lines(path), 50)]
    first = next((line for line in lines if line.strip()), "")
    if name.endswith((".gff", ".gff3")):
        return "uniprot-gff" if any("\tUniProtKB\t" in line for line in lines) else "gff3"
    if first.startswith("ID   "):
        return "uniprot-dat" if first.rstrip().endswith("AA.") else "embl"
    if first.startswith("LOCUS "):
        return "genbank"
    if first.startswith(("!gaf", "!gpa")):
        return "go"
    if first.startswith("##gff-version"):
        return "gff3"
    if _IPRSCAN.match(first):
        return "interpro"
    header = {cell.strip().lower() for cell in first.split("\t")}
    if "entry" in header and "concept" not in header:
        return "uniprot-tsv"
    if {"sequence_id", "sequence_alignment"} <= header:
        return "airr"
    return "tsv"
