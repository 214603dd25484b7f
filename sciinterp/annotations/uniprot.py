"""UniProtKB: one mapping from its features to concepts, shared by the five forms the entries come in.

Flat ``.dat``, XML, JSON, TSV with ``ft_*`` columns and GFF state the same facts in different words; each form
has a reader (:mod:`~sciinterp.annotations.uniprot_flat`, :mod:`~sciinterp.annotations.uniprot_tree`) that
hands :class:`Feature` objects to :func:`place`, and here alone is decided what they mean:

* ``uniprot:KEY`` for every feature, placed as stated, 0-based and half-open;
* ``uniprot:KEY:what`` beneath it where ligand or note say what: ``uniprot:BINDING:ATP``,
  ``uniprot:DOMAIN:SH3``. Copies of a repeat ("SH3 1", "SH3 2") are instances of one concept;
* a disulfide bond or cross-link between two residues covers the stretch between them in ``uniprot:DISULFID``,
  as UniProt writes it, and only the two residues in ``uniprot:DISULFID:bonded residue``;
* cofactors are facts about the whole sample: ``uniprot:COFACTOR:Zn(2+)``.

Source: The UniProt Consortium, Nucleic Acids Research 53:D609 (2025); the UniProtKB user manual.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sciinterp.annotations.rows import Rows, concept_name, join_note

# key of the flat file -> names in XML, JSON, GFF and the TSV header where they differ from one another
TYPES: dict[str, tuple[str, ...]] = {
    "INIT_MET": ("initiator methionine",),
    "SIGNAL": ("signal peptide", "signal"),
    "PROPEP": ("propeptide",),
    "TRANSIT": ("transit peptide",),
    "CHAIN": ("chain",),
    "PEPTIDE": ("peptide",),
    "TOPO_DOM": ("topological domain",),
    "TRANSMEM": ("transmembrane region", "transmembrane"),
    "INTRAMEM": ("intramembrane region", "intramembrane"),
    "DOMAIN": ("domain", "domain [ft]"),
    "REPEAT": ("repeat",),
    "CA_BIND": ("calcium-binding region", "calcium binding"),
    "ZN_FING": ("zinc finger region", "zinc finger"),
    "DNA_BIND": ("dna-binding region", "dna binding"),
    "REGION": ("region of interest", "region"),
    "NP_BIND": ("nucleotide phosphate-binding region", "nucleotide binding"),
    "COILED": ("coiled-coil region", "coiled coil"),
    "MOTIF": ("short sequence motif", "motif"),
    "COMPBIAS": ("compositionally biased region", "compositional bias"),
    "ACT_SITE": ("active site",),
    "METAL": ("metal ion-binding site", "metal binding"),
    "BINDING": ("binding site",),
    "SITE": ("site",),
    "NON_STD": ("non-standard amino acid", "non-standard residue"),
    "MOD_RES": ("modified residue",),
    "LIPID": ("lipid moiety-binding region", "lipidation"),
    "CARBOHYD": ("glycosylation site", "glycosylation"),
    "DISULFID": ("disulfide bond",),
    "CROSSLNK": ("cross-link",),
    "VAR_SEQ": ("splice variant", "alternative sequence"),
    "VARIANT": ("sequence variant", "natural variant"),
    "MUTAGEN": ("mutagenesis site", "mutagenesis"),
    "UNSURE": ("unsure residue", "sequence uncertainty"),
    "CONFLICT": ("sequence conflict",),
    "NON_CONS": ("non-consecutive residues", "non-adjacent residues"),
    "NON_TER": ("non-terminal residue",),
    "HELIX": ("helix",),
    "TURN": ("turn",),
    "STRAND": ("strand", "beta strand"),
}
KEYS: dict[str, str] = {name: key for key, names in TYPES.items() for name in names}
# keys whose note names a class; elsewhere notes name the one protein (CHAIN) or the one change (VARIANT)
REFINED = frozenset(
    {
        "DOMAIN",
        "REPEAT",
        "ZN_FING",
        "DNA_BIND",
        "COMPBIAS",
        "REGION",
        "MOTIF",
        "MOD_RES",
        "LIPID",
        "CARBOHYD",
        "CROSSLNK",
        "TOPO_DOM",
        "TRANSMEM",
        "INTRAMEM",
        "TRANSIT",
        "METAL",
        "NP_BIND",
        "BINDING",
        "SITE",
        "ACT_SITE",
        "NON_STD",
    }
)
BONDS = frozenset({"DISULFID", "CROSSLNK"})
CHANGES = frozenset({"VARIANT", "MUTAGEN", "CONFLICT", "VAR_SEQ"})

UNKNOWN = "unknown position: ?"
UNCERTAIN = "uncertain position: ?N"
BETWEEN = "between two positions: N^M"
NOTHING_CERTAIN = "no position is certain: <N or >N alone"
ISOFORM = "on another isoform or sequence"
BEYOND = "beyond the end of the sequence"
IMPOSSIBLE = "end before start, or position 0"

_POSITION = re.compile(r"([<>?]?)([0-9]{1,18})?", re.ASCII)
_COPY = re.compile(r"(?:^|\s+)[0-9]+$", re.ASCII)
# what old releases appended to a note instead of evidence codes
_OLD_EVIDENCE = re.compile(r" ?\((By similarity|Potential|Probable)\)\.?$")
MAX_OLD_EVIDENCE = 3


@dataclass
class Feature:
    """A feature as a form of UniProt states it: key, location in UniProt's notation, qualifiers."""

    key: str
    location: str
    note: str = ""
    evidence: tuple[str, ...] = ()
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class Entry:
    """What the features of one entry share."""

    id: str
    length: int = 0
    release: str = ""
    displayed: str = ""


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
        return -1, -1, "unreadable"
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


