"""Names of samples: one form for each, and one way to find the sample that a name in another file means.

Databases write one accession in many ways: ``sp|P69905|HBA_HUMAN``, ``P69905.2``, ``p69905``. Readers of
sequences keep the accession; :func:`match_ids` finds the sample of a name as it stands, then by accession,
without the version, in any case, and as a chromosome (``16`` is ``chr16``), and never takes a guess where two samples, or
two versions, would fit.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from sciinterp.errors import InputError

log = logging.getLogger(__name__)
Name = TypeVar("Name")
Label = TypeVar("Label")
_UNIPROT = re.compile(r"(?:sp|tr)\|([A-Z0-9]+(?:-[0-9]+)?)(?:\.[0-9]+)?(?:\|\S*)?", re.IGNORECASE)
# NCBI's: gi|4504347|ref|NP_000508.1|, gb|AAA59172.1|, lcl|ORF1, gnl|database|name.
_NCBI = re.compile(
    r"(?:gi\|[0-9]+\|)?(?:(?:ref|gb|emb|dbj|tp[gde])\|([A-Za-z0-9_]+(?:\.[0-9]+)?)\|\S*|(?:lcl|gnl\|[^|\s]+)\|([^|\s]+))"
)
# What a page or a spreadsheet leaves around a name, unseen.
_UNSEEN = "\u00a0\u00ad\u200b\u200c\u200d\u2060\ufeff"
# How tables write the two strands; blank, ``?``, 0 and NA say that it is not known.
STRANDS = {
    **dict.fromkeys(("+", "+1", "1", "plus", "forward", "fwd", "f"), "+"),
    **dict.fromkeys(("-", "-1", "\N{MINUS SIGN}", "\N{MINUS SIGN}1", "minus", "reverse", "rev", "r"), "-"),
    **dict.fromkeys(
        (".", "?", "0", "*", "both", "unstranded", "", "na", "n/a", "#n/a", "nan", "null", "none", "<na>"),
        ".",
    ),
}
# Letters and digits, then a version; a plain number such as a class of CATH has none.
_VERSION = re.compile(r"((?=[^.]*[A-Za-z])(?=[^.]*[0-9])[A-Za-z0-9_-]+)\.[0-9]{1,3}")
_CHROMOSOME = re.compile(r"(?:chr)?([0-9]{1,2}[LR]?|[WXYZ]|MT?|X[LR]|[IVX]{1,4})", re.IGNORECASE | re.ASCII)
# RefSeq's accessions of the human chromosomes, whichever assembly.
_HUMAN = re.compile(r"NC_(?:0000(0[1-9]|1[0-9]|2[0-4])|012920)(?:\.[0-9]{1,2})?", re.ASCII)
# 2-Sep, 1-Mar-2001, 2001-09-02, 9/2/2001; 2.31E+13.
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_SPOILED = re.compile(
    rf"[0-9]{{1,2}}-{_MONTH}(?:-[0-9]{{2,4}})?|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:[ T]00:00:00)?"
    r"|[0-9]{1,2}/[0-9]{1,2}/[0-9]{2,4}|[0-9](?:\.[0-9]+)?E\+[0-9]{2}",
    re.IGNORECASE | re.ASCII,
)
_NUMBER = re.compile(r"[0-9]{1,18}(?:\.0)?", re.ASCII)
# Names compared letter by letter for the nearest one: enough to find a mistyped one, no more.
_COMPARED = 2000


def sample_id(word: str) -> str:
    """The identifier of a sequence: UniProt's ``sp|P12345|NAME`` is its accession, as in annotations.

    Examples
    --------
    >>> sample_id("sp|P69905|HBA_HUMAN"), sample_id("chr16:1-9")
    ('P69905', 'chr16:1-9')
    """
    match = _UNIPROT.fullmatch(word)
    return match[1] if match else word


def _spelt(word: str) -> str:
    """An identifier in one form of Unicode (macOS decomposes letters), without what nobody sees around it or a database's
    words before it."""
    plain = word if word.isascii() else unicodedata.normalize("NFC", word).strip(_UNSEEN)
    match = _NCBI.fullmatch(plain) if "|" in plain else None
    return match[1] or match[2] if match else sample_id(plain)


def strand_of(text: str) -> str:
    """``+``, ``-`` or ``.`` for whatever a table writes; empty where it is no strand.

    Examples
    --------
    >>> [strand_of(text) for text in ("minus", "1", "-1.0", "", "x")]
    ['-', '+', '-', '.', '']
    """
    return STRANDS.get(text.strip().lower().removesuffix(".0"), "")


def _without_version(word: str) -> str:
    match = _VERSION.fullmatch(_spelt(word))
    return match[1] if match else _spelt(word)


def _one_version(first: str, second: str) -> bool:
    """Whether at most one of two names of one accession states a version, or both the same."""
    stated = [_spelt(word).casefold() for word in (first, second) if _without_version(word) != _spelt(word)]
    return len(set(stated)) < 2


def _chromosome(word: str) -> str:
    """``16``, ``chr16`` and ``NC_000016.10`` are one human chromosome, ``MT`` and ``chrM`` one genome."""
    human = _HUMAN.fullmatch(word)
    if human is not None:
        return f"chr{ {'23': 'x', '24': 'y'}.get(human[1], human[1].lstrip('0')) if human[1] else 'm' }"
    match = _CHROMOSOME.fullmatch(word)
    return f"chr{match[1].casefold().replace('mt', 'm')}" if match else _without_version(word).casefold()


# From the strictest to the loosest: two names that agree in one of these forms mean the same.
_FORMS: tuple[Callable[[str], str], ...] = (
    str,
    _spelt,
    _without_version,
    lambda word: _without_version(word).casefold(),
    _chromosome,
)


def match_ids(names: Iterable[str], ids: Sequence[str]) -> dict[str, str]:
    """The sample each name means; names that mean none, or could mean two, are absent.

    Examples
    --------
    >>> match_ids(["sp|P69905|HBA_HUMAN", "nm_000518", "x"], ["P69905", "NM_000518.5"])
    {'sp|P69905|HBA_HUMAN': 'P69905', 'nm_000518': 'NM_000518.5'}
    """
    wanted = list(dict.fromkeys(names))
    left = wanted
    found: dict[str, str] = {}
    for loose, form in enumerate(_FORMS):
        if not left:
            break
        known: dict[str, str | None] = {}
        for name in ids:
            key = form(name)
            known[key] = name if key not in known else None
        claims: dict[str, set[str]] = {}
        for name in left:
            claims.setdefault(form(name), set()).add(name)
        for key, claiming in claims.items():
            # Two versions, or two cases, are two things, though either alone would fit.
            meant = known.get(key)
            if meant is not None and (
                loose < 2 or (len(claiming) == 1 and all(_one_version(name, meant) for name in claiming))
            ):
                found.update(dict.fromkeys(claiming, meant))
        left = [name for name in left if name not in found]
    return {name: found[name] for name in wanted if name in found}


def labels_of(labels: Mapping[Name, Label], ids: Sequence[str], what: str) -> dict[str, Label]:
    """Sample -> its label, of labels that stand with names of samples in any of their forms.

    Raises
    ------
    InputError
        None of them is of these samples.
    """
    meant = match_ids(map(str, labels), ids)
    found = {meant[str(name)]: label for name, label in labels.items() if str(name) in meant}
    if len(labels) and not found and len(ids):
        first = str(next(iter(labels)))
        raise InputError(
            "no label is of one of these samples",
            where=what,
            expected=f"names such as {ids[0]!r}",
            got=repr(first[:60]),
            do="Give one value a sample as a list, or names of samples.",
        )
    return found


def plain_chromosome(name: str) -> str:
    """A chromosome's name without ``chr``; M is MT.

    Examples
    --------
    >>> [plain_chromosome(name) for name in ("chr16", "Chr1", "chrM", "scaffold_7")]
    ['16', '1', 'MT', 'scaffold_7']
    """
    bare = re.sub("^chr", "", name, flags=re.IGNORECASE)
    return "MT" if bare == "M" else bare


def match_chromosomes(names: Iterable[str], ids: Sequence[str]) -> dict[str, str]:
    """As :func:`match_ids`, of chromosomes: UCSC's ``chr16`` is Ensembl's ``16``, and M is MT.

    Examples
    --------
    >>> match_chromosomes(["chr16", "MT", "17"], ["16", "chrM", "chrX"])
    {'chr16': '16', 'MT': 'chrM'}
    """
    wanted = list(dict.fromkeys(names))
    found = match_ids(wanted, ids)
    plain = {name: plain_chromosome(name) for name in {*wanted, *ids}}
    left = [name for name in wanted if name not in found]
    free = [one for one in ids if one not in found.values()]
    known = match_ids([plain[name] for name in left], [plain[one] for one in free])
    back = {plain[one]: one for one in free}
    found |= {name: back[known[plain[name]]] for name in left if plain[name] in known}
    return {name: found[name] for name in wanted if name in found}


def spoiled(names: Iterable[str]) -> str:
    """What to say where a spreadsheet made dates or numbers of names (SEPT2, 2310009E13), or an empty text.

    Examples
    --------
    >>> spoiled(["TP53", "2-Sep", "1-Mar"])
    "2 of 3 names are dates or numbers that a spreadsheet made of names, such as '2-Sep'"
    """
    every = list(names)
    found = [name for name in every if _SPOILED.fullmatch(name)]
    return (
        f"{len(found):,} of {len(every):,} names are dates or numbers that a spreadsheet made of names, "
        f"such as {found[0]!r}"
        if found
        else ""
    )


def say_spoiled(path: str | Path, names: Iterable[str]) -> None:
    """Warn of names of genes that a spreadsheet turned into dates or numbers."""
    if said := spoiled(names):
        log.warning("%s: %s; they are kept as they stand", Path(path).name, said)


def numbered(names: Iterable[str], ids: Sequence[str]) -> str:
    """What to say where a program read identifiers as numbers: ``007`` as ``7``, ``1`` as ``1.0``."""
    as_numbers = {name.removesuffix(".0").lstrip("0"): name for name in names if _NUMBER.fullmatch(name)}
    found = next((i for i in ids if i.isascii() and i.isdigit() and i.lstrip("0") in as_numbers), None)
    return (
        ""
        if found is None
        else f"the table has {as_numbers[found.lstrip('0')]!r}, a number: keep the column as text"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say of a name that fits nothing: the nearest that exists, or an empty text.

    Examples
    --------
    >>> nearest("P69950", ["P69905", "chr1"])
    "the nearest is 'P69905'"
    """
    among = {candidate[:100]: candidate for candidate, _ in zip(known, range(_COMPARED))}
    close = get_close_matches(name[:100], list(among), n=1)
    return f"the nearest is {among[close[0]]!r}" if close else ""
