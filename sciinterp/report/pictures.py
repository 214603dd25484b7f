"""The figures of a report: drawn once, written as SVG and PNG, and inlined into the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sciinterp import plots as pl
from sciinterp.codes.active import ACTIVE
from sciinterp.frames import Table
from sciinterp.plots.structure_views import has_backbones
from sciinterp.plots.style import WIDTHS, figure_of, offscreen, to_bytes
from sciinterp.plots.tracks import top_samples
from sciinterp.readouts.assay_files import drawn_scan
from sciinterp.report.turned import turned_concepts
from sciinterp.settings import Plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sciinterp.annotations import Annotations
    from sciinterp.codes import FeatureMatrix
    from sciinterp.sae import SAE


ROWS = 80  # of the picture of an aligned family
_UNDER = (
    "with the annotations under it; where there are more than seven, those the feature overlaps most. Each "
)
_UNDER += "concept has one colour in all figures. Positions count from 0."
_TRACK = {
    False: f"Activation, {_UNDER}",
    True: f"Activation, each of another family where there are more, {_UNDER}",
}

_TORSIONS = (
    "Phi and psi where the feature is active, larger where it is stronger, on the density of all residues."
)
_ON_TRACE = (
    "The CA trace along its shortest axis, darker where nearer; red residues where the feature is active, larger where "
    "it is stronger, the strongest by the author's numbers."
)
_CONTACTS = (
    "Residues whose CA lie within 8 angstrom; blue those with an active residue, red the active residues."
)


@dataclass(frozen=True)
class Picture:
    """One drawn figure: its file name, what it shows, its width on the page and its bytes."""

    name: str
    title: str
    caption: str
    width: str
    svg: bytes
    png: bytes | None = None


def draw(name: str, title: str, caption: str, figure: Callable[[], Axes], *, png: bool = True) -> Picture:
    """Draw one figure off screen, in the journal style, in the size its function gives it."""
    with offscreen():
        axes = figure()
        svg, pixels = to_bytes(axes, "svg"), to_bytes(axes, "png") if png else None
    millimetres = figure_of(axes).get_size_inches()[0] * 25.4
    width = min(WIDTHS, key=lambda w: abs(WIDTHS[w] - millimetres))
    return Picture(name, title, caption, width, svg, pixels)


def run_figures(
    features: FeatureMatrix, hits: pd.DataFrame, sae: SAE | None, content: Plain, full: Plain
) -> Iterator[Picture]:
    """The figures about all features, in the order of the page."""
    families = content["done"]["judged"]["families"]
    yield draw(
        "training",
        "Training of the autoencoder",
        f"Variance explained of each training batch. Dashed: of {content['sae']['measured_on']}, after training.",
        lambda: pl.training_curve(sae),
    )
    yield draw(
        "density",
        "How often features fire",
        f"Fraction of positions where each feature is active ({ACTIVE}), over all samples here.",
        lambda: pl.density_histogram(features),
    )
    yield from _full_figures(full, content)
    yield draw(
        "concepts_vs_baselines",
        "Concepts against baselines",
        f"F1 of the feature selected on training families, measured once on {families}, with its interval "
        "over families (of choosing, where not all folds chose the same feature), beside the best baseline of each kind. A filled point lies above every counted baseline, with "
        "false discovery control over concepts; crosses are ceilings, shown beside and not counted.",
        lambda: pl.concepts_vs_baselines(hits),
    )
    yield draw(
        "heatmap",
        "Features by concepts",
        f"F1 on {families} of the pairs in the table; a ring marks the feature selected for each concept. It was "
        "chosen on training families, so another feature may score higher on the others; where not all folds chose it, "
        "the ringed F1 is that of choosing. A dot: a pair that was not among the strongest in training and so was not measured.",
        lambda: pl.heatmap(hits),
    )
    yield draw(
        "concept_counts",
        "Features, neurons, the randomised model and every other baseline",
        f"Concepts that reach an F1 of 0.5 on {families} with each; grey bars are ceilings.",
        lambda: pl.concept_counts(hits),
    )
    if content["sets"]["rows"]:
        yield draw(
            "sets",
            "Features read together, beside rivals",
            "Sets chosen and weighted on training families, read on the test families of the split: mean F1 over concepts, and "
            "the mean of their intervals over families. Grey: the most that sets of features reach of a concept rotated "
            "between families; dotted: the linear probe, which reads all inputs.",
            lambda: pl.sets(hits),
        )


def candidate_figures(content: Plain) -> Iterator[Picture]:
    """What the candidates' probabilities promise, and whether they can be believed."""
    precision = content["candidates"]["precision"]
    if precision:
        yield draw(
            "precision_at_k",
            "Precision to expect among the highest candidates",
            "Mean calibrated probability of the k highest candidates of each kind, with its interval when those of "
            "one family and concept stand or fall together. It is an expectation, not a check.",
            lambda: pl.precision_at_k(pd.DataFrame(precision)),
        )
    calibration = (content["beyond"] or {}).get("calibration")
    if calibration:
        yield draw(
            "reliability",
            "Whether the probabilities can be believed",
            "Stated probabilities of missing candidates against planted truth, in worlds where it is known.",
            lambda: pl.reliability(pd.DataFrame(calibration)),
        )


