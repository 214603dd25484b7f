"""Problems of a few sequences, for tests: codes, annotations and families as they are given, or none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.annotations import Annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.discovery.left_out import Marks
from sciinterp.discovery.problem import Problem, make_problem
from sciinterp.samples import Samples, Split

SPANS = ["sample", "start", "end", "concept"]


def samples_of(sequences: Sequence[str], families: Sequence[object] | None = None) -> Samples:
    """Samples ``s0, s1 ...``; each is a family where none are given."""
    ids = [f"s{i}" for i in range(len(sequences))]
    names = [f"F{f}" for f in (range(len(sequences)) if families is None else families)]
    table = pd.DataFrame({"family": names}, index=pd.Index(ids, name="id"))
    return Samples(ids, list(sequences), table=table, kind="protein")


def split_of(samples: Samples) -> Split:
    """All samples in training, families as the table names them: as few as one, which no verb would split."""
    family, names = pd.factorize(samples.table["family"])
    none = np.zeros(0, np.int64)
    return Split(np.arange(len(samples)), none, none, family, tuple(names), lengths=samples.lengths)


def problem_of(
    sequences: Sequence[str],
    spans: pd.DataFrame | Sequence[tuple[str, int, int, str]] | None = None,
    codes: np.ndarray | None = None,
    families: Sequence[object] | None = None,
) -> Problem:
    """The problem of some sequences; without codes it has one feature, which is silent."""
    samples = samples_of(sequences, families)
    n = int(samples.lengths.sum())
    laid = np.zeros((n, 1)) if codes is None else np.asarray(codes)
    frame = spans if isinstance(spans, pd.DataFrame) else pd.DataFrame(list(spans or ()), columns=SPANS)
    features = FeatureMatrix(sp.csr_array(laid.astype(np.float32)), samples)
    return make_problem(features, Annotations(frame), split_of(samples))


def random_texts(n: int, length: int, seed: int = 0, letters: str = "ACDEFGHIKLMNPQRSTVWY") -> list[str]:
    """Sequences of letters drawn evenly."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), length)) for _ in range(n)]


def marks_of(labelled: np.ndarray, unlabelled: np.ndarray) -> Marks:
    """Marks of unrelated samples, none of them beside another."""
    family = np.arange(len(labelled) + len(unlabelled))
    mine, others = np.split(family, [len(labelled)])
    return Marks(labelled, unlabelled, mine, others, np.zeros(len(unlabelled), bool), 0.5)