def kind_of(feature: Feature) -> str:
    """What the ligand or the note says a feature is of, or nothing: "SH3 2; atypical" is an SH3.

    Examples
    --------
    >>> kind_of(Feature("DOMAIN", "1..9", "SH3 2; atypical"))
    'SH3'
    >>> kind_of(Feature("BINDING", "7", "via amide nitrogen", fields={"ligand": "ATP"}))
    'ATP'
    """
    if feature.key not in REFINED:
        return ""
    if feature.fields.get("ligand"):
        return feature.fields["ligand"]
    head = feature.note.split(";", 1)[0].strip().rstrip(".")
    if head[:4].lower() == "via ":  # how it binds, not what
        return ""
    return _COPY.sub("", head).strip()


def place(rows: Rows, entry: Entry, feature: Feature) -> bool:
    """Add a feature to the rows, or count why not. False where the location cannot be read at all."""
    rows.item()
    location = feature.location
    if ":" in location:
        sequence, location = location.rsplit(":", 1)
        if sequence not in (entry.id, entry.displayed):
            rows.drop(ISOFORM)
            return True
    start, end, flag = locate(location)
    if start < 0:
        rows.drop(flag)
        return flag != "unreadable"
    if entry.length and end > entry.length:
        rows.drop(BEYOND)
        return True
    note, evidence = " ".join(feature.note.split()), list(feature.evidence)
    for _ in range(MAX_OLD_EVIDENCE):
        if old := _OLD_EVIDENCE.search(note):
            evidence.insert(0, old[1])
            note = note[: old.start()] + "."
    note = note.removesuffix(".") if evidence or not feature.fields else note
    text = join_note(note, dict(sorted(feature.fields.items())) | {"partial": flag})
    codes = ", ".join(evidence)
    base = concept_name("uniprot", feature.key)
    rows.add(entry.id, start, end, base, evidence=codes, note=text, release=entry.release)
    rows.concept(base, name=TYPES.get(feature.key, (feature.key,))[0])
    of = kind_of(Feature(feature.key, location, note, fields=feature.fields))
    if of:
        child = concept_name("uniprot", feature.key, of)
        rows.concept(child, name=of, parent=base, level=1)
        rows.add(entry.id, start, end, child, evidence=codes, note=text, release=entry.release)
    if feature.key in BONDS and not flag:
        child = concept_name("uniprot", feature.key, "bonded residue")
        rows.concept(child, name=f"{TYPES[feature.key][0]}, the residues bonded", parent=base, level=1)
        for residue in sorted({start, end - 1}):
            rows.add(entry.id, residue, residue + 1, child, evidence=codes, note=text, release=entry.release)
    return True


def place_cofactor(
    rows: Rows,
    entry: Entry,
    *,
    name: str,
    molecule: str = "",
    evidence: tuple[str, ...] = (),
    note: str = "",
    xref: str = "",
) -> None:
    """Add a cofactor: a fact about the whole sample."""
    rows.item()
    if molecule.startswith("Isoform "):
        rows.drop(ISOFORM)
        return
    base = concept_name("uniprot", "COFACTOR")
    text = join_note(note, {"cofactor_id": xref, "molecule": molecule})
    codes = ", ".join(evidence)
    rows.concept(base, name="cofactor")
    rows.add(entry.id, -1, -1, base, evidence=codes, note=text, release=entry.release)
    if name:
        child = concept_name("uniprot", "COFACTOR", name)
        rows.concept(child, name=name, parent=base, level=1)
        rows.add(entry.id, -1, -1, child, evidence=codes, note=text, release=entry.release)


def codes_of(text: str) -> tuple[str, ...]:
    """Evidence codes out of ``ECO:0000269|PubMed:1, ECO:0000305``."""
    return tuple(code for part in text.split(",") if (code := " ".join(part.split())))
