"""Shared by all tests: where the repository lies, and one real run that several tests read."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")
ROOT = Path(__file__).resolve().parent.parent
# Files that read one run, which is made once for them: they stay in one process.
TOGETHER = {
    "test_readme.py": "the README's run",
    "sae/test_sae_directions.py": "the README's run",
    "test_project.py": "the small run",
    "test_damage.py": "the small run",
    "readouts/test_label_in_a_run.py": "the small run",
    "interventions/test_turning_a_run.py": "the small run",
    "test_zoo.py": "the small run",
    "test_options.py": "the small run",
}
# What takes longest comes first, so that no process works on alone at the end.
LONGEST = (
    "the README's run", "the small run", "test_notebooks.py", "test_manual_jobs.py", "discovery/test_discover.py",
    "models/test_capabilities.py",
)  # fmt: skip


def together(nodeid: str) -> str:
    """What a test shares a process with: the run that its file reads, or its file."""
    file = nodeid.split("::", 1)[0].removeprefix("tests/")
    return TOGETHER.get(file, file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest come first."""
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(together(item.nodeid), len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """With ``-n 2``, tests of a file or of a run stay in one process, in the order above."""
    from xdist.scheduler import LoadScopeScheduling

    class ByRun(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return together(nodeid)

    config.option.loadscopereorder = False
    return ByRun(config, log)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def defined() -> Callable[[str], list[str]]:
    """Section of the manual's page of files -> the names in the first column of its table."""
    page = (ROOT / "notebooks" / "files.md").read_text()

    def read(section: str) -> list[str]:
        body = re.split(r"\n#+ ", page.partition(f"\n### {section}\n")[2])[0]
        rows = re.findall(r"^\|(.*?)\|", body, flags=re.M)
        return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]

    return read


@pytest.fixture(scope="session")
def undefined(defined: Callable[[str], list[str]]) -> Callable[..., list[str]]:
    """Columns of a table on disk that the page does not define; the section is the name of the file, or as told."""

    def read(path: Path, section: str = "") -> list[str]:
        known = defined(section or path.name)
        names = path.read_text().partition("\n")[0].split("\t")
        ends = ("_low", "_high") if ".._low" in known else ()
        return [n for n in names if n not in known and not (ends and n.endswith(ends))]

    return read


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
def small_data(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """Every thirtieth chain of the embedded repertoire, and a dozen of its concepts."""
    import sciinterp as si

    folder = tmp_path_factory.mktemp("small")
    samples = si.read_samples(root / "data/antibodies.fasta", table=root / "data/antibodies.tsv")[::30]
    (folder / "s.fasta").write_text("".join(f">{s.id}\n{s.sequence}\n" for s in samples))
    samples.table.to_csv(folder / "s.tsv", sep="\t")
    annotations = si.read_annotations(root / "data/antibodies.annotations.tsv")
    kinds = ("imgt:", "residue:", "motif:W", "isotype:")
    keep = annotations.frame[
        annotations.frame["sample"].isin(samples.ids) & annotations.frame["concept"].str.startswith(kinds)
    ]
    si.Annotations(keep, concepts=annotations.concepts).write(folder / "s.annotations.tsv")
    return folder


@pytest.fixture(scope="session")
def small_run(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder; tests that change it take a copy."""
    from small import SMALL

    from sciinterp.config import from_mapping
    from sciinterp.project import run

    out = tmp_path_factory.mktemp("undisturbed") / "run"
    run(from_mapping(SMALL, base=small_data)[0], out)
    return out


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


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without their figures, for tests of what a page says."""
    from sciinterp.report import pictures

    def draw(name: str, title: str, caption: str, figure: object, *, png: bool = True) -> pictures.Picture:
        return pictures.Picture(name, title, caption, "single", b"<svg/>", None)

    monkeypatch.setattr(pictures, "draw", draw)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """What the command line sets for its whole process does not reach the next test."""
    logger = logging.getLogger("sciinterp")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers
