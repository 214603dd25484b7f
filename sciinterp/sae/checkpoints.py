"""Checkpoints: one safetensors file each, holding everything a run needs to go on as if it had not stopped.

A file carries its own digest, and is valid when it re-reads and the digest agrees. The newest valid one is
chosen by its *number*; an older one is removed only after the newer has been read back from the disk.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sciinterp.errors import StoreError
from sciinterp.store.atomic import atomic_write, make_folder

NAME = re.compile(r"step_(\d+)\.safetensors")
KEY = "sciinterp_checkpoint"  # the one metadata key: more than one would be written in no fixed order


class State(NamedTuple):
    """What a checkpoint holds."""

    step: int
    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]  # plain JSON


def write_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, object]
) -> Path:
    """Write, read back, and only then remove the older ones."""
    make_folder(folder)
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    record = {"step": step, "facts": dict(facts), "sha256": _digest(held)}
    path = folder / f"step_{step:08d}.safetensors"
    atomic_write(path, save(held, {KEY: json.dumps(record, sort_keys=True)}))
    if _read(path) is None:
        path.unlink(missing_ok=True)
        raise StoreError(
            "a checkpoint does not read back as it was written",
            where=f"'{path}'",
            do="Check the disk; the checkpoint before it is intact.",
        )
    for number, older in _numbered(folder):
        if number < step:
            older.unlink(missing_ok=True)
    return path


def newest_checkpoint(folder: Path) -> State | None:
    """The valid checkpoint with the highest number; None when there is none."""
    newest_first = sorted(_numbered(folder), reverse=True)
    return next((found for _, path in newest_first if (found := _read(path)) is not None), None)


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    named = ((NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return [(int(match.group(1)), path) for match, path in named if match]


def _read(path: Path) -> State | None:
    """What a checkpoint holds, or None when it is not whole."""
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if record["sha256"] != _digest(tensors):
            return None
        return State(int(record["step"]), tensors, dict(record["facts"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(
            tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        )
    return digest.hexdigest()
