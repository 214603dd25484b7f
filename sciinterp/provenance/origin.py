"""An origin, and what trained an SAE, as frozen records that JSON can hold.

Samples are recognised one by one, by identifier or by data (64 bits of sha256 of each), families by their label
where it means the same in every collection; never by a digest of the whole collection.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, final

import numpy as np

from sciinterp.samples import Samples, Split
from sciinterp.settings import Plain


@final
class Unknown:
    """The one value of what nobody stated: not equal to anything, itself included, and false."""

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "unknown"

    def __reduce__(self) -> str:
        return "UNKNOWN"  # copies and pickles are the same object


UNKNOWN = Unknown()
_PLAIN_SPLIT = (0.75, 0.05, 0.2)
# What a field of a record may be, where it is not a string; anything else is unknown.
_KINDS = {
    "randomised_seed": (int, type(None)),
    "norm": (str, type(None)),
    "d_in": (int,),
    "fingerprint": (Mapping,),
}


def kinds_of(field: str) -> tuple[type, ...]:
    """What a field of an origin may be, where it is known."""
    return (Training,) if field == "training" else _KINDS.get(field, (str,))


@dataclass(frozen=True, eq=False)
class Training:
    """What trained an SAE: samples and families.

    Attributes
    ----------
    samples : uint64 [n, 2], optional
        Hashes of identifier and of data (0 where the data are not held) of every sample that trained it. None in
        records of before, which hold digests only.
    families : uint64 [n]
        Hashes of the labels of their families; empty without a split.
    by, seed, fractions
        The split: how families were found. ``by`` is empty without one.
    collection, part : str
        Digest of all samples, and of the numbers of those that trained it.
    """

    samples: np.ndarray | None = None
    families: np.ndarray | None = None
    by: str = ""
    seed: int = 0
    fractions: tuple[float, ...] = _PLAIN_SPLIT
    collection: str = ""
    part: str = ""

    @property
    def repeatable(self) -> bool:
        """Whether there was a split that can be made again: families given as labels cannot."""
        return bool(self.by) and self.by != "labels"

    @classmethod
    def of(cls, samples: Samples, split: Split | None) -> Training:
        """Of the training samples of a split, or of all samples."""
        marks = hashes(samples)
        marks = marks if split is None else marks[split.train]
        marks = marks[np.lexsort(marks.T[::-1])]
        if split is None:
            return cls(marks, np.zeros(0, np.uint64), collection=samples.digest)
        return cls(
            marks,
            label_hashes(split.family_names[f] for f in split.families("train")),
            split.by,
            split.seed,
            tuple(split.fractions),
            samples.digest,
            split.training_digest,
        )

    def to_record(self) -> Plain:
        """As JSON, arrays apart."""
        split = {"by": self.by, "seed": self.seed, "train": self.part} if self.part else {}
        if self.part and tuple(self.fractions) != _PLAIN_SPLIT:
            split["fractions"] = list(self.fractions)
        return {"samples": self.collection, **split}

    @classmethod
    def from_record(cls, record: Plain) -> Training:
        """From JSON; the arrays are put in where they are kept."""
        return cls(
            by=str(record.get("by", "")),
            seed=int(record.get("seed", 0)),
            fractions=tuple(record.get("fractions", _PLAIN_SPLIT)),
            collection=str(record.get("samples", "")),
            part=str(record.get("train", "")),
        )


@dataclass(frozen=True, eq=False)
class Origin:
    """Where numbers come from. Every field may be :data:`UNKNOWN`.

    Attributes
    ----------
    model, weights_sha256, randomised_seed
        The model, its weights, and the seed they were drawn anew with (None: its own weights).
    site, kind, norm, d_in
        Where activations were read, and how the site describes itself.
    scaling, precision, kept_as, fingerprint
        What rows were scaled by, the precision of the model, the type rows are kept in, and the mark of a probe.
    sae_sha256, architecture, recipe_sha256
        The SAE: its weights, what it was trained as, and how.
    training : Training
        Which samples and families trained the SAE.
    licence : str
        Of the weights.
    how : {"stated", "measured"}
        Who says so: a person, or a measured fit. Unknown where the package recorded it.

    Examples
    --------
    >>> origin = Origin(model="antiberty", site="layers.4")
    >>> origin.to_record(), origin.d_in == origin.d_in
    ({'model': 'antiberty', 'site': 'layers.4'}, False)
    """

    model: str | Unknown = UNKNOWN
    weights_sha256: str | Unknown = UNKNOWN
    randomised_seed: int | Unknown | None = UNKNOWN
    site: str | Unknown = UNKNOWN
    kind: str | Unknown = UNKNOWN
    norm: str | Unknown | None = UNKNOWN
    d_in: int | Unknown = UNKNOWN
    scaling: str | Unknown = UNKNOWN
    precision: str | Unknown = UNKNOWN
    kept_as: str | Unknown = UNKNOWN
    fingerprint: Mapping[str, object] | Unknown = UNKNOWN
    sae_sha256: str | Unknown = UNKNOWN
    architecture: str | Unknown = UNKNOWN
    recipe_sha256: str | Unknown = UNKNOWN
    training: Training | Unknown = UNKNOWN
    licence: str | Unknown = UNKNOWN
    how: str | Unknown = UNKNOWN

    @property
    def named(self) -> bool:
        """Whether model and site are known."""
        return bool(self.model) and bool(self.site)

    def to_record(self) -> Plain:
        """What is known, as JSON; the training's arrays are kept beside it."""
        known = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "training"}
        known = {name: value for name, value in known.items() if value is not UNKNOWN}
        if isinstance(self.training, Training):
            known["trained_on"] = self.training.to_record()
        return json.loads(json.dumps(known, default=str))

    @classmethod
    def from_record(cls, record: Mapping[str, object] | None) -> Origin:
        """From JSON: today's records, and the identities of before (nested under ``sae`` or ``model``)."""
        flat: Plain = dict(record or {})
        mark = flat.get("activations")
        for outer in ("sae", "model"):
            if isinstance(flat.get(outer), Mapping):
                flat = {**{k: v for k, v in flat.items() if k != outer}, **flat[outer]}
        told, found = flat.get("trained_on"), {}
        for field in fields(cls):
            if field.name in flat and isinstance(flat[field.name], kinds_of(field.name)):
                found[field.name] = flat[field.name]
        if isinstance(mark, Mapping):
            found["fingerprint"] = mark
        found.pop("training", None)
        if isinstance(told, Mapping):
            found["training"] = Training.from_record(dict(told))
        return cls(**found)

    def filled(self, other: Origin) -> Origin:
        """This origin, with what only ``other`` knows."""
        unknown = [f.name for f in fields(self) if getattr(self, f.name) is UNKNOWN]
        return replace(self, **{name: getattr(other, name) for name in unknown})

    def __str__(self) -> str:
        return " ".join(str(part) for part in (self.model, self.site) if part) or "unknown origin"


