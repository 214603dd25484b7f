"""UniProtKB as trees: XML and the JSON of the REST service.

Both name features in words and split what the flat file writes as one note: ``A -> G (in a strain)`` is
original, variation and description there. Here they are put together again, so that every form of an entry
gives the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from sciinterp.annotations.rows import Rows
from sciinterp.annotations.table import Annotations
from sciinterp.annotations.text import read_json, read_xml
from sciinterp.annotations.uniprot import CHANGES, KEYS, Entry, Feature, place, place_cofactor
from sciinterp.errors import FormatError

_OUTSIDE = {"less than": "<", "greater than": ">"}


def parse_uniprot_xml(path: str | Path, *, release: str | None = None) -> Annotations:
    """Features and cofactors of UniProtKB XML.

    Document type declarations are refused: no entity is expanded, no other file is opened.

    Raises
    ------
    FormatError
        When this is not XML, or holds no UniProtKB entry, or a feature cannot be read.
    """
    rows = Rows("uniprot", release=release or "")
    entries = 0
    for line, element in read_xml(path, "entry"):
        entries += 1
        _xml_entry(rows, element, str(path), line, release)
    if not entries:
        raise FormatError("no UniProtKB entry in the file", file=str(path), line=1)
    return rows.annotations()


def _xml_entry(rows: Rows, element: Element, file: str, line: int, release: str | None) -> None:
    accession = (element.findtext("accession") or "").strip()
    if not accession:
        raise FormatError("an entry without accession", file=file, line=line)
    sequence = element.find("sequence")
    length = "" if sequence is None else sequence.get("length", "")
    entry = Entry(accession, int(length) if length.isascii() and length.isdigit() and len(length) < 19 else 0)
    version = element.get("version", "")
    entry.release = release if release is not None else f"entry version {version}" if version else ""
    codes = {e.get("key", ""): _xml_evidence(e) for e in element.findall("evidence")}

    def evidence(of: Element) -> tuple[str, ...]:
        return tuple(codes[k] for k in of.get("evidence", "").split() if codes.get(k))

    for isoform in element.iterfind("comment/isoform"):
        kind = isoform.find("sequence")
        if kind is not None and kind.get("type") == "displayed":
            entry.displayed = (isoform.findtext("id") or "").strip()
    rows.covers(entry.id)
    for feature in element.findall("feature"):
        found = _xml_feature(feature, evidence(feature), file, line)
        if not place(rows, entry, found):
            raise FormatError(
                "this is not a feature location", file=file, line=line, got=repr(found.location[:60])
            )
    for comment in element.findall("comment"):
        if comment.get("type") == "cofactor":
            _xml_cofactors(rows, entry, comment, evidence)


def _xml_cofactors(rows: Rows, entry: Entry, comment: Element, evidence: Any) -> None:
    whose, note = _clean(comment.findtext("molecule")), _clean(comment.findtext("text"))
    found = comment.findall("cofactor")
    for cofactor in found:
        place_cofactor(
            rows,
            entry,
            name=_clean(cofactor.findtext("name")),
            molecule=whose,
            evidence=evidence(cofactor),
            note=note,
            xref=_xml_reference(cofactor),
        )
    if not found:
        place_cofactor(rows, entry, name="", molecule=whose, note=note)


def _xml_evidence(element: Element) -> str:
    source = element.find("source/dbReference")
    if source is None:
        source = element.find("importedFrom/dbReference")
    where = "" if source is None else f"|{source.get('type', '')}:{source.get('id', '')}"
    return f"{element.get('type', '')}{where}"


def _xml_reference(element: Element) -> str:
    reference = element.find("dbReference")
    return "" if reference is None else f"{reference.get('type', '')}:{reference.get('id', '')}"


def _xml_feature(element: Element, evidence: tuple[str, ...], file: str, line: int) -> Feature:
    key = KEYS.get(element.get("type", "").strip().lower())
    location = element.find("location")
    if key is None or location is None:
        raise FormatError(
            "this is not a feature of UniProtKB", file=file, line=line, got=repr(element.get("type", "")[:60])
        )
    ends = [location.find(name) for name in ("position", "begin", "end")]
    single, begin, end = ("" if e is None else _xml_position(e) for e in ends)
    where = single or (begin if begin == end and begin.isdigit() else f"{begin}..{end}")
    if location.get("sequence"):
        where = f"{location.get('sequence')}:{where}"
    variations = [_clean(v.text) for v in element.findall("variation")]
    note = _note(key, _clean(element.get("description")), _clean(element.findtext("original")), variations)
    fields = {"id": element.get("id", "")}
    for tag, prefix in (("ligand", "ligand"), ("ligandPart", "ligand_part")):
        part = element.find(tag)
        if part is not None:
            fields |= {
                prefix: _clean(part.findtext("name")),
                f"{prefix}_id": _xml_reference(part),
                f"{prefix}_label": _clean(part.findtext("label")),
                f"{prefix}_note": _clean(part.findtext("note")),
            }
    return Feature(key, where, note, evidence, {k: v for k, v in fields.items() if v})


def _xml_position(element: Element) -> str:
    status, position = element.get("status", ""), element.get("position", "")
    if status in ("unknown", "uncertain"):
        return f"?{position}" if status == "uncertain" else "?"
    return _OUTSIDE.get(status, "") + position


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


def _clean(text: str | None) -> str:
    return " ".join((text or "").split())


def parse_uniprot_json(path: str | Path, *, release: str | None = None) -> Annotations:
    """Features and cofactors of UniProtKB JSON: one entry, a list of entries, or ``{"results": [...]}``.

    Raises
    ------
    FormatError
        When this is not JSON, or not of this shape.
    """
    value = read_json(path)
    entries = value.get("results", [value]) if isinstance(value, dict) else value
    file = str(path)
    if not isinstance(entries, list) or not entries:
        raise FormatError("no UniProtKB entry in the file", file=file, line=1)
    rows = Rows("uniprot", release=release or "")
    for entry in entries:
        accession = _text(entry, "primaryAccession")
        if not accession:
            raise FormatError("an entry without primaryAccession", file=file, line=1, got=repr(entry)[:60])
        _json_entry(rows, entry, accession, file, release)
    return rows.annotations()


def _text(value: Any, *keys: str) -> str:
    """The text (or number) at a path of keys, or nothing: a shape that is not as expected has no text."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    if isinstance(value, int):
        return str(value) if abs(value) < 10**18 else ""
    return _clean(value.encode("utf-8", "replace").decode())


