"""Novel concepts: coherent, reproducible features that no concept explains.

A feature is a target when it is alive, seen in enough families, and associated with no concept. What it looks
like is measured on held-out families (:mod:`sciinterp.discovery.motifs`). What it *should* look like is learned
from the features of known concepts, as though these were unknown (leave-concept-out), against decoys of three
sorts: the same features rotated along their samples, features made of letters or window composition, and
features made of position. Where dictionaries of other seeds are given, being found again in all of them is one
more measure. A target whose peaks composition, letter or position find as well as any motif is explained and
dropped, whatever the model says. The odds are moved to the targets' own mixing proportion (Saerens 2002), and the
q-value counts rotated and made-up decoys that score as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import scipy.sparse as sp

from sciinterp.discovery.linear import fit_logistic, predict, sigmoid
from sciinterp.discovery.motifs import coherence, find_peaks
from sciinterp.discovery.view import View

MIN_FAMILIES = 12
MAX_DENSITY = 0.15
MAX_POSITIVES = 200  # known features the rule is learned from
N_MADE = 60  # made-up decoys of each sort
STABLE = 0.4  # cosine between code columns of two dictionaries
F1_KNOWN, PRECISION_KNOWN, NARROW = 0.25, 0.2, 0.1
# AUROC from which something plainer than a motif explains the peaks, if it is not clearly worse than the motif.
EXPLAINED, CLEARLY = 0.9, 0.05
UNMEASURED = 0.5  # factor on probabilities where no other dictionary says whether a feature is found again
BETTER = 0.8  # AUROC from which something plainer explains the peaks if it does so at least as well


@dataclass(frozen=True, eq=False)
class Novel:
    """Targets and what was measured of them, one entry a target unless said otherwise.

    Attributes
    ----------
    feature : int64 [n]
    measures : float [n, 4]
        AUROC of motif, composition, centre and position.
    stability : float [n]
        Smallest of the best cosines in the other dictionaries, NaN when there are none.
    n_families : int64 [n]
    score, probability, q : float [n]
    peaks : int64 [n, MAX_PEAKS]
    counts : dict
        How many features were left out, and why.
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


