"""What the models of a concept are fitted on, held only where a feature fires."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciinterp.discovery.logistic import predict
from sciinterp.discovery.problem import Problem
from sciinterp.discovery.spans import window_means


@dataclass(frozen=True, eq=False)
class Rows:
    """A design matrix, float32 [n_positions, n_columns], of which only rows ``at`` hold anything but zeros."""

    at: np.ndarray
    x: np.ndarray
    n: int

    def column(self, j: int) -> np.ndarray:
        """float32 [n_positions]: one column."""
        return self._spread(self.x[:, j], 0.0)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """float32 [n_rows, n_columns]: some rows."""
        place = np.minimum(np.searchsorted(self.at, rows), max(len(self.at) - 1, 0))
        out = np.zeros((len(rows), self.x.shape[1]), np.float32)
        here = np.flatnonzero(self.at[place] == rows) if len(self.at) else place[:0]
        out[here] = self.x[place[here]]
        return out

    def any(self) -> np.ndarray:
        """bool [n_positions]: is anything in the row?"""
        out = np.zeros(self.n, bool)
        out[self.at] = self.x.any(axis=1)
        return out

    def log_odds(self, beta: np.ndarray) -> np.ndarray:
        """float32 [n_positions]: the intercept where the row is silent."""
        beta = beta.astype(np.float32)
        return self._spread(predict(self.x, beta), beta[-1])

    def _spread(self, values: np.ndarray, silent: float) -> np.ndarray:
        out = np.full(self.n, silent, np.float32)
        out[self.at] = values
        return out


class Design:
    """Columns of the concept's models: log codes at a position and their mean around it, made once a feature.

    Only positions where a column is not zero are held: features are silent nearly everywhere.
    """

    def __init__(self, problem: Problem, width: int) -> None:
        self.problem, self.width = problem, width
        self.made: dict[int, tuple[float, np.ndarray, np.ndarray, np.ndarray]] = {}

    def add(self, features: np.ndarray) -> None:
        """Make the columns of features that have none yet."""
        new = np.array([f for f in features if int(f) not in self.made], np.int64)
        if not len(new):
            return
        columns = self.problem.columns(new)
        for j, feature in enumerate(new.tolist()):
            part = slice(columns.indptr[j], columns.indptr[j + 1])
            rows, codes = columns.indices[part], columns.data[part]
            scale = max(float(codes.mean()), 1e-6) if len(codes) else 1.0
            value = np.log1p(codes / np.float32(scale))
            at, mean = window_means(rows, value, self.width, self.problem.samples.offsets)
            own = np.zeros(len(at), np.float32)
            own[np.searchsorted(at, rows)] = value
            self.made[feature] = (scale, at.astype(np.int32), own, mean)

    def scale(self, features: np.ndarray) -> np.ndarray:
        """Mean positive code of each feature."""
        return np.array([self.made[int(f)][0] for f in features])

    def matrix(self, features: np.ndarray) -> Rows:
        """The columns of some features, those of the positions first, then the means'."""
        self.add(features)
        made = [self.made[int(f)] for f in features]
        at = np.unique(np.concatenate([m[1] for m in made]))
        x = np.zeros((len(at), 2 * len(made)), np.float32, order="F")
        for j, (_, mine, own, mean) in enumerate(made):
            rows = np.searchsorted(at, mine)
            x[rows, j], x[rows, len(made) + j] = own, mean
        return Rows(at, x, self.problem.n_positions)
