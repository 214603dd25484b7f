"""Annotations moved from the coordinates of a source to those of samples: chromosomes to windows, genes to cells.

A window's place is stated by its sample (columns ``chromosome, start, end, strand``, or a name such as
``chr16:100-119`` or ``chr16:99-119(-)``, :func:`sciinterp.splits.places.places`). An interval that a window
cuts is kept in part, and counted; on the reverse strand a window runs backwards, and with it its intervals and
their strands. An interval of one strand lies on windows of that strand alone: on the other it would be read
backwards. One without a strand lies on both. Cells carry on their positions what is known of the genes they express.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sciinterp.codes.intervals import positions_in
from sciinterp.errors import InputError
from sciinterp.readers.identifiers import match_chromosomes, match_ids, nearest
from sciinterp.samples import Samples
from sciinterp.settings import Plain
from sciinterp.splits.places import places

if TYPE_CHECKING:
    from sciinterp.annotations.table import Annotations

log = logging.getLogger(__name__)
OUTSIDE = "outside every window"
OTHER_STRAND = "on windows of the other strand alone"
WHOLE = "a fact about the whole sequence, not about a window"
NOT_EXPRESSED = "of a gene that no cell expresses"
UNKNOWN = "of a sample that is no window"
_FLIPPED = {"+": "-", "-": "+"}


def project(annotations: Annotations, samples: Samples) -> Annotations:
    """Annotations of chromosomes on windows, or of genes on cells; see :meth:`Annotations.project`."""
    moved = _moved(annotations, samples)
    if turned := moved.counts["dropped"].get(OTHER_STRAND):
        log.warning(
            "annotations projected onto the samples: %d of %d not placed, %s (their strand set to '.' puts them there)",
            turned,
            moved.counts["n_in"],
            OTHER_STRAND,
        )
    return moved


def _moved(annotations: Annotations, samples: Samples) -> Annotations:
    first = samples.data[0] if len(samples) else None
    of_cells = isinstance(first, dict) and "genes" in first
    return _onto_cells(annotations, samples) if of_cells else _onto_windows(annotations, samples)


def unproject(annotations: Annotations, samples: Samples) -> Annotations:
    """Annotations of windows in the coordinates of their chromosomes; see :meth:`Annotations.unproject`."""
    where = places(samples)
    frame = annotations.frame
    number = annotations.sample_numbers(samples)
    keep = (number >= 0) & (frame["start"].to_numpy() >= 0)
    reason = np.where(number < 0, UNKNOWN, np.where(keep, "", WHOLE))
    at = number[keep]
    start, end = frame["start"].to_numpy()[keep], frame["end"].to_numpy()[keep]
    back = where["strand"].to_numpy()[at] == "-"
    low, high = where["start"].to_numpy()[at], where["end"].to_numpy()[at]
    moved = frame[keep].assign(
        sample=where["chromosome"].to_numpy()[at],
        start=np.where(back, high - end, low + start),
        end=np.where(back, high - start, low + end),
        strand=_turned(frame["strand"].to_numpy()[keep], back),
    )
    # overlapping windows show one interval several times
    once = ~moved.duplicated(["sample", "start", "end", "strand", "concept", "source"])
    counts = _account(annotations, reason, {"several_windows": int((~once).sum())})
    return type(annotations)(moved[once], concepts=annotations.concepts, counts=counts)


def placed(annotations: Annotations, samples: Samples) -> Annotations:
    """Annotations that name one of the samples as they stand, others projected, which a line says.

    Raises
    ------
    InputError
        No annotation lies on any sample, projected or not.
    """
    if not len(annotations) or (annotations.sample_numbers(samples) >= 0).any():
        return annotations
    projected = _projected(annotations, samples)
    if projected is None or not len(projected):
        raise _on_none(annotations, samples)
    said = {**projected.counts["dropped"], "cut by a window": projected.counts.get("partial", 0)}
    log.info(
        "annotations projected onto the samples: %d of %d kept%s",
        projected.counts["n_kept"],
        projected.counts["n_in"],
        "".join(f", {n} {reason}" for reason, n in said.items() if n),
    )
    return projected


def require_placed(annotations: Annotations, samples: Samples) -> None:
    """An error where no annotation lies on any sample, which says whether projecting them would help."""
    if len(annotations) and not (annotations.sample_numbers(samples) >= 0).any():
        raise _on_none(annotations, samples)


def _projected(annotations: Annotations, samples: Samples) -> Annotations | None:
    with suppress(InputError):  # the samples have no place
        return _moved(annotations, samples)
    return None


def _on_none(annotations: Annotations, samples: Samples) -> InputError:
    could = _projected(annotations, samples)
    first = str(annotations.frame["sample"].iloc[0])
    near = nearest(first, samples.ids)
    todo = "Annotations.rename_samples changes names; Annotations.project moves chromosomes onto windows."
    if could is not None and len(could):
        n = could.counts["n_kept"]
        todo = f"Place them first: annotations.project(samples) puts {n} of {len(annotations)} on them."
    elif could is not None and (turned := could.counts["dropped"].get(OTHER_STRAND)):
        todo = f"{turned} of {len(annotations)} are {OTHER_STRAND}: give windows of their strand, such as chr1:0-300(-)."
    return InputError(
        "no annotation lies on any sample",
        expected=f"samples such as {samples.ids[0]!r}" if len(samples) else "samples",
        got=f"annotations of {first!r}{near and f' ({near})'}",
        do=todo,
    )


def _onto_windows(annotations: Annotations, samples: Samples) -> Annotations:
    where, frame = places(samples), annotations.frame
    chromosomes = list(dict.fromkeys(where["chromosome"]))
    meant = match_chromosomes(frame["sample"].unique(), chromosomes)
    names = frame["sample"].map(meant).to_numpy(dtype=object)
    pairs = [np.zeros((2, 0), np.int64)]
    for chromosome in chromosomes:
        rows = np.flatnonzero((names == chromosome) & (frame["start"].to_numpy() >= 0))
        windows = np.flatnonzero((where["chromosome"] == chromosome).to_numpy())
        pairs.append(_overlaps(frame, rows, where, windows))
    row, window = np.concatenate(pairs, axis=1)
    beside = np.zeros(len(frame), bool)
    beside[row] = True
    stated = frame["strand"].to_numpy()[row]
    same = (stated == ".") | (stated == where["strand"].to_numpy()[window])
    row, window = row[same], window[same]
    order = np.lexsort((window, row))
    row, window = row[order], window[order]
    low, high = where["start"].to_numpy()[window], where["end"].to_numpy()[window]
    first, last = frame["start"].to_numpy()[row], frame["end"].to_numpy()[row]
    start, end = np.maximum(first, low), np.minimum(last, high)
    back = where["strand"].to_numpy()[window] == "-"
    moved = frame.iloc[row].assign(
        sample=np.array(samples.ids, dtype=object)[window],
        start=np.where(back, high - end, start - low),
        end=np.where(back, high - start, end - low),
        strand=_turned(frame["strand"].to_numpy()[row], back),
    )
    placed = np.zeros(len(frame), bool)
    placed[row] = True
    whole = frame["start"].to_numpy() < 0
    reason = np.where(placed, "", np.where(whole, WHOLE, np.where(beside, OTHER_STRAND, OUTSIDE)))
    partial = int(((start > first) | (end < last)).sum())
    coverage: dict[str, tuple[str, ...] | None] = {}
    for source, ids in annotations.coverage.items():
        known = None if ids is None else set(match_chromosomes(ids, chromosomes).values())
        inside = [known is None or c in known for c in where["chromosome"]]
        coverage[source] = None if known is None else tuple(i for i, k in zip(samples.ids, inside) if k)
    counts = _account(annotations, reason, {"partial": partial})
    return type(annotations)(moved, concepts=annotations.concepts, coverage=coverage, counts=counts)


def _overlaps(frame: pd.DataFrame, rows: np.ndarray, where: pd.DataFrame, windows: np.ndarray) -> np.ndarray:
    """int64 [2, n]: every row with every window that shares a position with it."""
    windows = windows[np.argsort(where["start"].to_numpy()[windows], kind="stable")]
    low, high = where["start"].to_numpy()[windows], where["end"].to_numpy()[windows]
    start, end = frame["start"].to_numpy()[rows], frame["end"].to_numpy()[rows]
    # windows are sorted by start: those before `last` start in time, those before `first` all end too early
    first = np.searchsorted(np.maximum.accumulate(high), start, side="right")
    last = np.maximum(np.searchsorted(low, end, side="left"), first)
    which, candidate = positions_in(first, last)
    hit = high[candidate] > start[which]
    return np.stack([rows[which[hit]], windows[candidate[hit]]])


def _onto_cells(annotations: Annotations, samples: Samples) -> Annotations:
    """What is known of genes, on the positions of the cells that express them."""
    frame = annotations.frame
    facts = frame[frame["start"] < 0]
    genes = list(dict.fromkeys(gene for cell in samples for gene in cell.data["genes"]))
    meant = match_ids(facts["sample"].unique(), genes)
    if len(facts) and genes and not meant:
        first = facts["sample"].iloc[0]
        log.warning(
            "no cell expresses a gene called %r or any other that is annotated; genes are called %r: are the names of "
            "one kind (symbols, Ensembl)?",
            first,
            genes[0],
        )
    of: dict[str, list[int]] = {}
    for row, gene in enumerate(facts["sample"]):
        if gene in meant:
            of.setdefault(meant[gene], []).append(row)
    out: list[tuple[str, int, int, int]] = []
    for cell in samples:
        genes_here = enumerate(cell.data["genes"])
        out += [(cell.id, p, p + 1, row) for p, gene in genes_here for row in of.get(gene, ())]
    columns = list(zip(*out)) or [(), (), (), ()]
    row = np.array(columns[3], np.int64)
    moved = facts.iloc[row].assign(sample=list(columns[0]), start=list(columns[1]), end=list(columns[2]))
    placed = frame["sample"].isin(meant).to_numpy() & (frame["start"].to_numpy() < 0)
    counts = _account(annotations, np.where(placed, "", NOT_EXPRESSED), {})
    return type(annotations)(moved, concepts=annotations.concepts, counts=counts)


def _turned(strand: np.ndarray, back: np.ndarray) -> np.ndarray:
    return np.where(back, np.array([_FLIPPED.get(s, s) for s in strand]), strand)


def _account(annotations: Annotations, reason: np.ndarray, more: dict[str, int]) -> Plain:
    """Every row of the table is kept, in one piece or several, or dropped under a reason."""
    names, numbers = np.unique(reason[reason != ""].astype(str), return_counts=True)
    n = len(annotations.frame)
    counts = {
        "n_in": n,
        "n_kept": n - int(numbers.sum()),
        "dropped": dict(zip(names.tolist(), numbers.tolist())),
    }
    return counts | {name: n for name, n in more.items() if n}
