"""From scores to probabilities when the unlabelled part is a mixture.

Spans that a concept's model marks are *labelled* (they meet an annotated instance) or *unlabelled*. If the
sources left out instances of the same kind as those they list, unlabelled scores have the density

    u(s) = A l(s) + f(s),

with ``l`` the density of the labelled scores, ``A`` the number of instances left out and ``f`` the misfires:
beyond their mode, which lies below the labelled scores, half a normal curve and a heavier exponential
tail, both fitted. The first part can only be told from the second where the unlabelled scores show more than
a decaying tail: ``A`` is estimated by expectation and maximisation and its lower bound by the likelihood
ratio against ``A = 0``, with counts divided by the number of relatives that share an event. What the features mark
*beside* an annotated instance, in the same sample, is taken for misfires, and ``f`` is never below what that rate
gives for all samples: a place that looks alike in every sample must not pass for an instance left out in some. Then ``P(left out | s) = A l(s) / (A l(s) + f(s))``. After Elkan and Noto 2008 and Efron 2004.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A few misfires look exactly like instances, which no score can show: the share seen on planted worlds.
CEILING = 0.985
N_BINS = 20
# The heavy tail of the misfires: its least share and its least decay length in their standard deviations.
TAIL_SHARE, TAIL_SCALE = 0.05, 1.2
# Instances left out for each listed one: beyond it the list is no sample of the concept.
MAX_HIDDEN = 1.0
# Standard errors below the estimate for the bound behind q-values. On plantings with nothing hidden the ratio passes
# 1.3^2 for about one concept in 500: the fitted tail takes up nearly everything.
Z_LOWER = 1.3


@dataclass(frozen=True, eq=False)
class Mixture:
    """A fitted mixture.

    Attributes
    ----------
    edges : float [n_bins + 1]
    labelled : float [n_bins]
        Smoothed density of labelled scores.
    misfires : float [n_bins]
        Expected number of misfires.
    hidden, hidden_low : float
        Estimated number of instances left out, and its lower bound.
    """

    edges: np.ndarray
    labelled: np.ndarray
    misfires: np.ndarray
    hidden: float
    hidden_low: float

    def probability(self, score: np.ndarray, *, low: bool = False) -> np.ndarray:
        """P(left out | score), not decreasing in the score; with ``low`` from the lower bound."""
        part = (self.hidden_low if low else self.hidden) * self.labelled
        p = np.maximum.accumulate(part / np.maximum(part + self.misfires, 1e-12))
        centre = 0.5 * (self.edges[1:] + self.edges[:-1])
        return CEILING * np.interp(score, centre, p)


def fit_mixture(
    labelled: np.ndarray,
    unlabelled: np.ndarray,
    labelled_family: np.ndarray,
    unlabelled_family: np.ndarray,
    *,
    beside: np.ndarray | None = None,
    share: float = 1.0,
) -> Mixture:
    """Fit the mixture to scores.

    Parameters
    ----------
    labelled, unlabelled : float
        Scores of the two kinds of spans.
    labelled_family, unlabelled_family : int
        Their families, the unit of counting.
    beside : bool, optional
        Of each unlabelled span: its sample holds an annotated instance.
    share : float
        Of all positions that lie in such samples.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> known, other = rng.normal(4, 1, 300), rng.exponential(1, 400)
    >>> none = fit_mixture(known, other, np.arange(300), np.arange(400))
    >>> some = fit_mixture(known, np.append(other, rng.normal(4, 1, 100)), np.arange(300), np.arange(500))
    >>> none.hidden_low < 10, 70 < some.hidden < 130
    (True, True)
    """
    floor, high = np.quantile(labelled, [0.25, 0.95])
    mode = _mode(unlabelled, float(floor))
    edges = np.linspace(mode, max(high, mode + 1e-3), N_BINS + 1)
    labelled, kept = labelled[labelled >= mode], unlabelled >= mode
    seen = np.zeros(0) if beside is None else unlabelled[kept & beside]
    unlabelled, unlabelled_family = unlabelled[kept], unlabelled_family[kept]
    centre = (np.arange(N_BINS) + 0.5) / N_BINS
    l = _smooth(_counts(labelled, edges))
    l = (l + 0.02 * l.sum() / N_BINS) / (1.02 * l.sum())
    u = _counts(unlabelled, edges)
    spread = max(1.0, _relatives(unlabelled_family[unlabelled >= floor]))
    null, _, _ = _fit(l, u, centre, 0.0)
    best, hidden, misfires = _fit(l, u, centre, None)
    rate = _smooth(_counts(seen, edges))
    # One standard error less: the larger of two noisy numbers would be too large.
    misfires = np.maximum(misfires, np.maximum(rate - np.sqrt(rate), 0) / max(share, 1e-9))
    hidden = min(hidden, MAX_HIDDEN * len(labelled))
    ratio = max(0.0, 2 * (best - null)) / spread
    hidden_low = hidden * max(0.0, 1 - Z_LOWER / np.sqrt(ratio)) if ratio > 0 else 0.0
    return Mixture(edges, l, misfires, hidden, hidden_low)


def _counts(score: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.histogram(np.clip(score, edges[0], edges[-1]), edges)[0].astype(float)


def _smooth(counts: np.ndarray) -> np.ndarray:
    padded = np.pad(counts, 1, mode="edge")
    return 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]


def _relatives(family: np.ndarray) -> float:
    """Mean number of spans in the family of a span: how far relatives inflate a count."""
    count = np.bincount(family) if len(family) else np.zeros(1)
    return float((count**2).sum() / max(count.sum(), 1))


def _fit(l: np.ndarray, u: np.ndarray, x: np.ndarray, fixed: float | None) -> tuple[float, float, np.ndarray]:
    """Log likelihood, number left out and expected misfires; ``fixed`` holds the number."""
    hidden = 0.5 * u[len(u) // 2 :].sum() if fixed is None else fixed
    sigma, scale, share = 0.15, 0.3, 0.2
    f = np.zeros(len(u))
    for _ in range(300):
        body, tail = np.exp(-0.5 * (x / sigma) ** 2), np.exp(-x / scale)
        body, tail = (1 - share) * body / body.sum(), share * tail / tail.sum()
        left_out = hidden * l / (hidden * l + max(u.sum() - hidden, 1.0) * (body + tail) + 1e-12)
        before = hidden, sigma, scale, share
        if fixed is None:
            hidden = float((left_out * u).sum())
        rest = (1 - left_out) * u + 1e-4
        in_tail = rest * tail / (body + tail + 1e-300)
        in_body = rest - in_tail
        share = float(np.clip(in_tail.sum() / rest.sum(), TAIL_SHARE, 0.9))
        sigma = float(np.clip(np.sqrt((in_body * x * x).sum() / max(in_body.sum(), 1e-9)), 0.5 / len(u), 0.5))
        scale = float(np.clip((in_tail * x).sum() / max(in_tail.sum(), 1e-9), TAIL_SCALE * sigma, 3.0))
        f = rest.sum() * (body + tail)
        if all(abs(a - b) <= 1e-4 * (1e-3 + abs(a)) for a, b in zip(before, (hidden, sigma, scale, share))):
            break
    expected = hidden * l + f
    return float((u * np.log(expected + 1e-12) - expected).sum()), hidden, f


def _mode(score: np.ndarray, below: float) -> float:
    """The most common score below a bound: where misfires are densest."""
    part = score[score < below]
    if len(part) < 10:
        return float(part.min(initial=below - 1.0))
    counts, edges = np.histogram(part, np.linspace(np.quantile(part, 0.02), below, 25))
    at = int(np.argmax(_smooth(counts.astype(float))))
    return float(edges[at])
