"""Is an adapter right? `check_adapter` runs the conformance suite, on ours and on third parties'.

Every check states a property that must hold for whatever model stands behind the adapter, measures how
well it holds, and fails with its own name. `sciinterp.models.conformance` holds them, one function each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from sciinterp.errors import InputError, SciinterpError
from sciinterp.frames import Table
from sciinterp.models.adapter import Adapter
from sciinterp.models.antiberty import Antiberty, AntibertyModule
from sciinterp.models.comparisons import AdapterCheckError, Probe
from sciinterp.models.conformance import CHECKS
from sciinterp.sae.base import TopKSAE

if TYPE_CHECKING:
    from sciinterp.sae import SAE

__all__ = ["AdapterCheckError", "check_adapter", "tiny_model"]


def check_adapter(adapter: Adapter, samples: Sequence[object], *, tolerance: float = 1e-4) -> Table:
    """Run the conformance suite on an adapter.

    Parameters
    ----------
    adapter : Adapter
    samples : sequence of Sample, or of plain sequences
        At least two, of different lengths; short ones keep the suite fast.
    tolerance : float
        Largest difference between activations that must be equal, in standard deviations.

    Returns
    -------
    Table
        One row per check, indexed by its name: ``result`` (``passed`` or ``not applicable``), ``measured``
        (what the check measures, NaN if nothing) and ``note``.

    Raises
    ------
    AdapterCheckError
        The first check that fails; ``error.check`` is its name.
    """
    if len(samples) < 2:
        raise InputError(
            "the suite compares samples", expected="at least two of different lengths", got=str(len(samples))
        )
    probe = Probe(adapter, list(samples), tolerance)
    rows = []
    for function in CHECKS:
        probe.check = function.__name__.removeprefix("_check_")
        try:
            outcome = function(probe)
        except AdapterCheckError:
            raise
        except SciinterpError as error:
            raise AdapterCheckError(probe.check, str(error).rstrip(".")) from error
        # whatever the model raises: a token beyond its embedding, shapes that do not fit
        except Exception as error:
            said = (str(error).strip().splitlines() or ["no message"])[0][:200]
            got = f"{type(error).__name__}: {said}" + " (a token beyond an embedding?)" * isinstance(
                error, IndexError
            )
            raise AdapterCheckError(probe.check, "the adapter or its module raises", got=got) from error
        note = outcome if isinstance(outcome, str) else ""
        row = {"check": probe.check, "result": "not applicable" if note else "passed"}
        rows.append({**row, "measured": float("nan") if isinstance(outcome, str) else outcome, "note": note})
    context = {"model": adapter.name, "identity": adapter.origin.to_record(), "tolerance": tolerance}
    index = [row.pop("check") for row in rows]
    return Table(rows, index=index, context=context)


def tiny_model(seed: int = 0, *, width: int = 16, n_features: int = 16, k: int = 8) -> tuple[Adapter, SAE]:
    """A seeded antibody model of two small blocks, and an SAE of random directions at the first: for examples and tests.

    Returns
    -------
    model : Adapter
    sae : SAE
        Of ``layers.0``.
    """
    torch.manual_seed(seed)
    model = Antiberty(AntibertyModule(n_blocks=2, width=width, n_heads=2, inner=2 * width).eval())
    directions = torch.nn.functional.normalize(torch.randn(n_features, width), dim=1)
    sae = TopKSAE(directions.T.clone(), torch.zeros(n_features), directions, torch.zeros(width), k=k)
    sae.origin = model.origin_at("layers.0")
    return model, sae