def _full_figures(full: Plain, content: Plain) -> Iterator[Picture]:
    """What the full run measured beyond reconstruction."""
    sides = {"model": full.get("measures") or {}, "randomised weights": full.get("measures_control") or {}}
    parts = [
        {"name": name, "explained": 1 - m["dark_matter"]["fvu"], **m["dark_matter"]}
        for name, m in sides.items()
        if m.get("dark_matter")
    ]
    if parts:
        yield draw(
            "dark_matter",
            "Where the variance goes",
            f"On {content['done']['held_out']['families']}: explained, error that a linear map of the input predicts, and the rest (Engels "
            "et al. 2024).",
            lambda: pl.dark_matter(parts),
        )
    if full.get("width"):
        width = pd.DataFrame(content["beyond"]["width"])
        width = (
            width
            if "architecture" in width.columns
            else width.assign(architecture=content["sae"]["architecture"]["name"])
        )
        yield draw(
            "mdl",
            "Width by description length",
            "Bits a token on calibration families, the dictionary's own cost included (Ayonrinde et al. 2024); the "
            "ring marks the width the data pay for.",
            lambda: pl.mdl(width),
        )
    stability = full.get("stability") or {}
    if (stability.get("features") or {}).get("score") is not None:
        yield draw(
            "stability",
            "Which features come back with another seed",
            "For every feature the smaller of decoder and encoder cosine with its one-to-one match, mean over "
            f"seeds; random dictionaries share {stability.get('null_shared', float('nan')):.3f} of their features "
            "(Paulo and Belrose 2025).",
            lambda: pl.stability(stability["features"]["score"]),
        )


def turning_figures(turning: Plain | None) -> Iterator[Picture]:
    """What turning features does: the matrix, and the doses of the concept whose feature has most control."""
    found = turned_concepts(turning)
    if not turning or not found:
        return
    table, best = pd.DataFrame(turning["table"]), found[0]["concept"]
    level = turning["settings"]["divergence"]
    doses = Table(turning["doses"], context={"settings": SimpleNamespace(divergence=level)})
    yield draw(
        "control_matrix",
        "What turning features does",
        "Gain of the judge's score when a direction is written at the concept's place in samples of the test families, each at a "
        f"divergence of {level} nats a token elsewhere; the line is the feature's interval over families. In nats of log "
        "odds a position, against the composition of training letters. Hollow: even the largest dose did less elsewhere.",
        lambda: pl.control_matrix(table),
    )
    yield draw(
        "dose",
        f"Doses: {best}",
        f"Gain against damage elsewhere, over the doses of each direction; gains are read at the dotted line, {level} nats.",
        lambda: pl.dose(doses, best),
    )


