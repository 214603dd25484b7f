"""Shared by all tests: where the repository lies, and one real run that several tests read."""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def readme_code() -> str:
    """The notebook of the README, as written."""
    text = (ROOT / "README.md").read_text().split("## The notebook", 1)[1]
    found = re.search(r"```python\n(.*?)```", text, re.S)
    assert found, "the README has no notebook"
    return found.group(1)


@pytest.fixture(scope="session")
def readme_run(tmp_path_factory: pytest.TempPathFactory, readme_code: str) -> tuple[Path, dict]:
    """The README's notebook, run once as written: its folder and its names."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "data").symlink_to(ROOT / "data")
    before = Path.cwd()
    names: dict = {}
    try:
        os.chdir(folder)
        exec(compile(readme_code, "README.md", "exec"), names)  # the text of our own README
    finally:
        os.chdir(before)
    return folder, names


@pytest.fixture(scope="session")
def tiny() -> tuple:
    """A seeded antibody model of two small blocks, and an SAE of 64 random directions on it."""
    torch = pytest.importorskip("torch")
    from sciinterp.models.antiberty import Antiberty, AntibertyModule
    from sciinterp.sae.base import TopKSAE

    torch.manual_seed(0)
    model = Antiberty(AntibertyModule(n_blocks=2, width=32, n_heads=2, inner=64).eval())
    directions = torch.nn.functional.normalize(torch.randn(64, 32), dim=1)
    sae = TopKSAE(directions.T.clone(), torch.zeros(64), directions, torch.zeros(32), k=8)
    sae.identity = {**model.identity, "site": "layers.0"}
    return model, sae


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """What the command line sets for its whole process does not reach the next test."""
    logger = logging.getLogger("sciinterp")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers
