"""Every baseline of the package, one record each.

A record says how the baseline is fitted, whether it counts, what it would explain, what it needs, and how figures,
methods and legends show and describe it. Hits, verdicts, figures, report and the reasons why one was not run are
read from here: a new baseline is a new record, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from sciinterp import distributed
from sciinterp.association import backbone_baselines as of_backbone
from sciinterp.association import dense_baselines as dense
from sciinterp.association import measure
from sciinterp.association import profile_baseline as profile
from sciinterp.association import sequence_baselines as of_sequence
from sciinterp.association.blocks import blocks_of
from sciinterp.association.fitting import Fitted, Inputs, Reader, best_column, everything, pooled, read_all

T = TypeVar("T")

# Twins: the part that was not trained -> in words.
TWINS: Mapping[str, str] = {
    "decoder": "decoder",
    "decoder_soft": "decoder, but for a turn of at most 37 degrees,",
    "encoder": "encoder",
}


@dataclass(frozen=True)
class Baseline:
    """One rival reader."""

    name: str  # as in tables
    # Fits it on training families; returns what it reaches held out, or what reads it there.
    fit: Callable[[Inputs], Fitted | Reader]
    # A kind of association.explanations.KINDS: what it means that it does as well as a
    # feature.
    explains: str
    # What it is, for methods and legends; fields of BaselineSettings in braces are filled in.
    says: str
    colour: str  # in figures, a colour of plots.style
    marker: str
    needs: tuple[str, ...] = ()  # keys of NEEDS
    ceiling: bool = False  # shown beside, and by default never the best baseline
    why_not: Callable[[Inputs], str] | None = None  # another reason not to run it, or an empty string


def randomised(inputs: Inputs) -> Fitted:
    """The best feature of the same recipe on randomised weights."""
    control = inputs.control
    assert control is not None  # the registry asks for it
    return best_column(inputs, lambda part: blocks_of(control, part), lambda j: f"feature {j}")


def _twin(part: str) -> Callable[[Inputs], Fitted]:
    """The best feature of a dictionary a part of which was not trained."""

    def fit(inputs: Inputs) -> Fitted:
        return best_column(inputs, lambda rows: blocks_of(inputs.twins[part], rows), lambda j: f"feature {j}")

    return fit


def _other_positions(inputs: Inputs) -> str:
    n = inputs.control.n_positions if inputs.control is not None else inputs.samples.n_positions
    same = n == inputs.samples.n_positions
    return "" if same else f"control has {n} positions, the features {inputs.samples.n_positions}"


# What a baseline may need -> whether it is there, and what is said where it is not.
NEEDS: Mapping[str, tuple[Callable[[Inputs], bool], str]] = {
    "letters": (lambda i: i.letters is not None, "the samples carry no sequences"),
    "genes": (lambda i: i.genes is not None, "the samples name no genes"),
    "letters or genes": (
        lambda i: i.letters is not None or (i.genes is not None and i.genes.number is not None),
        "the positions have no letters",
    ),
    "backbones": (
        lambda i: of_backbone.geometry(i.samples) is not None,
        "the samples have no coordinates of a backbone",
    ),
    "instances": (lambda i: i.instances is not None, "no instances were given"),
    "activations": (lambda i: i.acts is not None, "no activations were given (acts)"),
    "control": (lambda i: i.control is not None, "no codes of the randomised model were given (control)"),
    **{
        f"twin {part}": (
            lambda i, part=part: part in i.twins,
            f"no codes of a twin were given (its {what} not trained)",
        )
        for part, what in TWINS.items()
    },
    "training": (lambda i: i.training is not None, "no features were given"),
}
_HIGH_OR_LOW = "read high or low"
_TOLD = "fitted with the labels"
# Counted ones first. Ceilings stand beside: window, kmer, domain and probe are fitted with the labels on many inputs
# at once, what the letters, or the model, hold for a reader who is told the answers; ICA is another dictionary learnt
# from the same activations, a rival of the SAE. Each ceiling has columns of its own in the hits.
BASELINES: tuple[Baseline, ...] = (
    Baseline("everything", everything, "prevalence", "every position called positive", "GREY", ">"),
    Baseline(
        "position", of_sequence.position, "position",
        "the distance from the first position (the share of training sequences that carry the concept there)",
        "BLUE", "s",
    ),
    Baseline(
        "position_c", of_sequence.position_c, "position", "the distance from the last position, likewise",
        "BLUE", "v",
    ),
    Baseline(
        "identity", of_sequence.identity, "letters", "the best single letter at one offset of at most {reach}",
        "GREEN", "o", ("letters",),
    ),
    Baseline(
        "word", of_sequence.word, "letters", "the best single word of three letters that covers the position",
        "GREEN", "*", ("letters",),
    ),
    Baseline(
        "gene", of_sequence.gene, "gene",
        f"the best single gene: which one the position is, or its expression where a position is a cell, {_HIGH_OR_LOW}",
        "GREEN", "d", ("genes",),
    ),
    Baseline(
        "composition", of_sequence.composition, "composition",
        f"the share of one letter in a window of {of_sequence.COMPOSITION_WINDOW}, {_HIGH_OR_LOW}",
        "PURPLE", "p", ("letters",),
    ),
    Baseline(
        "complexity", of_sequence.complexity, "composition",
        f"the entropy of the letters in a window of {of_sequence.COMPOSITION_WINDOW}, {_HIGH_OR_LOW}",
        "PURPLE", "H", ("letters",),
    ),
    Baseline(
        "torsion", of_backbone.torsion, "backbone",
        "the bin of phi and psi (the share of training residues in it that carry the concept)",
        "YELLOW", "X", ("backbones",),
    ),
    Baseline(
        "state", of_backbone.state, "backbone",
        f"the best single state of secondary structure at one offset of at most {of_backbone.REACH}",
        "YELLOW", "h", ("backbones",),
    ),
    Baseline(
        "contacts", of_backbone.contacts, "backbone",
        f"how many CA lie within {of_backbone.CONTACT:g} angstrom, {_HIGH_OR_LOW}", "YELLOW", "8", ("backbones",),
    ),
    Baseline(
        "chain_end", of_backbone.chain_end, "position",
        "the distance from the nearer end of the chain (the share of training residues there)",
        "BLUE", "^", ("backbones",),
    ),
    Baseline(
        "neuron", dense.neuron, "neuron", f"the best single unit of the activations, {_HIGH_OR_LOW}",
        "ORANGE", "D", ("activations",),
    ),
    Baseline(
        "pca", dense.pca, "components",
        f"the best of {{n_components}} principal components of the activations, {_HIGH_OR_LOW}",
        "SKY", "P", ("activations",),
    ),
    Baseline(
        "randomised", randomised, "randomised",
        "the best feature of an autoencoder trained by the same recipe on the model with its weights drawn anew",
        "VERMILLION", "^", ("control",), why_not=_other_positions,
    ),
    Baseline(
        "density", measure.same_density, "density",
        "the median one of the features that fire as often as the selected one",
        "GREY", "<", ("training",),
    ),
    Baseline(
        "ica", dense.ica, "components",
        "the best of {n_components} independent components, another dictionary of the same activations",
        "MUTED", "2", ("activations",), ceiling=True,
    ),
    *(
        Baseline(
            f"twin_{part}", _twin(part), "twin",
            f"the best feature of a dictionary by the same recipe whose {what} stayed at its random start",
            "MUTED", marker, (f"twin {part}",), ceiling=True,
        )
        for (part, what), marker in zip(TWINS.items(), "4|_")
    ),
    Baseline(
        "kmer", of_sequence.kmer, "letters",
        f"the share of training positions with the same three letters, or the same gene, that carry the concept, {_TOLD}",
        "MUTED", "1", ("letters or genes",), ceiling=True,
    ),
    Baseline(
        "window", of_sequence.window, "letters",
        f"logistic regression on all letters up to {{reach}} positions away, {_TOLD}",
        "MUTED", "+", ("letters",), ceiling=True,
    ),
    Baseline(
        "domain", profile.domain, "domain tool",
        "a profile of the training families' instances, searched with a domain tool",
        "MUTED", "3", ("instances", "letters"), ceiling=True, why_not=profile.why_not,
    ),
    Baseline(
        "probe", dense.probe, "probe", f"a linear probe of the whole activation vector, {_TOLD}",
        "MUTED", "x", ("activations",), ceiling=True,
    ),
)  # fmt: skip


def find(name: str) -> Baseline | None:
    """The record of this name."""
    return next((record for record in BASELINES if record.name == name), None)


def ceilings() -> tuple[str, ...]:
    """Names of the baselines that are shown beside and not counted."""
    return tuple(record.name for record in BASELINES if record.ceiling)


def describe(name: str, settings: Mapping[str, object] | None = None) -> str:
    """What a baseline of this name is, with its settings; empty for a name that is none of ours.

    Examples
    --------
    >>> describe("identity", {"reach": 2})
    'the best single letter at one offset of at most 2'
    """
    record = find(name)
    words = {"reach": "a few positions", "n_components": "the", **dict(settings or {})}
    return "" if record is None else record.says.format(**words)


@dataclass
class Baselines:
    """Baselines that ran, by name, and why the others did not."""

    ran: dict[str, Fitted] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)


def pool(folds: Sequence[Baselines]) -> Baselines:
    """The same baselines over folds; one that a fold could not run is not run."""
    not_run = {name: reason for fold in folds for name, reason in fold.not_run.items()}
    names = [name for name in folds[0].ran if name not in not_run]
    return Baselines({name: pooled([fold.ran[name] for fold in folds]) for name in names}, not_run)


def run_folds(folds: Sequence[Inputs]) -> list[Baselines]:
    """:func:`run_baselines` of every fold, side by side, by all ranks.

    Those that read components are one task, of all folds: who takes it, first, makes the axes and components that they
    share, and nobody makes them again. Those of a fold that read other units of the activations are another, and every
    one that reads none is a task of its own.
    """
    reading = [record for record in BASELINES if "activations" in record.needs]
    of_axes = [record for record in reading if record.explains == "components"]
    of_units = [record for record in reading if record not in of_axes]
    numbers = range(len(folds))
    others = [(k, [record]) for record in reversed(BASELINES) for k in numbers if record not in reading]
    tasks = [
        [(k, of_axes) for k in numbers],
        *([one] for one in [*others, *((k, of_units) for k in numbers)]),
    ]
    joined = [Baselines() for _ in folds]
    ran = distributed.spread(
        tasks, lambda task: [run_baselines(folds[k], records) for k, records in task], threads=True
    )
    for task, found in zip(tasks, ran):
        for (k, _), more in zip(task, found):
            joined[k].ran |= more.ran
            joined[k].not_run |= more.not_run
    return [Baselines(_as_listed(fold.ran), _as_listed(fold.not_run)) for fold in joined]


def _as_listed(found: dict[str, T]) -> dict[str, T]:
    """In the order of the records."""
    return {record.name: found[record.name] for record in BASELINES if record.name in found}


def run_baselines(inputs: Inputs, records: Sequence[Baseline] = BASELINES) -> Baselines:
    """Run every baseline that its inputs allow."""
    out, readers = Baselines(), {}
    for record in records:
        reason = next((NEEDS[need][1] for need in record.needs if not NEEDS[need][0](inputs)), "")
        reason = (record.why_not(inputs) if record.why_not is not None else "") or reason
        if reason:
            out.not_run[record.name] = reason
            continue
        found = record.fit(inputs)
        if isinstance(found, Reader):
            readers[record.name] = found
        else:
            out.ran[record.name] = found
    if readers:
        chunks = dense.Fit.of(inputs).held_out(inputs.parts.test)
        out.ran |= dict(zip(readers, read_all(list(readers.values()), chunks, inputs.parts.test)))
    return Baselines(_as_listed(out.ran), out.not_run)
