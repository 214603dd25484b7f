"""UniProtKB: one mapping from its entries to concepts, shared by the five forms its proteins come in.

Flat ``.dat``, XML, JSON, TSV with ``ft_*`` columns and GFF state the same facts in different words. Each form
has a reader (:mod:`~sciinterp.annotations.uniprot_text`, :mod:`~sciinterp.annotations.uniprot_tree`) that
hands :class:`Protein` objects to :func:`gather`, and here alone is decided what they mean. An *entry* is one
line of a protein's table of sites and regions (``FT``):

* ``uniprot:KEY`` for every entry, placed as stated, 0-based and half-open;
* ``uniprot:KEY:what`` beneath it where ligand or note say what: ``uniprot:BINDING:ATP``,
  ``uniprot:DOMAIN:SH3``. Copies of a repeat ("SH3 1", "SH3 2") are instances of one concept;
* a disulfide bond or cross-link between two residues covers the stretch between them in ``uniprot:DISULFID``,
  as UniProt writes it, and only the two residues in ``uniprot:DISULFID:bonded residue``;
* facts about the whole sample: cofactors ``uniprot:COFACTOR:Zn(2+)``, keywords ``uniprot:KEYWORD:Kinase``,
  Gene Ontology terms ``uniprot:GO:0005524``, and enzyme classes with all that contain them, ``uniprot:EC:2``
  to ``uniprot:EC:2.7.11.1``.

A protein that a file only names (deleted, merged, mapped) is not covered.

Source: The UniProt Consortium, Nucleic Acids Research 53:D609 (2025); the UniProtKB user manual.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from sciinterp.annotations.rows import Rows, concept_name, join_note
from sciinterp.annotations.table import Annotations

# key of the flat file -> names in XML, JSON, GFF and the TSV header
TYPES: dict[str, tuple[str, ...]] = {
    "INIT_MET": ("initiator methionine",), "SIGNAL": ("signal peptide", "signal"),
    "PROPEP": ("propeptide",), "TRANSIT": ("transit peptide",), "CHAIN": ("chain",),
    "PEPTIDE": ("peptide",), "TOPO_DOM": ("topological domain",),
    "TRANSMEM": ("transmembrane region", "transmembrane"),
    "INTRAMEM": ("intramembrane region", "intramembrane"), "DOMAIN": ("domain", "domain [ft]"),
    "REPEAT": ("repeat",), "CA_BIND": ("calcium-binding region", "calcium binding"),
    "ZN_FING": ("zinc finger region", "zinc finger"), "DNA_BIND": ("dna-binding region", "dna binding"),
    "REGION": ("region of interest", "region"),
    "NP_BIND": ("nucleotide phosphate-binding region", "nucleotide binding"),
    "COILED": ("coiled-coil region", "coiled coil"), "MOTIF": ("short sequence motif", "motif"),
    "COMPBIAS": ("compositionally biased region", "compositional bias"), "ACT_SITE": ("active site",),
    "METAL": ("metal ion-binding site", "metal binding"), "BINDING": ("binding site",), "SITE": ("site",),
    "NON_STD": ("non-standard amino acid", "non-standard residue"),
    "MOD_RES": ("modified residue", "modified residue (large scale data)"),
    "LIPID": ("lipid moiety-binding region", "lipidation"),
    "CARBOHYD": ("glycosylation site", "glycosylation"), "DISULFID": ("disulfide bond",),
    "CROSSLNK": ("cross-link",), "VAR_SEQ": ("splice variant", "alternative sequence"),
    "VARIANT": ("sequence variant", "natural variant"), "MUTAGEN": ("mutagenesis site", "mutagenesis"),
    "UNSURE": ("unsure residue", "sequence uncertainty"), "CONFLICT": ("sequence conflict",),
    "NON_CONS": ("non-consecutive residues", "non-adjacent residues"), "NON_TER": ("non-terminal residue",),
    "HELIX": ("helix",), "TURN": ("turn",), "STRAND": ("strand", "beta strand"),
}  # fmt: skip
KEYS: dict[str, str] = {name: key for key, names in TYPES.items() for name in names}
# keys whose note names a class; elsewhere notes name the one protein (CHAIN) or the one change (VARIANT)
REFINED = frozenset(
    "DOMAIN REPEAT ZN_FING DNA_BIND COMPBIAS REGION MOTIF MOD_RES LIPID CARBOHYD CROSSLNK TOPO_DOM TRANSMEM "
    "INTRAMEM TRANSIT METAL NP_BIND BINDING SITE ACT_SITE NON_STD".split()
)
BONDS = frozenset({"DISULFID", "CROSSLNK"})

UNKNOWN = "unknown position: ?"
UNCERTAIN = "uncertain position: ?N"
BETWEEN = "between two positions: N^M"
NOTHING_CERTAIN = "no position is certain: <N or >N alone"
ISOFORM = "on another isoform or sequence"
BEYOND = "beyond the end of the sequence"
IMPOSSIBLE = "end before start, or position 0"
UNREADABLE = "unreadable"
NO_DATA = "evidence ND: no data"
UNNAMED = "a fact without a name"
NO_NUMBER = "an EC number that cannot be read"

_POSITION = re.compile(r"([<>?]?)([0-9]{1,18})?", re.ASCII)
_COPY = re.compile(r"(?:^|\s+)[0-9]+$", re.ASCII)
_EC = re.compile(r"[1-9](?:\.[0-9]{1,4}){0,2}(?:\.n?[0-9]{1,5})?", re.ASCII)
# what old releases appended to a note instead of evidence codes
_OLD_EVIDENCE = re.compile(r" ?\((By similarity|Potential|Probable)\)\.?$")
MAX_OLD_EVIDENCE = 3


@dataclass
class Entry:
    """A placed fact as a form of UniProt states it: key, location in UniProt's notation, qualifiers."""

    key: str
    location: str
    note: str = ""
    evidence: tuple[str, ...] = ()
    fields: dict[str, str] = field(default_factory=dict)
    line: int = 0


