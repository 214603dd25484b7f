"""What may only get better: the import graph, the size of files and signatures, the public names."""

import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sciinterp

ROOT = Path(sciinterp.__file__).parent
FILES = sorted(p for p in ROOT.rglob("*.py"))
# Rooms in the order of the data path: a room may import from rooms before it, never from one after.
ORDER = [
    "errors",
    "budget",
    "distributed",
    "progress",
    "settings",
    "frames",
    "split",
    "samples",
    "readers",
    "splits",
    "provenance",
    "store",
    "devices",
    "products",
    "models",
    "activations",
    "sae",
    "codes",
    "annotations",
    "control",
    "association",
    "interventions",
    "readouts",
    "discovery",
    "trust",
    "plots",
    "report",
    "testing",
    "sweep",
    "fit",
    "decompositions",
    "measures",
    "config",
    "project",
    "demo",
    "full",
    "zoo",
    "cli",
    "__main__",
]
TORCH_FREE = (
    "errors",
    "budget",
    "distributed",
    "progress",
    "frames",
    "samples",
    "provenance",
    "readers",
    "splits",
    "codes",
    "store",
    "annotations",
    "association",
    "discovery",
    "trust",
    "report",
    "plots",
)
MAX_LINES, MAX_FUNCTION, MAX_PARAMETERS = 500, 80, 8
# What files of one name do in every room that has one: a format is read, a kind is registered, results are written.
SAME_JOB = ("__init__", "__main__", "airr", "cells", "registry", "settings", "files", "exports")


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0].removesuffix(".py")


