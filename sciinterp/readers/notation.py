"""A change of one stretch of a sample, read as HGVS notation or as a row of a VCF.

Positions in text count from 1, in :class:`Variant` from 0. HGVS (den Dunnen et al. 2016) of proteins (``p.``) and of
genomes (``g.``, ``m.``): substitutions, ``=``, deletions, insertions, duplications and deletion-insertions, of one
position or of a range; residues in one- or three-letter codes of either case. Several substitutions (``A1C:D2E``,
``p.[Ala1Cys;Asp2Glu]``) are one change, whose letters between are the sample's own. What the notation does not state
letter by letter (frame shifts, stops, extensions, symbolic alleles) is refused with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import pandas as pd

from sciinterp.errors import InputError
from sciinterp.samples import Sample

THREE = {"Ala": "A", "Arg": "R", "Asn": "N", "Asp": "D", "Cys": "C", "Gln": "Q", "Glu": "E", "Gly": "G", "His": "H",
         "Ile": "I", "Leu": "L", "Lys": "K", "Met": "M", "Phe": "F", "Pro": "P", "Ser": "S", "Thr": "T", "Trp": "W",
         "Tyr": "Y", "Val": "V", "Sec": "U", "Pyl": "O"}  # fmt: skip
_NO_NOTATION = "this is not a protein variant"
UNSTATED = "?"  # a letter that the notation leaves to the sample
_STATED = re.compile(r"[^?]+")
_RESIDUE = "[A-Za-z]{3}|[A-Za-z]"
_HGVS = re.compile(rf"({_RESIDUE})([0-9]{{1,12}})(?:_({_RESIDUE})([0-9]{{1,12}}))?(.*)", re.DOTALL)
_GENOMIC = re.compile(
    r"([0-9]{1,12})(?:_([0-9]{1,12}))?([acgtn]*)(>|=|delins|del|dup|ins)([acgtn]*)", re.IGNORECASE
)
# Several substitutions as tables join them.
_SEVERAL = re.compile(
    rf"(?:p\.)?(?:{_RESIDUE})[0-9]{{1,12}}(?:{_RESIDUE}|=)(?:[;:,+/|&_\s]+(?:p\.)?(?:{_RESIDUE})[0-9]{{1,12}}(?:{_RESIDUE}|=))+"
)
# Characters of a change: an insertion of a whole domain has some thousand, and patterns are tried on every one.
LONGEST = 10_000
# A sequence's name in front of a change.
_ACCESSION = re.compile(r"\s*([^\s:]+):\s*(?=[pgcmnrPGCMNR]\.)")
# Notation that says too little to make the changed sequence, and what it says instead.
_REFUSED = (
    (re.compile("fs"), "a frame shift: the residues after it are not stated"),
    (re.compile("ext"), "an extension: its residues are not stated"),
    (re.compile(r"\*|Ter|\A(?:ter|TER|[Ss]top|STOP|[Xx])\Z"), "a stop: give what is left out as a deletion, such as K23_V25del"),
    (re.compile(r"\[|;"), "repeats"),
    (re.compile(r"\?|Xaa"), "an unknown consequence"),
    (re.compile(r"\d"), "a number of residues, not which"),
)  # fmt: skip
# What stands in a VCF in place of an alternative allele.
_NO_ALLELE = {
    ".": "no alternative allele",
    "*": "an allele that a deletion in another row took away",
    "": "an empty allele",
}


@dataclass(frozen=True)
class Variant:
    """``ref`` at the 0-based ``start`` becomes ``alt``; ``?`` stands for the letter of the sample there.

    Examples
    --------
    >>> parse_variant("p.Ala42Gly")
    Variant(start=41, ref='A', alt='G')
    >>> parse_variant("K23_V25del").fitted(Sample("s", "M" * 22 + "KLV"))
    Variant(start=22, ref='KLV', alt='')
    """

    start: int
    ref: str
    alt: str
    # Of what the notation speaks: "protein" or "dna", empty where it does not say.
    kind: str = field(default="", compare=False, repr=False)

    @property
    def substitutions(self) -> tuple[Variant, ...]:
        """Each changed letter as a change of its own; empty where letters are added or left out.

        Examples
        --------
        >>> [str(v) for v in parse_variant("A1C:D4E").substitutions]
        ['A1C', 'D4E']
        """
        pairs = zip(self.ref, self.alt) if len(self.ref) == len(self.alt) else ()
        return tuple(Variant(self.start + i, a, b) for i, (a, b) in enumerate(pairs) if a != b)

    def __str__(self) -> str:
        several = self.substitutions
        if len(several) > 1:
            return ";".join(map(str, several))
        if self.ref and self.alt == 2 * self.ref:
            return f"{str(Variant(self.start, self.ref, ''))[:-3]}dup"
        short = self.trimmed()
        ref, alt, first = (
            (short.ref, short.alt, short.start + 1) if short.ref else (self.ref, self.alt, self.start + 1)
        )
        where = f"{ref[:1]}{first}" if len(ref) < 2 else f"{ref[0]}{first}_{ref[-1]}{first + len(ref) - 1}"
        if ref == alt:
            return f"{where}="
        if len(ref) == len(alt) == 1:
            return f"{where}{alt}"
        if not alt:
            return f"{where}del"
        inserted = len(ref) == 2 < len(alt) and (alt[0], alt[-1]) == (ref[0], ref[1])
        return f"{where}ins{alt[1:-1]}" if inserted else f"{where}delins{alt}"

    def meant_for(self, kind: str) -> Variant:
        """The change itself, where its notation is of such samples or does not say.

        Raises
        ------
        InputError
            Nucleotides (``g.``, ``m.``) of a protein, or residues (``p.``) of DNA.
        """
        bases = kind in ("dna", "rna")
        if self.kind and bases is (self.kind == "protein"):
            raise InputError(
                "the variant is of another kind of sample",
                where=f"variant {self}",
                expected="notation of nucleotides (g.)" if bases else "notation of residues (p.)",
                got="p." if bases else "g. or m.",
            )
        return self

    def trimmed(self) -> Variant:
        """The same change without the letters both alleles begin or end with."""
        ref, alt, start = self.ref, self.alt, self.start
        while ref and alt and ref[0] == alt[0]:
            ref, alt, start = ref[1:], alt[1:], start + 1
        while ref and alt and ref[-1] == alt[-1]:
            ref, alt = ref[:-1], alt[:-1]
        return Variant(start, ref, alt)

    def fitted(self, sample: Sample) -> Variant:
        """The change in the sample's own letters: unstated ones filled in, in its case where it has one case only.

        Raises
        ------
        InputError
            When the position lies outside, or the sample holds something else there.
        """
        sequence, end = sample.sequence, self.start + len(self.ref)
        where = f"variant {self}, sample {sample.id!r}"
        if not self.ref or self.start < 0 or end > sample.length:
            raise InputError(
                "the variant lies outside the sample",
                where=where,
                expected=f"position 1 to {sample.length}",
                got=f"{self.start + 1}" if len(self.ref) < 2 else f"{self.start + 1} to {end}",
            )
        found = sequence[self.start : end]
        as_in = _case(sequence)
        stated = _STATED.finditer(as_in(self.ref))
        if any(found[m.start() : m.end()] != m[0] for m in stated):
            raise InputError(
                "the sample has another reference residue",
                where=where,
                expected=f"{self.ref} at position {self.start + 1}",
                got=found,
                do="Positions count from 1 on the sample as it is given here, after any cut.",
            )
        alt = "".join(found[i % len(found)] if x == UNSTATED else x for i, x in enumerate(self.alt))
        return Variant(self.start, found, as_in(alt))

    def apply(self, sample: Sample) -> Sample:
        """The changed sample.

        Raises
        ------
        InputError
            As :meth:`fitted`; or when nothing of the sample is left.
        """
        change = self.fitted(sample)
        where = f"variant {self}, sample {sample.id!r}"
        sequence = (
            sample.sequence[: change.start] + change.alt + sample.sequence[change.start + len(change.ref) :]
        )
        if not sequence:
            raise InputError("the variant deletes the whole sample", where=where)
        if not isinstance(sample.data, Mapping):
            return Sample(f"{sample.id}:{change}", sequence)
        if len(sequence) != len(sample.sequence):
            raise InputError("a structure has no place for other than substitutions", where=where)
        return Sample(f"{sample.id}:{change}", {**sample.data, "sequence": sequence}, sample.length)


@lru_cache(maxsize=4)
def _case(sequence: str) -> Callable[[str], str]:
    """How a sequence of one case writes letters."""
    return str.upper if sequence.isupper() else str.lower if sequence.islower() else str


def parse_variant(text: str) -> Variant:
    """Read a change in HGVS notation of proteins or genomes.

    ``A42G``, ``p.Ala42Gly``, ``p.(Ala42=)``, ``A42del``, ``K23_V25del``, ``V7dup``, ``H4_Q5insA``, ``C28_K29delinsW``,
    ``g.42A>G``; several substitutions as ``A1C:D2E``, ``A1C;D2E`` or ``p.[Ala1Cys;Asp2Glu]``, or joined by space, ``_ , + / | &``. An accession in front
    (``NP_000001.1:``) is passed over.

    Raises
    ------
    InputError
        When the text is no such change, or does not state every letter of it.

    Examples
    --------
    >>> parse_variant("p.(His4_Gln5insAla)"), parse_variant("A1C:D4E")
    (Variant(start=3, ref='HQ', alt='HAQ'), Variant(start=0, ref='A??D', alt='C??E'))
    """
    if len(str(text)) > LONGEST:
        raise _unread(str(text), f"a text longer than {LONGEST:,} characters")
    body = _ACCESSION.sub("", str(text), count=1).strip().replace("%3D", "=")
    kind = re.match(r"[pgcmnrPGCMNR]\.", body)
    said = "" if not kind else "protein" if kind[0][0] in "pP" else "dna"
    kind = kind[0].lower() if kind else "p."
    if kind in ("c.", "n.", "r."):
        raise _unread(text, "notation of transcripts' nucleotides: give g., p., or columns pos, ref and alt")
    body = re.sub(r"\A[pgmPGM]\.", "", body)
    one = _protein if kind == "p." else _genomic
    plain = kind == "p." and _SEVERAL.fullmatch(_bare(body))
    joined = re.sub(r"[+/|&_\s]+|p\.", " ", _bare(body)).replace(" ", ";") if plain else _bare(body)
    several = [part for part in re.split(r"[;:,]", joined) if part.strip()]
    if "];" in body:
        raise _unread(text, "changes of two alleles: give one allele a row")
    if len(several) < 2 or re.search(r"\w\[", body):
        return replace(one(_bare(body), text), kind=said)
    return replace(_merged([one(_bare(part.strip()), text) for part in several], text), kind=said)


def accession(text: str) -> str:
    """The name of a sequence in front of a change, empty where there is none.

    Examples
    --------
    >>> accession("NC_000016.10:g.42A>G"), accession("A1C:D2E")
    ('NC_000016.10', '')
    """
    match = _ACCESSION.match(text)
    return match[1] if match else ""


def _bare(body: str) -> str:
    """A change without the brackets around it."""
    for ends in ("()", "[]", "()"):
        if body[:1] == ends[0] and body[-1:] == ends[1] and ends[1] not in body[1:-1]:
            body = body[1:-1]
    return body


def _protein(body: str, text: str) -> Variant:
    """One change of a protein."""
    match = _HGVS.fullmatch(body)
    if match is None or int(match[2]) < 1:
        raise _unread(text)
    first, last = int(match[2]), int(match[4] or match[2])
    three = len(match[1]) == 3
    ref = _letters(match[1], three, text)
    if match[3]:
        if last <= first:
            raise _unread(text, "a range that ends before it begins")
        ref += UNSTATED * (last - first - 1) + _letters(match[3], len(match[3]) == 3, text)
    return Variant(first - 1, *_change(ref, match[5], bool(match[3]), three, text))


def _genomic(body: str, text: str) -> Variant:
    """One change of a genome; what is not stated is the sample's."""
    match = _GENOMIC.fullmatch(body)
    if match is None or int(match[1]) < 1 or int(match[2] or match[1]) < int(match[1]):
        raise _unread(
            text, "a change of nucleotides that states too little, such as other than 42A>G or 42_44del"
        )
    first, verb, letters = int(match[1]), match[4].lower(), match[5].upper()
    width = int(match[2] or first) - first + 1
    ref = match[3].upper() or (letters if verb in ("del", "dup") else "") or UNSTATED * width
    fits = {">": len(letters) == width == 1, "delins": letters, "ins": letters and width == 2 and match[2]}
    if len(ref) != width or not fits.get(verb, True) or (verb == "=" and letters):
        raise _unread(text, "positions and letters that do not fit each other")
    if verb == "ins":
        return Variant(first - 1, ref[0], ref[0] + letters)
    return Variant(first - 1, ref, {"=": ref, "del": "", "dup": ref * 2}.get(verb, letters))


