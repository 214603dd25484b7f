"""Turning features: take them away, add to them, or put another sample's in their place, and see what the model does.

What is written is the feature's own part of the activation alone (:mod:`sciinterp.interventions.writing`); what is
returned is what it did to scores, to features of later sites, and to everything it was not aimed at
(:mod:`sciinterp.interventions.effect`). Larsen and others call the first *ablation*, Turner and others (2023) the second
*steering*, Meng and others (2022) the third *patching*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sciinterp.codes.matrix import FeatureMatrix
from sciinterp.errors import InputError, ShapeError, require_kinds
from sciinterp.frames import Table
from sciinterp.interventions.effect import Effect, measure
from sciinterp.interventions.reading import as_samples, checked_site, codes_of
from sciinterp.interventions.writing import (
    At,
    Edit,
    NewCodes,
    Where,
    direction_edit,
    feature_edit,
    masks_at,
    rows_at,
)
from sciinterp.sae import SAE

if TYPE_CHECKING:
    from sciinterp.models import Adapter
    from sciinterp.samples import Sample, Samples

    # What is read beside the scores: SAEs of later sites, or codes that bring them, and readouts.
    Later = SAE | FeatureMatrix | Table | Sequence[SAE | FeatureMatrix | Table]

# Makes the edits of a batch, from the numbers of its samples and the rows that are written to.
Make = Callable[[np.ndarray, Where], list[Edit]]


@dataclass(frozen=True)
class Turned:
    """The features of one dictionary that are written, and the unit of each."""

    sae: SAE
    site: str
    features: tuple[int, ...]
    largest: np.ndarray  # float32 [k]; NaN where it was not asked for


def ablate(
    model: Adapter,
    sae: SAE | FeatureMatrix | Sequence[SAE | FeatureMatrix],
    samples: Samples | Sequence[Sample | str] | Sample | str,
    features: int | Sequence,
    *,
    at: At = "all",
    later: Later = (),
    hide: At | None = None,
) -> Effect:
    """Take features away, to see what the model used them for.

    Parameters
    ----------
    model : Adapter
    sae : SAE or FeatureMatrix, or several
        The dictionary; a FeatureMatrix brings its SAE and the features' largest activations. For several sites at once
        one a site.
    samples : Samples, or one or several samples or sequences
    features : int or sequence of int
        For several dictionaries one sequence each.
    at : {"all", "active"}, positions, or mapping
        Where: all positions, where the feature is active (:func:`sciinterp.codes.active.is_active`), positions of every
        sample counted from 0, or positions by the sample's identifier.
    later : SAE or readout, or several
        Of sites after this one: their features are read, too; of a readout (:func:`sciinterp.readout`, on codes that have
        their SAE) what it says of each sample.
    hide : as ``at``, optional
        Positions hidden from the model in both runs, where it can hide them.

    Returns
    -------
    Effect

    Raises
    ------
    InputError
        No such feature, position or sample; a model without scores and no later SAE.
    MismatchError
        An SAE of another model.

    Examples
    --------
    >>> import sciinterp as si
    >>> from sciinterp.testing import tiny_model
    >>> model, sae = tiny_model()
    >>> effect = si.ablate(model, sae, ["EVQLVESGG"], 3, at="active")
    >>> bool(effect.on_target > 0), bool(effect.off_target > 0)  # a change here is felt elsewhere
    (True, True)
    """
    given = as_samples(model, samples)
    turned = _turned(model, sae, features, given, largest=_is_active(at))

    def edits(numbers: np.ndarray, where: Where) -> list[Edit]:
        return [_feature_edit(t, _nothing, where, at) for t in turned]

    return _measured(model, given, edits, at, later, hide)


def steer(
    model: Adapter,
    sae: SAE | FeatureMatrix | Sequence[SAE | FeatureMatrix],
    samples: Samples | Sequence[Sample | str] | Sample | str,
    feature: int | Sequence,
    strength: float | Sequence,
    *,
    at: At = "all",
    later: Later = (),
    hide: At | None = None,
) -> Effect:
    """Add to features, to see whether the model follows.

    Parameters
    ----------
    model, sae, samples, at, later, hide
        As for :func:`ablate`.
    feature : int or sequence of int
        For several dictionaries one sequence each.
    strength : float, or one a feature
        In units of the feature's own largest activation: that of the FeatureMatrix, or without one that of these samples.
        Below zero the feature is turned down, beyond silence where it is stronger than what is there.

    Returns
    -------
    Effect

    Raises
    ------
    InputError, MismatchError
        As :func:`ablate`; or a feature that no sample activates, so that it has no unit.

    Examples
    --------
    >>> import sciinterp as si
    >>> from sciinterp.testing import tiny_model
    >>> model, sae = tiny_model()
    >>> still = si.steer(model, sae, ["EVQLVESGG"], 3, 0.0)
    >>> bool((still.before == still.after).all()), still.divergence
    (True, 0.0)
    """
    given = as_samples(model, samples)
    turned = _turned(model, sae, feature, given, largest=True)
    strengths = strengths_of(strength, [len(t.features) for t in turned])

    def edits(numbers: np.ndarray, where: Where) -> list[Edit]:
        return [steering_edit(t, s, where=where, at=at) for t, s in zip(turned, strengths)]

    return _measured(model, given, edits, at, later, hide)


def patch(
    model: Adapter,
    sae: SAE | FeatureMatrix | Sequence[SAE | FeatureMatrix],
    source: Samples | Sequence[Sample | str] | Sample | str,
    target: Samples | Sequence[Sample | str] | Sample | str,
    features: int | Sequence,
    *,
    at: At = "all",
    later: Later = (),
) -> Effect:
    """Put one sample's codes of features into another, position by position, to see what they carry.

    Parameters
    ----------
    model, sae, features, later
        As for :func:`ablate`.
    source : Samples, or one or several samples or sequences
        Where the codes come from: one, or one a target; of the target's length.
    target : Samples, or one or several samples or sequences
        What is run.
    at : as for :func:`ablate`
        Positions of the target.

    Returns
    -------
    Effect

    Raises
    ------
    InputError, ShapeError, MismatchError
        As :func:`ablate`; or a source of another length than its target.
    """
    given, donors = as_samples(model, target), as_samples(model, source)
    pairs = [0] * len(given) if len(donors) == 1 else list(range(len(given)))
    if len(donors) not in (1, len(given)) or any(
        donors.lengths[d] != n for d, n in zip(pairs, given.lengths)
    ):
        raise ShapeError(
            "source and target do not stand position by position",
            expected=f"one source, or {len(given)}, of the targets' lengths",
            got=f"{len(donors)} sources, lengths {', '.join(map(str, donors.lengths[:4]))}",
        )
    turned = _turned(model, sae, features, given, largest=_is_active(at))
    theirs = [
        [c[:, list(t.features)].toarray().astype(np.float32) for c in codes_of(model, t.sae, list(donors))]
        for t in turned
    ]

    def edits(numbers: np.ndarray, where: Where) -> list[Edit]:
        def from_source(codes: list[np.ndarray]) -> NewCodes:
            def new(_: Tensor, places: Tensor) -> Tensor:
                rows = [codes[pairs[numbers[b]]][s:e].max(0) for b, s, e in places.tolist()]
                return torch.from_numpy(np.array(rows))

            return new

        return [_feature_edit(t, from_source(c), where, at) for t, c in zip(turned, theirs)]

    return _measured(model, given, edits, at, later, None)


def steering_edit(turned: Turned, strength: np.ndarray, *, where: Where, at: At = "all") -> Edit:
    """The edit that adds shares of features' largest activations."""
    amount = torch.from_numpy((strength * turned.largest).astype(np.float32))
    if _is_active(at):
        return _feature_edit(turned, lambda codes, _: codes + amount, where, at)
    sae = turned.sae
    units = (lambda rows: sae.units(rows)[1]) if sae.input_norm != "none" else None
    directions = sae.W_dec[torch.tensor(turned.features)].detach()
    return direction_edit(turned.site, directions, amount, where=where, units=units)


