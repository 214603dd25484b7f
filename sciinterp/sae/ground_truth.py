"""Activations whose features are known, and how much of them a dictionary finds.

A row is a sum of few *true* directions of norm one, each times a positive value (gamma, mean one), plus noise. Worlds
differ in what makes dictionaries fail: more directions than dimensions (superposition), frequencies with a heavy tail,
features that come together (topics), children that fire only with a parent (hierarchy), pairs of directions read by an
angle (manifold), noise. Generators of this kind: Sharkey et al. 2022 ("Taking features out of superposition with sparse
autoencoders"); Chanin et al. 2024, arXiv:2409.14507 (absorption); Engels et al. 2024, arXiv:2405.14860 (circles).

The measures are defined at :func:`measure_recovery`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from sciinterp.errors import InputError
from sciinterp.sae.base import SAE
from sciinterp.sae.grid import codes_of
from sciinterp.sae.stability import match_features
from sciinterp.settings import UP_TO_ONE, at_least, make_plain

FOUND, NEAR, STRANGE = 0.9, 0.7, 0.5  # cosines: found; one of several of the same; like nothing
BOOST = 8.0  # how much more often a feature fires under its own topic
N_POSITIVE = 20  # rows a true feature needs on either half to be probed


@dataclass(frozen=True)
class World:
    """What rows are made of."""

    name: str
    says: str  # what is hard about it
    d: int = 64  # dimensions
    n_true: int = 1024  # true directions; orthogonal where they fit, random on the sphere otherwise
    l0: float = 8.0  # true features a row, on average, before children and topics
    # Exponent of the frequencies: a feature's is proportional to ``rank ** -tail``; 0 is uniform.
    tail: float = 0.0
    topics: int = 0  # groups of features, one of which is favoured in every row; 0 for none
    children: float = 0.0  # share of the features that fire only where their parent does
    circles: int = 0  # pairs of directions active together with the cosine and sine of a free angle
    noise: float = 0.0  # standard deviation of the noise of a row, as a share of the spread of the signal

    def __post_init__(self) -> None:
        make_plain(
            self, children=UP_TO_ONE, **dict.fromkeys(("tail", "topics", "circles", "noise"), at_least(0))
        )
        if not 0 < self.l0 < self.n_true or self.d < 2 or 2 * self.circles > self.n_true:
            raise InputError("this world cannot be made", where=self.name, expected="0 < l0 < n_true, d > 1")


WORLDS = (
    World("easy", "as many directions as dimensions, all as frequent", n_true=64, l0=4),
    World("superposed", "four directions a dimension", n_true=256),
    World("crowded", "sixteen directions a dimension"),
    World("heavy tail", "frequencies fall as 1 / rank", n_true=256, tail=1.0),
    World("topics", "features come in company", n_true=256, topics=16),
    World("hierarchy", "a third of the features fire only with a parent", n_true=256, children=1 / 3),
    World("manifold", "16 pairs of directions read by an angle", n_true=256, circles=16),
    World("noisy", "noise of half the signal's spread", n_true=256, noise=0.5),
    World("all at once", "every one of these", tail=0.7, topics=16, children=1 / 3, circles=16, noise=0.3),
)
WIDE = World(
    "wide", "every one of these, 256 dimensions, 4,096 directions", 256, 4096, 16.0, 0.7, 32, 1 / 3, 64, 0.3
)


@dataclass(frozen=True, eq=False)
class Truth:
    """Rows and what they are made of."""

    x: np.ndarray  # float32 [n, d]
    values: sp.csr_array  # float32 [n, n_true]: of the true features; those of circles have both signs
    directions: np.ndarray  # float32 [n_true, d]
    parent: np.ndarray  # int [n_true]: the parent of a child, -1 else
    circle: np.ndarray  # int [n_true]: the circle a direction belongs to, -1 else


def make_rows(world: World, n: int, *, seed: int = 0) -> Truth:
    """Rows of a world; the same seed gives the same bytes, and the directions depend on the seed alone.

    Examples
    --------
    >>> truth = make_rows(WORLDS[0], 1000)
    >>> truth.x.shape, truth.values.shape, round(truth.values.nnz / 1000)
    ((1000, 64), (1000, 64), 4)
    """
    rng = np.random.default_rng(seed)
    directions = _directions(rng, world.n_true, world.d)
    circle, parent = np.full(world.n_true, -1), np.full(world.n_true, -1)
    circle[: 2 * world.circles] = np.repeat(np.arange(world.circles), 2)
    order = rng.permutation(
        np.flatnonzero(circle < 0)
    )  # which of them are frequent is independent of the rest
    children = order[: int(world.children * len(order))]
    parents = order[len(children) :]
    parent[children] = rng.choice(parents, len(children)) if len(children) else -1
    own = np.concatenate([np.flatnonzero(circle >= 0)[::2], parents])
    rate = (1.0 + np.arange(len(own))) ** -world.tail
    frequency = np.zeros(world.n_true)
    frequency[rng.permutation(own)] = np.minimum(rate * world.l0 / rate.sum(), 0.5)
    topic = rng.integers(0, world.topics, n) if world.topics else np.zeros(n, np.int64)
    of_feature = rng.integers(0, max(1, world.topics), world.n_true)
    rows = [
        _rows_of(rng, frequency[j], topic, of_feature[j] if world.topics else None)
        if frequency[j]
        else np.zeros(0, np.int64)
        for j in range(world.n_true)
    ]
    for j in children:
        mother = rows[parent[j]]
        rows[j] = mother[rng.random(len(mother)) < 0.3]
    values = [rng.gamma(3.0, 1 / 3.0, len(found)).astype(np.float32) for found in rows]
    for first in np.flatnonzero(circle >= 0)[::2]:
        angle = rng.uniform(0, 2 * np.pi, len(rows[first]))
        rows[first + 1] = rows[first]
        values[first + 1] = (values[first] * np.sin(angle)).astype(np.float32)
        values[first] = (values[first] * np.cos(angle)).astype(np.float32)
    start = np.concatenate([[0], np.cumsum([len(found) for found in rows])])
    codes = sp.csc_array(
        (np.concatenate(values), np.concatenate(rows), start), shape=(n, world.n_true)
    ).tocsr()
    x = np.asarray(codes @ directions, np.float32)
    if world.noise:
        x += rng.normal(0, world.noise * x.std(), x.shape).astype(np.float32)
    return Truth(x, codes, directions, parent, circle)


def _directions(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    rows = rng.normal(size=(n, d))
    if n <= d:
        rows = np.linalg.qr(rows.T)[0].T
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _rows_of(rng: np.random.Generator, frequency: float, topic: np.ndarray, mine: int | None) -> np.ndarray:
    """Ascending rows in which a feature fires, :data:`BOOST` times as often under its topic as under another."""
    if mine is None:
        return np.flatnonzero(rng.random(len(topic), np.float32) < frequency)
    inside = topic == mine
    n_topics = max(1, int(topic.max()) + 1)
    low = frequency / (1 + (BOOST - 1) / n_topics)
    return np.flatnonzero(rng.random(len(topic), np.float32) < np.where(inside, min(BOOST * low, 0.9), low))


def measure_recovery(sae: SAE, truth: Truth) -> dict[str, float]:
    """What a dictionary found of the truth: held-out rows of the world of its training, with the same directions.

    * ``cosine``: mean cosine of true directions with decoder directions, matched one to one (Hungarian
      algorithm);
    * ``recall``: share of true directions whose match has a cosine of at least .9;
    * ``precision``: share of features that fire whose nearest true direction has at least .9;
    * ``false``: share of features that fire and are like no true direction (cosine under .5);
    * ``splitting``: features at a cosine of at least .7, a true direction that has any;
    * ``shrinkage``: 1 - (sum of codes) / (sum of true values) where a found feature and its match are both
      active;
    * ``absorption``: how much more often the match of a found parent is silent where a child of it fires than
      where none does (NaN without children);
    * ``probing``: mean F1 of the one feature that reads a true feature best, chosen on one half of the rows
      and scored on the other; those of circles left out;
    * ``fve l0 dead``: as elsewhere, here on these rows.

    Directions of circles have no place in the measures of directions: no basis of a plane is the true one.
    """
    codes, decoder = codes_of(sae, truth.x), sae.W_dec.detach().cpu().numpy()
    fires = np.asarray((codes > 0).sum(axis=0)).reshape(-1) > 0
    plain = truth.circle < 0
    alive = np.flatnonzero(fires)
    match, cosine = match_features(truth.directions[plain], decoder[alive])
    unit = decoder[alive] / np.linalg.norm(decoder[alive], axis=1, keepdims=True).clip(1e-12)
    similar = unit @ truth.directions[plain].T
    in_plane = _in_plane(unit, truth)
    nearest = np.maximum(similar.max(axis=1, initial=-1), in_plane)
    near = (similar >= NEAR).sum(axis=0)
    found = np.where((cosine >= FOUND) & (match >= 0), alive[match], -1)  # a feature for each plain direction
    x_hat = codes @ decoder + sae.b_dec.detach().cpu().numpy()
    return {
        "cosine": float(cosine.mean()),
        "recall": float((cosine >= FOUND).mean()),
        "precision": float((nearest >= FOUND).mean()) if len(alive) else np.nan,
        "false": float((nearest < STRANGE).mean()) if len(alive) else np.nan,
        "splitting": float(near[near > 0].mean()) if (near > 0).any() else np.nan,
        "shrinkage": _shrinkage(codes, truth.values[:, np.flatnonzero(plain)], found),
        "absorption": _absorption(codes, truth, np.flatnonzero(plain), found),
        "probing": _probing(codes, truth.values[:, np.flatnonzero(plain)]),
        "fve": float(1 - ((truth.x - x_hat) ** 2).sum() / ((truth.x - truth.x.mean(0)) ** 2).sum()),
        "l0": codes.nnz / len(truth.x),
        "dead": float(1 - fires.mean()),
    }


def _in_plane(unit: np.ndarray, truth: Truth) -> np.ndarray:
    """Largest cosine of each direction with the plane of a circle; -1 without circles."""
    planes = [truth.directions[truth.circle == c] for c in range(int(truth.circle.max()) + 1)]
    if not planes:
        return np.full(len(unit), -1.0)
    bases = [np.linalg.qr(plane.T)[0] for plane in planes]
    return np.max([np.linalg.norm(unit @ basis, axis=1) for basis in bases], axis=0)


def _shrinkage(codes: sp.csr_array, true: sp.csr_array, found: np.ndarray) -> float:
    columns = np.flatnonzero(found >= 0)
    if not len(columns):
        return np.nan
    mine, theirs = codes[:, found[columns]], true[:, columns]
    both = (mine > 0).multiply(theirs > 0)
    total = theirs.multiply(both).sum()
    return float(1 - mine.multiply(both).sum() / total) if total > 0 else np.nan


def _absorption(codes: sp.csr_array, truth: Truth, plain: np.ndarray, found: np.ndarray) -> float:
    """Mean over parents that were found and have children."""
    feature = np.full(len(truth.directions), -1)
    feature[plain] = found
    gaps = []
    for parent in np.unique(truth.parent[truth.parent >= 0]):
        if feature[parent] < 0:
            continue
        there = np.flatnonzero(np.diff(truth.values[:, [parent]].indptr))
        kids = np.flatnonzero(truth.parent == parent)
        with_child = np.diff(truth.values[there][:, kids].indptr) > 0
        silent = np.diff(codes[there][:, [feature[parent]]].indptr) == 0
        if with_child.any() and not with_child.all():
            gaps.append(silent[with_child].mean() - silent[~with_child].mean())
    return float(np.mean(gaps)) if gaps else np.nan


def _probing(codes: sp.csr_array, true: sp.csr_array) -> float:
    half = codes.shape[0] // 2

    def f1(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        on = sp.csr_array((codes[rows] > 0).astype(np.float32))
        positive = sp.csr_array((true[rows] > 0).astype(np.float32))
        n_on = np.asarray(on.sum(axis=0)).reshape(-1)
        n_positive = np.asarray(positive.sum(axis=0)).reshape(-1)
        both = (positive.T @ on).toarray()
        return 2 * both / np.maximum(n_positive[:, None] + n_on, 1), n_positive

    (chosen_by, n_first), (score, n_second) = f1(slice(0, half)), f1(slice(half, None))
    enough = (n_first >= N_POSITIVE) & (n_second >= N_POSITIVE)
    best = chosen_by.argmax(axis=1)
    return float(score[np.arange(len(best)), best][enough].mean()) if enough.any() else np.nan
