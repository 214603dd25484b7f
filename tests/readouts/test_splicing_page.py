"""The page on splice sites runs as it is written, on one network and a few sites."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import sciinterp as si
from sciinterp.errors import MissingWeightsError

DATA = Path(os.environ.get("AUGUSTUS_DOC", "/usr/share/doc/augustus")) / "tutorial-cgp" / "data"
SMALLER = {
    "= 5, 40, 150\n": "= 1, 1, 3\n",
    "(128, 4, 200), (256, 2, 1000)": "(128, 4, 5), (256, 2, 5)",
    "2 * BLOCK)": "40 * BLOCK)",
    "[:1000]": "[:60]",
}


def test_the_page_in_a_small_form(root, tmp_path, monkeypatch):
    if not (DATA / "genomes" / "hg38.fa").is_file():
        pytest.skip("hg38.fa of the Debian package augustus-doc is not unpacked here")
    try:
        si.load_model("spliceai-1")
    except MissingWeightsError as error:
        pytest.skip(str(error))
    text = (root / "notebooks" / "splicing.md").read_text()
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, flags=re.S | re.M))
    for old, new in SMALLER.items():
        assert code.count(old) == 1
        code = code.replace(old, new)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code, "splicing.md", "exec"), names)  # the text of our own page
    panel, sizes = names["broken"], names["sizes"]
    assert set(panel.loc[panel["case"], "at"]) <= {998, 999, 1001, 1002}
    for _, pair in panel.groupby("pair"):
        assert pair["case"].tolist() == [True, False] and pair["trinucleotide"].nunique() == 1
    assert len(sizes) == len(panel) and (sizes["before"] >= 0).all()
    # at the site itself no code falls by more than was there
    assert (sizes["fall"] <= sizes["before"] + 1e-4).all() and {"f1", "feature"} <= set(sizes.columns)
    contrasts = names["contrasts"]
    assert contrasts["panel"].tolist() == ["by gene alone", "codon phase too"]
    phases = names["panels"]["codon phase too"].groupby("pair")["codon_phase"].nunique()
    assert (phases == 1).all()
