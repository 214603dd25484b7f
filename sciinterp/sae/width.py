"""Choose the width and sparsity of a dictionary by description length on held-out families.

Variance explained always prefers the widest dictionary and the most active features, and concepts are lost on the
way: a wide dictionary splits them. Description length (:mod:`sciinterp.sae.mdl`) charges for both, so it has a
minimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sciinterp.errors import no_such
from sciinterp.frames import Table
from sciinterp.sae.architecture import Architecture
from sciinterp.sae.batches import Trainable
from sciinterp.sae.grid import sizes_of, sweep_saes
from sciinterp.sae.settings import TrainSettings
from sciinterp.sae.topk import TopK

if TYPE_CHECKING:
    from sciinterp.samples import Split


def select_width(
    source: Trainable,
    *,
    split: Split,
    widths: Sequence[int] = (256, 512, 1024, 2048),
    ks: Sequence[int] = (32,),
    out: str | Path | None = None,
    seed: int = 0,
    architecture: type[Architecture] = TopK,
    **everyday: object,
) -> Table:
    """Train one SAE a (width, k), all in one pass, and compare their description lengths on calibration families.

    Parameters
    ----------
    source : Activations
    split : Split
        SAEs are trained on ``train`` and compared on ``calibration``.
    widths, ks : sequences of int
        Dictionary sizes and active features; every pair is trained.
    out : path, optional
        Folder with one SAE a pair; run again, trained ones are kept.
    architecture : type
        An architecture taking ``n_features`` and ``k``.
    **everyday
        ``steps`` (600 when not given), ``batch_size`` and ``device`` of :func:`sciinterp.sweep_saes`.

    Returns
    -------
    Table
        That of :func:`sciinterp.sweep_saes` with a column ``selected``, true in exactly one row: that of the
        smallest ``mdl``.
    """
    if unknown := sorted(set(everyday) - {"steps", "batch_size", "device"}):
        raise no_such("setting of select_width", unknown[0], ("steps", "batch_size", "device"))
    how = TrainSettings.with_fields(TrainSettings(steps=600), everyday)
    pace = {"steps": how.steps, "batch_size": how.batch_size, "device": how.device}
    table = sweep_saes(
        source, sizes_of(architecture, widths, ks), out=out, seeds=(seed,), split=split, **pace
    )
    table["selected"] = np.arange(len(table)) == int(table["mdl"].to_numpy().argmin())
    table.context["selected_on"] = "calibration families"
    return table