def _nothing(codes: Tensor, _: Tensor) -> Tensor:
    return torch.zeros_like(codes)


def _feature_edit(turned: Turned, new: NewCodes, where: Where, at: At) -> Edit:
    active = turned.largest if _is_active(at) else None
    return feature_edit(turned.sae, turned.site, turned.features, new, where=where, active=active)


def _is_active(at: At | None) -> bool:
    return isinstance(at, str) and at == "active"


def _measured(model: Adapter, given: Samples, make: Make, at: At, later: Later, hide: At | None) -> Effect:
    """Both runs of all samples, the edits at their places."""
    masks = masks_at(at, given)
    if _is_active(hide):
        raise InputError("what is hidden does not depend on features", where="hide", expected="positions")
    hidden = None if hide is None else masks_at(hide, given)

    def edits(numbers: np.ndarray) -> list[Edit]:
        return make(numbers, rows_at([masks[i] for i in numbers]))

    further = [later] if isinstance(later, pd.DataFrame) or not isinstance(later, Sequence) else list(later)
    return measure(model, given, edits, later=further, hide=hidden)


def _turned(
    model: Adapter,
    sae: SAE | FeatureMatrix | Sequence[SAE | FeatureMatrix],
    features: int | Sequence,
    samples: Samples,
    *,
    largest: bool,
) -> list[Turned]:
    """The dictionaries and their features, checked; with the features' largest activations where they are needed."""
    if not isinstance(sae, Sequence):
        return [turned_features(model, sae, features, samples, largest=largest)]
    if not len(sae) or not isinstance(features, Sequence) or len(features) != len(sae):
        raise InputError(
            "one sequence of features a dictionary is needed", expected=str(len(sae)), got=repr(features)[:60]
        )
    return [turned_features(model, one, some, samples, largest=largest) for one, some in zip(sae, features)]


