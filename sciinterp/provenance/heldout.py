"""Held out, not held out, unknown: whether the families that scores are measured on trained the SAE.

Every sentence that speaks of held-out families takes its words from :class:`HeldOut`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from sciinterp.errors import InputError
from sciinterp.provenance.checks import belongings
from sciinterp.provenance.origin import Origin, Training, Unknown, hashes, label_hashes
from sciinterp.samples import Samples, Split
from sciinterp.settings import Plain
from sciinterp.splits import split_families

if TYPE_CHECKING:
    from sciinterp.annotations import Annotations
    from sciinterp.codes import FeatureMatrix

log = logging.getLogger(__name__)

# Ways of finding families whose labels are numbers of clusters: they mean nothing in another collection.
_CLUSTERS = ("mmseqs", "composition", "labels")
HELD_OUT_FAMILIES = "held-out families"
# Variance that a dictionary of use explains on its own site is .5 to .99.
LEAST_FVE = 0.4
# Concepts that a caveat names.
NAMED = 3
State = Literal["held out", "not held out", "unknown"]


@dataclass(frozen=True)
class HeldOut:
    """Whether the families that scores are measured on were held out from the SAE.

    Attributes
    ----------
    state : {"held out", "not held out", "unknown"}
    n_overlap : int
        Held-out families of which a sample trained the SAE, as far as is known.
    why : str
        What is known of the training, as a clause.
    crossed : bool
        Choices are cross-fitted: each family is held out from them once, and one SAE serves all folds.
    """

    state: State
    n_overlap: int = 0
    n_families: int = 0
    why: str = ""
    crossed: bool = False

    @property
    def sentence(self) -> str:
        """The one sentence about it."""
        if self.state == "held out":
            return "The SAE was trained on the training families only."
        if self.state == "not held out" and self.crossed:
            return (
                f"One SAE serves all folds, and it was trained {self.why}: {self.n_overlap} of the {self.n_families} families "
                "that judge features, each by what was chosen without it, trained the SAE. AssociationSettings(folds=1) "
                "judges on the test families of the split alone."
            )
        if self.state == "not held out":
            return (
                f"The SAE was trained {self.why}: {self.n_overlap} of {self.n_families} families that are held out here "
                "trained it, so scores on them are too high. Use the split it was trained with, or train with this one."
            )
        return (
            f"It is not known whether families that are held out here trained the SAE, which {self.why}: they may have "
            "trained it, and scores on them may be too high."
        )

    @property
    def families(self) -> str:
        """What the families that scores are measured on may be called."""
        return HELD_OUT_FAMILIES if self.state == "held out" else "families held out from selection alone"

    @property
    def trained(self) -> str:
        """What may be said of the training, as the end of 'The SAE was trained ...'."""
        return {
            "held out": "on the training families only",
            "not held out": f"{self.why}, families that are held out here among them",
            "unknown": "on families that are not known",
        }[self.state]

    @property
    def pretraining(self) -> str:
        """What the families were held out from, and what not."""
        also = "the sparse autoencoder and from " if self.state == "held out" else ""
        return (
            f"Families were held out from {also}the associations, not from the model's own "
            "pre-training: the model may have seen relatives of the test samples."
        )

    def to_record(self) -> Plain:
        """As JSON: what was found, and every phrase that may be printed of it."""
        names = "state n_overlap n_families crossed sentence families trained pretraining".split()
        return {name: getattr(self, name) for name in names}


def held_out(origin: Origin, samples: Samples, split: Split | None, *, all_judge: bool = False) -> HeldOut:
    """Whether the test families of a split trained an SAE, decided family by family and sample by sample.

    Parameters
    ----------
    origin : Origin
        Of the SAE, or of its codes.
    samples : Samples
    split : Split, optional
        Of these samples; nothing can be known without one.
    all_judge : bool
        Scores are cross-fitted: every family of the split is held out once.
    """
    told = origin.training
    if split is None:
        return HeldOut("unknown", why="was not compared with a split")
    split.require_of(samples)
    if all_judge:
        return replace(_held_out(told, samples, split, np.unique(split.family)), crossed=True)
    return _held_out(told, samples, split, split.families("test"))


def _held_out(told: Training | Unknown, samples: Samples, split: Split, tested: np.ndarray) -> HeldOut:
    """As :func:`held_out`, of some families."""
    n = len(tested)
    if not isinstance(told, Training):
        return HeldOut("unknown", 0, n, "does not say what trained it")
    how = (
        f"with another split (by {told.by!r}, seed {told.seed}; this one is by {split.by!r}, seed {split.seed})"
        if told.part
        else "without a split, on positions of every family"
    )
    if told.part == split.training_digest:
        how = "on the training families of this split"
    if told.samples is None:  # a record of before
        if told.collection != samples.digest:
            return HeldOut("unknown", 0, n, "was trained on other samples")
        if not told.part:
            return HeldOut("not held out", n, n, how)
        if told.part != split.training_digest:
            return HeldOut("unknown", 0, n, f"was trained {how}")
        overlap = int(np.isin(tested, split.families("train")).sum())
        return HeldOut("not held out", overlap, n, how) if overlap else HeldOut("held out", 0, n)
    here, seen = hashes(samples), trained_on(told, samples)
    assert seen is not None
    touched = np.isin(tested, split.family[seen])
    comparable = told.by == split.by and told.by.partition(":")[0] not in _CLUSTERS
    if comparable and told.families is not None:
        labels = label_hashes(split.family_names[f] for f in tested)
        touched |= np.isin(labels, told.families)
    if touched.any():
        return HeldOut("not held out", int(touched.sum()), n, how)
    inside = _among(told.samples, here)
    if inside.all() or (comparable and told.part):
        return HeldOut("held out", 0, n)
    return HeldOut(
        "unknown",
        0,
        n,
        f"was trained on {int((~inside).sum()):,} samples that are not here, of families not known",
    )


def trained_on(told: object, samples: Samples) -> np.ndarray | None:
    """bool [n_samples]: those that trained an SAE, by identifier or by data; None where its :class:`Training` does not say."""
    if not isinstance(told, Training) or told.samples is None:
        return None
    return _among(hashes(samples), told.samples)


def _among(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """bool [n]: which :func:`hashes` are of samples that are among others, by identifier or by data that is held."""
    return np.isin(some[:, 0], others[:, 0]) | ((some[:, 1] != 0) & np.isin(some[:, 1], others[:, 1]))


def measured_on(origin: Origin) -> str:
    """The rows that an SAE's own measures were taken on: of families held out by its split, or a share of all."""
    told = origin.training
    what = "families" if isinstance(told, Training) and told.part else "rows"
    return f"{what} kept out of its training"


