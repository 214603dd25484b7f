"""Novel concepts: coherent, reproducible features that no concept explains.

A feature is a target when it is alive, seen in enough families, and associated with no concept. What it looks
like is measured on held-out families by readers of sequence (:mod:`sciinterp.discovery.sequence_readers`). What it *should* look like is learned
from the features of known concepts, as though these were unknown (leave-concept-out), against decoys: the same
features rotated along their samples, features made of letters, window composition or position, and those of the
randomised model where they are given. Where dictionaries of other seeds are given, being found again in all of them is one
more measure. A target whose peaks composition, letter, position or conservation find as well as its reader is explained
and dropped, whatever the model says; so is one whose reader does not find its held-out peaks, unless it fires
periodically, and one whose motif holds an annotated concept (:mod:`sciinterp.discovery.homology`).

*Probability*: that the feature is one coherent thing which no source states. The odds are moved to the targets' own
mixing proportion (Saerens 2002); what planted worlds show to be the share of nuisance among the best caps it at
0.95, and at 0.89 where stability over seeds was not measured. A stretch that families carry at homologous places
is discounted by the share that does. *q*: the expected share of false ones among this row and all better ones, that
is one minus their mean probability, or the share of decoys that score as well (by the strictest sort) where that is
larger. A cap of 0.89 is thus a least q of 0.11: the two say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.special import expit

from sciinterp.codes import FeatureMatrix
from sciinterp.codes.active import only_active
from sciinterp.discovery.calibrate import by_chance
from sciinterp.discovery.homology import Place, at_known_concepts, place
from sciinterp.discovery.logistic import fit_logistic, predict
from sciinterp.discovery.motifs import MAX_PEAKS, find_peaks, letters_of
from sciinterp.discovery.problem import BLOCK_VALUES, Problem
from sciinterp.discovery.sequence_readers import COLUMNS, Coherence, coherence

MIN_FAMILIES = 12
COLUMNS_AT_ONCE = 1024  # columns of codes compared with another dictionary at once
MAX_DENSITY = 0.15
MAX_POSITIVES = 200  # known features the rule is learned from
N_MADE = 60  # made-up decoys of each sort
N_RANDOMISED = 240  # decoys taken from the randomised model's dictionary
STABLE = 0.4  # cosine between code columns of two dictionaries
F1_KNOWN, PRECISION_KNOWN, NARROW = 0.25, 0.2, 0.1
# AUROC from which something plainer than a reader explains the peaks, if it is not clearly worse than the reader.
EXPLAINED, CLEARLY = 0.9, 0.05
# Factor where no other dictionary says whether a feature is found again: the share of such candidates that three other
# dictionaries read too, over four dictionaries of the repertoire (156 of 166).
UNMEASURED = 0.94
ORDERED = 0.6  # AUROC of the reader against shuffled windows below which the order of letters does not matter
MIN_LEARN = 5  # known features and decoys of each that must pass for the model to be fitted on those alone
CEILING = 0.95  # of a probability: on planted worlds 5 of 74 that pass every gate are nuisance all the same
COHERENT = 0.65  # AUROC of the reader at held-out peaks below which nothing is seen in the sequence
PERIODIC = 0.35  # share of gaps of one length from which a feature counts as periodic
BETTER = 0.8  # AUROC from which something plainer explains the peaks if it does so at least as well
FAIR = 0.7  # AUROC from which it does if it is much better than the reader
READINGS = ("composition", "centre", "position", "conservation")
KNOWN = (f"associated with a concept (F1 of {F1_KNOWN:g} or more, a hit, or {PRECISION_KNOWN:g} of its activity in a narrow "
         "concept)")  # fmt: skip

# Columns of codes that are read when asked for: of which problem, and their numbers there.
Columns = list[tuple[Problem, np.ndarray]]


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


def _none(counts: dict[str, int], fate: np.ndarray, reason: str = "") -> Novel:
    number, value = np.zeros(0, np.int64), np.zeros(0)
    return Novel(
        number,
        np.zeros((0, len(COLUMNS))),
        value,
        number,
        value,
        value,
        value,
        np.zeros((0, MAX_PEAKS), np.int64),
        counts,
        fate,
        reason,
    )


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
    f1 = 2 * overlap / np.maximum(n_positive[:, None] + active[None], 1)
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
    stability: Sequence[FeatureMatrix] = (),
    randomised: FeatureMatrix | None = None,
    known_pairs: np.ndarray | None = None,
    seed: int = 0,
) -> Novel | str:
    """Targets with scores, probabilities and q-values, or the reason why there are none.

    Parameters
    ----------
    problem : Problem
    stability : sequence of FeatureMatrix
        Codes of the same positions by dictionaries of other seeds.
    randomised : FeatureMatrix, optional
        Codes of the randomised model: further decoys.
    known_pairs : int64, optional
        Features of significant hits.
    """
    if problem.letters is None:
        return "the samples are not sequences: coherence in sequence cannot be measured"
    best, f1, linked = associated(problem, known_pairs)
    peaks = find_peaks(problem)
    usable, fate = _usable(problem, peaks.n_families >= MIN_FAMILIES, linked)
    targets = np.flatnonzero(usable & ~linked)
    counts = {r: int((fate == r).sum()) for r in ("dead", "dense", "in few families", KNOWN)}
    counts["targets"] = len(targets)
    known = np.flatnonzero(usable & linked)
    known = known[np.argsort(-f1[known], kind="stable")][:MAX_POSITIVES]
    if not len(targets):
        return _none(counts, fate, "no feature is alive, seen in enough families and free of every concept")
    if len(known) < 5:
        counts["not judged"], fate[targets] = len(targets), "not judged"
        return _none(
            counts,
            fate,
            f"only {len(known)} features of known concepts: what a concept looks like cannot be learned",
        )
    judged = np.concatenate([known, targets])
    decoy_codes, decoy_rows, sort = _decoys(problem, judged, randomised, seed)
    rows = np.vstack([peaks.position[judged], decoy_rows])
    read = coherence(problem, rows, seed=seed)
    measures = read.measures
    n_known, n_target = len(known), len(targets)
    part, y = slice(n_known, n_known + n_target), np.arange(len(rows)) < n_known
    stable, gates = _gates([(problem, judged), *decoy_codes], rows, measures, y, part, stability)
    passes = ~np.any(list(gates.values()), axis=0)
    for reason, gone in gates.items():
        counts[reason] = int(gone[part].sum())
        fate[targets[gone[part]]] = reason
    kept = np.flatnonzero(passes[part])
    if not len(kept):
        return _none(counts, fate)
    learn = _learn_from(passes, y, part)
    group = np.concatenate([best[known], np.full(n_target, -1), -2 - np.arange(len(decoy_rows))])
    score = _cross_fit(_columns(measures, stable), y, group, learn)
    target_score = score[part][kept]
    places = [place(problem, row) for row in peaks.position[targets[kept]]]
    looks = CEILING * _move_prior(target_score, int((y & learn).sum()), int((~y & learn).sum()))
    probability = looks * np.array([p.news for p in places]) * (1.0 if len(stability) else UNMEASURED)
    decoy = slice(n_known + n_target, None)
    decoy_score = np.where(passes[decoy], score[decoy], -np.inf)
    return Novel(
        targets[kept],
        measures[part][kept],
        stable[part][kept],
        peaks.n_families[targets[kept]],
        target_score,
        probability,
        _q_values(target_score, probability, decoy_score, sort),
        peaks.position[targets[kept]],
        counts,
        fate,
        places=places,
        read=read.rows(n_known + kept),
    )


def _usable(problem: Problem, spread: np.ndarray, linked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each feature is alive, in enough families and not dense; and why it is left out."""
    alive, dense = problem.active > 0, problem.active / problem.n_positions > MAX_DENSITY
    fate = np.full(problem.n_features, "listed", object)
    for reason, gone in ((KNOWN, linked), ("in few families", ~spread), ("dense", dense), ("dead", ~alive)):
        fate[gone] = reason
    return alive & spread & ~dense, fate


