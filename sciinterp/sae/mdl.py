r"""Description length: how many bits a token costs when its activation is written with the SAE.

Reconstruction always improves with width and with more active features; a description does not, because the
codes, the dictionary and what is left over must all be paid for. After Ayonrinde, Pearce and Sharkey
(arXiv:2410.11179), in bits a token:

.. math:: L = \sum_j -\log_2 q_j(c_j) \; + \; \frac{F d b}{n} \; + \; R_D(\Sigma_e)

* **codes**: the activation of feature :math:`j`, rounded to the coarsest step that costs at most ``tolerance``
  of variance explained, under a code table :math:`q_j` fitted on other families (zero is a symbol like any
  other, so sparsity is paid for feature by feature);
* **dictionary**: ``weight_bits`` for each of its :math:`F d` numbers, spread over the ``n_tokens`` it serves;
* **residual**: the Gaussian rate at which the error, with covariance :math:`\Sigma_e`, is told until the whole
  is within ``distortion`` of the variance (reverse water-filling; Cover and Thomas, section 10.3.3).

``gaussian`` is the same rate for the activation itself, without any dictionary: an SAE that does not beat it
describes nothing. On a model with randomised weights the activations have fewer dimensions that matter, so both
numbers fall; what shrinks is the saving ``gaussian - total``.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from sciinterp.budget import one_thread

# Quantisation levels a feature may use before values are clipped; finer steps never pay.
MAX_LEVELS = 512
# Steps tried, from coarse to fine, in units of the mean active code.
STEPS = 2.0 ** np.arange(2, -6, -0.5)


def description_length(
    codes: sp.csr_array,
    x: np.ndarray,
    w_dec: np.ndarray,
    b_dec: np.ndarray,
    *,
    train: tuple[sp.csr_array, np.ndarray] | None = None,
    n_tokens: int | None = None,
    tolerance: float = 0.005,
    distortion: float = 0.1,
) -> dict[str, float]:
    """Bits a token, by part: ``total, codes, dictionary, residual, gaussian, step, weight_bits``.

    Of codes [n, n_features] and activations [n, d_in] of held-out tokens; code tables and covariance are
    fitted on those of `train`, or on the held-out ones themselves. The dictionary serves `n_tokens`, those of
    `train` when not given; rounding may cost `tolerance` of the variance explained, and `distortion` of the
    variance need not be described.

    Examples
    --------
    >>> import scipy.sparse as sp
    >>> x = np.eye(4, dtype=np.float32).repeat(50, axis=0)
    >>> length = description_length(sp.csr_array(x), x, np.eye(4, dtype=np.float32), np.zeros(4), n_tokens=10**9)
    >>> length["residual"], 1.5 < length["codes"] < 4
    (0.0, True)
    """
    weight_bits = 16  # bfloat16 loses less than the rounding of the codes
    fit_codes, fit_x = (codes, x) if train is None else train
    variance = float(((x - x.mean(0)) ** 2).sum() / len(x))
    step = _coarsest_step(fit_codes, fit_x, w_dec, b_dec, tolerance)
    rounded = _rounded(codes, step)
    error = x - (rounded @ w_dec + b_dec)
    n = n_tokens if n_tokens is not None else fit_codes.shape[0]
    parts = {
        "codes": _code_bits(_levels(fit_codes, step), _levels(codes, step)),
        "dictionary": w_dec.size * weight_bits / n,
        "residual": gaussian_rate(error, distortion * variance),
    }
    return {
        "total": sum(parts.values()),
        **parts,
        "gaussian": gaussian_rate(x - x.mean(0), distortion * variance),
        "step": step,
        "weight_bits": float(weight_bits),
    }


@one_thread()
def gaussian_rate(error: np.ndarray, distortion: float) -> float:
    """Bits a row needs so that a Gaussian of this second moment is told within a total squared ``distortion``.

    The distortion is summed over the dimensions of ``error`` [n, d].

    Examples
    --------
    >>> float(round(gaussian_rate(np.random.default_rng(0).normal(size=(20000, 3)), 0.75), 1))
    3.0
    """
    error = np.asarray(error, np.float64)
    eigenvalues = np.clip(np.linalg.eigvalsh(error.T @ error / len(error)), 0, None)
    if eigenvalues.sum() <= distortion:
        return 0.0
    lo, hi = 0.0, float(eigenvalues.max())
    for _ in range(200):  # bisection on the water level
        level = (lo + hi) / 2
        lo, hi = (level, hi) if np.minimum(eigenvalues, level).sum() < distortion else (lo, level)
    above = eigenvalues > hi
    return float(0.5 * np.log2(eigenvalues[above] / hi).sum()) if hi > 0 else float("inf")


def _levels(codes: sp.csr_array, step: float) -> sp.csr_array:
    out = codes.copy()
    out.data = np.minimum(np.rint(codes.data / step), MAX_LEVELS - 1).astype(np.int64)
    return out


def _rounded(codes: sp.csr_array, step: float) -> sp.csr_array:
    out = codes.copy()
    out.data = (np.minimum(np.rint(codes.data / step), MAX_LEVELS - 1) * step).astype(np.float32)
    return out


def _coarsest_step(
    codes: sp.csr_array,
    x: np.ndarray,
    w_dec: np.ndarray,
    b_dec: np.ndarray,
    tolerance: float,
    rows: int = 20000,
) -> float:
    """The largest step whose rounding costs at most ``tolerance`` of variance explained (on the first rows)."""
    codes, x = codes[:rows], x[:rows]
    if codes.nnz == 0:
        return 1.0
    variance = ((x - x.mean(0)) ** 2).sum()
    exact = ((x - (codes @ w_dec + b_dec)) ** 2).sum()
    scale = float(codes.data.mean())
    for step in STEPS * scale:
        if ((x - (_rounded(codes, step) @ w_dec + b_dec)) ** 2).sum() - exact <= tolerance * variance:
            return float(step)
    return float(STEPS[-1] * scale)


def _code_bits(fit: sp.csr_array, held_out: sp.csr_array) -> float:
    """Cross-entropy of the held-out levels under per-feature tables of the others, in bits a row.

    Tables are Krichevsky-Trofimov estimates (half a count for every symbol seen by any feature).
    """
    n_features = fit.shape[1]
    levels = int(max(fit.data.max(initial=0), held_out.data.max(initial=0))) + 1

    def table(matrix: sp.csr_array) -> np.ndarray:
        counts = np.bincount(matrix.indices * levels + matrix.data, minlength=n_features * levels)
        counts = counts.reshape(n_features, levels).astype(np.float64)
        counts[:, 0] = matrix.shape[0] - counts[:, 1:].sum(1)
        return counts

    seen = table(fit) + 0.5
    bits = -np.log2(seen / seen.sum(1, keepdims=True))
    return float((table(held_out) * bits).sum() / max(held_out.shape[0], 1))
