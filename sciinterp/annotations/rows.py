"""What a parser gathers: rows, concepts, the samples its file covers, and an account of every item it met."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from sciinterp.annotations.table import Annotations

_SPACE = re.compile(r"[\s\x00-\x1f\x7f/]+")


def concept_name(prefix: str, *parts: str) -> str:
    """A concept's name, ``prefix:part:part``, safe as a key of any file: no slash, no control character.

    Examples
    --------
    >>> concept_name("uniprot", "BINDING", "NAD(+)/NADH")
    'uniprot:BINDING:NAD(+) NADH'
    """
    return ":".join(_SPACE.sub(" ", part).strip() or "unnamed" for part in (prefix, *parts))


def join_note(text: str, fields: Mapping[str, str]) -> str:
    """One line for the ``note`` column: free text, then ``key=value`` of what else the source said.

    Examples
    --------
    >>> join_note("catalytic", {"ligand": "Zn(2+)", "label": ""})
    'catalytic; ligand=Zn(2+)'
    """
    parts = [text, *(f"{k}={v}" for k, v in fields.items() if v)]
    return " ".join("; ".join(p for p in parts if p).split())


class Rows:
    """Gathers the rows of one source, item by item.

    An *item* is what the file states once: a line of GFF, a feature of UniProt, a cofactor. Every item is
    either kept, with one or more rows, or dropped under a reason; :meth:`annotations` checks the account.

    Examples
    --------
    >>> rows = Rows("bed")
    >>> rows.item(); rows.add("chr1", 0, 5, "bed:peak")
    >>> rows.item(); rows.drop("empty interval")
    >>> rows.annotations().counts
    {'n_in': 2, 'n_kept': 1, 'dropped': {'empty interval': 1}}
    """

    def __init__(self, source: str, *, release: str = "") -> None:
        self.source, self.release = source, release
        self._rows: list[tuple[str, int, int, str, str, str, str, str, int]] = []
        self._concepts: dict[str, tuple[str, str, int]] = {}
        self._exhaustive: set[str] = set()
        self._covered: dict[str, None] = {}
        self._n_in = self._n_kept = 0
        self._open = False
        self._dropped: Counter[str] = Counter()

    def item(self) -> None:
        """A new item of the file begins."""
        self._n_in += 1
        self._open = True

    def add(
        self,
        sample: str,
        start: int,
        end: int,
        concept: str,
        *,
        strand: str = ".",
        evidence: str = "",
        note: str = "",
        release: str | None = None,
    ) -> None:
        """A row of the present item; ``start = end = -1`` is a fact about the whole sample."""
        self.keep()
        self._rows.append(
            (
                sample,
                start,
                end,
                strand,
                concept,
                evidence,
                note,
                self.release if release is None else release,
                self._n_in,
            )
        )
        if concept not in self._concepts:
            self._concepts[concept] = (concept, "", 0)

    def keep(self) -> None:
        """The present item is kept, though its row (a run that began earlier) is there already."""
        if self._open:
            self._n_kept += 1
            self._open = False

    def drop(self, reason: str) -> None:
        """The present item is dropped, for this reason."""
        self._dropped[reason] += 1
        self._open = False

    def concept(
        self, concept: str, *, name: str = "", parent: str = "", level: int = 0, exhaustive: bool = False
    ) -> None:
        """What is known about a concept: a name for people, its parent, how deep it lies."""
        self._concepts[concept] = (name or concept, parent, level)
        if exhaustive:
            self._exhaustive.add(concept)

    def concepts(self) -> list[str]:
        """The concepts met so far."""
        return list(self._concepts)

    def covers(self, sample: str) -> None:
        """The file speaks about this sample, even if it places nothing on it."""
        self._covered[sample] = None

    def annotations(self, *, unique: bool = False, coverage: bool = True) -> Annotations:
        """The validated table.

        Parameters
        ----------
        unique : bool
            Drop an item that states again what an earlier one stated: the same concept on the same interval
            and strand (an exon shared by two transcripts). Counted.
        coverage : bool
            Whether the file lists every sample it covers; otherwise it is taken to cover all.
        """
        if self._n_in != self._n_kept + sum(self._dropped.values()):
            raise RuntimeError(
                f"{self.source}: {self._n_in} items, {self._n_kept} kept, {dict(self._dropped)} dropped"
            )
        rows, dropped, kept = self._rows, dict(self._dropped), self._n_kept
        if unique:
            first = {row[:5]: row for row in reversed(rows)}
            rows = [row for row in rows if first[row[:5]] is row]
            again = kept - len({row[-1] for row in rows})
            if again:
                dropped["the same interval stated again"] = again
                kept -= again
        names = ("sample", "start", "end", "strand", "concept", "evidence", "note", "release")
        frame = pd.DataFrame(dict(zip(names, zip(*rows))) if rows else {n: [] for n in names})
        frame["source"] = self.source
        concepts = list(self._concepts.values())
        table = pd.DataFrame(
            {
                "name": [c[0] for c in concepts],
                "parent": [c[1] for c in concepts],
                "level": [c[2] for c in concepts],
                "source": self.source,
                "exhaustive": [c in self._exhaustive for c in self._concepts],
            },
            index=list(self._concepts),
        )
        covered: dict[str, Any] = {self.source: tuple(self._covered) if coverage else None}
        return Annotations(
            frame,
            concepts=table if len(table) else None,
            coverage=covered,
            counts={"n_in": self._n_in, "n_kept": kept, "dropped": dropped},
        )
