"""The folder of a training run: claimed by a plan, filled by checkpoints, finished by the SAE's files.

``checkpoints/plan.json`` is written first and says what the folder is for; a folder with another plan, or
with files and no plan, is refused. ``metrics.json`` is written last: a folder that has it is finished.

A checkpoint is one safetensors file with everything a run needs to go on as if it had not stopped. It carries its own
digest, and is valid when it re-reads and the digest agrees. The newest valid one is chosen by its *number*; an older one is
removed only after the newer has been read back from the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sciinterp import distributed
from sciinterp.errors import StoreError
from sciinterp.sae.base import SAE
from sciinterp.sae.load import load_sae
from sciinterp.sae.weights import METRICS
from sciinterp.store import ledger
from sciinterp.store.atomic import (
    atomic_write,
    is_overwriting,
    make_folder,
    read_json,
    remove,
    remove_temporaries,
    to_json,
    write_json,
)
from sciinterp.store.lock import folder_lock

CHECKPOINTS, PLAN, LOG = "checkpoints", "plan.json", "training.jsonl"


@contextlib.contextmanager
def claim(out: Path, plan: Mapping[str, object]) -> Iterator[tuple[Path, SAE | None]]:
    """Hold a folder for a plan: gives the folder, and the SAE if it is finished. Of several ranks the first holds it.

    StoreError where the folder holds something else, BusyError where another process trains here.
    """
    if not distributed.first():
        finished = distributed.told(False)
        yield Path(out), load_sae(out, format="sciinterp") if finished else None
        return
    folder = make_folder(out)
    with folder_lock(folder):
        remove_temporaries(folder)
        if (folder / CHECKPOINTS).is_dir():
            remove_temporaries(folder / CHECKPOINTS)
        if not is_overwriting() or not (folder / CHECKPOINTS / PLAN).exists():
            _require_ours(folder, plan)
        elif to_json(read_json(folder / CHECKPOINTS / PLAN)) != to_json(plan):
            _clear(folder)
        if (folder / METRICS).exists():
            found = load_sae(folder, format="sciinterp")
            distributed.told(True)
            yield folder, found
            return
        make_folder(folder / CHECKPOINTS)
        write_json(folder / CHECKPOINTS / PLAN, plan)
        distributed.told(False)
        yield folder, None


def _clear(folder: Path) -> None:
    """Remove a training run: what says that it is finished first, the plan last."""
    names = sorted(
        {Path(name).name for name in ledger.STAGES["train"].files}, key=lambda n: (n != METRICS, n)
    )
    states = sorted(p for p in (folder / CHECKPOINTS).iterdir() if p.name != PLAN)
    for path in [*(folder / name for name in names), *states]:
        if path.is_file():
            remove(path)
    remove(folder / CHECKPOINTS / PLAN)


def _require_ours(folder: Path, plan: Mapping[str, object]) -> None:
    path = folder / CHECKPOINTS / PLAN
    if not path.exists():
        others = sorted(
            p.name for p in folder.iterdir() if not p.name.startswith(".") and p.name != CHECKPOINTS
        )
        if others:
            raise StoreError(
                "the folder holds something else",
                where=f"out='{folder}'",
                expected="an empty folder",
                got=", ".join(others[:3]),
                do="Choose another folder for this SAE.",
            )
        return
    kept = read_json(path)
    if to_json(kept) == to_json(plan):
        return
    differing = sorted(k for k in {*kept, *plan} if to_json(kept.get(k)) != to_json(plan.get(k)))
    raise StoreError(
        "the folder holds another training run",
        where=f"out='{folder}'",
        expected=f"the same {', '.join(differing)}",
        got=_brief(kept, plan, differing),
        do="Choose another folder, repeat the call that began it, or overwrite this one (--overwrite, si.overwriting()).",
    )


def _brief(kept: Mapping[str, object], plan: Mapping[str, object], differing: list[str]) -> str:
    parts = []
    for key in differing:
        a, b = kept.get(key), plan.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            parts += [
                f"{k} {b.get(k)} where it has {a.get(k)}" for k in sorted({*a, *b}) if a.get(k) != b.get(k)
            ]
        else:
            parts.append(f"another {key}")
    return "; ".join(parts)


def last_state(folder: Path) -> tuple[State, bytes] | None:
    """The newest valid checkpoint with the log as it stood then; None where training starts anew."""
    found = newest_checkpoint(folder / CHECKPOINTS)
    if found is None:
        return None
    size = int(found.facts["log_bytes"])
    lines = (folder / LOG).read_bytes()[:size] if (folder / LOG).exists() else b""
    return (found, lines) if len(lines) == size else None


def write_state(folder: Path, lines: bytes, state: State) -> None:
    """The log, then the checkpoint that counts its bytes; every rank has the same, and the first writes."""
    if not distributed.first():
        return
    atomic_write(folder / LOG, lines)
    facts = {**state.facts, "log_bytes": len(lines)}
    write_checkpoint(folder / CHECKPOINTS, state.step, state.tensors, facts)


def write_finished(folder: Path, sae: SAE, lines: bytes, state: State) -> None:
    """The final checkpoint and log, the SAE, and last of all its measures."""
    write_state(folder, lines, state)
    if distributed.first():
        sae.save(folder)
    distributed.meet()
    sae.folder = folder


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
