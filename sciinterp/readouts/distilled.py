"""A readout in a few words: a rule of at most five features, and the same rule without the model.

A rule of *points* adds whole numbers where a summary of a feature exceeds a cut. Its terms are chosen by orthogonal matching
pursuit among the cuts of the columns that follow the label most, their number on inner folds of families, and the weights of
least squares are rounded to at most three points. A *tree* (CART) asks as many questions one after the other. Either is made
anew on the training families of each draw and scored on those held out; the one that is shown is made on all.

*Without the model*: a term whose column is followed by something that needs no model (the best match of the motif at the
feature's peaks, a word, a letter's share, the letter at an aligned position, length) is replaced by it; other terms go.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from sklearn.linear_model import orthogonal_mp
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, export_text

from sciinterp.budget import one_thread
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError, no_such
from sciinterp.frames import Table, html_card
from sciinterp.readouts.outcome import Outcome
from sciinterp.readouts.predicting import INNER, Scores, inner_folds
from sciinterp.readouts.readout import Reading
from sciinterp.readouts.representations import SUMMARIES, summarise_codes
from sciinterp.settings import at_least, plain_value

FORMS = ("points", "tree")
MOST_POINTS = 3
# Columns that a rule chooses from, and where each may be cut: quantiles of its values.
SCREENED, CUTS = 40, (0.0, 0.25, 0.5, 0.75)
# Correlation of a term with a plain reading, on training families, from which it stands for it.
AGREES = 0.5


@dataclass(frozen=True)
class Term:
    """Points where a column exceeds a cut."""

    column: int
    cut: float
    points: int


@dataclass(frozen=True, eq=False)
class Rule:
    """A readout of a few features.

    Attributes
    ----------
    form : str
        ``points`` or ``tree``.
    terms : DataFrame
        ``feature summary cut points concept plain agreement``, the heaviest first; of a tree its questions.
    from_points : int, optional
        Of two classes: from how many points on the second is called.
    score, full, plain : tuple of float
        Held-out score of the rule, of the readout of all features, and of the rule without the model, each with its
        interval over families; NaN where no term has a plain reading.
    text : str
        The tree, as text.
    sentence : str
        All of this in words.
    """

    form: str
    terms: pd.DataFrame
    from_points: int | None
    score: tuple[float, float, float]
    full: tuple[float, float, float]
    plain: tuple[float, float, float]
    measure: str
    text: str = ""
    sentence: str = ""
    _tree: _Tree | None = field(default=None, repr=False)
    _largest: np.ndarray | None = field(default=None, repr=False)

    def points(self, features: FeatureMatrix) -> np.ndarray:
        """Points (of a tree: the probability of the second class, or the number) of other samples."""
        x = summarise_codes(features, self._largest)
        at = [
            SUMMARIES.index(s) * features.n_features + j
            for s, j in zip(self.terms["summary"], self.terms["feature"])
        ]
        if self._tree is not None:
            return self._tree.predict(x)[:, -1]
        over = x[:, at] > self.terms["cut"].to_numpy(float)
        return over @ self.terms["points"].to_numpy(float)

    def __str__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        return html_card(self.sentence, {}, self.terms)


@one_thread()
def distil(readout: Table, *, n_features: int = 5, form: str = "auto") -> Rule:
    """Say a readout with a few features, and without the model where that can be done.

    Parameters
    ----------
    readout : Table
        What :func:`sciinterp.readout` returned.
    n_features : int
        Terms, at most.
    form : str
        ``points``, ``tree``, or ``auto``: a tree for more than two classes.

    Returns
    -------
    Rule

    Raises
    ------
    InputError
        The table was read from a file, or there is no such form.
    """
    reading = (getattr(readout, "context", None) or {}).get("reading")
    n_features = plain_value(n_features, int, "n_features", at_least(1))
    if not isinstance(reading, Reading):
        raise InputError("a rule is made of a readout", expected="what si.readout returned in this process")
    if form not in ("auto", *FORMS):
        raise no_such("form", form, ("auto", *FORMS))
    outcome = reading.outcome
    form = form if form != "auto" else "tree" if len(outcome.classes) > 2 else "points"
    if form == "points" and len(outcome.classes) > 2:
        raise InputError(
            "points tell two classes apart", expected="form='tree'", got=f"{len(outcome.classes)}"
        )
    maker = _Maker(reading, n_features, form)
    found, plain = [], []
    for draw in reading.draws:
        if outcome.varies(draw.train) and outcome.varies(draw.test):
            made = maker.fit(draw.train)
            found.append((draw.test, made.predict(reading.representations["features"].x[draw.test])))
            without = maker.without(made, draw.train)
            if without is not None:
                plain.append((draw.test, without[0].predict(without[1][draw.test])))
    every = np.arange(len(outcome))
    made = maker.fit(every)
    rule = maker.rule(
        made,
        every,
        Scores(outcome, found, reading.family).interval(),
        Scores(outcome, plain if len(plain) == len(found) else [], reading.family).interval(),
    )
    return rule


@dataclass(frozen=True, eq=False)
class _Points:
    """Terms of columns of a matrix."""

    terms: list[Term]

    def predict(self, x: np.ndarray) -> np.ndarray:
        total = np.zeros(len(x))
        for term in self.terms:
            total += term.points * (x[:, term.column] > term.cut)
        return total[:, None]


@dataclass(frozen=True, eq=False)
class _Tree:
    """A fitted tree on some columns of a matrix, of so many classes; 0 where it says numbers."""

    tree: DecisionTreeClassifier | DecisionTreeRegressor
    columns: np.ndarray
    n_classes: int

    @property
    def terms(self) -> list[Term]:
        inner = self.tree.tree_
        return [
            Term(int(self.columns[j]), float(cut), 0)
            for j, cut in zip(inner.feature, inner.threshold)
            if j >= 0
        ]

    def predict(self, x: np.ndarray) -> np.ndarray:
        x = x[:, self.columns]
        if not self.n_classes:
            return np.asarray(self.tree.predict(x), float)[:, None]
        told = np.zeros((len(x), self.n_classes))  # every class has a column, also where a fold lacks it
        told[:, self.tree.classes_] = self.tree.predict_proba(x)
        return told[:, 1:] if self.n_classes == 2 else told


class _Maker:
    """Makes rules of one readout on any of its rows."""

    def __init__(self, reading: Reading, n_features: int, form: str) -> None:
        self.reading, self.n_terms, self.form = reading, n_features, form
        self.x = reading.representations["features"].x
        named = [r for r in reading.representations.values() if len(r.names)]
        self.plain = np.hstack([r.x for r in named])
        self.names = [name for r in named for name in r.names]
        self.motifs = Motifs.of(reading.features)

    def fit(self, rows: np.ndarray) -> _Points | _Tree:
        """A rule of features, its size chosen on inner folds of families."""
        return self._fit(self.x, rows, self._screened(rows))

    def without(self, made: _Points | _Tree, rows: np.ndarray) -> tuple[_Points | _Tree, np.ndarray] | None:
        """The same rule of what needs no model, and the columns it reads; None where no term has a plain reading."""
        found = self.plain_readings([term.column for term in made.terms], rows) if made.terms else []
        found = [reading for reading in found if reading[1] >= AGREES]
        if not found:
            return None
        x = np.stack([column for _, _, column in found], 1)
        return self._fit(x, rows, np.arange(x.shape[1])), x

    def _screened(self, rows: np.ndarray) -> np.ndarray:
        """The columns that follow the label most, one a feature."""
        x = self.x[rows]
        size = np.abs(_correlate(x, self.reading.outcome.target(rows))).max(1)
        size = np.where((x != 0).sum(0) >= INNER, size, 0).reshape(len(SUMMARIES), -1)
        best = np.argsort(-size.max(0), kind="stable")[:SCREENED]
        return size[:, best].argmax(0) * size.shape[1] + best

    def _fit(self, x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> _Points | _Tree:
        outcome, family = self.reading.outcome, self.reading.family
        pairs = inner_folds(outcome, family, rows)
        sizes = range(1, min(self.n_terms, len(columns)) + 1)
        make = _points if self.form == "points" else _tree
        scores = [
            np.mean([outcome.score(b, make(x, outcome, a, columns, k).predict(x[b])) for a, b in pairs])
            if pairs
            else 0.0
            for k in sizes
        ]
        return make(x, outcome, rows, columns, sizes[int(np.argmax(np.array(scores)))])

    def plain_readings(self, columns: list[int], rows: np.ndarray) -> list[tuple[str, float, np.ndarray]]:
        """What needs no model and follows each column best: its name, the correlation, and its values of all samples."""
        x = self.x[:, columns]
        along = np.abs(_correlate(self.plain[rows], x[rows]))
        found = [(self.names[b], float(along[b, k]), self.plain[:, b]) for k, b in enumerate(along.argmax(0))]
        for k, column in enumerate(columns):
            motif = self.motifs and self.motifs.best(column % self.reading.features.n_features, rows)
            if motif:
                size = float(np.abs(_correlate(motif[1][rows, None], x[rows, k : k + 1]))[0, 0])
                if size > found[k][1]:
                    found[k] = (f"motif {motif[0]}", size, motif[1])
        return found

    def rule(
        self,
        made: _Points | _Tree,
        rows: np.ndarray,
        score: tuple[float, float, float],
        plain: tuple[float, float, float],
    ) -> Rule:
        """The rule that is shown."""
        reading, n = self.reading, self.reading.features.n_features
        records = []
        terms = sorted(made.terms, key=lambda t: -abs(t.points))
        readings = self.plain_readings([t.column for t in terms], rows) if terms else []
        for term, (name, size, _) in zip(terms, readings):
            records.append(
                {
                    "feature": term.column % n,
                    "summary": SUMMARIES[term.column // n],
                    "cut": term.cut,
                    "points": term.points,
                    "concept": reading.concepts.get(term.column % n, ("", 0.0))[0],
                    "plain": name if size >= AGREES else "",
                    "agreement": size,
                }
            )
        columns = ["feature", "summary", "cut", "points", "concept", "plain", "agreement"]
        shown = pd.DataFrame(records, columns=columns)
        from_points = _cut(made.predict(self.x)[:, 0], reading.outcome) if self.form == "points" else None
        text, tree = "", made if isinstance(made, _Tree) else None
        if tree is not None:
            names = [f"{SUMMARIES[c // n]} of feature {c % n}" for c in tree.columns]
            text = export_text(tree.tree, feature_names=names, decimals=3)
        facts = (self.form, shown, from_points, score, reading.best.interval(), plain)
        said = _sentence(*facts, reading.outcome)
        return Rule(*facts, reading.outcome.measure, text, said, tree, reading.features.largest)


def _points(x: np.ndarray, outcome: Outcome, rows: np.ndarray, columns: np.ndarray, k: int) -> _Points:
    """At most ``k`` terms, fitted on some rows."""
    target = outcome.target(rows)[:, 0]
    quantiles = np.quantile(x[np.ix_(rows, columns)], CUTS, axis=0).astype(np.float32)
    pairs = list(dict.fromkeys((int(j), float(c)) for j, cuts in zip(columns, quantiles.T) for c in cuts))
    at, cut = np.array([j for j, _ in pairs]), np.array([c for _, c in pairs], np.float32)
    over = (x[rows][:, at] > cut).astype(float)
    moves = over.std(0) > 0
    at, cut, over = at[moves], cut[moves], over[:, moves]
    if not len(at):
        return _Points([])
    unit = (over - over.mean(0)) / over.std(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # two cuts that part the samples alike: fewer terms
        weight = orthogonal_mp(unit, target - target.mean(), n_nonzero_coefs=min(k, unit.shape[1]))
    weight = weight / over.std(0)
    whole = np.rint(MOST_POINTS * weight / max(np.abs(weight).max(), 1e-12)).astype(int)
    return _Points([Term(int(at[i]), float(cut[i]), int(whole[i])) for i in np.flatnonzero(whole)])


def _tree(x: np.ndarray, outcome: Outcome, rows: np.ndarray, columns: np.ndarray, k: int) -> _Tree:
    """A tree of at most ``k`` questions."""
    least = max(2, len(rows) // 50)
    how = {"max_leaf_nodes": k + 1, "max_depth": 3, "min_samples_leaf": least, "random_state": 0}
    if outcome.kind == "classes":
        tree, y = DecisionTreeClassifier(**how, class_weight="balanced"), outcome.values[rows]
    else:
        tree, y = DecisionTreeRegressor(**how), outcome.target(rows)[:, 0]
    return _Tree(tree.fit(x[np.ix_(rows, columns)], y), columns, len(outcome.classes))


def _correlate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[n_columns, n_targets] correlations, 0 where either is constant."""
    x, y = x - x.mean(0), y - y.mean(0)
    size = np.sqrt((x**2).sum(0))[:, None] * np.sqrt((y**2).sum(0))
    return (x.T @ y) / np.where(size > 1e-9, size, np.inf)


