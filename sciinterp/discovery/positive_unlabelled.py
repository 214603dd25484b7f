"""From scores to probabilities when the unlabelled part is a mixture.

Spans that a concept's model marks are *labelled* (they meet an annotated instance) or *unlabelled*. If the
sources left out instances of the same kind as those they list, unlabelled scores have the density

    u(s) = A l(s) + f(s),

with ``l`` the density of the labelled scores, ``A`` the number of instances left out and ``f`` the misfires:
beyond their mode, which lies below the labelled scores, half a normal curve and a heavier exponential
tail, both fitted. The first part can only be told from the second where the unlabelled scores show more than
a decaying tail: ``A`` is estimated by expectation and maximisation, and is never more than the unlabelled spans above
any score allow; what is left of the unlabelled scores is misfires, whatever its shape. Then
``P(left out | s) = A l(s) / (A l(s) + f(s))``. After Elkan and Noto 2008 and Efron 2004. Whether anything was left out
at all, and what these probabilities are worth, is decided in :mod:`sciinterp.discovery.left_out`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciinterp.discovery.left_out import Marks

N_BINS = 20
# The heavy tail of the misfires: its least share and its least decay length in their standard deviations.
TAIL_SHARE, TAIL_SCALE = 0.05, 1.2
# Instances left out for each listed one: beyond it the list is no sample of the concept.
MAX_HIDDEN = 2.0
UPPER = np.arange(0.2, 0.81, 0.1)  # quantiles of the labelled scores above which unlabelled ones are counted


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
    hidden : float
        Estimated number of instances left out.
    ratio : float
        Twice the log likelihood ratio against none left out, over the number of relatives that share an event.
    at_bound : bool
        The estimate reaches :data:`MAX_HIDDEN`: it is not one.
    """

    edges: np.ndarray
    labelled: np.ndarray
    misfires: np.ndarray
    hidden: float
    ratio: float
    at_bound: bool

    def probability(self, score: np.ndarray) -> np.ndarray:
        """P(left out | score, at least one was), not decreasing in the score."""
        part = max(self.hidden, 1.0) * self.labelled
        p = np.maximum.accumulate(part / np.maximum(part + self.misfires, 1e-12))
        centre = 0.5 * (self.edges[1:] + self.edges[:-1])
        return np.interp(score, centre, p)


def fit_mixture(marks: Marks) -> Mixture:
    """Fit the mixture to the scores of a concept's marks."""
    labelled, unlabelled, family = marks.labelled, marks.unlabelled, marks.unlabelled_family
    floor, high = np.quantile(labelled, [0.25, 0.95])
    mode = _mode(unlabelled, float(floor))
    edges = np.linspace(mode, max(high, mode + 1e-3), N_BINS + 1)
    kept = unlabelled >= mode
    centre = (np.arange(N_BINS) + 0.5) / N_BINS
    l = _smooth(_counts(labelled[labelled >= mode], edges))
    l = (l + 0.02 * l.sum() / N_BINS) / (1.02 * l.sum())
    u = _counts(unlabelled[kept], edges)
    spread = max(1.0, _relatives(family[unlabelled >= floor]))
    null, _, _ = _fit(l, u, centre, 0.0)
    best, hidden, misfires = _fit(l, u, centre, None)
    at_bound = hidden >= MAX_HIDDEN * len(labelled)
    # Above no score can there be more instances left out than unlabelled spans (Blanchard, Lee and Scott 2010).
    bound = np.quantile(labelled, UPPER)
    above = (unlabelled >= bound[:, None]).sum(1) / np.maximum((labelled >= bound[:, None]).sum(1), 1)
    hidden = min(hidden, float(above.min()) * len(labelled))
    some = max(hidden, 1.0)
    misfires = np.maximum(misfires, _smooth(u) - some * l)
    return Mixture(edges, l, misfires, hidden, max(0.0, 2 * (best - null)) / spread, at_bound)


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
