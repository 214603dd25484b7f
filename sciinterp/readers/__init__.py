"""Readers of samples, one function a format, dispatched by file name."""

from __future__ import annotations

import gzip
from pathlib import Path

from sciinterp.errors import FormatError, InputError
from sciinterp.samples import Samples


def read(path: Path, *, format: str = "auto", table: Path | None = None, kind: str | None = None) -> Samples:
    """Read ``path``, join the table of sample columns, and account for what was dropped."""
    if not path.is_file():
        raise InputError("there is no such file", where=f"file '{path}'")
    samples = _read_fasta(path, kind or "protein")
    if table is None:
        return samples
    import pandas as pd

    frame = pd.read_csv(table, sep="\t", keep_default_na=False)
    frame = frame.set_index(frame.columns[0])
    missing = [i for i in samples.ids if i not in frame.index]
    if missing:
        raise InputError(
            "samples without a row in the table",
            where=f"file '{table}'",
            expected=f"{len(samples)} rows",
            got=f"{len(missing)} missing, the first {missing[0]!r}",
        )
    return Samples(
        samples.ids,
        samples.data,
        table=frame.loc[list(samples.ids)].reset_index(),
        kind=samples.kind,
        n_in=samples.n_in,
        dropped=samples.dropped,
        source=samples.source,
    )


def _read_fasta(path: Path, kind: str) -> Samples:
    from Bio.SeqIO.FastaIO import SimpleFastaParser

    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as handle:
            entries = [
                (title.split()[0] if title.split() else "", seq.upper())
                for title, seq in SimpleFastaParser(handle)
            ]
    except (UnicodeDecodeError, OSError, ValueError) as error:
        raise FormatError("this is not FASTA", file=str(path), got=str(error)) from None
    if not entries:
        raise InputError("no sequences", where=f"file '{path}'", expected="FASTA entries", got="none")
    return Samples([e[0] for e in entries], [e[1] for e in entries], kind=kind, source=str(path))
