"""How the error of dictionaries falls with width, active features and training data, and where more would pay.

Dictionaries of several widths, sparsities and shares of the training families are trained, with twins and on the
randomised model where they are asked for, and a law is fitted to the errors of each (:mod:`.power_laws`). All see as
many batches, so that what falls with more tokens is due to other tokens, not to more steps. Every width meets every
sparsity on all families, and every share of the families at the last sparsity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sciinterp.errors import InputError, no_such, require_kinds
from sciinterp.frames import Table
from sciinterp.sae.architecture import Architecture
from sciinterp.sae.batches import Trainable
from sciinterp.sae.grid import job_in, require_k, sizes_of
from sciinterp.sae.loop import train_together
from sciinterp.sae.power_laws import Scaling, fit_scaling
from sciinterp.sae.settings import FROZEN, TrainSettings
from sciinterp.sae.topk import TopK
from sciinterp.settings import SHARE, at_least, make_plain, settings_of
from sciinterp.store.tables import write_tsv

if TYPE_CHECKING:
    from sciinterp.samples import Split

RUNS, FITS = "scaling.tsv", "scaling.fits.tsv"


@dataclass(frozen=True)
class ScalingSettings:
    """What is trained.

    Attributes
    ----------
    widths, ks : tuple of int
        Dictionary sizes and active features.
    shares : tuple of float
        Of the training families' tokens, whole families at a time, each share within the next; 1 is among them.
    seeds : tuple of int
    twins : tuple of str
        Parts that are not trained (:func:`sciinterp.twins`), each fitted as a reader of its own.
    architecture : type
        An architecture that takes ``n_features`` and ``k``.
    steps, batch_size : int
        Of every dictionary.
    level : float
        Of the intervals.
    device : str
        Where to train, as in :class:`TrainSettings`.
    """

    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    ks: tuple[int, ...] = (8, 16, 32, 64)
    shares: tuple[float, ...] = (0.25, 0.5, 1.0)
    seeds: tuple[int, ...] = (0,)
    twins: tuple[str, ...] = ("decoder_soft",)
    architecture: type[Architecture] = TopK
    steps: int = 600
    batch_size: int = 2048
    level: float = 0.9
    device: str = "cpu"

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", str(self.device))
        one = at_least(1)
        make_plain(self, widths=one, ks=one, seeds=at_least(0), steps=one, batch_size=one, level=SHARE)
        require_k(self.architecture)
        for part in self.twins:
            if part not in FROZEN:
                raise no_such("frozen part of a dictionary", part, FROZEN)


def scaling(
    source: Trainable,
    *,
    split: Split | None = None,
    control: Trainable | None = None,
    settings: ScalingSettings | None = None,
    out: str | Path | None = None,
) -> Scaling:
    """Train dictionaries of several sizes and say where the next doubling pays, with intervals.

    Use it before a long training: it says whether to spend on width, on active features or on more data, and how much
    of the error none of them takes away. The same law for twins and for the randomised model says how much of that is
    due to learned directions and to what the model knows.

    Parameters
    ----------
    source : Activations, ndarray, memmap or Tensor [n, d_in]
    split : Split, optional
        Errors are of its test families. Needed to vary the training data; without it ``shares`` must be ``(1.0,)``.
    control : Activations, ndarray, memmap or Tensor, optional
        Those of the model with randomised weights on the same samples.
    settings : ScalingSettings, optional
    out : path, optional
        Folder with the dictionaries, ``scaling.tsv`` and ``scaling.fits.tsv``; run again to resume.

    Returns
    -------
    Scaling
        Readers are "features", ``twin_`` and the part that was not trained, and "randomised".

    Raises
    ------
    InputError
        Too few sizes to fit a law to; shares are asked for without a split.

    Examples
    --------
    >>> import sciinterp as si
    >>> x = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    >>> few = ScalingSettings(widths=(4, 8, 16), ks=(1, 2, 3), shares=(1.0,), twins=(), steps=20, batch_size=64)
    >>> si.scaling(x, settings=few).fits["term"].tolist()
    ['irreducible', 'n_features', 'k']
    """
    require_kinds(out=(out, Path | None))
    settings = settings_of(settings, ScalingSettings)
    _require_enough(settings, split)
    data = {"": source} if control is None else {"": source, "randomised": control}
    rows: list[dict[str, object]] = []
    for where, found in data.items():
        for share in sorted(settings.shares):
            part = split if split is None or share == 1 else _some_families(split, share)
            folder = None if out is None else Path(out) / (where or "model") / f"{share:g}"
            rows += _train(found, where, part, share, settings, folder)
    order = list(dict.fromkeys(row["reader"] for row in rows))
    rows.sort(key=lambda row: order.index(row["reader"]))
    fitted = fit_scaling(Table(rows), level=settings.level)
    if out is not None:
        write_tsv(fitted.runs, Path(out) / RUNS)
        write_tsv(fitted.fits, Path(out) / FITS)
    return fitted


def _require_enough(settings: ScalingSettings, split: Split | None) -> None:
    """What the law will need is known before anything is trained."""
    given = {"widths": settings.widths, "ks": settings.ks, "shares": settings.shares}
    for name, values in given.items():
        if len(set(values)) not in (1, *range(3, 100)):
            raise InputError(
                "a power needs three values or more of what varies",
                where=name,
                expected="one value, or three and more",
                got=", ".join(map(str, values)) or "none",
            )
    if max(settings.shares) != 1 or min(settings.shares) <= 0:
        raise InputError(
            "shares of the families", expected="above 0, and 1 among them", got=str(settings.shares)
        )
    if split is None and len(set(settings.shares)) > 1:
        raise InputError(
            "families are needed to train on a part of them",
            where="split=",
            do="Pass split=, or shares=(1.0,) to vary width and active features alone.",
        )


def _some_families(split: Split, share: float) -> Split:
    """The split with a share of its training positions, whole families in a random order of their own."""
    lengths = np.ones(len(split.family)) if split.lengths is None else np.asarray(split.lengths, np.float64)
    order = np.random.default_rng([split.seed, 5]).permutation(split.families("train"))
    size = np.bincount(
        split.family[split.train], weights=lengths[split.train], minlength=len(split.family_names)
    )
    kept = order[: int(np.searchsorted(np.cumsum(size[order]), share * size.sum())) + 1]
    return replace(split, train=split.train[np.isin(split.family[split.train], kept)])


def _train(
    source: Trainable,
    where: str,
    split: Split | None,
    share: float,
    settings: ScalingSettings,
    folder: Path | None,
) -> list[dict[str, object]]:
    """The dictionaries of one source and share, in one pass over the data."""
    ks = settings.ks if share == 1 else settings.ks[-1:]
    sizes = sizes_of(settings.architecture, settings.widths, ks)
    how = TrainSettings(
        steps=settings.steps,
        batch_size=settings.batch_size,
        order_seed=settings.seeds[0],
        device=settings.device,
    )
    wanted: list[tuple[str, Architecture, TrainSettings]] = []
    for frozen in ("",) if where else ("", *settings.twins):
        reader = where or (f"twin_{frozen}" if frozen else "features")
        wanted += [
            (reader, size, replace(how, seed=seed, frozen=frozen))
            for size in sizes
            for seed in settings.seeds
        ]
    jobs = [job_in(folder, size, one) for _, size, one in wanted]
    return [
        {
            "reader": reader,
            "n_features": size.n_features,
            "k": float(getattr(size, "k", np.nan)),
            "tokens": int(sae.metrics["n_train_tokens"]),
            "seed": one.seed,
            "fvu": 1 - float(sae.metrics["fve"]),
            "dead": float(sae.metrics["dead"]),
        }
        for (reader, size, one), sae in zip(wanted, train_together(source, jobs, split=split))
    ]
