"""Fingerprints: a small, readable mark of a model at a site, to tell two models apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

# Enough to tell two models apart, few enough to compare by eye.
FINGERPRINT_TOKENS = 256
FINGERPRINT_VALUES = 16
FINGERPRINT_TOLERANCE = 0.05


def fingerprint(rows: Float[np.ndarray, "n d_in"], probe: str) -> dict[str, object]:
    """A small, readable mark of a model at a site: moments and a few values of its activations on a probe.

    Parameters
    ----------
    rows : float32 [n, d_in]
        Activations of the probe; at most :data:`FINGERPRINT_TOKENS` rows are used.
    probe : str
        What the rows are activations of; only marks of one probe can be compared.

    Examples
    --------
    >>> mark = fingerprint(np.eye(3, dtype=np.float32), "three unit vectors")
    >>> mark["n"], mark["d_in"], mark["rms"]
    (3, 3, 0.57735)
    >>> same_fingerprint(mark, fingerprint(2 * np.eye(3, dtype=np.float32), "three unit vectors"))
    False
    """
    x = np.asarray(rows[:FINGERPRINT_TOKENS], dtype=np.float64)
    pick = np.linspace(0, max(x.size - 1, 0), min(FINGERPRINT_VALUES, x.size)).astype(int)
    return {
        "probe": probe,
        "n": int(x.shape[0]),
        "d_in": int(x.shape[1]),
        "mean": float(f"{x.mean() if x.size else 0.0:.6g}"),
        "rms": float(f"{np.sqrt(np.mean(x**2)) if x.size else 0.0:.6g}"),
        "values": [float(f"{v:.6g}") for v in x.ravel()[pick]],
    }


def same_fingerprint(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> bool:
    """Could two marks be of one model at one site? Also true where they cannot be compared.

    Values may differ by :data:`FINGERPRINT_TOLERANCE` of their root mean square: more than threads,
    processors and half precision change, far less than other weights do.
    """
    if not a or not b or a.get("probe") != b.get("probe"):
        return True
    if (a["n"], a["d_in"]) != (b["n"], b["d_in"]):
        return False
    x, y = np.array([*a["values"], a["rms"]]), np.array([*b["values"], b["rms"]])
    return bool(np.allclose(x, y, rtol=0, atol=FINGERPRINT_TOLERANCE * max(a["rms"], b["rms"])))
