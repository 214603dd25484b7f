"""A site sweep: where in the model are the concepts?

One pass of the model over several sites, one SAE each, the concept table of each, and the same on randomised
weights: the figure of concepts by layer, with its controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciinterp.errors import InputError
from sciinterp.tables import Table

if TYPE_CHECKING:
    from sciinterp.annotations import Annotations
    from sciinterp.models import Adapter
    from sciinterp.samples import Samples, Split

F1_BAR = 0.5


def sweep_sites(
    model: Adapter,
    samples: Samples,
    annotations: Annotations,
    *,
    sites: Sequence[str],
    split: Split,
    out: str | Path,
    architecture: Any = None,
    seed: int = 0,
) -> Table:
    """Train and score one SAE a site.

    Parameters
    ----------
    model : Adapter
    samples : Samples
    annotations : Annotations
    sites : sequence of str
        Read in one pass of the model.
    split : Split
    out : path
        Folder with one folder a site; run again to resume.
    architecture : Architecture, optional
        ``TopK(1024, k=32)`` when not given.
    seed : int

    Returns
    -------
    Table
        One row a site: ``site, depth, fve, l0, concepts, sae, neurons, randomised, beat_every_baseline``, counts of
        concepts at held-out F1 of 0.5 or more with the feature (or neuron) selected on training families; the
        selected hits of every site are in ``context["hits"]``.

    Raises
    ------
    InputError
        Before anything is written, when there is no such site.
    """
    import sciinterp as si

    if not sites:
        raise InputError("no sites to sweep", expected="one or more names", do="See 'sciinterp sites MODEL'.")
    records = {name: model.site(name) for name in sites}
    out, architecture = Path(out), architecture or si.TopK(n_features=1024, k=32)
    real = _by_site(si.extract(model, samples, site=list(sites), out=out / "activations"), sites)
    rows, selected = [], {}
    for name in sites:
        folder = out / "sites" / name
        folder.mkdir(parents=True, exist_ok=True)
        sae = si.train(real[name], architecture, split=split, out=folder / "sae", seed=seed)
        features = si.encode(sae, real[name], out=folder / "features")
        control = si.randomised_control(model, sae, samples, split=split, out=folder / "control", seed=seed)
        hits = si.associate(features, annotations, split=split, acts=real[name], control=control, seed=seed)
        chosen = hits[hits["selected"]]
        baselines = hits.context["baselines"]
        rows.append(
            {
                "site": name,
                "depth": records[name].depth,
                "fve": sae.metrics["fve"],
                "l0": sae.metrics["l0"],
                "concepts": len(chosen),
                "sae": int((chosen["f1"] >= F1_BAR).sum()),
                **{
                    column: int((baselines.loc[baselines["baseline"] == key, "f1"] >= F1_BAR).sum())
                    for column, key in (("neurons", "neuron"), ("randomised", "randomised"))
                },
                "beat_every_baseline": int((chosen["delta_low"] > 0).sum()),
            }
        )
        selected[name] = chosen
    return Table(rows, context={"hits": selected, "seed": seed, "sites": list(sites)})


def _by_site(extracted: Any, sites: Sequence[str]) -> dict[str, Any]:
    """Activations by site, whether one or several were asked for."""
    return extracted if isinstance(extracted, dict) else {sites[0]: extracted}
