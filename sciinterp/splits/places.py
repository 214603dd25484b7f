"""Where windows of a genome lie: chromosome, start, end and strand of every sample."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from sciinterp.errors import InputError
from sciinterp.frames import name_of
from sciinterp.readers.identifiers import strand_of
from sciinterp.samples import Samples

_CHROMOSOME = ("chromosome", "chrom", "chr", "seqid", "contig")
# Names of HLA alleles hold colons: HLA-A*01:01:01:01.
_PLACE = re.compile(
    r"(?P<chromosome>HLA-[A-Z0-9]+\*[0-9]+(?::[0-9]+)*[A-Z]?|[^:\s]+):(?P<start>[0-9,]+)-(?P<end>[0-9,]+)(?P<strand>\([+-]\)|:[+-]|/rc|)"
)


def places(samples: Samples, *, exact: bool = True) -> pd.DataFrame:
    """``chromosome, start, end, strand`` of every sample, 0-based and half-open.

    The place is the sample's columns (``chromosome`` or chrom, seqid, contig; ``start``, ``end``, ``strand``),
    else its name, such as ``chr16:100-119`` or, on the reverse strand, ``chr16:100-119(-)``. Whether numbers
    are 0-based and half-open (bedtools) or 1-based with both ends (samtools, browsers) is told by the length of
    the sequence, which start and end must match unless ``exact`` is false. A start without an end is 0-based. No base
    is 0 where counting begins at 1: where a window with both ends starts at 0, all with both ends are 0-based.

    Raises
    ------
    InputError
        When the place of a sample is not stated, or has not the length of its sequence.

    Examples
    --------
    >>> places(Samples(["c:3-4", "c:2-4(-)"], ["AC", "AC"])).to_numpy().tolist()
    [['c', 2, 4, '+'], ['c', 2, 4, '-']]
    >>> places(Samples(["c:0-1", "c:2-3"], ["AC", "GT"])).to_numpy().tolist()
    [['c', 0, 2, '+'], ['c', 2, 4, '+']]
    """
    table, lengths = samples.columns, samples.lengths
    column = next((c for c in _CHROMOSOME if c in table.columns), None)
    if column and "start" in table.columns:
        chromosome, start = _named(table[column]), _whole(table["start"])
        end = _whole(table["end"]) if "end" in table.columns else start + lengths
        strand = table["strand"].astype(str) if "strand" in table.columns else ["+"] * len(samples)
        wrong = next((text for text in dict.fromkeys(strand) if not strand_of(text)), None)
        if wrong is not None:
            raise InputError(
                "this is not a strand", where="column 'strand'", expected="+ or -", got=repr(wrong[:20])
            )
    else:
        found = [_PLACE.search(name) for name in samples.ids]
        lost = next((name for name, place in zip(samples.ids, found) if place is None), None)
        if lost is not None:
            raise InputError(
                "the place of a sample on its chromosome is not known",
                where=f"sample {lost!r}",
                expected="sample columns chromosome and start, or names such as chr16:1000-2000",
            )
        stated = [place.groups("") for place in found if place]
        chromosome, strand = [p[0] for p in stated], [p[3].strip("():").replace("/rc", "-") for p in stated]
        start, end = (np.array([int(p[i].replace(",", "")) for p in stated], np.int64) for i in (1, 2))
    both_ends = end - start + 1 == lengths
    wrong = np.flatnonzero(~both_ends & (end - start != lengths))
    if exact and len(wrong):
        i = wrong[0]
        raise InputError(
            "a window has not the length that its place states",
            where=f"sample {samples.ids[i]!r}",
            expected=f"{end[i] - start[i]} (without its end) or {end[i] - start[i] + 1} (with it) positions",
            got=str(lengths[i]),
        )
    from_zero = both_ends & bool((both_ends & (start == 0)).any())
    columns = {"chromosome": list(chromosome), "start": start - both_ends + from_zero, "end": end + from_zero}
    return pd.DataFrame(columns | {"strand": ["-" if strand_of(s) == "-" else "+" for s in strand]})


def _named(column: pd.Series) -> pd.Series:
    """Names of chromosomes, each of them stated."""
    if column.isna().any():
        raise InputError(
            "the chromosome of a sample is not stated",
            where=f"column {column.name!r}",
            got=f"{int(column.isna().sum())} of {len(column)} are missing",
        )
    return column.map(name_of).astype(str)


def _whole(column: pd.Series) -> np.ndarray:
    """Whole numbers of a column, which may be text with commas at the thousands."""
    numbers = pd.to_numeric(column.astype(str).str.replace(",", ""), errors="coerce").to_numpy(np.float64)
    bad = ~(np.isfinite(numbers) & (numbers >= 0) & (numbers == np.floor(numbers)))
    if bad.any():
        raise InputError(
            "the place of a sample on its chromosome is not a whole number",
            where=f"column {column.name!r}",
            got=f"{int(bad.sum())} of {len(column)}, the first {column[bad].iloc[0]!r}",
        )
    return numbers.astype(np.int64)
