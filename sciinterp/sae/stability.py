"""Stability: which features come back when the SAE is trained again with another seed.

After Paulo and Belrose (arXiv:2501.16615): features of two SAEs are matched one to one (Hungarian algorithm on
decoder cosine); a feature is *shared* when decoder and encoder cosine of its match both exceed 0.7. With activations
the correlation of the codes of each match is a third space. The null is a random dictionary with the covariance of
the real one (for codes: random directions that fire as often as its features): matching thousands of directions in a
few hundred dimensions finds neighbours by chance.

On a model with randomised weights the shared fraction and the correlation fall towards their nulls (AntiBERTy, layer
5: .27 to .03 against 0, and .61 to .33 against .10 and .31); reconstruction does not.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from sciinterp.errors import InputError
from sciinterp.sae.grid import codes_of
from sciinterp.sae.plain_dictionaries import baseline_sae

SHARED = 0.7


def match_features(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one match of directions.

    Parameters
    ----------
    a, b : ndarray [n_a, d], [n_b, d]
        Rows are directions, of any length.

    Returns
    -------
    match : ndarray of int [n_a]
        The row of ``b`` matched to each row of ``a``, or -1.
    cosine : ndarray [n_a]
        Cosine with it (0 where unmatched).

    Examples
    --------
    >>> match_features(np.eye(3), np.eye(3)[[2, 0, 1]])[0].tolist()
    [1, 2, 0]
    """
    from scipy.optimize import linear_sum_assignment

    similarity = _unit(a) @ _unit(b).T
    rows, columns = linear_sum_assignment(-similarity)
    match, cosine = np.full(len(a), -1), np.zeros(len(a))
    match[rows], cosine[rows] = columns, similarity[rows, columns]
    return match, cosine


def stability(
    saes: list[Any],
    *,
    alive: list[np.ndarray] | None = None,
    codes: list[Any] | None = None,
    x: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare SAEs of several seeds.

    Parameters
    ----------
    saes : list of SAE
        At least two, of the same site.
    alive : list of bool [n_features], optional
        Features to compare, by SAE; all when not given.
    codes : list of csr [n, n_features], optional
        Codes of the same tokens: adds the correlation of matched features' activations.
    x : ndarray [n, d_in], optional
        Activations of some tokens: gives ``codes`` where they are not given, features that fire on none of the
        tokens as not ``alive``, and the null of the activation space.
    seed : int
        Of the random dictionaries of the null.

    Returns
    -------
    features : pandas.DataFrame
        For the first SAE: ``feature, score`` (mean over other seeds of the smaller of decoder and encoder cosine),
        ``decoder, encoder, activation, shared`` (fraction of seeds in which it is shared).
    pairs : pandas.DataFrame
        For each pair of seeds: ``a, b``, ``shared, decoder, encoder`` (mean cosines), ``activation`` (mean
        correlation), and ``null_shared, null_decoder, null_activation``; NaN where it was not measured.

    Raises
    ------
    InputError
        With fewer than two SAEs.
    """
    if len(saes) < 2:
        raise InputError(
            "stability needs several SAEs",
            expected="2 or more, trained with different seeds",
            got=str(len(saes)),
        )
    dec = [_numpy(s.W_dec) for s in saes]
    enc = [_numpy(s.W_enc).T for s in saes]
    if x is not None and codes is None:
        codes = [codes_of(s, x) for s in saes]
    keep = alive if alive is not None else [np.ones(len(d), bool) for d in dec]
    if alive is None and x is not None and codes is not None:
        keep = [np.diff(c.tocsc().indptr) > 0 for c in codes]
    rng = np.random.default_rng(seed)
    random = [] if x is None else [_random_codes(s, x, seed) for s in saes]
    pairs, per_feature = [], []
    for a, b in combinations(range(len(saes)), 2):
        ia, ib = np.flatnonzero(keep[a]), np.flatnonzero(keep[b])
        match, cosine = match_features(dec[a][ia], dec[b][ib])
        found = match >= 0
        encoder = np.zeros(len(ia))
        encoder[found] = (_unit(enc[a][ia[found]]) * _unit(enc[b][ib[match[found]]])).sum(1)
        shared = (cosine > SHARED) & (encoder > SHARED)
        null = match_features(dec[a][ia], _random_like(dec[b][ib], rng))[1]
        activation = np.full(len(ia), np.nan)
        if codes is not None:
            activation[found] = _correlation(codes[a][:, ia[found]], codes[b][:, ib[match[found]]])
        null_activation = np.full(1, np.nan)
        if codes is not None and random:
            place = match_features(dec[a][ia], random[b][0][ib])[0]
            pairs_of = place >= 0
            null_activation = _correlation(codes[a][:, ia[pairs_of]], random[b][1][:, ib[place[pairs_of]]])
        pairs.append(
            {
                "a": a,
                "b": b,
                "shared": shared.mean(),
                "decoder": cosine.mean(),
                "encoder": encoder.mean(),
                "activation": _mean(activation),
                "null_shared": (null > SHARED).mean(),
                "null_decoder": null.mean(),
                "null_activation": _mean(null_activation),
            }
        )
        if a == 0:
            per_feature.append(
                pd.DataFrame(
                    {
                        "feature": ia,
                        "score": np.minimum(cosine, encoder),
                        "decoder": cosine,
                        "encoder": encoder,
                        "activation": activation,
                        "shared": shared.astype(float),
                    }
                )
            )
    features = pd.concat(per_feature).groupby("feature", as_index=False).mean()
    return features, pd.DataFrame(pairs)


def _random_like(directions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random directions with the second moment of the given ones."""
    unit = _unit(directions)
    values, vectors = np.linalg.eigh(unit.T @ unit / len(unit))
    return rng.normal(size=unit.shape) * np.sqrt(np.clip(values, 0, None)) @ vectors.T


def _random_codes(sae: Any, x: np.ndarray, seed: int) -> tuple[np.ndarray, Any]:
    """Directions [n_features, d_in] and codes of a random dictionary that fires as often as ``sae``."""
    other = baseline_sae("random", x, like=sae, seed=seed)
    return _numpy(other.W_dec), codes_of(other, x)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _correlation(a: Any, b: Any) -> np.ndarray:
    """Pearson correlation of paired sparse columns."""
    n = a.shape[0]
    mean_a, mean_b = np.asarray(a.sum(0)).ravel() / n, np.asarray(b.sum(0)).ravel() / n
    cross = np.asarray((a * b).sum(0)).ravel() / n - mean_a * mean_b
    var_a = np.asarray((a * a).sum(0)).ravel() / n - mean_a**2
    var_b = np.asarray((b * b).sum(0)).ravel() / n - mean_b**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((var_a > 0) & (var_b > 0), cross / np.sqrt(var_a * var_b), np.nan)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _numpy(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
