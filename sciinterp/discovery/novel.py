"""Novel concepts: coherent, reproducible features that no concept explains.

A feature is a target when it is alive, seen in enough families, and associated with no concept. What it looks
like is measured on held-out families by readers of sequence (:mod:`sciinterp.discovery.sequence_readers`). What it *should* look like is learned
from the features of known concepts, as though these were unknown (leave-concept-out), against decoys: the same
features rotated along their samples, features made of letters, window composition or position, and those of the
randomised model where they are given. Where dictionaries of other seeds are given, being found again in all of them is one
more measure. A target whose peaks composition, letter, position, conservation or the backbone find as well as its reader is explained
and dropped, whatever the model says; so is one whose reader does not find its held-out peaks, unless it fires
periodically, and one whose motif holds an annotated concept (:mod:`sciinterp.discovery.homology`). Both are asked of
half-samples of the families (:mod:`sciinterp.discovery.half_samples`) and of several draws of the positions that peaks
are compared with; half of all have to agree.

*Probability*: that the feature is one coherent thing which no source states. The odds are moved to the targets' own
mixing proportion (Saerens 2002); what planted worlds show to be the share of nuisance among the best caps it at
0.95, and at 0.89 where stability over seeds was not measured. A stretch that families carry at homologous places
is discounted by the share that does, all by the share of half-samples that agree and by the probability that anything is
real at all, which a list that is no longer than the decoys' is not likely to be (:func:`sciinterp.discovery.decoys.any_real`). *q*: the expected share of false ones among this row and all better ones, that
is one minus their mean probability, or, where that is larger, one and the decoys that score as well over the targets that do: a target's own twin,
rotated along its samples, has its families, strength and width (Barber and Candes 2015). The strictest sort decides. A cap of 0.89 is thus a least q of 0.11: the two say the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit

from sciinterp import distributed
from sciinterp.budget import give_back
from sciinterp.codes import FeatureMatrix
from sciinterp.discovery.decoys import any_real, decoy_error, list_error, made_up
from sciinterp.discovery.feature_sets import FeatureSet
from sciinterp.discovery.half_samples import shares
from sciinterp.discovery.homology import Place, at_known_concepts, place
from sciinterp.discovery.logistic import fit_logistic, predict
from sciinterp.discovery.motifs import MAX_PEAKS, find_peaks
from sciinterp.discovery.problem import Problem
from sciinterp.discovery.records import Pattern
from sciinterp.discovery.sequence_readers import COLUMNS, FINE, N_FINE, ROWS, Coherence, coherence
from sciinterp.discovery.together import Columns, co_active, stability_of

MIN_FAMILIES = 12
MAX_DENSITY = 0.15
MAX_POSITIVES = 200  # known features the rule is learned from
N_RANDOMISED = 240  # decoys taken from the randomised model's dictionary
STABLE = 0.4  # cosine between code columns of two dictionaries
F1_KNOWN, PRECISION_KNOWN, NARROW = 0.25, 0.2, 0.1
# Factor where no other dictionary says whether a feature is found again: the share of such candidates that three other
# dictionaries read too, over four dictionaries of the repertoire (156 of 166).
UNMEASURED = 0.94
MIN_LEARN = 5  # known features and decoys of each that must pass for the model to be fitted on those alone
LIKELY = 0.02  # share of half-samples from which a target is measured again, and finely
HALF = 0.5  # of half-samples and draws, from which it is listed
CEILING = 0.95  # of a probability: on planted worlds 5 of 74 that pass every gate are nuisance all the same
PERIODIC = 0.35  # share of gaps of one length from which a feature counts as periodic
FEW, INCOHERENT, UNSTABLE = "in few families", "not coherent in sequence", "not stable over seeds"
KNOWN = (f"associated with a concept (F1 of {F1_KNOWN:g} or more, a hit, or {PRECISION_KNOWN:g} of its activity in a narrow "
         "concept)")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Novel:
    """Targets and what was measured of them, one entry a target unless said otherwise.

    Attributes
    ----------
    feature : int64 [n]
    measures : float [n, 7]
        AUROC of :data:`sciinterp.discovery.sequence_readers.COLUMNS`.
    stability : float [n]
        Smallest of the best cosines in the other dictionaries, NaN when there are none.
    n_families : int64 [n]
    score, probability, q : float [n]
    peaks : int64 [n, MAX_PEAKS]
    counts : dict
        How many features were left out, and why.
    fate : object [n_features]
        Why each feature was left out, "listed" where it was not.
    reason : str
        Why there are none, where no list could be made.
    places : list of Place
        Where each stands among the families.
    read : Coherence, optional
        Which reader was chosen for each, and how it did; None where there are no rows.
    share : float [n]
        Of balanced half-samples of the families in which each passes.
    any_real : float
        Probability that any of them is real.
    sets : sequence of FeatureSet
        What each entry is where it is a set of features (:mod:`sciinterp.discovery.novel_sets`).
    """

    feature: np.ndarray
    measures: np.ndarray
    stability: np.ndarray
    n_families: np.ndarray
    score: np.ndarray
    probability: np.ndarray
    q: np.ndarray
    peaks: np.ndarray
    counts: dict[str, int]
    fate: np.ndarray
    reason: str = ""
    places: Sequence[Place] = ()
    read: Coherence | None = None
    share: np.ndarray = field(default_factory=lambda: np.zeros(0))
    any_real: float = 0.0
    sets: Sequence[FeatureSet] = ()

    def members(self, i: int) -> tuple[int, ...]:
        """Features of the dictionary that an entry is made of."""
        return self.sets[i].features if self.sets else (int(self.feature[i]),)


def _none(counts: dict[str, int], fate: np.ndarray, reason: str = "") -> Novel:
    number, value, peaks = np.zeros(0, np.int64), np.zeros(0), np.zeros((0, MAX_PEAKS), np.int64)
    measures = np.zeros((0, len(COLUMNS)))
    return Novel(number, measures, value, number, value, value, value, peaks, counts, fate, reason)


def associated(
    problem: Problem, known_pairs: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best concept [n_features] (-1: none), its F1, and whether the feature counts as associated.

    A feature is associated when its F1 with a concept reaches 0.25, or when a fifth of its activity lies in a
    narrow concept (at most a tenth of all positions) at three times the concept's prevalence or more, or when it
    is in ``known_pairs`` (features of significant hits).
    """
    overlap, n_positive, active = problem.overlap, problem.n_positive, problem.active
    if not len(problem.names):
        none = np.zeros(problem.n_features)
        return none.astype(np.int64) - 1, none, none.astype(bool)
    f1 = problem.f1
    precision = overlap / np.maximum(active[None], 1)
    prevalence = (n_positive / problem.n_positions)[:, None]
    narrow = (
        (prevalence <= NARROW) & (precision >= np.maximum(PRECISION_KNOWN, 3 * prevalence)) & (overlap >= 5)
    )
    linked = np.asarray(((f1 >= F1_KNOWN) | narrow).any(0))
    if known_pairs is not None:
        linked[known_pairs] = True
    return np.argmax(f1, axis=0), f1.max(0), linked