def _cut(points: np.ndarray, outcome: Outcome) -> int | None:
    """The number of points from which the second class is called: the best mean of the two classes' shares."""
    if len(outcome.classes) != 2 or not len(points):
        return None
    second = outcome.values == 1
    values = np.unique(points)
    right = [(points >= v)[second].mean() + (points < v)[~second].mean() for v in values]
    return int(values[int(np.argmax(right))])


def _sentence(
    form: str,
    terms: pd.DataFrame,
    from_points: int | None,
    score: tuple[float, ...],
    full: tuple[float, ...],
    plain: tuple[float, ...],
    outcome: Outcome,
) -> str:
    parts = []
    for term in terms.to_dict("records"):
        concept = f" ({term['concept']})" if term["concept"] else ""
        points = f"{term['points']:+d} where " if form == "points" else ""
        parts.append(
            f"{points}the {term['summary']} of feature {term['feature']}{concept} exceeds {term['cut']:.3g}"
        )
    what = {
        "classes": f"{outcome.classes[1]} from {from_points} points" if from_points is not None else "A tree asks whether",
        "numbers": "Larger with more points", "times": "Sooner with more points",
    }[outcome.kind] if form == "points" else "A tree asks whether"  # fmt: skip
    held = f"{outcome.measure} {score[0]:.2f} [{score[1]:.2f}, {score[2]:.2f}] in families left out, {full[0]:.2f} by all features"
    n = int((terms["plain"] != "").sum())
    readings = "; ".join(p for p in terms["plain"] if p)
    carried = (
        f"without the model {plain[0]:.2f} [{plain[1]:.2f}, {plain[2]:.2f}], by {n} of {len(terms)} terms ({readings})"
        if n and np.isfinite(plain[0])
        else "no plain reading carries it without the model"
    )
    return f"{what}: {', '.join(parts)}. {held}; {carried}."