@dataclass
class Fact:
    """A fact about the whole protein: ``COFACTOR``, ``KEYWORD``, ``GO`` or ``EC``."""

    kind: str
    id: str
    name: str = ""
    evidence: tuple[str, ...] = ()
    fields: dict[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass
class Protein:
    """What a file says about one protein; ``stated`` is False where it only names it."""

    id: str
    line: int = 0
    length: int = 0
    version: str = ""
    displayed: str = ""
    stated: bool = True
    entries: list[Entry] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)


def gather(rows: Rows, proteins: Iterable[Protein], release: str | None) -> Annotations:
    """Annotations of proteins; ``release`` overrules the versions that they state."""
    protein = None
    for protein in proteins:
        stated = protein.stated or bool(protein.entries or protein.facts)
        rows.begin(protein.id)
        rows.says(protein.id, stated)
        rows.release = f"entry version {protein.version}" if protein.version else ""
        if release is not None:
            rows.release = release
        for entry in protein.entries:
            place(rows, protein, entry)
        for fact in protein.facts:
            place_fact(rows, protein, fact)
    if protein is None:
        raise rows.bad("no protein of UniProtKB in the file", 1)
    return rows.annotations()


def locate(location: str) -> tuple[int, int, str]:
    """A location in UniProt's notation as ``(start, end, flag)``, 0-based and half-open.

    Where one end lies outside (``<5..40``, ``5..>40``) the certain part is kept and the flag says which end
    is missing. Where no part is certain, start is -1 and the flag is the reason.

    Examples
    --------
    >>> locate("5..40"), locate("<5..40"), locate("7")
    ((4, 40, ''), (4, 40, 'start'), (6, 7, ''))
    >>> locate("?..40")
    (-1, -1, 'unknown position: ?')
    """
    if "^" in location:
        return -1, -1, BETWEEN
    first, dots, last = location.partition("..")
    a, b = _POSITION.fullmatch(first.strip()), _POSITION.fullmatch((last if dots else first).strip())
    if a is None or b is None or (not a[1] and not a[2]) or (not b[1] and not b[2]):
        return -1, -1, UNREADABLE
    for end in (a, b):
        if end[1] == "?" or not end[2]:
            return -1, -1, UNCERTAIN if end[2] else UNKNOWN
    if a[1] == ">" or b[1] == "<" or (not dots and a[1]):
        return -1, -1, NOTHING_CERTAIN
    start, end = int(a[2]) - 1, int(b[2])
    if start < 0 or end <= start:
        return -1, -1, IMPOSSIBLE
    flag = "both" if a[1] and b[1] else "start" if a[1] else "end" if b[1] else ""
    return start, end, flag