def label_figures(readouts: Plain | None) -> Iterator[Picture]:
    """Of every label that was read: the score of each representation, and the rule of a few features."""
    for number, (name, record) in enumerate((readouts or {}).items()):
        table = Table(record["table"], context={k: record[k] for k in ("measure", "chance")})
        yield draw(
            f"readout_{number}",
            f"Reading {name}",
            f"{record['measure']} of each representation against the number of labelled samples: mean over draws "
            "of families, and its interval over families at the same draws.",
            lambda table=table: pl.readout(table),
        )
        yield draw(
            f"rule_{number}",
            f"{name} in a few features",
            "Terms of the rule; in brackets what follows each and needs no model.",
            lambda record=record: pl.distil(record["rule"]),
        )


def assay_figures(assays: Plain | None) -> Iterator[Picture]:
    """Of every assay that was kept: the scan with tracks of features, and the score against the change of the first."""
    for number, (name, record) in enumerate((assays or {}).items()):
        scan, features = drawn_scan(record), record["scan"]["features"]
        if (record["n_samples"] or 1) == 1:
            yield draw(
                f"scan_{number}",
                f"The scan of {name}",
                "Measured score of every substitution that was measured; below, the mean size of each feature's change at "
                "a position, its largest being one. Positions count from 1.",
                lambda scan=scan, features=features: pl.assay_scan(scan, features=features),
            )
        if features:
            yield draw(
                f"change_{number}",
                f"{name}: score against a feature",
                "Measured score of every variant against the largest change of the feature at any position.",
                lambda scan=scan, features=features: pl.assay_change(scan, features[0]),
            )


def portraits(
    chosen: list[Plain],
    *,
    features: FeatureMatrix,
    annotations: Annotations | None,
    shown: int | None,
) -> Iterator[Picture]:
    """Activation and logo of every notable feature; of the one ``shown`` the aligned family too, and pixels."""
    drawn = "structure" if has_backbones(features.samples) else "sequence"
    for j in (int(entry["feature"]) for entry in chosen):
        first = j == shown
        track, letters = ("activation", "logo") if first else (f"feature_{j}_track", f"feature_{j}_logo")
        n = len(top_samples(features, j, 2 if first else 1))
        yield draw(
            track,
            f"Feature {j} along its strongest {drawn}{'s' * (n > 1)}",
            _TRACK[n > 1],
            lambda j=j, n=n: pl.feature(features, j, annotations=annotations, n=n),
            png=first,
        )
        yield draw(
            letters,
            f"What stands around the peaks of feature {j}",
            f"Information around the strongest position of each {drawn}, in bits, with small-sample correction. "
            "Colours: acidic red, basic blue, aromatic purple, polar green, cysteine orange."
            if features.samples.kind in ("protein", "airr", "structure")
            else "Information around the strongest position of each sequence, in bits, with small-sample correction.",
            lambda j=j: pl.logo(features, j),
            png=first,
        )
        if first and has_backbones(features.samples):
            for name, figure, where, said in (
                ("trace", pl.trace, "on its strongest structure", _ON_TRACE),
                ("ramachandran", pl.ramachandran, "among all torsions", _TORSIONS),
                ("contact_map", pl.contact_map, "and who is near", _CONTACTS),
            ):
                yield draw(name, f"Feature {j} {where}", said, lambda j=j, figure=figure: figure(features, j))
        if first and "imgt" in features.samples.table.columns:
            yield draw(
                "family",
                f"Feature {j} over the aligned family",
                "One sample a row, at IMGT positions: the strongest of every family, then the strongest of the others, "
                f"{ROWS} at most, as far as their peak reaches a third of the largest. Grey: no residue there, or cut away "
                "before the model saw it.",
                lambda j=j: pl.family_heatmap(features, j, top=ROWS),
            )


def shown_feature(concepts: list[Plain], features: FeatureMatrix) -> int | None:
    """The feature the single-feature figures show: the clearest one, else the most active one."""
    for verdict in ("above", None):
        rows = [
            c
            for c in concepts
            if c["feature"] is not None and c["f1"] is not None and verdict in (c["verdict"], None)
        ]
        rows = [c for c in rows if c["feature"] < features.n_features]
        if rows:
            return max(rows, key=lambda c: ((c["delta_f1"] or 0.0) if verdict else c["f1"], c["concept"]))[
                "feature"
            ]
    return int(np.argmax(features.density)) if features.n_stored else None
