r"""An error as an irreducible part plus powers of what is spent, with intervals.

.. math:: y = E + \sum_q A_q x_q^{-a_q}

with :math:`y` the fraction of variance unexplained and :math:`x_q` the width of the dictionary, its active features and the
tokens it was trained on (Gao et al. 2024, arXiv:2406.04093; Hoffmann et al. 2022, arXiv:2203.15556). Errors are relative: the
squared differences of logarithms are least. What the next doubling of :math:`x_q` saves at the largest :math:`x_q` seen,

.. math:: g_q = A_q x_q^{-a_q} (1 - 2^{-a_q}),

is well determined where :math:`A_q` and :math:`a_q` are not, and so it is a parameter in the place of :math:`A_q`.

Intervals are of the profile likelihood: a value belongs to the interval where the fit with that value held is not worse
than the best one by more than F's quantile. They hold at the bounds of zero, too. They know the spread around the fit,
not whether powers are the right form: what is irreducible is what *this form* puts there, beyond all values seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pandas as pd
from scipy.optimize import least_squares, nnls
from scipy.stats import f as fisher

from sciinterp.errors import InputError
from sciinterp.frames import Table

# Column of what is spent -> its name in a sentence.
SPENT = {"n_features": "width", "k": "active features", "tokens": "training tokens"}
IRREDUCIBLE = "irreducible"
LEAST, MOST = (
    0.05,
    3.0,
)  # exponents: below, a power is a constant on any range that can be trained; above, a step
_STARTS = np.geomspace(LEAST * 2, 2.0, 9)
_EXACT = 1e-7  # relative spread at which a fit has no error to speak of


@dataclass(frozen=True, eq=False)
class Scaling:
    """Errors of trained dictionaries, and the law fitted to those of each reader.

    Attributes
    ----------
    runs : Table
        One row a dictionary: ``reader n_features k tokens fvu``.
    fits : Table
        One row a reader and term ("irreducible", then what was varied), with intervals ``_low`` and ``_high``:

        ``error``
            the part of the error at the largest values (``at``) that is due to the term;
        ``exponent``
            of the power;
        ``saves``
            what the next doubling saves of the error;
        ``spread``
            relative standard deviation around the fit.
    level : float
        Of the intervals.
    """

    runs: Table
    fits: Table
    level: float = 0.9

    @property
    def readers(self) -> list[str]:
        """Names of what was fitted, the trained dictionary first."""
        return list(dict.fromkeys(self.fits["reader"]))

    def curve(self, reader: str, over: str, values: Sequence[float]) -> np.ndarray:
        """float64: the fitted error of a reader over ``n_features``, ``k`` or ``tokens``, the others at their largest."""
        mine = self.fits[self.fits["reader"] == reader].set_index("term")
        rest = mine["error"].sum()
        if over not in mine.index:
            return np.full(len(values), rest)
        part, exponent, at = (float(mine.loc[over, name]) for name in ("error", "exponent", "at"))
        return rest - part + part * (np.asarray(values, np.float64) / at) ** -exponent

    @property
    def sentences(self) -> list[str]:
        """A sentence a reader: what is left, what of it is irreducible, where the next doubling pays."""
        return [self._sentence(reader) for reader in self.readers]

    def _sentence(self, reader: str) -> str:
        mine = self.fits[self.fits["reader"] == reader].set_index("term")
        floor, powers = mine.loc[IRREDUCIBLE], mine.drop(index=IRREDUCIBLE)
        where = ", ".join(f"{SPENT[q]} {at:,.0f}" for q, at in powers["at"].items())
        best = powers["saves"].astype(float).idxmax()
        row = powers.loc[best]
        others = [f"{SPENT[q]} {_ranged(other, 'saves')}" for q, other in powers.iterrows() if q != best]
        rest = f" (of {' and of '.join(others)})" if others else ""
        sure = all(row["saves_low"] > other["saves_high"] for q, other in powers.iterrows() if q != best)
        pays = "pays most" if sure or not others else "seems to pay most, which the intervals leave open,"
        return (
            f"{reader.replace('_', ' ')}: of an error of {mine['error'].sum():.3f} at {where}, {_ranged(floor, 'error')} is "
            f"irreducible in this form; the next doubling {pays} in {SPENT[best]}, and saves {_ranged(row, 'saves')}{rest}."
        )


def _ranged(row: pd.Series, name: str) -> str:
    return f"{row[name]:.3f} [{row[name + '_low']:.3f}, {row[name + '_high']:.3f}]"


def fit_scaling(runs: pd.DataFrame, *, level: float = 0.9) -> Scaling:
    """Fit irreducible part and powers to the errors of dictionaries, with intervals of a level.

    `runs` has ``fvu``, at least one of ``n_features k tokens`` that varies over more than two values, and
    ``reader`` where several are to be fitted; quantities that do not vary have no term, and what they cost is
    in the irreducible part.

    Examples
    --------
    >>> width = 2.0 ** np.arange(6, 14)
    >>> found = fit_scaling(pd.DataFrame({"n_features": width, "fvu": 0.1 + 3 * width**-0.5}))
    >>> found.fits[["term", "error", "exponent"]].round(3).values.tolist()
    [['irreducible', 0.1, nan], ['n_features', 0.033, 0.5]]
    """
    runs = Table(runs if "reader" in runs else runs.assign(reader="features"))
    rows = []
    for reader, mine in runs.groupby("reader", sort=False):
        rows += _fit_one(str(reader), mine, level)
    return Scaling(runs, Table(rows, context={"level": level}), level)


def _fit_one(reader: str, runs: pd.DataFrame, level: float) -> list[dict[str, object]]:
    varied = [q for q in SPENT if q in runs and runs[q].nunique() > 1]
    needed = 2 * len(varied) + 3
    few = [q for q in varied if runs[q].nunique() < 3]
    if not varied or few or len(runs) < needed or not (runs["fvu"] > 0).all():
        raise InputError(
            "too few dictionaries to fit a law to",
            where=f"reader {reader!r}",
            expected=f"three values or more of what varies, at least {needed} rows, errors above zero",
            got=f"{len(runs)} rows; {', '.join(f'{runs[q].nunique()} of {q}' for q in varied) or 'nothing varies'}",
        )
    law = Law(runs[varied].to_numpy(np.float64), runs["fvu"].to_numpy(np.float64), level)
    unknown = (np.nan, (np.nan, np.nan))

    def row(term: str, at: float, **found: tuple[float, tuple[float, float]]) -> dict[str, object]:
        told: dict[str, object] = {"reader": reader, "term": term, "at": at}
        for name in ("error", "exponent", "saves"):
            value, (low, high) = found.get(name, unknown)
            told |= {name: value, f"{name}_low": low, f"{name}_high": high}
        return told | {"spread": law.spread}

    rows = [row(IRREDUCIBLE, np.nan, error=(law.best[0], law.interval(0)))]
    for i, quantity in enumerate(varied):
        part = law.saying_part(i)
        rows.append(
            row(
                quantity,
                law.top[i],
                error=(part.best[1 + 2 * i], part.interval(1 + 2 * i)),
                exponent=(law.best[2 + 2 * i], law.interval(2 + 2 * i)),
                saves=(law.best[1 + 2 * i], law.interval(1 + 2 * i)),
            )
        )
    return rows


@dataclass(eq=False)
class Law:
    """The fit of one reader.

    Parameters ``theta`` are the irreducible part, then what the next doubling saves and the exponent of each
    quantity.
    """

    x: np.ndarray  # float64 [n, n_quantities]
    y: np.ndarray  # float64 [n]
    level: float
    # Quantities whose first parameter is the part of the error due to them, in the place of what a doubling saves.
    part: frozenset[int] = frozenset()
    start: np.ndarray | None = None
    top: np.ndarray = field(init=False)
    best: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.top = self.x.max(axis=0)
        self._log = np.log(self.x / self.top)
        self.low = np.array([0.0] + [0.0, LEAST] * self.x.shape[1])
        self.high = np.array([self.y.min()] + [self.y.max(), MOST] * self.x.shape[1])
        starts = [self.start] if self.start is not None else self._starts()
        found = [self._solve(np.clip(start, self.low, self.high), ()) for start in starts]
        self.best, self.sse = min(found, key=lambda pair: pair[1])
        self.df = len(self.y) - len(self.best)
        self.spread = float(np.sqrt(self.sse / self.df))

    def saying_part(self, i: int) -> Law:
        """The same fit, with the part of the error due to quantity ``i`` as a parameter."""
        start = self.best.copy()
        start[1 + 2 * i] /= 1 - 2.0 ** -start[2 + 2 * i]
        return Law(self.x, self.y, self.level, frozenset({i}), start)

    def interval(self, at: int) -> tuple[float, float]:
        """Profile likelihood of one parameter."""
        if self.spread < _EXACT:
            return float(self.best[at]), float(self.best[at])
        jacobian = self._jacobian(self.best)
        covariance = np.linalg.pinv(jacobian.T @ jacobian)
        step = self.spread * np.sqrt(max(covariance[at, at], 1e-16))
        limit = np.sqrt(fisher.ppf(self.level, 1, self.df))
        return self._edge(at, -step, limit), self._edge(at, step, limit)

    def _edge(self, at: int, step: float, limit: float) -> float:
        """Where the profile has risen to the limit, going in steps of one sign; the bound where it does not rise so far."""
        centre, start = float(self.best[at]), self.best
        bound = float(self.low[at] if step < 0 else self.high[at])
        inside, z_inside = centre, 0.0
        value = centre + limit * step
        outside: float | None = None
        for _ in range(14):
            value = max(value, bound) if step < 0 else min(value, bound)
            trial = start.copy()
            trial[at] = value
            found, sse = self._solve(trial, (at,))
            z = np.sqrt(max(sse - self.sse, 0.0)) / self.spread
            if abs(z - limit) < 0.01 * limit or (z < limit and value == bound):
                return value
            if z < limit:
                inside, z_inside, start = value, z, found
            else:
                outside, z_outside = value, z
            if outside is None:
                value = centre + (inside - centre) * min(limit / max(z_inside, 1e-3 * limit), 4.0) * 1.05
            else:  # between the two, as on a line, and not too near to either
                share = float(np.clip((limit - z_inside) / (z_outside - z_inside), 0.1, 0.9))
                value = inside + share * (outside - inside)
        return bound if outside is None else value

    def _starts(self) -> list[np.ndarray]:
        """The best two of a grid of exponents, whose other parameters are non-negative least squares."""
        scaled, found = 1 / self.y, []
        for exponents in product(_STARTS, repeat=self.x.shape[1]):
            columns = np.exp(-self._log * exponents) / (1 if self.part else 1 - 2.0 ** -np.array(exponents))
            parts, error = nnls(
                np.column_stack([np.ones(len(self.y)), columns]) * scaled[:, None], np.ones(len(self.y))
            )
            pairs = np.column_stack([parts[1:], exponents]).reshape(-1)
            found.append((error, np.concatenate([parts[:1], pairs])))
        return [start for _, start in sorted(found, key=lambda pair: pair[0])[:2]]

    def _solve(self, start: np.ndarray, held: tuple[int, ...]) -> tuple[np.ndarray, float]:
        """Least squares of the logarithms from a start, some parameters held."""
        free = np.setdiff1d(np.arange(len(start)), held)
        width = np.maximum(self.high - self.low, 1e-12)[free]

        def full(values: np.ndarray) -> np.ndarray:
            theta = start.copy()
            theta[free] = values
            return theta

        inside = np.clip(start[free], self.low[free] + 1e-9 * width, self.high[free] - 1e-9 * width)
        done = least_squares(
            lambda v: np.log(self._values(full(v))) - np.log(self.y),
            inside,
            jac=lambda v: self._jacobian(full(v))[:, free],  # pyright: ignore[reportArgumentType]
            bounds=(self.low[free], self.high[free]),
            x_scale=width,
            xtol=1e-5 if held else 1e-10,  # a profile is wanted to a hundredth
            ftol=1e-6 if held else 1e-12,
            gtol=1e-8 if held else 1e-12,
            max_nfev=60 if held else 200,
        )
        return full(done.x), float(2 * done.cost)

    def _powers(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Powers at each row, exponents, and what turns the first parameters into parts of the error."""
        exponents = theta[2::2]
        share = 1 - 2.0**-exponents
        share[list(self.part)] = 1.0
        return np.exp(-self._log * exponents), exponents, share

    def _values(self, theta: np.ndarray) -> np.ndarray:
        powers, _, share = self._powers(theta)
        return np.maximum(theta[0] + powers @ (theta[1::2] / share), 1e-12)

    def _jacobian(self, theta: np.ndarray) -> np.ndarray:
        """Of the logarithm of the values."""
        powers, exponents, share = self._powers(theta)
        out = np.ones((len(self.y), len(theta)))
        part = theta[1::2] / share
        turning = np.log(2) * 2.0**-exponents / share
        turning[list(self.part)] = 0.0
        out[:, 1::2] = powers / share
        out[:, 2::2] = -powers * part * (self._log + turning)
        return out / self._values(theta)[:, None]
