"""Training: one loop for every architecture and for several SAEs at once, read from top to bottom.

1. *Rows.* With a split, the rows of its training samples; thresholds are calibrated on its calibration samples
   and every measure is taken on its test samples. Without one, a random twentieth of the rows is kept out.
2. *Scale.* Mean and spread are estimated from the training rows; they are multiplied by the power of two that
   brings the mean squared norm of a centred row nearest to ``d_in``. A power of two folds into biases and
   thresholds without changing a bit of what the SAE computes.
3. *Start.* ``b_dec`` is the mean, decoder rows are random unit vectors, the encoder is the decoder transposed.
   (Rows of the data as first directions reconstruct worse in the end: .737 against .797 held out.)
4. *Step.* Batch, exact gradients (``sparse.py``), one finiteness check, Adam with a linear warm-up and decay,
   norm constraint. A loss or gradient that is not finite stops the run before the step is made. Every SAE of
   the run makes its step on the same batch, which is read once. Where the encoder is frozen and the rows are held at
   once and come again, their products with it are found once and looked up (``sparse.Known``): the same to rounding.
5. *Files.* The plan first, then checkpoints and the log; run again to resume: the same bytes come out as from a
   run that was never stopped. ``training.jsonl`` holds no times for that reason.

References: Gao et al. 2024 (learning rate by width, AuxK, tied start); Bricken et al. 2023 (norm constraint).
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sciinterp import distributed
from sciinterp.devices import device_of
from sciinterp.errors import InputError, SciinterpError, require_kinds
from sciinterp.products import linear
from sciinterp.progress import progress
from sciinterp.sae import run_folder
from sciinterp.sae.architecture import Architecture, Step
from sciinterp.sae.base import SAE, sae_of
from sciinterp.sae.batches import Reader, Source, Trainable, moments, origin_of_trained, parts_of, thinned
from sciinterp.sae.bf16_topk import choose_encoder
from sciinterp.sae.frozen import Frozen
from sciinterp.sae.metrics import measure, never_fire
from sciinterp.sae.parameters import Parameters
from sciinterp.sae.run_folder import State
from sciinterp.sae.settings import TrainSettings
from sciinterp.sae.sparse import CHUNK, Known, encode_topk, normalise_rows
from sciinterp.store import ledger

if TYPE_CHECKING:
    from sciinterp.samples import Samples, Split

log = logging.getLogger(__name__)

CALIBRATION_ROWS = 1 << 17
DEAD_ROWS = 1 << 21  # training rows on which "never fires" is counted
KNOWN_BYTES = 1 << 29  # of products that are looked up: 131,072 rows by 1,024 features


def train(
    source: Trainable,
    architecture: Architecture,
    *,
    split: Split | None = None,
    samples: Samples | None = None,
    out: str | Path | None = None,
    settings: TrainSettings | None = None,
    **everyday: object,
) -> SAE:
    """Train a sparse autoencoder.

    Parameters
    ----------
    source : Activations, ndarray, memmap or Tensor [n, d_in]
    architecture : Architecture
        ``si.TopK(n_features=1024, k=32)`` and its like.
    split : Split, optional
        Train on its training samples, calibrate on its calibration samples, measure on its test samples. For an
        array it needs ``samples``.
    samples : Samples, optional
        For an array: the samples whose positions, end to end, its rows are.
    out : path, optional
        Folder for ``cfg.json sae_weights.safetensors metrics.json training.jsonl checkpoints/``. Run again to
        resume, or to get the finished SAE at once. None trains in memory.
    settings : TrainSettings, optional
        The same settings, seed included, give the same files, byte for byte.
    **everyday
        Fields of :class:`TrainSettings` that replace those of ``settings``: ``seed=1``, ``steps=600``,
        ``batch_size=4096`` ...

    Raises
    ------
    StoreError
        ``out`` holds something else.
    InputError
        A row is not finite, the rows do not vary, or there is no such device.

    Examples
    --------
    >>> import numpy as np
    >>> import sciinterp as si
    >>> x = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    >>> sae = si.train(x, si.TopK(n_features=16, k=2), steps=20, batch_size=64)
    >>> sae.encode(x).shape, sae.metrics["n_features"]
    (torch.Size([400, 16]), 16)
    """
    job = Job(architecture, TrainSettings.with_fields(settings, everyday), out)
    with ledger.recorded("train", out, settings={**architecture.as_dict(), **job.settings.deciding()}):
        return train_together(source, [job], samples=samples, split=split)[0]


@dataclass(frozen=True)
class Job:
    """One SAE to train: what, how, and the folder it is kept in."""

    architecture: Architecture
    settings: TrainSettings
    out: str | Path | None = None

    def __post_init__(self) -> None:
        require_kinds(architecture=(self.architecture, Architecture), out=(self.out, Path | None))


def train_together(
    source: Trainable, jobs: Sequence[Job], *, samples: Samples | None = None, split: Split | None = None
) -> list[SAE]:
    """Train several SAEs in one pass over the data: each batch is read once and every SAE makes its step on it.

    Each comes out as :func:`train` gives it alone, byte for byte, and each resumes from its own folder.
    Settings of the jobs must agree in steps, epochs, batch size, device and order of the batches
    (``order_seed``): InputError where they do not, else as :func:`train`.
    """
    if not jobs:
        return []
    shared = jobs[0].settings
    for job in jobs:
        for name in ("steps", "epochs", "batch_size", "device", "order"):
            if getattr(job.settings, name) != getattr(shared, name):
                raise InputError(
                    "SAEs trained together see the same batches",
                    where=name,
                    expected=str(getattr(shared, name)),
                    got=str(getattr(job.settings, name)),
                    do="Give them the same, or train them one by one.",
                )
    if 1 < distributed.size() <= len(jobs):
        return _dealt(source, jobs, samples, split)
    device = device_of(shared.device)
    data = _Data(Source(source, samples), split, shared, device)
    done: dict[int, SAE] = {}
    with contextlib.ExitStack() as stack:
        runs: dict[int, _Run] = {}
        for i, job in enumerate(jobs):
            run = _Run(data, job)
            if job.out is not None:
                run.folder, finished = stack.enter_context(run_folder.claim(Path(job.out), run.plan))
                if finished is not None:
                    done[i] = finished
                    continue
            runs[i] = run
        if runs:
            data.look()
            for run in runs.values():
                run.begin()
            for some in _passes(list(runs.values())):
                _train(data, some)
            data.reader.release()
            done.update({i: run.finish() for i, run in runs.items()})
    return [done[i] for i in range(len(jobs))]


def _dealt(source: Trainable, jobs: Sequence[Job], samples: Samples | None, split: Split | None) -> list[SAE]:
    """Whole SAEs dealt to ranks: each is trained by one, and comes out as it does alone."""
    numbers = distributed.mine(range(len(jobs)))
    mine = [jobs[i] for i in numbers]
    with distributed.alone():
        trained = train_together(source, mine, samples=samples, split=split)
    found: dict[int, SAE] = {}
    for part in distributed.gathered(dict(zip(numbers, trained))):
        found.update(part)
    return [found[i] for i in range(len(jobs))]


class _Data:
    """What the SAEs of a run share: rows by part, their mean and scale, and the batches."""

    def __init__(
        self, source: Source, split: Split | None, settings: TrainSettings, device: torch.device
    ) -> None:
        self.source, self.device = source, device
        self.parts = parts_of(source, split, settings.order)
        self.origin = origin_of_trained(source, split)
        self.steps = settings.n_steps(len(self.parts["train"]))
        self.reader = Reader(source, self.parts["train"], settings.batch_size, settings.order)

    def look(self) -> None:
        """Estimate mean and scale; see the module's docstring, 2."""
        self.mean, spread = moments(self.source, self.parts["train"])
        exact = math.sqrt(self.source.d_in / spread)
        self.scale = 2.0 ** round(math.log2(exact))
        self.unit = self.scale / exact

    def next(self) -> tuple[Tensor, Tensor]:
        """The next batch in training units, as (input, target)."""
        x, target = self.reader.next()
        same = target is x
        x = x.to(self.device).mul_(self.scale)
        return x, x if same else target.to(self.device).mul_(self.scale)