def carried_split(origin: Origin, samples: Samples) -> Split:
    """The split that an SAE was trained with, made again for its samples.

    Raises
    ------
    InputError
        The SAE was trained without one, does not say, or families were given as labels.
    """
    told = origin.training
    if not isinstance(told, Training) or not told.repeatable:
        raise InputError(
            "no split is given, and the SAE carries none that can be made again",
            where="split=",
            do="Pass si.split_families(samples, by=...).",
        )
    log.info("families: by %r, seed %d, the split that the SAE was trained with", told.by, told.seed)
    return split_families(samples, by=told.by, fractions=tuple(told.fractions), seed=told.seed)  # type: ignore[arg-type]


def families_of(hits: object) -> str:
    """What the families that scores in a table of hits are measured on may be called; see :class:`HeldOut`."""
    judged = (getattr(hits, "context", None) or {}).get("held_out") or {}
    return str(judged.get("families") or HELD_OUT_FAMILIES)


def standing(
    features: FeatureMatrix, annotations: Annotations | None, split: Split, *, all_judge: bool = False
) -> Plain:
    """What hits and candidates keep of the origin of their numbers; `all_judge` as for :func:`held_out`.

    Returns
    -------
    dict
        ``held_out`` (:class:`HeldOut`), ``caveats`` (:func:`caveats`) and ``belongs`` (:func:`belongings`).
    """
    judged = held_out(features.origin, features.samples, split, all_judge=all_judge)
    return {
        "held_out": judged.to_record(),
        "caveats": caveats(judged, features.samples, annotations, features.measured, split),
        "belongs": belongings(features.origin, features.samples, annotations, split),
    }


def unfit(measured: Mapping[str, float]) -> str:
    """What is to be said of a dictionary that explains so much of the activations it was used on; empty where that is enough.

    Examples
    --------
    >>> unfit({"fve": 0.8, "n_tokens": 4096}), unfit({})
    ('', '')
    """
    if measured.get("fve", 1.0) >= LEAST_FVE:
        return ""
    return (
        f"The dictionary does not reconstruct these activations: it explains {measured['fve']:.3f} of the variance of "
        f"{int(measured['n_tokens']):,} of their tokens, where one of use explains {LEAST_FVE:g} or more. It was not trained, or is "
        "of another model, site or scale, and what its features mark says little of this one. si.fit_check measures which site "
        "it fits, if any."
    )


