"""What needs more minutes: several seeds, the choice of width, measures beyond reconstruction, calibration.

Everything is measured twice, on the model and on its randomised control, because a measure that does not move
between the two says nothing about what the model knows.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciinterp.run import Run, stage, write_report

if TYPE_CHECKING:
    from sciinterp.samples import Samples, Split

log = logging.getLogger(__name__)

# Dictionaries in all: three besides the run's own let a novel candidate be called stable.
SEEDS = 4
# Held-out samples the model is run on for loss recovered: enough for a standard error of about 0.02 nats.
LOSS_SAMPLES = 120


def run_full(run: Run, *, seeds: int = SEEDS, calibrate: bool = True) -> dict[str, Any]:
    """Add seeds, width selection, measures and discovery calibration to a finished run.

    Parameters
    ----------
    run : Run
        From :func:`sciinterp.run.run_all`, with model and activations loaded.
    seeds : int
        SAEs in all, the run's own included.
    calibrate : bool
        Also run the discovery benchmark.

    Returns
    -------
    dict
        The content of ``full.json``.
    """
    import sciinterp as si
    from sciinterp.sae.select import select_width
    from sciinterp.store.atomic import read_json, write_json

    out, settings = run.folder / "full", run.manifest["settings"]
    if (run.folder / "full.json").is_file():
        log.info("%s is there: nothing to do", run.folder / "full.json")
        return read_json(run.folder / "full.json")
    out.mkdir(exist_ok=True)
    model = run.model or si.load_model(settings["model"], dtype=settings["dtype"])
    control_acts = si.load_activations(run.folder / "control" / "activations")
    control_sae = si.load_sae(run.folder / "control" / "sae")
    random_model = model.randomised(settings["seed"])
    found: dict[str, Any] = {}
    with stage(run.folder, "seeds"):
        found["stability"] = seed_stability(run.sae, run.acts, run.split, out / "seeds", seeds=seeds)
        run.candidates = _with_seeds(run, model, out, seeds)
        found["stability_control"] = seed_stability(
            control_sae, control_acts, run.split, out / "seeds-control", seeds=2
        )
    with stage(run.folder, "width"):
        table = select_width(
            run.acts, split=run.split, out=out / "width", seed=settings["seed"], steps=settings["steps"]
        )
        found["width"] = table.to_dict("records")
    with stage(run.folder, "measures"):
        found["measures"] = measures(run.sae, run.acts, run.split, model)
        found["measures_control"] = measures(control_sae, control_acts, run.split, random_model)
    if calibrate:
        from sciinterp.discovery import benchmark_discovery

        with stage(run.folder, "calibration"):
            found["calibration"] = {
                name: t.to_dict("records") for name, t in benchmark_discovery(seed=settings["seed"]).items()
            }
    write_json(run.folder / "full.json", found)
    write_report(run)
    return read_json(run.folder / "full.json")


def _with_seeds(run: Run, model: Any, out: Path, seeds: int) -> Any:
    """Candidates again, now that other seeds say which features come back; kept in ``full/``."""
    import sciinterp as si
    from sciinterp.discovery import Controls, write_candidates

    others = [
        si.encode(si.load_sae(folder), run.acts, out=out / "features" / folder.name)
        for folder in sorted((out / "seeds").iterdir())[: seeds - 1]
    ]
    candidates = si.discover(
        run.features,
        run.annotations,
        run.hits,
        split=run.split,
        model=model,
        control=Controls(randomised=run.control, seeds=others),
        seed=run.manifest["settings"]["seed"],
    )
    write_candidates(candidates, out)
    return candidates


def measures(sae: Any, acts: Any, split: Split, model: Any) -> dict[str, Any]:
    """Loss recovered, description length and dark matter of one SAE on held-out families."""
    from sciinterp.sae.darkmatter import dark_matter
    from sciinterp.sae.recovered import loss_recovered
    from sciinterp.sae.sweep import describe, rows_for_length

    rows = rows_for_length(acts, split, part="test")
    n, x = len(rows[0]), np.concatenate(rows[:2])
    x_hat = np.concatenate([sae.reconstruct(x[lo : lo + 8192]).numpy() for lo in range(0, len(x), 8192)])
    return {
        "fve": sae.metrics["fve"],
        "l0": sae.metrics["l0"],
        "dead": sae.metrics["dead"],
        "loss": loss_recovered(
            model, sae, _thinned(acts.samples, split.test), mean=x[:n].mean(0), site=acts.site
        ),
        "description_length": describe(sae, rows),
        "dark_matter": dark_matter(x, x_hat, np.arange(n), np.arange(n, len(x))),
    }


def seed_stability(sae: Any, acts: Any, split: Split, out: Path, *, seeds: int) -> dict[str, Any]:
    """Train the same recipe with further seeds and compare."""
    from sciinterp.sae.loop import Job, train_together
    from sciinterp.sae.rows import Source, thinned
    from sciinterp.sae.settings import TrainSettings
    from sciinterp.sae.stability import stability
    from sciinterp.sae.sweep import codes_of

    settings = TrainSettings.of(sae.recipe)
    others = [
        Job(sae.architecture, replace(settings, seed=settings.seed + i), out / f"seed{settings.seed + i}")
        for i in range(1, seeds)
    ]
    saes = [sae, *train_together(acts, others, split=split)]
    data = Source(acts)
    x = data.take(thinned(data.rows_of(split.calibration), 20_000))
    codes = [codes_of(s, x) for s in saes]
    features, pairs = stability(saes, codes=codes, alive=[np.diff(c.tocsc().indptr) > 0 for c in codes])
    return {
        "pairs": pairs.to_dict("records"),
        "features": features.to_dict("list"),
        "shared": float(pairs["shared"].mean()),
        "null_shared": float(pairs["null_shared"].mean()),
    }


def _thinned(samples: Samples, numbers: np.ndarray) -> Samples:
    keep = np.linspace(0, len(numbers) - 1, min(LOSS_SAMPLES, len(numbers))).astype(np.int64)
    return samples.subset(numbers[np.unique(keep)])