def turned_features(
    model: Adapter,
    given: SAE | FeatureMatrix,
    features: int | Sequence,
    samples: Samples,
    *,
    largest: bool = True,
) -> Turned:
    """Features of a dictionary and their units, checked against model and dictionary."""
    held = given if isinstance(given, FeatureMatrix) else None
    sae = held.sae if held is not None else given
    if held is not None and sae is None:
        raise InputError("the codes are without their SAE", do="Give the SAE: features.sae = sae.")
    require_kinds(sae=(sae, SAE))
    assert isinstance(sae, SAE)
    site = checked_site(model, sae)
    numbers = np.atleast_1d(np.asarray(features))
    some = tuple(numbers.ravel().tolist())
    whole = numbers.ndim == 1 and numbers.dtype.kind in "iu"
    if not some or not whole or len(set(some)) < len(some) or min(some) < 0 or max(some) >= sae.n_features:
        raise InputError(
            "there is no such feature, or it is named twice",
            expected=f"whole numbers 0 to {sae.n_features - 1}, each once",
            got=", ".join(map(str, some))[:60] or "none",
        )
    unit = np.full(len(some), np.nan, np.float32)
    if largest:
        if held is not None:
            unit = held.largest[list(some)].astype(np.float32)
        else:
            columns = [c[:, list(some)] for c in codes_of(model, sae, list(samples))]
            unit = np.max([np.asarray(c.max(0).todense()).ravel() for c in columns], axis=0).astype(
                np.float32
            )
        if (unit <= 0).any():
            raise InputError(
                "a feature that is never active has no unit",
                where=f"feature {some[int(np.argmin(unit))]}",
                do="Give the codes of more samples in place of the SAE.",
            )
    return Turned(sae, site, some, unit)


def strengths_of(strength: float | Sequence, sizes: list[int]) -> list[np.ndarray]:
    """One strength a feature of each dictionary."""
    try:
        if isinstance(strength, (str, bytes, bool)):
            raise TypeError
        if not isinstance(strength, (Sequence, np.ndarray)):
            found = [np.full(n, float(strength)) for n in sizes]
        else:
            each = [strength] if len(sizes) == 1 else list(strength)
            found = [np.broadcast_to(np.asarray(s, float), (n,)) for s, n in zip(each, sizes, strict=True)]
    except (TypeError, ValueError):
        raise InputError(
            "one strength a feature is needed", expected=" and ".join(map(str, sizes)), got=repr(strength)
        ) from None
    if not all(np.isfinite(s).all() for s in found):
        raise InputError("a strength is not finite", got=repr(strength))
    return found
