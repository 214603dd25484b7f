"""The work of :func:`sciinterp.extract`: plan, run, write."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, overload

import numpy as np
import torch

from sciinterp import distributed
from sciinterp.activations.plan import Item, Work, kept_tokens
from sciinterp.activations.recorded import Activations, fingerprint, load_activations, site_folder
from sciinterp.activations.settings import ExtractSettings
from sciinterp.devices import using_threads
from sciinterp.errors import InputError, no_such, require_kinds
from sciinterp.models.adapter import Adapter
from sciinterp.models.engine import activation_error, capture, spans_of
from sciinterp.models.running import DTYPES as TORCH_DTYPES
from sciinterp.progress import progress
from sciinterp.samples import Sample, Samples
from sciinterp.settings import at_least, plain_value, settings_of
from sciinterp.store import ledger
from sciinterp.store.atomic import read_json
from sciinterp.store.layout import DTYPES, ENVIRONMENT, MANIFEST, PLAN
from sciinterp.store.shards import Writer, open_writer, require_free, require_parent

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

# Tokens, about, on which the error of a lower precision is measured, and their largest share: the work is done twice.
PRECISION_TOKENS, PRECISION_SHARE = 256, 0.01
# Rows and spans of one sample at one site, a pair a window.
_Parts: TypeAlias = list[tuple[np.ndarray, np.ndarray]]


@overload
def extract(
    model: Adapter,
    samples: Samples | pd.DataFrame,
    *,
    site: str,
    out: str | Path,
    dtype: str = ...,
    max_tokens: int = ...,
    settings: ExtractSettings | None = ...,
    overwrite: bool = ...,
) -> Activations: ...
@overload
def extract(
    model: Adapter,
    samples: Samples | pd.DataFrame,
    *,
    site: list[str],
    out: str | Path,
    dtype: str = ...,
    max_tokens: int = ...,
    settings: ExtractSettings | None = ...,
    overwrite: bool = ...,
) -> dict[str, Activations]: ...
def extract(
    model: Adapter,
    samples: Samples | pd.DataFrame,
    *,
    site: str | list[str],
    out: str | Path,
    dtype: str = "float32",
    max_tokens: int = 8192,
    settings: ExtractSettings | None = None,
    overwrite: bool = False,
) -> Activations | dict[str, Activations]:
    """Record a model's activations on samples. Run it again to resume; a finished store is returned at once.

    Parameters
    ----------
    model : Adapter
        Its ``device`` is where it computes (:func:`sciinterp.load_model`); its ``dtype`` is the precision it computes
        in, and below float32 the error is measured and kept.
    samples : Samples
    site : str or list of str
        One site, kept in ``out``; or several from one forward pass, each kept in a folder of ``out`` named
        after it.
    out : path
        A new or empty folder, or the store to resume.
    dtype : {"float32", "float16", "bfloat16"}
        What the rows are kept as.
    max_tokens : int
        Tokens of a batch, padding included.
    settings : ExtractSettings, optional
    overwrite : bool
        Replace a store of another plan; anything else in the folder is never touched.

    Returns
    -------
    Activations, or dict of site name to Activations

    Raises
    ------
    InputError
        An unknown site, a sample the model cannot take (before anything is written), or a NaN, which is named
        by sample, position and site.
    MismatchError
        The folder holds activations of another model, site, samples or settings.
    StoreError, BusyError
        The folder is in use, or the disk is full; what was finished is kept.
    """
    settings = settings_of(settings, ExtractSettings)
    require_kinds(model=(model, Adapter), out=(out, Path))
    samples, overwrite = Samples.coerce(samples), plain_value(overwrite, bool, "overwrite")
    if dtype not in DTYPES:
        raise no_such("type", dtype, DTYPES, where="dtype")
    names = site if isinstance(site, Iterable) and not isinstance(site, str) else [site]
    sites = list(dict.fromkeys(plain_value(name, str, "site") for name in names))
    if not sites or not len(samples):
        raise InputError(
            "nothing to extract",
            expected="at least one site and one sample",
            got=f"{len(sites)} sites, {len(samples)} samples",
        )
    out = Path(out)
    folders = {name: out if isinstance(site, str) else out / site_folder(name) for name in sites}
    with ledger.recorded("extract", out if isinstance(site, str) else None, settings=asdict(settings)):
        extract_sites(
            model,
            samples,
            folders,
            dtype=dtype,
            max_tokens=max_tokens,
            settings=settings,
            overwrite=overwrite,
        )
    found = {name: load_activations(folder) for name, folder in folders.items()}
    return found[site] if isinstance(site, str) else found


def extract_sites(
    model: Adapter,
    samples: Samples,
    folders: Mapping[str, Path],
    *,
    dtype: str = "float32",
    max_tokens: int = 8192,
    settings: ExtractSettings | None = None,
    overwrite: bool = False,
) -> None:
    """:func:`extract` of several sites in one pass, each kept in a folder of its own: a run folder a site, say."""
    settings = settings_of(settings, ExtractSettings)
    records = {name: model.site(name) for name in folders}
    # Refused before anything is written: letters, lengths, windows, folders in use.
    model.check(samples)
    work = Work(model, samples, plain_value(max_tokens, int, "max_tokens", at_least(1)), settings)
    threads = begun_threads(folders.values())
    plan = work.plan(threads)
    plans = {}
    for name, record in records.items():
        identity = {**model.origin_at(name).to_record(), "kept_as": dtype}
        plans[name] = {
            **plan,
            "identity": identity,
            "site": asdict(record),
            "d_in": record.width,
            "dtype": dtype,
        }
    if len({folder.parent for folder in folders.values()}) < len(folders):
        require_parent(next(iter(folders.values())).parent)
    for name, folder in folders.items():
        require_free(folder, plans[name], overwrite=overwrite)
    distributed.meet()  # all have looked before the first one writes
    with ExitStack() as stack:
        writers: dict[str, Writer] = {}
        for name in sorted(folders):
            writers[name] = stack.enter_context(
                open_writer(folders[name], plans[name], samples, overwrite=overwrite)
            )
        open_ones = {name: writer for name, writer in writers.items() if not writer.complete}
        if open_ones:
            with using_threads(threads):
                _shards(work, open_ones, dtype)
                _finish(work, open_ones)


def begun_threads(folders: Iterable[Path]) -> int:
    """Threads of this run: those an unfinished store was begun with, since they can change the last bit."""
    for folder in folders:
        if (folder / PLAN).is_file() and not (folder / MANIFEST).is_file():
            plan = read_json(folder / PLAN)
            begun = (plan.get(ENVIRONMENT) or {}).get("threads") if isinstance(plan, dict) else None
            if isinstance(begun, int) and begun > 0:
                return begun
    return torch.get_num_threads()


def _shards(work: Work, writers: Mapping[str, Writer], dtype: str) -> None:
    lengths = work.samples.lengths
    missing = sorted({k for writer in writers.values() for k in writer.missing})
    wanted = distributed.mine(missing)
    tokens = [int(lengths[lo:hi].sum()) for lo, hi in zip(work.bounds, work.bounds[1:])]
    total, left = sum(tokens), sum(tokens[k] for k in missing)
    # The bar is the first rank's, of the whole: what it does stands for as much of the others.
    stride = left / max(sum(tokens[k] for k in wanted), 1)
    if wanted:
        log.info("extract: %s positions at %s", f"{left:,}", ", ".join(writers))
    with progress(
        total=total,
        initial=total - left,
        unit="token",
        unit_scale=True,
        desc="extract",
    ) as bar:
        for number in wanted:
            sites = [name for name, writer in writers.items() if number in writer.missing]
            found, bad = _run_shard(work, number, sites, dtype, lambda n: bar.update(n * stride))
            for name in sites:
                d_in = writers[name].plan["d_in"]
                parts = [
                    _merge(work, i, found[name].pop(i, []), dtype, d_in)
                    for i in writers[name].samples_of(number)
                ]
                writers[name].write(number, [p[0] for p in parts], [p[1] for p in parts], skipped=bad[name])
                del parts


def _run_shard(
    work: Work, number: int, sites: Sequence[str], dtype: str, done: Callable[[int], object]
) -> tuple[dict[str, dict[int, _Parts]], dict[str, dict[int, str]]]:
    """Rows of every sample of a shard at every site, and the samples to leave out."""
    items = work.items(number)
    found: dict[str, dict[int, _Parts]] = {name: {} for name in sites}
    bad: dict[str, dict[int, str]] = {name: {} for name in sites}
    for batch in work.batches(items):
        chosen = [items[i] for i in batch]
        encoded = work.model.encode([_cut(work.samples, item) for item in chosen])
        captured = capture(work.model, sites, encoded)
        for name in sites:
            spans = spans_of(work.model, name, encoded)
            for item, tensor, span in zip(chosen, landed(captured[name]), spans):
                values, exact = _stored(tensor, dtype, merge=bool(work.window))
                if not exact:
                    bad[name][item.sample] = _nonfinite(work, item, name, tensor, span)
                shifted = span.numpy().astype(np.int32) + np.array([item.lo, item.lo, 0], np.int32)
                found[name].setdefault(item.sample, []).append((values, shifted))
        done(sum(item.hi - item.lo for item in chosen))
    for name in sites:
        for sample in bad[name]:
            found[name].pop(sample, None)
    return found, bad


def landed(rows: list[torch.Tensor]) -> list[torch.Tensor]:
    """The rows of a batch's samples on the processor: from another device by one copy of the batch."""
    if rows[0].device.type == "cpu":
        return rows
    return list(torch.cat(rows).detach().cpu().split([len(x) for x in rows]))


