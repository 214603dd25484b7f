"""Tables of T-cell receptors: one a row, by their loops, or by V gene and junction."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from sciinterp.errors import FormatError, InputError
from sciinterp.readers.entries import check_ids
from sciinterp.readers.sample_tables import identifiers, text_table, typed
from sciinterp.samples import Samples

LOOPS = ("cdr1a", "cdr2a", "cdr3a", "cdr1b", "cdr2b", "cdr3b")


def read_receptors(path: Path, *, kind: str | None = None) -> Samples:
    """A table of paired or single-chain receptors; positions are the residues of the six loops, end to end.

    Columns ``cdr3a`` and ``cdr3b`` hold junctions (from the cysteine to the phenylalanine or tryptophan).
    ``cdr1a``, ``cdr2a``, ``cdr1b`` and ``cdr2b`` hold the other loops; where a column is absent, they are those
    of the human V gene in ``trav`` and ``trbv``, looked up in IMGT's table by tidytcells. A sample is a list of
    the six, empty where not known; other columns are kept.

    Raises
    ------
    FormatError
        No junction column, or not a table.
    InputError
        No receptor, an identifier twice, or V genes without the package that knows them.
    """
    frame = text_table(path)
    lower = {str(c).strip().lower(): c for c in frame.columns}
    if not {"cdr3a", "cdr3b"} & set(lower):
        raise FormatError(
            "the table lacks a column",
            file=str(path),
            line=1,
            expected="cdr3a or cdr3b",
            got=", ".join(map(str, frame.columns))[:120],
        )
    cells = {name: frame[lower[name]].str.strip().str.upper().tolist() for name in lower if name in LOOPS}
    for chain in "ab":
        gene = lower.get(f"tr{chain}v")
        if gene is not None and f"cdr1{chain}" not in lower and f"cdr2{chain}" not in lower:
            found = [_germline(text.strip(), str(path)) for text in frame[gene]]
            cells[f"cdr1{chain}"], cells[f"cdr2{chain}"] = (list(column) for column in zip(*found))
    names, dropped, keep, data = identifiers(frame, path), Counter(), [], []
    for i in range(len(frame)):
        loops = [cells[name][i] if name in cells else "" for name in LOOPS]
        if any(loop is None for loop in loops):
            dropped["V gene not known"] += 1
        elif not any(loops):
            dropped["no loop"] += 1
        else:
            keep.append(i)
            data.append(loops)
    ids = [names[i] for i in keep]
    check_ids(ids, path, "receptors", len(frame))
    table = typed(frame.drop(columns=[c for name, c in lower.items() if name in LOOPS]))
    return Samples(
        ids,
        data,
        lengths=[sum(map(len, loops)) for loops in data],
        table=table.iloc[keep].reset_index(drop=True) if len(table.columns) else None,
        kind=kind or "receptor",
        n_in=len(frame),
        dropped=dropped,
        source=str(path),
    )


@lru_cache(maxsize=1024)
def _germline(gene: str, path: str) -> tuple[str | None, str | None]:
    """CDR1 and CDR2 of a human V gene, of its first functional allele where none is named; None if unknown."""
    if not gene:
        return "", ""
    try:
        genes = import_module("tidytcells").tr
    except ImportError:
        raise InputError(
            "the loops of V genes need tidytcells",
            where=f"file '{path}'",
            do="python -m pip install 'sciinterp[receptors]', or give columns cdr1a, cdr2a, cdr1b, cdr2b.",
        ) from None
    try:
        if "*" not in gene:
            known = genes.query(contains_pattern=gene, precision="allele", functionality="F")
            gene = min(allele for allele in known if allele.partition("*")[0] == gene)
        regions = genes.get_aa_sequence(gene)
    except ValueError:
        return None, None
    return regions.get("CDR1-IMGT", ""), regions.get("CDR2-IMGT", "")
