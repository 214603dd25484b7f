r"""Is a label of whole samples in the features, and were features needed to read it?

A third of the families is held out, the label is read on ``n`` samples of the others
(:mod:`sciinterp.readouts.predicting`) and scored once on those held out; this is repeated over draws. Every representation
sees the same draws. The score is AUROC of classes (each against the rest where there are more than two), rank correlation of
numbers, concordance of censored times.

Intervals leave one family out at a time of the mean over draws. *Needed* compares the features with the best plainer
representation: ``yes`` where the lower end of their difference lies above zero, ``no`` where its upper end lies no more than
a small margin above it, else ``cannot tell``; ``nothing to read`` where the features themselves are no better than chance.

A label is *carried* by length or by composition where the plainest of these that is better than chance does as well as the
features; by family alone where nothing reads it in held-out families, and the other members of a sample's family tell it.
Features that carry the label (:mod:`sciinterp.readouts.carriers`) are tested beside such a carrier.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit

from sciinterp.activations import Activations
from sciinterp.budget import one_thread
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError, require_kinds
from sciinterp.frames import Table, require_columns
from sciinterp.readouts.carriers import carriers
from sciinterp.readouts.outcome import Labels, Outcome, read_outcome
from sciinterp.readouts.predicting import Draw, Estimator, Reader, Scores
from sciinterp.readouts.representations import READ, Representation, represent, summarise_codes
from sciinterp.settings import SHARE, UP_TO_ONE, at_least, make_plain, plain_value, settings_of
from sciinterp.splits import label_samples

# By how much features may be better, at most, where they are said not to be needed.
MARGIN = 0.02
# What carries a label without any word of it being read, the plainest first.
CARRIERS = ("length", "composition")
SHUFFLED = "shuffled labels"
MIN_SAMPLES, MIN_FAMILIES = 20, 6


@dataclass(frozen=True)
class ReadoutSettings:
    """How labels are read.

    Attributes
    ----------
    n_draws : int
        Draws of held-out families.
    held_out : float
        Share of families held out.
    n_permutations : int
        Of the label, for the features that carry it.
    level : float
        False discoveries among those features.
    estimator : estimator of scikit-learn, optional
        In place of a ridge regression, on standardised columns.
    seed : int
    """

    n_draws: int = 12
    held_out: float = 1 / 3
    n_permutations: int = 200
    level: float = 0.05
    estimator: Estimator | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        one = at_least(1)
        make_plain(self, n_draws=one, held_out=SHARE, n_permutations=one, level=UP_TO_ONE)


class Judged(TypedDict):
    """What is said of a label; scores and differences with the ends of their intervals."""

    needed: str
    score: tuple[float, float, float]
    best_rival: str
    best_rival_score: tuple[float, float, float]
    difference: tuple[float, float, float]
    carried_by: str | None
    chance: float
    measure: str


@dataclass(frozen=True, eq=False)
class Reading:
    """What a readout was made of, for :func:`sciinterp.distil`: samples that have a label alone."""

    features: FeatureMatrix
    outcome: Outcome
    family: np.ndarray  # int [n]
    representations: dict[str, Representation]
    draws: list[Draw]
    best: Scores  # of the features, at the largest size
    concepts: dict[int, tuple[str, float]]  # feature -> its best concept and F1
    estimator: Estimator | None = None  # of scikit-learn

    @one_thread()
    def predict(self, features: FeatureMatrix) -> pd.DataFrame:
        """What is read in other samples, codes by the same SAE, by what has learnt from all that have a label.

        One column a class (of two the second alone), or the number; of times the risk.
        """
        given, outcome, n = self.representations["features"], self.outcome, len(self.outcome)
        x = np.concatenate([given.x, summarise_codes(features, self.features.largest)])
        reader = Reader.of(Representation(x, (), given.parts), self.estimator, n)
        found = reader.predicted(outcome, self.family, np.arange(n), np.arange(n, len(x)))
        plain = ("number",) if outcome.event is None else ("risk",)
        names = outcome.classes[1:] if len(outcome.classes) == 2 else outcome.classes or plain
        return pd.DataFrame(found, index=pd.Index(features.samples.ids), columns=list(names))


@one_thread()
def readout(
    features: FeatureMatrix,
    labels: Labels,
    *,
    by: str | Sequence = "family",
    n: Sequence[int | None] = (24, 96, None),
    acts: Activations | np.ndarray | None = None,
    control: FeatureMatrix | None = None,
    hits: pd.DataFrame | None = None,
    settings: ReadoutSettings | None = None,
) -> Table:
    """Read a label of samples from their features, beside plainer representations by default.

    Parameters
    ----------
    features : FeatureMatrix
    labels : str, pair of str, mapping, Series, DataFrame or sequence
        A column of the samples' table, values by identifier, or one value a sample; samples without one are left out. Text,
        truth values and numbers of two values are classes, other numbers are numbers. Two columns (``("time", "event")``),
        or a table of these two, are censored times, which need the package lifelines.
    by : str or sequence
        What a family is, as for :func:`sciinterp.split_families`.
    n : sequence of int or None
        Sizes of training; None takes all.
    acts : Activations or array [n_positions, d_in], optional
    control : FeatureMatrix, optional
        Codes of the randomised model.
    hits : DataFrame, optional
        What :func:`sciinterp.associate` returned: features are named by their best concept.
    settings : ReadoutSettings, optional

    Returns
    -------
    Table
        One row a size and representation: ``n representation score low high rank``, shuffled labels among them. ``context``
        holds ``needed`` (yes, no, cannot tell, nothing to read), ``difference`` from the best plainer one
        (``best_rival``) at the largest size with its interval, ``carried_by`` (length, composition, family or None),
        ``stable`` (features that carry the label), ``measure``, ``n_samples``, ``n_families``, and a ``sentence``.

    Raises
    ------
    InputError
        One value only, or too few samples or families; or lifelines is needed and not there.

    See Also
    --------
    sciinterp.distil : a rule of a few features.
    """
    settings = settings_of(settings, ReadoutSettings)
    require_kinds(features=(features, FeatureMatrix), by=(by, Iterable), n=(n, Iterable))
    n = [None if size is None else plain_value(size, int, "n", at_least(1)) for size in n]
    reading = _gathered(features, labels, by, (acts, control, hits), settings)
    outcome, family = reading.outcome, reading.family
    table, kept = _table(reading, n, settings)
    largest = {name: scores for (size, name), scores in kept.items() if size == n[-1]}
    judged = _judged(largest, outcome, family, settings.seed)
    beside = reading.representations.get(judged["carried_by"] or "")
    stable = _named(
        carriers(
            reading.representations["features"].x,
            outcome,
            family,
            [draw.train for draw in reading.draws],
            beside=None if beside is None else beside.x,
            n_permutations=settings.n_permutations,
            level=settings.level,
            seed=settings.seed,
        ),
        reading.concepts,
    )
    context = {
        **judged,
        "stable": stable,
        "classes": list(outcome.classes),
        "n_samples": len(outcome),
        "n_families": len(np.unique(family)),
        "settings": settings,
        "sentence": sentence(judged),
        "reading": replace(reading, best=largest["features"]),
    }
    return Table(table, context=context)


def _table(
    reading: Reading, n: Sequence[int | None], settings: ReadoutSettings
) -> tuple[pd.DataFrame, dict[tuple[int | None, str], Scores]]:
    """One row a size and representation, and the scores behind them."""
    outcome, kept = reading.outcome, {}
    given = (outcome, reading.family, reading.draws)
    for name, representation in reversed(reading.representations.items()):
        reader = Reader.of(representation, settings.estimator)
        for size in n:
            kept[size, name] = reader.read(*given, size=size, seed=settings.seed)
            if name == "features":
                kept[size, SHUFFLED] = reader.shuffled(*given, size=size, seed=settings.seed)
    names = [*reversed(reading.representations), SHUFFLED]
    rows = [
        (len(outcome) if size is None else size, name, *kept[size, name].interval())
        for size in n
        for name in names
    ]
    table = pd.DataFrame(rows, columns=["n", "representation", "score", "low", "high"])
    real = table["score"].where(table["representation"] != SHUFFLED)
    table["rank"] = real.groupby(table["n"]).rank(ascending=False, method="min").astype("Int64")
    return table, kept


def _gathered(
    features: FeatureMatrix, labels: Labels, by: str | Sequence, given: tuple, settings: ReadoutSettings
) -> Reading:
    """Samples with a label, their families and representations, and the draws."""
    acts, control, hits = given
    require_kinds(acts=(acts, Activations | np.ndarray | None), control=(control, FeatureMatrix | None))
    samples = features.samples
    outcome, known = read_outcome(labels, samples)
    family = np.unique(np.asarray(label_samples(samples, by)[0], str)[known], return_inverse=True)[1]
    every = np.arange(len(outcome))
    enough = len(outcome) >= MIN_SAMPLES and len(np.unique(family)) >= MIN_FAMILIES
    if not enough or not outcome.varies(every):
        raise InputError(
            "too little to read",
            expected=f"at least {MIN_SAMPLES} samples with two values or more, in {MIN_FAMILIES} families",
            got=f"{len(outcome)} samples, {len(np.unique(family))} families, {len(np.unique(outcome.values))} values",
        )
    rows = np.flatnonzero(known)
    found = {name: x.take(rows) for name, x in represent(features, acts=acts, control=control).items()}
    split = GroupShuffleSplit(settings.n_draws, test_size=settings.held_out, random_state=settings.seed)
    rng = np.random.default_rng(settings.seed)
    draws = [Draw(a, b, rng.permutation(every)) for a, b in split.split(every, every, family)]
    kept = features if known.all() else features.subset(samples=rows)
    return Reading(
        kept, outcome, family, found, draws, Scores(outcome, [], family), _concepts(hits), settings.estimator
    )


def _judged(found: dict[str, Scores], outcome: Outcome, family: np.ndarray, seed: int) -> Judged:
    """Were features needed at the largest size, and what carries the label?"""
    intervals = {name: scores.interval() for name, scores in found.items()}
    known = {name: s[0] for name, s in intervals.items() if name in READ and np.isfinite(s[0])}
    rivals = {name: score for name, score in known.items() if name != "features"}
    if "features" not in known:
        raise InputError("no draw of families can be read", expected="families that differ in their labels")
    best = max(rivals, key=lambda name: rivals[name])
    gap = found["features"].interval(found[best])
    carried = None
    for name in CARRIERS:
        if name in rivals and intervals[name][1] > outcome.chance:
            beyond = found["features"].interval(found[name])
            if beyond[0] <= 0 or beyond[2] <= MARGIN:
                carried = name
                break
    if not intervals["features"][1] > outcome.chance:
        word = "nothing to read"
        if carried is None and not any(s[1] > outcome.chance for n, s in intervals.items() if n in rivals):
            carried = "family" if _family_tells(outcome, family, seed) else None
    else:
        word = "yes" if gap[1] > 0 else "no" if gap[2] <= MARGIN else "cannot tell"
    return {
        "needed": word,
        "score": intervals["features"],
        "best_rival": best,
        "best_rival_score": intervals[best],
        "difference": gap,
        "carried_by": carried,
        "chance": outcome.chance,
        "measure": outcome.measure,
    }


def _family_tells(outcome: Outcome, family: np.ndarray, seed: int, n: int = 199, level: float = 0.01) -> bool:
    """Whether the other members of a sample's family tell its label, more than under permutation."""
    every = np.arange(len(outcome))
    names, code = np.unique(family, return_inverse=True)
    count = np.bincount(code)[code][:, None]
    rows = np.flatnonzero(count[:, 0] > 1)
    if len(rows) < MIN_SAMPLES:
        return False

    def told(some: Outcome) -> float:
        y = some.target(every)
        total = np.zeros((len(names), y.shape[1]))
        np.add.at(total, code, y)
        return some.score(rows, ((total[code] - y) / np.maximum(count - 1, 1))[rows])

    rng, real = np.random.default_rng(seed), told(outcome)
    return (1 + sum(told(outcome.take(rng.permutation(every))) >= real for _ in range(n))) <= level * (n + 1)


