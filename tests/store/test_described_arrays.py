"""What a folder holds, said without reading its rows."""

from __future__ import annotations

import pandas as pd
import pytest
from worlds import D_IN, LENGTHS, build, build_codes, build_run, forge_manifest, plan, samples

from sciinterp.errors import StoreError
from sciinterp.store.atomic import write_json
from sciinterp.store.describe import HEADS, SWEEPS, info
from sciinterp.store.shards import open_writer
from sciinterp.store.tables import write_tsv


def test_of_both_schemas_every_count_is_the_store_s_own(tmp_path):
    build(tmp_path / "dense", dtype="float16")
    build_codes(tmp_path / "sparse")
    dense, sparse = info(tmp_path / "dense"), info(tmp_path / "sparse")
    for found in (dense, sparse):
        assert found["samples"] == str(len(LENGTHS)) and found["positions"] == str(sum(LENGTHS))
        assert (found["model"], found["site"], found["finished"], found["shards"]) == (
            "tiny",
            "unknown",
            "yes",
            "3",
        )
        assert found["skipped samples"] == "0" and "precision error" not in found
    size = sum(p.stat().st_size for p in (tmp_path / "dense").iterdir())
    assert dense["bytes"] == f"{size:,}" and (dense["kind"], dense["width"], dense["kept as"]) == (
        "activations",
        str(D_IN),
        "float16",
    )
    assert (sparse["kind"], sparse["features"]) == ("codes", str(D_IN)) and not {"width", "padding"} & set(
        sparse
    )
    forge_manifest(tmp_path / "dense", extra={"precision_error": 0.00125}, skipped={"1": "empty"})
    found = info(tmp_path / "dense")
    assert (
        found["precision error"] == "1.25e-03 of the activations' standard deviation"
        and found["skipped samples"] == "1"
    )


def test_of_a_store_that_is_not_finished_what_is_there(tmp_path):
    with open_writer(tmp_path, plan(padding=0.125), samples()):
        pass
    found = info(tmp_path)
    assert found["finished"] == "no, 0 of 3 shards" and found["padding"] == "12.5%" and "bytes" not in found


@pytest.mark.parametrize("head", HEADS)
def test_a_head_names_the_kind_and_long_values_are_cut(tmp_path, head):
    write_json(
        tmp_path / head, {"stages": {"a": {"b": {"c": 1}}}, "settings": "x" * 200, "n": None, "none": {}}
    )
    found = info(tmp_path)
    assert found["kind"] == HEADS[head] and found["folder"] == str(tmp_path)
    assert (
        found["stages.a"] == "{'b': {'c': 1}}"
        and found["settings"] == "x" * 97 + "..."
        and found["none"] == "{}"
    )
    write_json(tmp_path / head, [1, 2])
    assert info(tmp_path) == {"kind": HEADS[head], "folder": str(tmp_path)}


def test_a_run_is_known_by_its_ledger(tmp_path):
    build_run(tmp_path)
    found = info(tmp_path)
    assert found["kind"] == "run" and {"stages.associate", "stages.discover", "stages.full"} <= set(found)


TABLES = {
    "sweep.tsv": ({"name": ["a", "b"], "fve": [0.5, 0.75], "l0": [8, 16.5], "mdl": [90.25, 80.5]}, {
        "SAEs": "2", "a": "variance explained 0.5000, L0 8.0, description length 90.2 bits a token", "shortest description": "b"}),
    "sites.tsv": ({"site": ["1", "2"], "fve": [0.5, 0.25], "l0": [8, 9], "sae": [3, 4]}, {
        "SAEs": "2", "1": "variance explained 0.5000, L0 8.0, 3 concepts"}),
    "scaling.fits.tsv": ({"reader": ["sae"], "term": ["width"], "error": [0.5], "error_low": [0.25], "error_high": [0.75]}, {
        "sae, width": "error 0.5000 [0.2500, 0.7500]"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_is_a_line_each(tmp_path, name):
    table, wanted = TABLES[name]
    write_tsv(pd.DataFrame(table), tmp_path / name)
    found = info(tmp_path)
    assert found["kind"] == SWEEPS[name] and wanted.items() <= found.items()


@pytest.mark.parametrize("there", [[], ["notes.txt"], ["sub/manifest.json"]])
def test_a_folder_of_somebody_else_is_said(tmp_path, there):
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(StoreError, match=r"not a folder of sciinterp.*one of plan\.json, features\.json"):
        info(tmp_path)
    with pytest.raises(StoreError, match="not a folder of sciinterp"):
        info(tmp_path / "none")