def _list(value: Any, *keys: str) -> list[Any]:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, list) else []


def _json_entry(rows: Rows, value: Any, accession: str, file: str, release: str | None) -> None:
    length, version = _text(value, "sequence", "length"), _text(value, "entryAudit", "entryVersion")
    entry = Entry(accession, int(length) if length.isascii() and length.isdigit() else 0)
    entry.release = release if release is not None else f"entry version {version}" if version else ""
    comments = _list(value, "comments")
    for isoform in (i for c in comments for i in _list(c, "isoforms")):
        if _text(isoform, "isoformSequenceStatus") == "Displayed":
            entry.displayed = next((i for i in _list(isoform, "isoformIds") if isinstance(i, str)), "")
    rows.covers(entry.id)
    for feature in _list(value, "features"):
        found = _json_feature(feature, file)
        if not place(rows, entry, found):
            raise FormatError(
                "this is not a feature location", file=file, line=1, got=repr(found.location[:60])
            )
    for comment in (c for c in comments if _text(c, "commentType") == "COFACTOR"):
        whose = _text(comment, "molecule")
        note = " ".join(_text(t, "value") for t in _list(comment, "note", "texts"))
        found_here = _list(comment, "cofactors")
        for cofactor in found_here:
            place_cofactor(
                rows,
                entry,
                name=_text(cofactor, "name"),
                molecule=whose,
                note=note,
                evidence=_json_evidence(_list(cofactor, "evidences")),
                xref=_pair(cofactor, "cofactorCrossReference", "database", "id"),
            )
        if not found_here:
            place_cofactor(rows, entry, name="", molecule=whose, note=note)


def _pair(value: Any, key: str, first: str, second: str) -> str:
    parts = (_text(value, key, first), _text(value, key, second))
    return ":".join(p for p in parts if p)


def _json_evidence(values: Iterable[Any]) -> tuple[str, ...]:
    codes = []
    for value in values:
        code = _text(value, "evidenceCode")
        where = ":".join(p for p in (_text(value, "source"), _text(value, "id")) if p)
        if code:
            codes.append(f"{code}|{where}" if where else code)
    return tuple(codes)


def _json_feature(value: Any, file: str) -> Feature:
    key = KEYS.get(_text(value, "type").lower())
    if key is None:
        raise FormatError("this is not a feature of UniProtKB", file=file, line=1, got=repr(value)[:60])
    ends = []
    for end, outside in (("start", "<"), ("end", ">")):
        modifier, number = _text(value, "location", end, "modifier"), _text(value, "location", end, "value")
        sign = {"OUTSIDE": outside, "UNSURE": "?", "UNKNOWN": "?"}.get(modifier, "")
        ends.append("?" if modifier == "UNKNOWN" else sign + number)
    where = ends[0] if ends[0] == ends[1] else f"{ends[0]}..{ends[1]}"
    if _text(value, "location", "sequence"):
        where = f"{_text(value, 'location', 'sequence')}:{where}"
    change = value.get("alternativeSequence") if isinstance(value, dict) else None
    variations = [_clean(v) for v in _list(change, "alternativeSequences") if isinstance(v, str)]
    note = _note(key, _text(value, "description"), _text(change, "originalSequence"), variations)
    fields = {"id": _text(value, "featureId")}
    for part, prefix in (("ligand", "ligand"), ("ligandPart", "ligand_part")):
        fields |= {
            prefix: _text(value, part, "name"),
            f"{prefix}_id": _text(value, part, "id"),
            f"{prefix}_label": _text(value, part, "label"),
            f"{prefix}_note": _text(value, part, "note"),
        }
    return Feature(
        key, where, note, _json_evidence(_list(value, "evidences")), {k: v for k, v in fields.items() if v}
    )
