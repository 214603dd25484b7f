"""README and manual say what is so: every name and verb in them exists, and the README can be read to its end."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp import decompositions
from sciinterp.annotations import table
from sciinterp.association import h5ad, hits
from sciinterp.cli import act, look, make, whole
from sciinterp.discovery import files
from sciinterp.sae import dictionary_benchmark
from sciinterp.store import split_file
from sciinterp.trust import suite

VERBS = {*act.VERBS, *look.VERBS, *make.VERBS, *whole.VERBS}
PAGES = ["README.md", "notebooks/*.md", "notebooks/*.rst", "notebooks/*.ipynb", "sciinterp/**/*.py"]


def pages(root: Path) -> list[Path]:
    found = [path for pattern in PAGES for path in sorted(root.glob(pattern))]
    return [
        path for path in found if path.name != "decisions.md"
    ]  # what was decided about names that are gone


def text_of(path: Path) -> str:
    if path.suffix != ".ipynb":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells)


def exists(dotted: str) -> bool:
    place: object = si
    for part in dotted.split("."):
        if not hasattr(place, part):
            return False
        place = getattr(place, part)
    return True


def test_every_name_of_the_package_exists(root: Path) -> None:
    absent = {
        (path.name, name)
        for path in pages(root)
        for name in re.findall(r"\bsi\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)", text_of(path))
        if not exists(name.split(".")[0]) or (name.startswith(("pl.", "testing.")) and not exists(name))
    }
    assert not absent


def test_every_verb_exists(root: Path) -> None:
    absent = {
        (path.name, verb)
        for path in pages(root)
        for verb in re.findall(r"(?:^|[`'])sciinterp ([a-z][a-z-]+)", text_of(path), flags=re.M)
        if verb not in VERBS
    }
    assert not absent


def test_every_public_name_is_in_the_reference(root: Path) -> None:
    text = (root / "notebooks" / "api.rst").read_text()
    named = set(re.findall(r"^\.\. auto\w+:: sciinterp\.(\S+)$", text, flags=re.M))
    public = set(si.__all__) - {"__version__", "errors", "judges", "pl", "testing"}
    inside = {f"{room}.{name}" for room in ("judges", "pl") for name in getattr(si, room).__all__}
    assert named == public | inside | {"testing.check_adapter"}


def test_every_verb_is_in_the_manual(root: Path) -> None:
    text = text_of(root / "notebooks" / "command-line.md")
    assert not [verb for verb in sorted(VERBS) if not re.search(rf"\b{verb}\b", text)]


def test_the_readme_is_read_to_its_end(root: Path) -> None:
    assert (root / "README.md").read_text().count("\n") <= 200


@pytest.mark.parametrize("page", ["README.md", "notebooks/index.md"])
def test_links_lead_somewhere(root: Path, page: str) -> None:
    text = (root / page).read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (root / page).parent.joinpath(link).exists(), link


# page of files, section -> the columns that the code writes
TABLES = {
    "hits.tsv": hits.columns(),
    "candidates.tsv": files.COLUMNS,
    "annotations.tsv": table.COLUMNS,
    "annotations.concepts.tsv": ("concept", *table.CONCEPT_COLUMNS),
    "annotations.coverage.tsv": ("source", "sample"),
    "split.tsv": split_file.COLUMNS,
    "trust.tsv": suite.COLUMNS,
    "decompositions.tsv": ("n_features", "dictionary", *decompositions.MEASURES),
    "recovery.tsv": ("world", "seed", "dictionary", "true_l0", *dictionary_benchmark.MEASURES),
    "seeds.tsv": ("feature", "score", "decoder", "encoder", "activation", "shared"),
    "features.h5ad": ("density", "max_activation", "concept", "f1", "selected_feature", *h5ad._OF_CONCEPT),
}


# Names that the code holds and that are no table of ours: of an example, of another program.
NO_TABLE = {"a.tsv", "out_cluster.tsv"}


def test_every_table_has_a_section(root: Path) -> None:
    page = "\n".join(re.findall(r"^### .*$", (root / "notebooks" / "files.md").read_text(), flags=re.M))
    literal = re.compile(r"""["']([a-z][a-z.]*\.tsv)["']""")
    code = "\n".join(path.read_text() for path in (root / "sciinterp").rglob("*.py"))
    names = set(literal.findall(code)) - NO_TABLE
    assert len(names) > 15
    assert {name for name in names if not re.search(rf"(?<![\w.]){re.escape(name)}", page)} == set()


@pytest.mark.parametrize("section", TABLES)
def test_every_column_is_defined(defined, section: str) -> None:
    assert set(defined(section)) == set(TABLES[section])


def test_tables_on_disk_hold_what_is_defined(defined, tmp_path: Path) -> None:
    """Baselines, enrichment and metrics have no list of columns: they are held against the page as written."""
    rng = np.random.default_rng(0)
    samples = si.Samples([f"s{i}" for i in range(16)], ["MKVLACDE"] * 16)
    rows = [(s, 1, 3, "site") for s in samples.ids] + [(s, -1, -1, "kind") for s in samples.ids[:8]]
    notes = si.Annotations(pd.DataFrame(rows, columns=["sample", "start", "end", "concept"]))
    split = si.split_families(samples, by=[f"f{i}" for i in range(16)], fractions=(0.5, 0.25, 0.25))
    array = rng.standard_normal((samples.n_positions, 4)).astype(np.float32)
    sae = si.train(
        array, si.TopK(8, k=2), samples=samples, split=split, seed=0, steps=5, out=tmp_path / "sae"
    )
    codes = si.FeatureMatrix(sae.encode_scipy(array), samples, sae=sae)
    si.associate(codes, notes, split=split, out=tmp_path)
    for name in (
        "hits.tsv",
        "hits.baselines.tsv",
        "hits.sets.tsv",
        "enrichment.tsv",
        "split.tsv",
        "annotations.tsv",
    ):
        header = (tmp_path / name).read_text().partition("\n")[0].split("\t")
        assert sorted(defined(name)) == sorted(header), name
    assert set(json.loads((tmp_path / "sae" / "metrics.json").read_text())) == set(defined("metrics.json"))
