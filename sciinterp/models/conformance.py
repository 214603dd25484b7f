"""The conformance suite: each function is one property that every adapter must have.

A check measures how well its property holds and raises `AdapterCheckError` with its own name where it does
not; it returns a sentence where it does not apply. `sciinterp.testing.check_adapter` runs them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from typing import Any

import torch
from torch import Tensor

from sciinterp.errors import InputError, SciinterpError

from .adapter import CanGenerate, CanMask, HasLogits, HasReverseComplement, data_of
from .comparisons import Probe, accidents, direction, equal, hooks, output, state
from .engine import capture, edit, module_at, spans_of
from .generation import GenerationSettings
from .site import Batch, Site

# Symbols most vocabularies lack; those in the adapter's alphabet are passed over.
ILLEGAL = ("J", "U", "1", "*", "é", "?", " ", "a", "\n", "$")


def _check_sites(p: Probe) -> float:
    """Names are unique, `embedding` and `layers.0` on exist, every path resolves, depth grows with the
    block.
    """
    names = [s.name for s in p.sites]
    if len(set(names)) != len(names):
        raise p.fail("two sites share a name")
    if "embedding" not in names or not p.blocks:
        raise p.fail(
            "the common sites are missing",
            expected="embedding and layers.0, layers.1 ...",
            got=", ".join(names[:5]),
        )
    count = sum(site.is_block for site in p.sites)
    if count != len(p.blocks):
        raise p.fail(
            "blocks are not counted from 0 without a gap", got=f"{count} names, {len(p.blocks)} in sequence"
        )
    for site in p.sites:
        module_at(p.adapter.module, site.path)
    depths = [s.depth for s in p.blocks]
    if depths != sorted(set(depths)) or not 0 <= depths[0] <= depths[-1] <= 1:
        raise p.fail("relative depth must grow from 0 to 1 over the blocks", got=str(depths))
    return float(len(names))


def _check_coverage(p: Probe) -> float:
    """Real tokens have spans inside the sample, in order, covering every position; other tokens have none."""
    for sample in p.samples:
        batch = p.adapter.encode([sample])
        n = p.adapter.count_positions(data_of(sample))
        if int(batch.lengths[0]) != n:
            raise p.fail("a length is wrong", expected=str(n), got=str(int(batch.lengths[0])))
        _covered(p, batch, 0, n)
    for i, sample in enumerate(p.group):
        _covered(p, p.batch, i, p.adapter.count_positions(data_of(sample)))
    if p.adapter.alphabet and isinstance(data_of(p.samples[0]), str):
        letters = p.adapter.alphabet[: p.adapter.max_length]
        with suppress(InputError):  # languages whose letters in a row are no sentence
            _covered(p, p.adapter.encode([letters]), 0, len(letters))
    return 1.0


def _covered(p: Probe, batch: Batch, i: int, n: int) -> None:
    spans, mask = batch.spans[i], batch.mask[i]
    if bool((spans[~mask][:, :2] != -1).any()):
        raise p.fail("a token that is no real unit has a span", where=f"sample number {i}")
    real = spans[mask]
    if not len(real) or bool(
        (real[:, 0] < 0).any() | (real[:, 1] > n).any() | (real[:, 0] >= real[:, 1]).any()
    ):
        raise p.fail("a real token has no span inside its sample", where=f"sample number {i}")
    if bool((real[1:, 0] < real[:-1, 0]).any()):
        raise p.fail("spans are not in order", where=f"sample number {i}")
    covered = torch.zeros(n, dtype=torch.bool)
    for start, stop in real[:, :2].tolist():
        covered[start:stop] = True
    if not bool(covered.all()):
        place = int((~covered).nonzero()[0])
        raise p.fail("no token covers a position", where=f"sample number {i} position {place}")


def _check_illegal(p: Probe) -> float:
    """A symbol outside the alphabet is refused, never dropped or replaced."""
    data = data_of(p.samples[0])
    if isinstance(data, str) and not p.adapter.alphabet:
        raise p.fail("the adapter declares no alphabet")
    symbols = [s for s in ILLEGAL if s not in p.adapter.alphabet]
    for symbol in symbols:
        try:
            p.adapter.encode([_spoiled(p, data, symbol)])
        except InputError:
            continue
        raise p.fail("a symbol outside the alphabet was taken", got=repr(symbol))
    return float(len(symbols))


def _spoiled(p: Probe, data: Any, symbol: str) -> object:
    """A sample with one symbol in the middle replaced: of a text, a row, a list of names, a record's names."""
    middle = len(data) // 2
    if isinstance(data, str):
        return data[:middle] + symbol + data[middle + 1 :]
    if isinstance(data, Mapping):
        names = next(k for k, v in data.items() if len(v) and isinstance(v[0], str))
        return {**data, names: _spoiled(p, list(data[names]), symbol)}
    row = isinstance(data[middle], str) and len(data[middle]) == p.adapter.count_positions(data) > 2
    new = _spoiled(p, data[middle], symbol) if row else f"{symbol}?"
    return type(data)([*data[:middle], new, *data[middle + 1 :]])