def find_novel(
    problem: Problem,
    *,
    stability: Sequence[FeatureMatrix | Sequence[FeatureMatrix]] = (),
    randomised: FeatureMatrix | None = None,
    known_pairs: np.ndarray | None = None,
    n_rotations: int = 1,
    twins: Problem | None = None,
    members: Sequence[np.ndarray] = (),
) -> Novel | str:
    """Targets with scores, probabilities and q-values, or the reason why there are none.

    Parameters
    ----------
    problem : Problem
    stability : sequence of FeatureMatrix, or of several that are one dictionary
        Codes of the same positions by dictionaries of other seeds.
    randomised : FeatureMatrix, optional
        Codes of the randomised model: further decoys.
    known_pairs : int64, optional
        Features of significant hits.
    n_rotations : int
        Twins of each target among the decoys.
    twins : Problem, optional
        The decoys that stand for a false target each, in the place of rotated features; known features come first, with the same numbers.
    members : sequence of int [n_features]
        How many features have to meet for each column of ``problem``, and of ``twins``, to speak.
    """
    if problem.letters is None:
        return "the samples are not sequences: coherence in sequence cannot be measured"
    best, f1, linked = associated(problem, known_pairs)
    peaks = find_peaks(problem)
    usable, fate = _usable(problem, peaks.n_families >= MIN_FAMILIES, linked)
    targets = np.flatnonzero(usable & ~linked)
    counts = {r: int((fate == r).sum()) for r in ("dead", "dense", FEW, KNOWN)} | {"targets": len(targets)}
    known = np.flatnonzero(usable & linked)
    known = known[np.argsort(-f1[known], kind="stable")][:MAX_POSITIVES]
    if why := _cannot_judge(targets, known, counts, fate):
        return _none(counts, fate, why)
    judged = np.concatenate([known, targets])
    rotated = [] if twins is None else [(twins, np.arange(twins.n_features))]
    rotated = rotated or [(problem.shifted(r), judged) for r in range(n_rotations)]
    decoy_codes, decoy_rows, sort = _decoys(problem, rotated, randomised, kept=len(stability) > 0)
    rows = np.vstack([peaks.position[judged], decoy_rows])
    part, y = slice(len(known), len(judged)), np.arange(len(rows)) < len(known)
    read, explained, share = _read(problem, rows, targets, part)
    stable, gates = _gates(
        [(problem, judged), *decoy_codes], rows, explained, share, y, part, stability, members
    )
    passes = ~np.any(list(gates.values()), axis=0)
    for reason, gone in gates.items():
        counts[reason] = int(gone[part].sum())
        fate[targets[gone[part]]] = reason
    kept = np.flatnonzero(passes[part])
    if not len(kept):
        return _none(counts, fate)
    may = np.where(passes | (share < HALF), share, 0)
    score, n_each = _scores(read.measures, stable, may, y, best[known], part)
    target_score = score[part][kept]
    places = [place(problem, row) for row in peaks.position[targets[kept]]]
    twin = ~np.isin(np.concatenate([numbers for _, numbers in decoy_codes]), known)
    weight = _weights(may[part.stop :], sort, twin / max(len(rotated), 1), len(targets))
    looks = CEILING * _move_prior(target_score, *n_each) * share[part][kept]
    there = _any_real(problem, targets[kept], target_score, weight * passes[part.stop :], sort)
    probability = there * looks * np.array([p.news for p in places]) * (1.0 if len(stability) else UNMEASURED)
    return Novel(
        targets[kept],
        read.measures[part][kept],
        stable[part][kept],
        peaks.n_families[targets[kept]],
        target_score,
        probability,
        _q_values(target_score, probability, score[part.stop :], weight, sort),
        peaks.position[targets[kept]],
        counts,
        fate,
        places=places,
        read=read.rows(len(known) + kept),
        share=share[part][kept],
        any_real=there,
    )