def _gates(
    columns: Columns,
    rows: np.ndarray,
    measures: np.ndarray,
    known: np.ndarray,
    targets: slice,
    others: Sequence[FeatureMatrix],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Stability [n], and by reason what a target is left out for (decoys are held to the same): bool [n]."""
    problem, judged = columns[0]
    # What reads no better than chance explains nothing: where it does as well as a motif, neither is there.
    reached, explained = _explained(measures), _explained(measures, (rows >= 0).sum(axis=1))
    incoherent = (measures[:, 0] < COHERENT) | (reached & ~explained)
    incoherent[targets] &= ~periodic(problem, judged[targets])
    looked_at = known | (~explained & ~incoherent)
    stable = _stability(columns, others, where=looked_at)
    unstable = stable < STABLE
    part_of = np.zeros(len(rows), bool)
    left = targets.start + np.flatnonzero(~(explained | incoherent | unstable)[targets])
    part_of[left] = at_known_concepts(problem, rows[left]) >= 0
    return stable, {
        "explained by composition, letter, position or conservation": explained,
        "not coherent in sequence": incoherent & ~explained,
        "not stable over seeds": unstable & ~explained & ~incoherent,
        "part of an annotated concept": part_of,
    }


def _q_values(score: np.ndarray, probability: np.ndarray, decoy: np.ndarray, sort: np.ndarray) -> np.ndarray:
    """What the strictest sort of decoy says, or the expected share of false ones where that is larger."""
    q = np.zeros(len(score))
    for kind in np.unique(sort):
        q = np.maximum(q, _decoy_q(score, decoy[sort == kind]))
    order = np.lexsort((-score, -probability))
    expected = np.cumsum(1 - probability[order]) / np.arange(1, len(score) + 1)
    q[order] = np.maximum.accumulate(np.maximum(q[order], expected))
    return q


def least_q(n_other_seeds: int) -> float:
    """The smallest q a novel candidate can have: one minus the cap of its probability.

    Examples
    --------
    >>> round(least_q(0), 3), round(least_q(3), 3)
    (0.107, 0.05)
    """
    return 1 - CEILING * (1.0 if n_other_seeds else UNMEASURED)


def _columns(measures: np.ndarray, stable: np.ndarray) -> np.ndarray:
    """What the model of a concept's look is fitted on."""
    reader, place, order = (measures[:, COLUMNS.index(c)] for c in ("reader", "position", "order"))
    x = np.column_stack([measures, np.minimum(reader, order), np.maximum(place - reader, 0) + 0.5])
    return np.column_stack([(x - 0.5) * 4, np.where(np.isnan(stable), 0.0, 4 * stable)])


def limits(measures: np.ndarray) -> np.ndarray:
    """AUROC [n, 4] from which each of :data:`READINGS` explains the peaks, given what the reader reaches.

    The letter at the peak explains them where it is as good as the reader; where the reader tells the peaks from other
    positions with the same letter (AUROC against these of 0.7 or more) the letter must be clearly better. Composition is
    held against the reader by how much the letters' order matters: where shuffling hardly hurts (AUROC against shuffled
    windows below 0.7) being about as good will do, where it hurts somewhat (below 0.8) as good, and beyond it must be
    clearly better, because the letters of a conserved motif are conserved too. Distance from the ends and conservation
    explain them where they are as good, or about as good from 0.9. "About" and "clearly" are 0.05. All must reach 0.8;
    but 0.7 will do for what is better by 0.1, and anything for letters whose order does not matter at all (below 0.6).

    Parameters
    ----------
    measures : float [n, 7]
        AUROC of :data:`sciinterp.discovery.sequence_readers.COLUMNS`.
    """
    reader, order, matched = (measures[:, COLUMNS.index(c)] for c in ("reader", "order", "matched"))
    about, as_good = reader - CLEARLY, np.maximum(BETTER, reader)
    clearly, unordered = np.maximum(BETTER, reader + CLEARLY), order < ORDERED
    composition = np.select(
        [unordered, order < 0.7, order < 0.8], [about, np.maximum(BETTER, about), as_good], clearly
    )
    centre = np.select([matched >= FAIR, unordered], [clearly, about], as_good)
    plain = np.minimum(as_good, np.maximum(EXPLAINED, about))
    much_better = np.maximum(FAIR, reader + 2 * CLEARLY)
    return np.minimum(np.column_stack([composition, centre, plain, plain]), much_better[:, None])


def _explained(measures: np.ndarray, n_peaks: np.ndarray | None = None) -> np.ndarray:
    """bool [n]: a plain reading reaches the limit from which it explains the peaks, and tells `n_peaks` from chance."""
    plain = measures[:, [COLUMNS.index(c) for c in READINGS]]
    chance = 0.0 if n_peaks is None else by_chance(n_peaks)[:, None]
    return np.asarray(((plain >= limits(measures)) & (plain > chance)).any(1))


def periodic(problem: Problem, features: np.ndarray) -> np.ndarray:
    """bool [n]: the feature fires at one distance again and again."""
    return np.array([firing_pattern(problem, int(f))["class"] == "periodic" for f in features], bool)


def firing_pattern(problem: Problem, feature: int) -> dict[str, Any]:
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
    problem: Problem, features: np.ndarray, randomised: FeatureMatrix | None, seed: int
) -> tuple[Columns, np.ndarray, np.ndarray]:
    """Codes, peaks and sort (0 rotated, 1 letter, 2 window composition, 3 position, 4 randomised model) of the decoys."""
    parts = [
        (problem.shifted(seed), features, np.zeros(len(features), np.int64)),
        (_made_up(problem, seed), np.arange(3 * N_MADE), np.tile([1, 2, 3], N_MADE)),
    ]
    if randomised is not None:
        other = problem.with_features(randomised)
        free = (
            (other.active > 0) & (other.active <= MAX_DENSITY * problem.n_positions) & ~associated(other)[2]
        )
        some = np.random.default_rng([seed, 0x4A]).permutation(np.flatnonzero(free))[:N_RANDOMISED]
        parts.append((other, np.sort(some), np.full(len(some), 4)))
    columns: Columns = []
    rows, sorts = [], []
    for decoy, chosen, sort in parts:
        peaks = find_peaks(decoy)
        keep = np.flatnonzero(peaks.n_families[chosen] >= MIN_FAMILIES)
        columns.append((decoy, chosen[keep]))
        rows.append(peaks.position[chosen[keep]])
        sorts.append(sort[keep])
    return columns, np.concatenate(rows), np.concatenate(sorts)


