"""Encode: codes of all positions, shard by shard, on disk or in memory; and the folders they are kept in."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from tqdm import tqdm

from sciinterp.codes.matrix import FeatureMatrix
from sciinterp.codes.positions import to_positions
from sciinterp.codes.saving import bounds_of, codes_plan, finish, relative_path
from sciinterp.errors import InputError, MismatchError, ShapeError, require_kinds
from sciinterp.progress import progress
from sciinterp.provenance import UNKNOWN, Origin, differing, origin_of, site_of, unfit
from sciinterp.samples import Samples
from sciinterp.settings import Plain
from sciinterp.store import ledger
from sciinterp.store.arrays import as_rows
from sciinterp.store.atomic import array_sha256, is_overwriting
from sciinterp.store.codes_reader import CodesReader, read_old_codes
from sciinterp.store.layout import ENVIRONMENT, OLD_HEAD, PLAN
from sciinterp.store.origins import load_origin
from sciinterp.store.shards import open_writer

if TYPE_CHECKING:
    from sciinterp.activations import Activations
    from sciinterp.activations.streaming import Stream
    from sciinterp.models import Adapter
    from sciinterp.sae import SAE

# Tokens read at once; an eighth of them, 1,024 rows, is encoded at once, as much as the encoder multiplies. Such parts begin
# at multiples of their size, whatever the shards: so a token's code is a function of its place alone, one of a killed run
# is the same as one of a whole run, and little is encoded twice where two shards meet.
BATCH_TOKENS = 8192

# What an SAE explains is measured on so many tokens, in so many runs.
MEASURED_TOKENS, MEASURED_RUNS = 4096, 8

log = logging.getLogger(__name__)


def encode(
    sae: SAE,
    acts: Activations | np.ndarray | None = None,
    *,
    model: Adapter | None = None,
    samples: Samples | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> FeatureMatrix:
    """Codes of all positions. Run it again to resume; a finished folder is returned at once.

    Where one token spans several positions each of them gets its code; where several tokens cover one position the
    largest wins.

    Parameters
    ----------
    sae : SAE
    acts : Activations, Stream or ndarray [n_positions, d_in], optional
        An array needs ``samples`` beside it.
    model : Adapter, optional
        With ``samples`` in place of ``acts``: activations are computed and not kept, codes are all that is stored.
    samples : Samples, optional
    out : path, optional
        Folder to keep the codes in, written shard by shard and read back when asked: the codes may be larger than
        memory. Without it they stay in memory.
    device : str, optional
        Where the SAE computes: "cpu", "cuda", "cuda:1", "mps" or "auto"; where it is when not given.
    overwrite : bool
        Replace the codes of another run; anything else in the folder is never touched.

    Raises
    ------
    MismatchError
        When the activations come from another model, weights or site than the SAE was trained on, or the folder holds
        codes of another run.
    ShapeError
        When the samples are not those of the activations, or an array is not of rows of real numbers.
    InputError
        There is no such device, or an argument is of another kind.
    """
    from sciinterp.activations.streaming import stream
    from sciinterp.devices import moved
    from sciinterp.sae.base import SAE

    require_kinds(sae=(sae, SAE), overwrite=(overwrite, bool))
    if samples is not None:
        require_kinds(samples=(samples, Samples))
    if out is not None:
        require_kinds(out=(out, Path))
    found, expected = acts, "acts, or model= and samples="
    if found is not None and model is not None:
        raise InputError("activations from two places", expected=expected, got="both")
    if found is None:
        if model is None or samples is None:
            raise InputError("nothing to encode", expected=expected)
        found = stream(model, samples, site=site_of(sae))
    if not hasattr(found, "token_offsets"):
        found = np.asarray(as_rows(found))
    with moved(device, sae):
        return _encode(sae, found, samples, out, overwrite=overwrite)


def _encode(
    sae: SAE,
    acts: Activations | Stream | np.ndarray,
    samples: Samples | None,
    out: str | Path | None,
    *,
    overwrite: bool,
) -> FeatureMatrix:
    sae.check(acts)
    samples = samples if samples is not None else getattr(acts, "samples", None)
    if samples is None:
        raise InputError("an array of activations needs its samples", where="encode", do="Pass samples=.")
    origin = sae.signed()
    if origin_of(acts).fingerprint is not UNKNOWN:
        origin = replace(origin, fingerprint=origin_of(acts).fingerprint)
    work = _Encoder(sae, acts, samples)
    measured = work.measured()
    if out is None:
        bounds = bounds_of(samples)
        with work.bar(0) as bar:
            parts = [work.shard(lo, hi, bar) for lo, hi in zip(bounds, bounds[1:])]
        empty = sp.csr_array((0, sae.n_features), dtype=np.float32)
        found = FeatureMatrix(sp.vstack([empty, *parts], format="csr"), samples, sae=sae, origin=origin)
        found.measured = measured
        return found
    out, overwrite = Path(out), overwrite or is_overwriting()
    if (out / OLD_HEAD).is_file() and not (out / PLAN).is_file() and not overwrite:
        found = load_features(out)
        if differing(found.origin, origin) or found.samples.digest != samples.digest:
            raise MismatchError(
                "the folder holds codes of another run",
                where=f"folder {str(out)!r}",
                do="Choose another folder, or overwrite this one (--overwrite, overwrite=True).",
            )
    else:
        with ledger.recorded("encode", out, inputs={"sae": origin.sae_sha256, "samples": samples.digest}):
            _encode_to(work, out, origin, measured, overwrite=overwrite)
        found = load_features(out)
    found.sae, found.measured = sae, found.measured or measured
    return found


def _encode_to(work: _Encoder, out: Path, origin: Origin, measured: Plain, *, overwrite: bool) -> None:
    from sciinterp.activations.extraction import begun_threads
    from sciinterp.activations.plan import environment
    from sciinterp.devices import using_threads

    sae, acts, samples = work.sae, work.acts, work.samples
    threads = begun_threads([out])
    digest = array_sha256(acts) if isinstance(acts, np.ndarray) else getattr(acts, "digest", None)
    plan = codes_plan(samples, sae.n_features, origin, {"activations": digest}) | {
        "batch_tokens": BATCH_TOKENS,
        ENVIRONMENT: environment(sae.W_dec.device, threads),
    }
    folder = getattr(sae, "folder", None)
    beside = relative_path(folder, out) if folder else None
    with open_writer(out, plan, samples, overwrite=overwrite) as writer, using_threads(threads):
        if writer.complete:
            return
        sizes = [int(samples.lengths[lo:hi].sum()) for lo, hi in zip(plan["shards"], plan["shards"][1:])]
        left, mine = (sum(sizes[k] for k in some) for some in (writer.missing, writer.mine))
        with work.bar(samples.n_positions - left, left / max(mine, 1)) as bar:
            for number in writer.mine:
                group = writer.samples_of(number)
                codes = work.shard(group.start, group.stop, bar)
                writer.write_codes(number, codes, samples.lengths[group.start : group.stop])
        finish(writer, origin, sae=beside, **({"measured": measured} if measured else {}))


class _Encoder:
    """Codes of runs of samples."""

    def __init__(self, sae: SAE, acts: Activations | Stream | np.ndarray, samples: Samples) -> None:
        self.sae, self.acts, self.samples = sae, acts, samples
        if isinstance(acts, np.ndarray):
            sae.encode_scipy(acts[:0])  # rows of another width are named before a folder is begun
            self.offsets, self.n = samples.offsets, len(acts)
        else:
            self.offsets, self.n = np.asarray(acts.token_offsets), int(acts.n_tokens)
        if len(self.offsets) != len(samples) + 1 or self.offsets[-1] != self.n:
            raise ShapeError(
                "codes do not fit the samples",
                expected=f"{self.offsets[-1]} rows of {len(samples)} samples",
                got=f"{self.n} rows of {len(self.offsets) - 1}",
            )
        self._stride = 1.0

    def measured(self) -> Plain:
        """What an SAE that nobody measured explains of these activations; empty of one that was measured in training.

        On runs of tokens from all over them. It is said where that is too little, and kept with the codes.
        """
        from sciinterp.sae.metrics import measure

        if "fve" in self.sae.metrics or not self.n:
            return {}
        size = min(MEASURED_TOKENS, self.n) // MEASURED_RUNS or self.n
        starts = np.unique(np.linspace(0, self.n - size, MEASURED_RUNS).astype(int)).tolist()
        found = measure(self.sae, (self._read(at, at + size) for at in starts))
        if not np.isfinite(found["fve"]):  # rows that do not vary
            return {}
        kept = {name: found[name] for name in ("fve", "l0", "n_tokens")}
        log.info("the SAE explains %.3f of the variance of %s tokens", kept["fve"], f"{kept['n_tokens']:,}")
        if said := unfit(kept):
            log.warning("%s", said)
        return kept

    def bar(self, done: int, stride: float = 1.0) -> tqdm:
        """Progress of the whole, of which a rank's positions stand for ``stride`` times as many; a line in the log."""
        self._stride = stride
        log.info("encode: %s tokens with %d features", f"{self.n:,}", self.sae.n_features)
        total = self.samples.n_positions
        return progress(total=total, initial=done, unit="position", desc="encode")

    def shard(self, first: int, last: int, bar: tqdm) -> sp.csr_array:
        """Codes of the positions of the samples ``[first, last)``."""
        lo, hi = int(self.offsets[first]), int(self.offsets[last])
        parts = [sp.csr_array((0, self.sae.n_features), dtype=np.float32)]
        unit = max(1, BATCH_TOKENS // 8)
        top = min(hi + -hi % unit, self.n)
        for begin in range(lo - lo % unit, top, 8 * unit):
            rows = self._read(begin, min(begin + 8 * unit, top))
            for at in range(0, len(rows), unit):
                batch = self.sae.encode_scipy(rows[at : at + unit])
                parts.append(batch[max(lo - begin - at, 0) : min(hi - begin - at, batch.shape[0])])
        codes = sp.csr_array(sp.vstack(parts, format="csr"))
        lengths = self.samples.lengths[first:last]
        bar.update(int(lengths.sum()) * self._stride)
        if isinstance(self.acts, np.ndarray):
            return codes
        spans = self.acts.read_spans(lo, hi)
        base = np.repeat(np.cumsum(lengths) - lengths, np.diff(self.offsets[first : last + 1]))
        return to_positions(codes, spans["start"] + base, spans["end"] + base, int(lengths.sum()))

    def _read(self, begin: int, end: int) -> np.ndarray:
        if isinstance(self.acts, np.ndarray):
            return np.asarray(self.acts[begin:end], np.float32)
        return self.acts.read(begin, end)


def load_features(folder: str | Path) -> FeatureMatrix:
    """Open a folder of codes; they are read, and checked, when they are asked for.

    Raises
    ------
    StoreError
        When the folder is incomplete, damaged or of a newer version.
    """
    require_kinds(folder=(folder, Path))
    folder = Path(folder)
    if (folder / OLD_HEAD).is_file() and not (folder / PLAN).is_file():
        codes, samples, record = read_old_codes(folder)
        return FeatureMatrix(codes, samples, origin=load_origin(folder, record), folder=folder)
    reader = CodesReader(folder)
    record = reader.manifest["extra"].get("origin")
    origin = load_origin(folder, record if isinstance(record, dict) else {})
    found = FeatureMatrix(reader, reader.samples(), origin=origin, folder=folder)
    measured = reader.manifest["extra"].get("measured")
    found.measured = measured if isinstance(measured, dict) else {}
    return found
