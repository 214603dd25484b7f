"""UniProtKB as trees: XML and the JSON of the REST service, that of its ID mapping included.

Both name entries in words and split what the flat file writes as one note: ``A -> G (in a strain)`` is
original, variation and description there. Here they are put together again, so that every form of a protein
gives the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from sciinterp.annotations.rows import Rows
from sciinterp.annotations.table import Annotations
from sciinterp.annotations.uniprot import KEYS, Entry, Fact, Protein, gather, go_fact
from sciinterp.readers.bounded import read_json, read_xml
from sciinterp.settings import checked

CHANGES = frozenset({"VARIANT", "MUTAGEN", "CONFLICT", "VAR_SEQ"})
# what XML and JSON say of an end of a location -> its sign in the flat file
_SIGNS = {"less than": "<", "greater than": ">", "<": "<", ">": ">"}
_SIGNS |= dict.fromkeys(("unknown", "uncertain", "UNSURE", "UNKNOWN"), "?")
_PARTS = ("ligand", "ligandPart"), ("ligand", "ligand_part")


@checked()
def parse_uniprot_xml(path: str | Path, *, release: str | None = None) -> Annotations:
    """Entries and facts of UniProtKB XML.

    Document type declarations are refused: no entity is expanded, no other file is opened.

    Raises
    ------
    FormatError
        When this is not XML, or holds no protein of UniProtKB, or a location cannot be read.
    """
    rows = Rows("uniprot", path, release=release or "")
    return gather(rows, (_xml_protein(rows, e, line) for line, e in read_xml(path, "entry")), release)


def _xml_protein(rows: Rows, element: Element, line: int) -> Protein:
    accession = _clean(element.findtext("accession"))
    if not accession:
        raise rows.bad("a protein without accession", line)
    codes = {e.get("key", ""): _xml_evidence(e) for e in element.findall("evidence")}

    def evidence(of: Element) -> tuple[str, ...]:
        return tuple(codes[k] for k in of.get("evidence", "").split() if codes.get(k))

    length = _length(getattr(element.find("sequence"), "attrib", {}).get("length", ""))
    stated = any(element.find(tag) is not None for tag in ("sequence", "feature", "comment", "keyword"))
    protein = Protein(accession, line, length, element.get("version", ""), stated=stated)
    for isoform in element.iterfind("comment/isoform"):
        kind = isoform.find("sequence")
        if kind is not None and kind.get("type") == "displayed":
            protein.displayed = _clean(isoform.findtext("id"))
    protein.entries = [_xml_entry(e, evidence(e), line) for e in element.findall("feature")]
    for comment in element.findall("comment[@type='cofactor']"):
        shared = {"molecule": _clean(comment.findtext("molecule"))}, _clean(comment.findtext("text"))
        cofactors = [
            (_clean(c.findtext("name")), evidence(c), _xml_reference(c)) for c in comment.findall("cofactor")
        ]
        protein.facts += _cofactors(cofactors, *shared)
    protein.facts += [
        Fact("KEYWORD", _clean(k.text), evidence=evidence(k)) for k in element.findall("keyword")
    ]
    for reference in element.findall("dbReference[@type='GO']"):
        said = {p.get("type"): _clean(p.get("value")) for p in reference.findall("property")}
        code = "|".join(filter(None, (said.get("evidence"), said.get("project"))))
        protein.facts.append(go_fact(reference.get("id", ""), said.get("term", ""), code))
    numbers = element.iterfind("protein//ecNumber")
    protein.facts += [Fact("EC", _clean(n.text), evidence=evidence(n)) for n in numbers]
    return protein


def _xml_evidence(element: Element) -> str:
    source = element.find("source/dbReference")
    if source is None:
        source = element.find("importedFrom/dbReference")
    where = "" if source is None else f"|{source.get('type', '')}:{source.get('id', '')}"
    return f"{element.get('type', '')}{where}"


def _xml_reference(element: Element) -> str:
    reference = element.find("dbReference")
    return "" if reference is None else f"{reference.get('type', '')}:{reference.get('id', '')}"


def _xml_entry(element: Element, evidence: tuple[str, ...], line: int) -> Entry:
    location = element.find("location")
    found = {
        e.tag: _end(e.get("status", ""), e.get("position", ""))
        for e in (() if location is None else location)
    }
    ends = [found["position"]] * 2 if "position" in found else [found.get(k, "") for k in ("begin", "end")]
    parts = {}
    for tag in _PARTS[0]:
        part = element.find(tag)
        if part is not None:
            texts = {k: _clean(part.findtext(k)) for k in ("name", "label", "note")}
            parts[tag] = texts | {"id": _xml_reference(part)}
    return _entry(
        element.get("type", ""),
        ends,
        "" if location is None else location.get("sequence", ""),
        _clean(element.get("description")),
        (_clean(element.findtext("original")), [_clean(v.text) for v in element.findall("variation")]),
        {"id": element.get("id", "")} | _ligands(parts),
        evidence,
        line,
    )


@checked()
def parse_uniprot_json(path: str | Path, *, release: str | None = None) -> Annotations:
    """Entries and facts of UniProtKB JSON: one protein, a list, ``{"results": [...]}``, or ID mapping.

    Raises
    ------
    FormatError
        When this is not JSON, or not of this shape.
    """
    rows = Rows("uniprot", path, release=release or "")
    value = read_json(path)
    proteins = value.get("results", [value]) if isinstance(value, dict) else value
    if not isinstance(proteins, list):
        raise rows.bad("no protein of UniProtKB in the file", 1)
    return gather(rows, (_json_protein(rows, value) for value in proteins), release)


def _json_protein(rows: Rows, value: object) -> Protein:
    if isinstance(value, dict) and "to" in value and "from" in value:
        value = value["to"] if isinstance(value["to"], dict) else {"primaryAccession": value["to"]}
    accession = _text(value, "primaryAccession")
    if not isinstance(value, dict) or not accession:
        raise rows.bad("a protein without primaryAccession", 1, got=repr(value)[:60])
    content = ("sequence", "features", "comments", "keywords", "uniProtKBCrossReferences")
    protein = Protein(
        accession,
        1,
        _length(_text(value, "sequence", "length")),
        _text(value, "entryAudit", "entryVersion"),
        stated=any(key in value for key in content),
        entries=[_json_entry(e) for e in _list(value, "features")],
    )
    comments = _list(value, "comments")
    for isoform in (i for c in comments for i in _list(c, "isoforms")):
        if _text(isoform, "isoformSequenceStatus") == "Displayed":
            protein.displayed = next((i for i in _list(isoform, "isoformIds") if isinstance(i, str)), "")
    for comment in (c for c in comments if _text(c, "commentType") == "COFACTOR"):
        cofactors = [
            (_text(c, "name"), _json_evidence(c), _joined(c, "cofactorCrossReference", "database", "id"))
            for c in _list(comment, "cofactors")
        ]
        note = " ".join(_text(t, "value") for t in _list(comment, "note", "texts"))
        protein.facts += _cofactors(cofactors, {"molecule": _text(comment, "molecule")}, note)
    keywords = _list(value, "keywords")
    protein.facts += [Fact("KEYWORD", _text(k, "name"), evidence=_json_evidence(k)) for k in keywords]
    for reference in _list(value, "uniProtKBCrossReferences"):
        if _text(reference, "database") == "GO":
            said = {_text(p, "key"): _text(p, "value") for p in _list(reference, "properties")}
            go = go_fact(_text(reference, "id"), said.get("GoTerm", ""), said.get("GoEvidenceType", ""))
            protein.facts.append(go)
    names = value.get("proteinDescription")
    protein.facts += [Fact("EC", _text(n, "value"), evidence=_json_evidence(n)) for n in _ec_numbers(names)]
    return protein


def _ec_numbers(names: object) -> Iterator[object]:
    """EC numbers of a protein's names, and of the names of what it contains; nested however deep."""
    left = [names]
    while left:
        value = left.pop(0)
        for key, inner in value.items() if isinstance(value, dict) else ():
            if key == "ecNumbers":
                yield from _list(value, key)
            else:
                left += inner if isinstance(inner, list) else [inner]


