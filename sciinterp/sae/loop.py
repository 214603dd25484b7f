"""Training: one loop for every architecture, read from top to bottom.

1. *Rows.* With a split, the rows of its training samples; thresholds are calibrated on its calibration
samples
   and every measure is taken on its test samples. Without one, a random twentieth of the rows is kept out.
2. *Scale.* Mean and spread are estimated from the training rows; they are multiplied by the power of two that
   brings the mean squared norm of a centred row nearest to ``d_in``. A power of two folds into biases and
   thresholds without changing a bit of what the SAE computes.
3. *Start.* ``b_dec`` is the mean, decoder rows are random unit vectors, the encoder is the decoder
transposed.
   (Rows of the data as first directions reconstruct worse in the end: .737 against .797 held out.)
4. *Step.* Batch, exact gradients (``sparse.py``), one finiteness check, Adam with a linear warm-up and decay,
   norm constraint. A loss or gradient that is not finite stops the run before the step is made.
5. *Files.* The plan first, then checkpoints and the log; run again to resume: the same bytes come out as
from a
   run that was never stopped. ``training.jsonl`` holds no times for that reason.

References: Gao et al. 2024 (learning rate by width, AuxK, tied start); Bricken et al. 2023 (norm constraint).
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sciinterp.errors import InputError, SciinterpError
from sciinterp.sae import outputs
from sciinterp.sae.architecture import Architecture, Step
from sciinterp.sae.base import SAE
from sciinterp.sae.metrics import firing_counts, measure
from sciinterp.sae.parameters import Parameters
from sciinterp.sae.rows import Reader, Source, moments
from sciinterp.sae.screen import choose_encoder
from sciinterp.sae.sparse import encode_topk, normalise_rows

if TYPE_CHECKING:
    from sciinterp.samples import Split

log = logging.getLogger(__name__)

MIN_STEPS = 600
PEAK = (
    1e-2  # held-out fve after 600 steps on AntiBERTy: .797 at 1.6e-3, .809 at 4e-3, .813 at 8e-3, .815 here
)
HELD_OUT = 1 / 20  # of the rows, at most HELD_OUT_ROWS, when there is no split
HELD_OUT_ROWS = 20_000
CALIBRATION_ROWS = 1 << 17
DEAD_ROWS = 1 << 21  # training rows on which "never fires" is counted


@dataclass(frozen=True)
class TrainSettings:
    """How to train; the defaults suit dictionaries of some thousand features and short runs.

    Parameters
    ----------
    steps, epochs : int or float, optional
        One of them; by default one epoch and at least 600 steps.
    batch_size : int
        Rows a step.
    learning_rate : float, optional
        Peak; by default ``1e-2 sqrt(min(1, 1024 / n_features) min(1, 600 / steps))``: a short run needs large
        steps.
    warmup, decay : float
        Fractions of the steps over which the rate rises from and falls to zero, linearly.
    sparsity_warmup : float
        Fraction of the steps over which a sparsity penalty rises.
    dead_window : float
        A feature is dead when it has not fired in this fraction of the training rows.
    encoder_pull : float
        Decoupled decay of the encoder towards the decoder transposed, times the learning rate: what a feature
        looks for stays near what it writes, which families never seen reward (held-out fve .807 to .812).
    clip : float
        Largest gradient norm; 0 does not clip.
    log_every : int
        Steps between lines of the log.
    checkpoint_every : int, optional
        Steps between checkpoints; by default one about every 30 seconds. No number depends on it.
    screen : {"auto", "on", "off"}
        Bfloat16 screen of the top-k (``screen.py``); "auto" asks the processor. Kept on resume.
    device : str
        "cpu" or "cuda".
    seed : int
        Decides the held-out rows, the start and the order of the batches.
    """

    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 2048
    learning_rate: float | None = None
    warmup: float = 0.05
    decay: float = 0.3
    sparsity_warmup: float = 0.1
    dead_window: float = 0.5
    encoder_pull: float = 3.0
    clip: float = 0.0
    log_every: int = 10
    checkpoint_every: int | None = None
    screen: str = "auto"
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise InputError("steps and epochs exclude each other", expected="one of them")
        for name in ("steps", "epochs", "batch_size", "log_every", "learning_rate", "dead_window"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(
                    "training needs a positive number", where=name, expected="> 0", got=str(value)
                )
        if self.screen not in ("auto", "on", "off"):
            raise InputError("no such screen", expected="'auto', 'on' or 'off'", got=repr(self.screen))

    def n_steps(self, n_rows: int) -> int:
        """Steps for so many rows."""
        if self.steps is not None:
            return int(self.steps)
        per_epoch = n_rows / self.batch_size
        return (
            max(1, math.ceil(per_epoch * self.epochs))
            if self.epochs
            else max(MIN_STEPS, math.ceil(per_epoch))
        )

    def rate(self, step: int, steps: int, n_features: int) -> float:
        """Learning rate of step ``step`` (from 1)."""
        short = math.sqrt(MIN_STEPS / max(steps, MIN_STEPS))
        peak = self.learning_rate or PEAK * min(math.sqrt(1024 / n_features), 1.0) * short
        rise = min(step / max(self.warmup * steps, 1), 1.0)
        fall = min((steps - step + 1) / max(self.decay * steps, 1), 1.0)
        return peak * min(rise, fall)


def train(
    source: Any,
    architecture: Architecture,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    epochs: float | None = None,
    split: Split | None = None,
    batch_size: int = 2048,
) -> SAE:
    """Train a sparse autoencoder.

    Parameters
    ----------
    source : Activations, ndarray, memmap or Tensor [n, d_in]
    architecture : Architecture
        ``si.TopK(n_features=1024, k=32)`` and its like.
    out : path, optional
        Folder for ``cfg.json sae_weights.safetensors metrics.json training.jsonl checkpoints/``. Run again to
        resume, or to get the finished SAE at once. None trains in memory.
    seed : int
        The same seed gives the same files, byte for byte.
    steps, epochs : int or float, optional
        One of them; by default one epoch and at least 600 steps.
    split : Split, optional
        Train on its training samples, calibrate on its calibration samples, measure on its test samples.
    batch_size : int
        Rows a step.

    Raises
    ------
    StoreError
        ``out`` holds something else.
    InputError
        A row is not finite, or the rows do not vary.

    See Also
    --------
    train_with : the same with every setting.

    Examples
    --------
    >>> import sciinterp as si
    >>> x = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    >>> sae = si.train(x, si.TopK(n_features=16, k=2), steps=20, batch_size=64)
    >>> sae.encode(x).shape, sae.metrics["n_features"]
    (torch.Size([400, 16]), 16)
    """
    settings = TrainSettings(steps=steps, epochs=epochs, batch_size=batch_size, seed=seed)
    return train_with(source, architecture, settings, out=out, split=split)


def train_with(
    source: Any,
    architecture: Architecture,
    settings: TrainSettings,
    *,
    out: str | Path | None = None,
    split: Split | None = None,
) -> SAE:
    """:func:`train` with every setting; parameters and errors as there."""
    data = Source(source)
    parts = _parts(data, split, settings.seed)
    steps = settings.n_steps(len(parts["train"]))
    settings = replace(settings, steps=steps, epochs=None)
    plan = {
        "architecture": architecture.as_dict(),
        "settings": _deciding(settings),
        "d_in": data.d_in,
        "source": data.digest,
        "rows": {name: outputs.digest(rows) for name, rows in parts.items()},
    }
    if out is None:
        return _Run(data, architecture, settings, parts).to_end(None)
    with outputs.claim(Path(out), plan) as (folder, finished):
        if finished is not None:
            return finished
        return _Run(data, architecture, settings, parts).to_end(folder)


def _deciding(settings: TrainSettings) -> dict[str, Any]:
    """The settings that numbers depend on."""
    return {k: v for k, v in asdict(settings).items() if k not in ("checkpoint_every",)}


def _parts(data: Source, split: Split | None, seed: int) -> dict[str, np.ndarray]:
    """Row numbers to train on, to calibrate on and to measure on."""
    if split is not None:
        parts = {name: data.rows_of(getattr(split, name)) for name in ("train", "calibration", "test")}
        if not len(parts["train"]):
            raise InputError("the split has no training rows", where="split.train")
        for name in ("calibration", "test"):
            parts[name] = parts[name] if len(parts[name]) else parts["train"]
        return parts
    n_out = min(int(data.n_rows * HELD_OUT), HELD_OUT_ROWS)
    order = np.random.default_rng([seed, 2]).permutation(data.n_rows) if n_out else np.arange(data.n_rows)
    held = np.sort(order[:n_out]) if n_out else np.arange(data.n_rows)
    return {"train": np.sort(order[n_out:]), "calibration": held, "test": held}


class _Run:
    """The state of one training run."""

    def __init__(
        self, data: Source, architecture: Architecture, settings: TrainSettings, parts: dict[str, np.ndarray]
    ) -> None:
        self.data, self.architecture, self.settings, self.parts = data, architecture, settings, parts
        self.steps = int(settings.steps or 0)
        self.reader = Reader(data, parts["train"], settings.batch_size, settings.seed)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.mean, spread = moments(data, parts["train"])
        exact = math.sqrt(data.d_in / spread)
        self.scale = 2.0 ** round(math.log2(exact))
        device = torch.device(settings.device)
        self.parameters = Parameters(
            architecture.shapes(data.d_in), unit_norm=architecture.unit_norm, device=device
        )
        screen = settings.screen if architecture.screens else "off"
        encode, self.screened = choose_encoder(screen, device, data.d_in, architecture.n_features)
        self.step = Step(
            self.parameters,
            torch.empty(0, dtype=torch.int64, device=device),
            unit=self.scale / exact,
            encode=encode,
        )
        self.last_fired = torch.zeros(architecture.n_features, dtype=torch.int64, device=device)
        self.window = max(1, round(settings.dead_window * len(parts["train"]) / settings.batch_size))
        self.done, self.lines = 0, b""

    def to_end(self, folder: Path | None) -> SAE:
        """Start or resume, train, measure, write."""
        found = outputs.last_state(folder) if folder else None
        if found is None:
            self._start()
        else:
            self._restore(*found)
        self._train(folder)
        sae = self._finish()
        if folder:
            outputs.write_finished(folder, sae, self.lines, self.done, *self._state())
        return sae

    def _start(self) -> None:
        """Initial weights: see the module's docstring, 3."""
        p = self.parameters
        p["b_dec"].copy_(torch.from_numpy(self.mean * self.scale))
        p["W_dec"].copy_(torch.randn(p["W_dec"].shape, generator=self.generator))
        normalise_rows(p["W_dec"])
        p["W_enc"].copy_(p["W_dec"])
        self.architecture.start(p, self.step.unit)

    def _train(self, folder: Path | None) -> None:
        settings, p = self.settings, self.parameters
        saved_at, saved_step = time.monotonic(), self.done
        with _progress(self.steps, self.done) as bar:
            while self.done < self.steps:
                number = self.done + 1
                x, target = self._batch()
                self.step.dead = (self.last_fired + self.window < number).nonzero().squeeze(1)
                self.step.progress = min(number / max(settings.sparsity_warmup * self.steps, 1), 1.0)
                rate = settings.rate(number, self.steps, self.architecture.n_features)
                found = self.architecture.step(self.step, x, target)
                if self.screened:
                    self._review_screen(number)
                found["grad_norm"] = p.gradient_norm(settings.clip)
                if not torch.isfinite(found["loss"] + found["grad_norm"]):
                    raise self._not_finite(number, x)
                p.update(rate)
                if settings.encoder_pull and self.parameters.unit_norm:
                    p["W_enc"].lerp_(p["W_dec"], min(rate * settings.encoder_pull, 1.0))
                self.last_fired[self.step.fired] = number
                self.done = number
                if number % settings.log_every == 0 or number in (1, self.steps):
                    line = self._line(found, rate)
                    self.lines += (json.dumps(line) + "\n").encode()
                    bar.set_postfix(
                        fve=f"{line['fve']:.3f}", l0=f"{line['l0']:.1f}", dead=f"{line['dead']:.3f}"
                    )
                bar.update()
                every = settings.checkpoint_every
                due = number - saved_step >= every if every else time.monotonic() - saved_at > SAVE_SECONDS
                if folder and due and number < self.steps:
                    outputs.write_state(folder, self.lines, number, *self._state())
                    saved_at, saved_step = time.monotonic(), number

    def _review_screen(self, number: int) -> None:
        """Stop screening for good when too many rows were doubtful; the count is kept in checkpoints."""
        counts, memory = self.step.work.counts, self.step.memory
        here = torch.tensor([counts.pop("screened", 0), counts.pop("doubtful", 0)])
        memory["screen"] = memory.get("screen", torch.zeros_like(here)) + here
        if number % REVIEW_STEPS == 0:
            screened, doubtful = memory.pop("screen").tolist()
            if doubtful > MAX_DOUBTFUL * screened:
                log.info(
                    "screening stopped at step %d: %d of %d rows were doubtful", number, doubtful, screened
                )
                self.step.encode, self.screened = encode_topk, False

    def _batch(self) -> tuple[Tensor, Tensor]:
        x, target = self.reader.next()
        same = target is x
        x = x.to(self.settings.device).mul_(self.scale)
        return x, x if same else target.to(self.settings.device).mul_(self.scale)

    def _line(self, found: dict[str, Tensor], rate: float) -> dict[str, Any]:
        total = self.data.d_in * self.step.unit**2
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
        if bad.any():
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

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {
            **self.parameters.state(),
            "last_fired": self.last_fired,
            "generator": self.generator.get_state(),
            **{f"memory.{k}": v for k, v in self.step.memory.items()},
        }
        return tensors, {"reader": self.reader.state, "screened": self.screened}

    def _restore(self, number: int, tensors: dict[str, Tensor], facts: dict[str, Any], lines: bytes) -> None:
        self.parameters.restore(tensors)
        self.last_fired.copy_(tensors["last_fired"])
        self.generator.set_state(tensors["generator"])
        self.step.memory = {
            k.removeprefix("memory."): v for k, v in tensors.items() if k.startswith("memory.")
        }
        self.reader.state = facts["reader"]
        self.step.encode, self.screened = choose_encoder(
            "on" if facts["screened"] else "off",
            self.last_fired.device,
            self.data.d_in,
            self.architecture.n_features,
        )
        self.done, self.lines = number, lines

    def _finish(self) -> SAE:
        """The inference SAE with its measures, on rows it was not trained on."""
        data, parts = self.data, self.parts

        def calibration_rows() -> Tensor:
            rows = parts["calibration"]
            pick = np.linspace(0, len(rows) - 1, min(len(rows), CALIBRATION_ROWS)).astype(np.int64)
            return torch.from_numpy(data.take(rows[pick])).mul_(self.scale)

        sae, calibrated = self.architecture.finish(self.parameters, self.scale, calibration_rows)
        sae.to("cpu")
        counted = parts["train"][:: max(1, -(-len(parts["train"]) // DEAD_ROWS))]
        counts = firing_counts(sae, data.pieces(counted))
        sae.architecture, sae.identity = self.architecture, dict(data.identity)
        sae.recipe = {**_deciding(self.settings), "rows": len(parts["train"])}
        sae.metrics = {
            **measure(sae, data.pieces(parts["test"])),
            **calibrated,
            "dead": float((counts == 0).mean()),
            "dead_counted_on": len(counted),
            "n_features": sae.n_features,
            "d_in": sae.d_in,
            "n_train_tokens": len(parts["train"]),
            "steps": self.steps,
            "batch_size": self.settings.batch_size,
            "seed": self.settings.seed,
            "architecture": self.architecture.name,
            "scale": self.scale,
            "screened": self.screened,
            "threads": torch.get_num_threads(),
        }
        return sae


SAVE_SECONDS = 30.0
# A doubtful row costs both products: above this fraction the screen saves nothing.
REVIEW_STEPS, MAX_DOUBTFUL = 64, 0.25


@contextlib.contextmanager
def _progress(steps: int, done: int) -> Iterator[Any]:
    quiet = False if "ipykernel" in sys.modules else None  # None: silent where the output is not a terminal
    with tqdm(
        total=steps, initial=done, desc="train", unit="step", leave=False, mininterval=0.5, disable=quiet
    ) as bar:
        yield bar