FLANK = 4
# Peaks a motif is made of; a peak is at least this share of the feature's largest.
MOST_PEAKS, STRONG = 100, 1 / 3
PRIOR = 2.0
# A letter is written where this share of the peaks has it.
WRITTEN = 0.5


@dataclass(frozen=True, eq=False)
class Motifs:
    """The letters of all samples, end to end, each sample between gaps."""

    features: FeatureMatrix
    alphabet: str
    # int [n_positions, 2 FLANK + 1]: the letters around each position; ``len(alphabet)`` beyond an
    # end.
    letters: np.ndarray

    @classmethod
    def of(cls, features: FeatureMatrix) -> Motifs | None:
        """None where samples are not sequences of letters."""
        samples = features.samples
        if not isinstance(samples[0].data, str) or (samples.lengths == 0).any():
            return None
        text = "".join(samples.sequences)
        alphabet = "".join(sorted(set(text)))
        code = np.array([alphabet.index(c) for c in text], np.int16)
        start = np.repeat(samples.offsets[:-1], samples.lengths)
        end = np.repeat(samples.offsets[1:], samples.lengths)
        at = np.arange(len(code))[:, None] + np.arange(-FLANK, FLANK + 1)
        inside = (at >= start[:, None]) & (at < end[:, None])
        return cls(features, alphabet, np.where(inside, code[np.clip(at, 0, len(code) - 1)], len(alphabet)))

    def best(self, feature: int, rows: np.ndarray) -> tuple[str, np.ndarray] | None:
        """The motif at the peaks in some samples, and the best match of every sample; None with fewer than five peaks."""
        samples = self.features.samples
        at, values = self.features.by_feature(feature, feature + 1).column(0)
        owner = np.searchsorted(samples.offsets, at, side="right") - 1
        mine = np.isin(owner, rows)
        at, values, owner = at[mine], values[mine], owner[mine]
        order = np.lexsort((at, -values))
        order = order[np.unique(owner[order], return_index=True)[1]]
        order = order[np.argsort(-values[order], kind="stable")][:MOST_PEAKS]
        order = order[values[order] >= STRONG * values.max(initial=0)]
        if len(order) < 5:
            return None
        n = len(self.alphabet)
        seen = self.letters[at[order]]
        counts = np.stack([np.bincount(column, minlength=n + 1)[:n] for column in seen.T]).astype(float)
        share = np.bincount(self.letters[:, FLANK], minlength=n)[:n] / len(self.letters)
        p = (counts + PRIOR * share) / (counts.sum(1, keepdims=True) + PRIOR)
        odds = np.hstack([np.log(p / share), np.zeros((len(p), 1))])
        score = odds[np.arange(len(odds)), self.letters].sum(1)
        written = "".join(self.alphabet[row.argmax()] if row.max() >= WRITTEN else "x" for row in p)
        return written.strip("x") or written, np.maximum.reduceat(score, samples.offsets[:-1])
