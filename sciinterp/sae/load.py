"""Read an SAE: a folder written here or by SAELens, or another package's files (``foreign.py``).

``sae_weights.safetensors`` holds float32 ``W_enc [d_in, F]``, ``b_enc [F]``, ``W_dec [F, d_in]``, ``b_dec
[d_in]`` and, for threshold SAEs, ``threshold [F]``. ``cfg.json`` holds SAELens's fields;
``metadata.sciinterp`` adds what the SAE was trained as, how, and on which model, weights and site.
``sha256`` of the weights is kept there and checked on reading: a flipped byte passes safetensors in
silence.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sciinterp.errors import InputError, StoreError, require_kinds
from sciinterp.models.registry import stated_width
from sciinterp.provenance import Origin, check, stated
from sciinterp.sae import foreign
from sciinterp.sae.base import SAE, sae_of
from sciinterp.sae.hub import fetched, row_of
from sciinterp.sae.registry import architecture_from
from sciinterp.sae.weights import ARRAYS, CONFIG, METRICS
from sciinterp.store.arrays import check_sha256
from sciinterp.store.describe import kind_of
from sciinterp.store.fields import Fields
from sciinterp.store.ledger import require_intact
from sciinterp.store.origins import load_origin
from sciinterp.store.sealed import SEAL, check_sealed

log = logging.getLogger(__name__)


def load_sae(
    path: str | Path,
    *,
    format: str = "auto",
    model: object = None,
    origin: Origin | Mapping[str, object] | object = None,
    weights: str | Path | None = None,
    revision: str | None = None,
) -> SAE:
    """Read an SAE made here or by another package, from a path or by the name of a published one.

    Parameters
    ----------
    path : folder, file or name
        Names are those that ``sciinterp saes`` lists, such as ``interplm/esm2-8m/layer-4``; the row states the origin.
    format : str
        "sciinterp", "saelens", "dictionary_learning", "sparsify", "interplm", "esmc", "interprot", "bionemo",
        "overcomplete", "tied" or "arrays"; "auto" decides by the files.
    model : Adapter, optional
        Checked against the model, weights and site the SAE was trained on.
    origin : Origin, dict or Activations, optional
        Model and site of an SAE that does not say them: ``si.Origin(model=..., site=...)``, a dict of its fields
        (``model`` may be a loaded model), or activations that it is of.
    weights : folder, optional
        Where the file of a published SAE lies, instead of the hub.
    revision : str, optional
        Commit of the hub that a published SAE is taken at; by default that of its row, or of its first use here.

    Raises
    ------
    MismatchError
        ``model`` is another model, or the SAE says another ``origin``; the message names what differs.
    InputError, FormatError, StoreError
        No SAE is there; it is not in the format; its weights are damaged; the file could run code on loading.
    """
    require_kinds(path=(path, Path))
    place = Path(path)
    try:
        there = place.exists()
    except (OSError, ValueError):  # a name longer than the system takes, or with a null in it
        there = False
    row = None if there else row_of(str(path)[:200])
    if row is not None:
        place, format, there = fetched(row, weights, revision), row.format, True
        origin = row.origin if origin is None else origin
    elif revision is not None:
        raise InputError(
            "only a published SAE has a revision", where=f"revision={revision!r}", got=f"'{str(path)[:200]}'"
        )
    if not there:
        raise InputError("there is no SAE", where=f"'{str(path)[:200]}'", expected="a folder or a file")
    if (kind := kind_of(place)) not in ("", "an SAE"):
        do = "Its SAE lies in sae below it." if (place / "sae").is_dir() else ""
        raise InputError(f"this is {kind}, not an SAE", where=f"'{path}'", do=do)
    folder = place.resolve() if place.is_dir() else place.resolve().parent
    require_intact(folder.parent, *(f"{folder.name}/{name}" for name in (CONFIG, METRICS, "training.jsonl")))
    known = {"k": row.k} if row is not None and row.k is not None else None  # what the file does not say
    arrays, facts, found = foreign.read(place.resolve(), format, known)
    sae = sae_of(arrays)
    sae.recipe, sae.folder = facts, place
    ours = found.config.inner("metadata").inner("sciinterp")
    if found.file.name == ARRAYS:
        required = "measured" in ours  # written since there are seals
        sealed = check_sealed(found.file.with_name(CONFIG), found.config.values, required=required)
        if ours.values:
            _read_ours(sae, ours, found, sealed)
    if origin is not None:
        told = stated(origin)
        by_name = row is None and isinstance(origin, (Origin, Mapping))
        width = stated_width(told, where="origin=") if by_name else None
        wanted = told if width is None else replace(told, d_in=width)
        check(wanted, replace(sae.origin, d_in=sae.d_in).filled(told), name=f"SAE '{path}'")
        sae.origin = sae.origin.filled(told)
    if model is not None:
        sae.check(model)
    return sae


def _read_ours(sae: SAE, ours: Fields, found: foreign.Found, sealed: bool) -> None:
    """What an SAE trained here says of itself; StoreError where a file is not the one that was written."""
    folder = found.file.parent
    if not sealed:
        log.warning("%s carries no checksum, as older versions wrote it: unchecked", folder / CONFIG)
    recorded = ours.text("weights_sha256")
    if recorded:
        check_sha256(found.file, recorded)
    sae.origin = load_origin(folder, ours.inner("identity").values)
    sae.recipe = dict(ours.inner("recipe").values)
    if "architecture" in ours:
        described = ours.inner("architecture")
        sae.architecture = architecture_from(described.values)
        if sae.architecture.n_features != sae.n_features:
            raise described.refused("n_features", f"{sae.n_features}, as the arrays have it")
    if (folder / METRICS).exists():
        metrics = Fields.read(folder / METRICS, inside=folder)
        check_sealed(folder / METRICS, metrics.values, required=sealed)
        for key in ("fve", "l0", "dead"):
            if key in metrics:
                metrics.number(key)
        sae.metrics = {key: value for key, value in metrics.values.items() if key != SEAL}
    elif ours.flag("measured", False):
        raise StoreError(
            "a file is missing",
            where=f"'{folder / METRICS}'",
            do="Run the training again, which finishes the folder.",
        )
