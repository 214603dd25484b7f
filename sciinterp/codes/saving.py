"""Codes as a store: what its plan says, how codes of any source are written, and the SAE that lies beside them."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sciinterp import distributed
from sciinterp.codes.intervals import positions_type
from sciinterp.errors import SciinterpError
from sciinterp.provenance import Origin
from sciinterp.samples import Samples
from sciinterp.settings import Plain
from sciinterp.store.atomic import array_sha256
from sciinterp.store.codes_reader import CodesReader
from sciinterp.store.layout import ENVIRONMENT, SPARSE, shard_bounds
from sciinterp.store.origins import save_origin
from sciinterp.store.shards import Writer, open_writer

if TYPE_CHECKING:
    from sciinterp.codes.matrix import FeatureMatrix
    from sciinterp.sae import SAE

log = logging.getLogger(__name__)

# Positions of a shard, about: what a killed run has to repeat at most, and what memory holds.
SHARD_POSITIONS = 65536


def bounds_of(samples: Samples) -> list[int]:
    """Bounds of the shards of codes, in sample numbers."""
    return shard_bounds(samples.lengths, SHARD_POSITIONS)


def codes_plan(samples: Samples, n_features: int, origin: Origin, inputs: Mapping[str, object]) -> Plain:
    """What a store of codes depends on, the environment apart."""
    return {
        "schema": SPARSE.name,
        "identity": origin.to_record(),
        "inputs": inputs,
        SPARSE.width: n_features,
        "dtype": "float32",
        "samples": {"n": len(samples), "positions": samples.n_positions, "digest": samples.digest},
        "shards": bounds_of(samples),
    }


def finish(writer: Writer, origin: Origin, **extra: object) -> None:
    """End a store of codes; its origin goes into the manifest, what trained the SAE into a file beside it."""
    writer.finish({"origin": save_origin(writer.folder, origin), **extra} if distributed.first() else {})


def save_features(features: FeatureMatrix, folder: str | Path) -> None:
    """Write codes as a store, shard by shard, over codes that are there."""
    samples, digest = features.samples, hashlib.sha256()
    if features.folder is not None and features.folder.resolve() == Path(folder).resolve():
        return  # they are there
    bounds = bounds_of(samples)
    for lo, hi in zip(bounds, bounds[1:]):
        codes = features.by_sample(np.arange(lo, hi))
        # Of one type wherever they come from: the same codes are the same store.
        places = (codes.indices.astype(np.int32), codes.indptr.astype(positions_type(codes.nnz)))
        for part in (codes.data, *places):
            digest.update(array_sha256(part).encode())
    plan = codes_plan(samples, features.n_features, features.origin, {"codes": digest.hexdigest()})
    with open_writer(folder, plan | {ENVIRONMENT: {}}, samples, overwrite=True) as writer:
        for number in writer.mine:
            group = writer.samples_of(number)
            codes = features.by_sample(np.arange(group.start, group.stop))
            writer.write_codes(number, codes, samples.lengths[group.start : group.stop])
        if not writer.complete:
            finish(writer, features.origin)


def relative_path(folder: Path, out: Path) -> str | None:
    """Where a folder lies, seen from one beside it; None where the two have no run folder in common."""
    run = Path(os.path.realpath(out)).parent
    real = Path(os.path.realpath(folder))
    return os.path.relpath(real, os.path.realpath(out)) if real != run and real.is_relative_to(run) else None


def sae_beside(codes: CodesReader, origin: Origin) -> SAE | None:
    """The SAE whose path a folder of codes keeps; None, and a word in the log, where it is not there or another."""
    kept = codes.manifest["extra"].get("sae")
    folder = codes.folder / kept if isinstance(kept, str) else None
    if folder is None or relative_path(folder, codes.folder) is None or not folder.is_dir():
        return None
    from sciinterp.sae import load_sae

    try:
        sae = load_sae(folder)
    except SciinterpError as error:
        log.warning("the SAE beside the codes cannot be used: %s", error)
        return None
    if sae.signed().sae_sha256 != origin.sae_sha256:
        log.warning("%s holds another SAE than the one that made the codes", folder)
        return None
    return sae