def _check_over_length(p: Probe) -> float | str:
    """A sample beyond the declared length is never encoded: it is refused, or cut into windows before."""
    limit = p.adapter.max_length
    data = data_of(p.samples[0])
    if limit is None:
        return "no limit declared"
    if not isinstance(data, str):
        return "samples are not text"
    if p.adapter.over_length not in ("refuse", "window"):
        raise p.fail("no such policy", expected="refuse or window", got=p.adapter.over_length)
    try:
        p.adapter.encode([(data * (limit // len(data) + 1))[: limit + 1]])
    except InputError:
        return float(limit)
    raise p.fail("a sample beyond max_length was taken", expected=f"at most {limit} positions")


def _check_rows(p: Probe) -> float:
    """Every site gives one finite row of its width per real token, and spans for each."""
    found = capture(p.adapter, p.sites, p.batch)
    for site in p.sites:
        spans = spans_of(p.adapter, site, p.batch)
        for rows, span in zip(found[site.name], spans):
            if tuple(rows.shape) != (len(span), site.width):
                raise p.fail(
                    "rows and spans differ",
                    where=site.name,
                    expected=str(len(span)),
                    got=str(tuple(rows.shape)),
                )
            if not bool(rows.isfinite().all()):
                raise p.fail("an activation is not finite", where=site.name)
    return float(len(p.sites))


def _check_embedding(p: Probe) -> float | str:
    """`embedding` is exactly what enters block 0."""
    first, embedding = p.blocks[0], p.adapter.site("embedding")
    entry = Site("entry", first.path, embedding.width, io="input", axes=first.axes, call=first.call)
    try:
        found = capture(p.adapter, [embedding, entry], p.batch)
    except SciinterpError:
        return "block 0 takes its input in another form"
    return max(p.same(a, b, "embedding") for a, b in zip(found["embedding"], found["entry"]))


def _check_order(p: Probe) -> float:
    """Changing block i changes every later block and none before: blocks are counted in order."""
    before = capture(p.adapter, p.blocks, p.batch)
    for number in sorted({0, len(p.blocks) // 2, len(p.blocks) - 1}):
        with edit(p.adapter, p.blocks[number], lambda x: x + x.std() * direction(x)):
            after = capture(p.adapter, p.blocks, p.batch)
        for i, site in enumerate(p.blocks):
            same = equal(before[site.name], after[site.name])
            if same != (i < number):
                changed = "is not changed by" if same else "is changed by"
                raise p.fail(f"{site.name} {changed} an edit of {p.blocks[number].name}")
    return float(len(p.blocks))


def _check_one_pass(p: Probe) -> float:
    """Sites captured together, and alone with an early stop, are the same bits."""
    together = capture(p.adapter, p.sites, p.batch)
    for site in p.some:
        alone = capture(p.adapter, [site], p.batch)[site.name]
        if not equal(alone, together[site.name]):
            raise p.fail("a site captured alone differs", where=site.name)
    return float(len(p.some))


def _check_determinism(p: Probe) -> float:
    """Two passes give the same bits, at every site and at the end."""
    one, two = (capture(p.adapter, p.some, p.batch) for _ in range(2))
    for site in p.some:
        if not equal(one[site.name], two[site.name]):
            raise p.fail("two passes differ", where=site.name)
    if not equal(output(p), output(p)):
        raise p.fail("two passes differ", where="output")
    return 0.0


def _check_padding(p: Probe) -> float | str:
    """A sample gives the same rows alone and padded beside longer ones."""
    if p.adapter.batch_dependent:
        return "batch dependence declared"
    together = capture(p.adapter, p.some, p.batch)
    return max(
        p.same(together[site.name][i], p.alone(sample, site), f"{site.name}, sample number {i}")
        for i, sample in enumerate(p.samples)
        for site in p.some
    )


def _check_composition(p: Probe) -> float | str:
    """A sample gives the same rows whatever stands beside it."""
    if p.adapter.batch_dependent:
        return "batch dependence declared"
    site, first = p.blocks[-1], p.samples[0]
    own = p.alone(first, site)
    worst = 0.0
    for companions in (p.samples[1:], [first, first], p.samples[:0:-1]):
        batch = p.adapter.encode([first, *companions])
        worst = max(worst, p.same(capture(p.adapter, [site], batch)[site.name][0], own, site.name))
    return worst


def _check_permutation(p: Probe) -> float | str:
    """The order of the samples in a batch does not matter."""
    if p.adapter.batch_dependent:
        return "batch dependence declared"
    there = capture(p.adapter, p.some, p.batch)
    back = capture(p.adapter, p.some, p.adapter.encode(p.samples[::-1]))
    return max(
        p.same(b, a, site.name)
        for site in p.some
        for a, b in zip(there[site.name], reversed(back[site.name]))
    )


def _check_identity_edit(p: Probe) -> float:
    """Writing back what was read changes no bit of the output."""
    before = output(p)
    for site in p.some:
        with edit(p.adapter, site, lambda x: x):
            after = output(p)
        if not equal(before, after):
            raise p.fail("an identity edit changes the output", where=site.name)
    return float(len(p.some))


def _check_edit_felt(p: Probe) -> float:
    """A step in a random direction is read back as written, and is felt in the output."""
    before = output(p)
    for site in p.some:
        written: list[Tensor] = []

        def step(x: Tensor, written: list[Tensor] = written) -> Tensor:
            written.append(x + x.std() * direction(x))
            return written[-1]

        with edit(p.adapter, site, step):
            read = capture(p.adapter, [site], p.batch)[site.name]
            after = output(p)
        p.same(torch.cat(read), written[0].float(), f"{site.name} read back")
        if equal(before, after):
            raise p.fail("an edit is not felt in the output", where=site.name)
    return float(len(p.some))


def _check_hooks(p: Probe) -> float:
    """No hook is left behind, by success, error or KeyboardInterrupt."""
    count = hooks(p.adapter)
    for _ in accidents(p):
        if hooks(p.adapter) != count:
            raise p.fail("a hook was left behind", expected=str(count), got=str(hooks(p.adapter)))
    return float(count)


def _check_restored(p: Probe) -> float:
    """Train and eval modes, gradient flags and attention settings are as before, whatever happened."""
    module = p.adapter.module
    first = next(iter(module.children()), module)
    original = {m: m.training for m in module.modules()}
    try:
        module.eval()
        first.train()
        before = state(p.adapter)
        for _ in accidents(p):
            if state(p.adapter) != before:
                raise p.fail("a mode or a flag is not as it was")
    finally:
        for m, training in original.items():
            m.training = training
    return 1.0


def _check_gradients(p: Probe) -> float:
    """No graph unless asked; then the last block has finite gradients with respect to the embedding."""
    first, last = p.adapter.site("embedding"), p.blocks[-1]
    plain = capture(p.adapter, [last], p.batch)[last.name][0]
    if plain.requires_grad or plain.is_inference():
        raise p.fail("captured tensors must be ordinary ones without a graph")
    steps: list[Tensor] = []

    def step(x: Tensor) -> Tensor:
        steps.append(torch.zeros_like(x).requires_grad_())
        return x + steps[-1]

    with edit(p.adapter, first, step):
        rows = torch.cat(capture(p.adapter, [last], p.batch, grad=True)[last.name])
    if not rows.requires_grad:
        raise p.fail("no gradient although asked for")
    grad = torch.autograd.grad((rows * direction(rows)).sum(), steps[0])[0]
    if not bool(grad.isfinite().all()) or not bool(grad.any()):
        raise p.fail("the gradient is zero or not finite", where=last.name)
    return float(grad.norm())


def _check_identity(p: Probe) -> float:
    """The identity is stable, survives JSON, and changes with the weights."""
    adapter = p.adapter
    fresh = copy(adapter)
    fresh._sha256 = None
    one, two = adapter.origin.to_record(), fresh.origin.to_record()
    if one != two or json.loads(json.dumps(one)) != one:
        raise p.fail("the identity is not stable")
    a, b, other = (adapter.randomised(seed) for seed in (0, 0, 1))
    hashes = [m.origin.weights_sha256 for m in (adapter, a, b, other)]
    if hashes[1] != hashes[2] or len(set(hashes)) != 3 or adapter.origin.to_record() != one:
        raise p.fail("randomised weights must depend on the seed alone, and change the identity")
    last = p.blocks[-1]
    rows = torch.cat(capture(a, [last], p.batch)[last.name])
    if not bool(rows.isfinite().all()):
        raise p.fail("the randomised model is not finite")
    return 1.0


def _check_context(p: Probe) -> float | str:
    """The same residue in two contexts has other activations at the last block."""
    if not isinstance(data_of(p.samples[0]), str):
        return _same_embedding(p)
    last = p.blocks[-1]
    for sample in p.samples:
        data = data_of(sample)
        half = len(data) // 2
        rows, other = p.alone(sample, last), p.alone(data[half:], last)
        whole, part = (
            spans_of(p.adapter, last, p.adapter.encode([text]))[0][:, :2].tolist()
            for text in (data, data[half:])
        )
        for i, (start, stop) in enumerate(whole):
            if [start - half, stop - half] in part:
                difference = float(
                    (rows[i] - other[part.index([start - half, stop - half])]).norm() / rows[i].norm()
                )
                if difference > p.tolerance:
                    return difference
    raise p.fail("activations do not depend on the context", where=last.name)


def _same_embedding(p: Probe) -> float | str:
    """For samples that are no text: tokens of one embedding that differ at the last block."""
    found = [
        capture(p.adapter, ["embedding", p.blocks[-1]], p.adapter.encode([sample])) for sample in p.samples
    ]
    first, last = (torch.cat([f[name][0] for f in found]) for name in ("embedding", p.blocks[-1].name))
    if len(first) != len(last):
        return "the embedding has other tokens"
    equal = torch.cdist(first, first, compute_mode="donot_use_mm_for_euclid_dist") == 0
    pairs = equal.triu(1).nonzero()
    if not len(pairs):
        return "no two tokens have one embedding"
    difference = float((last[pairs[:, 0]] - last[pairs[:, 1]]).norm(dim=1).max() / last.norm(dim=1).mean())
    if difference > p.tolerance:
        return difference
    raise p.fail("activations do not depend on the context", where=p.blocks[-1].name)


def _check_reference(p: Probe) -> float | str:
    """Activations equal the framework's own hidden states."""
    reference = getattr(p.adapter, "reference", None)
    if reference is None:
        return "no hidden states of its own"
    with torch.no_grad():
        theirs = reference(p.batch)
    ours = capture(p.adapter, list(theirs), p.batch)
    return max(
        p.same(rows, theirs[name][i][p.batch.mask[i]], name)
        for name in theirs
        for i, rows in enumerate(ours[name])
    )


def _check_logits(p: Probe) -> float | str:
    """Scores are aligned with the tokens and as wide as the vocabulary; a mask hides what it covers."""
    adapter = p.adapter
    if not isinstance(adapter, HasLogits):
        if hasattr(adapter, "logits"):
            raise p.fail(
                "there are scores, but nothing says what about", expected="vocabulary and targets(batch)"
            )
        return "no logits"
    logits = adapter.logits(p.batch)
    expected = (*p.batch.mask.shape, len(adapter.vocabulary))
    if tuple(logits.shape) != expected:
        raise p.fail("logits have another shape", expected=str(expected), got=str(tuple(logits.shape)))
    _about(p, adapter)
    if isinstance(adapter, CanMask):
        where = p.batch.mask & (
            torch.rand(p.batch.mask.shape, generator=torch.Generator().manual_seed(0)) < 0.5
        )
        hidden = adapter.masked(p.batch, where).inputs
        changed = torch.zeros_like(where)
        for key, value in p.batch.inputs.items():
            if isinstance(value, Tensor) and value.numel() == where.numel():
                changed |= (value != hidden.get(key, value)).reshape(where.shape)
        if not torch.equal(changed, where):
            raise p.fail("masking changes other tokens than it should")
    return float(expected[-1])


def _about(p: Probe, adapter: HasLogits) -> None:
    """Targets are words of the vocabulary, and those of one letter are that letter of the sample."""
    ids, mask = adapter.targets(p.batch)
    if ids.shape != p.batch.mask.shape or mask.shape != p.batch.mask.shape or mask.dtype != torch.bool:
        raise p.fail("targets have another shape", expected=str(tuple(p.batch.mask.shape)))
    if bool((ids < 0).any()) or bool((ids >= len(adapter.vocabulary)).any()):
        raise p.fail("a target is no word of the vocabulary")
    for i, sample in enumerate(p.group):
        real = p.batch.spans[i][p.batch.mask[i]]
        words = [adapter.vocabulary[j].removeprefix("▁") for j in ids[i][mask[i]].tolist()]
        data = data_of(sample)
        if words and isinstance(data, str) and (real[:, 1] > real[:, 0]).all() and p.adapter.kind != "smiles":
            letters = [data[a:b] for a, b in real[len(real) - len(words) :, :2].tolist()]
            if any(w != x and w in data and x in adapter.vocabulary for w, x in zip(words, letters)):
                raise p.fail("targets are not about the tokens they stand at")


def _check_reverse_complement(p: Probe) -> float | str:
    """The reverse complement is an involution that the model accepts."""
    if not isinstance(p.adapter, HasReverseComplement):
        return "one strand"
    for sample in [*p.samples, p.adapter.alphabet]:
        data = data_of(sample)
        other = p.adapter.reverse_complement(data)
        p.adapter.check([other])
        if p.adapter.reverse_complement(other) != data or len(other) != len(data):
            raise p.fail("twice the reverse complement is not the sequence")
        if len(set(data)) > 1 and other == data[::-1]:
            raise p.fail("the sequence is reversed but not complemented")
    return 1.0


def _check_generate(p: Probe) -> float | str:
    """Draws are seeded; fixed positions stay; an edit is felt at every step, is gone after, and as identity changes nothing."""
    adapter, sample = p.adapter, p.samples[0]
    if not isinstance(adapter, CanGenerate):
        return "does not write"
    n = adapter.count_positions(data_of(sample))
    settings = GenerationSettings(positions=tuple(range(max(1, n - 4), n)))
    before, runs = hooks(adapter), adapter.runs
    plain = adapter.generate(sample, n=2, seed=3, settings=settings)
    steps, fired = adapter.runs - runs, 0

    def identity(x: Tensor) -> Tensor:
        nonlocal fired
        fired += 1
        return x

    with edit(adapter, p.blocks[-1], identity):
        again = adapter.generate(sample, n=2, seed=3, settings=settings)
    if repr(again) != repr(plain):
        raise p.fail("the same seed, or an edit that changes nothing, gives another sample")
    if steps < 1 or fired != steps:
        raise p.fail(
            "an edit is not felt at every step", expected=f"{steps} forward passes", got=f"{fired} calls"
        )
    if hooks(adapter) != before:
        raise p.fail("a hook was left behind")
    if any(adapter.count_positions(text) != n for text in plain):
        raise p.fail("the number of positions changed")
    data = data_of(sample)
    if isinstance(data, str) and any(str(t)[: max(1, n - 4)] != data[: max(1, n - 4)] for t in plain):
        raise p.fail("a position changed that should not")
    adapter.check(plain)
    return float(steps)


CHECKS: tuple[Callable[[Probe], float | str], ...] = (
    _check_sites, _check_coverage, _check_illegal, _check_over_length, _check_rows, _check_embedding,
    _check_order, _check_one_pass, _check_determinism, _check_padding, _check_composition,
    _check_permutation, _check_reference, _check_identity_edit, _check_edit_felt, _check_hooks,
    _check_restored, _check_gradients, _check_identity, _check_context, _check_logits,
    _check_reverse_complement, _check_generate,
)  # fmt: skip
