"""Splits by family, the unit of inference: relatives never stand on both sides.

Families are whole, and unequal: one of them may hold a fifth of all positions. They are placed one by one,
larger before smaller (those of one size class, a factor of two, in a seeded order), the largest of all in
``train``, each where the most positions are still wanted. Where a sample column groups families (the subgroup
of a V gene, the clade of a species), families and positions are wanted inside each of its groups too, and the
wants are added, so that every part sees every group by more than one family where it can.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from sciinterp.errors import InputError
from sciinterp.samples import Samples, Split
from sciinterp.settings import checked
from sciinterp.splits.families import label_samples

# How much the positions of a group count beside the number of its families, when it is shared out. On the
# embedded antibodies one half gives every part its families of every large V subgroup, whatever the seed.
_SHARE = 0.5


@checked()
def split_families(
    samples: Samples,
    *,
    by: str | Iterable[object] | None = None,
    fractions: tuple[float, float, float] = (0.75, 0.05, 0.2),
    seed: int = 0,
) -> Split:
    """Divide samples into train, calibration and test so that no family is in two parts.

    Parameters
    ----------
    by : str or array_like, optional
        What a family is: a column of ``samples.table``; ``mmseqs`` (or ``mmseqs:0.5``: clusters at 50% identity; needs the
        extra ``families``); ``composition`` (k-mer clusters, or elements of crystals); ``block:1Mb``
        (blocks of a chromosome); or one family label a sample. By default the column ``family``, else, said in
        a line, ``mmseqs`` for proteins, blocks for windows of DNA, the donor of cells, ``composition`` for the
        rest.
    fractions : tuple of float
        Wanted fractions of positions in the three parts; families are whole, so they are met only nearly.
    seed : int
        Seed of the order in which families are placed.

    Returns
    -------
    Split
        The largest family is in ``train``; :meth:`Split.summary` says what each part holds.

    Raises
    ------
    InputError
        Fewer than three families, samples without one, an unknown column or way of finding families, or
        impossible fractions.

    Examples
    --------
    >>> samples = Samples("abcdef", ["MK"] * 6)
    >>> split = split_families(samples, by=["x", "x", "y", "y", "z", "z"])
    >>> len(split.train) + len(split.calibration) + len(split.test)
    6
    """
    wanted = _fractions(fractions)
    labels, name = label_samples(samples, by)
    family, names = pd.factorize(labels, sort=True)
    if len(names) < 3:
        raise InputError(
            "too few families to split",
            where=f"by={name!r}",
            expected="at least 3",
            got=str(len(names)),
            do="Give more diverse samples, or a finer definition of family: a column of a sample table, or mmseqs:0.8.",
        )
    size = np.bincount(family, weights=samples.lengths, minlength=len(names))
    part = place(size, wanted, groups=_groups(samples, family, len(names)), seed=seed)[family]
    return Split(
        *(np.flatnonzero(part == p) for p in range(3)),
        family=family.astype(np.int64),
        family_names=tuple(map(str, names)),
        by=name,
        seed=int(seed),
        lengths=samples.lengths,
        fractions=tuple(map(float, fractions)),
        ids=samples.ids,
    )


def place(
    size: np.ndarray, wanted: np.ndarray, *, groups: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """The part (0 train, 1 calibration, 2 test) of every family.

    Parameters
    ----------
    size : ndarray [n_families]
        Positions of every family.
    wanted : ndarray [3]
        Fractions of positions, which sum to 1.
    groups : ndarray of int [n_families], optional
        A coarser grouping of the families.
    seed : int

    Returns
    -------
    ndarray of int64 [n_families]

    Examples
    --------
    >>> place(np.array([5, 3, 2, 5, 5]), np.array([0.5, 0.25, 0.25])).tolist()
    [0, 2, 2, 1, 0]
    """
    size = np.asarray(size, np.float64)
    of = np.zeros(len(size), np.int64) if groups is None else np.asarray(groups)
    missing = wanted * size.sum()
    positions, families = np.bincount(of, weights=size), np.bincount(of)
    mean = positions / np.maximum(families, 1)
    missing_in = wanted * (positions * _SHARE)[:, None]
    families_in = wanted * families[:, None]
    order = np.random.default_rng(seed).permutation(len(size))
    order = order[np.argsort(-np.floor(np.log2(np.maximum(size[order], 1))), kind="stable")]
    largest = int(np.argmax(size))
    order = np.concatenate([[largest], order[order != largest]])
    part, empty = np.full(len(size), -1), wanted > 0
    for n_left, f in zip(range(len(size), 0, -1), order):
        g = of[f]
        inside = missing_in[g] + families_in[g] * mean[g] if groups is not None else 0
        want = np.where(wanted > 0, missing + inside, -np.inf)
        if n_left <= empty.sum():
            want = np.where(empty, want, -np.inf)
        part[f] = 0 if f == largest and wanted[0] > 0 else int(np.argmax(want))
        empty[part[f]] = False
        missing[part[f]] -= size[f]
        missing_in[g, part[f]] -= size[f] * _SHARE
        families_in[g, part[f]] -= 1
    return part


def _fractions(fractions: tuple[float, ...]) -> np.ndarray:
    values = np.array(fractions)
    if not np.isfinite(values).all() or (values < 0).any() or min(values[0], values[2]) <= 0:
        raise InputError(
            "impossible fractions",
            where="argument 'fractions'",
            got=str(fractions),
            expected="three numbers for train, calibration, test, of which calibration alone may be 0",
        )
    return values / values.sum()


def _groups(samples: Samples, family: np.ndarray, n_families: int) -> np.ndarray | None:
    """The coarsest column that groups families: at least two values, at most half as many as families."""
    table = samples.columns
    best: tuple[int, str, np.ndarray] | None = None
    for column in table.columns:
        if table[column].dtype.kind in "fiub":
            continue
        code, names = pd.factorize(table[column].astype(str), sort=True)
        if not 2 <= len(names) <= n_families // 2:
            continue
        of = np.zeros(n_families, np.int64)
        of[family] = code
        if (of[family] == code).all() and (best is None or (len(names), str(column)) < best[:2]):
            best = (len(names), str(column), of)
    return None if best is None else best[2]
