"""What a parser gathers: rows, concepts, the samples its file covers, and an account of every item it met."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

import pandas as pd

from sciinterp.annotations.table import Annotations
from sciinterp.errors import FormatError
from sciinterp.readers.bounded import read_lines, whole
from sciinterp.readers.delimited import unquoted
from sciinterp.readers.sample_tables import MISSING
from sciinterp.settings import Plain

AGAIN = "the same interval stated again"
REPEATED = "of a sample that the file states again"
# Between the notes of one interval that a file states several times.
ALSO = " || "
_SPACE = re.compile(r"[\s\x00-\x1f\x7f/]+")
log = logging.getLogger(__name__)
# What becomes of an item that a file states again.
Duplicates = Literal["drop", "keep"]
# sample start end strand concept source evidence note release, and the number of the item
Row = tuple[str, int, int, str, str, str, str, str, str, int]


@lru_cache(maxsize=1 << 14)
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
    return " ".join("; ".join(p for p in parts if p).replace(ALSO.strip(), "|").split())


def missing(cell: str) -> bool:
    """Whether a cell says nothing: blank, ``NA``, ``nan`` and the like."""
    return cell.strip() in MISSING


def cells_of(line: str) -> list[str]:
    """The cells of a tab-separated line, without white space around them or the quotes of spreadsheets.

    Examples
    --------
    >>> cells_of('P1 \\t"a ""b"" c"\\tgene_id "a"; x "b"')
    ['P1', 'a "b" c', 'gene_id "a"; x "b"']
    """
    if '"' not in line:
        return [cell.strip() for cell in line.split("\t")]
    return [unquoted(cell.strip()).strip() for cell in line.split("\t")]


class Rows:
    """Gathers the rows of one file, item by item.

    An *item* is what the file states once: a line of GFF, an entry of UniProt, a cofactor. Every item is
    either kept, with one or more rows, or dropped under a reason; :meth:`annotations` checks the account.

    Examples
    --------
    >>> rows = Rows("bed")
    >>> rows.covers("chr1")
    >>> rows.item(); rows.add("chr1", 0, 5, "bed:peak")
    >>> rows.item(); rows.drop("empty interval")
    >>> rows.annotations().counts
    {'n_in': 2, 'n_kept': 1, 'dropped': {'empty interval': 1}}
    """

    def __init__(self, source: str, path: str | Path = "", *, release: str = "") -> None:
        self.source, self.path, self.release = source, str(path), release
        self._rows: list[Row] = []
        self._concepts: dict[str, tuple[str, str, int, str]] = {}
        self._exhaustive: set[str] = set()
        self._covered: dict[str, dict[str, None]] = {source: {}}
        self._begun: set[str] = set()
        self._n_in = self._n_kept = self._empty = 0
        self._open = self._repeated = False
        self._dropped: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()

    def lines(self, what: str, *, skip: str | tuple[str, ...] = "#") -> Iterator[tuple[int, str]]:
        """Lines with their numbers, without blank ones and comments; a file without any line is refused."""
        seen = False
        for number, line in read_lines(self.path):
            if line.strip():
                seen = True
                if not line.startswith(skip):
                    yield number, line
        if not seen:
            raise self.bad("an empty file", 1, expected=what)

    def bad(self, what: str, line: int, *, expected: str = "", got: str = "", do: str = "") -> FormatError:
        """The error that a line cannot be read."""
        return FormatError(what, file=self.path, line=line, expected=expected, got=got, do=do)

    def ends(self, first: str, last: str, line: int, *, least: int = 0) -> tuple[int, int]:
        """Start and end of an interval, as the file counts them; from 1 both ends belong to it.

        Raises
        ------
        FormatError
            One is not a whole number, or below the least, or the end comes first.
        """
        start, end = (
            whole(cell, what, self.path, line) for cell, what in ((first, "the start"), (last, "the end"))
        )
        if not least <= start <= end:
            said = {"expected": f"{least} <= start <= end", "got": f"{start} to {end}"}
            do = "Places count from 1, and both ends belong to the interval." if least else ""
            raise self.bad("an impossible interval", line, **said, do=do)
        return start, end

    def begin(self, sample: str) -> None:
        """What follows is one sample's; all of it is dropped where the file had that sample before."""
        self._repeated = sample in self._begun
        self._begun.add(sample)

    def says(self, sample: str, content: bool) -> None:
        """The file covers a sample, unless it only names it (an obsolete one): nothing is absent from that."""
        if content:
            self.covers(sample)
        else:
            self._empty += 1

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
    ) -> None:
        """A row of the present item; ``start = end = -1`` is a fact about the whole sample."""
        if self._repeated:
            if self._open:
                self.drop(REPEATED)
            return
        self.keep()
        source = self._concepts.setdefault(concept, (concept, "", 0, self.source))[3]
        said = (source, evidence, note, self.release)
        self._rows.append((sample, start, end, strand, concept, *said, self._n_in))

    def keep(self) -> None:
        """The present item is kept, though its row (a run that began earlier) is there already."""
        if self._open:
            self._n_kept += 1
            self._open = False

    def drop(self, reason: str) -> None:
        """The present item is dropped, for this reason."""
        self._dropped[reason] += 1
        self._open = False

    def unknown(self, what: str) -> None:
        """A key, type or attribute that the format does not list: its item is read, and it is counted."""
        self._unknown[what] += 1

    def concept(
        self,
        concept: str,
        *,
        name: str = "",
        parent: str = "",
        level: int = 0,
        exhaustive: bool = False,
        source: str = "",
    ) -> None:
        """What is known about a concept, before its first row: a name for people, its parent, how deep it lies.

        ``source`` is a part of the file with a coverage of its own, such as a column.
        """
        self._concepts[concept] = (name or concept, parent, level, source or self.source)
        if exhaustive:
            self._exhaustive.add(concept)

    def concepts(self) -> list[str]:
        """The concepts met so far."""
        return list(self._concepts)

    def covers(self, sample: str, source: str = "") -> None:
        """The file (or the part of it that is ``source``) speaks about this sample, even if it places nothing."""
        self._covered.setdefault(source or self.source, {})[sample] = None

    def covered(self) -> list[str]:
        """The samples that the file speaks about, so far."""
        return list(self._covered[self.source])

    def annotations(self, *, unique: bool = False, coverage: bool = True) -> Annotations:
        """The validated table.

        Parameters
        ----------
        unique : bool
            Drop an item that states again what an earlier one stated: the same concept on the same interval
            and strand (an exon shared by two transcripts). Counted; what it notes is kept in the note of the
            earlier one, behind :data:`ALSO`.
        coverage : bool
            Whether the file lists the samples it covers; otherwise it is taken to cover all. A row on a
            sample that is not listed shows that the list is not complete: the sample is covered, and said.
        """
        if self._n_in != self._n_kept + sum(self._dropped.values()):
            raise RuntimeError(
                f"{self.source}: {self._n_in} items, {self._n_kept} kept, {dict(self._dropped)} dropped"
            )
        rows, dropped, kept = self._rows, dict(self._dropped), self._n_kept
        if unique:
            rows = _once(rows)
            again = kept - len({row[-1] for row in rows})
            if again:
                dropped[AGAIN] = again
                kept -= again
        names = ("sample", "start", "end", "strand", "concept", "source", "evidence", "note", "release")
        frame = pd.DataFrame(dict(zip(names, zip(*rows))) if rows else {n: [] for n in names})
        columns = dict(zip(("name", "parent", "level", "source"), zip(*self._concepts.values())))
        table = pd.DataFrame(columns, index=list(self._concepts))
        table["exhaustive"] = [c in self._exhaustive for c in self._concepts]
        counts: Plain = {"n_in": self._n_in, "n_kept": kept, "dropped": dropped}
        if self._unknown:
            counts["unknown"] = dict(self._unknown)
            log.warning("%s: not in the lists of the format: %s", self.path, _listed(self._unknown))
        if self._empty:
            counts["without_content"] = self._empty
        if coverage and (unlisted := self._cover_rows(rows)):
            counts["unlisted"] = unlisted
        covered = {s: tuple(ids) for s, ids in self._covered.items()} if coverage else {self.source: None}
        found = Annotations(frame, concepts=table if len(table) else None, coverage=covered, counts=counts)
        found.read_from = (self.path, None)
        return found

    def _cover_rows(self, rows: list[Row]) -> int:
        """Cover every sample that has rows; how many rows lay on samples that the file does not list."""
        unlisted = [(row[0], row[5]) for row in rows if row[0] not in self._covered.setdefault(row[5], {})]
        for sample, source in unlisted:
            self._covered[source][sample] = None
        if unlisted:
            log.warning(
                "%s: %d of %d rows lie on samples that the file does not list as covered, such as %r; "
                "they count, and samples without rows that it does not list are left out",
                self.path,
                len(unlisted),
                len(rows),
                unlisted[0][0],
            )
        return len(unlisted)


def _once(rows: list[Row]) -> list[Row]:
    """The first row of each concept on an interval and strand, with what the others note behind its own note."""
    first: dict[tuple, int] = {}
    out: list[Row] = []
    notes: dict[int, dict[str, None]] = {}
    for row in rows:
        at = first.setdefault(row[:5], len(out))
        if at == len(out):
            out.append(row)
        else:
            notes.setdefault(at, {out[at][7]: None})[row[7]] = None
    for at, said in notes.items():
        out[at] = (*out[at][:7], ALSO.join(said), *out[at][8:])
    return out


def _listed(counts: Mapping[str, int]) -> str:
    shown = ", ".join(f"{name!r} ({n})" for name, n in list(counts.items())[:5])
    return shown + (f" and {len(counts) - 5} more" if len(counts) > 5 else "")