class HasOrigin:
    """What carries an origin; ``identity`` is its record under the name of before."""

    origin: Origin

    @property
    def identity(self) -> Plain:
        """The record of ``origin``. Deprecated: use ``origin``."""
        warnings.warn("identity is deprecated: use origin", DeprecationWarning, stacklevel=2)
        return self.origin.to_record()

    @identity.setter
    def identity(self, record: Mapping[str, object]) -> None:
        warnings.warn("identity is deprecated: set origin", DeprecationWarning, stacklevel=2)
        self.origin = Origin.from_record(record)


def origin_of(thing: object, site: str | Unknown = UNKNOWN) -> Origin:
    """The origin of activations, an SAE, codes, or a model (at a site); of anything else all is unknown."""
    if site and (at := getattr(thing, "origin_at", None)) is not None:
        return at(site)
    if isinstance(found := getattr(thing, "origin", None), Origin):
        return found
    record = getattr(thing, "identity", None)
    found = Origin.from_record(record if isinstance(record, Mapping) else None)
    beside = {name: getattr(thing, name, None) for name in ("site", "fingerprint")}
    if site and callable(beside["site"]):
        beside["d_in"] = getattr(beside["site"](site), "width", None)  # of a model
    kinds = {"site": str, "fingerprint": Mapping, "d_in": int}
    return replace(found, **{k: v for k, v in beside.items() if isinstance(v, kinds[k])})


def hashes(samples: Samples) -> np.ndarray:
    """uint64 [n, 2]: 64 bits of sha256 of each sample's identifier and of its data (0 where they are not held)."""
    out = np.zeros((len(samples), 2), np.uint64)
    for i, (name, data) in enumerate(zip(samples.ids, samples.data)):
        out[i, 0] = _hash(name)
        if isinstance(data, str):
            out[i, 1] = _hash(data)
        elif hasattr(data, "tobytes"):
            out[i, 1] = _hash(np.ascontiguousarray(data).tobytes())
    return out


def label_hashes(labels: Iterable[str]) -> np.ndarray:
    """uint64 [n]: 64 bits of sha256 of each label."""
    return np.array([_hash(label) for label in labels], np.uint64)


def _hash(text: str | bytes) -> int:
    raw = text.encode() if isinstance(text, str) else text
    return int.from_bytes(hashlib.sha256(raw).digest()[:8], "little")
