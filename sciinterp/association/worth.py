"""What the dictionary is worth: four sentences, each from numbers.

The best single feature of every concept is held against the strongest rival of each group: dictionaries that were not
trained (twins), linear components, letters, the same recipe on randomised weights. Compared is F1 on the families that
judge, concept by concept; the interval is Student's, over concepts, and describes these concepts, which are not
independent. Sets of units (:mod:`sciinterp.association.sets`) say whether the answer is another one where several are
read together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t as student

from sciinterp.association.context import context_of
from sciinterp.association.explanations import THRESHOLDS

# Group -> the baselines in it, the readers of sets that stand for it, and what it is called.
GROUPS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "twins": (
        ("twin_decoder", "twin_decoder_soft", "twin_encoder"),
        ("twin_decoder", "twin_decoder_soft", "twin_encoder"),
        "a dictionary that was not trained",
    ),
    "components": (("pca", "ica"), ("components", "independent components"), "linear components"),
    "letters": (("identity", "word", "kmer", "window"), (), "letters"),
    "control": (("randomised",), ("randomised",), "the same recipe on randomised weights"),
}
LEVEL = 0.95


@dataclass(frozen=True)
class Worth:
    """How features stand against one group of rivals."""

    against: str  # a key of GROUPS
    verdict: str  # "ahead", "behind", "cannot tell", or "not run"
    sentence: str
    rival: str = ""  # the strongest of the group by mean F1; empty where none was run
    features: float = np.nan  # mean F1 over the concepts that both were tested on
    others: float = np.nan
    low: float = np.nan  # interval of the mean difference over concepts
    high: float = np.nan
    n: int = 0  # so many concepts


def worth(hits: pd.DataFrame) -> list[Worth]:
    """One record for each of :data:`GROUPS`, in that order, of hits with their context.

    Examples
    --------
    >>> from sciinterp.frames import Table
    >>> rows = {"concept": list("abc"), "selected": True, "f1": [0.8, 0.7, 0.9]}
    >>> rivals = pd.DataFrame({"concept": list("abc"), "baseline": "pca", "f1": [0.3, 0.2, 0.5]})
    >>> worth(Table(pd.DataFrame(rows), context={"baselines": rivals}))[1].sentence
    'Against linear components (pca): ahead, mean F1 0.80 to 0.33 over 3 concepts (difference 0.32 to 0.61).'
    """
    context = context_of(hits)
    baselines, sets = context.get("baselines", pd.DataFrame()), context.get("sets", pd.DataFrame())
    chosen = hits["selected"].astype(bool) if "selected" in hits else np.ones(len(hits), bool)
    mine = hits[chosen].drop_duplicates("concept").set_index("concept")["f1"].astype(float)
    return [_against(group, mine, baselines, sets) for group in GROUPS]


def _against(group: str, mine: pd.Series, baselines: pd.DataFrame, sets: pd.DataFrame) -> Worth:
    names, readers, words = GROUPS[group]
    found = {}
    for name in names:
        theirs = baselines[baselines["baseline"] == name] if "baseline" in baselines else baselines.iloc[:0]
        if len(theirs):
            pair = pd.concat([mine, theirs.set_index("concept")["f1"].astype(float)], axis=1, keys=["a", "b"])
            found[name] = pair.dropna()
    found = {name: pair for name, pair in found.items() if len(pair)}
    if not found:
        return Worth(group, "not run", f"Against {words}: not compared, none was run.")
    rival = max(found, key=lambda name: found[name]["b"].mean())
    pair = found[rival]
    difference, n = pair["a"] - pair["b"], len(pair)
    low, high = interval_of_mean(difference.to_numpy())
    verdict = "ahead" if low > 0 else "behind" if high < 0 else "cannot tell"
    told = {"ahead": "ahead", "behind": "behind", "cannot tell": "neither ahead nor behind"}[verdict]
    span = "" if n < 2 else f" (difference {low:.2f} to {high:.2f})"
    lost = int((pair.max(axis=1) < THRESHOLDS.floor).sum())
    beyond = f", {lost} of which neither finds at an F1 of {THRESHOLDS.floor:g}" if lost else ""
    sentence = (
        f"Against {words} ({rival}): {told}, mean F1 {pair['a'].mean():.2f} to {pair['b'].mean():.2f} over "
        f"{n} concept{'s' * (n != 1)}{beyond}{span}.{_of_sets(readers, sets)}"
    )
    return Worth(group, verdict, sentence, rival, pair["a"].mean(), pair["b"].mean(), low, high, n)


def interval_of_mean(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of a mean; endless for a single number."""
    n = len(values)
    if n < 2:
        return -np.inf, np.inf
    half = student.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return float(values.mean() - half), float(values.mean() + half)


def _of_sets(readers: tuple[str, ...], sets: pd.DataFrame) -> str:
    """What sets of the largest size say, the strongest reader of the group beside features."""
    if not len(sets) or not readers:
        return ""
    weighted = sets[sets["rule"] == "weighted"]
    means = weighted.groupby(["reader", "k"])["f1"].mean().unstack("k")
    rivals = [reader for reader in readers if reader in means.index]
    if "features" not in means.index or not rivals:
        return ""
    k = int(means.loc["features"].dropna().index.max())
    best = max(rivals, key=lambda reader: means.loc[reader, k])
    return f" In sets of {k}: {means.loc['features', k]:.2f} to {means.loc[best, k]:.2f} ({best.replace('_', ' ')})."
