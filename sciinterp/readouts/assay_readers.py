"""What an assay is read from: likelihoods, changes of features and activations, and what needs no model.

A reader is a column (used as it stands) or a matrix of which a ridge regression is fitted on training variants; its penalty
is chosen on inner parts that hold positions out. What is added to a plain reader has a weight of its own, chosen along
with the penalty and zero unless inner parts are read better with it: columns that say nothing cost nothing. Matrices wider than 256 columns are first turned to their 128 leading
singular directions, which knows no score. Of several substitutions, columns are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from Bio.Align import substitution_matrices
from scipy.stats import rankdata
from sklearn.decomposition import TruncatedSVD

from sciinterp.association.residue_properties import HYDROPATHY
from sciinterp.interventions.saturation import LIKELIHOODS
from sciinterp.readers.notation import Variant

if TYPE_CHECKING:
    import anndata

# Cubic angstrom, Zamyatnin 1972.
VOLUME = dict(zip("ARNDCQEGHILKMFPSTWYV", (
    88.6, 173.4, 114.1, 111.1, 108.5, 143.8, 138.4, 60.1, 153.2, 166.7, 166.7, 168.6, 162.9, 189.9, 112.7, 89.0, 116.1, 227.8,
    193.6, 140.0,
)))  # fmt: skip
# Classes of residues that a substitution leads to.
CLASSES = {
    c: i for i, letters in enumerate(("AVILMC", "FWY", "STNQH", "KR", "DE", "G", "P")) for c in letters
}
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
WIDEST, DIRECTIONS, INNER = 256, 128, 3
# Variance of all added columns in units of that of all plain ones.
WEIGHTS = (0.0, 0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Reader:
    """One column or matrix that scores are read from."""

    values: np.ndarray  # float [n] or [n, m]
    kind: str  # {"likelihood", "baseline", "features", "activations"}
    n_plain: int = 0  # so many leading columns are those of a plainer reader; 0 where nothing is added to one


# name -> how its number of one substitution is made
MATRICES: dict[str, Callable[[Variant], float]] = {
    "BLOSUM62": lambda v: _BLOSUM[v.ref, v.alt],
    "hydrophobicity": lambda v: -abs(HYDROPATHY[v.alt] - HYDROPATHY[v.ref]),
    "volume": lambda v: -abs(VOLUME[v.alt] - VOLUME[v.ref]),
}
_MATRIX = substitution_matrices.load("BLOSUM62")
assert isinstance(_MATRIX, substitution_matrices.Array)
_BLOSUM = dict(_MATRIX.items())


def readers_of(
    scan: anndata.AnnData,
    changes: Sequence[Variant],
    *,
    protein: bool,
    beside: Mapping[str, np.ndarray] | None = None,
) -> tuple[dict[str, Reader], str]:
    """Every reader of a scan, by name; and the name of the plain one that others are added to.

    The scan is that of :func:`sciinterp.saturate`, a row each of the substitutions `changes`; `beside` has
    further plain readers.
    """
    beside = dict(beside or {})
    found = {
        name.replace("_", " "): Reader(scan.obs[name].to_numpy(float), "likelihood")
        for name in LIKELIHOODS
        if name in scan.obs
    }
    likelihood = list(found)[:1]
    if protein:
        for name in MATRICES:
            found[name] = Reader(summed(changes, MATRICES[name]), "baseline")
    features = narrow(sp.hstack([scan.X, scan.layers["here"]], format="csr"))
    dense = narrow(np.asarray(scan.obsm["activations"]))
    plain, base = narrow(substitution_columns(changes, protein=protein)), "substitution"
    found["position means"] = Reader(_one_hot(changes, lambda v: v.start), "baseline")
    found[base] = Reader(plain, "baseline")
    for name, values in beside.items():
        found[name] = Reader(values, "baseline")
        plain, base = np.c_[plain, narrow(values[:, None])], f"{base} + {name}"
    if beside:
        found[base] = Reader(plain, "baseline")
    found["features"] = Reader(features, "features")
    found["activations"] = Reader(dense, "activations")
    for name in likelihood:
        values = found[name].values
        known = np.nan_to_num(values, nan=float(np.nanmean(values)))
        found[f"{base} + {name}"] = Reader(np.c_[plain, narrow(known[:, None])], "likelihood", plain.shape[1])
    for name in ("features", "activations"):
        found[f"{base} + {name}"] = Reader(np.c_[plain, found[name].values], name, plain.shape[1])
    return found, base


def substitution_columns(changes: Sequence[Variant], *, protein: bool) -> np.ndarray:
    """Which letter becomes which: letters before, letters after, and of residues the matrices."""
    parts = [_one_hot(changes, lambda v: v.ref), _one_hot(changes, lambda v: v.alt)]
    if protein:
        parts += [summed(changes, of)[:, None] for of in MATRICES.values()]
        parts += [
            summed(changes, lambda v, t=table: t[v.alt] - t[v.ref])[:, None] for table in (HYDROPATHY, VOLUME)
        ]
    return np.hstack(parts)


def summed(changes: Sequence[Variant], of: Callable[[Variant], float]) -> np.ndarray:
    """The sum over a variant's substitutions; zero where a letter has no such number."""
    out = np.zeros(len(changes))
    for i, change in enumerate(changes):
        for v in change.substitutions:
            try:
                out[i] += of(Variant(v.start, v.ref.upper(), v.alt.upper()))
            except (KeyError, IndexError):
                continue
    return out


