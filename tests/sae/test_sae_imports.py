"""The files of the room form no circle: imports inside functions count, those for type checking alone do not."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import sciinterp.sae

ROOM = Path(sciinterp.sae.__file__).parent
PREFIX = "sciinterp.sae"


def imported(path: Path) -> set[str]:
    """The files of the room that a file imports."""
    tree, names = ast.parse(path.read_text()), {p.stem for p in ROOM.glob("*.py")}
    passed = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in passed:
            continue
        if isinstance(node, ast.Import):
            modules = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or "", *(f"{node.module}.{name.name}" for name in node.names)]
        else:
            continue
        found |= {m.removeprefix(f"{PREFIX}.").split(".")[0] for m in modules if m.startswith(f"{PREFIX}.")}
    return found & names


def test_no_circle_of_files():
    graph = {path.stem: imported(path) for path in ROOM.glob("*.py") if path.stem != "__init__"}
    assert graph["base"], "the walk has found no import at all"
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the files
