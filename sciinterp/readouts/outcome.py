r"""What is read: a label of whole samples, as classes, as numbers, or as times of which some are censored.

A linear reading of a censored time is fitted to its martingale residual, :math:`\delta_i - \hat\Lambda(t_i)`, with
:math:`\hat\Lambda` the hazard that has passed by then (Nelson and Aalen): the gradient of Cox's likelihood where nothing is
known of the samples (Therneau, Grambsch and Fleming, 1990). Its score is Harrell's concordance: of the pairs whose order is
known, the share that is ranked so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from sciinterp.errors import InputError, no_such, require_kinds
from sciinterp.readers.identifiers import labels_of
from sciinterp.readers.sample_tables import MISSING
from sciinterp.samples import Samples

Labels = str | tuple[str, str] | Mapping[str, object] | pd.Series | pd.DataFrame | Sequence
MEASURES = {"classes": "AUROC", "numbers": "rank correlation", "times": "concordance"}


@dataclass(frozen=True, eq=False)
class Outcome:
    """Values of some samples."""

    values: np.ndarray  # [n]: numbers of classes, numbers, or times
    classes: tuple[str, ...] = ()  # empty for numbers and times
    # bool [n], of times: whether it was reached, or the sample was lost sight of.
    event: np.ndarray | None = None
    _targets: dict[bytes, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def kind(self) -> str:
        """``classes``, ``numbers`` or ``times``."""
        return "classes" if self.classes else "numbers" if self.event is None else "times"

    @property
    def measure(self) -> str:
        """What the score is called."""
        return MEASURES[self.kind]

    @property
    def chance(self) -> float:
        """The score of a reading that knows nothing."""
        return 0.0 if self.kind == "numbers" else 0.5

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Outcome:
        """The values of some samples, in the order given."""
        return Outcome(self.values[rows], self.classes, None if self.event is None else self.event[rows])

    def varies(self, rows: np.ndarray) -> bool:
        """Whether anything can be learnt from these rows."""
        return len(np.unique(self.values[rows])) > 1 and (self.event is None or bool(self.event[rows].any()))

    def target(self, rows: np.ndarray) -> np.ndarray:
        """float64 [n_rows, n_columns]: what a linear reading is fitted to on these rows."""
        values = self.values[rows]
        if self.kind == "numbers":
            return values[:, None].astype(float)
        if self.event is None:
            first = 1 if len(self.classes) == 2 else 0
            return (values[:, None] == np.arange(first, len(self.classes))).astype(float)
        key = np.asarray(rows, np.int64).tobytes()
        if key not in self._targets:
            self._targets[key] = _residual(values, self.event[rows])[:, None]
        return self._targets[key]

    def score(self, rows: np.ndarray, predicted: np.ndarray) -> float:
        """AUROC (mean over classes), rank correlation or concordance of predictions [n_rows, n_columns]; NaN where there is none."""
        values = self.values[rows]
        if self.kind == "numbers":
            known = len(values) > 1 and np.ptp(values)
            moves = known and np.ptp(predicted)
            return _correlation(values, predicted[:, 0]) if moves else 0.0 if known else float("nan")
        if self.event is not None:
            return _concordance(values, self.event[rows], predicted[:, 0])
        first, scores = (1 if len(self.classes) == 2 else 0), []
        for column in range(predicted.shape[1]):
            mine = values == column + first
            if 0 < (n := int(mine.sum())) < len(values):
                ranks = rankdata(predicted[:, column])
                scores.append((ranks[mine].sum() - n * (n + 1) / 2) / (n * (len(values) - n)))
        return float(np.mean(scores)) if scores else float("nan")


def read_outcome(labels: Labels, samples: Samples) -> tuple[Outcome, np.ndarray]:
    """The values of samples that have one, and which have, of labels as :func:`sciinterp.readout` takes them."""
    if isinstance(labels, tuple) and len(labels) == 2 and all(isinstance(name, str) for name in labels):
        return _times(*(_column(name, samples) for name in labels))
    if isinstance(labels, pd.DataFrame):
        table = pd.DataFrame(labels)
        if not {"time", "event"} <= set(table.columns):
            raise InputError("a table of labels is of times", expected="columns time and event")
        return _times(*(_aligned(table[name], samples) for name in ("time", "event")))
    column = _column(labels, samples) if isinstance(labels, str) else _aligned(labels, samples)
    known = _is_known(column)
    given = [column[i] for i in np.flatnonzero(known)]
    if all(isinstance(v, int | float | np.number) and not isinstance(v, bool | np.bool_) for v in given):
        numbers = np.array(given, float)
        if not np.isfinite(numbers).all():
            raise InputError(
                "a label that is no finite number",
                where=f"sample {_first(known, ~np.isfinite(numbers), samples)!r}",
            )
        if len(np.unique(numbers)) != 2:
            return Outcome(numbers), known
    names, code = np.unique(np.array([str(v) for v in given], object).astype(str), return_inverse=True)
    if len(names) > max(2, len(given) / 2):
        raise InputError(
            "nearly every sample has a label of its own",
            expected="classes of several samples, or numbers",
            got=f"{len(names)} values in {len(given)} samples, such as {str(given[0])[:40]!r}",
        )
    return Outcome(code, tuple(map(str, names))), known


def _first(known: np.ndarray, wrong: np.ndarray, samples: Samples) -> str:
    """The first sample whose label is wrong."""
    return samples.ids[int(np.flatnonzero(known)[np.flatnonzero(wrong)[0]])]


def _column(name: str, samples: Samples) -> list[object]:
    if name not in samples.table.columns:
        raise no_such("column", name, map(str, samples.table.columns), where="labels")
    return samples.table[name].to_list()


def _aligned(labels: Labels, samples: Samples) -> list[object]:
    """One value a sample: a series with an index of its own is by identifier, any other by place."""
    require_kinds(labels=(labels, Iterable))
    by_name = dict(labels) if isinstance(labels, Mapping) else None
    if isinstance(labels, pd.Series):
        series = pd.Series(labels)
        by_name = dict(series.items()) if list(series.index) != list(range(len(series))) else None
    found = None if by_name is None else labels_of(by_name, samples.ids, "labels")
    column: list[object] = list(labels) if found is None else [found.get(name) for name in samples.ids]
    if len(column) != len(samples):
        raise InputError("one label a sample is needed", expected=str(len(samples)), got=str(len(column)))
    return column


def _is_known(column: list[object]) -> np.ndarray:
    given = pd.Series(column, dtype=object)
    return given.notna().to_numpy() & ~given.astype(str).isin(MISSING).to_numpy()


def _times(time: list[object], event: list[object]) -> tuple[Outcome, np.ndarray]:
    known = _is_known(time) & _is_known(event)
    rows = np.flatnonzero(known)
    try:
        values, reached = (np.array([some[i] for i in rows], float) for some in (time, event))
    except (TypeError, ValueError):
        values = reached = np.array([-1.0])
    if not (np.isfinite(values) & (values >= 0)).all() or not np.isin(reached, (0, 1)).all():
        raise InputError("these are not times", expected="times from 0, and events that are 0 or 1")
    return Outcome(values, event=reached > 0), known


def _residual(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    try:
        from lifelines import NelsonAalenFitter
    except ImportError:
        raise InputError(
            "censored times need the package lifelines",
            do="Install it with: python -m pip install 'sciinterp[survival]'.",
        ) from None
    hazard = NelsonAalenFitter().fit(time, event).cumulative_hazard_at_times(time)
    return event - hazard.to_numpy(float)


def _concordance(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> float:
    """Pairs of which the first is known to come before the second; ties of risk count half."""
    known = event[:, None] & (time[:, None] < time)
    known |= event[:, None] & ~event & (time[:, None] == time)
    if not known.any():
        return float("nan")
    right = (risk[:, None] > risk) + 0.5 * (risk[:, None] == risk)
    return float(right[known].mean())


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
