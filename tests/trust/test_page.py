"""The manual prints the table that the command wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from sciinterp.trust.claims import CLAIMS
from sciinterp.trust.suite import COLUMNS


@pytest.fixture(scope="module")
def table(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "notebooks" / "trust.tsv", sep="\t", keep_default_na=False, dtype=str)


def test_columns_and_claims_are_the_commands(table):
    assert tuple(table.columns) == COLUMNS
    known = {(claim.name, claim.design): claim for claim in CLAIMS}
    assert [(c, d) in known for c, d in zip(table["claim"], table["design"])] == [True] * len(table)
    order = [list(known).index(pair) for pair in zip(table["claim"], table["design"])]
    assert order == sorted(order) and len(set(order)) == len(order)


def test_every_bar_is_judged_as_the_claim_judges_it(table):
    known = {(claim.name, claim.design): claim for claim in CLAIMS}
    for row in table.to_dict("records"):
        claim = known[row["claim"], row["design"]]
        assert row["bar"] == ("" if claim.bar is None else f"{claim.bar[0]} {claim.bar[1]:g}")
        value = float(row["measured"] or "nan")
        # Three decimals are printed: a value that rounds onto its bar may be on either side.
        if claim.bar is None or abs(value - claim.bar[1]) > 5e-4:
            assert row["holds"] == claim.holds(value), row
        if row["measured"] and int(row["trials"]):
            assert int(row["worlds"]) > 0
            assert float(row["low"] or -9) <= float(row["high"] or 9), row


def test_page_shows_it_and_says_when_and_with_what(root, table):
    page = (root / "notebooks" / "trust.md").read_text()
    record = json.loads((root / "notebooks" / "trust.json").read_text())
    assert ":file: trust.tsv" in page
    assert f"Measured with sciinterp {record['version']} on {record['date']}" in page
    assert [row["claim"] for row in record["rows"]] == table["claim"].tolist()
    for row, line in zip(record["rows"], table.to_dict("records")):
        assert row["worlds"] == int(line["worlds"]) and row["trials"] == int(line["trials"])
    explained = {name for names in re.findall(r"^\| ([^|]+) \|", page, re.M) for name in names.split(", ")}
    assert set(table["claim"]) <= explained, "every claim of the table is explained on the page"
