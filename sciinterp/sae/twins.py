"""Twins of a dictionary: the same recipe on the same rows, with a part that was not trained (:mod:`.frozen`).

What a twin reaches needed no learned directions. It stands beside the trained dictionary as the randomised model stands
beside the model: the one asks what the dictionary adds, the other what the model knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sciinterp.errors import require_kinds
from sciinterp.sae.architecture import Architecture
from sciinterp.sae.base import SAE
from sciinterp.sae.batches import Trainable
from sciinterp.sae.loop import Job, train_together
from sciinterp.sae.settings import FROZEN, TrainSettings
from sciinterp.settings import plain_row
from sciinterp.store import ledger

if TYPE_CHECKING:
    from sciinterp.samples import Samples, Split


def twins(
    source: Trainable,
    architecture: Architecture,
    *,
    split: Split | None = None,
    samples: Samples | None = None,
    out: str | Path | None = None,
    frozen: Sequence[str] = FROZEN,
    settings: TrainSettings | None = None,
    **everyday: object,
) -> dict[str, SAE]:
    """Train dictionaries a part of which stays at its random start, all in one pass over the data.

    Use it to see what a trained dictionary is worth: one that does no better than its twins learned nothing that the
    measure can see.

    Parameters
    ----------
    source : Activations, ndarray, memmap or Tensor [n, d_in]
        What the dictionary was trained on.
    architecture : Architecture
        That of the dictionary: ``sae.architecture``.
    split, samples
        As for :func:`sciinterp.train`.
    out : path, optional
        A folder with a folder a twin, named as in ``frozen``; run again to resume. None trains in memory.
    frozen : sequence of str
        "decoder", "decoder_soft", "encoder", or some of them.
    settings : TrainSettings, optional
        Those of the dictionary; ``**everyday`` replaces single fields.

    Returns
    -------
    dict of str to SAE
        In the order of ``frozen``.

    Raises
    ------
    InputError
        There is no such part. Else as :func:`sciinterp.train`.

    References
    ----------
    Korznikov et al. 2026, "Sanity checks for sparse autoencoders: do SAEs beat random baselines?", arXiv:2602.14111.

    Examples
    --------
    >>> import numpy as np
    >>> import sciinterp as si
    >>> x = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    >>> found = si.twins(x, si.TopK(n_features=16, k=2), steps=20, batch_size=64)
    >>> {name: sae.n_features for name, sae in found.items()}
    {'decoder': 16, 'decoder_soft': 16, 'encoder': 16}
    """
    require_kinds(architecture=(architecture, Architecture), out=(out, Path | None))
    settings, frozen = (
        TrainSettings.with_fields(settings, everyday),
        plain_row(frozen, str, "frozen"),
    )
    with ledger.recorded("twins", out, settings={**architecture.as_dict(), **settings.deciding()}):
        return train_twins(source, architecture, settings, frozen, split=split, samples=samples, out=out)


def train_twins(
    source: Trainable,
    architecture: Architecture,
    settings: TrainSettings,
    frozen: Sequence[str],
    *,
    split: Split | None = None,
    samples: Samples | None = None,
    out: str | Path | None = None,
) -> dict[str, SAE]:
    """:func:`twins` without an entry in the ledger."""
    jobs = [
        Job(architecture, replace(settings, frozen=part), None if out is None else Path(out) / part)
        for part in frozen
    ]
    return dict(zip(frozen, train_together(source, jobs, samples=samples, split=split)))
