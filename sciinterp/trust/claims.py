"""Claims of the package, the rates they state, the bars they must hold, and how a rate is measured over worlds.

Counts of a world depend on each other, so an interval of a pooled share is the exact binomial (Clopper and
Pearson 1934) one of an *effective* number of trials: the number that would vary as much as the worlds do (Korn and
Graubard 1998). Where a world gives one trial the two are the same. Calibration error, and differences between two designs
on the same seeds, have intervals from a bootstrap of the worlds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, t

from sciinterp.trust.designs import FOLDED, PLANTED, RIVALS, UNRELATED, Counts

LEVEL, N_DRAWS = 0.95, 400
N_BINS = 10  # of probability, as in :func:`sciinterp.discovery.calibrate.expected_calibration_error`
Measured = tuple[float, float, float, int]  # value, low, high, trials


@dataclass(frozen=True)
class Claim:
    """One row of the table.

    Attributes
    ----------
    name : str
        What is claimed; several designs share a claim.
    design : str
        In words.
    designs : tuple of str
        Keys of :data:`sciinterp.trust.designs.DESIGNS`.
    key : str
        Of their counts.
    bar : tuple of str and float, optional
        ``<=`` or ``>=``, and what must hold.
    nominal : float, optional
        The rate that the package states.
    how : callable
        Outcomes of each design, and the key -> what is measured.
    """

    name: str
    design: str
    designs: tuple[str, ...]
    key: str
    bar: tuple[str, float] | None = None
    nominal: float | None = None
    how: Callable[[Sequence[Sequence[Counts]], str], Measured] | None = None

    def measure(self, outcomes: Sequence[Sequence[Counts]]) -> Measured:
        """Value, interval and trials over the worlds of each design."""
        return (self.how or pooled)(outcomes, self.key)

    def holds(self, value: float) -> str:
        """Whether the bar is held: ``yes``, ``no``, or empty where there is no bar or nothing to judge.

        Examples
        --------
        >>> Claim("a", "b", ("c",), "k", ("<=", 0.1)).holds(0.1)
        'yes'
        """
        if self.bar is None or not np.isfinite(value):
            return ""
        sign, bar = self.bar
        return "yes" if (value <= bar if sign == "<=" else value >= bar) else "no"


def pooled(outcomes: Sequence[Sequence[Counts]], key: str) -> Measured:
    """Share of all trials of all worlds, with its exact interval at the effective number of trials."""
    counts = np.array([world[key] for worlds in outcomes for world in worlds], float).reshape(-1, 2)
    low, high = exact_interval(counts[:, 0], counts[:, 1])
    n = counts[:, 1].sum()
    return (float(counts[:, 0].sum() / n) if n else float("nan")), low, high, int(n)


def exact_interval(k: np.ndarray, n: np.ndarray) -> tuple[float, float]:
    """Clopper and Pearson's interval of ``sum(k) / sum(n)``, at the effective number of trials of the worlds.

    Examples
    --------
    >>> [round(end, 3) for end in exact_interval(np.array([1.0, 0, 0, 0]), np.ones(4))]
    [0.006, 0.806]
    """
    total = float(n.sum())
    if not total:
        return float("nan"), float("nan")
    share, effective = float(k.sum()) / total, total
    if (n > 1).any() and len(n) > 1 and 0 < share < 1:
        spread = len(n) / (len(n) - 1) * ((k - share * n) ** 2).sum() / total**2
        few = (t.ppf((1 + LEVEL) / 2, max(1, total - 1)) / t.ppf((1 + LEVEL) / 2, len(n) - 1)) ** 2
        effective = min(total, few * share * (1 - share) / max(spread, 1e-12))
    hits, out = share * effective, (1 - LEVEL) / 2
    low = beta.ppf(out, hits, effective - hits + 1) if hits > 0 else 0.0
    high = beta.ppf(1 - out, hits + 1, effective - hits) if hits < effective else 1.0
    return float(low), float(high)


def calibration(outcomes: Sequence[Sequence[Counts]], key: str) -> Measured:
    """Expected calibration error of the lists of all worlds together."""
    lists = [
        (np.array(world[key], float), np.array(world["truth"], float))
        for worlds in outcomes
        for world in worlds
    ]
    # The sum of |probability - truth| over equal bins needs each world's sums alone.
    bins = [np.minimum((p * N_BINS).astype(int), N_BINS - 1) for p, _ in lists]
    gaps = np.array([np.bincount(b, p - truth, N_BINS) for b, (p, truth) in zip(bins, lists)])
    sizes = np.array([len(p) for p, _ in lists])

    def error(some: Sequence[int]) -> float:
        n = sizes[list(some)].sum()
        return float(np.abs(gaps[list(some)].sum(0)).sum() / n) if n else float("nan")

    return (*_bootstrapped(error, len(lists)), int(sizes.sum()))


def difference(outcomes: Sequence[Sequence[Counts]], key: str) -> Measured:
    """Share in the first design less that in the second, over the seeds that both have."""
    n_worlds = min(map(len, outcomes))
    one, other = (np.array([world[key] for world in worlds[:n_worlds]], float) for worlds in outcomes)

    def gap(some: Sequence[int]) -> float:
        sums = [counts[list(some)].sum(0) for counts in (one, other)]
        return float(sums[0][0] / sums[0][1] - sums[1][0] / sums[1][1]) if all(s[1] for s in sums) else np.nan

    return (*_bootstrapped(gap, n_worlds), int(one[:, 1].sum()))


def _bootstrapped(of: Callable[[Sequence[int]], float], n: int) -> tuple[float, float, float]:
    """A number of all worlds, and its percentile interval over worlds drawn with replacement."""
    if not n:
        return float("nan"), float("nan"), float("nan")
    drawn = np.random.default_rng(0).integers(0, n, (N_DRAWS, n))
    values = np.array([of(some) for some in drawn.tolist()])
    if not np.isfinite(values).any():
        return of(range(n)), float("nan"), float("nan")
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return of(range(n)), float(low), float(high)


_HIDDEN, _RELU, _NOTHING = ("hidden-topk",), ("hidden-relu",), ("nothing-topk",)
_SETS = (
    ("either", "a motif of which three features read a third each, among sets"),
    ("both", "a motif that two features read among much else, among sets"),
)
_NOVEL: tuple[tuple[str, str, float | None], ...] = (
    ("motif", "an ungapped motif", 0.6),
    ("gapped", "a gapped motif", 0.3),
    ("pair", "two words at a distance", 0.3),
    ("periodic", "an amphipathic stretch", 0.5),
    ("domain", "a weak domain", None),
    ("site", "a point site", None),
)
_KEPT = (*(f"novel-{kind}" for kind, _, _ in _NOVEL), "refined")


def _claims() -> tuple[Claim, ...]:
    rows = [
        *(
            Claim(claim, words, (name,), key, bar, nominal)
            for claim, key, bar, nominal in (
                ("p of presence", "presence", ("<=", 0.075), 0.05),
                ("p of place", "place", ("<=", 0.075), 0.05),
                ("any q of presence", "any-q_presence", ("<=", 0.1), 0.1),
                ("any q", "any-q", ("<=", 0.1), 0.1),
            )
            for name, (words, _) in UNRELATED.items()
        ),
        Claim("p of place", "annotations rotated", ("rotated",), "place", ("<=", 0.075), 0.05),
        Claim("any q of place", "annotations rotated", ("rotated",), "any-q_place", ("<=", 0.1), 0.1),
        Claim("any q", "annotations rotated", ("rotated",), "any-q", ("<=", 0.1), 0.1),
        *(
            Claim("power", words, (name,), "found", (">=", 0.8) if name == "planted-15-8" else None)
            for name, (words, _, _) in PLANTED.items()
        ),
        *(
            Claim(
                "lead",
                f"true difference 0, {n} test families",
                (f"rivals-{n}",),
                "above",
                ("<=", 0.035),
                0.025,
            )
            for n in RIVALS
            if n != 15
        ),
        *(
            Claim("coverage", f"F1, {n} test families", (f"rivals-{n}",), "covers", (">=", 0.93), 0.95)
            for n in RIVALS
            if n in (8, 15, 40)
        ),
        *(
            Claim(claim, words.format(n), (f"folded-{n}",), key, bar, nominal)
            for claim, words, key, bar, nominal in (
                ("lead", "true difference 0, {} families, cross-fitted", "above", ("<=", 0.035), 0.025),
                ("coverage", "F1, {} families, cross-fitted", "covers", (">=", 0.93), 0.95),
            )
            for n in FOLDED
        ),
        Claim("verdict", "two rivals, true difference 0: any", ("verdicts-none",), "any", ("<=", 0.1), 0.1),
        Claim("verdict", "6 of 18 concepts lead: false ones", ("verdicts-third",), "false", ("<=", 0.1), 0.1),
        Claim("power of verdict", "6 of 18 concepts lead", ("verdicts-third",), "found"),
        *(
            Claim("false at q", f"{kind} candidates", _HIDDEN, f"false-{kind}", ("<=", 0.12), 0.1)
            for kind in ("missing", "novel", "refinement")
        ),
        Claim("false at q", "missing candidates, ReLU", _RELU, "false-missing", ("<=", 0.12), 0.1),
        Claim(
            "sure", "missing candidates of p >= .9, nulls pooled", (*_HIDDEN, *_NOTHING), "sure", None, 0.95
        ),
        Claim(
            "calibration",
            "missing candidates, nulls pooled",
            (*_HIDDEN, *_NOTHING),
            "p",
            ("<=", 0.05),
            0.0,
            calibration,
        ),
        Claim("empty", "nothing hidden: any q <= .1", _NOTHING, "any", ("<=", 0.1), 0.1),
        Claim("empty", "nothing hidden: any p > .5", _NOTHING, "likely", ("<=", 0.1)),
        *(
            Claim("novel in ten", words, _HIDDEN, f"novel-{kind}", None if bar is None else (">=", bar))
            for kind, words, bar in _NOVEL
        ),
        *(Claim("novel in ten", words, ("hidden-sets",), f"novel-{kind}") for kind, words in _SETS),
        Claim("false sets", "sets of features, at any q", ("hidden-sets",), "sets-false"),
        Claim("refined", "two concepts under one name", _HIDDEN, "refined", (">=", 0.8)),
        Claim("recovered", "hidden instances at q <= .1", _HIDDEN, "recovered"),
        *(
            Claim("TopK less ReLU", key, (*_HIDDEN, *_RELU), key, ("<=", 0.1), 0.0, difference)
            for key in _KEPT
        ),
    ]
    return tuple(rows)


CLAIMS = _claims()
