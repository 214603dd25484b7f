"""Variants of a VCF file, plain, gzip or bgzip: one row an alternative allele that states its letters.

The format (VCF 4.5, section 1): tab-separated ``CHROM POS ID REF ALT``, positions from 1, alternatives joined by commas.
Genotypes are passed over. What states no letters is counted by reason: ``.``, ``*`` (a deletion of another row spans it),
symbolic alleles (``<DEL>``) and breakends. A row that is damaged costs itself alone.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from sciinterp.errors import FormatError
from sciinterp.frames import Table
from sciinterp.readers.bounded import read_lines

COLUMNS = ("chrom", "pos", "id", "ref", "alt")
_LETTERS = re.compile(r"[A-Za-z]+")
_POSITION = re.compile(r"0*[1-9][0-9]{0,17}", re.ASCII)
NO_ALLELE, SPANNED, SYMBOLIC = (
    "no alternative allele",
    "an allele that a deletion took away",
    "a symbolic allele",
)
BREAKEND, NO_LETTERS = "a breakend", "alleles that are no letters"
NO_POSITION, SHORT, SAME = "no position from 1", "fewer than five columns", "the reference allele again"


def read_variants(path: str | Path) -> Table:
    """Variants of a VCF file as the table that :func:`sciinterp.variant_effects` takes.

    Parameters
    ----------
    path : path
        Of sequences that are samples: ``CHROM`` is the identifier of one, positions count on it.

    Returns
    -------
    Table
        ``chrom pos id ref alt``, one row an alternative allele. ``context`` holds ``n_in`` (alleles, and rows that hold
        none), ``n_kept`` and ``dropped`` (reason -> how many).

    Raises
    ------
    FormatError
        No line of the file is a variant, and none says that it is a VCF.
    """
    kept: list[tuple[str, int, str, str, str]] = []
    dropped: Counter[str] = Counter()
    is_vcf, first = False, ""
    for _, line in read_lines(path, sequences=True):
        if line.startswith("#"):
            is_vcf |= line.lower().startswith(("##fileformat=vcf", "#chrom\t"))
        elif line.strip():
            first = first or line[:60]
            for found in _alleles(line):
                if isinstance(found, str):
                    dropped[found] += 1
                else:
                    kept.append(found)
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
    return Table(kept, columns=list(COLUMNS), context=counts)


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
