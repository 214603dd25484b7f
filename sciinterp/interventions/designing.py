"""Proposals: sequences that a model writes while some features are turned up and others taken away.

The model draws the open positions anew (:mod:`sciinterp.models.generation`) with the intervention written at every step.
What comes out is judged without it: by the model's own likelihood, by whether the features are there when the finished
sequence is read, by a judge that knows nothing of the model where one is given, and by how far it lies from what is
known. A proposal is a hypothesis to be made and measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from Bio.Align import PairwiseAligner

from sciinterp.codes.matrix import FeatureMatrix
from sciinterp.errors import InputError
from sciinterp.frames import Table
from sciinterp.interventions.aims import Judge, judged
from sciinterp.interventions.reading import as_samples, codes_of, letters_at
from sciinterp.interventions.steering import Turned, steering_edit, strengths_of, turned_features
from sciinterp.interventions.writing import Edit, feature_edit, masks_at, rows_at, writing
from sciinterp.models import CanGenerate, GenerationSettings
from sciinterp.provenance import origin_of, trained_on
from sciinterp.readers.notation import Variant
from sciinterp.samples import Sample, Samples, Split
from sciinterp.settings import at_least, make_plain, plain_value, settings_of

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
        Scores of some samples (:mod:`sciinterp.interventions.judges`).
    split : Split, optional
        Of the samples of the codes: the nearest sequence is one of its training samples. Without it, one of those that
        trained the SAE, where it says which; else any.
    seed : int
    """

    strength: float = 1.0
    generation: GenerationSettings = field(default_factory=lambda: GenerationSettings(rounds=2))
    judge: Judge | None = None
    split: Split | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        make_plain(self)


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
        in units of their largest activations. ``distance`` counts letters that differ from the start, ``nearest`` is the
        nearest training sequence (see :class:`DesignSettings`; empty without codes) and ``nearest_distance`` the letters in
        which it differs. ``context`` holds the same of the start, and what ``nearest_among`` were.

    Raises
    ------
    InputError
        A model that cannot write, no feature, or a position outside the sample.
    """
    settings = settings_of(settings, DesignSettings)
    start = as_samples(model, sample)
    if not isinstance(model, CanGenerate):
        raise InputError("this model does not write", where=model.name)
    if len(start) != 1:
        raise InputError("one sample is where a design begins", got=f"{len(start)} samples")
    up_, away = (np.atleast_1d(np.asarray(some)).tolist() for some in (raise_, lower))
    n = plain_value(n, int, "n", at_least(1))
    if not (up_ or away):
        raise InputError("nothing to design", expected="a feature to raise or lower")
    mask = _open(positions, start)
    open_, where = np.flatnonzero(mask), rows_at([mask] * n)
    strength = strengths_of(settings.strength, [len(up_)])[0]
    turned = turned_features(model, sae, [*up_, *away], start)
    edits: list[Edit] = []
    if up_:
        up = replace(turned, features=turned.features[: len(up_)], largest=turned.largest[: len(up_)])
        edits.append(steering_edit(up, strength, where=where))
    if away:
        edits.append(
            feature_edit(turned.sae, turned.site, away, lambda codes, _: torch.zeros_like(codes), where=where)
        )
    how = replace(settings.generation, positions=tuple(open_.tolist()))
    with writing(model, edits):
        written = [str(t) for t in model.generate(start[0], n=n, seed=settings.seed, settings=how)]
    texts, count = np.unique(written, return_counts=True)
    known, among = _known(sae, settings.split)
    table = _judged(model, turned, len(up_), start, [str(t) for t in texts], open_, known, settings)
    table["written"] = [*count, 0]
    first = table.iloc[-1].to_dict()
    proposals = table.iloc[:-1].sort_values(["reached", "likelihood"], ascending=False, kind="stable")
    return Table(
        proposals.reset_index(drop=True),
        context={"start": first, "nearest_among": among, "settings": settings},
    )


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
    score = np.full(len(some), np.nan) if settings.judge is None else judged(settings.judge, some)
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


def _open(positions: Sequence[int] | None, start: Samples) -> np.ndarray:
    """bool [n_positions]: those that are drawn anew."""
    if isinstance(positions, str):
        raise InputError("no such places", where="positions", expected="positions", got=repr(positions))
    mask = masks_at("all" if positions is None else positions, start)[0]
    if not mask.any():
        raise InputError("nothing to design", where="positions", expected="one at least", got="none")
    return mask


def _known(given: SAE | FeatureMatrix, split: Split | None) -> tuple[Samples | None, str]:
    """The sequences among which the nearest is sought, and what they are."""
    if not isinstance(given, FeatureMatrix):
        return None, "no samples"
    if split is not None:
        split.require_of(given.samples)
        return given.samples.subset(split.train), "training samples of the split"
    trained = trained_on(origin_of(given.sae).training, given.samples)
    if trained is None or not trained.any():
        return given.samples, "all samples"
    return given.samples.subset(np.flatnonzero(trained)), "samples that trained the SAE"


def _nearest(text: str, known: Samples | None) -> tuple[str, float]:
    """The known sequence with the fewest letters that do not stand in a common alignment, and their number."""
    if known is None or not isinstance(known[0].data, str):
        return "", float("nan")
    aligner = PairwiseAligner(mode="global", match_score=1, mismatch_score=0, gap_score=0)
    apart = [max(len(text), s.length) - aligner.score(text, s.sequence) for s in known]
    best = int(np.argmin(apart))
    return known.ids[best], float(apart[best])
