"""What needs more minutes: several seeds, the choice of width, measures beyond reconstruction, calibration.

Everything is measured twice, on the model and on its randomised control, because a measure that does not move
between the two says nothing about what the model knows.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeVar

import sciinterp as si
from sciinterp.discovery import (
    Controls,
    DiscoverySettings,
    benchmark_discovery,
    leave_concept_out,
    mask_and_recover,
    merge_and_recover,
    write_candidates,
)
from sciinterp.discovery.probe import shuffled_codes
from sciinterp.errors import InputError
from sciinterp.frames import Table
from sciinterp.measures import fold_dictionaries, measure_sae, measure_splits, seed_stability
from sciinterp.models import Adapter
from sciinterp.project import Run, turn_features, write_report
from sciinterp.sae.grid import select_width
from sciinterp.sae.topk import TopK
from sciinterp.settings import Plain
from sciinterp.store import ledger
from sciinterp.store.atomic import make_folder, read_json, write_json

log = logging.getLogger(__name__)
Part = TypeVar("Part")

# Dictionaries in all: three besides the run's own let a novel candidate be called stable.
SEEDS = 4
# Concepts of the repertoire that are hidden and looked for; elsewhere the best narrow ones (share of positions).
CONSERVED = ("residue:Cys23", "residue:Trp41", "residue:Cys104", "motif:WGxG", "segment:D", "shm")
NARROW = 0.1
PROBED = 20  # candidates of a kind that are ablated and mutated


def run_full(run: Run, *, seeds: int = SEEDS, calibrate: bool = True) -> Plain:
    """Add seeds, width selection, measures and discovery calibration to a finished run, as ``full.json`` has them.

    The run has its model and activations. `seeds` are SAEs in all, the run's own included; `calibrate` also
    runs the discovery benchmark.
    """
    out, settings = run.folder / "full", run.manifest["settings"]
    if ledger.is_done(run.folder, "full"):
        log.info("%s is there: nothing to do", run.folder / "full.json")
        return read_json(run.folder / "full.json")
    with ledger.recorded("full", run.folder, settings={"seeds": seeds, "calibrate": calibrate}):
        found = _measure(run, out, settings, seeds=seeds, calibrate=calibrate)
        write_json(run.folder / "full.json", found)
    _turn(run)
    write_report(run)
    return read_json(run.folder / "full.json")


def _turn(run: Run) -> None:
    """Control of the selected features, where the model has scores over letters."""
    try:
        turn_features(run)
    except InputError as error:
        log.warning("features were not turned: %s", error)


def _held(part: Part | None, name: str) -> Part:
    """A part of a run that is needed here."""
    if part is None:
        raise InputError(
            f"the run is without its {name}", where="argument 'run'", do="Load the finished run folder."
        )
    return part


def _measure(run: Run, out: Path, settings: Plain, *, seeds: int, calibrate: bool) -> Plain:
    """Everything that ``full.json`` holds."""
    make_folder(out)
    model = run.model or si.load_model(
        settings["model"]["name"], weights=None, dtype=settings["model"]["precision"]
    )
    control_acts = si.load_activations(run.folder / "control" / "activations")
    control_sae = si.load_sae(run.folder / "control" / "sae")
    sae, acts, features = _held(run.sae, "SAE"), _held(run.acts, "activations"), _held(run.features, "codes")
    random_model = model.randomised(settings["seed"])
    k = int(getattr(sae.architecture, "k", sae.k or round(float(sae.metrics["l0"]))))
    found: Plain = {}
    with ledger.timed(run.folder, "seeds"):
        found["stability"] = seed_stability(sae, acts, run.split, out / "seeds", seeds=seeds)
        run.candidates = _with_seeds(run, model, out, seeds)
        found["stability_control"] = seed_stability(
            control_sae, control_acts, run.split, out / "seeds-control", seeds=2
        )
    with ledger.timed(run.folder, "folds"):
        found["one_a_fold"] = fold_dictionaries(
            sae, acts, features, run.annotations, run.split, out / "folds"
        )
    with ledger.timed(run.folder, "width"):
        table = select_width(
            acts,
            split=run.split,
            ks=sorted({max(1, k // 2), k}),
            out=out / "width",
            seed=settings["seed"],
            architecture=type(sae.architecture)
            if sae.architecture and hasattr(sae.architecture, "k")
            else TopK,
            steps=max(1, int(sae.metrics["steps"]) // 2),
        )
        found["width"] = table.to_dict("records")
    with ledger.timed(run.folder, "measures"):
        found["measures"] = measure_sae(sae, acts, model, split=run.split, annotations=run.annotations)
        found["measures_control"] = measure_sae(
            control_sae, control_acts, random_model, split=run.split, annotations=run.annotations
        )
        found["splitting"] = measure_splits(features, run.annotations, run.hits, split=run.split)
    if calibrate:
        with ledger.timed(run.folder, "calibration"):
            tables = benchmark_discovery(seed=settings["seed"], out=out / "worlds")
            tables |= hide_and_recover(run, seed=settings["seed"])
            found["calibration"] = {name: t.to_dict("records") for name, t in tables.items()}
    return found


def _with_seeds(run: Run, model: Adapter, out: Path, seeds: int) -> Table:
    """Candidates again, now that other seeds say which features come back; kept in ``full/``."""
    features, acts = _held(run.features, "codes"), _held(run.acts, "activations")
    others = [
        si.encode(si.load_sae(folder), acts, out=out / "features" / folder.name)
        for folder in sorted((out / "seeds").iterdir())[: seeds - 1]
    ]
    seed = run.seed
    # Shuffled sequences are decoys of missing annotations: where every source is exhaustive there is nothing to test.
    open_ = not run.annotations.concepts["exhaustive"].astype(bool).all()
    shuffled = shuffled_codes(model, _held(run.sae, "SAE"), features.samples, seed=seed) if open_ else None
    candidates = si.discover(
        features,
        run.annotations,
        run.hits,
        split=run.split,
        model=model,
        control=Controls(
            randomised=run.control,
            shuffled=shuffled,
            seeds=others,
        ),
        settings=DiscoverySettings(n_probed=PROBED, seed=seed),
    )
    write_candidates(candidates, out)
    return candidates


def hide_and_recover(run: Run, *, seed: int = 0) -> dict[str, Table]:
    """What a run's own concepts say of its candidates: hidden in families, forgotten, and merged in pairs.

    ``hidden`` (:func:`sciinterp.discovery.mask_and_recover`), ``forgotten`` (``leave_concept_out``) and
    ``merged`` (``merge_and_recover``). Somatic mutation is among the hidden where it is annotated, without a
    bar.
    """
    features, hits = _held(run.features, "codes"), _held(run.hits, "hits")
    selected = hits[hits["selected"]].sort_values("f1", ascending=False)
    names = selected.loc[selected["prevalence"] <= NARROW, "concept"].tolist()
    hidden = [c for c in CONSERVED if c in run.annotations.position_names] or names[:6]
    best = [c for c in names if c in hidden][:4]
    pairs = list(zip(best[::2], best[1::2]))
    spans = run.annotations.frame.query("start >= 0")
    length = (spans["end"] - spans["start"]).groupby(spans["concept"]).median()
    longer = [c for c in names if length[c] > 1][:3]  # one residue is explained by its letter
    given, split = (features, run.annotations), run.split
    return {
        "hidden": mask_and_recover(*given, split=split, concepts=hidden, control=run.control, seed=seed),
        "forgotten": leave_concept_out(
            *given, split=split, concepts=[*best[:1], *longer], control=run.control
        ),
        "merged": merge_and_recover(*given, split=split, pairs=pairs, seed=seed),
    }
