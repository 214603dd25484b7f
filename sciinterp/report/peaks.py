"""Where every feature peaks in every sample, and what follows from it: examples, motifs, neighbours, a map.

Everything is computed from one sort of the sparse codes, so ten thousand features take seconds.
"""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from sciinterp.plots.letters import ALPHABETS, information

if TYPE_CHECKING:
    from sciinterp.codes import FeatureMatrix

COACTIVE_POSITIONS = 40_000  # positions sampled for co-activity: enough for a ranking of neighbours
FLANK = 7
TOP_PEAKS = 200
LEAST_FOR_UMAP = 100  # directions below which neighbourhoods say nothing that two components do not


@dataclass(frozen=True)
class Peaks:
    """The largest activation of every feature in every sample where it is active, by feature, largest first.

    Attributes
    ----------
    indptr : int64 [n_features + 1]
    sample, position : int64 [n]
        Position on the concatenated axis.
    value : float32 [n]
    """

    indptr: np.ndarray
    sample: np.ndarray
    position: np.ndarray
    value: np.ndarray

    def of(self, j: int) -> slice:
        """The entries of one feature."""
        return slice(int(self.indptr[j]), int(self.indptr[j + 1]))


def find_peaks(features: FeatureMatrix) -> Peaks:
    """All peaks, in one sort."""
    codes: Any = features.codes
    keep = codes.data > 0
    position = np.repeat(np.arange(codes.shape[0]), np.diff(codes.indptr))[keep]
    feature, value = codes.indices[keep].astype(np.int64), codes.data[keep]
    sample = features.samples.position_sample()[position]
    order = np.lexsort((position, -value, sample, feature))
    position, feature, value, sample = position[order], feature[order], value[order], sample[order]
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(feature) != 0) | (np.diff(sample) != 0)
    position, feature, value, sample = position[first], feature[first], value[first], sample[first]
    order = np.lexsort((sample, -value, feature))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(feature, minlength=features.n_features))])
    return Peaks(indptr.astype(np.int64), sample[order], position[order], value[order])


class Letters:
    """All sequences end to end as small integers, for counting letters around many peaks at once."""

    def __init__(self, features: FeatureMatrix) -> None:
        samples = features.samples
        kind = "protein" if samples.kind == "airr" else samples.kind
        texts = [
            d.upper() if isinstance(d, str) and len(d) == n else " " * int(n)
            for d, n in zip(samples.data, samples.lengths)
        ]
        joined = "".join(texts)
        self.alphabet = ALPHABETS.get(kind) or "".join(sorted(set(joined) - {" "}))[:40]
        points = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
        table = np.array([ord(c) for c in self.alphabet] or [0], np.uint32)
        order = np.argsort(table)
        at = np.clip(np.searchsorted(table[order], points), 0, len(table) - 1)
        self.codes = np.where(table[order][at] == points, order[at], -1)
        self.sample = samples.position_sample()

    def counts(self, positions: np.ndarray) -> np.ndarray:
        """int64 [2 * FLANK + 1, n_letters]: letters around positions, within their own samples."""
        window = positions[:, None] + np.arange(-FLANK, FLANK + 1)
        inside = (window >= 0) & (window < len(self.codes))
        window = np.where(inside, window, 0)
        inside &= self.sample[window] == self.sample[positions][:, None] if len(positions) else inside
        letter = self.codes[window]
        inside &= letter >= 0
        n = max(len(self.alphabet), 1)
        flat = (np.arange(2 * FLANK + 1) * n + letter)[inside]
        return np.bincount(flat, minlength=(2 * FLANK + 1) * n).reshape(2 * FLANK + 1, n)

    def motif(self, counts: np.ndarray, bits: np.ndarray) -> str:
        """The prevailing letters: capital from 1.5 bits, small from 0.5, else a dot; outer dots are cut."""
        if not self.alphabet:
            return ""
        best = [self.alphabet[i] for i in counts.argmax(axis=1)]
        height = bits.sum(axis=1)
        text = "".join("." if b < 0.5 else c if b >= 1.5 else c.lower() for c, b in zip(best, height))
        return text.strip(".")


def logo_columns(letters: Letters, counts: np.ndarray, bits: np.ndarray) -> list[list[list[Any]]]:
    """For every column its letters with their heights in bits, smallest first."""
    out = []
    for column in bits:
        order = np.argsort(column, kind="stable")
        out.append([[letters.alphabet[i], round(float(column[i]), 3)] for i in order if column[i] > 0.02])
    return out


def feature_logos(letters: Letters, peaks: Peaks, j: int) -> tuple[str, list[list[list[Any]]], int]:
    """Motif, logo and number of peaks of one feature."""
    where = peaks.position[peaks.of(j)][:TOP_PEAKS]
    counts = letters.counts(where)
    bits = information(counts)
    return letters.motif(counts, bits), logo_columns(letters, counts, bits), len(where)


