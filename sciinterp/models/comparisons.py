"""What the checks of an adapter share: samples, a batch, ways to compare and to fail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count, takewhile

import torch
from torch import Tensor

from sciinterp.errors import SciinterpError

from .adapter import Adapter, HasLogits
from .engine import capture, edit, gradients
from .site import Batch, Site


class AdapterCheckError(SciinterpError):
    """A check failed; `check` is its name."""

    def __init__(self, check: str, what: str, *, where: str = "", expected: str = "", got: str = "") -> None:
        self.check = check
        super().__init__(f"check {check!r} failed: {what}", where=where, expected=expected, got=got)


@dataclass
class Probe:
    """What the checks share: the adapter, the samples, one batch, and a way to fail."""

    adapter: Adapter
    samples: list[object]
    tolerance: float
    check: str = ""

    @cached_property
    def sites(self) -> list[Site]:
        return [self.adapter.site(name) for name in self.adapter.sites().index]

    @cached_property
    def blocks(self) -> list[Site]:
        found = {s.name: s for s in self.sites}
        names = takewhile(found.__contains__, (f"layers.{i}" for i in count()))
        return [found[name] for name in names]

    @cached_property
    def batch(self) -> Batch:
        return self.adapter.encode(self.group)

    @property
    def group(self) -> list[object]:
        """The samples of one batch: one, where the output depends on the batch."""
        return self.samples[:1] if self.adapter.batch_dependent else self.samples

    @cached_property
    def some(self) -> list[Site]:
        """The embedding, the first, middle and last blocks, and one of every other kind."""
        chosen = {s.kind: s for s in self.sites if s not in self.blocks}
        blocks = {s.name: s for s in (self.blocks[0], self.blocks[len(self.blocks) // 2], self.blocks[-1])}
        return [s for s in self.sites if s in [*chosen.values(), *blocks.values()] or s.name == "embedding"]

    def alone(self, sample: object, site: Site) -> Tensor:
        return capture(self.adapter, [site], self.adapter.encode([sample]))[site.name][0]

    def fail(self, what: str, *, where: str = "", expected: str = "", got: str = "") -> AdapterCheckError:
        return AdapterCheckError(self.check, what, where=where, expected=expected, got=got)

    def same(self, a: Tensor, b: Tensor, where: str) -> float:
        """Largest difference relative to the standard deviation; fails beyond the tolerance."""
        if a.shape != b.shape:
            raise self.fail(
                "shapes differ", where=where, expected=str(tuple(b.shape)), got=str(tuple(a.shape))
            )
        scale = float(b.double().std()) if b.numel() > 1 else 1.0
        error = float((a.double() - b.double()).abs().max()) / (scale or 1.0)
        if not error <= self.tolerance:
            raise self.fail(
                "activations differ", where=where, expected=f"at most {self.tolerance}", got=f"{error:.3g}"
            )
        return error


def equal(a: Iterable[Tensor], b: Iterable[Tensor]) -> bool:
    """Whether two lists of tensors are the same to the bit."""
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def direction(x: Tensor) -> Tensor:
    """A seeded random direction of the width of x."""
    return torch.randn(x.shape[-1], generator=torch.Generator().manual_seed(0)).to(x)


def output(p: Probe) -> list[Tensor]:
    """Every tensor of the forward pass's output, and the logits."""
    found = list(tensors(p.adapter.forward(p.batch)))
    return [*found, p.adapter.logits(p.batch)] if isinstance(p.adapter, HasLogits) else found


def tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (dict, tuple, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors(item)


def hooks(adapter: Adapter) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in adapter.module.modules())


def state(adapter: Adapter) -> tuple:
    modes = [m.training for m in adapter.module.modules()]
    flags = [q.requires_grad for q in adapter.module.parameters()]
    fast = torch.backends.mha.get_fastpath_enabled()
    return modes, flags, torch.is_grad_enabled(), fast, adapter.grad, adapter.running_batch


def accidents(p: Probe) -> Iterator[None]:
    """A capture, an edit, one that raises, one that is interrupted; after each the caller looks around."""
    for error in (None, ValueError, KeyboardInterrupt):

        def fn(x: Tensor, error: type[BaseException] | None = error) -> Tensor:
            if error is not None:
                raise error
            return x

        try:
            with edit(p.adapter, p.blocks[-1], fn), gradients(p.adapter):
                capture(p.adapter, [p.blocks[0]], p.batch)
                p.adapter.forward(p.batch)
        except (ValueError, KeyboardInterrupt):
            pass
        yield
