"""Measures beyond reconstruction, of one SAE on held-out families: what ``demo --full`` adds.

Each is defined in a file of its own (``sae/recovered.py mdl.py darkmatter.py stability.py``,
``association/splitting.py``), which also says how it moves on a model with randomised weights.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sciinterp.association.dense_baselines import position_rows
from sciinterp.association.one_a_fold import one_a_fold, without_fold
from sciinterp.association.partitions import deal
from sciinterp.association.splitting import absorption, splitting
from sciinterp.codes.encoding import encode
from sciinterp.devices import moved
from sciinterp.errors import InputError
from sciinterp.sae.batches import Source, thinned
from sciinterp.sae.darkmatter import dark_matter, unexplained_by_concept
from sciinterp.sae.grid import MAX_ROWS, describe, rows_for_length
from sciinterp.sae.loop import Job, train_together
from sciinterp.sae.recovered import loss_recovered
from sciinterp.sae.settings import TrainSettings
from sciinterp.sae.stability import stability
from sciinterp.store.tables import write_tsv

if TYPE_CHECKING:
    import pandas as pd

    from sciinterp.activations import Activations
    from sciinterp.annotations import Annotations
    from sciinterp.codes import FeatureMatrix
    from sciinterp.models import Adapter
    from sciinterp.sae import SAE
    from sciinterp.samples import Samples, Split

# Held-out samples the model is run on for loss recovered: enough for a standard error of about 0.02 nats.
LOSS_SAMPLES = 120
# Calibration rows on which the codes of several seeds are compared.
STABILITY_ROWS = 20_000


def measure_sae(
    sae: SAE,
    acts: Activations,
    model: Adapter,
    *,
    split: Split,
    annotations: Annotations,
    loss_samples: int = LOSS_SAMPLES,
    device: str | None = None,
) -> dict[str, object]:
    """Loss recovered, description length and dark matter, on the activations an SAE was trained on.

    Maps and code tables are fitted on ``train``, everything is measured on ``test``, the loss on `loss_samples`
    of it.

    ``fve l0 dead``, ``loss`` (:func:`~sciinterp.sae.recovered.loss_recovered`), ``description_length``
    (:func:`~sciinterp.sae.mdl.description_length`), ``dark_matter``
    (:func:`~sciinterp.sae.darkmatter.dark_matter`) and ``unexplained``, one record a concept
    (:func:`~sciinterp.sae.darkmatter.unexplained_by_concept`), the most enriched first.
    """
    rows = rows_for_length(acts, split, part="test")
    n, x = len(rows[0]), np.concatenate(rows[:2])
    few = _thinned(acts.samples, split.test, loss_samples)
    with moved(device, model, sae):
        parts = [sae.reconstruct(x[lo : lo + 8192]).cpu().numpy() for lo in range(0, len(x), 8192)]
        loss = loss_recovered(model, sae, few, mean=x[:n].mean(0), site=acts.site)
        length = describe(sae, rows)
    x_hat = np.concatenate(parts)
    return {
        **{key: sae.metrics[key] for key in ("fve", "l0", "dead")},
        "loss": loss,
        "description_length": length,
        "dark_matter": dark_matter(x, x_hat, np.arange(n), np.arange(n, len(x))),
        "unexplained": _unexplained(x[n:], x_hat[n:], acts, split, annotations),
    }


def measure_splits(
    features: FeatureMatrix, annotations: Annotations, hits: pd.DataFrame, *, split: Split
) -> dict[str, list[dict[str, object]]]:
    """Splitting and absorption (:mod:`sciinterp.association.splitting`): records of ``splitting`` and
    ``absorption``.
    """
    return {
        "splitting": splitting(features, annotations, hits, split=split).to_dict("records"),
        "absorption": absorption(features, annotations, hits, split=split).to_dict("records"),
    }


def seed_stability(sae: SAE, acts: Activations, split: Split, out: Path, *, seeds: int) -> dict[str, object]:
    """Train the same recipe with further seeds, `seeds` in all, and compare (:mod:`sciinterp.sae.stability`).

    `out` holds the further SAEs, ``seed1`` ...; beside it, with the ending ``.tsv``, lies a row for each
    feature. ``pairs`` and ``features`` of :func:`~sciinterp.sae.stability.stability`; ``shared`` and
    ``null_shared``, means over the pairs. InputError where the SAE does not say how it was trained.
    """
    if sae.architecture is None:
        raise InputError("the SAE does not say how it was trained", where=repr(sae))
    settings = TrainSettings.of(sae.recipe)
    others = [
        Job(
            sae.architecture,
            replace(settings, seed=settings.seed + i, order_seed=settings.order),
            out / f"seed{settings.seed + i}",
        )
        for i in range(1, seeds)
    ]
    data = Source(acts)
    x = data.take(thinned(data.rows_of(split.calibration), STABILITY_ROWS))
    features, pairs = stability([sae, *train_together(acts, others, split=split)], x=x)
    write_tsv(features, out.with_name(f"{out.name}.tsv"))
    return {
        "pairs": pairs.to_dict("records"),
        "features": features.to_dict("list"),
        "shared": float(pairs["shared"].mean()),
        "null_shared": float(pairs["null_shared"].mean()),
    }


def fold_dictionaries(
    sae: SAE, acts: Activations, features: FeatureMatrix, annotations: Annotations, split: Split, out: Path
) -> dict[str, object]:
    """Train the same recipe once a fold and compare (:mod:`sciinterp.association.one_a_fold`).

    With the SAE that serves all folds, and its codes. `out` holds the dictionaries, ``fold0`` ...; run again to
    resume. ``difference low high n`` over concepts (the shared dictionary's F1 less the other) and
    ``concepts``, a record each. InputError where the SAE does not say how it was trained.
    """
    fold, settings = deal(split), TrainSettings.of(sae.recipe)
    if sae.architecture is None:
        raise InputError("the SAE does not say how it was trained", where=repr(sae))
    own = []
    for k in range(fold.max() + 1):
        job = Job(sae.architecture, settings, out / f"fold{k}")
        (trained,) = train_together(acts, [job], split=without_fold(split, fold, k))
        own.append(encode(trained, acts))
    found = one_a_fold(features, own, annotations, split, fold)
    return {**found.context, "concepts": found.to_dict("records")}


def _unexplained(
    x: np.ndarray, x_hat: np.ndarray, acts: Activations, split: Split, annotations: Annotations
) -> list[dict[str, object]]:
    """Concepts the error is enriched in; ``x`` are the (thinned) rows of the test samples."""
    samples = acts.samples
    rows = thinned(Source(acts).rows_of(split.test), MAX_ROWS)
    of_position = position_rows(acts, samples)
    positions = np.flatnonzero(np.isin(of_position, rows))
    at = np.searchsorted(rows, of_position[positions])
    table = unexplained_by_concept(
        x[at],
        x_hat[at],
        annotations.positives(samples)[positions],
        list(annotations.position_names),
        split.position_family(samples)[positions],
    )
    return table.sort_values("ratio", ascending=False).to_dict("records")


def _thinned(samples: Samples, numbers: np.ndarray, limit: int) -> Samples:
    keep = np.linspace(0, len(numbers) - 1, min(limit, len(numbers))).astype(np.int64)
    return samples.subset(numbers[np.unique(keep)])
