"""Which decomposition to take on a site: architectures and widths at one L0, on families that decide nothing else.

Every dictionary aims for the same number of active features. It makes as many steps as TopK makes in the same time (of the
processor, measured on a few steps before), so that a slow one has fewer; ``steps`` says how many. All of it is measured on
the *calibration* families of the split, so that a default may be chosen by it and still be judged on the test families.
Each outcome is a file of the output folder, and each dictionary a folder in it with its checkpoints, so that a long
comparison is stopped and resumed at will.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sciinterp.annotations import Annotations
from sciinterp.association.fitting import Inputs
from sciinterp.association.partitions import partition
from sciinterp.association.set_facts import FOUND
from sciinterp.association.sets import KS, sparse_units, weighted_sets
from sciinterp.budget import one_thread
from sciinterp.codes import encode
from sciinterp.devices import device_of
from sciinterp.errors import no_such, require_kinds
from sciinterp.frames import Table
from sciinterp.sae.architecture import Architecture
from sciinterp.sae.base import SAE
from sciinterp.sae.dictionary_benchmark import CONTESTANTS
from sciinterp.sae.grid import describe, job_in, nearest, rows_for_length
from sciinterp.sae.loop import Job, train_together
from sciinterp.sae.settings import FROZEN, TrainSettings
from sciinterp.sae.stability import stability
from sciinterp.sae.topk import TopK
from sciinterp.samples import Split
from sciinterp.settings import at_least, make_plain, settings_of
from sciinterp.store.atomic import make_folder
from sciinterp.store.kept import kept

if TYPE_CHECKING:
    from sciinterp.activations import Activations
    from sciinterp.codes import FeatureMatrix

log = logging.getLogger(__name__)

TWIN = "topk, frozen "
MEASURES = (
    "steps",
    "l0",
    "fve",
    "dead",
    "mdl",
    "stability",
    *(f"f1_{k}" for k in KS),
    *(f"found_{k}" for k in KS),
)
# Steps on which the time of a step is measured, after as many that are not; rows that they are made on.
_TIMED, _ROWS = 8, 8192


@dataclass(frozen=True)
class DecompositionSettings:
    """What is compared.

    Attributes
    ----------
    widths : tuple of int
    l0 : int
        Active features of every dictionary.
    steps, batch_size : int
        Of TopK; the others make as many steps as take that time.
    seeds : tuple of int
        Starts; with two or more, stability is measured on the first two.
    names : tuple of str
        Architectures, as in the benchmark on known features.
    twins : tuple of str
        Parts of TopK that are not trained.
    """

    widths: tuple[int, ...] = (512, 1024, 2048, 4096)
    l0: int = 32
    steps: int = 600
    batch_size: int = 2048
    seeds: tuple[int, ...] = (0, 1)
    names: tuple[str, ...] = ("topk", "batchtopk", "matryoshka", "jumprelu", "gated")
    twins: tuple[str, ...] = ("decoder_soft", "encoder")

    def __post_init__(self) -> None:
        one = at_least(1)
        make_plain(self, widths=one, l0=one, steps=one, batch_size=one, seeds=at_least(0))
        for part in self.twins:
            if part not in FROZEN:
                raise no_such("frozen part of a dictionary", part, FROZEN)
        for name in self.names:
            if name not in CONTESTANTS:
                raise no_such("architecture", name, CONTESTANTS)


@one_thread()
def compare_decompositions(
    acts: Activations,
    annotations: Annotations,
    *,
    split: Split,
    settings: DecompositionSettings | None = None,
    out: str | Path | None = None,
    device: str = "cpu",
) -> Table:
    """Reconstruction, description length, stability and sets' curves of architectures and widths, on calibration families.

    Parameters
    ----------
    acts : Activations
    annotations : Annotations
    split : Split
        Its training families train, its calibration families judge.
    settings : DecompositionSettings, optional
    out : path, optional
        Folder that keeps dictionaries, and the outcome of each; run again to resume.
    device : str
        Where dictionaries are trained, and read.

    Returns
    -------
    Table
        One row a width and dictionary: ``n_features dictionary``, and means over seeds of ``steps``, ``l0``, ``fve``, ``dead``,
        ``mdl`` (bits a token), ``stability`` (share of features that another seed has), ``f1_1`` and so on (mean F1 of sets of
        so many features over concepts), ``found_1`` and so on (concepts at an F1 of 0.5).

    Raises
    ------
    MismatchError
        The folder holds outcomes of other settings.
    """
    settings, place = settings_of(settings, DecompositionSettings), str(device_of(device))
    require_kinds(annotations=(annotations, Annotations), split=(split, Split), out=(out, Path | None))
    judged = replace(split, test=split.calibration)
    folder = None if out is None else make_folder(out)
    rows = []
    for width in settings.widths:
        wanted = [*settings.names, *(TWIN + part for part in settings.twins)]
        pace: dict[str, float] = {}
        for name in wanted:
            plan = asdict(settings) | {"widths": width, "names": name, "twins": None, "split": split.digest}
            which = (name, width, place)
            measured = partial(_measure, acts, annotations, judged, which, settings, pace, folder)
            rows.append(
                kept(folder, f"{name.replace(', ', '-').replace(' ', '-')}-{width}", measured, plan=plan)
            )
    return Table(
        pd.DataFrame(rows, columns=["n_features", "dictionary", *MEASURES]),
        context={"judged_on": "calibration"},
    )


def _measure(
    acts: Activations,
    annotations: Annotations,
    split: Split,
    which: tuple[str, int, str],
    settings: DecompositionSettings,
    pace: dict[str, float],
    folder: Path | None,
) -> dict[str, object]:
    name, width, device = which
    frozen = name.removeprefix(TWIN) if name.startswith(TWIN) else ""
    made = [TopK(width, k=settings.l0)] if frozen else CONTESTANTS[name](width, settings.l0)
    how = TrainSettings(
        steps=settings.steps,
        batch_size=settings.batch_size,
        order_seed=settings.seeds[0],
        frozen=frozen,
        device=device,
    )
    plain = TopK(width, k=settings.l0)
    for key, architecture in (("topk", plain), (name, made[0])):
        if key not in pace and not frozen:
            measured = partial(_seconds, acts, architecture, how)
            plan = {"batch_size": settings.batch_size, "l0": settings.l0, "split": split.digest}
            pace[key] = kept(folder, f"pace-{key}-{width}", measured, plan=plan)["seconds"]
    ratio = 1.0 if frozen or name == "topk" else pace["topk"] / pace[name]
    how = replace(how, steps=max(1, round(settings.steps * min(1.0, ratio))))
    log.info("%s, %d features: %d steps", name, width, how.steps)
    saes = _nearest(acts, made, how, split, settings, folder)
    rows = rows_for_length(acts, split, part="calibration", seed=settings.seeds[0])
    codes = (encode(sae, acts, device=device) for sae in saes)
    found = [{**_of_sae(sae, rows), **_of_sets(c, annotations, split)} for sae, c in zip(saes, codes)]
    means = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
    shared = stability(saes[:2])[1]["shared"].iloc[0] if len(saes) > 1 else None
    return {"n_features": width, "dictionary": name, "steps": how.steps, "stability": shared, **means}


def _seconds(acts: Activations, architecture: Architecture, how: TrainSettings) -> dict[str, float]:
    """Seconds of the processor that a step takes: of a longer training on few rows less a shorter one.

    What comes before and after the steps is no part of it, nor what the first training of a process waits for.
    """
    rows, taken = np.asarray(acts.read(0, min(acts.n_tokens, _ROWS)), np.float32), []
    for steps in (1, _TIMED, 2 * _TIMED):
        start = time.process_time()
        train_together(rows, [Job(architecture, replace(how, steps=steps))])
        taken.append(time.process_time() - start)
    return {"seconds": max(taken[2] - taken[1], 1e-3) / _TIMED}


def _nearest(
    acts: Activations,
    made: Sequence[Architecture],
    how: TrainSettings,
    split: Split,
    settings: DecompositionSettings,
    folder: Path | None,
) -> list[SAE]:
    """A dictionary a seed, of the one among several whose L0 with the first seed is nearest to what is asked."""

    def train(some: Sequence[Architecture], seeds: Sequence[int]) -> list[SAE]:
        places = folder and folder / "saes"
        jobs = [job_in(places, one, replace(how, seed=seed)) for one in some for seed in seeds]
        return train_together(acts, jobs, split=split)

    first = train(made, settings.seeds[:1])
    best = nearest(first, settings.l0)
    return [first[best], *train(made[best : best + 1], settings.seeds[1:])]


def _of_sae(sae: SAE, rows: tuple[np.ndarray, np.ndarray, int]) -> dict[str, float]:
    return {
        **{key: float(sae.metrics[key]) for key in ("l0", "fve", "dead")},
        "mdl": describe(sae, rows)["total"],
    }


def _of_sets(features: FeatureMatrix, annotations: Annotations, split: Split) -> dict[str, float]:
    """Mean F1 of weighted sets, and concepts found, by size."""
    samples, names = features.samples, annotations.position_names
    groups = partition(
        samples, annotations.positives(samples, names), annotations.covered(samples, names), split
    )
    found = []
    for parts in groups:
        carried = np.asarray(parts.train.positives.sum(axis=0)).reshape(-1) > 0
        if not carried.any() or not parts.test.n_positions:
            continue
        units = sparse_units(Inputs(samples, parts), features)
        sets = weighted_sets("features", units, parts.test, KS, level=0.95)
        found.append(sets[carried[sets["concept"]]])
    table = pd.concat(found).dropna(subset=["f1"]).groupby("k")["f1"]
    return {f"f1_{k}": float(v) for k, v in table.mean().items()} | {
        f"found_{k}": float(v) for k, v in table.agg(lambda f1: (f1 >= FOUND).sum()).items()
    }
