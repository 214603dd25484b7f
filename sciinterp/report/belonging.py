"""What belongs to a table of hits: the annotations and the split it was made with, passed or read from its folder."""

from __future__ import annotations

from pathlib import Path

from sciinterp.annotations import Annotations, read_annotations
from sciinterp.samples import Samples, Split
from sciinterp.store import ledger
from sciinterp.store.split_file import read_split


def belonging(
    folder: Path, samples: Samples, annotations: Annotations | None, split: Split | None
) -> tuple[Annotations | None, Split | None]:
    """Annotations and split as passed; what was not passed is read from a run folder that holds hits.

    Parameters
    ----------
    folder : path
        Where the report is written.
    samples : Samples
        Of the codes; the split has to be of these.
    annotations, split
        What the caller passed.

    Raises
    ------
    StoreError, MismatchError
        What lies there is damaged, or of other samples.
    """
    if "associate" in ledger.read_stages(folder):
        ledger.require_intact(folder, "annotations.tsv", "annotations.concepts.tsv", "split.tsv")
        if annotations is None and (folder / "annotations.tsv").is_file():
            annotations = read_annotations(folder / "annotations.tsv")
        if split is None and (folder / "split.tsv").is_file():
            split = read_split(folder / "split.tsv", samples)
    return annotations, split