def _merged(parts: list[Variant], text: str) -> Variant:
    """Several substitutions as one change, the sample's own letters between them."""
    parts = sorted(parts, key=lambda part: part.start)
    if any(len(part.ref) != len(part.alt) for part in parts):
        raise _unread(text, "several changes, one of them no substitution: give one change a row")
    ref = alt = ""
    for part in parts:
        gap = part.start - parts[0].start - len(ref)
        if gap < 0:
            raise _unread(text, "two changes of one position")
        ref, alt = ref + UNSTATED * gap + part.ref, alt + UNSTATED * gap + part.alt
    return Variant(parts[0].start, ref, alt)


def _change(ref: str, rest: str, is_range: bool, three: bool, text: str) -> tuple[str, str]:
    """Reference and alternative of what stands behind the positions."""
    if rest == "=":
        return ref, ref
    for pattern, reason in _REFUSED:
        if pattern.search(rest):
            raise _unread(text, reason)
    kind = re.match(r"(delins|del|dup|ins)?(.*)", rest, re.IGNORECASE | re.DOTALL)
    assert kind is not None  # both groups may be empty
    verb, letters = (kind[1] or "").lower(), _letters(kind[2], three, text)
    if verb in ("del", "dup"):
        if letters and len(letters) != len(ref):
            raise _unread(text, f"{len(ref)} positions and {len(letters)} letters")
        ref = letters or ref
        return ref, "" if verb == "del" else ref * 2
    if not letters or (verb == "" and (is_range or len(letters) != 1)):
        raise _unread(text)
    if verb == "ins":
        if not is_range or len(ref) != 2:
            raise _unread(text, "an insertion that does not stand between two neighbours, such as H4_Q5insA")
        return ref, ref[0] + letters + ref[1]
    return ref, letters


