"""Which annotated sample is most like this one? Shared k-mers choose it, an alignment says how alike it is.

Identity is counted on a global alignment with free ends (BLOSUM62, gap 11 + 1, for proteins; match and mismatch
otherwise): identical letters over columns, gaps inside counted, overhanging ends left out, beside the share of the
shorter sequence that is aligned at all. Biopython's aligner does the work.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from sciinterp.discovery.problem import Problem
from sciinterp.discovery.records import Near

if TYPE_CHECKING:
    from Bio.Align import PairwiseAligner

KMER = 3  # as the records say
KNOWN = frozenset("ARNDCQEGHILKMFPSTVWYBZX*")  # letters of BLOSUM62; others count as any residue
MAX_CELLS = 4_000_000  # of an alignment; longer pairs keep the k-mers' word alone


class SequenceIdentity:
    """Which samples of a problem resemble each other, computed where it is asked for.

    Parameters
    ----------
    problem : Problem
        Samples without letters have no relatives here.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._kmers = kmer_sets(problem)
        self._size = None if self._kmers is None else np.asarray(self._kmers.sum(1)).ravel()
        self._transposed = None if self._kmers is None else sp.csr_array(self._kmers.T)
        self._rows: dict[int, np.ndarray] = {}

    def nearest(self, sample: int, carriers: np.ndarray) -> Near | None:
        """The most alike sample among ``carriers``: its identifier, Jaccard of k-mers, aligned identity."""
        carriers = carriers[carriers != sample]
        if self._kmers is None or not len(carriers):
            return None
        like = self._row(sample)[carriers]
        other = int(carriers[np.argmax(like)])
        samples, family = self._problem.samples, self._problem.family
        record: Near = {
            "sample": samples.ids[other],
            "jaccard_3mers": round(float(like.max()), 3),
            "same_family": bool(family[other] == family[sample]),
        }
        a, b = samples[sample].sequence, samples[other].sequence
        if len(a) * len(b) <= MAX_CELLS:
            identity, aligned = aligned_identity(a, b, protein=samples.kind in ("protein", "structure"))
            record["identity"], record["aligned_share"] = round(identity, 3), round(aligned, 3)
        return record

    def _row(self, sample: int) -> np.ndarray:
        """Jaccard [n_samples] of one sample's k-mers with everyone's."""
        if sample not in self._rows:
            assert self._kmers is not None and self._size is not None  # nearest() stops without letters
            shared = (self._kmers[[sample]] @ self._transposed).toarray().ravel()
            self._rows[sample] = shared / np.maximum(self._size + self._size[sample] - shared, 1)
        return self._rows[sample]


def aligned_identity(a: str, b: str, *, protein: bool = True) -> tuple[float, float]:
    """Identity over the aligned columns, and the share of the shorter sequence they cover.

    Examples
    --------
    >>> aligned_identity("MKVLTAAGW", "VLTAGGW")
    (0.8571428571428571, 1.0)
    """
    aligner = _aligner(protein)
    a, b = a.upper(), b.upper()
    if protein:
        a, b = ("".join(x if x in KNOWN else "X" for x in s) for s in (a, b))
    alignment = aligner.align(a, b)[0]
    same = pairs = gaps = 0
    at_a = at_b = None
    for (a_lo, a_hi), (b_lo, b_hi) in zip(*alignment.aligned):
        if at_a is not None and at_b is not None:
            gaps += int(a_lo - at_a + b_lo - at_b)
        same += sum(x == y for x, y in zip(a[a_lo:a_hi], b[b_lo:b_hi]))
        pairs += int(a_hi - a_lo)
        at_a, at_b = a_hi, b_hi
    return same / max(pairs + gaps, 1), pairs / max(min(len(a), len(b)), 1)


@cache
def _aligner(protein: bool) -> PairwiseAligner:
    from Bio.Align import PairwiseAligner, substitution_matrices

    aligner = PairwiseAligner()
    if protein:
        aligner.substitution_matrix = substitution_matrices.load("BLOSUM62")
        aligner.open_gap_score, aligner.extend_gap_score = -11, -1
    else:
        aligner.match_score, aligner.mismatch_score = 2, -3
        aligner.open_gap_score, aligner.extend_gap_score = -5, -2
    aligner.end_gap_score = 0
    return aligner


def kmer_sets(problem: Problem) -> sp.csr_array | None:
    """csr float32 [n_samples, n_kmers] of ones where a sample holds a k-mer."""
    if problem.letters is None:
        return None
    n, base = len(problem.letters), len(problem.alphabet)
    code = np.zeros(max(n - KMER + 1, 0), np.int64)
    for j in range(KMER):
        code = code * base + problem.letters[j : n - KMER + 1 + j]
    sample = problem.sample_of[: len(code)]
    whole = problem.sample_of[KMER - 1 :] == sample
    matrix = sp.coo_array(
        (np.ones(whole.sum(), np.float32), (sample[whole], code[whole])),
        shape=(len(problem.samples), base**KMER),
    ).tocsr()
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
