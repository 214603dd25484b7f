"""Variants of a VCF file, plain, gzip or bgzip: one row an alternative allele that states its letters.

The format (VCF 4.5, section 1): tab-separated ``CHROM POS ID REF ALT``, positions from 1, alternatives joined by commas.
Genotypes are passed over. Keys of the INFO column that are asked for, by default those of ClinVar, are columns; of a key
that has a value for each alternative (``Number=A``) each row has its own. What states no letters is counted by reason: ``.``, ``*`` (a deletion of another row spans it),
symbolic alleles (``<DEL>``) and breakends. A row that is damaged costs itself alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sciinterp.errors import FormatError
from sciinterp.frames import Table
from sciinterp.readers.bounded import read_lines

COLUMNS = ("chrom", "pos", "id", "ref", "alt")
CLINVAR = ("CLNSIG", "CLNREVSTAT", "CLNDN", "CLNHGVS", "GENEINFO", "MC")
_LETTERS = re.compile(r"[A-Za-z]+")
_PER_ALLELE = re.compile(r"##INFO=<ID=([^,>]+),Number=A\b")
_POSITION = re.compile(r"0*[1-9][0-9]{0,17}", re.ASCII)
NO_ALLELE, SPANNED, SYMBOLIC = (
    "no alternative allele",
    "an allele that a deletion took away",
    "a symbolic allele",
)
BREAKEND, NO_LETTERS = "a breakend", "alleles that are no letters"
NO_POSITION, SHORT, SAME = "no position from 1", "fewer than five columns", "the reference allele again"


def read_variants(path: str | Path, *, info: Sequence[str] = CLINVAR) -> Table:
    """Variants of a VCF file as the table that :func:`sciinterp.variant_effects` takes.

    Parameters
    ----------
    path : path
        Of sequences that are samples: ``CHROM`` is the identifier of one, positions count on it. Those of a genome go
        onto windows by :func:`sciinterp.place_variants`.
    info : sequence of str
        Keys of INFO to keep, as columns of text; a flag is its own name.

    Returns
    -------
    Table
        ``chrom pos id ref alt``, and the keys of ``info`` that occur, one row an alternative allele. ``context`` holds ``n_in`` (alleles, and rows that hold
        none), ``n_kept`` and ``dropped`` (reason -> how many).

    Raises
    ------
    FormatError
        No line of the file is a variant, and none says that it is a VCF.
    """
    kept: list[tuple[str, int, str, str, str]] = []
    extra: list[dict[str, str]] = []
    each: set[str] = set()
    dropped: Counter[str] = Counter()
    is_vcf, first = False, ""
    for _, line in read_lines(path, sequences=True):
        if line.startswith("#"):
            is_vcf |= line.lower().startswith(("##fileformat=vcf", "#chrom\t"))
            each |= {m[1] for m in [_PER_ALLELE.match(line)] if m}
        elif line.strip():
            first = first or line[:60]
            alleles = _alleles(line)
            for number, found in enumerate(alleles):
                if isinstance(found, str):
                    dropped[found] += 1
                else:
                    kept.append(found)
                    extra.append(_info(line, info, each, number, len(alleles)))
    if not kept and not is_vcf:
        raise FormatError(
            "this is not a VCF",
            file=str(path),
            expected="##fileformat=VCFv4..., or #CHROM POS ID REF ALT",
            got=repr(first),
        )
    counts = {
        "n_in": len(kept) + dropped.total(),
        "n_kept": len(kept),
        "dropped": dict(dropped),
        "file": Path(path).name,
    }
    table = Table(kept, columns=list(COLUMNS), context=counts)
    for name in dict.fromkeys(info):
        if any(name in row for row in extra):
            table[name] = [row.get(name, "") for row in extra]
    return table


def _info(line: str, wanted: Sequence[str], each: set[str], number: int, n: int) -> dict[str, str]:
    """The wanted keys of the INFO column, of one allele of ``n``."""
    cells = line.split("\t", 8)
    found: dict[str, str] = {}
    for part in cells[7].strip().split(";") if len(cells) > 7 and wanted else []:
        name, _, value = part.partition("=")
        if name in wanted:
            values = value.split(",")
            found[name] = (values[number] if name in each and len(values) == n else value) or name
    return found


def _alleles(line: str) -> list[tuple[str, int, str, str, str] | str]:
    """The alleles of a line, or why one is none."""
    cells = [cell.strip() for cell in line.split("\t", 8)]
    if len(cells) < 5 or not cells[0]:
        return [SHORT]
    chrom, pos, name, ref, alts = cells[:5]
    if not _POSITION.fullmatch(pos):
        return [NO_POSITION]
    out: list[tuple[str, int, str, str, str] | str] = []
    for alt in (alt.strip() for alt in alts.split(",")):
        reason = _reason(ref, alt)
        out.append(reason or (chrom, int(pos), "" if name == "." else name, ref, alt))
    return out


def _reason(ref: str, alt: str) -> str:
    if alt in ("", "."):
        return NO_ALLELE
    if alt == "*":
        return SPANNED
    if alt.startswith("<") and alt.endswith(">"):
        return SYMBOLIC
    if "[" in alt or "]" in alt or alt.startswith(".") or alt.endswith("."):
        return BREAKEND
    if not (_LETTERS.fullmatch(ref) and _LETTERS.fullmatch(alt)):
        return NO_LETTERS
    return SAME if ref.upper() == alt.upper() else ""
