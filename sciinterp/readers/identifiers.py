"""Names of samples: one form for each, and one way to find the sample that a name in another file means.

Databases write one accession in many ways: ``sp|P69905|HBA_HUMAN``, ``P69905.2``, ``p69905``. Readers of
sequences keep the accession; :func:`match_ids` finds the sample of a name as it stands, then by accession,
without the version, and in any case, and never takes a guess where two samples, or two versions, would fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches

_UNIPROT = re.compile(r"(?:sp|tr)\|([A-Z0-9]+(?:-[0-9]+)?)(?:\.[0-9]+)?(?:\|\S*)?", re.IGNORECASE)
# Letters and digits, then a version; a plain number such as a class of CATH has none.
_VERSION = re.compile(r"((?=[^.]*[A-Za-z])(?=[^.]*[0-9])[A-Za-z0-9_-]+)\.[0-9]{1,3}")
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


def _without_version(word: str) -> str:
    match = _VERSION.fullmatch(sample_id(word))
    return match[1] if match else sample_id(word)


def _one_version(first: str, second: str) -> bool:
    """Whether at most one of two names of one accession states a version, or both the same."""
    stated = [
        sample_id(word).casefold() for word in (first, second) if _without_version(word) != sample_id(word)
    ]
    return len(set(stated)) < 2


# From the strictest to the loosest: two names that agree in one of these forms mean the same.
_FORMS: tuple[Callable[[str], str], ...] = (
    str,
    sample_id,
    _without_version,
    lambda word: _without_version(word).casefold(),
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