def _made_up(problem: Problem, seed: int) -> Problem:
    """Features that follow one letter, the composition of a window, or a distance from an end."""
    rng = np.random.default_rng([seed, 0xDEC0])
    n = problem.n_positions
    lengths, offsets = problem.samples.lengths, problem.samples.offsets
    from_start = np.arange(n) - np.repeat(offsets[:-1], lengths)
    from_end = np.repeat(lengths, lengths) - 1 - from_start
    letters = letters_of(problem)  # novel_concepts stops where there are none
    n_letters = len(problem.alphabet)
    rows: list[np.ndarray] = []

    def add(where: np.ndarray) -> None:
        rows.append(where[rng.random(len(where)) < 0.9].astype(np.int32))

    for i in range(N_MADE):
        add(np.flatnonzero(letters == i % n_letters))
        favoured = np.isin(letters, rng.choice(n_letters, min(4, n_letters), replace=False)).astype(
            np.float32
        )
        share = np.convolve(favoured, np.ones(9, np.float32) / 9, mode="same")
        add(np.flatnonzero(share > np.quantile(share, 0.96)))
        distance = from_start if i % 2 else from_end
        centre, width = rng.uniform(0, np.median(lengths) * 0.8), rng.uniform(1.5, 8)
        near = np.flatnonzero(np.abs(distance - centre) < 4 * width)
        add(near[rng.random(len(near)) < np.exp(-(((distance[near] - centre) / width) ** 2))])
    starts = np.cumsum([0, *map(len, rows)])
    value = np.concatenate([rng.gamma(4, 0.25, len(r)).astype(np.float32) for r in rows])
    codes = sp.csc_array((value, np.concatenate(rows), starts), shape=(n, len(rows)))
    return problem.with_features(FeatureMatrix(codes, problem.samples))