def _cannot_judge(targets: np.ndarray, known: np.ndarray, counts: dict[str, int], fate: np.ndarray) -> str:
    """Why no target can be judged, which is their fate; empty where they can."""
    if not len(targets):
        return "no feature is alive, seen in enough families and free of every concept"
    if len(known) < 5:
        counts["not judged"], fate[targets] = len(targets), "not judged"
        return f"only {len(known)} features of known concepts: what a concept looks like cannot be learned"
    return ""


def _read(
    problem: Problem, rows: np.ndarray, targets: np.ndarray, part: slice
) -> tuple[Coherence, np.ndarray, np.ndarray]:
    """What finds the peaks of every row, how often it is explained and how often it passes; targets that may, finely."""
    give_back()
    read, n_peaks = coherence(problem, rows), (rows >= 0).sum(1)
    give_back()
    again = np.zeros(len(rows), bool)
    again[part] = periodic(problem, targets)
    explained, share = shares(read, n_peaks, again)
    likely = part.start + np.flatnonzero(share[part] >= LIKELY)
    if len(likely):
        finely = lambda batch: coherence(problem, rows[likely], batch=batch, draws=FINE)  # noqa: E731
        drawn = list(distributed.spread(range(N_FINE), finely, threads=len(likely) <= ROWS))
        read.put(likely, drawn)
        passed = [shares(d, n_peaks[likely], again[likely]) for d in drawn]
        explained[likely], share[likely] = np.mean(passed, axis=0)
    give_back()
    return read, explained, share


