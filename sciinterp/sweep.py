"""A site sweep: where in the model are the concepts?

One pass of the model over several sites, one SAE each, the concept table of each, and the same on randomised
weights: the figure of concepts by layer (Simon and Zou, InterPLM, 2025), with its controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import sciinterp as si
from sciinterp.activations import Activations, site_folder
from sciinterp.annotations import Annotations
from sciinterp.association.explanations import above_all
from sciinterp.control import control_codes
from sciinterp.errors import InputError, require_kinds
from sciinterp.frames import Table
from sciinterp.models import Adapter
from sciinterp.sae import Architecture, TrainSettings, train
from sciinterp.samples import Samples, Split
from sciinterp.settings import plain_row, settings_of

F1_BAR = 0.5
# column of the sweep -> baseline whose concepts it counts
CONTROLS = {"neurons": "neuron", "randomised": "randomised"}


def sweep_sites(
    model: Adapter,
    samples: Samples,
    annotations: Annotations,
    *,
    sites: Sequence[str],
    split: Split,
    out: str | Path,
    architecture: Architecture | None = None,
    settings: TrainSettings | None = None,
) -> Table:
    """Train and score one SAE a site, and the same on randomised weights.

    Parameters
    ----------
    model : Adapter
    samples : Samples
    annotations : Annotations
    sites : sequence of str
        Read in one pass of the model, and in one of its randomised twin.
    split : Split
    out : path
        Folder with ``activations``, ``control`` and one folder of ``sites`` each; run again to resume.
    architecture : Architecture, optional
        ``Matryoshka(1024, k=32)`` when not given.
    settings : TrainSettings, optional
        Of every SAE; its ``seed`` is also that of the random weights and of the association.

    Returns
    -------
    Table
        One row a site: ``site, depth, fve, l0, concepts, sae, neurons, randomised, beat_every_baseline``, counts of
        concepts at held-out F1 of 0.5 or more with the feature (or neuron) selected on training families, and of
        those said to lie above every counted baseline. ``context["hits"]`` is the concept table: the
        selected hit of every site and concept, with ``site`` first and ``neuron_f1`` and ``randomised_f1`` last.

    Raises
    ------
    InputError
        Before anything is written, when there is no such site.

    Examples
    --------
    >>> import tempfile
    >>> import sciinterp as si
    >>> from sciinterp.sae import TrainSettings
    >>> model = si.load_model("antiberty")
    >>> ids = [f"s{i}" for i in range(6)]
    >>> samples = si.Samples(ids, ["EVQLVESGGGLVQPGGSLRLSCAASGFTFS" + "ACDEFG"[i] for i in range(6)])
    >>> rows = pd.DataFrame({"sample": ids, "start": 21, "end": 22, "concept": "Cys"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = sweep_sites(model, samples, si.Annotations(rows), sites=["layers.0", "layers.1"],
    ...                         split=si.split_families(samples, by=list("aabbcc")), out=folder,
    ...                         architecture=si.TopK(16, k=2), settings=TrainSettings(steps=5, batch_size=64))
    >>> table[["site", "depth", "concepts"]].values.tolist()
    [['layers.0', 0.125, 1], ['layers.1', 0.25, 1]]
    """
    require_kinds(model=(model, Adapter), samples=(samples, Samples), annotations=(annotations, Annotations))
    require_kinds(split=(split, Split), out=(out, Path), architecture=(architecture, Architecture | None))
    settings, sites = settings_of(settings, TrainSettings), plain_row(sites, str, "sites")
    if not sites:
        raise InputError("no sites to sweep", expected="one or more names", do="See 'sciinterp sites MODEL'.")
    sites = list(dict.fromkeys(sites))
    records = {name: model.site(name) for name in sites}
    out, recipe = Path(out), (architecture or si.Matryoshka(n_features=1024, k=32), settings)
    real = si.extract(model, samples, site=sites, out=out / "activations")
    blank = si.extract(model.randomised(settings.seed), samples, site=sites, out=out / "control")
    rows, tables = [], []
    for name in sites:
        found, metrics = _site(real[name], blank[name], annotations, split=split, out=out, recipe=recipe)
        chosen = _concepts(found, name)
        rows.append({"site": name, "depth": records[name].depth, **metrics, **_counts(chosen)})
        tables.append(chosen)
    return Table(rows, context={"hits": pd.concat(tables, ignore_index=True), "seed": settings.seed})


def _site(
    acts: Activations,
    blank: Activations,
    annotations: Annotations,
    *,
    split: Split,
    out: Path,
    recipe: tuple[Architecture, TrainSettings],
) -> tuple[Table, dict[str, float]]:
    """Hits of one site, and how well its SAE reconstructs."""
    architecture, settings = recipe
    folder = out / "sites" / site_folder(acts.site)
    folder.mkdir(parents=True, exist_ok=True)
    sae = train(acts, architecture, settings=settings, out=folder / "sae", split=split)
    features = si.encode(sae, acts, out=folder / "features", device=settings.device)
    (folder / "control").mkdir(exist_ok=True)
    control = control_codes(sae, blank, split=split, out=folder / "control")
    hits = si.associate(features, annotations, split=split, acts=acts, control=control, seed=settings.seed)
    return hits, {name: float(sae.metrics[name]) for name in ("fve", "l0")}


def _concepts(hits: Table, site: str) -> pd.DataFrame:
    """The selected hit of every concept, beside what a neuron and the randomised model reach."""
    chosen, baselines = pd.DataFrame(hits[hits["selected"]]), hits.context["baselines"]
    chosen.insert(0, "site", site)
    for name in CONTROLS.values():
        f1 = baselines[baselines["baseline"] == name].set_index("concept")["f1"]
        chosen[f"{name}_f1"] = chosen["concept"].map(f1)
    return chosen


def _counts(chosen: pd.DataFrame) -> dict[str, int]:
    reach = {"sae": "f1"} | {column: f"{name}_f1" for column, name in CONTROLS.items()}
    return {
        "concepts": len(chosen),
        **{column: int(np.sum(chosen[f1] >= F1_BAR)) for column, f1 in reach.items()},
        "beat_every_baseline": int(above_all(chosen).sum()),
    }