def _learn_from(passes: np.ndarray, known: np.ndarray, targets: slice) -> np.ndarray:
    """bool [n]: known features and decoys that pass what a target must pass; all of them where too few do."""
    usable = np.ones(len(passes), bool)
    usable[targets] = False
    enough = min((usable & passes & known).sum(), (usable & passes & ~known).sum()) >= MIN_LEARN
    return usable & passes if enough else usable


def _cross_fit(x: np.ndarray, y: np.ndarray, group: np.ndarray, learn: np.ndarray) -> np.ndarray:
    """Log odds; a known feature or a decoy is never scored by a model that saw its concept or itself."""
    score = predict(x, fit_logistic(x[learn], y[learn], ridge=1.0))
    fold = np.abs(group) % 5
    for k in range(5):
        train, held = learn & (fold != k), learn & (fold == k)
        if y[train].any() and (~y[train]).any():
            score[held] = predict(x[held], fit_logistic(x[train], y[train], ridge=1.0))
    return score


def _move_prior(score: np.ndarray, n_positive: int, n_negative: int) -> np.ndarray:
    """Probabilities with the mixing proportion of the targets, by expectation and maximisation (Saerens 2002)."""
    ratio = score - np.log(n_positive / max(n_negative, 1))
    share = 0.3
    for _ in range(200):
        p = expit(ratio + np.log(share / (1 - share)))
        share = float(np.clip((p.sum() + 1) / (len(p) + 2), 1e-3, 0.95))
    return expit(ratio + np.log(share / (1 - share)))


