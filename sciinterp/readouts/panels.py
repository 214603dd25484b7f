r"""Matched panels of variants, and contrasts between their cases and controls.

What two classes of variants differ in besides what is asked answers for them: synonymous and missense changes differ in
the place in the codon alone well enough to be told apart. A panel draws for each case controls that are equal in what
should not matter, and refuses where a listed confounder still separates the two by more than AUROC 0.6. For a confounder of
classes that is measured by its share of cases, learnt on other variants (five parts).

A contrast is the AUROC of each feature's change, its interval leaving one gene out at a time. What the best feature
reaches is read both ways round: chosen on one half of the genes, scored on the other by ranks within it. A second
dictionary, or the same with another seed, replicates it by the same procedure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import norm, rankdata

from sciinterp.association.statistics import benjamini_hochberg
from sciinterp.errors import InputError, no_such, require_kinds
from sciinterp.frames import Table, require_columns
from sciinterp.interventions.control_statistics import mean_interval
from sciinterp.settings import UP_TO_ONE, at_least, plain_value

if TYPE_CHECKING:
    import anndata

    Values = anndata.AnnData | np.ndarray | sp.sparray

MATCH = ("consequence", "codon_phase", "exon_distance", "trinucleotide", "gene")
# Numbers are matched in classes of doubling size, such as 0, 1, 2-3, 4-7 bases.
MAX_AUROC, PARTS = 0.6, 5


def panel(
    variants: pd.DataFrame,
    cases: str | Sequence[bool],
    *,
    match: Sequence[str] = MATCH,
    confounders: Sequence[str] = (),
    per_case: int = 1,
    max_auroc: float = MAX_AUROC,
    seed: int = 0,
) -> Table:
    """Cases with controls that are equal in what should not matter.

    Parameters
    ----------
    variants : DataFrame
        One row a variant, with the columns of :func:`sciinterp.consequences` or others.
    cases : str or sequence of bool
        A column of truth values, or one value a row; the other rows are controls to draw from.
    match : sequence of str
        Columns in which a control equals its case: classes exactly, numbers of many values in classes of doubling size.
    confounders : sequence of str
        Further columns that must not separate cases from controls.
    per_case : int
        Controls of each case, none twice.
    max_auroc : float
        From where on a confounder separates.
    seed : int

    Returns
    -------
    Table
        The panel's rows with ``case`` and ``pair`` (a case and its controls share one), and ``row`` in ``variants``.
        ``context``: ``separation`` (AUROC of every column in ``match`` and ``confounders``, which decides), ``intervals`` (of
        these, 95%), ``before`` (the same of all rows), ``n_cases``, ``n_unmatched``.

    Raises
    ------
    InputError
        No case has a control; a confounder still separates the two.

    Examples
    --------
    >>> table = pd.DataFrame({"gene": ["a", "a", "b", "b", "b"], "hit": [True, False, True, False, False]})
    >>> sorted(panel(table, "hit", match=["gene"])["row"].tolist()[::2])
    [0, 2]
    """
    require_kinds(cases=(cases, Iterable), match=(match, Iterable), confounders=(confounders, Iterable))
    match, confounders = ([some] if isinstance(some, str) else list(some) for some in (match, confounders))
    require_columns(variants, (*match, *confounders), "variants")
    is_case, seed = _cases(variants, cases), plain_value(seed, int, "seed")
    per_case = plain_value(per_case, int, "per_case", at_least(1))
    max_auroc = plain_value(max_auroc, float, "max_auroc", UP_TO_ONE)
    listed = list(dict.fromkeys((*match, *confounders)))
    before = {name: separation(variants[name], is_case, seed) for name in listed}
    keys = list(zip(*(_classes(variants[name]) for name in match))) if match else [()] * len(variants)
    rows = _drawn(keys, is_case, per_case, np.random.default_rng(seed))
    if not rows:
        raise InputError(
            "no case has a control",
            expected=f"{per_case} of equal {', '.join(match)}",
            got=f"{int(is_case.sum())} cases, {int((~is_case).sum())} to draw from",
        )
    at = np.array([i for i, _ in rows])
    out = variants.iloc[at].reset_index(drop=True)
    out["case"], out["pair"], out["row"] = is_case[at], [p for _, p in rows], at
    after = {name: separation(out[name], is_case[at], seed, out["pair"].to_numpy()) for name in listed}
    n_cases = int(out["pair"].nunique())
    _refuse_separated(after, max_auroc, n_cases, len(at) - n_cases)
    facts = {
        "separation": after,
        "before": before,
        "intervals": {name: auroc_interval(a, n_cases, len(at) - n_cases) for name, a in after.items()},
        "n_cases": n_cases,
        "n_unmatched": int(is_case.sum()) - n_cases,
    }
    return Table(out.iloc[np.lexsort((at, ~is_case[at], out["pair"]))].reset_index(drop=True), context=facts)


def _drawn(
    keys: list[tuple], is_case: np.ndarray, per_case: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Rows of cases and of their controls, with the number of the pair."""
    free: dict[tuple, list[int]] = {}
    for i in rng.permutation(np.flatnonzero(~is_case)):
        free.setdefault(keys[i], []).append(int(i))
    rows: list[tuple[int, int]] = []
    n_cases = 0
    for i in rng.permutation(np.flatnonzero(is_case)):
        some = free.get(keys[i], [])
        if len(some) >= per_case:
            rows += [(int(i), n_cases), *((some.pop(), n_cases) for _ in range(per_case))]
            n_cases += 1
    return rows