def caveats(
    judged: HeldOut,
    samples: Samples,
    annotations: Annotations | None,
    measured: Mapping[str, float] | None = None,
    split: Split | None = None,
) -> dict[str, str]:
    """What makes the numbers of an association say less than they seem to; each is logged, too.

    Returns
    -------
    dict
        ``annotations``: rows of samples that are not among these. ``held_out``: families that are held out here
        trained the SAE, or may have. ``fit``: the dictionary does not reconstruct the activations, by what was
        ``measured`` on them (:func:`unfit`). ``columns``: concepts of whole samples that a column of the samples' table
        tells apart completely, such as a batch (:func:`told_apart`). A key is absent where there is nothing to say.
    """
    found = {}
    named = pd.Series(dtype=object) if annotations is None else annotations.frame["sample"]
    outside = np.zeros(0, bool) if annotations is None else annotations.sample_numbers(samples) < 0
    if outside.any():
        strangers = named[outside]
        found["annotations"] = (
            f"{int(outside.sum()):,} of {len(outside):,} rows of annotations are of {strangers.nunique():,} samples that are "
            f"not among these {len(samples):,} (such as {strangers.iloc[0]!r}; these are such as {samples.ids[0]!r}) and were "
            "left out. If they should be, Annotations.rename_samples translates names."
        )
    if annotations is not None and split is not None and (told := told_apart(annotations, samples, split)):
        some = "; ".join(f"{concept} by {', '.join(by)}" for concept, by in list(told.items())[:NAMED])
        found["columns"] = (
            f"{len(told)} concepts of whole samples are told apart completely by another column of the samples' table: "
            f"{some}{'; ...' if len(told) > NAMED else ''}. What reads the column, such as a batch, scores as well on them, "
            "and no split of these samples tells the two apart (a column that only names the concept otherwise is no concern)."
        )
    if judged.state != "held out":
        found["held_out"] = judged.sentence
    if said := unfit(measured or {}):
        found["fit"] = said
    for name, text in found.items():
        # One SAE for all folds is how a run is made; the others are something to mend.
        log.log(logging.INFO if name == "held_out" and judged.crossed else logging.WARNING, "%s", text)
    return found


def told_apart(annotations: Annotations, samples: Samples, split: Split) -> dict[str, list[str]]:
    """Concepts of whole samples, and the columns of the samples' table whose every value has the concept throughout or never.

    A column counts where it has at most half as many values as there are families: finer ones, such as the family
    itself, tell every label of families apart. Columns that the concept is named after are left out. Samples that no
    source of the concept covers are left out, too.
    """
    if not len(samples) or not len(samples.columns.columns):
        return {}
    frame, number = annotations.frame, annotations.sample_numbers(samples)
    start, end = frame["start"].to_numpy(), frame["end"].to_numpy()
    here = (number >= 0) & (start >= 0)
    whole = here & (start == 0) & (end == samples.lengths[number])
    names = sorted(set(frame["concept"][here]) - set(frame["concept"][here & ~whole]))
    if not names:
        return {}
    group, covers = annotations.coverage_groups(samples, names)
    code = pd.Index(names).get_indexer(pd.Index(frame["concept"]))
    pairs = np.unique(np.stack([number, code])[:, whole & (code >= 0)], axis=1)
    sample, concept = pairs[:, covers[pairs[0], group[pairs[1]]]]
    families = np.array([len(np.unique(split.family[c])) for c in covers.T])[group]
    found: dict[str, list[str]] = {}
    for column in samples.columns.columns:
        value, words = pd.factorize(samples.columns[column].astype(str))
        if 2 * len(words) > families.max(initial=0):
            continue
        n = np.array([np.bincount(value[c], minlength=len(words)) for c in covers.T])[group]
        cell = concept * len(words) + value[sample]
        have = np.bincount(cell, minlength=n.size).reshape(n.shape)
        full, none = (have == n) & (n > 0), (have == 0) & (n > 0)
        apart = (full | none | (n == 0)).all(1) & full.any(1) & none.any(1)
        for k in np.flatnonzero(apart & (2 * (n > 0).sum(1) <= families)):
            parts = names[k].split(":")
            if str(column) not in parts and parts[-1] not in set(words[full[k]]):
                found.setdefault(names[k], []).append(str(column))
    return dict(sorted(found.items()))