def _concepts(hits: pd.DataFrame | None) -> dict[int, tuple[str, float]]:
    """The concept of each feature's best pair."""
    if hits is None:
        return {}
    require_columns(hits, ("feature", "concept", "f1"), "hits")
    rows = hits.dropna(subset=["f1"]).sort_values("f1", ascending=False, kind="stable")
    rows = rows.drop_duplicates("feature")
    return {int(j): (str(c), float(f)) for j, c, f in zip(rows["feature"], rows["concept"], rows["f1"])}


def _named(stable: pd.DataFrame, concepts: dict[int, tuple[str, float]]) -> pd.DataFrame:
    """Stable features with their concepts, where hits were given."""
    if concepts:
        known = [concepts.get(j, ("", float("nan"))) for j in stable["feature"].tolist()]
        stable["concept"], stable["f1"] = [c for c, _ in known], [f for _, f in known]
    return stable


def sentence(context: Judged) -> str:
    """What a readout says, in words."""
    score, low, high = context["score"]
    gap = context["difference"]
    told = f"{context['measure']} {score:.2f} [{low:.2f}, {high:.2f}]"
    carried = context["carried_by"]
    rival = READ[context["best_rival"]]
    beside = f"{rival}: {context['best_rival_score'][0]:.2f}, difference {gap[0]:+.2f} [{gap[1]:+.2f}, {gap[2]:+.2f}]"
    said = {
        "yes": f"Features read the label ({told}) better than anything plainer ({beside}): they are needed.",
        "no": f"Features read the label ({told}), and something plainer does as well ({beside}): they are not needed.",
        "cannot tell": f"Features read the label ({told}); whether they are needed cannot be told ({beside}).",
        "nothing to read": f"Features do not read the label in families left out ({told}).",
    }[context["needed"]]
    if carried == "family":
        return f"{said} Family alone tells it."
    return f"{said} {READ[carried].capitalize()} alone carries it." if carried else said