def kind_of(entry: Entry) -> str:
    """What the ligand or the note says an entry is of, or nothing: "SH3 2; atypical" is an SH3.

    Examples
    --------
    >>> kind_of(Entry("DOMAIN", "1..9", "SH3 2; atypical"))
    'SH3'
    >>> kind_of(Entry("BINDING", "7", "via amide nitrogen", fields={"ligand": "ATP"}))
    'ATP'
    """
    if entry.key not in REFINED:
        return ""
    if entry.fields.get("ligand"):
        return entry.fields["ligand"]
    head = entry.note.split(";", 1)[0].strip().rstrip(".")
    if head[:4].lower() == "via ":  # how it binds, not what
        return ""
    return _COPY.sub("", head).strip()


def place(rows: Rows, protein: Protein, entry: Entry) -> None:
    """Add an entry to the rows, or count why not.

    Raises
    ------
    FormatError
        When the location cannot be read at all.
    """
    rows.item()
    sequence, colon, location = entry.location.rpartition(":")
    if colon and sequence not in (protein.id, protein.displayed):
        rows.drop(ISOFORM)
        return
    start, end, flag = locate(location)
    if flag == UNREADABLE:
        line = entry.line or protein.line
        raise rows.bad("this is not a location of UniProtKB", line, got=repr(entry.location[:60]))
    if start < 0 or (protein.length and end > protein.length):
        rows.drop(flag if start < 0 else BEYOND)
        return
    note, evidence = " ".join(entry.note.split()), list(entry.evidence)
    for _ in range(MAX_OLD_EVIDENCE):
        if old := _OLD_EVIDENCE.search(note):
            evidence.insert(0, old[1])
            note = note[: old.start()] + "."
    note = note.removesuffix(".") if evidence or not entry.fields else note
    text = join_note(note, dict(sorted(entry.fields.items())) | {"partial": flag})
    if entry.key not in TYPES:
        rows.unknown(entry.key)
    title = TYPES.get(entry.key, (entry.key,))[0]
    base = concept_name("uniprot", entry.key)
    placed = [(base, title, start, end)]
    if of := kind_of(Entry(entry.key, location, note, fields=entry.fields)):
        placed.append((concept_name("uniprot", entry.key, of), of, start, end))
    if entry.key in BONDS and not flag:
        bonded = concept_name("uniprot", entry.key, "bonded residue")
        placed += [(bonded, f"{title}, the residues bonded", i, i + 1) for i in sorted({start, end - 1})]
    for concept, name, a, b in placed:
        parent = "" if concept == base else base
        rows.concept(concept, name=name, parent=parent, level=int(bool(parent)))
        rows.add(protein.id, a, b, concept, evidence=", ".join(evidence), note=text)


def place_fact(rows: Rows, protein: Protein, fact: Fact) -> None:
    """Add a fact about the whole protein, with the classes that contain it, or count why not."""
    rows.item()
    if fact.fields.get("molecule", "").startswith("Isoform "):
        rows.drop(ISOFORM)
        return
    if fact.kind == "GO" and any(code.startswith(("ND", "ECO:0000307")) for code in fact.evidence):
        rows.drop(NO_DATA)
        return
    if fact.kind == "EC":
        number = fact.id.strip().split(".-")[0]
        if not _EC.fullmatch(number):
            rows.drop(NO_NUMBER)
            return
        parts = number.split(".")
        classes = [".".join(parts[: i + 1]) for i in range(len(parts))]
        chain = [(concept_name("uniprot", "EC", c), f"EC {c}") for c in classes]
    else:
        chain = [(concept_name("uniprot", fact.kind, fact.id), fact.name or fact.id)] if fact.id else []
        if fact.kind == "COFACTOR":
            chain.insert(0, (concept_name("uniprot", "COFACTOR"), "cofactor"))
    if not chain:
        rows.drop(UNNAMED)
    note, parent = join_note(fact.note, fact.fields), ""
    for level, (concept, name) in enumerate(chain):
        rows.concept(concept, name=name, parent=parent, level=level)
        rows.add(protein.id, -1, -1, concept, evidence=", ".join(fact.evidence), note=note)
        parent = concept


def go_fact(term: str, name: str, evidence: str = "") -> Fact:
    """A Gene Ontology term; its name comes with the letter of its branch, ``F:ATP binding``."""
    branch, colon, plain = name.partition(":")
    codes = (evidence,) if evidence else ()
    return Fact("GO", term.removeprefix("GO:"), plain if colon and branch in ("C", "F", "P") else name, codes)


def codes_of(text: str) -> tuple[str, ...]:
    """Evidence codes out of ``ECO:0000269|PubMed:1, ECO:0000305``."""
    return tuple(code for part in text.split(",") if (code := " ".join(part.split())))
