"""Variants of a VCF file, plain, gzip or bgzip: one row an alternative allele that states its letters.

The format (VCF 4.5, section 1): tab-separated ``CHROM POS ID REF ALT``, positions from 1, alternatives joined by commas.
Genotypes are passed over. Keys of the INFO column that are asked for, by default those of ClinVar, are columns; of a key
that has a value for each alternative (``Number=A``) or each allele (``Number=R``) each row has its own. What states no
letters is counted by reason: ``.``, ``*`` (a deletion of another row spans it), symbolic alleles (``<DEL>``) and
breakends. A row that is damaged costs itself alone. Cells may be as a spreadsheet saves them: in quotes, ``1,000``;
a header parted by blanks says that all rows are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sciinterp.errors import FormatError
from sciinterp.frames import Table
from sciinterp.readers.bounded import read_lines
from sciinterp.readers.delimited import unquoted
from sciinterp.settings import checked

COLUMNS = ("chrom", "pos", "id", "ref", "alt")
CLINVAR = ("CLNSIG", "CLNREVSTAT", "CLNDN", "CLNHGVS", "GENEINFO", "MC")
_LETTERS = re.compile(r"[A-Za-z]+")
_PER_ALLELE = re.compile(r"##INFO=<(?=.*\bID=([^,>]+)).*\bNumber=([AR])\b")
_QUOTED = re.compile(r'"[^"]*"')
_POSITION = re.compile(r"(0*[1-9][0-9]{0,17}|[1-9][0-9]{0,2}(?:,[0-9]{3})+)(?:\.0+)?", re.ASCII)
# How VCF 4.3 and later write what parts the values of INFO.
_ESCAPED = {f"%{ord(c):02X}": c for c in ":;=%,\r\n\t"}
_ESCAPES = re.compile("|".join(_ESCAPED), re.IGNORECASE)
NO_ALLELE, SPANNED, SYMBOLIC = (
    "no alternative allele",
    "an allele that a deletion took away",
    "a symbolic allele",
)
BREAKEND, NO_LETTERS = "a breakend", "alleles that are no letters"
NO_POSITION, SHORT, SAME = "no position from 1", "fewer than five columns", "the reference allele again"


@checked()
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
    each: dict[str, int] = {}
    dropped: Counter[str] = Counter()
    is_vcf, first, escaped, separator = False, "", False, "\t"
    for _, line in read_lines(path, sequences=True):
        if line.startswith("#"):
            is_vcf |= line.lower().startswith(("##fileformat=vcf", "#chrom\t", "#chrom "))
            each |= {m[1]: "AR".index(m[2]) for m in [_PER_ALLELE.match(_QUOTED.sub("", line))] if m}
            if version := re.match(r"##fileformat=VCFv4\.(\d+)", line, re.IGNORECASE):
                escaped = int(version[1]) >= 3
            if line.lower().startswith("#chrom"):
                separator = "\t" if "\t" in line else " "
        elif line.strip():
            first = first or line[:60]
            cells = _cells(line, separator)
            alleles = _alleles(cells)
            for number, found in enumerate(alleles):
                if isinstance(found, str):
                    dropped[found] += 1
                else:
                    kept.append(found)
                    values = _info(cells, info, each, number, len(alleles))
                    extra.append({k: _plain(v) for k, v in values.items()} if escaped else values)
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


def _cells(line: str, separator: str) -> list[str]:
    """The first nine cells of a line: genotypes stay joined."""
    cells = line.split("\t", 8) if separator == "\t" else line.split(None, 8)
    if '"' not in line:
        return [cell.strip() for cell in cells]
    return [unquoted(cell.strip()).strip() for cell in cells]


def _info(
    cells: list[str], wanted: Sequence[str], each: dict[str, int], number: int, n: int
) -> dict[str, str]:
    """The wanted keys of the INFO column, of one allele of ``n``; a flag is its own name."""
    found: dict[str, str] = {}
    for part in cells[7].split(";") if len(cells) > 7 and wanted else []:
        name, equals, value = (text.strip() for text in part.partition("="))
        if name in wanted:
            values, before = value.split(","), each.get(name, 0)
            own = name in each and len(values) == n + before
            found[name] = values[number + before] if own else value if equals else name
    return found


def _plain(value: str) -> str:
    return _ESCAPES.sub(lambda match: _ESCAPED[match[0].upper()], value)


def _alleles(cells: list[str]) -> list[tuple[str, int, str, str, str] | str]:
    """The alleles of a line, or why one is none."""
    if len(cells) < 5 or not cells[0]:
        return [SHORT]
    chrom, pos, name, ref, alts = cells[:5]
    whole = _POSITION.fullmatch(pos)
    if not whole:
        return [NO_POSITION]
    out: list[tuple[str, int, str, str, str] | str] = []
    for alt in (alt.strip() for alt in alts.split(",")):
        reason = _reason(ref, alt)
        out.append(reason or (chrom, int(whole[1].replace(",", "")), "" if name == "." else name, ref, alt))
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