def _one_hot(
    changes: Sequence[Variant], of: Callable[[Variant], object], within: np.ndarray | None = None
) -> np.ndarray:
    """Counts of a property of substitutions, a column each value, and each of what it is within."""
    names: dict[object, int] = {}
    part = [0] * len(changes) if within is None else within.tolist()
    cells = [
        (i, names.setdefault((part[i], of(v)), len(names)))
        for i, c in enumerate(changes)
        for v in c.substitutions
    ]
    out = np.zeros((len(changes), max(len(names), 1)))
    np.add.at(out, tuple(np.array(cells).reshape(-1, 2).T), 1)
    return out


def class_columns(changes: Sequence[Variant], of: np.ndarray) -> np.ndarray:
    """Positions and classes of the letters after: what a feature's change must say something beyond.

    Columns are of positions of each wild type, whose numbers ``of`` [n] are.
    """
    return np.hstack(
        [
            _one_hot(changes, lambda v: v.start, of),
            _one_hot(changes, lambda v: CLASSES.get(v.alt.upper(), v.alt)),
        ]
    )


def narrow(values: np.ndarray | sp.csr_array | sp.csr_matrix) -> np.ndarray:
    """Columns of equal spread; of a wide matrix the leading singular directions, with their sizes."""
    x: sp.csr_array = sp.csr_array(values, dtype=np.float64)
    square = x * x
    mean = np.asarray(x.mean(0)).ravel()
    spread = np.sqrt(np.maximum(np.asarray(square.mean(0)).ravel() - mean**2, 0))
    varies = np.flatnonzero(spread > np.maximum(1e-9, 1e-7 * np.abs(mean)))  # the mean is rounded
    if not len(varies):
        return np.zeros((x.shape[0], 1))
    scaled = sp.csr_array(x[:, varies] * (1 / spread[varies]))
    if len(varies) <= WIDEST:
        return scaled.toarray()
    most = min(DIRECTIONS, min(scaled.shape) - 1)
    return TruncatedSVD(most, random_state=0).fit_transform(scaled)


def predictions(reader: Reader, y: np.ndarray, parts: Sequence[tuple], block: np.ndarray) -> np.ndarray:
    """Held-out predictions [n], NaN where a variant is in no tested part; a column stands as it is."""
    if reader.values.ndim == 1:
        return reader.values
    out, views = np.full(len(y), np.nan), _views(reader)
    for train, test in parts:
        if len(train) and len(test):
            out[test] = _ridge(views, rankdata(y[train]) / len(train), train, test, block[train])
    return out


def _views(reader: Reader) -> list[np.ndarray]:
    """A reader's columns, with what is added to a plain one at each weight."""
    if not reader.n_plain:
        return [reader.values]
    plain, added = np.split(reader.values, [reader.n_plain], axis=1)
    unit = np.sqrt(plain.var(0).sum() / max(float(added.var(0).sum()), 1e-12))
    return [np.c_[plain, added * (unit * np.sqrt(w))] if w else plain for w in WEIGHTS]


def _ridge(
    views: Sequence[np.ndarray], y: np.ndarray, train: np.ndarray, test: np.ndarray, block: np.ndarray
) -> np.ndarray:
    """Predictions of a ridge regression; its columns and penalty are those of the best rank correlation on inner parts."""
    names, code = np.unique(block, return_inverse=True)
    inner = np.random.default_rng(0).permutation(len(names))[code] % INNER
    scores = np.zeros((len(views), len(PENALTIES)))
    for f in range(INNER if len(names) >= INNER else 0):
        a, b = np.flatnonzero(inner != f), np.flatnonzero(inner == f)
        for row, x in zip(scores, views if len(b) > 2 else ()):
            row += [_rank_correlation(y[b], p) for p in _solved(x[train[a]], y[a], x[train[b]], PENALTIES)]
    view, penalty = divmod(int(np.argmax(scores)), len(PENALTIES))
    (out,) = _solved(views[view][train], y, views[view][test], (PENALTIES[penalty],))
    return out


def _solved(x: np.ndarray, y: np.ndarray, right: np.ndarray, penalties: Sequence[float]) -> list[np.ndarray]:
    """Predictions for each penalty, in units of the number of rows and the mean variance of columns."""
    mean, middle = x.mean(0), y.mean()
    x, right = x - mean, right - mean
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    scale = max(float(values.sum()) / len(values), 1e-12)
    turned, ahead = vectors.T @ (x.T @ (y - middle)) / len(x), right @ vectors
    return [ahead @ (turned / (np.maximum(values, 0) + p * scale)) + middle for p in penalties]


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    if np.ptp(a) < 1e-12 or np.ptp(b) < 1e-12:
        return 0.0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