def _cut(samples: Samples, item: Item) -> Sample:
    sample = samples[item.sample]
    if (item.lo, item.hi) == (0, sample.length):
        return sample
    return Sample(sample.id, sample.sequence[item.lo : item.hi])


def _stored(tensor: torch.Tensor, dtype: str, *, merge: bool) -> tuple[np.ndarray, bool]:
    """The numpy array that is kept of a tensor (float32 while windows are to be merged); is it finite."""
    kept = tensor.detach().to("cpu", torch.float32 if merge else TORCH_DTYPES[dtype])
    # One sum is far cheaper than a test of every number; only a suspicious one is looked at again.
    finite = bool(torch.isfinite(tensor.sum(dtype=torch.float64))) and (
        dtype != "float16" or bool(torch.isfinite(tensor.to(torch.float16)).all())
    )
    if not finite:
        finite = bool(torch.isfinite(tensor).all()) and dtype != "float16"
    # Views of the batch's own rows, which hold real tokens only: no copies, and so no scattered memory.
    return (
        kept.view(torch.int16).numpy().view(np.uint16) if kept.dtype == torch.bfloat16 else kept.numpy()
    ), finite


def _nonfinite(work: Work, item: Item, site: str, tensor: torch.Tensor, span: torch.Tensor) -> str:
    wrong = ~torch.isfinite(tensor)
    overflow = not bool(wrong.any())
    if overflow:
        wrong = ~torch.isfinite(tensor.to(torch.float16))
    row = int(wrong.any(1).nonzero()[0])
    reason = "float16 overflow" if overflow else "NaN or infinity"
    if work.settings.nonfinite == "skip":
        log.warning("sample %r has %s at %s: left out", work.samples.ids[item.sample], reason, site)
        return reason
    place = int(span[row, 0]) + item.lo
    raise InputError(
        f"{reason} in the activations",
        where=f"sample {work.samples.ids[item.sample]!r} position {place} (counted from 0) site {site!r}",
        expected="finite numbers",
        got=str(float(tensor[row][wrong[row]][0])),
        do="Keep them as bfloat16 or float32."
        if overflow
        else "Leave the sample out, or skip such samples (nonfinite='skip').",
    )


