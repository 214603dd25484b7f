"""Which parser reads which file: one row a source, and how to recognise its files, by what they hold."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path

from sciinterp.annotations.bed import says_values
from sciinterp.annotations.rows import cells_of
from sciinterp.annotations.table import Annotations
from sciinterp.annotations.uniprot import KEYS
from sciinterp.errors import InputError, no_such
from sciinterp.readers import told_by
from sciinterp.readers.bigwig import kind_of_track
from sciinterp.readers.bounded import first_lines, open_regular
from sciinterp.settings import checked

# format -> module, function, suffixes that say it where the content does not (without .gz)
FORMATS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "tsv": ("plain", "parse_tsv", ()),
    "uniprot-dat": ("uniprot_text", "parse_uniprot_dat", ()),
    "uniprot-tsv": ("uniprot_text", "parse_uniprot_tsv", ()),
    "uniprot-gff": ("uniprot_text", "parse_uniprot_gff", ()),
    "uniprot-xml": ("uniprot_tree", "parse_uniprot_xml", (".xml",)),
    "uniprot-json": ("uniprot_tree", "parse_uniprot_json", (".json",)),
    "gff3": ("gff", "parse_gff3", (".gff", ".gff3")),
    "gtf": ("gff", "parse_gtf", (".gtf", ".gff2")),
    "genbank": ("genbank", "parse_genbank", (".gb", ".gbk", ".gbff", ".genbank")),
    "embl": ("genbank", "parse_embl", (".embl",)),
    "interpro": ("interpro", "parse_interpro", ()),
    "go": ("go", "parse_go", (".gaf", ".gpad", ".gpa")),
    "structure": ("structure", "parse_structure", (".pdb", ".ent", ".cif", ".mmcif")),
    "h5ad": ("cells", "parse_h5ad", (".h5ad",)),
    "airr": ("airr", "parse_airr", ()),
    "bed": ("bed", "parse_bed", (".bed",)),
    "peaks": ("bed", "parse_peaks", (".narrowpeak", ".broadpeak", ".gappedpeak")),
    "gmt": ("gene_sets", "parse_gmt", (".gmt",)),
    "bigbed": ("signal", "parse_bigbed", (".bb", ".bigbed")),
    "signal": ("signal", "parse_signal", (".bw", ".bigwig", ".bedgraph", ".bdg", ".bg")),
}
# Lines looked at: comments of any usual length, and data after them.
LOOKED_AT = 2000
_STARTS = {
    "LOCUS ": "genbank", "!": "go", "data_": "structure", "HEADER ": "structure", "ATOM  ": "structure",
    "HETATM": "structure", "CRYST1": "structure", "REMARK": "structure", "MODEL ": "structure",
}  # fmt: skip
_COMMENTS = ("#", "track", "browser")
_OWN_TABLE = " A table of your own has the columns sample, start, end and concept, places counted from 0 and the end left out."
NEEDED = {"sample", "start", "end", "concept"}
_NUMBER = re.compile(r"[0-9][0-9,]*", re.ASCII)
_STRAND = re.compile(r"[-+.?]?")
_MD5 = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)


def parser(format: str) -> Callable[..., Annotations]:
    """The function that reads a format; its module is imported now, not before."""
    if format not in FORMATS:
        there = f"There are {', '.join(sorted(FORMATS))}."
        raise no_such("annotation format", format, FORMATS, where="format", do=there)
    module, name, _ = FORMATS[format]
    return getattr(importlib.import_module(f"sciinterp.annotations.{module}"), name)


@checked()
def read_annotations(
    path: str | Path,
    *,
    format: str = "auto",
    ontology: str | Path | None = None,
    threshold: float | None = None,
) -> Annotations:
    """Read annotations from a file of any known format.

    Parameters
    ----------
    path : path
        May be gzipped.
    format : str
        ``auto`` looks at the first lines, then at the name; otherwise a name of :data:`FORMATS`. The functions
        ``parse_*`` beside this one have the options of each format.
    ontology : path, optional
        The OBO file that propagates Gene Ontology annotations to ancestors.
    threshold : float, optional
        Of bigWig and bedGraph: stretches whose value is at least this are the annotation.

    Returns
    -------
    Annotations
        With ``counts``: every item of the file is kept, or counted under the reason for dropping it.

    Raises
    ------
    InputError
        When there is no such file or format.
    FormatError
        When the format cannot be told, or the bytes are not of it, with file and line.
    """
    path = Path(path)
    open_regular(path).close()
    format = guess(path) if format == "auto" else format
    if format == "signal":
        return parser(format)(path, threshold=threshold)
    if threshold is not None:
        raise InputError(
            "only tracks of values have a threshold",
            where=f"file '{path}'",
            expected="bigWig, bedGraph",
            got=format,
        )
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
    """The format of a file: by its content where that tells, else by its name.

    Raises
    ------
    FormatError
        Neither tells.
    """
    with open_regular(path) as handle:
        if handle.read(8) == b"\x89HDF\r\n\x1a\n":
            return "h5ad"
    if kind := kind_of_track(path):
        return "signal" if kind == "bigwig" else kind
    lines = first_lines(path, n=LOOKED_AT)
    found = "signal" if says_values(path) else _by_content(lines)
    header = _header(lines[0])
    if (
        not found and header & {"sample", "concept"} and len(header & NEEDED) > 1
    ):  # its parser says what is missing
        found = "tsv"
    # One header of words and rows as wide are a table, whose columns have other names.
    widths = {len(re.split("[\t,;]", line)) for line in lines[:5]}
    is_table = len(lines) > 1 and len(widths) == 1 and min(widths) > 1 and not re.search(r"\d", lines[0])
    return told_by(path, found, lines, FORMATS, what="annotations", more=_OWN_TABLE if is_table else "")


def _header(line: str) -> set[str]:
    return {cell.strip().lower() for cell in re.split("[\t,;]", line.replace('"', ""))}


def _by_content(lines: list[str]) -> str:
    first = lines[0] if lines else ""
    for start, format in _STARTS.items():
        if first.startswith(start):
            return format
    if first.startswith("ID   "):
        return "uniprot-dat" if first.rstrip().endswith("AA.") else "embl"
    if first.lstrip().startswith("<"):
        return "uniprot-xml" if any("<uniprot" in line for line in lines[:50]) else ""
    if first.lstrip().startswith(("{", "[")):
        return "uniprot-json"
    header = _header(first)
    if {"sample", "concept"} <= header:
        return "tsv"
    if {"entry", "accession"} & header and any(c in KEYS or c.startswith(("ft_", "cc_")) for c in header):
        return "uniprot-tsv"
    if {"sequence_id", "sequence_alignment"} <= header:
        return "airr"
    if any(line.startswith("LOCUS ") for line in lines[:50]):
        return "genbank"
    data = [line for line in lines if not line.startswith((*_COMMENTS, "!"))]
    found = _by_cells(data)
    if not data or data[0].startswith(("data_", ">")):
        declared = first.startswith("##gff-version") or any(
            line.startswith("##sequence-region") for line in lines
        )
        return "gff3" if declared else "structure" if data and data[0].startswith("data_") else ""
    return found


def _by_cells(data: list[str]) -> str:
    """The format of a table without header, by the cells of its first line."""
    cells = cells_of(data[0]) if data else []
    if len(cells) == 1 and data:
        cells = data[0].split()

    def numbers(*places: int) -> bool:
        return len(cells) > max(places) and all(_NUMBER.fullmatch(cells[i]) for i in places)

    if 8 <= len(cells) <= 10 and numbers(3, 4) and _STRAND.fullmatch(cells[6]):
        if any(line.split("\t")[1:2] == ["UniProtKB"] for line in data[:50]):
            return "uniprot-gff"
        quoted = re.compile(r'[A-Za-z_][\w.-]* +"').match
        return (
            "gtf" if len(cells) == 9 and any(quoted(line.split("\t")[-1]) for line in data[:50]) else "gff3"
        )
    if len(cells) >= 11 and _MD5.fullmatch(cells[1]) and numbers(2, 6, 7):
        return "interpro"
    if len(cells) == 6 and re.fullmatch(r"IPR[0-9]{6}", cells[1]) and numbers(4, 5):
        return "interpro"
    if (
        15 <= len(cells) <= 17
        and re.fullmatch(r"[A-Za-z]{2,12}:[0-9]{7}", cells[4])
        and cells[8] in ("C", "F", "P")
    ):
        return "go"
    if numbers(1, 2) and len(cells) <= 15 and _STRAND.fullmatch(cells[5] if len(cells) > 5 else "."):
        return "peaks" if len(cells) in (9, 10, 15) and not (len(cells) == 9 and numbers(6, 7)) else "bed"
    return ""
