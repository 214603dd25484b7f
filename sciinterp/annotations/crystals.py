"""Sites of crystals: element, group, block, coordination and, for the whole crystal, its space group.

Positions are atoms, in the order of the record ``read_samples`` makes (``lattice``, ``species``,
``frac_coords``). The chemistry is pymatgen's: coordination by its minimum-distance rule, symmetry by spglib.

Source: Ong et al., Computational Materials Science 68:314 (2013).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sciinterp.annotations.rows import Rows, concept_name
from sciinterp.annotations.table import Annotations
from sciinterp.errors import InputError
from sciinterp.readers.bounded import need
from sciinterp.samples import Samples
from sciinterp.settings import checked

UNREADABLE = "a crystal pymatgen cannot read"


@checked()
def site_properties(samples: Samples, *, coordination: bool = True, release: str = "") -> Annotations:
    """What chemistry says about every site of crystals.

    Parameters
    ----------
    samples : Samples
        Crystals: records of ``lattice`` [3, 3] in angstrom, ``species`` and ``frac_coords`` [n, 3].
    coordination : bool
        Whether to count neighbours, which takes most of the time.
    release : str
        For the ``release`` column.

    Returns
    -------
    Annotations
        ``element:Fe``, ``group:8``, ``block:d``, ``coordination:6`` on sites; ``spacegroup:225`` on crystals.

    Raises
    ------
    InputError
        When pymatgen is not installed, or samples are not crystals.
    """
    core = need("pymatgen.core", "crystals", "describing crystals")
    rows = Rows("crystal", release=release)
    for sample in samples:
        if not isinstance(sample.data, dict) or not {"lattice", "species", "frac_coords"} <= set(sample.data):
            raise InputError(
                "this sample is not a crystal",
                where=f"sample {sample.id!r}",
                expected="lattice, species and frac_coords",
                got=type(sample.data).__name__,
            )
        rows.item()
        try:
            structure = core.Structure(
                sample.data["lattice"], sample.data["species"], sample.data["frac_coords"]
            )
            found = list(_sites(structure, coordination))
        except (ValueError, KeyError, TypeError, IndexError, ZeroDivisionError):
            rows.drop(UNREADABLE)
            continue
        rows.covers(sample.id)
        rows.keep()
        for start, end, kind, value in found:
            concept = concept_name(kind, value)
            rows.add(sample.id, start, end, concept)
            rows.concept(concept, name=f"{kind} {value}", exhaustive=True)
    return rows.annotations()


def _sites(structure: Any, coordination: bool) -> Iterator[tuple[int, int, str, str]]:
    """(start, end, kind, value) of every fact; the whole crystal is (-1, -1)."""
    neighbours = need("pymatgen.analysis.local_env", "crystals", "counting neighbours").MinimumDistanceNN()
    for i, site in enumerate(structure):
        element = site.specie
        yield i, i + 1, "element", element.symbol
        yield i, i + 1, "group", str(element.group)
        yield i, i + 1, "block", str(element.block)
        if coordination:
            yield i, i + 1, "coordination", str(neighbours.get_cn(structure, i))
    symmetry = need("pymatgen.symmetry.analyzer", "crystals", "finding symmetry").SpacegroupAnalyzer(
        structure
    )
    yield -1, -1, "spacegroup", str(symmetry.get_space_group_number())
