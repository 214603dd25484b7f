"""Where every feature peaks in every sample, and what follows from it: examples, motifs, neighbours, a map.

Codes are read in blocks of features, each sorted once, so ten thousand features take seconds and no call holds all.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from sciinterp.budget import one_thread
from sciinterp.codes.active import active_cells, only_active
from sciinterp.codes.peaks import BLOCK_VALUES, largest_in_groups, strongest_first
from sciinterp.plots.logos import Letters, information
from sciinterp.plots.tracks import firsts_first
from sciinterp.settings import Plain

if TYPE_CHECKING:
    from sciinterp.codes import FeatureMatrix

COACTIVE_POSITIONS = 40_000  # positions sampled for co-activity: enough for a ranking of neighbours
FLANK = 7
TOP_PEAKS = 200
FEATURES_AT_ONCE = 1024  # whose co-activity with all others is counted at once: some 80 MB
LEAST_FOR_UMAP = 100  # directions below which neighbourhoods say nothing that two components do not


@dataclass(frozen=True, eq=False)
class Activity:
    """One feature: where it is active, and its peak in every such sample, the largest first.

    Attributes
    ----------
    feature : int
    rows : int [n_active]
        Positions on the concatenated axis, ascending.
    on : float32 [n_active]
    sample, position : int64 [n]
    value : float32 [n]
    """

    feature: int
    rows: np.ndarray
    on: np.ndarray
    sample: np.ndarray
    position: np.ndarray
    value: np.ndarray


def activities(features: FeatureMatrix) -> Iterator[Activity]:
    """Every feature in turn, read in blocks."""
    home = features.samples.position_sample()
    for lo, hi in features.feature_blocks(BLOCK_VALUES):
        codes = features.by_feature(lo, hi)
        active = only_active(codes)
        found = strongest_first(largest_in_groups(codes, home))
        ends = np.searchsorted(found.feature, np.arange(hi - lo + 1))
        for i, (first, last) in enumerate(zip(ends, ends[1:])):
            rows, on = active.column(i)
            span = slice(first, last)
            yield Activity(lo + i, rows, on, found.group[span], found.position[span], found.value[span])


def logo_columns(letters: Letters, counts: np.ndarray, bits: np.ndarray) -> list[list[list[str | float]]]:
    """For every column its letters with their heights in bits, smallest first."""
    out = []
    for column in bits:
        order = np.argsort(column, kind="stable")
        out.append([[letters.alphabet[i], round(float(column[i]), 3)] for i in order if column[i] > 0.02])
    return out


def feature_logos(letters: Letters, active: Activity) -> tuple[str, list[list[list[str | float]]], int]:
    """Motif, logo and number of peaks of one feature."""
    where = active.position[:TOP_PEAKS]
    counts = letters.counts(where, FLANK)
    bits = information(counts)
    return letters.motif(counts, bits), logo_columns(letters, counts, bits), len(where)


def examples(active: Activity, family: np.ndarray, *, top: int = 8, each: int = 2) -> list[tuple[str, int]]:
    """Samples to show of one feature: the strongest, one a family first, then some of every quartile."""
    sample = active.sample
    if not len(sample):
        return []
    out = [("strongest", int(sample[i])) for i in firsts_first(family[sample])[:top]]
    shown = {s for _, s in out}
    for k, name in enumerate(("upper quarter", "second quarter", "third quarter", "lowest quarter")):
        quarter = sample[k * len(sample) // 4 : (k + 1) * len(sample) // 4].tolist()
        inside = [s for s in quarter if s not in shown]
        step = max(1, len(inside) // each)
        out += [(name, s) for s in inside[step // 2 :: step][:each]]
    return out


def coactive(features: FeatureMatrix, *, top: int = 8) -> list[list[tuple[int, float]]]:
    """For every feature those that fire at the same positions: feature and Jaccard index, highest first."""
    step = max(1, -(-features.n_positions // COACTIVE_POSITIONS))
    parts = [sp.csr_array((0, features.n_features), dtype=np.float32)]
    for lo, hi in features.sample_blocks():
        skipped = -int(features.samples.offsets[lo]) % step
        some = features.by_sample(np.arange(lo, hi))[skipped::step]
        parts.append(active_cells(some, features.largest).astype(np.float32))
    on = sp.csr_array(sp.vstack(parts, format="csr"))
    turned, size = (
        sp.csr_array(on.T),
        np.bincount(on.indices, minlength=features.n_features).astype(np.float32),
    )
    out = []
    for first in range(0, features.n_features, FEATURES_AT_ONCE):
        both = sp.csr_array(turned[first : first + FEATURES_AT_ONCE] @ on)
        for i in range(both.shape[0]):
            j, span = first + i, slice(both.indptr[i], both.indptr[i + 1])
            other, shared = both.indices[span], both.data[span]
            jaccard = shared / np.maximum(size[j] + size[other] - shared, 1)
            jaccard[other == j] = -1
            best = np.lexsort((other, -jaccard))[:top]
            out.append([(int(other[i]), round(float(jaccard[i]), 4)) for i in best if jaccard[i] > 0])
    return out


def decoder_map(directions: np.ndarray | None) -> Plain | None:
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


@one_thread()
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