def _refuse_separated(after: Mapping[str, float], most: float, n_cases: int, n_controls: int) -> None:
    """The point decides: an interval would let small panels through with whatever separates them."""
    worst = max(after, key=lambda name: after[name], default="")
    if worst and after[worst] > most:
        low, high = auroc_interval(after[worst], n_cases, n_controls)
        raise InputError(
            "a confounder separates cases from controls",
            where=f"column {worst!r}, {n_cases} cases",
            expected=f"AUROC at most {most:g}",
            got=f"{after[worst]:.3f} ({low:.3f} to {high:.3f})",
            do=f"Match it: match=[..., {worst!r}].",
        )


def separation(
    column: pd.Series, is_case: np.ndarray, seed: int = 0, pairs: np.ndarray | None = None
) -> float:
    """AUROC by which a column tells cases: of numbers either way, of classes as their share of cases learnt elsewhere.

    A pair is in one part: learnt without a case whose control is left in, the share of its class would be too small, and a class that
    is matched exactly would tell controls.
    """
    if pd.api.types.is_numeric_dtype(column) and column.nunique() > PARTS:
        score = column.to_numpy(float)
        found = auroc(np.nan_to_num(score, nan=np.nanmean(score))[:, None], is_case)[0]
        return max(found, 1 - found)
    code = np.unique(column.astype(str), return_inverse=True)[1]
    unit = np.arange(len(code)) if pairs is None else np.unique(pairs, return_inverse=True)[1]
    part = (np.random.default_rng(seed).permutation(unit.max(initial=0) + 1) % PARTS)[unit]
    found = []
    for f in range(PARTS):
        learn, told = part != f, part == f
        if is_case[told].all() or not is_case[told].any() or not learn.any():
            continue
        n = np.bincount(code[learn], minlength=code.max() + 1)
        share = (np.bincount(code[learn], is_case[learn], minlength=len(n)) + is_case[learn].mean()) / (n + 1)
        found.append(auroc(share[code[told]][:, None], is_case[told])[0])
    return float(np.mean(found)) if found else 0.5


def auroc(x: np.ndarray, is_case: np.ndarray) -> np.ndarray:
    """How often a case lies above a control, of every column [m]; ties count half."""
    n, m = int(is_case.sum()), int((~is_case).sum())
    ranks = rankdata(x, axis=0)
    return (ranks[is_case].sum(0) - n * (n + 1) / 2) / (n * m)


def auroc_interval(area: float, n: int, m: int) -> tuple[float, float]:
    """The interval of an AUROC of n cases and m controls (Hanley and McNeil 1982), 95%.

    Examples
    --------
    >>> [round(end, 2) for end in auroc_interval(0.6, 50, 50)]
    [0.49, 0.71]
    """
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (n - 1) * (one - area**2) + (m - 1) * (two - area**2)
    half = float(norm.isf(0.025) * np.sqrt(max(spread, 0.0) / max(n * m, 1)))
    return max(area - half, 0.0), min(area + half, 1.0)


