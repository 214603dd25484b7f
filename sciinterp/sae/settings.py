"""How to train: the settings of a run, and the learning rate of each of its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from sciinterp.errors import InputError, no_such
from sciinterp.settings import POSITIVE, UP_TO_ONE, Bound, at_least, make_plain, settings_of

MIN_STEPS = 600
FROZEN = ("decoder", "decoder_soft", "encoder")
LATER = ("order_seed", "frozen")  # younger than the first recipes, and named in one only where they decide
PEAK = (
    1e-2  # held-out fve after 600 steps on AntiBERTy: .797 at 1.6e-3, .809 at 4e-3, .813 at 8e-3, .815 here
)


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
        Bfloat16 screen of the top-k (``bf16_topk.py``); "auto" asks the processor. Kept on resume.
    device : str
        "cpu", "cuda", "cuda:1", "mps" or "auto"; of these only the kind is kept.
    seed : int
        Decides the held-out rows, the start and the order of the batches.
    order_seed : int, optional
        Decides the held-out rows and the order of the batches in the place of ``seed``: SAEs that share it see
        the same batches, and differ by their start alone.
    frozen : str
        What stays at its random start, see :mod:`sciinterp.sae.frozen`: "decoder", "decoder_soft", "encoder";
        empty for nothing.
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
    screen: Literal["auto", "on", "off"] = "auto"
    device: str = "cpu"
    seed: int = 0
    order_seed: int | None = None
    frozen: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", str(self.device))
        positive = "steps epochs batch_size learning_rate dead_window log_every checkpoint_every"
        make_plain(
            self,
            **dict.fromkeys(positive.split(), Bound("> 0", POSITIVE.holds)),
            **dict.fromkeys(("warmup", "decay", "sparsity_warmup"), UP_TO_ONE),
            **dict.fromkeys(("encoder_pull", "clip"), at_least(0)),
        )
        if self.steps is not None and self.epochs is not None:
            both = f"steps={self.steps}, epochs={self.epochs}"
            raise InputError(
                "steps and epochs exclude each other", where="steps", expected="one of them", got=both
            )
        if self.frozen and self.frozen not in FROZEN:
            raise no_such("frozen part of a dictionary", self.frozen, FROZEN, where="frozen")

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

    @classmethod
    def with_fields(cls, settings: TrainSettings | None, changed: Mapping[str, object]) -> TrainSettings:
        """Settings with some fields replaced; a name that is no field is refused with the nearest."""
        known = [f.name for f in fields(cls)]
        for name in changed:
            if name not in known:
                raise no_such("setting of train", name, known)
        return replace(settings_of(settings, cls), **changed)

    @classmethod
    def of(cls, recipe: Mapping[str, Any]) -> TrainSettings:
        """The settings an SAE was trained with, from its ``recipe``."""
        return cls(**{f.name: recipe[f.name] for f in fields(cls) if f.name in recipe})

    @property
    def order(self) -> int:
        """The seed of the held-out rows and of the order of the batches."""
        return self.seed if self.order_seed is None else self.order_seed

    def deciding(self) -> dict[str, object]:
        """The settings that numbers depend on."""
        kept = {k: v for k, v in asdict(self).items() if k != "checkpoint_every"}
        return {k: v for k, v in kept.items() if k not in LATER or v not in (None, "")}
