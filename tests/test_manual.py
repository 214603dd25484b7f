"""README and manual say what is so: every name and verb in them exists, and the README can be read to its end."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import sciinterp as si
from sciinterp.cli import look, make, whole

VERBS = {*look.VERBS, *make.VERBS, *whole.VERBS}
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
