"""How good is a list of probabilities? Reliability, Brier score, precision at k, average precision.

Relatives succeed and fail together, so intervals draw one number a cluster (family and concept), never one a
candidate. Where truth is only what a source states, an observed precision is a lower bound: an unannotated
instance counts as an error. :func:`pu_adjusted` states what it would be if a known share of instances is listed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit, logit, logsumexp
from scipy.stats import beta

N_DRAWS = 500
# Beta prior of the share of concepts with something to be found: one in ten, worth ten concepts.
PRIOR_SOME, PRIOR_NONE = 1.0, 9.0
ANY = 0.5  # prior probability that there is a concept with something to be found
N_SHARES = 1000  # values of the share that are weighed


def reliability(probability: np.ndarray, truth: np.ndarray, *, bins: int = 10) -> pd.DataFrame:
    """Reliability curve: mean probability and share of truth in equal bins of probability.

    Examples
    --------
    >>> reliability(np.array([0.05, 0.95, 0.92]), np.array([0, 1, 1]))["n"].tolist()
    [1, 2]
    """
    number = np.minimum((np.asarray(probability) * bins).astype(int), bins - 1)
    frame = pd.DataFrame({"bin": number, "probability": probability, "observed": np.asarray(truth, float)})
    out = frame.groupby("bin").agg(
        probability=("probability", "mean"), observed=("observed", "mean"), n=("observed", "size")
    )
    return out.reset_index()


def expected_calibration_error(probability: np.ndarray, truth: np.ndarray, *, bins: int = 10) -> float:
    """Mean distance between probability and observed share, weighted by the bins' counts (Naeini 2015)."""
    curve = reliability(probability, truth, bins=bins)
    return float(
        ((curve["probability"] - curve["observed"]).abs() * curve["n"]).sum() / max(curve["n"].sum(), 1)
    )


def brier(probability: np.ndarray, truth: np.ndarray) -> float:
    """Mean squared distance between probability and truth."""
    return (
        float(np.mean((np.asarray(probability) - np.asarray(truth, float)) ** 2))
        if len(probability)
        else float("nan")
    )


def average_precision(score: np.ndarray, truth: np.ndarray, n_true: int) -> float:
    """Area under the precision-recall curve of a ranked list; what the list never reaches counts as missed.

    Examples
    --------
    >>> average_precision(np.array([3.0, 2.0, 1.0]), np.array([1, 0, 1]), 2)
    0.8333333333333333
    """
    from sklearn.metrics import average_precision_score

    truth = np.asarray(truth, bool)
    if not truth.any():
        return 0.0
    # Several spans may meet one instance: the area never passes 1.
    return min(1.0, float(average_precision_score(truth, score)) * float(truth.sum()) / max(n_true, 1))


def auroc(a: np.ndarray, b: np.ndarray) -> float:
    """P(a > b) + P(a = b) / 2, and 0.5 where either is empty.

    Asked some ten thousand times of some dozen numbers, where scikit-learn's takes a hundred times as long.

    Examples
    --------
    >>> auroc(np.array([1, 2]), np.array([0, 1]))
    0.875
    """
    if not len(a) or not len(b):
        return 0.5
    order = np.sort(b)
    return float(
        (np.searchsorted(order, a, "left") + np.searchsorted(order, a, "right")).mean() / (2 * len(b))
    )


def by_chance(n: np.ndarray) -> np.ndarray:
    """The AUROC that a reading which tells nothing exceeds in one of forty lists of ``n`` peaks and ``n`` others.

    From the variance of Mann and Whitney's statistic under the null.

    Examples
    --------
    >>> by_chance(np.array([12, 80])).round(3).tolist()
    [0.736, 0.59]
    """
    n = np.maximum(np.asarray(n, float), 1)
    return 0.5 + 1.96 * np.sqrt((2 * n + 1) / 12) / n


def precision_at(
    probability: np.ndarray, cluster: np.ndarray, k: int, *, level: float = 0.9, seed: int = 0
) -> tuple[float, float, float]:
    """Expected precision of the first ``k`` candidates with its interval, before any of them is checked.

    Parameters
    ----------
    probability : float [n]
        In any order.
    cluster : int [n]
        Candidates of one cluster stand or fall together.
    k : int
    level : float

    Returns
    -------
    estimate, low, high : float
    """
    order = np.argsort(-probability, kind="stable")[:k]
    p = probability[order]
    if not len(p):
        return float("nan"), float("nan"), float("nan")
    _, code = np.unique(cluster[order], return_inverse=True)
    rng = np.random.default_rng([seed, k])
    draws = (rng.random((N_DRAWS, code.max() + 1))[:, code] < p).mean(1)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(p.mean()), float(low), float(high)


def pu_adjusted(observed: float, listed_share: float) -> float:
    """Precision when only a share of true instances is listed by the source, at most 1 (Elkan and Noto 2008).

    Examples
    --------
    >>> pu_adjusted(0.5, 0.8)
    0.625
    """
    return float(np.minimum(1.0, observed / max(listed_share, 1e-12)))


def share_interval(
    values: np.ndarray, cluster: np.ndarray, *, level: float = 0.9, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of ``values`` with its cluster-bootstrap interval: whole clusters are drawn, with replacement.

    Examples
    --------
    >>> share_interval(np.array([1.0, 1.0, 1.0]), np.array([0, 1, 2]))
    (1.0, 1.0, 1.0)
    """
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    _, code = np.unique(cluster, return_inverse=True)
    total, size = np.bincount(code, np.asarray(values, float)), np.bincount(code)
    drawn = np.random.default_rng([seed, 0x5A]).integers(0, len(size), (N_DRAWS, len(size)))
    means = total[drawn].sum(1) / size[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(np.mean(values)), float(low), float(high)


def posterior(log_bayes_factor: np.ndarray) -> np.ndarray:
    """Probability of each concept that something is to be found about it, the share of such concepts estimated from all.

    Beforehand no concept of a collection has anything with probability one half, as in
    :func:`sciinterp.discovery.decoys.any_real`; else the share has its prior. Both are weighed by what all concepts say together.

    Examples
    --------
    >>> alone = posterior(np.array([3.0]))[0]
    >>> among_others = posterior(np.array([3.0] + 20 * [-3.0]))[0]
    >>> together = posterior(np.full(20, 3.0))[0]
    >>> bool(among_others < alone < together)
    True
    """
    if not len(log_bayes_factor):
        return np.zeros(0)
    factor = np.exp(np.clip(np.asarray(log_bayes_factor, np.float64), -30, 30))
    share = (np.arange(N_SHARES) + 0.5) / N_SHARES
    seen = beta.logpdf(share, PRIOR_SOME, PRIOR_NONE) - np.log(N_SHARES)
    seen += np.array([np.log1p(s * (factor - 1)).sum() for s in share])
    any_ = expit(logsumexp(seen) + logit(ANY))
    weight = np.exp(seen - logsumexp(seen))
    given_any = sum(w * s * factor / (1 + s * (factor - 1)) for w, s in zip(weight, share))
    return np.asarray(any_ * given_any)
