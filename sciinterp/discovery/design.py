"""What the models of a concept are fitted on, held only where a feature fires."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sciinterp.discovery.logistic import predict
from sciinterp.discovery.problem import Problem
from sciinterp.discovery.spans import marked, window_means

# Positions whose row of all columns is laid out at once.
POSITIONS = 1 << 18


@dataclass(frozen=True, eq=False)
class Rows:
    """A design matrix, float32 [n_positions, n_columns], of which only the rows of each column's ``at`` are held."""

    at: list[np.ndarray]
    values: list[np.ndarray]
    n: int

    def column(self, j: int) -> np.ndarray:
        """float32 [n_positions]: one column."""
        out = np.zeros(self.n, np.float32)
        out[self.at[j]] = self.values[j]
        return out

    def take(self, rows: np.ndarray) -> np.ndarray:
        """float32 [n_rows, n_columns]: some rows."""
        out = np.zeros((len(rows), len(self.at)), np.float32, order="F")
        for j, (at, values) in enumerate(zip(self.at, self.values)):
            place = np.minimum(np.searchsorted(at, rows), max(len(at) - 1, 0))
            here = np.flatnonzero(at[place] == rows) if len(at) else place[:0]
            out[here, j] = values[place[here]]
        return out

    def any(self) -> np.ndarray:
        """bool [n_positions]: is anything in the row?"""
        out = np.zeros(self.n, bool)
        for at, values in zip(self.at, self.values):
            out[at[values != 0]] = True
        return out

    def log_odds(self, beta: np.ndarray) -> np.ndarray:
        """float32 [n_positions]: the intercept where the row is silent."""
        beta = beta.astype(np.float32)
        out = np.full(self.n, beta[-1], np.float32)
        for low in range(0, self.n, POSITIONS):
            ends = [np.searchsorted(at, (low, low + POSITIONS)) for at in self.at]
            rows = marked(np.concatenate([at[a:b] for at, (a, b) in zip(self.at, ends)]), self.n)
            x = np.zeros((len(rows), len(self.at)), np.float32, order="F")
            for j, (a, b) in enumerate(ends):
                x[np.searchsorted(rows, self.at[j][a:b]), j] = self.values[j][a:b]
            out[rows] = predict(x, beta)
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
        values = [own for _, _, own, _ in made] + [mean for *_, mean in made]
        return Rows([at for _, at, _, _ in made] * 2, values, self.problem.n_positions)