def _letters(names: str, three: bool, text: str) -> str:
    """One-letter codes; three-letter names where the reference has one, or where they are written as such."""
    if not (three or re.fullmatch(r"(?:[A-Z][a-z]{2})+", names)):
        if not re.fullmatch(r"[A-Za-z]*", names):
            raise _unread(text)
        return names.upper()
    parts = [names[i : i + 3].capitalize() for i in range(0, len(names), 3)]
    if unknown := [p for p in parts if p not in THREE]:
        raise InputError(
            "this is not an amino acid",
            where=f"variant {text!r}",
            expected="a three-letter code",
            got=unknown[0],
        )
    return "".join(THREE[p] for p in parts)


def _unread(text: str, reason: str = "") -> InputError:
    text = text if len(text) <= 80 else f"{text[:77]}..."
    if reason:
        return InputError("a variant that cannot be carried out", where=f"variant {text!r}", got=reason)
    return InputError(
        _NO_NOTATION,
        where=f"variant {text!r}",
        expected="a form like A42G, p.Ala42Gly, A42del, K23_V25del or A1C:D2E, positions from 1",
        got=repr(text),
    )


def row_variants(row: Mapping[str, object], kind: str = "") -> list[Variant | InputError]:
    """The changes of one row: a column ``variant`` (``hgvs``, ``hgvsp``), or ``pos ref alt`` as in a VCF, from 1, also where
    the former holds other names of variants.

    Several alternatives, joined by commas, are several changes. One that cannot be carried out is the error that
    says why; with the ``kind`` of the samples, also one whose notation is of another kind.
    """
    lower = {str(k).lower(): "" if pd.isna(v) else str(v).strip() for k, v in row.items()}
    name = next((n for n in ("variant", "hgvs", "hgvsp") if n in lower), "")
    found = _or_why(partial(parse_variant, lower[name]), kind) if name else None
    # rs334 is a name of a variant, and no notation of it: its alleles say what it is
    if (
        isinstance(found, InputError)
        and found.what == _NO_NOTATION
        and all(map(lower.get, ("pos", "ref", "alt")))
    ):
        found = None
    if found is not None:
        return [found]
    alts = lower.get("alt", "").split(",")
    return [_or_why(partial(_alleles, lower, alt.strip()), kind) for alt in alts]


def _or_why(make: Callable[[], Variant], kind: str) -> Variant | InputError:
    try:
        return make().meant_for(kind) if kind else make()
    except InputError as error:
        return error


def _alleles(row: Mapping[str, str], alt: str) -> Variant:
    """A change between two alleles; ``-`` for a deletion, as some tools write it."""
    if not {"pos", "ref", "alt"} <= set(row):
        raise InputError(
            "a variant that cannot be read",
            expected="'variant', or 'pos', 'ref' and 'alt'",
            got=", ".join(row),
        )
    position, ref = row["pos"], row["ref"]
    if not re.fullmatch(r"0*[1-9][0-9]*(?:\.0+)?", position):
        raise InputError("the position is not a whole number from 1", got=repr(position))
    if alt in _NO_ALLELE or not ref.isalpha() or not (alt == "-" or alt.isalpha()):
        raise InputError(
            "alleles that cannot be carried out",
            where=f"position {position}",
            expected="letters",
            got=_NO_ALLELE.get(alt, f"{ref!r}, {alt!r}"),
        )
    return Variant(int(position.partition(".")[0]) - 1, ref, "" if alt == "-" else alt)
