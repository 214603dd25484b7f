"""Proposals: sequences that a model writes while some features are turned up and others taken away.

The model draws the open positions anew (:mod:`sciinterp.models.generation`) with the intervention written at every step.
What comes out is judged without it: by the model's own likelihood, by whether the features are there when the finished
sequence is read, by a judge that knows nothing of the model where one is given, and by how far it lies from what is
known. A proposal is a hypothesis to be made and measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from Bio.Align import PairwiseAligner

from sciinterp.codes.matrix import FeatureMatrix
from sciinterp.errors import InputError
from sciinterp.frames import Table
from sciinterp.interventions.likelihoods import letters_at
from sciinterp.interventions.reading import as_samples, codes_of
from sciinterp.interventions.steering import Turned, steering_edit, turned_features
from sciinterp.interventions.writing import Edit, feature_edit, masks_at, rows_at, writing
from sciinterp.models import CanGenerate, GenerationSettings
from sciinterp.readers.notation import Variant
from sciinterp.samples import Sample, Samples

if TYPE_CHECKING:
    from sciinterp.models import Adapter
    from sciinterp.sae import SAE


@dataclass(frozen=True)
class DesignSettings:
    """How proposals are written and judged.

    Attributes
    ----------
    strength : float
        How much raised features are turned up, in units of their largest activation.
    generation : GenerationSettings
        Temperature, rounds, order and letters that are not drawn.
    judge : callable, optional
        Scores of some samples.
    seed : int
    """

    strength: float = 1.0
    generation: GenerationSettings = field(default_factory=lambda: GenerationSettings(rounds=2))
    judge: Callable[[Samples], np.ndarray] | None = None
    seed: int = 0


def design(
    model: Adapter,
    sae: SAE | FeatureMatrix,
    sample: Sample | str,
    raise_: Sequence[int] = (),
    lower: Sequence[int] = (),
    *,
    positions: Sequence[int] | None = None,
    n: int = 8,
    settings: DesignSettings | None = None,
) -> Table:
    """Write sequences that have more of some features and less of others.

    Parameters
    ----------
    model : Adapter
        That can write.
    sae : SAE or FeatureMatrix
        A FeatureMatrix brings the features' largest activations and the known sequences.
    sample : Sample or str
        Where to begin.
    raise_, lower : sequence of int
        Features turned up, and features taken away, at the open positions.
    positions : sequence of int, optional
        Open positions, from 0; all of them when not given.
    n : int
        Sequences written; equal ones are one proposal.
    settings : DesignSettings, optional

    Returns
    -------
    Table
        One row a proposal, those that reach most first: ``sequence variants distance likelihood reached judge nearest
        nearest_distance``. ``likelihood`` is the mean log probability of the letters at the open positions, each hidden in
        turn (empty where the model cannot hide), ``reached`` the mean change of raised features less that of lowered ones,
        in units of their largest activations. ``context`` holds the same of the start, and how often each was written.

    Raises
    ------
    InputError
        A model that cannot write, no feature, or a position outside the sample.
    """
    settings = settings or DesignSettings()
    start = as_samples(model, sample)
    if not isinstance(model, CanGenerate):
        raise InputError("this model does not write", where=model.name)
    if not (len(raise_) or len(lower)) or n < 1:
        raise InputError("nothing to design", expected="a feature to raise or lower, and n of 1 or more")
    open_ = np.arange(start[0].length) if positions is None else np.unique(np.asarray(positions, np.int64))
    where = rows_at([masks_at(open_, start)[0]] * n)
    turned = turned_features(model, sae, [*raise_, *lower], start)
    edits: list[Edit] = []
    if len(raise_):
        up = replace(turned, features=turned.features[: len(raise_)], largest=turned.largest[: len(raise_)])
        edits.append(steering_edit(up, np.full(len(raise_), settings.strength), where=where))
    if len(lower):
        away = turned.features[len(raise_) :]
        edits.append(
            feature_edit(turned.sae, turned.site, away, lambda codes, _: torch.zeros_like(codes), where=where)
        )
    how = replace(settings.generation, positions=tuple(open_.tolist()))
    with writing(model, edits):
        written = [str(t) for t in model.generate(start[0], n=n, seed=settings.seed, settings=how)]
    texts, count = np.unique(written, return_counts=True)
    known = sae.samples if isinstance(sae, FeatureMatrix) else None
    table = _judged(model, turned, len(raise_), start, [str(t) for t in texts], open_, known, settings)
    table["written"] = [*count, 0]
    first = table.iloc[-1].to_dict()
    proposals = table.iloc[:-1].sort_values(["reached", "likelihood"], ascending=False, kind="stable")
    return Table(proposals.reset_index(drop=True), context={"start": first, "settings": settings})


def _judged(
    model: Adapter,
    turned: Turned,
    n_raised: int,
    start: Samples,
    texts: list[str],
    open_: np.ndarray,
    known: Samples | None,
    settings: DesignSettings,
) -> pd.DataFrame:
    """The table of proposals, and of the start as its last row."""
    origin = start[0].sequence
    some = as_samples(model, [Sample(f"proposal {i}", t) for i, t in enumerate([*texts, origin])])
    level = np.array(
        [
            c[:, list(turned.features)].toarray().max(0) / turned.largest
            for c in codes_of(model, turned.sae, list(some))
        ]
    )
    change = (level - level[-1]) * np.where(np.arange(level.shape[1]) < n_raised, 1, -1)
    places = [(s, int(p)) for s in some for p in open_]
    letters = iter(letters_at(model, places))
    own = [[(next(letters) or {}).get(s.sequence[p]) for p in open_.tolist()] for s in some]
    likelihood = [float(np.mean([x for x in row if x is not None] or [np.nan])) for row in own]
    score = [np.nan] * len(some) if settings.judge is None else np.asarray(settings.judge(some), float)
    nearest = [_nearest(s.sequence, known) for s in some]
    return pd.DataFrame(
        {
            "sequence": [s.sequence for s in some],
            "variants": [
                ";".join(str(Variant(i, a, b)) for i, (a, b) in enumerate(zip(origin, s.sequence)) if a != b)
                for s in some
            ],
            "distance": [sum(a != b for a, b in zip(origin, s.sequence)) for s in some],
            "likelihood": likelihood,
            "reached": change.mean(1),
            "judge": score,
            "nearest": [name for name, _ in nearest],
            "nearest_distance": [apart for _, apart in nearest],
        }
    )


def _nearest(text: str, known: Samples | None) -> tuple[str, float]:
    """The known sequence with the fewest letters that do not stand in a common alignment, and their number."""
    if known is None or not isinstance(known[0].data, str):
        return "", float("nan")
    aligner = PairwiseAligner(mode="global", match_score=1, mismatch_score=0, gap_score=0)
    apart = [max(len(text), s.length) - aligner.score(text, s.sequence) for s in known]
    best = int(np.argmin(apart))
    return known.ids[best], float(apart[best])
