r"""Intervals of gains over families, and what a matrix of control says of each concept and of F1.

With :math:`g_{si}` the gain of direction :math:`s` in sample :math:`i`, the interval of a mean over samples leaves one
family out at a time (as :mod:`sciinterp.association.jackknife`): variance :math:`v`, and Student's t with as many
degrees of freedom as equal families less one. A feature is compared with :math:`R` random ones of its density. Each of
them has an effect of its own, which more samples do not average away, so the difference carries their spread too:

.. math:: v + \left(1 + \frac{1}{R}\right) \operatorname{var}_r \bar g_r ,

with no more than :math:`R - 1` degrees of freedom.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import stdtrit
from scipy.stats import rankdata

from sciinterp.association.jackknife import MIN_FAMILIES, effective_families


def mean_interval(
    values: np.ndarray, family: np.ndarray, *, extra: float = 0.0, freedom: float = np.inf
) -> tuple[float, float, float]:
    """Mean of samples and its 95% interval, one family left out at a time.

    Ends are NaN with fewer than five families; `extra` is variance beside that over families, `freedom` degrees
    of freedom, at most.

    Examples
    --------
    >>> mean, low, high = mean_interval(np.array([1.0, 1.2, 0.8, 1.1, 0.9, 1.0]), np.arange(6))
    >>> round(mean, 2), round(low, 2), round(high, 2)
    (1.0, 0.85, 1.15)
    """
    names, code = np.unique(family, return_inverse=True)
    count, total = np.bincount(code), np.bincount(code, values)
    mean = float(values.mean())
    if len(names) < MIN_FAMILIES:
        return mean, float("nan"), float("nan")
    without = (total.sum() - total) / (count.sum() - count)
    variance = (len(names) - 1) / len(names) * ((without - without.mean()) ** 2).sum() + extra
    effective = float(effective_families(count[None])[1][0])
    half = stdtrit(max(min(effective - 1, freedom), 0.5), 0.975) * np.sqrt(variance)
    return mean, float(mean - half), float(mean + half)


def over_random(gain: np.ndarray, random: np.ndarray, family: np.ndarray) -> tuple[float, float, float]:
    """Gain less that of random features [n_random, n], with an interval that carries the spread among them."""
    n = len(random)
    if n < 2:
        return float("nan"), float("nan"), float("nan")
    spread = float(random.mean(1).var(ddof=1)) * (1 + 1 / n)
    return mean_interval(gain - random.mean(0), family, extra=spread, freedom=n - 1)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """One row a concept: does its feature turn it, more than random ones, more than the plain direction?

    ``turns`` and ``over_random`` ask that the lower end of the interval lies above zero, ``control`` both; ``over_means``
    that the gain is larger than that of the difference of class means (empty where that was not measured), and
    ``control_randomised`` is control of the randomised model's own feature (empty where that was not turned).
    """
    rows = []
    for concept, part in table.groupby("concept", sort=False):
        own = part[part["kind"] == "feature"].iloc[0]
        mean = part.groupby("kind")["gain"].mean()
        turns, over = bool(own["low"] > 0), bool(own["over_random_low"] > 0)
        random = part[part["kind"] == "randomised"]
        on_random = bool(((random["low"] > 0) & (random["over_random_low"] > 0)).any())
        means = float(mean.get("means", np.nan))
        rows.append(
            {
                "concept": concept, "direction": own["direction"], "f1": own["f1"], "gain": own["gain"],
                "gain_random": mean.get("random", np.nan), "gain_means": means, "gain_set": mean.get("set", np.nan),
                "turns": turns, "over_random": over, "control": turns and over,
                "over_means": None if np.isnan(means) else bool(own["gain"] > means),
                "gain_randomised": mean.get("randomised", np.nan), "control_randomised": on_random if len(random) else None,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def rank_correlation(table: pd.DataFrame, *, n_draws: int = 2000, seed: int = 0) -> dict[str, float]:
    """Rank correlation of held-out F1 with control (gain over random features), and its interval over concepts.

    Bootstrap over concepts, percentiles; NaN with fewer than five.
    """
    own = table[table["kind"] == "feature"].dropna(subset=["over_random", "f1"])
    x, y, n = own["f1"].to_numpy(), own["over_random"].to_numpy(), len(own)
    if n < MIN_FAMILIES:
        return {"rho": float("nan"), "low": float("nan"), "high": float("nan"), "n_concepts": float(n)}
    draws = np.r_[[np.arange(n)], np.random.default_rng(seed).integers(0, n, (n_draws, n))]
    a, b = (rankdata(v[draws], axis=1) - (n + 1) / 2 for v in (x, y))
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    found = np.divide((a * b).sum(1), size, out=np.full(len(draws), np.nan), where=size > 0)
    low, high = np.nanquantile(found[1:], [0.025, 0.975])
    return {
        "rho": float(found[0]),
        "low": float(low),
        "high": float(high),
        "n_concepts": float(n),
    }
