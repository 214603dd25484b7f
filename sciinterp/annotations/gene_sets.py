"""Gene sets in GMT (MSigDB, Enrichr): a set is a concept, ``geneset:NAME``, and a fact about each of its genes.

A line is a name, a description and the genes, tab-separated. Where samples are genes or proteins of these
names, the sets are facts about samples as they stand; ``Annotations.project(samples)`` places them on the
genes that cells express. The file covers the genes that it names: nothing is known of others.

Source: Subramanian et al., PNAS 102:15545 (2005).
"""

from __future__ import annotations

from pathlib import Path

from sciinterp.annotations.rows import Rows, cells_of, concept_name, missing
from sciinterp.annotations.table import Annotations
from sciinterp.readers.identifiers import say_spoiled
from sciinterp.settings import checked

NO_GENE = "a set without genes"


@checked()
def parse_gmt(path: str | Path, *, release: str = "") -> Annotations:
    """Gene sets, as facts about genes.

    Raises
    ------
    FormatError
        When a line has no tab, or a set has no name.
    """
    rows = Rows("geneset", path, release=release)
    for number, line in rows.lines("gene sets"):
        name, *rest = [c.strip() for c in cells_of(line)]
        if not name or not rest:
            raise rows.bad(
                "this is not a gene set", number, expected="name, description, genes", got=repr(line[:60])
            )
        rows.item()
        concept = concept_name("geneset", name)
        # Enrichr's libraries write weights behind the genes: TP53,1.0
        genes = dict.fromkeys(g for cell in rest[1:] if not missing(g := cell.split(",")[0].strip()))
        rows.concept(
            concept, name=name if rest[0].startswith("http") or missing(rest[0].upper()) else rest[0]
        )
        for gene in genes:
            rows.covers(gene)
            rows.add(gene, -1, -1, concept)
        if not genes:
            rows.drop(NO_GENE)
    say_spoiled(path, rows.covered())
    return rows.annotations(unique=True)
