"""Transcription factor motifs on DNA: JASPAR's matrices (pyjaspar), placed by FIMO's test (memelite).

A hit is a window whose log-odds score has a p-value below a threshold under a uniform background
(Grant et al., Bioinformatics 27:1017, 2011), on either strand: ``jaspar:MA0004.1``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np

from sciinterp.annotations.rows import Rows, concept_name, join_note
from sciinterp.annotations.table import Annotations
from sciinterp.errors import InputError
from sciinterp.readers.bounded import need
from sciinterp.samples import Samples
from sciinterp.settings import SHARE, checked
from sciinterp.store.layout import shard_bounds

LETTERS = "ACGT"
# Bases scanned at once: 4 bytes each for the one-hot matrix.
BATCH = 10_000_000


@checked()
def jaspar_motifs(
    *,
    release: str = "JASPAR2024",
    collection: str = "CORE",
    tax_group: str | None = None,
    ids: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Matrices of JASPAR as it comes with pyjaspar, offline.

    Parameters
    ----------
    release, collection : str
        Such as ``JASPAR2024`` and ``CORE``.
    tax_group : str, optional
        ``vertebrates``, ``plants`` ...
    ids : list of str, optional
        Only these matrices, such as ``MA0004.1``.

    Returns
    -------
    dict
        ``"MA0004.1 Arnt"`` -> float64 [4, width], the probability of A, C, G, T in each column.

    Raises
    ------
    InputError
        When pyjaspar is not installed, or there is no such release or matrix.
    """
    pyjaspar = need("pyjaspar", "annotations", "reading JASPAR")
    if release not in pyjaspar.jaspar_releases:
        raise InputError(
            "there is no such release of JASPAR",
            where=repr(release),
            expected=", ".join(pyjaspar.jaspar_releases),
        )
    found = pyjaspar.jaspardb(release=release).fetch_motifs(
        collection=collection, tax_group=tax_group, matrix_id=ids
    )
    motifs = {}
    for motif in found:
        counts = np.array([motif.counts[letter] for letter in LETTERS], dtype=np.float64)
        motifs[f"{motif.matrix_id} {motif.name}"] = counts / counts.sum(axis=0)
    if not motifs:
        raise InputError(
            "no such motif in JASPAR", where=f"release {release}", got=f"collection={collection!r}, ids={ids}"
        )
    return motifs


@checked(threshold=SHARE)
def motif_hits(
    samples: Samples,
    motifs: Mapping[str, np.ndarray],
    *,
    threshold: float = 1e-4,
    source: str = "jaspar",
    release: str = "",
) -> Annotations:
    """Windows of DNA that match motifs.

    Parameters
    ----------
    samples : Samples
        DNA; letters other than A, C, G, T match nothing.
    motifs : mapping
        ``"ID name"`` -> [4, width] probabilities of A, C, G, T.
    threshold : float
        The largest p-value of a hit, in (0, 1).
    source, release : str
        For the columns of these names; ``source`` is also the prefix of the concepts.

    Raises
    ------
    InputError
        When memelite is not installed, or a matrix is not one.
    """
    memelite = need("memelite", "annotations", "placing motifs")
    for name, matrix in motifs.items():
        matrix = np.asarray(matrix)
        if matrix.ndim != 2 or matrix.shape[0] != 4 or not np.allclose(matrix.sum(axis=0), 1, atol=1e-3):
            raise InputError(
                "a motif is not a matrix of probabilities",
                where=repr(name),
                expected="[4, width], columns of sum 1",
                got=str(matrix.shape),
            )
    rows = Rows(source, release=release)
    matrices = {name: np.ascontiguousarray(matrix, dtype=np.float64) for name, matrix in motifs.items()}
    for sample in samples:
        rows.covers(sample.id)
    bounds = shard_bounds(samples.lengths, BATCH) if matrices else []
    for lo, hi in zip(bounds, bounds[1:]):
        _scan(rows, samples, range(lo, hi), matrices, threshold, memelite)
    for name in matrices:
        number, _, title = name.partition(" ")
        concept = concept_name(source, number)
        if concept in rows.concepts():
            rows.concept(concept, name=title or number)
    return rows.annotations()


def _scan(
    rows: Rows,
    samples: Samples,
    batch: range,
    matrices: dict[str, np.ndarray],
    threshold: float,
    memelite: ModuleType,
) -> None:
    """Scan samples end to end, with gaps as wide as the widest motif: a window over a gap holds an N."""
    gap = max(matrix.shape[1] for matrix in matrices.values())
    lengths = samples.lengths[batch]
    starts = np.concatenate([[0], np.cumsum(lengths + gap)])
    codes = np.full(int(starts[-1]), -1, dtype=np.int8)
    for start, number in zip(starts, batch):
        text = np.frombuffer(samples[number].sequence.upper().encode("ascii", "replace"), dtype=np.uint8)
        for code, letter in enumerate(LETTERS):
            codes[start : start + len(text)][text == ord(letter)] = code
    onehot = (codes == np.arange(4, dtype=np.int8)[:, None]).astype(np.int8)[None]
    # memelite gives N the score of the background, so a window that holds one is no match
    unknown = np.concatenate([[0], np.cumsum(codes < 0)])
    for hits in memelite.fimo(matrices, onehot, threshold=threshold):
        first, last = hits["start"].to_numpy(np.int64), hits["end"].to_numpy(np.int64)
        known = np.flatnonzero(unknown[np.minimum(last, len(codes))] == unknown[first])
        where = np.searchsorted(starts, first, side="right") - 1
        names, strands = hits["motif_name"].to_numpy(), hits["strand"].to_numpy()
        scores, p_values = hits["score"].to_numpy(), hits["p-value"].to_numpy()
        for i in known.tolist():
            offset = int(starts[where[i]])
            note = join_note("", {"score": f"{scores[i]:.3f}", "p_value": f"{p_values[i]:.3g}"})
            rows.item()
            rows.add(
                samples.ids[batch[where[i]]],
                int(first[i]) - offset,
                int(last[i]) - offset,
                concept_name(rows.source, str(names[i]).split()[0]),
                strand=str(strands[i]),
                note=note,
            )
