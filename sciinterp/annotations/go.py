"""Gene Ontology annotations: GAF and GPAD files, with the ontology read by obonet.

An annotation is a fact about a whole sample (``start = end = -1``), and by the true-path rule it holds for
every ancestor over ``is_a`` and ``part_of``. An annotation with NOT is never positive, not for its own term
and not through a descendant; it is recorded in ``counts["negated"]``.

Source: Ashburner et al., Nature Genetics 25:25 (2000); GAF 2.2, GPAD 1.2 and 2.0.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from sciinterp.annotations.rows import Rows, cells_of, concept_name, join_note
from sciinterp.annotations.table import Annotations
from sciinterp.errors import FormatError
from sciinterp.readers.bounded import Text, need, parsing
from sciinterp.settings import checked

RELATIONS = ("is_a", "part_of")
_TERM = re.compile(r"[A-Za-z_]{1,20}:[A-Za-z0-9_]{1,20}", re.ASCII)
# no data found: in GAF, and its ECO code in GPAD
_ND = ("ND", "ECO:0000307")
NO_DATA = "evidence ND: no data"
NEGATED = "qualified by NOT"
CONTRADICTED = "the same term is also annotated with NOT"
UNKNOWN = "a term the ontology lacks or calls obsolete"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ontology:
    """Terms with their names, parents over the chosen relations, and old identifiers.

    Examples
    --------
    >>> Ontology({"a": "A", "b": "B", "c": "C"}, {"a": ("b",), "b": ("c",)}).ancestors("a")
    ('b', 'c')
    """

    names: Mapping[str, str]
    parents: Mapping[str, tuple[str, ...]]
    synonyms: Mapping[str, str] = field(default_factory=dict)

    def ancestors(self, term: str) -> tuple[str, ...]:
        """All terms above, nearest first; a cycle ends where it began."""
        seen: dict[str, None] = {}
        front = [term]
        while front:
            above = [p for t in front for p in self.parents.get(t, ())]
            front = [p for p in dict.fromkeys(above) if p not in seen and p != term]
            seen.update(dict.fromkeys(front))
        return tuple(seen)

    def resolve(self, term: str) -> str:
        """The present identifier of a term, or nothing."""
        term = self.synonyms.get(term, term)
        return term if term in self.names else ""


@checked()
def read_ontology(path: str | Path, *, relations: Iterable[str] = RELATIONS) -> Ontology:
    """Read an OBO file with obonet; obsolete terms are left out.

    Raises
    ------
    InputError
        When obonet is not installed.
    FormatError
        When this is not OBO.
    """
    obonet = need("obonet", "annotations", "reading ontologies")
    wanted = frozenset(relations)
    with Text(path) as text, parsing(path, "an OBO ontology", lambda: text.number):
        graph = obonet.read_obo(text)
        names = {str(t): str(d.get("name", t)) for t, d in graph.nodes(data=True)}
        parents: dict[str, set[str]] = {}
        for child, parent, relation in graph.edges(keys=True):
            if relation in wanted:
                parents.setdefault(str(child), set()).add(str(parent))
        old = {str(a): str(t) for t, d in graph.nodes(data=True) for a in d.get("alt_id", [])}
    if not names:
        raise FormatError("this is not an OBO ontology", file=str(path), line=1, got="no terms")
    return Ontology(names, {t: tuple(sorted(p)) for t, p in parents.items()}, old)


class _Statement(NamedTuple):
    sample: str
    term: str
    evidence: str
    note: str
    negated: bool


@checked()
def parse_go(
    path: str | Path,
    *,
    ontology: str | Path | Ontology | None = None,
    ids: Literal["id", "symbol"] = "id",
    release: str = "",
) -> Annotations:
    """Annotations of a GAF or GPAD file.

    Parameters
    ----------
    path : path
        GAF 1 and 2 (15 to 17 columns), GPAD 1 or 2 (known by its ``!gpa-version`` line).
    ontology : path or Ontology, optional
        For the true-path rule, names and old identifiers. Without it only the terms stated are positive.
    ids : str
        Samples are named by the object's ``id`` or, in GAF, its ``symbol``.
    release : str
        For the ``release`` column.

    Returns
    -------
    Annotations
        One row a sample and term; it covers the samples about which the file states more than "no data".
        ``counts["negated"]`` lists ``[sample, term]`` of annotations with NOT.

    Raises
    ------
    FormatError
        When a line is not of the format.
    """
    if isinstance(ontology, (str, Path)):
        ontology = read_ontology(ontology)
    if ontology is None:
        log.warning("no ontology given: GO annotations are not propagated to ancestors")
    rows = Rows("go", path, release=release)
    statements = list(_statements(rows, ids))
    negated: dict[tuple[str, str], None] = {}
    for s in statements:
        term = ontology.resolve(s.term) if ontology else s.term
        if s.negated:
            negated[s.sample, term or s.term] = None
    _place(rows, statements, ontology, negated)
    if ontology:
        _hierarchy(rows, ontology)
    annotations = rows.annotations(unique=True)
    annotations.counts["negated"] = [list(pair) for pair in negated]
    return annotations


def _place(
    rows: Rows,
    statements: list[_Statement],
    ontology: Ontology | None,
    negated: Mapping[tuple[str, str], None],
) -> None:
    """One row a sample and term: what is stated comes before what follows by the true-path rule."""
    resolved = [ontology.resolve(s.term) if ontology else s.term for s in statements]
    placed = {(s.sample, t) for s, t in zip(statements, resolved) if not s.negated and s.evidence not in _ND}
    for s, term in zip(statements, resolved):
        rows.item()
        if s.evidence in _ND:
            rows.drop(NO_DATA)
            continue
        rows.covers(s.sample)
        if s.negated:
            rows.drop(NEGATED)
        elif not term:
            rows.drop(UNKNOWN)
        elif (s.sample, term) in negated:
            rows.drop(CONTRADICTED)
        else:
            rows.add(s.sample, -1, -1, _name(term), evidence=s.evidence, note=s.note)
            for above in ontology.ancestors(term) if ontology else ():
                if (s.sample, above) not in negated and (s.sample, above) not in placed:
                    placed.add((s.sample, above))
                    rows.add(
                        s.sample, -1, -1, _name(above), evidence=s.evidence, note=f"by true path from {term}"
                    )


def _name(term: str) -> str:
    """``GO:0005524`` -> ``go:0005524``."""
    prefix, _, number = term.partition(":")
    return concept_name(prefix.lower() or "go", number)


def _hierarchy(rows: Rows, ontology: Ontology) -> None:
    """Names, parents and levels (steps to a root) of the concepts that occur."""
    level: dict[str, int] = {t: 0 for t in ontology.names if not ontology.parents.get(t)}
    children: dict[str, list[str]] = {}
    for term, parents in ontology.parents.items():
        for parent in parents:
            children.setdefault(parent, []).append(term)
    front = list(level)
    while front:
        below = [(c, level[t] + 1) for t in front for c in children.get(t, ()) if c not in level]
        level.update(dict(reversed(below)))
        front = list(dict.fromkeys(c for c, _ in below))
    present = {_name(t): t for t in ontology.names}
    for concept in rows.concepts():
        term = present.get(concept, "")
        above = ontology.parents.get(term, ())
        rows.concept(
            concept,
            name=ontology.names.get(term, ""),
            parent=_name(above[0]) if above else "",
            level=level.get(term, 0),
        )


def _statements(rows: Rows, ids: str) -> Iterator[_Statement]:
    version = "gaf"
    for number, line in rows.lines("GAF or GPAD", skip=()):
        if not line.startswith("!"):
            yield _statement(rows, cells_of(line), version, ids, number)
        elif "gpa" in line.lower() and "version" in line.lower():
            version = "gpad2" if "2." in line else "gpad1"


def _statement(rows: Rows, cells: list[str], version: str, ids: str, number: int) -> _Statement:
    low = {"gaf": 15, "gpad1": 10, "gpad2": 9}[version]
    if not low <= len(cells) <= 17:
        expected = f"{low} to 17 columns"
        raise rows.bad("this is not a line of GAF or GPAD", number, expected=expected, got=str(len(cells)))
    if version == "gpad2":
        sample, term, evidence = cells[0].partition(":")[2], cells[3], cells[5]
        qualifier, reference = f"{cells[1]}|{cells[2]}".strip("|"), cells[4]
    elif version == "gpad1":
        sample, qualifier, term, reference, evidence = cells[1:6]
    else:
        sample = cells[2] if ids == "symbol" else cells[1]
        qualifier, term, reference, evidence = cells[3:7]
    if not sample or not _TERM.fullmatch(term):
        raise rows.bad("an annotation without object or term", number, got=repr(term[:40]))
    parts = [q.strip() for q in qualifier.split("|") if q.strip()]
    note = join_note("", {"qualifier": "|".join(parts), "reference": reference})
    return _Statement(sample, term, evidence, note, any(q.upper() == "NOT" for q in parts))