def examples(
    peaks: Peaks, j: int, family: np.ndarray, *, top: int = 8, each: int = 2
) -> list[tuple[str, int]]:
    """Samples to show of one feature: the strongest, one a family first, then some of every quartile."""
    span = peaks.of(j)
    sample = peaks.sample[span]
    if not len(sample):
        return []
    _, first = np.unique(family[sample], return_index=True)
    best = np.concatenate([np.sort(first), np.setdiff1d(np.arange(len(sample)), first)])[:top]
    out = [("strongest", int(sample[i])) for i in best]
    shown = {s for _, s in out}
    for name, lo, hi in (
        ("upper quarter", 0.0, 0.25),
        ("second quarter", 0.25, 0.5),
        ("third quarter", 0.5, 0.75),
        ("lowest quarter", 0.75, 1.0),
    ):
        inside = [
            int(s) for s in sample[int(lo * len(sample)) : int(hi * len(sample))] if int(s) not in shown
        ]
        step = max(1, len(inside) // each)
        out += [(name, s) for s in inside[step // 2 :: step][:each]]
    return out


def coactive(features: FeatureMatrix, *, top: int = 8) -> list[list[tuple[int, float]]]:
    """For every feature those that fire at the same positions: feature and Jaccard index, highest first."""
    n = features.n_positions
    step = max(1, -(-n // COACTIVE_POSITIONS))
    on = features.codes[::step]
    on = sp.csr_array((np.ones(on.nnz, np.float32), on.indices, on.indptr), shape=on.shape)
    size = np.asarray(on.sum(axis=0)).ravel()
    both = sp.csr_array(on.T @ on)
    out = []
    for j in range(features.n_features):
        span = slice(both.indptr[j], both.indptr[j + 1])
        other, shared = both.indices[span], both.data[span]
        jaccard = shared / np.maximum(size[j] + size[other] - shared, 1)
        jaccard[other == j] = -1
        best = np.lexsort((other, -jaccard))[:top]
        out.append([(int(other[i]), round(float(jaccard[i]), 4)) for i in best if jaccard[i] > 0])
    return out


def decoder_map(directions: np.ndarray | None) -> dict[str, Any] | None:
    """A plane for the decoder directions: UMAP where ``umap-learn`` is installed, else principal components.

    Parameters
    ----------
    directions : float [n_features, d_in] or None

    Returns
    -------
    dict or None
        ``x``, ``y`` [n_features], ``method`` (in words) and ``explained`` (shares of variance; empty for UMAP).
        None for fewer than three directions, or such that are not finite.
    """
    if directions is None or len(directions) < 3 or directions.shape[1] < 2:
        return None
    unit = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    if not np.isfinite(unit).all():
        return None
    xy, shares, method = _umap(unit) or _components(unit)
    return {
        "x": np.round(xy[:, 0], 4).tolist(),
        "y": np.round(xy[:, 1], 4).tolist(),
        "explained": shares,
        "method": method,
    }


def _umap(unit: np.ndarray) -> tuple[np.ndarray, list[float], str] | None:
    """UMAP (McInnes et al., arXiv:1802.03426) on cosine distance, one thread and a fixed seed."""
    if len(unit) < LEAST_FOR_UMAP or importlib.util.find_spec("umap") is None:
        return None
    import umap

    near = min(15, len(unit) - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a fixed seed means one thread
        plane = umap.UMAP(n_neighbors=near, min_dist=0.1, metric="cosine", random_state=0, n_jobs=1)
        xy = np.asarray(plane.fit_transform(unit.astype(np.float32)), np.float64)
    method = f"UMAP of the decoder directions (cosine, {near} neighbours, umap-learn {metadata.version('umap-learn')})"
    return (xy, [], method) if np.isfinite(xy).all() else None


def _components(unit: np.ndarray) -> tuple[np.ndarray, list[float], str]:
    """Two principal components; the sign of each, which is free, is fixed by its largest entry."""
    from sklearn.decomposition import PCA

    pca = PCA(n_components=2, svd_solver="covariance_eigh")
    xy = pca.fit_transform(unit.astype(np.float64))
    xy *= np.where(xy[np.abs(xy).argmax(axis=0), [0, 1]] < 0, -1, 1)
    shares = [round(float(v), 4) for v in pca.explained_variance_ratio_]
    return xy, shares, "principal components of the decoder directions"


def similar(directions: np.ndarray | None, *, top: int = 5) -> list[list[tuple[int, float]]]:
    """For every feature those with the nearest decoder direction: feature and cosine, highest first."""
    if directions is None or not np.isfinite(directions).all():
        return []
    unit = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    unit = unit.astype(np.float32)
    out = []
    for lo in range(0, len(unit), 1024):
        block = unit[lo : lo + 1024] @ unit.T
        block[np.arange(len(block)), np.arange(lo, lo + len(block))] = -2
        best = np.argpartition(-block, min(top, block.shape[1] - 1), axis=1)[:, :top]
        for row, chosen in zip(block, best):
            chosen = chosen[np.argsort(-row[chosen], kind="stable")]
            out.append([(int(i), round(float(row[i]), 3)) for i in chosen if row[i] > -2])
    return out
