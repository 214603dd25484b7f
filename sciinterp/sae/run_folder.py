"""The folder of a training run: claimed by a plan, filled by checkpoints, finished by the SAE's files.

``checkpoints/plan.json`` is written first and says what the folder is for; a folder with another plan, or
with files and no plan, is refused. ``metrics.json`` is written last: a folder that has it is finished.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from sciinterp import distributed
from sciinterp.errors import StoreError
from sciinterp.sae import checkpoints
from sciinterp.sae.base import SAE
from sciinterp.sae.checkpoints import State
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
    found = checkpoints.newest_checkpoint(folder / CHECKPOINTS)
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
    checkpoints.write_checkpoint(folder / CHECKPOINTS, state.step, state.tensors, facts)


def write_finished(folder: Path, sae: SAE, lines: bytes, state: State) -> None:
    """The final checkpoint and log, the SAE, and last of all its measures."""
    write_state(folder, lines, state)
    if distributed.first():
        sae.save(folder)
    distributed.meet()
    sae.folder = folder