def _passes(runs: list[_Run]) -> list[list[_Run]]:
    """Runs that go through the data together: in turn where what they look up would be too much memory."""
    passes: list[list[_Run]] = [[]]
    for run in runs:
        if sum(other.known_bytes for other in passes[-1]) + run.known_bytes > KNOWN_BYTES:
            passes.append([])
        passes[-1].append(run)
    return passes


def _train(data: _Data, runs: list[_Run]) -> None:
    """All steps of all runs; one resumed from a later step waits until the others have come to it."""
    at = min(run.done for run in runs)
    saved_at, saved_step = time.monotonic(), at
    data.reader.state = next(run.reader_state for run in runs if run.done == at)
    for run in runs:
        run.look_up()
    every = min((run.settings.checkpoint_every or data.steps) for run in runs)
    timed = not any(run.settings.checkpoint_every for run in runs)
    quarters = {max(1, data.steps * n // 4) for n in (1, 2, 3)}
    if at < data.steps:
        log.info("train: %d SAE%s, %d steps", len(runs), "s" * (len(runs) > 1), data.steps)
    what, steps = f"train {len(runs)} SAEs" if len(runs) > 1 else "train", data.steps
    with progress(total=steps, initial=at, desc=what, unit="step", leave=False, mininterval=0.5) as bar:
        while at < data.steps:
            x, target = data.next()
            stepping = [run for run in runs if run.done == at]
            for run in stepping:
                line = run.advance(x, target)
                if line:
                    bar.set_postfix(
                        fve=f"{line['fve']:.3f}", l0=f"{line['l0']:.1f}", dead=f"{line['dead']:.3f}"
                    )
            at += 1
            bar.update()
            if bar.disable and at in quarters:  # the output is no terminal: now and then a line
                log.info("train: step %d of %d", at, data.steps)
            late = time.monotonic() - saved_at > SAVE_SECONDS if timed else at - saved_step >= every
            if late and at < data.steps:
                for run in stepping:
                    run.save()
                saved_at, saved_step = time.monotonic(), at
    for run in runs:
        run.step.work.known = None


class _Run:
    """The training of one SAE."""

    def __init__(self, data: _Data, job: Job) -> None:
        self.data, self.architecture = data, job.architecture
        # Of the device only the kind decides numbers: a run that began on one card may end on another.
        self.settings = settings = replace(
            job.settings, steps=data.steps, epochs=None, device=data.device.type
        )
        self.folder: Path | None = None
        self.plan = {
            "architecture": job.architecture.as_dict(),
            "settings": settings.deciding(),
            "d_in": data.source.d_in,
            "source": data.source.digest,
            "rows": {name: rows.digest for name, rows in data.parts.items()},
        }
        self.window = max(1, round(settings.dead_window * len(data.parts["train"]) / settings.batch_size))
        self.done, self.lines = 0, b""
        self.reader_state = data.reader.state

    def begin(self) -> None:
        """Start or resume."""
        architecture, d_in = self.architecture, self.data.source.d_in
        device = self.data.device
        self.generator = torch.Generator().manual_seed(self.settings.seed)
        self.parameters = Parameters(
            architecture.shapes(d_in), unit_norm=architecture.unit_norm, device=device
        )
        screen = self.settings.screen if architecture.screens else "off"
        encode, self.screened = choose_encoder(screen, device, d_in, architecture.n_features)
        nothing = torch.empty(0, dtype=torch.int64, device=device)
        self.step = Step(self.parameters, nothing, unit=self.data.unit, encode=encode)
        self.last_fired = torch.zeros(architecture.n_features, dtype=torch.int64, device=device)
        self._start()
        self.frozen = Frozen(self.settings.frozen, self.parameters["W_dec"])
        self.step.still = self.frozen.still
        self.step.work.quick = architecture.quick or bool(self.settings.frozen)
        if self.known_bytes:
            self.step.encode, self.screened = encode_topk, False
        found = run_folder.last_state(self.folder) if self.folder else None
        if found is not None:
            self._restore(*found)

    def _start(self) -> None:
        """Initial weights: see the module's docstring, 3."""
        p = self.parameters
        p["b_dec"].copy_(torch.from_numpy(self.data.mean * self.data.scale))
        p["W_dec"].copy_(torch.randn(p["W_dec"].shape, generator=self.generator))
        normalise_rows(p["W_dec"])
        p["W_enc"].copy_(p["W_dec"])
        self.architecture.start(p, self.step.unit)

    @property
    def known_bytes(self) -> int:
        """Of the products with an encoder that does not move; 0 where looking them up does not pay, or is too much."""
        rows, settings = self.data.reader.rows, self.settings
        size = 4 * len(rows) * self.architecture.n_features
        pays = settings.frozen == "encoder" and self.data.steps * settings.batch_size >= 2 * len(rows)
        return size if pays and self.data.reader.at_once and size <= KNOWN_BYTES else 0

    def look_up(self) -> None:
        """Find these products, where there are steps left that need them."""
        if not self.known_bytes or self.done == self.data.steps:
            return
        p, device, rows = self.parameters, self.data.device, self.data.reader.whole()
        scores = torch.empty(len(rows), self.architecture.n_features, device=device)
        for lo in range(0, len(rows), CHUNK):
            part = rows[lo : lo + CHUNK].to(device) * self.data.scale
            scores[lo : lo + CHUNK] = linear(part, p["W_enc"])
        self.step.work.known = Known(scores, p["b_dec"], self.data.reader.places)

    def advance(self, x: Tensor, target: Tensor) -> dict[str, float] | None:
        """Make one step; gives the line of the log where there is one."""
        settings, p, number = self.settings, self.parameters, self.done + 1
        if self.step.work.known:
            self.step.work.known.places = self.data.reader.places.to(self.data.device)
        self.step.dead = (self.last_fired + self.window < number).nonzero().squeeze(1)
        self.step.progress = min(number / max(settings.sparsity_warmup * self.data.steps, 1), 1.0)
        rate = settings.rate(number, self.data.steps, self.architecture.n_features)
        found = self._joined(self.architecture.step(self.step, x, target), len(x))
        if self.screened:
            self._review_screen(number)
        self.frozen.before(p)
        found["grad_norm"] = p.gradient_norm(settings.clip)
        if not torch.isfinite(found["loss"] + found["grad_norm"]):
            raise self._not_finite(number, x)
        p.update(rate)
        self.frozen.after(p)
        if settings.encoder_pull and p.unit_norm and self.frozen.pulls:
            p["W_enc"].lerp_(p["W_dec"], min(rate * settings.encoder_pull, 1.0))
        self.last_fired[self.step.fired] = number
        self.done, self.reader_state = number, self.data.reader.state
        if number % settings.log_every and number not in (1, self.data.steps):
            return None
        line = self._line(found, rate)
        self.lines += (json.dumps(line) + "\n").encode()
        return line

    def _joined(self, found: dict[str, Tensor], n: int) -> dict[str, Tensor]:
        """What all ranks found, each on its ``n`` rows of the batch: gradients, scalars and features that fired."""
        if distributed.size() == 1:
            return found
        gradient, weight = self.parameters.flat.grad, n / self.settings.batch_size
        assert gradient is not None
        distributed.add_up(gradient.mul_(weight))
        scalars = torch.stack([value.to(gradient) for value in found.values()]) * weight
        both = distributed.add_up(torch.cat([scalars, self.step.fired.to(gradient)]))
        self.step.fired = both[len(found) :] > 0
        return dict(zip(found, both[: len(found)]))  # a tensor is taken apart whole, features included

    def save(self) -> None:
        """Write a checkpoint, where there is a folder."""
        if self.folder:
            run_folder.write_state(self.folder, self.lines, self._state())

    def finish(self) -> SAE:
        """The finished SAE with its measures, written where there is a folder."""
        sae = self._finish()
        if self.folder:
            run_folder.write_finished(self.folder, sae, self.lines, self._state())
        return sae

    def _review_screen(self, number: int) -> None:
        """Stop screening for good when too many rows were doubtful; the count is kept in checkpoints."""
        counts, memory = self.step.work.counts, self.step.memory
        here = distributed.add_up(torch.tensor([counts.pop("screened", 0), counts.pop("doubtful", 0)]))
        memory["screen"] = memory.get("screen", torch.zeros_like(here)) + here
        if number % REVIEW_STEPS == 0:
            screened, doubtful = memory.pop("screen").tolist()
            if doubtful > MAX_DOUBTFUL * screened:
                log.info(
                    "screening stopped at step %d: %d of %d rows were doubtful", number, doubtful, screened
                )
                self.step.encode, self.screened = encode_topk, False

    def _line(self, found: dict[str, Tensor], rate: float) -> dict[str, float]:
        total = self.data.source.d_in * self.step.unit**2
        line = {
            "step": self.done,
            "rows": self.done * self.settings.batch_size,
            "lr": rate,
            "fve": 1 - float(found["mse"]) / total,
            "dead": len(self.step.dead) / self.architecture.n_features,
        }
        return {
            k: float(f"{v:.6g}") if isinstance(v, float) else v
            for k, v in {**line, **{k: float(v) for k, v in found.items()}}.items()
        }

    def _not_finite(self, number: int, x: Tensor) -> SciinterpError:
        bad = ~torch.isfinite(x).all(1)
        if any(distributed.gathered(bool(bad.any()))):
            return InputError(
                "activations hold a value that is not finite",
                where=f"a row of batch {number}",
                do="No weight was changed by it. Remove the sample it belongs to.",
            )
        return SciinterpError(
            "training diverged",
            where=f"step {number}",
            expected="a finite loss and gradient",
            do="No weight was changed by this step. Lower the learning rate.",
        )

    def _state(self) -> State:
        tensors = {
            **self.parameters.state(),
            "last_fired": self.last_fired,
            "generator": self.generator.get_state(),
            **{f"memory.{k}": v for k, v in self.step.memory.items()},
        }
        return State(self.done, tensors, {"reader": self.reader_state, "screened": self.screened})

    def _restore(self, state: State, lines: bytes) -> None:
        number, tensors, facts = state
        self.parameters.restore(tensors)
        self.last_fired.copy_(tensors["last_fired"])
        self.generator.set_state(tensors["generator"])
        self.step.memory = {
            k.removeprefix("memory."): v for k, v in tensors.items() if k.startswith("memory.")
        }
        self.reader_state = dict(facts["reader"])
        self.step.encode, self.screened = choose_encoder(
            "on" if facts["screened"] else "off",
            self.last_fired.device,
            self.data.source.d_in,
            self.architecture.n_features,
        )
        self.done, self.lines = number, lines

    def _finish(self) -> SAE:
        """The inference SAE with its measures, on rows it was not trained on."""
        data, parts, scale = self.data.source, self.data.parts, self.data.scale

        def calibration_rows() -> Tensor:
            rows = parts["calibration"]
            few = thinned(rows, min(CALIBRATION_ROWS, self.data.reader.held))
            return torch.from_numpy(data.take(few)).mul_(scale)

        weights, calibrated = self.architecture.finish(self.parameters, scale, calibration_rows)
        sae = sae_of(weights).to(self.data.device)
        counted = parts["train"][:: max(1, -(-len(parts["train"]) // DEAD_ROWS))]
        silent = never_fire(sae, data.pieces(distributed.mine(counted)))
        fired = distributed.add_up(torch.from_numpy(~silent).long()) > 0
        sae.architecture, sae.origin = self.architecture, self.data.origin
        sae.recipe = {**self.settings.deciding(), "rows": len(parts["train"])}
        sae.metrics = {
            **measure(sae, data.pieces(distributed.mine(parts["test"])), shared=True),
            **calibrated,
            "dead": float((~fired).double().mean()),
            "dead_counted_on": len(counted),
            "n_features": sae.n_features,
            "d_in": sae.d_in,
            "n_train_tokens": len(parts["train"]),
            "steps": self.data.steps,
            "batch_size": self.settings.batch_size,
            "seed": self.settings.seed,
            "architecture": self.architecture.name,
            "scale": scale,
            "screened": self.screened,
            "threads": torch.get_num_threads(),
        }
        return sae.to("cpu")


SAVE_SECONDS = 30.0
# A doubtful row costs both products: above this fraction the screen saves nothing.
REVIEW_STEPS, MAX_DOUBTFUL = 64, 0.25
