"""Whether two things belong together: an SAE and activations, a control and its model, hits and candidates."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from sciinterp.errors import InputError, MismatchError
from sciinterp.provenance.origin import UNKNOWN, Origin, kinds_of, origin_of
from sciinterp.samples import Samples, Split
from sciinterp.split import apart

if TYPE_CHECKING:
    from sciinterp.annotations import Annotations
    from sciinterp.codes import FeatureMatrix
    from sciinterp.sae import SAE

log = logging.getLogger(__name__)

# What two origins must agree in where both state it. Precision and fingerprint describe, and are not compared.
COMPARED = ("model", "weights_sha256", "randomised_seed", "site", "norm", "scaling", "d_in")


def site_of(thing: object) -> str:
    """The site that an SAE or its codes are of.

    Raises
    ------
    MismatchError
        It does not say.
    """
    site = origin_of(thing).site
    if not site:
        raise _of_nothing("the SAE", repr(thing))
    return str(site)


def stated(origin: object) -> Origin:
    """An origin that a person states: an :class:`Origin`, a dict of its fields, or the activations it is of.

    In a dict ``model`` may be a loaded model: its weights are taken, too.

    Raises
    ------
    InputError
        Model and site are not both there, or a field has no such name, or is of another kind.
    """
    if isinstance(origin, Mapping):
        unknown = sorted(set(origin) - {f.name for f in fields(Origin)})
        if unknown:
            raise InputError(
                "an origin has no such field",
                where="origin=",
                expected=", ".join(f.name for f in fields(Origin)),
                got=", ".join(map(repr, unknown)),
            )
        model, site = origin.get("model"), origin.get("site", UNKNOWN)
        given = Origin(**origin)
        origin = (
            given if isinstance(model, str) else replace(given, model=UNKNOWN).filled(origin_of(model, site))
        )
    found = origin if isinstance(origin, Origin) else origin_of(origin)
    if not found.named:
        raise InputError(
            "an origin names model and site",
            where="origin=",
            expected="si.Origin(model=..., site=...), or activations of that model and site",
            got=str(found),
        )
    for name, value in ((f.name, getattr(found, f.name)) for f in fields(Origin)):
        if value is not UNKNOWN and not isinstance(value, kinds_of(name)):
            raise InputError(
                "a field of an origin is of another kind",
                where=f"origin= {name}",
                expected=" or ".join(kind.__name__.replace("NoneType", "None") for kind in kinds_of(name)),
                got=repr(value)[:60],
            )
    how = "measured" if found.how == "measured" else "stated"
    return replace(found, training=found.training if isinstance(origin, Origin) else UNKNOWN, how=how)


def differing(
    one: Origin, other: Origin, names: Iterable[str] = (*COMPARED, "sae_sha256")
) -> dict[str, tuple[object, object]]:
    """The fields that both origins know and do not agree in, with both values."""
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in names}
    return {
        name: (a, b) for name, (a, b) in pairs.items() if a is not UNKNOWN and b is not UNKNOWN and a != b
    }


def check(sae: Origin, other: Origin, *, name: str = "the SAE") -> None:
    """Raise where an SAE cannot be of what it is used on: another model, weights, site, width, or of unknown origin.

    Parameters
    ----------
    sae, other : Origin
        Of the SAE (or its codes), and of the activations or the model.
    name : str
        What the message calls the SAE.

    Raises
    ------
    MismatchError
        The message names what differs.
    """
    found = differing(sae, other, COMPARED)
    if found:
        words = {"d_in": "width"}
        raise MismatchError(
            f"{name} was not made for this model",
            where=", ".join(words.get(f, f) for f in found),
            expected=", ".join(f"{words.get(f, f)} {mine}" for f, (mine, _) in found.items()),
            got=", ".join(f"{words.get(f, f)} {theirs}" for f, (_, theirs) in found.items()),
            do="Load the model and the site it was trained on.",
        )
    if other.model and not sae.named:
        raise _of_nothing(name, str(other))
    if not other.model and not sae.model:
        log.info("neither %s nor the activations say which model they are of", name)
    elif not other.model:
        log.warning("the activations do not say which model they are of: taken to be %s, as %s is", sae, name)


def _of_nothing(name: str, where: str) -> MismatchError:
    """The error for an SAE of unknown origin, wherever it is met."""
    return MismatchError(
        f"it is not known which model and site {name} is of",
        where=where,
        do="Measure it with si.fit_check(sae, model, samples) ('sciinterp fit SAE MODEL SAMPLES --out FOLDER' keeps it for "
        "all verbs), or state it with si.load_sae(path, origin=si.Origin(model=..., site=...)), or origin=acts (--origin MODEL SITE).",
    )


def require_activations(features: object, acts: object) -> None:
    """Raise where activations given beside codes are of another model or site than the codes.

    Raises
    ------
    MismatchError
    """
    require_same_samples(features, acts, "acts=")
    mine, theirs = origin_of(features), origin_of(acts)
    if theirs.model and (mine.model or getattr(features, "sae", None) is not None):
        check(mine, theirs, name="the SAE of the codes")


def require_one_run(
    features: FeatureMatrix,
    hits: object,
    candidates: object = None,
    *,
    sae: SAE | None = None,
    annotations: Annotations | None = None,
    split: Split | None = None,
) -> None:
    """Raise where codes, hits, candidates and SAE are not of one SAE, one split and one set of annotations.

    What does not say is taken as it is: tables of before, and tables without context.

    Raises
    ------
    MismatchError
    """
    if split is not None:
        split.require_of(features.samples)
    here = belongings(features.origin, features.samples, annotations, split)
    told, theirs = ((getattr(x, "context", None) or {}).get("belongs") or {} for x in (hits, candidates))
    require_same(here, told, names=("the codes", "the hits"))
    require_same(here | told, theirs, names=("the hits", "the candidates"))
    if sae is not None and hasattr(sae, "signed") and differing(features.origin, sae.signed()):
        raise MismatchError(
            "codes and SAE do not belong together",
            where="sae",
            do="Encode again, or pass the SAE of the codes.",
        )


def require_randomised(control: object | None, features: object | None = None) -> None:
    """Raise where codes given as the control are not of randomised weights, or of another model or site.

    Raises
    ------
    MismatchError
    """
    if control is None:
        return
    theirs = origin_of(control)
    if theirs.model and theirs.randomised_seed in (None, UNKNOWN):
        raise MismatchError(
            "the control is not of a randomised model",
            where="control",
            expected="codes of the same recipe on randomised weights",
            got=f"codes of {theirs.model} with its own weights",
            do="Make them with si.randomised_control.",
        )
    _require_beside(features, control, ("model", "site", "norm"), "control", "si.randomised_control")


def require_twins(twins: Mapping[str, object], features: object) -> None:
    """Raise where codes given as those of twins are of another model, of other weights or of another site.

    Raises
    ------
    MismatchError
    """
    for name, twin in twins.items():
        fields = ("model", "randomised_seed", "site", "norm")
        _require_beside(features, twin, fields, f"twin '{name}'", "si.twins")


def require_same_samples(features: object, other: object, where: str) -> None:
    """Raise where what is read row by row beside codes is of other samples, or of the same in another order.

    What holds no samples, as an array, is taken as it is.

    Raises
    ------
    MismatchError
    """
    mine, theirs = (getattr(getattr(x, "samples", None), "ids", None) for x in (features, other))
    if mine is None or theirs is None or not (found := apart(mine, theirs)):
        return
    said, expected, got = found
    raise MismatchError(
        f"these are of {said} than the codes" if said == "other samples" else f"these are of {said}",
        where=where,
        expected=expected,
        got=got,
        do="Make them of the same samples, in the same order.",
    )


def _require_beside(features: object, other: object, fields: Sequence[str], name: str, maker: str) -> None:
    require_same_samples(features, other, name)
    for field, (a, b) in differing(origin_of(features), origin_of(other), fields).items():
        raise MismatchError(
            f"the {name.split()[0]} is of another {field.replace('_', ' ')}",
            where=name,
            expected=str(a),
            got=str(b),
            do=f"Make it with {maker}.",
        )


def belongings(
    origin: Origin, samples: Samples, annotations: Annotations | None, split: Split | None
) -> dict[str, str]:
    """Digests of what a table of hits or candidates is of, for :func:`require_same`; what is unknown is absent."""
    made = {name: origin.to_record().get(name) for name in (*COMPARED, "sae_sha256")}
    out = {"samples": samples.digest}
    if any(value is not None for value in made.values()):
        out["codes"] = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()
    if split is not None:
        out["split"] = split.digest
    if annotations is not None:
        out["annotations"] = annotations.digest
    return out


def require_same(one: Mapping[str, str], other: Mapping[str, str], *, names: tuple[str, str]) -> None:
    """Raise where two things are of other samples, codes, splits or annotations.

    Raises
    ------
    MismatchError
    """
    apart = [key for key in one if key in other and one[key] != other[key]]
    if apart:
        raise MismatchError(
            f"{names[0]} and {names[1]} do not belong together",
            where=names[1],
            expected=f"the same {' and '.join(apart)}",
            do="Make both anew from one SAE, one split and one set of annotations.",
        )