def _merge(work: Work, sample: int, parts: _Parts, dtype: str, d_in: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and spans of one sample: its windows joined, tokens that several windows hold averaged."""
    if not parts:
        return _stored(torch.zeros(0, d_in), dtype, merge=False)[0], np.zeros((0, 3), np.int32)
    if len(parts) == 1 and not work.window:
        return parts[0]
    rows, spans = map(np.concatenate, zip(*parts))
    if len(parts) > 1:
        kept = _kept(work.samples.ids[sample], [part[1] for part in parts])
        spans, number, count = np.unique(spans, axis=0, return_inverse=True, return_counts=True)
        sums = np.zeros((len(spans), rows.shape[1]), np.float32)
        np.add.at(sums, number.ravel(), rows)
        rows = sums / count[:, None].astype(np.float32)
        chosen = np.unique(number.ravel()[kept])
        rows, spans = rows[chosen], spans[chosen]
    return _stored(torch.from_numpy(rows), dtype, merge=False)[0], spans


def _kept(name: str, windows: list[np.ndarray]) -> np.ndarray:
    """bool: which of the tokens of a sample's windows, end to end in any order, are kept."""
    order = sorted((k for k, spans in enumerate(windows) if len(spans)), key=lambda k: windows[k][:, 0].min())
    kept = [np.zeros(len(spans), bool) for spans in windows]
    try:
        for k, mask in zip(order, kept_tokens([windows[k] for k in order])):
            kept[k] = mask
    except InputError as error:
        do = "Cut the sample yourself, or leave it out."
        raise InputError(error.what, where=f"sample {name!r}", do=do) from None
    return np.concatenate(kept)


def _finish(work: Work, writers: Mapping[str, Writer]) -> None:
    if not distributed.first():
        for writer in writers.values():
            writer.finish()
        return
    errors = dict.fromkeys(writers)
    if work.model.dtype != "float32":
        order = np.argsort(work.samples.lengths, kind="stable")
        wanted = min(PRECISION_TOKENS, PRECISION_SHARE * work.samples.n_positions)
        shortest = order[: int(np.searchsorted(np.cumsum(work.samples.lengths[order]), wanted)) + 1]
        limit = work.window or None
        few = [
            Sample(work.samples.ids[i], work.samples.data[i][:limit] if limit else work.samples.data[i])
            for i in shortest
        ]
        errors = activation_error(work.model, list(writers), work.model.encode(few))
    marks = fingerprints(work, list(writers))
    for name, writer in writers.items():
        writer.finish({"fingerprint": marks[name], "precision_error": errors[name]})


def fingerprints(work: Work, sites: Sequence[str]) -> dict[str, dict[str, object]]:
    """Marks of the model at some sites, on its probe, or on the first sample where it takes no such thing."""
    model, probe = work.model, work.model.probe
    try:
        if probe is None:
            raise InputError("no probe")
        encoded = model.encode([Sample("probe", probe, model.count_positions(probe))])
        name = probe if isinstance(probe, str) else hashlib.sha256(repr(probe).encode()).hexdigest()[:16]
    except InputError:
        encoded = model.encode([_cut(work.samples, work.items(0)[0])])
        name = f"first of samples {work.samples.digest[:16]}"
    found = capture(model, sites, encoded)
    return {site: fingerprint(found[site][0].cpu().numpy(), name) for site in sites}
