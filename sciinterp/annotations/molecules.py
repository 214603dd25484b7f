"""Functional groups of molecules: SMARTS patterns placed on the atoms of a SMILES by RDKit.

Positions are atoms in the order written, as ``read_samples`` counts them; in a reaction the atoms of all its
molecules, left to right. A match whose atoms do not follow one another in the text is several intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from sciinterp.annotations.airr import runs
from sciinterp.annotations.rows import Rows, concept_name
from sciinterp.annotations.table import Annotations
from sciinterp.errors import InputError
from sciinterp.readers.bounded import need
from sciinterp.readers.sample_tables import smiles_atoms
from sciinterp.samples import Sample, Samples
from sciinterp.settings import checked

GROUPS = {
    "alcohol": "[OX2H][CX4]", "phenol": "[OX2H]c", "ether": "[OD2]([#6;!$(C=O)])[#6;!$(C=O)]",
    "aldehyde": "[CX3H1](=O)[#6,H]", "ketone": "[#6][CX3](=O)[#6]",
    "carboxylic acid": "[CX3](=O)[OX2H1,OX1-]",
    "ester": "[CX3](=O)[OX2][#6]", "amide": "[NX3][CX3](=O)[#6]", "amine": "[NX3;!$(NC=O);!$(N~[!#6;!#1])]",
    "nitro": "[$([NX3](=O)=O),$([NX3+](=O)[O-])]", "nitrile": "[NX1]#[CX2]", "thiol": "[SX2H]",
    "sulfonamide": "[SX4](=O)(=O)[NX3]", "phosphate": "[PX4](=O)([OX2,OX1-])[OX2,OX1-]",
    "halide": "[F,Cl,Br,I][#6]",
    "alkene": "[CX3]=[CX3]", "alkyne": "[CX2]#[CX2]", "aromatic atom": "a", "ring atom": "[R]",
    "boronic acid": "[BX3](O)O",
}  # fmt: skip
UNREADABLE = "a SMILES RDKit cannot read"
MISCOUNTED = "atoms counted otherwise by RDKit"


@checked()
def functional_groups(
    samples: Samples, groups: Mapping[str, str] | None = None, *, release: str = ""
) -> Annotations:
    """Functional groups on the atoms of molecules.

    Parameters
    ----------
    samples : Samples
        SMILES of molecules, or of reactions.
    groups : mapping, optional
        Name -> SMARTS; by default twenty common groups.
    release : str
        For the ``release`` column.

    Returns
    -------
    Annotations
        Items are molecules; those that cannot be read are counted and not covered.

    Raises
    ------
    InputError
        When RDKit is not installed, or a pattern is not SMARTS.
    """
    chem = need("rdkit.Chem", "chemistry", "finding functional groups")
    need("rdkit.RDLogger", "chemistry", "finding functional groups").DisableLog("rdApp.*")
    patterns = {}
    for name, smarts in (GROUPS if groups is None else groups).items():
        patterns[name] = chem.MolFromSmarts(smarts)
        if patterns[name] is None:
            raise InputError("this is not SMARTS", where=f"group {name!r}", got=repr(smarts))
    rows = Rows("smarts", release=release)
    for sample in samples:
        _molecules(rows, sample, chem, patterns)
    for name in patterns:
        concept = concept_name("smarts", name)
        if concept in rows.concepts():
            rows.concept(concept, name=name, exhaustive=True)
    return rows.annotations()


def _molecules(rows: Rows, sample: Sample, chem: ModuleType, patterns: Mapping[str, object]) -> None:
    rows.item()
    options = chem.SmilesParserParams()
    options.removeHs = False
    spans: list[tuple[int, int, str]] = []
    at = 0
    for text in sample.sequence.split(">"):
        molecule = chem.MolFromSmiles(text, options) if text else None
        if text and molecule is None:
            rows.drop(UNREADABLE)
            return
        if molecule is None:
            continue
        if molecule.GetNumAtoms() != len(smiles_atoms(text)):
            rows.drop(MISCOUNTED)
            return
        for name, pattern in patterns.items():
            for match in molecule.GetSubstructMatches(pattern, maxMatches=100_000):
                inside = set(match)
                for _, start, end in runs(["in" if i in inside else "" for i in range(max(inside) + 1)]):
                    spans.append((at + start, at + end, name))
        at += molecule.GetNumAtoms()
    rows.covers(sample.id)
    rows.keep()
    for start, end, name in spans:
        rows.add(sample.id, start, end, concept_name("smarts", name))
