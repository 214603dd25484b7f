"""Several SAEs in one pass over the data: reconstruction against sparsity, and the table a paper prints.

All SAEs see the same batches in the same order, each read once (:func:`sciinterp.sae.loop.train_together`); those
of different seeds differ by their start alone (Paulo and Belrose, arXiv:2501.16615). An SAE is on the *Pareto
front* when no other of the sweep has both at most its active features and at least its variance explained.
Description length (:mod:`sciinterp.sae.mdl`) is measured on calibration families, everything else on test families. It
charges for width and for active features, so that it has a minimum, by which width and sparsity are chosen: variance
explained always prefers the widest dictionary, and concepts are lost on the way, since a wide one splits them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from sciinterp.errors import InputError, no_such, require_kinds
from sciinterp.frames import Table
from sciinterp.progress import progress
from sciinterp.sae.architecture import Architecture
from sciinterp.sae.base import SAE
from sciinterp.sae.batches import SPAN, Source, Trainable, parts_of, thinned
from sciinterp.sae.loop import Job, train_together
from sciinterp.sae.mdl import description_length
from sciinterp.sae.settings import TrainSettings
from sciinterp.sae.topk import TopK
from sciinterp.settings import build, plain_row
from sciinterp.store.tables import write_tsv

if TYPE_CHECKING:
    from sciinterp.samples import Split

# Rows the code tables and covariances are estimated on; more changes the third digit.
MAX_ROWS = 40_000
TABLE = "sweep.tsv"


def sweep_saes(
    source: Trainable,
    architectures: Sequence[Architecture],
    *,
    out: str | Path | None = None,
    seeds: Sequence[int] = (0,),
    split: Split | None = None,
    steps: int | None = None,
    batch_size: int = 2048,
    device: str = "cpu",
) -> Table:
    """Train every architecture with every seed in one pass over the data, and compare.

    Parameters
    ----------
    source : Activations, ndarray, memmap or Tensor [n, d_in]
    architectures : sequence of Architecture
        Of any kinds, widths and sparsities: ``[si.TopK(f, k=k) for f in (512, 1024) for k in (16, 32)]``.
    out : path, optional
        Folder with one folder an SAE and ``sweep.tsv``. Run again to resume; SAEs that are finished are read, so
        a sweep can be widened later. None trains in memory and keeps no SAE.
    seeds : sequence of int
        Starts. The first also decides the order of the batches (and the held-out rows, without a split), for all.
    split : Split, optional
        As for :func:`sciinterp.train`.
    steps : int, optional
        Of each SAE; by default one epoch and at least 600.
    batch_size, device : int, str
        Rows a step, and where to train, as in :class:`TrainSettings`.

    Returns
    -------
    Table
        One row an SAE, in the order of ``architectures``, then ``seeds``:

        ========================== ==========================================================================
        ``seed n_features k``      ``k`` is what the architecture aims for (``target_l0``; NaN with an L1 penalty)
        ``architecture``           its name: ``topk``, ``relu`` ...
        ``fve l0 dead``            as in ``metrics.json``, on held-out rows
        ``mdl``                    description length on calibration rows, bits a token
        ``pareto``                 whether no other SAE has at most this ``l0`` and at least this ``fve``
        ``codes dictionary``       the parts of ``mdl``
        ``residual gaussian``      its last part; what the token costs without any dictionary
        ``name``                   the SAE's folder in ``out``
        ========================== ==========================================================================

    Raises
    ------
    InputError
        The same SAE is asked for twice, or none is. Else as :func:`sciinterp.train`.

    See Also
    --------
    sciinterp.select_width : chooses width and sparsity by description length.

    Examples
    --------
    >>> import sciinterp as si
    >>> x = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    >>> table = si.sweep_saes(x, [si.TopK(16, k=k) for k in (2, 4)], steps=20, batch_size=64)
    >>> table[["n_features", "k", "l0"]].values.tolist()
    [[16.0, 2.0, 2.0], [16.0, 4.0, 4.0]]
    """
    seeds = plain_row(seeds, int, "seeds")
    wanted, names = _wanted(architectures, seeds)
    how = TrainSettings(steps=steps, batch_size=batch_size, device=device, order_seed=seeds[0])
    jobs = [
        Job(architecture, replace(how, seed=seed), None if out is None else Path(out) / name)
        for (architecture, seed), name in zip(wanted, names)
    ]
    saes = train_together(source, jobs, split=split)
    held_out = rows_for_length(source, split, seed=seeds[0])
    found = zip(wanted, names, saes)
    rows = [{**_about(*pair, sae), **_length(sae, held_out), "name": name} for pair, name, sae in found]
    table = Table(rows, context={"seeds": list(seeds), "steps": saes[0].recipe["steps"]})
    table.insert(table.columns.get_loc("mdl") + 1, "pareto", pareto(table["l0"], table["fve"]))
    if out is not None:
        write_tsv(table, Path(out) / TABLE)
    return table


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


def _wanted(
    architectures: Sequence[Architecture], seeds: Sequence[int]
) -> tuple[list[tuple[Architecture, int]], list[str]]:
    """Every architecture with every seed, and their names, which must differ."""
    require_kinds(architectures=(architectures, Sequence))
    for one in architectures:
        require_kinds(architectures=(one, Architecture))
    wanted = [(architecture, seed) for architecture in architectures for seed in seeds]
    names = [name_of(*pair) for pair in wanted]
    if not names or len(set(names)) < len(names):
        raise InputError(
            "a sweep needs different SAEs",
            expected="at least one, none twice",
            got=", ".join(names) or "none",
        )
    return wanted, names


def _about(architecture: Architecture, seed: int, sae: SAE) -> dict[str, object]:
    return {
        "seed": seed,
        "n_features": architecture.n_features,
        "k": float(getattr(architecture, "k", getattr(architecture, "target_l0", np.nan))),
        "architecture": architecture.name,
        **{key: sae.metrics[key] for key in ("fve", "l0", "dead")},
    }


def pareto(l0: npt.ArrayLike, fve: npt.ArrayLike) -> np.ndarray:
    """bool [n]: the SAEs that no other beats in either without losing in the other; none where one is not known.

    The fewer active features the better, and the more variance explained.

    Examples
    --------
    >>> pareto([10, 20, 20, 30], [0.6, 0.8, 0.7, 0.8]).tolist()
    [True, True, False, False]
    """
    l0, fve = np.asarray(l0, np.float64), np.asarray(fve, np.float64)
    at_least = (l0[:, None] <= l0) & (fve[:, None] >= fve)
    better = at_least & ((l0[:, None] < l0) | (fve[:, None] > fve))
    return ~better.any(0) & np.isfinite(l0) & np.isfinite(fve)


def name_of(architecture: Architecture, seed: int) -> str:
    """The folder of an SAE in a sweep: its kind, width, sparsity, what is not the default, and its seed.

    Examples
    --------
    >>> import sciinterp as si
    >>> name_of(si.TopK(512, k=16), 0), name_of(si.JumpReLU(512, target_l0=16, bandwidth=1.0), 3)
    ('topk-512-k=16-seed=0', 'jumprelu-512-target_l0=16-bandwidth=1.0-seed=3')
    """
    sparsity = fields(architecture)[1].name
    plain = build(type(architecture), {f: getattr(architecture, f) for f in ("n_features", sparsity)})
    said = [sparsity] + [
        f.name for f in fields(architecture) if getattr(architecture, f.name) != getattr(plain, f.name)
    ]
    values = {name: getattr(architecture, name) for name in said}
    parts = [
        f"{name}={'+'.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in values.items()
    ]
    return "-".join([architecture.name, str(architecture.n_features), *parts, f"seed={seed}"])


def require_k(architecture: type[Architecture]) -> None:
    """Raise unless an architecture is told how many features are active."""
    require_kinds(architecture=(architecture, type))
    if not issubclass(architecture, Architecture) or "k" not in {f.name for f in fields(architecture)}:
        raise InputError("no architecture with a k", where="architecture", got=architecture.__name__)


def sizes_of(
    architecture: type[Architecture], widths: Sequence[int], ks: Sequence[int]
) -> list[Architecture]:
    """An architecture of every width and number of active features."""
    require_k(architecture)
    sizes = product(plain_row(widths, int, "widths"), plain_row(ks, int, "ks"))
    return [architecture(**{"n_features": width, "k": k}) for width, k in sizes]


def job_in(folder: Path | None, architecture: Architecture, settings: TrainSettings) -> Job:
    """A dictionary and its place among trained ones and twins, with a folder of its own name."""
    name = name_of(architecture, settings.seed)
    return Job(architecture, settings, folder and folder / (settings.frozen or "trained") / name)


def nearest(saes: Sequence[SAE], l0: float) -> int:
    """The place of the SAE whose active features are nearest to so many, as a ratio; the first of equals."""
    return int(np.argmin([abs(np.log(max(float(sae.metrics["l0"]), 1e-6) / l0)) for sae in saes]))


def rows_for_length(
    source: Trainable, split: Split | None, *, part: str = "calibration", seed: int = 0
) -> tuple[np.ndarray, np.ndarray, int]:
    """What a description length is measured on: training rows [n, d_in] for the code tables, held-out rows, and how
    many training rows there are in all.
    """
    data = Source(source)
    parts = parts_of(data, split, seed)
    fit, held_out = (data.take(thinned(parts[name], MAX_ROWS)) for name in ("train", part))
    return fit, held_out, len(parts["train"])


def describe(sae: SAE, rows: tuple[np.ndarray, np.ndarray, int]) -> dict[str, float]:
    """:func:`~sciinterp.sae.mdl.description_length` of an SAE on :func:`rows_for_length`."""
    fit, x, n_tokens = rows
    w_dec, b_dec = sae.W_dec.detach().cpu().numpy(), sae.b_dec.detach().cpu().numpy()
    return description_length(
        codes_of(sae, x), x, w_dec, b_dec, train=(codes_of(sae, fit), fit), n_tokens=n_tokens
    )


def _length(sae: SAE, rows: tuple[np.ndarray, np.ndarray, int]) -> dict[str, float]:
    found = describe(sae, rows)
    return {
        "mdl": found["total"],
        **{key: found[key] for key in ("codes", "dictionary", "residual", "gaussian")},
    }


def codes_of(sae: SAE, x: np.ndarray) -> sp.csr_array:
    """scipy csr [n, n_features] of the rows of ``x``."""
    starts = progress(range(0, len(x), SPAN), desc="encode", unit="batch", leave=False)
    return sp.csr_array(sp.vstack([sae.encode_scipy(x[lo : lo + SPAN]) for lo in starts], format="csr"))
