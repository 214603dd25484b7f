"""The engine under every adapter: batches, hooks, early stop, edits, and putting everything back.

`capture` runs a model once and stops as soon as the last of the wanted sites has been seen. `edit`
replaces the rows of a site while its context is open. Both restore hooks, train/eval mode, gradient mode
and the attention fast path whatever happens, KeyboardInterrupt included. Tensors are ordinary ones without
gradients; gradients are there for the asking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sciinterp.errors import InputError, ShapeError

from .adapter import Adapter
from .running import gradients
from .site import Batch, Site, gather, like, scatter, site_tokens

# Padding is work for nothing: a batch is closed before it would waste more than this part of its tokens.
MAX_PADDING = 0.05
# About 8,000 tokens keep matrix products busy on a processor and a wide model's activations under 1 GB.
MAX_TOKENS = 8192


class _Seen(BaseException):
    """Every wanted site has been read; not an Exception, so that no model's own handler swallows it."""


def plan_batches(
    lengths: Sequence[int] | np.ndarray, max_tokens: int = MAX_TOKENS, *, max_samples: int | None = None
) -> list[np.ndarray]:
    """Numbers of samples, each once, in batches of similar length, before any work starts.

    The plan is a function of the lengths (in tokens) alone. A batch holds at most `max_tokens` tokens,
    padding included (a single longer sample makes a batch of its own), and wastes less than 5% of them.
    Models whose output depends on the rest of the batch take ``max_samples=1``.

    Examples
    --------
    >>> [b.tolist() for b in plan_batches([5, 100, 5, 99, 5], max_tokens=200)]
    [[0, 2, 4], [3, 1]]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if max_tokens < 1 or (max_samples is not None and max_samples < 1):
        raise InputError("a batch must hold something", expected="max_tokens and max_samples of 1 or more")
    order = np.argsort(lengths, kind="stable")
    plan: list[np.ndarray] = []
    first, total = 0, 0
    for stop, sample in enumerate(order):
        longest, n = int(lengths[sample]), stop - first + 1
        padded = longest * n
        wasted = padded - (total + longest)
        full = (
            padded > max_tokens
            or wasted > MAX_PADDING * padded
            or (max_samples is not None and n > max_samples)
        )
        if n > 1 and full:
            plan.append(order[first:stop])
            first, total = stop, 0
        total += longest
    if len(order):
        plan.append(order[first:])
    return plan


def capture(
    adapter: Adapter, sites: Sequence[Site | str], batch: Batch, *, grad: bool = False
) -> dict[str, list[Float[Tensor, "_n _d"]]]:
    """Activations at several sites from one forward pass, which stops after the deepest of them.

    For each site's name a list with one [n_tokens, width] tensor per sample, float32 (or float64), real
    tokens only; `spans_of` gives the positions of the same rows. With `grad` they can be differentiated.
    ShapeError where a site's record does not fit the tensor found there.
    """
    wanted = [adapter.site(s) if isinstance(s, str) else s for s in sites]
    found: dict[str, list[Tensor]] = {}

    def seen(site: Site, value: object) -> None:
        rows, mask = gather(site, value, batch)
        rows = rows.float() if rows.dtype in (torch.bfloat16, torch.float16) else rows
        found[site.name] = list(torch.split(rows, mask.sum(1).tolist()))
        if len(found) == len({s.name for s in wanted}):
            raise _Seen

    with ExitStack() as stack:
        for site in wanted:
            stack.enter_context(_hooked(adapter, site, seen))
        if grad:
            stack.enter_context(gradients(adapter))
        with suppress(_Seen):
            adapter.forward(batch)
    missing = [s.name for s in wanted if s.name not in found]
    if missing:
        raise InputError(
            "the forward pass never reached a site", where=f"site {missing[0]!r} of {adapter.name}"
        )
    return {site.name: found[site.name] for site in wanted}


def spans_of(adapter: Adapter, site: Site | str, batch: Batch) -> list[Int[Tensor, "_n 3"]]:
    """Positions of the rows `capture` returns: per sample start, end and strand of every token, half-open."""
    site = adapter.site(site) if isinstance(site, str) else site
    mask, spans = site_tokens(site, batch)
    return [spans[i][mask[i]] for i in range(len(batch))]


@contextmanager
def edit(adapter: Adapter, site: Site | str, fn: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While open, pass the rows of a site through a function in every forward pass of the adapter.

    `fn` takes the real tokens of all samples of the batch, [n, width], and returns the same shape (else
    ShapeError). Padding and special tokens are left as they are; an identity function changes no bit of the
    output.
    """
    site = adapter.site(site) if isinstance(site, str) else site

    def changed(site: Site, value: object) -> object:
        if (batch := adapter.running_batch) is None:
            raise InputError(
                "the forward pass was not begun by the adapter", do="Call adapter.forward(batch)."
            )
        rows, _ = gather(site, value, batch)
        new = fn(rows)
        if new.shape != rows.shape:
            raise ShapeError(
                "an edit returned another shape",
                where=f"site {site.name!r}",
                expected=str(tuple(rows.shape)),
                got=str(tuple(new.shape)),
            )
        return scatter(site, value, batch, new)

    with _hooked(adapter, site, changed):
        yield


