"""Is an adapter right? `check_adapter` runs the conformance suite, on ours and on third parties'.

Every check states a property that must hold for whatever model stands behind the adapter, measures how
well it holds, and fails with its own name. `sciinterp.models.conformance` holds them, one function each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sciinterp.errors import InputError, SciinterpError
from sciinterp.frames import Table
from sciinterp.models.adapter import Adapter
from sciinterp.models.comparisons import AdapterCheckError, Probe
from sciinterp.models.conformance import CHECKS

__all__ = ["AdapterCheckError", "check_adapter"]


def check_adapter(adapter: Adapter, samples: Sequence[Any], *, tolerance: float = 1e-4) -> Table:
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
        note = outcome if isinstance(outcome, str) else ""
        row = {"check": probe.check, "result": "not applicable" if note else "passed"}
        rows.append({**row, "measured": float("nan") if isinstance(outcome, str) else outcome, "note": note})
    context = {"model": adapter.name, "identity": adapter.origin.to_record(), "tolerance": tolerance}
    index = [row.pop("check") for row in rows]
    return Table(rows, index=index, context=context)
