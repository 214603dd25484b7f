"""A split as a table of its own: which family every sample is of, and in which part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from sciinterp.errors import FormatError, MismatchError
from sciinterp.samples import Samples
from sciinterp.split import PARTS, Split, apart
from sciinterp.store.ledger import require_intact
from sciinterp.store.tables import read_tsv, write_tsv

COLUMNS = ("sample", "family", "part", "by", "seed")


def write_split(split: Split, samples: Samples, path: str | Path) -> None:
    """Write ``sample family part by seed``, one row a sample, tab-separated."""
    split.require_of(samples)
    part = np.full(len(samples), "", object)
    for name in PARTS:
        part[split.part(name)] = name
    names = np.array(split.family_names, dtype=object)[split.family]
    rows = zip(samples.ids, names, part)
    frame = pd.DataFrame([(*row, split.by, split.seed) for row in rows], columns=list(COLUMNS))
    write_tsv(frame, path)


def read_split(path: str | Path, samples: Samples) -> Split:
    """Read what :func:`write_split` wrote, for the same samples.

    Raises
    ------
    FormatError, MismatchError, StoreError
        The file is no such table, is of other samples, or is not the one that its run folder has written.
    """
    require_intact(Path(path).parent, Path(path).name)
    frame = read_tsv(Path(path), text=("sample", "family", "part", "by"))
    absent = [c for c in COLUMNS if c not in frame.columns]
    if absent or not len(frame):
        raise FormatError(
            "this is not a split", file=str(path), expected=" ".join(COLUMNS), got=f"no {absent or 'rows'}"
        )
    if found := apart(samples.ids, tuple(frame["sample"])):
        said, expected, got = found
        raise MismatchError(f"the split is of {said}", where=f"file '{path}'", expected=expected, got=got)
    names, family = np.unique(frame["family"].to_numpy(dtype=str), return_inverse=True)
    part = frame["part"].to_numpy()
    told = zip(frame["part"], frame["by"], frame["seed"])
    for line, (word, by, seed) in enumerate(told, start=2):
        for expected, got, ok in (
            ("train, calibration or test", word, word in ("", *PARTS)),
            ("a whole number as seed", seed, isinstance(seed, int)),
            ("one way and one seed", f"{by}, {seed}", (by, seed) == (frame["by"][0], frame["seed"][0])),
        ):
            if not ok:
                raise FormatError(
                    "this is not a split", file=str(path), line=line, expected=expected, got=repr(got)
                )
    train, calibration, test = (np.flatnonzero(part == name) for name in PARTS)
    return Split(
        train=train,
        calibration=calibration,
        test=test,
        family=np.asarray(family).reshape(-1).astype(np.int64),
        family_names=tuple(map(str, names)),
        by=str(frame["by"].iloc[0]),
        seed=int(frame["seed"].iloc[0]),
        lengths=samples.lengths,
        ids=samples.ids,
    )
