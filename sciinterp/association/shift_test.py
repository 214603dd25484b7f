"""Does the feature sit on the annotated span? A description, by circular shifts shared within families.

The observed sum of codes on annotated positions is compared with the sum after shifting the annotation around
each sample, all relatives by the same fraction of their length, since relatives are one observation. All
shifts of a sample at once are one circular cross-correlation, computed by FFT.

This describes and does not decide: it holds the family's other properties fixed but not the composition of a
span, and where every family carries the concept its error rate at 0.05 has been measured at 0.087 to 0.127.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.codes import FeatureMatrix
from sciinterp.errors import ShapeError

# Shifts on which the curves of a family are laid over each other.
N_SHIFTS = 128


def localise(
    features: FeatureMatrix,
    positives: sp.csr_array,
    family: np.ndarray,
    *,
    feature: np.ndarray,
    concept: np.ndarray,
    n_draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare codes on the annotated spans with those on shifted spans.

    Parameters
    ----------
    features : FeatureMatrix
    positives : csr_array bool [n_positions, n_concepts]
    family : int64 [n_samples]
    feature, concept : int64 [n_pairs]
        The pairs to describe.
    n_draws : int
        Draws of one shift for each family.
    seed : int

    Returns
    -------
    DataFrame
        ``feature``, ``concept``, ``fold`` (observed over mean shifted sum), ``p_shift`` (share of draws at
        least as large, a description).

    Examples
    --------
    >>> codes = np.zeros((40, 1), np.float32); codes[[5, 25]] = 1
    >>> table = pd.DataFrame({"id": ["a", "b"], "length": [20, 20]})
    >>> found = localise(FeatureMatrix(codes, table), sp.csr_array(codes > 0), np.array([0, 1]),
    ...                  feature=np.array([0]), concept=np.array([0]))
    >>> bool(found["fold"][0] > 5), bool(found["p_shift"][0] < 0.05)
    (True, True)
    """
    feature, concept = np.asarray(feature, np.int64), np.asarray(concept, np.int64)
    if len(family) != len(features.samples):
        raise ShapeError(
            "one family a sample is needed",
            where="argument 'family'",
            expected=str(len(features.samples)),
            got=str(len(family)),
        )
    wanted_f, at_f = np.unique(feature, return_inverse=True)
    wanted_c, at_c = np.unique(concept, return_inverse=True)
    codes, truth = features.codes[:, wanted_f], positives[:, wanted_c]
    names, number = np.unique(family, return_inverse=True)
    curves = np.zeros((len(names), N_SHIFTS, len(feature)))
    observed = np.zeros(len(feature))
    offsets = features.samples.offsets
    for i in range(len(features.samples)):
        rows = slice(int(offsets[i]), int(offsets[i + 1]))
        length = rows.stop - rows.start
        spans, fires = truth[rows], codes[rows]
        if spans.nnz == 0 or fires.nnz == 0:
            continue
        a = np.fft.rfft(fires.toarray(), axis=0)[:, at_f]
        b = np.fft.rfft(spans.toarray().astype(np.float64), axis=0)[:, at_c]
        shifted = np.fft.irfft(a * np.conj(b), n=length, axis=0)
        observed += shifted[0]
        curves[number[i]] += shifted[np.arange(N_SHIFTS) * length // N_SHIFTS]
    draws = np.random.default_rng(seed).integers(0, N_SHIFTS, (n_draws, len(names)))
    null = np.zeros((n_draws, len(feature)))
    for g in range(len(names)):
        null += curves[g, draws[:, g]]
    mean = curves.mean(axis=1).sum(axis=0)
    fold = np.divide(observed, mean, out=np.full(len(feature), np.nan), where=mean > 1e-9)
    above = (null >= observed - 1e-6 * np.maximum(1, np.abs(observed))).sum(axis=0)
    return pd.DataFrame(
        {"feature": feature, "concept": concept, "fold": fold, "p_shift": (1 + above) / (n_draws + 1)}
    )