def contrast(
    values: Values,
    matched: pd.DataFrame,
    *,
    by: str = "gene",
    replicate: Mapping[str, Values] | None = None,
    seed: int = 0,
) -> Table:
    """Features whose change differs between the cases and controls of a panel, with intervals by gene.

    Parameters
    ----------
    values : AnnData or array [n, n_features]
        One row a variant of the panel, in its order, such as changes of :func:`sciinterp.saturate`; sizes are compared.
    matched : DataFrame
        Of :func:`panel`.
    by : str
        The column that intervals are over.
    replicate : mapping of str to values, optional
        The same variants read by further dictionaries or seeds.
    seed : int

    Returns
    -------
    Table
        ``feature auroc low high q mean_case mean_control``, furthest from one half first. ``context["best"]``: a row a
        dictionary, its best feature, and what a feature chosen on one half of the genes reaches on the other (``reader
        feature auroc low high``).

    Raises
    ------
    InputError
        Values of other rows than the panel's, or fewer than two genes.
    """
    require_columns(matched, ("case", by), "matched")
    require_kinds(replicate=(replicate, Mapping | None))
    is_case, seed = matched["case"].to_numpy(bool), plain_value(seed, int, "seed")
    family = np.unique(matched[by].astype(str), return_inverse=True)[1]
    x = _dense(values, len(matched))
    if family.max() < 1:
        raise InputError("an interval needs more than one gene", where=f"column {by!r}")
    score = auroc(x, is_case)
    low, high = _interval(x, is_case, family, score)
    n, m = is_case.sum(), (~is_case).sum()
    z = (score - 0.5) / np.sqrt((n + m + 1) / (12 * n * m))
    table = pd.DataFrame(
        {
            "feature": np.arange(x.shape[1]),
            "auroc": score,
            "low": low,
            "high": high,
            "q": benjamini_hochberg(2 * norm.sf(np.abs(z))),
            "mean_case": x[is_case].mean(0),
            "mean_control": x[~is_case].mean(0),
        }
    )
    table = table.iloc[np.argsort(-np.abs(score - 0.5), kind="stable")].reset_index(drop=True)
    half = np.random.default_rng(seed).permutation(family.max() + 1)[family] % 2 == 0
    given = {"features": values, **(replicate or {})}
    best = [_best(name, _dense(v, len(matched)), is_case, family, half) for name, v in given.items()]
    return Table(table, context={"best": pd.DataFrame(best), "n_cases": int(n), "n_controls": int(m)})


def _best(
    name: str, x: np.ndarray, is_case: np.ndarray, family: np.ndarray, half: np.ndarray
) -> dict[str, object]:
    """The best feature, and what one chosen on a half of the families scores on the other, both ways round."""
    j = int(np.argmax(np.abs(auroc(x, is_case) - 0.5)))
    out: dict[str, object] = {"reader": name, "feature": j, "auroc": np.nan, "low": np.nan, "high": np.nan}
    if any(len(set(is_case[part])) < 2 for part in (half, ~half)):
        return out
    told = np.zeros((len(x), 1))
    for learn in (half, ~half):
        chosen = auroc(x[learn], is_case[learn])
        k = int(np.argmax(np.abs(chosen - 0.5)))
        ranks = rankdata(x[~learn, k]) / (~learn).sum()
        told[~learn, 0] = ranks if chosen[k] >= 0.5 else 1 - ranks
    score = auroc(told, is_case)
    low, high = _interval(told, is_case, family, score)
    return out | {"auroc": float(score[0]), "low": float(low[0]), "high": float(high[0])}


def _interval(
    x: np.ndarray, is_case: np.ndarray, family: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One family left out at a time: pseudo-values of families are the observations."""
    n = int(family.max()) + 1
    keep = [np.flatnonzero(family != f) for f in range(n)]
    keep = [k for k in keep if len(set(is_case[k])) == 2]
    if len(keep) < 2:
        return np.full(len(score), np.nan), np.full(len(score), np.nan)
    without = np.array([auroc(x[k], is_case[k]) for k in keep])
    pseudo = len(keep) * score - (len(keep) - 1) * without
    ends = np.array([mean_interval(column, np.arange(len(keep)))[1:] for column in pseudo.T])
    half = (ends[:, 1] - ends[:, 0]) / 2
    return score - half, score + half


def _dense(values: Values, n: int) -> np.ndarray:
    x = getattr(values, "X", values)
    require_kinds(values=(x, np.ndarray | sp.sparray | sp.spmatrix))
    x = np.abs(np.asarray(sp.csr_array(x).todense() if sp.issparse(x) else x, dtype=np.float64))
    if not np.isfinite(x).all():
        raise InputError("values that are not finite", where="values")
    if x.ndim != 2 or len(x) != n:
        raise InputError("values of other rows than the panel's", expected=f"{n} rows", got=str(x.shape))
    return x


def _cases(variants: pd.DataFrame, cases: str | Sequence[bool]) -> np.ndarray:
    if isinstance(cases, str):
        if cases not in variants.columns:
            raise no_such("column", cases, variants.columns, where="cases")
        cases = variants[cases].tolist()
    given = list(cases)
    if not set(given) <= {True, False}:
        raise InputError("these are no truth values", where="cases", got=repr(given[0])[:60])
    found = np.asarray(given, bool)
    if len(found) != len(variants):
        raise InputError(
            "one truth value a variant is needed", expected=str(len(variants)), got=str(len(found))
        )
    return found


def _classes(column: pd.Series) -> list[object]:
    """Classes to match: numbers of many values by how often they double."""
    if pd.api.types.is_numeric_dtype(column) and column.nunique() > PARTS:
        values = column.to_numpy(float)
        return (np.sign(values) * np.ceil(np.log2(np.abs(np.nan_to_num(values)) + 1))).tolist()
    return column.astype(str).tolist()