def _usable(problem: Problem, spread: np.ndarray, linked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each feature is alive, in enough families and not dense; and why it is left out."""
    alive, dense = problem.active > 0, problem.active / problem.n_positions > MAX_DENSITY
    fate = np.full(problem.n_features, "listed", object)
    for reason, gone in ((KNOWN, linked), (FEW, ~spread), ("dense", dense), ("dead", ~alive)):
        fate[gone] = reason
    return alive & spread & ~dense, fate


def _gates(
    columns: Columns,
    rows: np.ndarray,
    explained: np.ndarray,
    share: np.ndarray,
    known: np.ndarray,
    targets: slice,
    others: Sequence[FeatureMatrix | Sequence[FeatureMatrix]],
    members: Sequence[np.ndarray],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Stability [n], and by reason what a target is left out for (decoys are held to the same): bool [n]."""
    problem = columns[0][0]
    explained, incoherent = explained > HALF, share < HALF
    looked_at = known | (share > 0)
    # What two dictionaries share of a column where members meet is about the product of what they share of these.
    root = np.ones(len(rows))
    for n, (_, numbers), first in zip(members, columns, (0, len(columns[0][1]))):
        root[first : first + len(numbers)] = n[numbers]
    stable = stability_of(columns, others, where=looked_at) ** (1 / root)
    unstable = stable < STABLE
    part_of = np.zeros(len(rows), bool)
    left = targets.start + np.flatnonzero(~(explained | incoherent | unstable)[targets])
    part_of[left] = at_known_concepts(problem, rows[left]) >= 0
    also = ", backbone" if problem.around.backbone else ""
    return stable, {
        f"explained by composition, letter, position{also} or conservation": explained,
        INCOHERENT: incoherent & ~explained,
        UNSTABLE: unstable & ~explained & ~incoherent,
        "part of an annotated concept": part_of,
    }


def _any_real(
    problem: Problem, features: np.ndarray, score: np.ndarray, weight: np.ndarray, sort: np.ndarray
) -> float:
    """Probability that any of the features is real, by the sort of decoys that passes most. Those that fire together are one."""
    leaders = co_active(problem, features[np.argsort(-score, kind="stable")])
    return any_real(len(set(leaders)), np.bincount(sort, weight, minlength=1).max())


def _weights(share: np.ndarray, sort: np.ndarray, twin: np.ndarray, n_targets: int) -> np.ndarray:
    """How many false targets each decoy stands for: a target's twin, rotated along its samples, for that one.

    Of a made-up sort or of the randomised model all together stand for all targets; twins of known features for none.
    """
    size = np.maximum(np.bincount(sort, minlength=1), 1)
    return share * np.where(sort == 0, twin, n_targets / size[sort])


def _q_values(
    score: np.ndarray, probability: np.ndarray, decoy: np.ndarray, weight: np.ndarray, sort: np.ndarray
) -> np.ndarray:
    """What the strictest sort of decoy says, or the expected share of false ones where that is larger."""
    q = np.zeros(len(score))
    for kind in np.unique(sort):
        q = np.maximum(q, decoy_error(score, decoy[sort == kind], weight[sort == kind]))
    order = np.lexsort((-score, -probability))
    q[order] = np.maximum.accumulate(np.maximum(q, list_error(probability, order))[order])
    return q


def least_q(n_other_seeds: int) -> float:
    """The smallest q a novel candidate can have: one minus the cap of its probability.

    Examples
    --------
    >>> round(least_q(0), 3), round(least_q(3), 3)
    (0.107, 0.05)
    """
    return 1 - CEILING * (1.0 if n_other_seeds else UNMEASURED)


def _scores(
    measures: np.ndarray,
    stable: np.ndarray,
    may: np.ndarray,
    known: np.ndarray,
    concepts: np.ndarray,
    targets: slice,
) -> tuple[np.ndarray, tuple[float, float]]:
    """Log odds of each row, and how many known features and decoys they were learned from."""
    learn, n_decoys = _learn_from(may, known, targets), len(known) - targets.stop
    group = np.concatenate([concepts, np.full(targets.stop - targets.start, -1), -2 - np.arange(n_decoys)])
    score = _cross_fit(_columns(measures, stable), known, group, learn)
    return score, (learn[known].sum(), learn[~known].sum())


def _columns(measures: np.ndarray, stable: np.ndarray) -> np.ndarray:
    """What the model of a concept's look is fitted on."""
    reader, place, order = (measures[:, COLUMNS.index(c)] for c in ("reader", "position", "order"))
    x = np.column_stack([measures, np.minimum(reader, order), np.maximum(place - reader, 0) + 0.5])
    return np.column_stack([(x - 0.5) * 4, np.where(np.isnan(stable), 0.0, 4 * stable)])


def periodic(problem: Problem, features: np.ndarray) -> np.ndarray:
    """bool [n]: the feature fires at one distance again and again."""
    return np.array([firing_pattern(problem, int(f))["class"] == "periodic" for f in features], bool)


def firing_pattern(problem: Problem, feature: int) -> Pattern:
    """How a feature fires along a sample: point, periodic, short, long or whole, with its numbers."""
    where = problem.columns([feature]).indices
    if not len(where):
        return {"class": "silent"}
    cut = np.flatnonzero((np.diff(where) > 2) | (np.diff(problem.sample_of[where]) > 0))
    run = np.diff(np.r_[0, cut + 1, len(where)])
    samples = np.unique(problem.sample_of[where])
    cover = len(where) / max(problem.samples.lengths[samples].sum(), 1)
    gaps = np.diff(where)[np.diff(problem.sample_of[where]) == 0]
    share = np.bincount(np.clip(gaps, 0, 60), minlength=61) / max(len(gaps), 1)
    period = int(np.argmax(share[3:25]) + 3)
    median = float(np.median(run))
    if cover > 0.7:
        name = "whole"
    elif share[period] > PERIODIC and len(gaps) > 20:
        name = "periodic"
    else:
        name = "point" if median <= 1 else "short" if median <= 8 else "long"
    return {
        "class": name,
        "median_run": median,
        "share_of_its_samples": round(float(cover), 3),
        "period": period if name == "periodic" else None,
    }


def _decoys(
    problem: Problem, rotated: Columns, randomised: FeatureMatrix | None, *, kept: bool
) -> tuple[Columns, np.ndarray, np.ndarray]:
    """Codes, peaks and sort (0 rotated, 1 letter, 2 window composition, 3 position, 4 randomised model) of the decoys.

    Their codes are ``kept`` where other dictionaries are asked for them; else numbers stand beside the problem's own.
    """
    parts = [(source, numbers, np.zeros(len(numbers), np.int64)) for source, numbers in rotated]
    made = ((part, every := np.arange(part.n_features), 1 + every % 3) for part in made_up(problem))
    of_randomised = []
    if randomised is not None:
        other = problem.with_features(randomised)
        free = (
            (other.active > 0) & (other.active <= MAX_DENSITY * problem.n_positions) & ~associated(other)[2]
        )
        some = np.flatnonzero(free)
        some = some[np.unique(np.linspace(0, len(some) - 1, min(N_RANDOMISED, len(some))).astype(int))]
        of_randomised.append((other, some, np.full(len(some), 4)))
    columns: Columns = []
    rows, sorts = [], []
    for decoy, chosen, sort in itertools.chain(parts, made, of_randomised):
        peaks = find_peaks(decoy)
        keep = np.flatnonzero(peaks.n_families[chosen] >= MIN_FAMILIES)
        columns.append((decoy if kept else problem, chosen[keep]))
        rows.append(peaks.position[chosen[keep]])
        sorts.append(sort[keep])
    return columns, np.concatenate(rows), np.concatenate(sorts)


def _learn_from(share: np.ndarray, known: np.ndarray, targets: slice) -> np.ndarray:
    """Weights [n] of known features and decoys: how often they pass what a target must pass; 1 where too few do."""
    weight = share.copy()
    weight[targets] = 0
    if min(weight[known].sum(), weight[~known].sum()) < MIN_LEARN:
        weight[:] = 1
        weight[targets] = 0
    return weight


def _cross_fit(x: np.ndarray, y: np.ndarray, group: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Log odds; a known feature or a decoy is never scored by a model that saw its concept or itself."""
    learn = weight > 0
    score = predict(x, fit_logistic(x[learn], y[learn], weight[learn], ridge=1.0))
    fold = np.abs(group) % 5
    for k in range(5):
        train, held = learn & (fold != k), learn & (fold == k)
        if y[train].any() and (~y[train]).any():
            score[held] = predict(x[held], fit_logistic(x[train], y[train], weight[train], ridge=1.0))
    return score


def _move_prior(score: np.ndarray, n_positive: float, n_negative: float) -> np.ndarray:
    """Probabilities with the mixing proportion of the targets, by expectation and maximisation (Saerens 2002)."""
    ratio = score - np.log(n_positive / max(n_negative, 1.0))
    share = 0.3
    for _ in range(200):
        p = expit(ratio + np.log(share / (1 - share)))
        share = float(np.clip((p.sum() + 1) / (len(p) + 2), 1e-3, 0.95))
    return expit(ratio + np.log(share / (1 - share)))
