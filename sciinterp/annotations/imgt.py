"""IMGT numbering of antibody and T-cell receptor chains by immunum: regions and conserved residues.

The aligner (immunum, the extra ``demo``) knows the sequence alone, so it numbers any variable domain, and is
an independent check of positions that come with a table (:mod:`sciinterp.annotations.airr`). A residue it
leaves out, before or after the domain, has no region.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module

from sciinterp.annotations.airr import CONCEPTS, domain_spans
from sciinterp.annotations.rows import Rows
from sciinterp.annotations.table import Annotations
from sciinterp.errors import InputError
from sciinterp.samples import Samples
from sciinterp.settings import UP_TO_ONE, checked


@checked(min_confidence=UP_TO_ONE)
def number_imgt(
    samples: Samples, *, chains: Sequence[str] = ("ig",), min_confidence: float = 0.5
) -> Annotations:
    """Number every sample, and annotate its regions, any CDR, and the conserved residues.

    Parameters
    ----------
    samples : Samples
        Protein sequences.
    chains : sequence of str
        Which chains to consider: ``IGH``, ``IGK``, ``IGL``, ``TRA`` ..., or ``ig``, ``tcr``, ``all``.
    min_confidence : float
        Samples that align worse are dropped, and counted.

    Returns
    -------
    Annotations
        Source ``immunum``; it covers the samples that could be numbered. ``counts`` are of samples.

    Raises
    ------
    InputError
        When immunum is not installed, or an argument is not one of its own.
    """
    number, version = _numberer(chains, min_confidence)
    out = Rows("immunum", release=version)
    for sample in samples:
        out.item()
        positions = number(sample.sequence)
        if isinstance(positions, str):
            out.drop(positions)
            continue
        out.covers(sample.id)
        for start, end, concept, note in domain_spans(sample.sequence, positions):
            name, parent, level = CONCEPTS[concept]
            out.concept(concept, name=name, parent=parent, level=level, exhaustive=True)
            out.add(sample.id, start, end, concept, note=note)
    return out.annotations()


@checked()
def imgt_positions(samples: Samples, *, chains: Sequence[str] = ("ig",)) -> dict[str, list[str]]:
    """The IMGT position of every residue (empty outside the domain) of every sample that can be numbered."""
    number, _ = _numberer(chains, 0.5)
    numbered = {sample.id: number(sample.sequence) for sample in samples}
    return {name: positions for name, positions in numbered.items() if not isinstance(positions, str)}


def _numberer(chains: Sequence[str], min_confidence: float) -> tuple[Callable[[str], list[str] | str], str]:
    """What gives one position a residue, or the reason why there is none; and the program's version."""
    try:
        immunum = import_module("immunum")
    except ImportError:
        raise InputError(
            "immunum is not installed",
            where="IMGT numbering",
            do="Install it with: python -m pip install 'sciinterp[demo]'.",
        ) from None
    try:
        annotator = immunum.Annotator(chains=list(chains), scheme="imgt", min_confidence=min_confidence)
    except ValueError as error:
        raise InputError("immunum cannot be set up", where=f"chains={list(chains)}", got=str(error)) from None

    def positions(sequence: str) -> list[str] | str:
        result = annotator.number(sequence)
        if result.error:
            return str(result.error_kind or result.error).replace("_", " ")
        inside = [
            re.sub("[A-Z]", lambda letter: f".{ord(letter[0]) - ord('A') + 1}", p) for p in result.numbering
        ]
        before = [""] * result.query_start
        return before + inside + [""] * (len(sequence) - len(before) - len(inside))

    return positions, f"immunum {immunum.__version__}" if hasattr(immunum, "__version__") else "immunum"