def _json_entry(value: object) -> Entry:
    ends = []
    for end, outside in (("start", "<"), ("end", ">")):
        modifier = _text(value, "location", end, "modifier")
        ends.append(
            _end(outside if modifier == "OUTSIDE" else modifier, _text(value, "location", end, "value"))
        )
    change = value.get("alternativeSequence") if isinstance(value, dict) else None
    variations = [_clean(v) for v in _list(change, "alternativeSequences") if isinstance(v, str)]
    parts = {tag: {k: _text(value, tag, k) for k in ("name", "id", "label", "note")} for tag in _PARTS[0]}
    return _entry(
        _text(value, "type"),
        ends,
        _text(value, "location", "sequence"),
        _text(value, "description"),
        (_text(change, "originalSequence"), variations),
        {"id": _text(value, "featureId")} | _ligands(parts),
        _json_evidence(value),
        1,
    )


def _json_evidence(value: object) -> tuple[str, ...]:
    codes = []
    for found in _list(value, "evidences"):
        where = ":".join(filter(None, (_text(found, "source"), _text(found, "id"))))
        if code := _text(found, "evidenceCode"):
            codes.append(f"{code}|{where}" if where else code)
    return tuple(codes)


def _text(value: object, *keys: str) -> str:
    """The text (or number) at a path of keys, or nothing: a shape that is not as expected has no text."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    if isinstance(value, int):
        return str(value) if abs(value) < 10**18 else ""
    return _clean(value.encode("utf-8", "replace").decode())


def _list(value: object, *keys: str) -> list[object]:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, list) else []


def _joined(value: object, key: str, *names: str) -> str:
    return ":".join(filter(None, (_text(value, key, name) for name in names)))


def _entry(
    kind: str,
    ends: list[str],
    sequence: str,
    description: str,
    change: tuple[str, list[str]],
    fields: dict[str, str],
    evidence: tuple[str, ...],
    line: int,
) -> Entry:
    """An entry as the flat file writes it; a type that the manual does not list keeps its words."""
    kind = kind.strip().lower() or "unnamed"
    key = KEYS.get(kind, kind)
    where = ends[0] if ends[0] == ends[1] else "..".join(ends)
    where = f"{sequence}:{where}" if sequence else where
    fields = {k: v for k, v in fields.items() if v}
    return Entry(key, where, _note(key, description, *change), evidence, fields, line)


def _end(status: str, position: str) -> str:
    sign = _SIGNS.get(status, "")
    return sign if status.lower() == "unknown" else sign + position


def _note(key: str, description: str, original: str, variations: list[str]) -> str:
    """The note as the flat file writes it."""
    if key not in CHANGES:
        return description
    # a stretch that is missing altogether has neither original nor variation
    change = f"{original} -> {', '.join(variations)}" if original and variations else "Missing"
    text = description.rstrip(".")
    if key == "MUTAGEN":
        return f"{change.replace(' -> ', '->').replace(', ', ',')}: {description}" if text else change
    if text.startswith("In "):
        text = text[0].lower() + text[1:]
    return f"{change} ({text})" if text else change


def _ligands(parts: dict[str, dict[str, str]]) -> dict[str, str]:
    """Ligand and part of it as the flat file's qualifiers."""
    return {
        ours if key == "name" else f"{ours}_{key}": text
        for theirs, ours in zip(*_PARTS)
        for key, text in parts.get(theirs, {}).items()
    }


def _cofactors(
    found: Iterable[tuple[str, tuple[str, ...], str]], fields: dict[str, str], note: str
) -> list[Fact]:
    facts = [
        Fact("COFACTOR", n, "", codes, {"cofactor_id": xref, **fields}, note) for n, codes, xref in found
    ]
    return facts or [Fact("COFACTOR", "", fields=fields, note=note)]


def _length(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _clean(text: str | None) -> str:
    return " ".join((text or "").split())