def _decoy_q(target: np.ndarray, decoy: np.ndarray) -> np.ndarray:
    """(1 + decoys at least as good) per decoy, over targets at least as good per target; not decreasing."""
    order = np.argsort(-target, kind="stable")
    better = len(decoy) - np.searchsorted(np.sort(decoy), target[order], side="left")
    q = (1 + better) / max(len(decoy), 1) * len(target) / np.arange(1, len(target) + 1)
    out = np.empty(len(target))
    out[order] = np.minimum(1, np.minimum.accumulate(q[::-1])[::-1])
    return out


def _stability(columns: Columns, others: Sequence[FeatureMatrix], *, where: np.ndarray) -> np.ndarray:
    """Smallest over dictionaries of the best cosine between code columns; NaN without dictionaries.

    Only the columns ``where`` are looked at; the others get 0.
    """
    if not len(others):
        return np.full(len(where), np.nan)
    worst, first = where.astype(np.float64), 0
    for source, numbers in columns:
        chosen = np.flatnonzero(where[first : first + len(numbers)])
        for low in range(0, len(chosen), COLUMNS_AT_ONCE):
            some = chosen[low : low + COLUMNS_AT_ONCE]
            mine = sp.csr_array(source.columns(numbers[some]).astype(np.float64).T)
            norm = np.sqrt(np.asarray(mine.power(2).sum(1)).ravel()) + 1e-12
            for other in others:
                worst[first + some] = np.minimum(worst[first + some], _best_cosine(mine, norm, other))
        first += len(numbers)
    return worst


def _best_cosine(mine: sp.csr_array, norm: np.ndarray, other: FeatureMatrix) -> np.ndarray:
    """The largest cosine [n] of some columns of codes with those of another dictionary."""
    best = np.zeros(len(norm))
    for lo, hi in other.feature_blocks(BLOCK_VALUES):
        codes = sp.csr_array(only_active(other.by_feature(lo, hi)).to_csc().astype(np.float64))
        length = np.sqrt(np.asarray(codes.power(2).sum(0)).ravel()) + 1e-12
        cosine = np.asarray((mine @ codes).todense()) / norm[:, None] / length[None]
        best = np.maximum(best, cosine.max(1, initial=0))
    return best


def co_active(problem: Problem, features: np.ndarray, *, cosine: float = 0.2) -> list[int]:
    """For each feature of a ranked list, the place of the first better one it fires with (itself if none)."""
    mine = sp.csr_array(problem.columns(features).astype(np.float64))
    norm = np.sqrt(np.asarray(mine.power(2).sum(0)).ravel()) + 1e-12
    like = np.asarray((mine.T @ mine).todense()) / norm[:, None] / norm[None]
    leader: list[int] = []
    for i in range(len(features)):
        first = next((j for j in range(i) if leader[j] == j and like[i, j] >= cosine), i)
        leader.append(first)
    return leader