def associated(
    view: View, known_pairs: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best concept [n_features] (-1: none), its F1, and whether the feature counts as associated.

    A feature is associated when its F1 with a concept reaches 0.25, or when a fifth of its activity lies in a
    narrow concept (at most a tenth of all positions) at three times the concept's prevalence or more, or when it
    is in ``known_pairs`` (features of significant hits).
    """
    overlap, n_positive, active = view.overlap, view.n_positive, view.active
    if not len(view.names):
        none = np.zeros(view.codes.shape[1])
        return none.astype(np.int64) - 1, none, none.astype(bool)
    f1 = 2 * overlap / np.maximum(n_positive[:, None] + active[None], 1)
    precision = overlap / np.maximum(active[None], 1)
    prevalence = (n_positive / view.codes.shape[0])[:, None]
    narrow = (
        (prevalence <= NARROW) & (precision >= np.maximum(PRECISION_KNOWN, 3 * prevalence)) & (overlap >= 5)
    )
    linked = ((f1 >= F1_KNOWN) | narrow).any(0)
    if known_pairs is not None:
        linked[known_pairs] = True
    return np.argmax(f1, axis=0), f1.max(0), linked


def find_novel(
    view: View,
    *,
    stability: Sequence[sp.csr_array] = (),
    known_pairs: np.ndarray | None = None,
    seed: int = 0,
) -> Novel | str:
    """Targets with scores, probabilities and q-values, or the reason why there are none.

    Parameters
    ----------
    view : View
    stability : sequence of csr [n_positions, any]
        Codes of the same positions by dictionaries of other seeds.
    known_pairs : int64, optional
        Features of significant hits.
    """
    if view.letters is None:
        return "the samples are not sequences: coherence in sequence cannot be measured"
    best, f1, linked = associated(view, known_pairs)
    peaks = find_peaks(view, view.codes)
    density = view.active / view.codes.shape[0]
    alive = view.active > 0
    spread = peaks.n_families >= MIN_FAMILIES
    usable = alive & spread & (density <= MAX_DENSITY)
    targets = np.flatnonzero(usable & ~linked)
    counts = {"dead": int((~alive).sum()), "dense": int((density > MAX_DENSITY).sum()),
              "in few families": int((alive & ~spread & (density <= MAX_DENSITY)).sum()),
              "associated with a concept": int((usable & linked).sum()), "targets": len(targets)}  # fmt: skip
    known = np.flatnonzero(usable & linked)
    known = known[np.argsort(-f1[known], kind="stable")][:MAX_POSITIVES]
    if not len(targets):
        return "no feature is alive, seen in enough families and free of every concept"
    if len(known) < 5:
        return f"only {len(known)} features of known concepts: what a concept looks like cannot be learned"
    decoy_codes, decoy_rows, sort = _decoys(view, np.concatenate([known, targets]), seed)
    rows = np.vstack([peaks.position[known], peaks.position[targets], decoy_rows])
    measures = coherence(view, rows, seed=seed)
    n_known, n_target = len(known), len(targets)
    part = slice(n_known, n_known + n_target)
    stable = np.concatenate(
        [_stability(c, stability) for c in (view.codes[:, known], view.codes[:, targets], decoy_codes)]
    )
    x = _columns(measures, stable)
    y = np.arange(len(rows)) < n_known
    group = np.concatenate([best[known], np.full(n_target, -1), -2 - np.arange(len(decoy_rows))])
    score = _cross_fit(x, y, group, n_known, n_target)
    probability = _move_prior(score[part], n_known, len(decoy_rows))
    explained_all = _explained(measures)
    explained = explained_all[part]
    unstable = stable[part] < STABLE
    counts["explained by composition, letter or position"] = int(explained.sum())
    counts["not stable over seeds"] = int((unstable & ~explained).sum())
    kept = np.flatnonzero(~explained & ~unstable)
    if not len(kept):
        return "every target is explained by composition, letter or position, or was not found again with other seeds"
    target_score, probability = score[part][kept], probability[kept]
    if not len(stability):
        probability = probability * UNMEASURED
    tail = np.argsort(-probability, kind="stable")
    fdr = np.empty(len(kept))
    fdr[tail] = np.cumsum(1 - probability[tail]) / np.arange(1, len(kept) + 1)
    decoy = slice(n_known + n_target, None)
    decoy_score = np.where(explained_all[decoy] | (stable[decoy] < STABLE), -np.inf, score[decoy])
    q = fdr
    for kind in np.unique(sort):  # the strictest sort of decoy decides
        q = np.maximum(q, _decoy_q(target_score, decoy_score[sort == kind]))
    return Novel(targets[kept], measures[part][kept], stable[part][kept], peaks.n_families[targets[kept]], target_score,
                 probability, q, peaks.position[targets[kept]], counts)  # fmt: skip


def _columns(measures: np.ndarray, stable: np.ndarray) -> np.ndarray:
    motif, rest = measures[:, 0], measures[:, 1:]
    x = np.column_stack([measures, motif - rest.max(1), np.maximum(rest.max(1) - motif, 0)])
    return np.column_stack([(x - 0.5) * 4, np.where(np.isnan(stable), 0.0, 4 * stable)])


def _explained(measures: np.ndarray) -> np.ndarray:
    """bool [n]: composition, letter or position finds the peaks about as well as the motif."""
    motif, plain = measures[:, 0], measures[:, 1:].max(1)
    return ((plain >= EXPLAINED) & (plain >= motif - CLEARLY)) | ((plain >= BETTER) & (plain >= motif))


def _decoys(view: View, features: np.ndarray, seed: int) -> tuple[sp.csr_array, np.ndarray, np.ndarray]:
    """Codes, peaks and sort (0 rotated, 1 letter, 2 window composition, 3 position) of the decoys."""
    rotated = view.with_codes(view.codes[:, features]).shifted(seed).codes
    codes = sp.csr_array(sp.hstack([rotated, _made_up(view, seed)]))
    sort = np.concatenate([np.zeros(rotated.shape[1], np.int64), np.tile([1, 2, 3], N_MADE)])
    peaks = find_peaks(view, codes)
    keep = np.flatnonzero(peaks.n_families >= MIN_FAMILIES)
    return codes[:, keep], peaks.position[keep], sort[keep]


def _made_up(view: View, seed: int) -> sp.csr_array:
    """Codes of features that follow one letter, the composition of a window, or a distance from an end."""
    rng = np.random.default_rng([seed, 0xDEC0])
    n = view.codes.shape[0]
    lengths, offsets = view.samples.lengths, view.samples.offsets
    from_start = np.arange(n) - np.repeat(offsets[:-1], lengths)
    from_end = np.repeat(lengths, lengths) - 1 - from_start
    letters = cast("np.ndarray", view.letters)  # novel_concepts stops where there are none
    n_letters = len(view.alphabet)
    columns = []
    for i in range(N_MADE):
        columns.append((letters == i % n_letters) & (rng.random(n) < 0.9))
        favoured = np.isin(letters, rng.choice(n_letters, min(4, n_letters), replace=False)).astype(float)
        share = np.convolve(favoured, np.ones(9) / 9, mode="same")
        columns.append((share > np.quantile(share, 0.96)) & (rng.random(n) < 0.9))
        distance = from_start if i % 2 else from_end
        centre, width = rng.uniform(0, np.median(lengths) * 0.8), rng.uniform(1.5, 8)
        columns.append(rng.random(n) < 0.9 * np.exp(-(((distance - centre) / width) ** 2)))
    dense = np.column_stack(columns)
    return sp.csr_array(dense * rng.gamma(4, 0.25, dense.shape).astype(np.float32))


def _cross_fit(x: np.ndarray, y: np.ndarray, group: np.ndarray, n_known: int, n_target: int) -> np.ndarray:
    """Log odds; a known feature or a decoy is never scored by a model that saw its concept or itself."""
    score = np.zeros(len(x))
    trainable = np.ones(len(x), bool)
    trainable[n_known : n_known + n_target] = False
    fold = np.abs(group) % 5
    for k in range(5):
        train = trainable & (fold != k)
        if not (y[train].any() and (~y[train]).any()):
            train = trainable
        held = trainable & (fold == k)
        score[held] = predict(x[held], fit_logistic(x[train], y[train], ridge=1.0))
    beta = fit_logistic(x[trainable], y[trainable], ridge=1.0)
    score[~trainable] = predict(x[~trainable], beta)
    return score


def _move_prior(score: np.ndarray, n_positive: int, n_negative: int) -> np.ndarray:
    """Probabilities with the mixing proportion of the targets, by expectation and maximisation."""
    ratio = score - np.log(n_positive / max(n_negative, 1))
    share = 0.1
    for _ in range(200):
        p = sigmoid(ratio + np.log(share / (1 - share)))
        share = float(np.clip((p.sum() + 0.5) / (len(p) + 10), 1e-3, 0.9))
    return sigmoid(ratio + np.log(share / (1 - share)))


def _decoy_q(target: np.ndarray, decoy: np.ndarray) -> np.ndarray:
    """(1 + decoys at least as good) per decoy, over targets at least as good per target; not decreasing."""
    order = np.argsort(-target, kind="stable")
    better = len(decoy) - np.searchsorted(np.sort(decoy), target[order], side="left")
    q = (1 + better) / max(len(decoy), 1) * len(target) / np.arange(1, len(target) + 1)
    out = np.empty(len(target))
    out[order] = np.minimum(1, np.minimum.accumulate(q[::-1])[::-1])
    return out


def _stability(codes: sp.csr_array, others: Sequence[sp.csr_array]) -> np.ndarray:
    """Smallest over dictionaries of the best cosine between code columns; NaN without dictionaries."""
    if not len(others):
        return np.full(codes.shape[1], np.nan)
    mine = codes.astype(np.float64)
    norm = np.sqrt(np.asarray(mine.power(2).sum(0)).ravel()) + 1e-12
    worst = np.ones(codes.shape[1])
    for other in others:
        length = np.sqrt(np.asarray(other.astype(np.float64).power(2).sum(0)).ravel()) + 1e-12
        cosine = np.asarray((mine.T @ other.astype(np.float64)).todense()) / norm[:, None] / length[None]
        worst = np.minimum(worst, cosine.max(1))
    return worst


def co_active(view: View, features: np.ndarray, *, cosine: float = 0.2) -> list[int]:
    """For each feature of a ranked list, the place of the first better one it fires with (itself if none)."""
    mine = view.codes[:, features].astype(np.float64)
    norm = np.sqrt(np.asarray(mine.power(2).sum(0)).ravel()) + 1e-12
    like = np.asarray((mine.T @ mine).todense()) / norm[:, None] / norm[None]
    leader: list[int] = []
    for i in range(len(features)):
        first = next((j for j in range(i) if leader[j] == j and like[i, j] >= cosine), i)
        leader.append(first)
    return leader