@contextmanager
def replayed(adapter: Adapter, site: Site | str, *batches: Batch) -> Iterator[None]:
    """While open, passes of some batches begin after the blocks that come before a site: their outputs are those of now.

    For many edits of one site on the same batches, the first that is written to or read; another batch raises
    InputError. What is computed is the same to the bit; blocks whose module is called more than once in a
    pass up to the site are computed as ever. What stands beside each block in a list of its own (the edges of
    a graph) counts as one.
    """
    site = adapter.site(site) if isinstance(site, str) else site
    before = _blocks_and_beside(adapter)
    kept = [_outputs(adapter, site, batch, before) for batch in batches]
    skipped = [path for path in before if all(path in found for found in kept)]

    def forward(path: str) -> Callable[..., object]:
        def answer(*_: object, **__: object) -> object:
            for batch, found in zip(batches, kept):
                if adapter.running_batch is batch:
                    return _cloned(found[path])
            raise InputError("another batch than those that are replayed", where=adapter.name)

        return answer

    try:
        for path in skipped:
            before[path].forward = forward(path)
        yield
    finally:
        for path in skipped:
            before[path].__dict__.pop("forward", None)


def _blocks_and_beside(adapter: Adapter) -> dict[str, nn.Module]:
    """Modules of the blocks by path, of lists as long beside theirs, and of what comes before the first block."""
    sites = list(adapter._sites())
    paths = [s.path for s in sites if s.is_block]
    before = [s.path for s in sites if s.kind == "embed"]
    for owner in {path.rpartition(".")[0].rpartition(".")[0] for path in paths}:
        for name, beside in module_at(adapter.module, owner).named_children():
            if isinstance(beside, nn.ModuleList) and len(beside) == len(paths):
                before += [f"{owner}.{name}.{i}".lstrip(".") for i in range(len(beside))]
    return {path: module_at(adapter.module, path) for path in dict.fromkeys(before + paths) if path}


def _outputs(
    adapter: Adapter, site: Site, batch: Batch, modules: Mapping[str, nn.Module]
) -> dict[str, object]:
    """What modules return in one pass up to a site; without those that are called more than once."""
    calls: dict[str, list[object]] = {}
    handles = [
        module.register_forward_hook(
            lambda _, __, output, path=path: calls.setdefault(path, []).append(_cloned(output))
        )
        for path, module in modules.items()
    ]
    try:
        capture(adapter, [site], batch)
    finally:
        for handle in handles:
            handle.remove()
    return {path: found[0] for path, found in calls.items() if len(found) == 1}


def _cloned(value: object) -> object:
    """A nested output with copies of its tensors: what follows may write into them."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, MutableMapping):
        new = copy(value)
        for key, item in value.items():
            new[key] = _cloned(item)
        return new
    return like(value, list(map(_cloned, value))) if isinstance(value, (tuple, list)) else value


def activation_error(adapter: Adapter, sites: Sequence[str], batch: Batch) -> dict[str, float]:
    """Root mean square error of the adapter's precision against float32, relative to the activations' own
    standard deviation, for each site.
    """
    low = capture(adapter, sites, batch)
    exact = capture(adapter.with_dtype("float32"), sites, batch)
    errors = {}
    for name in sites:
        a, b = (torch.cat(found[name]).cpu().double() for found in (low, exact))
        errors[name] = float((a - b).pow(2).mean().sqrt() / b.sub(b.mean(0)).pow(2).mean().sqrt())
    return errors


@contextmanager
def _hooked(adapter: Adapter, site: Site, fn: Callable[[Site, object], object]) -> Iterator[None]:
    """Call fn with the site's value in every forward pass; what it returns (if anything) replaces the
    value.
    """
    module = module_at(adapter.module, site.path)
    run, calls = -1, 0

    def mine() -> bool:
        nonlocal run, calls
        run, calls = adapter.runs, calls + 1 if run == adapter.runs else 1
        return calls - 1 == site.call

    def after(_: nn.Module, args: tuple, kwargs: dict, output: object) -> object:
        return fn(site, output) if mine() else None

    def before(_: nn.Module, args: tuple, kwargs: dict) -> Any:
        by_name = not args if site.select is None else isinstance(site.select[0], str)
        new = fn(site, kwargs if by_name else args) if mine() else None
        if new is None:
            return None
        return (args, new) if by_name else (new, kwargs)

    if site.io == "input":
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = module.register_forward_hook(after, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def module_at(module: nn.Module, path: str) -> nn.Module:
    """The submodule at a dotted path; InputError naming the first part that does not exist."""
    for done, part in enumerate(path.split(".") if path else []):
        if not hasattr(module, part):
            names = [n for n, _ in module.named_children()]
            raise InputError(
                "no such module",
                where=f"path {path!r} at {'.'.join(path.split('.')[: done + 1])!r}",
                expected=f"one of {', '.join(names[:20])}" if names else "",
            )
        module = getattr(module, part)
    return module
