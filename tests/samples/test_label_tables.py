"""Tables of labels: any damage gives columns of as many samples as there are lines, or one line of an error."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sciinterp.errors import FormatError, InputError
from sciinterp.readers.sample_tables import sample_columns

TABLE = "sample\tisotype\ttiter\tevent\n" + "".join(
    f"s{i}\tIGH{'MG'[i % 2]}\t{i / 3:.3f}\t{i % 2}\n" for i in range(12)
)
JUNK = [
    "\t",
    ",",
    "\n",
    '"',
    "'",
    ";",
    "NA",
    "9" * 30,
    "1e999",
    "-",
    "\x85",
    "\0",
    "\xff",
    "s1",
    " ",
    "\r",
    "\u2028",
    "nan",
]


def sweep(folder: Path, seeds: range) -> int:
    """How many of the damaged tables were read."""
    path, n_read = folder / "labels.tsv", 0
    for seed in seeds:
        draw, text = random.Random(seed), TABLE
        if draw.random() < 0.2:
            text = "".join(draw.choices(text.splitlines(keepends=True), k=draw.randrange(9)))
        for _ in range(draw.randrange(1, 6)):
            at, remove = draw.randrange(len(text) + 1), draw.randrange(8)
            text = text[:at] + draw.choice(JUNK) + text[at + remove :]
        path.write_bytes(text.encode("latin-1" if seed % 5 == 0 else "utf-8", "replace"))
        try:
            found = sample_columns(path)
        except (FormatError, InputError) as error:
            assert "\n" not in str(error)  # noqa: PT017
            continue
        assert found.index.is_unique and len(found) <= 12 + text.count("\n") + text.count("\r")
        n_read += 1
    return n_read


def test_damaged_labels(tmp_path):
    assert sweep(tmp_path, range(60)) > 10


@pytest.mark.slow
def test_damaged_labels_in_full(tmp_path):
    assert sweep(tmp_path, range(2000)) > 300