# Packages that take long to load or may be missing; a file that needs one all the time imports it at the top.
HEAVY = ("torch", "pandas", "matplotlib", "anndata", "sklearn", "scipy", "Bio", "pyarrow")
OPTIONAL = (
    "esm",
    "h5py",
    "huggingface_hub",
    "jinja2",
    "lifelines",
    "markupsafe",
    "pyhmmer",
    "resource",
    "umap",
)
# Every other import inside a function: where, of what, and why.
LATE = {
    ("codes/matrix.py", "sciinterp.codes.exports"): "codes are read without anndata",
    ("cli/*", "*"): "--help answers in half a second",
    (
        "interventions/variants.py",
        "sciinterp.interventions.*",
    ): "reading the notation of variants loads no torch",
    ("interventions/variants.py", "sciinterp.products"): "reading the notation of variants loads no torch",
    ("interventions/variants.py", "sciinterp.devices"): "reading the notation of variants loads no torch",
    ("models/registry.py", "sciinterp.models.*"): "listing the models loads no torch",
    ("models/registry.py", "sciinterp.devices"): "listing the models loads no torch",
    ("plots/style.py", "matplotlib.pyplot"): "it opens a window's backend; off screen nothing does",
    (
        "report/__init__.py",
        "sciinterp.report.write",
    ): "the room is a module that can be called before it is loaded",
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, at module level) for every import; those for type checking alone are passed over."""
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(ast.walk(node))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node not in inside
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = ["sciinterp", *path.relative_to(ROOT).parent.parts]
                module = ".".join([*package[: len(package) + 1 - node.level], *module.split(".")]).strip(".")
            found = [f"{module}.{name.name}" for name in node.names]
            modules = [name for name in found if name in MODULES or module == "sciinterp"]
            for name in modules if len(modules) == len(found) else [module, *modules]:
                yield name, node not in inside


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node


def arrows(path: Path) -> set[str]:
    """Files that a file imports, inside functions too; ``si.name`` counts as the file that defines the name."""
    found: set[str] = set()
    for module, _ in imports(path):
        while module and module not in MODULES:
            module = module.rpartition(".")[0]
        found.add(module)
    text = path.read_text()
    if "import sciinterp as si" in text:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "si":
                found.add(f"sciinterp.{sciinterp._EXPORTS.get(node.attr) or sciinterp._MODULES[node.attr]}")
    return found - {"", "sciinterp", module_of(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_along_the_data_path(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    assert here in ORDER, f"a new room: give {here} its place in ORDER"
    for module in arrows(path):
        other = module.split(".")[1]
        assert other == here or ORDER.index(other) < ORDER.index(here), (
            f"{path.name} imports {module}, which comes after it"
        )


def test_no_circle_of_files() -> None:
    graph = {name: arrows(path) for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"files import each other in a circle: {' -> '.join(error.args[1])}")


def test_one_file_name_one_meaning() -> None:
    """Two rooms have a file of one name only where it does the same job, and every import names a file that is there."""
    rooms: dict[str, list[str]] = {}
    for path in FILES:
        rooms.setdefault(path.stem, []).append(str(path.relative_to(ROOT)))
    assert not {stem: where for stem, where in rooms.items() if len(where) > 1 and stem not in SAME_JOB}
    folders = {module.rpartition(".")[0] for module in MODULES} | set(MODULES)
    for path in [*FILES, *sorted(Path(__file__).parents[1].rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.module if isinstance(node, ast.ImportFrom) and not node.level else None
            assert (name or "").split(".")[0] != "sciinterp" or name in folders, f"{path}: there is no {name}"


@pytest.mark.parametrize("name", TORCH_FREE)
def test_rooms_without_torch(name: str) -> None:
    for path in FILES:
        if room(path) == name:
            heavy = [
                m for m, top in imports(path) if top and m.split(".")[0] in ("torch", "transformers", "esm")
            ]
            assert not heavy, f"{path} imports {heavy} at module level"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_an_import_inside_a_function_has_a_reason(path: Path) -> None:
    """A heavy or optional package, a room with torch seen from one without, or what :data:`LATE` lists."""
    found = [(module, top) for module, top in imports(path)]
    at_top = {module.split(".")[0] for module, top in found if top}
    for module in (module for module, top in found if not top):
        package, *inside = module.split(".")
        heavy = package in HEAVY + OPTIONAL and package not in at_top
        torch = package == "sciinterp" and room(path) in TORCH_FREE and inside[0] not in TORCH_FREE
        name = str(path.relative_to(ROOT))
        listed = any(fnmatch(name, where) and fnmatch(module, what) for where, what in LATE)
        assert heavy or torch or listed, f"{name}: move {module} to the top of the file"


def test_rooms_without_torch_load_none() -> None:
    names = [name for name, path in MODULES.items() if room(path) in TORCH_FREE]
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not done.returncode, done.stderr


def test_import_is_light() -> None:
    code = "import sys, sciinterp, json; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    loaded = json.loads(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )
    assert not {"torch", "pandas", "matplotlib", "anndata", "scipy", "numba"} & set(loaded)


def test_every_public_name_loads_and_is_documented() -> None:
    missing = [
        n
        for n in sciinterp.__all__
        if n != "__version__" and not (getattr(sciinterp, n).__doc__ or "").strip()
    ]
    assert not missing


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = sciinterp.no_such_thing


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert lines <= MAX_LINES, f"{path.name} has {lines} lines"
    for function in functions(path):
        length = (function.end_lineno or function.lineno) - function.lineno
        assert length <= MAX_FUNCTION, f"{path.name}:{function.name} has {length} lines"
        arguments = function.args
        named = [
            a.arg
            for a in arguments.posonlyargs + arguments.args + arguments.kwonlyargs
            if a.arg not in ("self", "cls")
        ]
        if not function.name.startswith("_") and room(path) != "cli":  # options are named
            assert len(named) <= MAX_PARAMETERS, f"{path.name}:{function.name} has {len(named)} parameters"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_codes_are_read_in_blocks(path: Path) -> None:
    """``features.codes`` holds all codes at once, and is for people; no other attribute has its name."""
    if room(path) not in ("codes", "store"):
        found = [
            node.lineno
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
            and node.attr == "codes"
            and ast.unparse(node.value) != "sciinterp"
        ]
        assert not found, f"{path.name} reads all codes at once on lines {found}: ask for blocks"


def test_no_unsafe_loading_and_no_print() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in ("eval", "exec", "print", "pickle.load", "pickle.loads", "yaml.load"), (
                f"{path}: {name}"
            )
            if name == "torch.load":
                keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert keywords.get("weights_only") == "True", f"{path}: torch.load without weights_only=True"
            if name in ("np.load", "numpy.load"):
                assert "allow_pickle=True" not in ast.unparse(node), f"{path}: {name} with pickle"


# Where a room is tested whose tests lie under another name; files that are no room are tested beside each other.
TESTED_IN = {"readers": "samples", "splits": "samples", "samples": "samples"}
MAX_ANY = 53  # annotations that say nothing: what callables, compilers and foreign objects take and give
MIN_TESTS = 0.5  # lines of tests a line of a room
MOST_LINES = 69_750  # of the package: rises only for a new capability, by what that needs


def test_any_is_for_what_is_truly_anything() -> None:
    nodes = (node for path in FILES for node in ast.walk(ast.parse(path.read_text())))
    assert sum(isinstance(node, ast.Name) and node.id == "Any" for node in nodes) <= MAX_ANY


def test_the_house_does_not_grow_by_itself() -> None:
    assert sum(path.read_text().count("\n") for path in FILES) <= MOST_LINES


def test_every_room_has_half_a_line_of_tests_a_line() -> None:
    tests, room_lines, test_lines = Path(__file__).parents[1], Counter[str](), Counter[str]()
    for path in FILES:
        first, *inside = path.relative_to(ROOT).parts
        name = TESTED_IN.get(first.removesuffix(".py"), first if inside else "")
        room_lines["" if name == "cli" else name] += path.read_text().count("\n")
    for path in tests.rglob("*.py"):
        first, *inside = path.relative_to(tests).parts
        test_lines[first if inside else ""] += path.read_text().count("\n")
    thin = {name: test_lines[name] / n for name, n in room_lines.items() if test_lines[name] < MIN_TESTS * n}
    assert not thin


def test_files_of_tests_have_names_of_their_own() -> None:
    """pytest knows a file by its name alone where folders are no packages."""
    names = Counter(path.name for path in Path(__file__).parents[1].rglob("*.py"))
    assert not [name for name, n in names.items() if n > 1]
