"""``benchmark_trust``: every claim in worlds that set no constant, as one table.

Each world of each design is one file of the output folder, so that the benchmark is stopped and resumed at will, and several
processes share one folder. The table is made of all worlds that are there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from sciinterp import __version__
from sciinterp.errors import InputError, no_such
from sciinterp.frames import Table
from sciinterp.progress import progress
from sciinterp.settings import at_least, plain_value
from sciinterp.store.atomic import atomic_write, write_json
from sciinterp.store.kept import check_kept, kept, planned_folder
from sciinterp.trust.claims import CLAIMS, Claim
from sciinterp.trust.designs import DESIGNS, Counts

N_WORLDS = 20
COLUMNS = ("claim", "design", "nominal", "measured", "low", "high", "bar", "worlds", "trials", "holds")


def benchmark_trust(
    *,
    seed: int = 0,
    n_worlds: int = N_WORLDS,
    only: Iterable[str] | None = None,
    out: str | Path | None = None,
) -> Table:
    """Measure every claim of the package in worlds of other generators.

    Parameters
    ----------
    seed : int
        Worlds ``seed, seed + 1 ...`` are made of every design.
    n_worlds : int
        Worlds of each design; 0 makes the table of what the folder holds.
    only : iterable of str, optional
        Claims to measure; all when not given.
    out : path, optional
        Folder that keeps each world's counts, ``trust.tsv`` and ``trust.json``; run again to resume.

    Returns
    -------
    Table
        ``claim design nominal measured low high bar worlds trials holds``, see :mod:`sciinterp.trust.claims`; rows without a
        world are left out. ``context`` holds version, date and seed.

    Raises
    ------
    InputError
        There is no such claim.
    MismatchError
        The folder holds worlds of another version or seed.
    """
    seed, n_worlds = plain_value(seed, int, "seed"), plain_value(n_worlds, int, "n_worlds", at_least(0))
    if isinstance(only, str):
        raise InputError("claims are a list of names", where="only=", expected=f"[{only!r}]", got=repr(only))
    names = list(dict.fromkeys(claim.name for claim in CLAIMS))
    for name in only or ():
        if name not in names:
            raise no_such("claim", name, names)
    wanted = [claim for claim in CLAIMS if only is None or claim.name in set(only)]
    folder = planned_folder(out, {"suite": "trust", "seed": seed, "version": __version__})
    designs = list(dict.fromkeys(name for claim in wanted for name in claim.designs))
    outcomes: dict[str, dict[int, Counts]] = {name: {} for name in DESIGNS}
    jobs = [(s, name) for s in range(seed, seed + n_worlds) for name in designs]
    with _quiet(), progress(jobs, unit="world", desc="trust") as bar:
        for s, name in bar:
            bar.set_postfix_str(f"{name} {s}")
            outcomes[name][s] = kept(folder, f"{name}-{s}", lambda s=s, name=name: DESIGNS[name](s))
    context = {"version": __version__, "date": date.today().isoformat(), "seed": seed}
    if folder is None:
        return Table(tabulate(wanted, outcomes), context=context)
    for name in DESIGNS:
        outcomes[name] |= {
            int(path.stem.removeprefix(f"{name}-")): check_kept(path)["outcome"]
            for path in folder.glob(f"{name}-*.json")
            if path.stem.removeprefix(f"{name}-").isdigit()
        }
    _write(folder, tabulate(CLAIMS, outcomes), context)
    return Table(tabulate(wanted, outcomes), context=context)


def tabulate(claims: Iterable[Claim], outcomes: dict[str, dict[int, Counts]]) -> pd.DataFrame:
    """One row a claim and design; worlds of several designs are those of each, in the order of their seeds."""
    rows = []
    for claim in claims:
        worlds = [[by_seed[s] for s in sorted(by_seed)] for by_seed in (outcomes[d] for d in claim.designs)]
        if not all(worlds):
            continue
        value, low, high, trials = claim.measure(worlds)
        bar = "" if claim.bar is None else f"{claim.bar[0]} {claim.bar[1]:g}"
        nominal = np.nan if claim.nominal is None else claim.nominal
        n = sum(map(len, worlds))
        rows.append((claim.name, claim.design, nominal, value, low, high, bar, n, trials, claim.holds(value)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _write(folder: Path, table: pd.DataFrame, context: dict[str, object]) -> None:
    text = table.to_csv(sep="\t", index=False, float_format="%.3f", lineterminator="\n")
    atomic_write(folder / "trust.tsv", text.encode())
    write_json(folder / "trust.json", {**context, "rows": table.to_dict("records")})


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what a run says of its inputs: no world has an SAE."""
    logger = logging.getLogger("sciinterp")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
