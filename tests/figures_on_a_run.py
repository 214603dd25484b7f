"""Every figure on a real run: name -> a function that draws it. Read by the test of the README's notebook."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import sciinterp as si
from sciinterp.interventions.control_matrix import ControlSettings
from sciinterp.readouts.readout import ReadoutSettings
from sciinterp.sae.batches import Source
from sciinterp.sae.darkmatter import dark_matter
from sciinterp.sae.stability import match_features


def figures_of(names: dict[str, Any], control_sae: Path) -> dict[str, Callable]:
    """The figures of what the notebook left behind."""
    pl, hits, features, sae = si.pl, names["hits"], names["features"], names["sae"]
    split, acts, candidates = names["split"], names["acts"], names["candidates"]
    chosen = hits[hits["selected"]].sort_values("f1", ascending=False)
    j, concept = int(chosen["feature"].iloc[0]), chosen["concept"].iloc[0]
    sweep = si.sweep_saes(acts, [si.TopK(n_features=n, k=8) for n in (32, 64)], split=split, steps=12)
    x = Source(acts).take(np.arange(2000))
    parts = dark_matter(x, sae.reconstruct(x).numpy(), np.arange(1000), np.arange(1000, 2000))
    _, cosine = match_features(sae.W_dec.numpy(), si.load_sae(control_sae).W_dec.numpy())
    baselines = hits.context["baselines"]
    site = {
        "site": acts.site,
        "concepts": len(chosen),
        "sae": int((chosen["f1"] >= 0.5).sum()),
        **{
            name: int((baselines.loc[baselines["baseline"] == key, "f1"] >= 0.5).sum())
            for name, key in (("neurons", "neuron"), ("randomised", "randomised"))
        },
    }
    missing = candidates.sort_values("probability", ascending=False)["probability"]
    precision = [{"k": k, "precision": float(missing.head(k).mean())} for k in (1, 5, 10, 20)]
    # Can the model's own features say where a concept is? Activations scaled to one, against the annotations.
    value = np.asarray(features.column(j), float)
    rows = names["annotations"].frame
    rows = rows[(rows["concept"] == concept) & (rows["start"] >= 0)]
    truth = np.zeros(features.n_positions, bool)
    for sample, start, end in zip(rows["sample"], rows["start"], rows["end"]):
        offset = int(features.samples.offsets[features.samples.index(sample)])
        truth[offset + start : offset + end] = True
    sample = features.samples[int(split.test[0])]
    letter = sample.sequence[20]
    variant = f"{letter}21{'A' if letter != 'A' else 'W'}"
    turned = si.control_matrix(
        names["model"], features, chosen[:1], names["annotations"], split=split, acts=acts,
        settings=ControlSettings(n_samples=4, n_random=2, n_noise=1, n_doses=2),
    )  # fmt: skip
    read = si.readout(
        features, features.samples.table["isotype"].isin(["IGHG", "IGHA"]).to_list(), n=(96,), hits=hits,
        settings=ReadoutSettings(n_draws=3, n_permutations=50),
    )  # fmt: skip
    worlds = pd.read_csv(Path(__file__).parent.parent / "notebooks" / "dictionaries.tsv", sep="\t")
    return {
        "concepts_vs_baselines": lambda: pl.concepts_vs_baselines(hits),
        "concept_counts": lambda: pl.concept_counts(hits),
        "heatmap": lambda: pl.heatmap(hits),
        "volcano": lambda: pl.volcano(hits),
        "feature": lambda: pl.feature(features, j, annotations=names["annotations"]),
        "family_heatmap": lambda: pl.family_heatmap(features, j),
        "logo": lambda: pl.logo(features, j),
        "sets": lambda: pl.sets(hits),
        "control_matrix": lambda: pl.control_matrix(turned),
        "dose": lambda: pl.dose(turned),
        "readout": lambda: pl.readout(read),
        "distil": lambda: pl.distil(si.distil(read)),
        "recovery": lambda: pl.recovery(worlds),
        "training_curve": lambda: pl.training_curve(sae),
        "density_histogram": lambda: pl.density_histogram(features),
        "front": lambda: pl.front(sweep),
        "scaling": lambda: pl.scaling(sweep),
        "mdl": lambda: pl.mdl(sweep),
        "dark_matter": lambda: pl.dark_matter({"name": "layers.4", "explained": 1 - parts["fvu"], **parts}),
        "stability": lambda: pl.stability(cosine),
        "layer_sweep": lambda: pl.layer_sweep(pd.DataFrame([site])),
        "precision_at_k": lambda: pl.precision_at_k(precision),
        "reliability": lambda: pl.reliability(value / value.max(), truth),
        "variant_effect": lambda: pl.variant_effect(
            si.variant_effect(names["model"], sae, sample, variant, hits=hits)
        ),
    }
