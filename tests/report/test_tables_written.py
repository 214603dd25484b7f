# ruff: noqa: F811
"""Every table the package writes: no cell a spreadsheet would run, and every number comes back bit for bit."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest
from report_fixtures import hostile_run  # noqa: F401

from sciinterp.association import read_hits, write_hits
from sciinterp.discovery import write_candidates
from sciinterp.store.tables import read_parquet, read_tsv

FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
PAYLOADS = [
    "=HYPERLINK(1)",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "＝1",
    "=cmd|' /C calc'!A0",
    '"=1"',
    "a\n=1",
]


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@pytest.fixture(scope="module")
def written(hostile_run, tmp_path_factory):
    """The three writers on tables full of formulas and of numbers that need all their digits."""
    folder, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    hits = hostile_run["hits"].copy()
    for name in hits.select_dtypes("float").columns:
        hits[name] = rng.random(len(hits)) * 10.0 ** rng.integers(-12, 3, len(hits))
    hits.loc[hits.index[::7], "q"] = np.nan
    hits["test"] = [PAYLOADS[i % len(PAYLOADS)] for i in range(len(hits))]
    candidates = hostile_run["candidates"].copy()
    candidates["score"] = rng.standard_normal(len(candidates)) * 1e-5
    candidates["reason_against"] = [PAYLOADS[i % len(PAYLOADS)] for i in range(len(candidates))]
    notes = hostile_run["annotations"]
    write_hits(hits, folder)
    write_candidates(candidates, folder)
    notes.frame["note"] = [PAYLOADS[i % len(PAYLOADS)] for i in range(len(notes.frame))]
    notes.write(folder / "annotations.tsv")
    return {"folder": folder, "hits": hits, "candidates": candidates, "annotations": notes}


def test_no_cell_becomes_a_formula(written):
    """As a spreadsheet reads it: tab-separated, quotes taken off."""
    files = sorted(written["folder"].glob("*.tsv"))
    assert {"hits.tsv", "candidates.tsv", "annotations.tsv"} <= {f.name for f in files}
    cells = 0
    for file in files:
        with open(file, encoding="utf-8", newline="") as handle:
            rows = list(csv.reader(handle, delimiter="\t"))
        assert len({len(row) for row in rows}) == 1, file.name
        for row in rows:
            for cell in row:
                cells += 1
                assert not cell.startswith(FORMULA) or cell in ("+", "-") or is_number(cell), (
                    file.name,
                    cell,
                )
    assert cells > 5_000


@pytest.mark.parametrize(
    "reader", [{"float_precision": "round_trip"}, {"engine": "pyarrow"}], ids=["exact", "pyarrow"]
)
@pytest.mark.parametrize("name", ["hits", "candidates"])
def test_numbers_come_back_bit_for_bit_through_pandas(written, name, reader):
    read = pd.read_csv(written["folder"] / f"{name}.tsv", sep="\t", **reader)
    checked = 0
    for column in written[name].select_dtypes("float").columns:
        checked += len(read)
        np.testing.assert_array_equal(
            read[column].to_numpy(np.float64), written[name][column].to_numpy(np.float64)
        )
    assert checked > 100


def test_text_comes_back_as_it_was(written):
    hits = read_hits(written["folder"])
    assert hits["test"].tolist() == written["hits"]["test"].tolist()
    assert hits["concept"].tolist() == written["hits"]["concept"].tolist()
    text = read_tsv(written["folder"] / "candidates.tsv", text=["reason_against"])
    assert text["reason_against"].tolist() == written["candidates"]["reason_against"].tolist()
    parquet = read_parquet(written["folder"] / "hits.parquet")
    assert (parquet["f1"].to_numpy() == written["hits"]["f1"].to_numpy()).all()
