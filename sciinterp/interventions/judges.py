"""Judges of what a turned model writes: each scores samples, and knows nothing of the model that wrote them.

Each of these functions makes one, for ``judge=`` of :func:`sciinterp.control_matrix` and of :func:`sciinterp.design`; any
other function from samples to one number a sample does as well. :func:`motif` asks whether the letters are there,
:func:`germline` whether a chain that is numbered anew has the letters of a class of training chains, :func:`residues` what
the letters weigh, and :func:`head` what another model with a head of its own says, such as SpliceAI of splice sites.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from sciinterp.annotations.imgt import imgt_positions
from sciinterp.association.residue_properties import PROPERTIES
from sciinterp.errors import InputError, no_such, require_kinds
from sciinterp.interventions.aims import DIFFER, PSEUDOCOUNT, Judge
from sciinterp.interventions.effect import scored_tokens
from sciinterp.interventions.reading import batches
from sciinterp.models import HasLogits
from sciinterp.models.generation import LETTERS
from sciinterp.samples import Samples
from sciinterp.settings import plain_value

if TYPE_CHECKING:
    from sciinterp.models import Adapter

__all__ = ["germline", "head", "motif", "residues"]


def motif(pattern: str) -> Judge:
    """How often a regular expression matches each sample, overlapping matches counted.

    Examples
    --------
    >>> import sciinterp as si
    >>> si.judges.motif("N[^P][ST]")(si.Samples(["a", "b"], ["ANNSTA", "NPSA"])).tolist()
    [2.0, 0.0]
    """
    require_kinds(pattern=(pattern, str))
    try:
        found = re.compile(f"(?={pattern})")
    except re.error as error:
        raise InputError(
            "this is no regular expression", where="motif", got=f"{pattern!r}: {error}"
        ) from None
    return lambda samples: np.array([len(found.findall(text)) for text in samples.sequences], float)


def residues(of: str | Mapping[str, float]) -> Judge:
    """The sum of a number of every letter: a property (hydropathy, charge, volume, helix), or a composition such as ``{"G": 1}``.

    It is a sum, so that a change is that of the changed places alone. For designs of a model that reads backbones
    (ProteinMPNN) it says what their residues at the places named would be like.

    Examples
    --------
    >>> import sciinterp as si
    >>> si.judges.residues("charge")(si.Samples(["a", "b"], ["KKD", "GG"])).tolist()
    [1.0, 0.0]
    """
    if not isinstance(of, Mapping) and of not in PROPERTIES:
        raise no_such("property", of, PROPERTIES)
    given = of if isinstance(of, Mapping) else PROPERTIES[of]
    value = {letter: plain_value(number, float, f"residues {letter}") for letter, number in given.items()}
    return lambda samples: np.array([sum(value.get(x, 0.0) for x in text) for text in samples.sequences])


def germline(
    training: Samples, carries: Sequence[bool] | np.ndarray, *, chains: Sequence[str] = ("ig",)
) -> Judge:
    """Antibody chains numbered anew by immunum, and their letters compared with training chains that carry a class.

    The score is the mean log odds of the letters at IMGT positions where training chains that carry the class and those
    that do not differ by half or more, against the composition of all training letters. A position without a letter, as
    all of a chain that can no longer be numbered, has the lowest odds there.

    Parameters
    ----------
    training : Samples
        Training chains; others are what is judged.
    carries : bool [n]
        Which of them are of the class, such as of one germline family.
    chains : sequence of str
        As for :func:`sciinterp.annotations.imgt.number_imgt`.
    """
    require_kinds(training=(training, Samples))
    given, letters = np.asarray(carries, bool), LETTERS["protein"]
    if given.shape != (len(training),) or not given.any():
        raise InputError(
            "one truth value a training chain is needed, and one that is true", got=str(given.sum())
        )
    column = {x: i for i, x in enumerate(letters)}
    numbered, counts = imgt_positions(training, chains=chains), [{}, {}]
    for sample, mine in zip(training, given.tolist()):
        for place, letter in zip(numbered.get(sample.id, ()), sample.sequence):
            if place and letter in column:
                counts[mine].setdefault(place, np.zeros(len(letters)))[column[letter]] += 1
    plain = sum([*counts[0].values(), *counts[1].values()], np.ones(len(letters)))
    plain = plain / plain.sum()
    odds: dict[str, np.ndarray] = {}
    for place, own in counts[1].items():
        here, other = (c + PSEUDOCOUNT * plain for c in (own, counts[0].get(place, np.zeros(len(letters)))))
        here, other = here / here.sum(), other / other.sum()
        if np.abs(here - other).sum() / 2 >= DIFFER:
            odds[place] = np.log(here / plain)
    if not odds:
        raise InputError("chains that carry the class differ nowhere from others", where="germline")

    def judge(samples: Samples) -> np.ndarray:
        known, scores = imgt_positions(samples, chains=chains), np.zeros(len(samples))
        for i, sample in enumerate(samples):
            there = dict(zip(known.get(sample.id, ()), sample.sequence))
            scores[i] = np.mean(
                [o[column[there[p]]] if there.get(p) in column else o.min() for p, o in odds.items()]
            )
        return scores

    return judge


def head(model: Adapter, word: str) -> Judge:
    """How many positions another model's head calls by a word: the sum of its probabilities (SpliceAI: ``donor``, ``acceptor``)."""
    if not isinstance(model, HasLogits):
        raise InputError("this model has no head", expected="scores over words", got=type(model).__name__)
    if word not in model.vocabulary:
        raise no_such("word", word, model.vocabulary, where=model.name)
    column = model.vocabulary.index(word)

    def judge(samples: Samples) -> np.ndarray:
        scores = np.zeros(len(samples))
        for numbers, batch in batches(model, list(samples)):
            with torch.no_grad():
                p = torch.softmax(model.logits(batch).double(), -1)[..., column].cpu()
            scores[numbers] = (p * scored_tokens(model, batch)).sum(1).numpy()
        return scores

    return judge
