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

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sciinterp.budget import one_thread
from sciinterp.errors import InputError, require_kinds
from sciinterp.sae.base import SAE
from sciinterp.sae.grid import codes_of
from sciinterp.sae.plain_dictionaries import baseline_sae

SHARED = 0.7


def match_features(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one match of directions of any length, by the Hungarian algorithm.

    The row of ``b`` for each of ``a``, and the cosine with it; -1 and 0 where there is none.

    Examples
    --------
    >>> match_features(np.eye(3), np.eye(3)[[2, 0, 1]])[0].tolist()
    [1, 2, 0]
    """
    return _matched(_unit(a) @ _unit(b).T)


def match_codes(a: sp.csr_array, b: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one match of the features of two dictionaries, of one model or of two, by codes of the same positions.

    As :func:`match_features`; the cosine is that of the codes.

    Examples
    --------
    >>> codes = sp.csr_array(np.array([[1.0, 0, 2], [0, 3, 0], [1, 0, 0]]))
    >>> match_codes(codes, codes[:, [1, 2]])[0].tolist()
    [-1, 0, 1]
    """
    if a.shape[0] != b.shape[0]:
        raise InputError("codes of other positions", expected=f"{a.shape[0]} rows", got=str(b.shape[0]))
    length = [np.maximum(np.sqrt((c * c).sum(0)), 1e-12) for c in (a, b)]
    return _matched(np.asarray((a.T @ b).todense()) / length[0][:, None] / length[1])


def _matched(similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = linear_sum_assignment(-similarity)
    match, cosine = np.full(len(similarity), -1), np.zeros(len(similarity))
    match[rows], cosine[rows] = columns, similarity[rows, columns]
    return match, cosine


@one_thread()
def stability(
    saes: Sequence[SAE],
    *,
    alive: Sequence[np.ndarray] | None = None,
    codes: Sequence[sp.csr_array] | None = None,
    x: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare SAEs of several seeds.

    Parameters
    ----------
    saes : sequence of SAE
        At least two, of the same site.
    alive : sequence of bool [n_features], optional
        Features to compare, by SAE; all when not given.
    codes : sequence of csr [n, n_features], optional
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
        With fewer than two SAEs, or of two sites.
    """
    if len(saes) < 2:
        raise InputError(
            "stability needs several SAEs",
            expected="2 or more, trained with different seeds",
            got=str(len(saes)),
        )
    for sae in saes:
        if not hasattr(sae, "W_dec"):
            require_kinds(saes=(sae, SAE))
    if len(widths := sorted({int(sae.W_dec.shape[1]) for sae in saes})) > 1:
        got = ", ".join(map(str, widths))
        raise InputError("these SAEs are of several sites", expected="one d_in", got=got)
    if x is not None and codes is None:
        codes = [codes_of(s, x) for s in saes]
    keep = alive if alive is not None else [np.ones(len(s.W_dec), bool) for s in saes]
    if alive is None and x is not None and codes is not None:
        keep = [np.diff(c.tocsc().indptr) > 0 for c in codes]
    rng = np.random.default_rng(seed)
    seeds = [
        _Seed(
            _numpy(sae.W_dec),
            _numpy(sae.W_enc).T,
            np.flatnonzero(keep[i]),
            None if codes is None else codes[i],
            None if x is None else _random_codes(sae, x, seed),
        )
        for i, sae in enumerate(saes)
    ]
    pairs, per_feature = [], []
    for a, b in combinations(range(len(saes)), 2):
        features, pair = _compared(seeds[a], seeds[b], rng)
        pairs.append({"a": a, "b": b, **pair})
        if a == 0:
            per_feature.append(features)
    return pd.concat(per_feature).groupby("feature", as_index=False).mean(), pd.DataFrame(pairs)


class _Seed(NamedTuple):
    """One SAE of several: its arrays, the features compared, and what was encoded with it."""

    decoder: np.ndarray
    encoder: np.ndarray
    alive: np.ndarray
    token_codes: sp.csr_array | None
    random: tuple[np.ndarray, sp.csr_array] | None


def _compared(a: _Seed, b: _Seed, rng: np.random.Generator) -> tuple[pd.DataFrame, dict[str, float]]:
    """Features of ``a`` matched to those of ``b``: one row a feature, and the means over all."""
    match, cosine = match_features(a.decoder[a.alive], b.decoder[b.alive])
    found = match >= 0
    mine, theirs = a.alive[found], b.alive[match[found]]
    encoder = np.zeros(len(a.alive))
    encoder[found] = (_unit(a.encoder[mine]) * _unit(b.encoder[theirs])).sum(1)
    shared = (cosine > SHARED) & (encoder > SHARED)
    null = match_features(a.decoder[a.alive], _random_like(b.decoder[b.alive], rng))[1]
    activation, null_activation = np.full(len(a.alive), np.nan), np.full(1, np.nan)
    if a.token_codes is not None and b.token_codes is not None:
        activation[found] = _correlation(a.token_codes[:, mine], b.token_codes[:, theirs])
        if b.random is not None:
            place = match_features(a.decoder[a.alive], b.random[0][b.alive])[0]
            by_chance = b.alive[place[place >= 0]]
            null_activation = _correlation(a.token_codes[:, a.alive[place >= 0]], b.random[1][:, by_chance])
    columns = {"score": np.minimum(cosine, encoder), "decoder": cosine, "encoder": encoder}
    features = pd.DataFrame(
        {"feature": a.alive, **columns, "activation": activation, "shared": shared.astype(float)}
    )
    return features, {
        "shared": _mean(shared),
        "decoder": _mean(cosine),
        "encoder": _mean(encoder),
        "activation": _mean(activation),
        "null_shared": _mean(null > SHARED),
        "null_decoder": _mean(null),
        "null_activation": _mean(null_activation),
    }


def _random_like(directions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random directions with the second moment of the given ones."""
    unit = _unit(directions)
    values, vectors = np.linalg.eigh(unit.T @ unit / max(len(unit), 1))
    return rng.normal(size=unit.shape) * np.sqrt(np.clip(values, 0, None)) @ vectors.T


def _random_codes(sae: SAE, x: np.ndarray, seed: int) -> tuple[np.ndarray, sp.csr_array]:
    """Directions [n_features, d_in] and codes of a random dictionary that fires as often as ``sae``."""
    other = baseline_sae("random", x, like=sae, seed=seed)
    return _numpy(other.W_dec), codes_of(other, x)


def _mean(values: np.ndarray) -> float:
    """Of what is known; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _correlation(a: sp.csr_array, b: sp.csr_array) -> np.ndarray:
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


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
