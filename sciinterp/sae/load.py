"""Read an SAE: a folder written here or by SAELens, or another package's files (``foreign.py``).

``sae_weights.safetensors`` holds float32 ``W_enc [d_in, F]``, ``b_enc [F]``, ``W_dec [F, d_in]``, ``b_dec
[d_in]`` and, for threshold SAEs, ``threshold [F]``. ``cfg.json`` holds SAELens's fields;
``metadata.sciinterp`` adds what the SAE was trained as, how, and on which model, weights and site.
``sha256`` of the weights is kept there and checked on reading: a flipped byte passes safetensors in
silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sciinterp.errors import InputError, StoreError
from sciinterp.provenance import Origin, check, stated
from sciinterp.sae import foreign
from sciinterp.sae.base import SAE, sae_of
from sciinterp.sae.registry import architecture_from
from sciinterp.sae.weights import ARRAYS, CONFIG, METRICS
from sciinterp.store.atomic import read_json, sha256_file
from sciinterp.store.origins import load_origin


def load_sae(
    path: str | Path,
    *,
    format: str = "auto",
    model: object = None,
    origin: Origin | Mapping[str, Any] | object = None,
) -> SAE:
    """Read an SAE made here or by another package.

    Parameters
    ----------
    path : folder or file
    format : {"auto", "sciinterp", "saelens", "dictionary_learning", "sparsify", "interplm", "esmc"}
        "auto" decides by the files.
    model : Adapter, optional
        Checked against the model, weights and site the SAE was trained on.
    origin : Origin, dict or Activations, optional
        Model and site of an SAE that does not say them: ``si.Origin(model=..., site=...)``, a dict of its fields
        (``model`` may be a loaded model), or activations that it is of.

    Raises
    ------
    MismatchError
        ``model`` is another model, or the SAE says another ``origin``; the message names what differs.
    InputError, FormatError, StoreError
        No SAE is there; it is not in the format; its weights are damaged; the file could run code on loading.
    """
    place = Path(path)
    if not place.exists():
        raise InputError("there is no SAE", where=f"'{path}'", expected="a folder or a file")
    kind = foreign.recognise(place) if format == "auto" else format
    if kind in ("sciinterp", "saelens"):
        sae = load_native(place.parent if place.is_file() else place)
    else:
        weights, recipe = foreign.read(place, kind)
        sae = sae_of(weights)
        sae.recipe = recipe
    sae.folder = place
    if origin is not None:
        told = stated(origin)
        check(told, replace(sae.origin, d_in=sae.d_in), name=f"SAE '{path}'")
        sae.origin = sae.origin.filled(told)
    if model is not None:
        sae.check(model)
    return sae


def load_native(folder: Path) -> SAE:
    """Read a folder that :func:`save_sae` or SAELens wrote.

    Raises
    ------
    StoreError
        The weights are not those the configuration describes.
    FormatError
        A field or an array is missing.
    """
    config = read_json(folder / CONFIG)
    ours = (config.get("metadata") or {}).get("sciinterp") or {}
    recorded = ours.get("weights_sha256")
    if recorded and recorded != sha256_file(folder / ARRAYS):
        raise StoreError(
            "the weights are damaged",
            where=f"'{folder / ARRAYS}'",
            expected=f"sha256 {recorded[:12]}",
            got=f"sha256 {sha256_file(folder / ARRAYS)[:12]}",
            do="Train or fetch this SAE again.",
        )
    sae = sae_of(foreign.saelens(foreign.read_tensors(folder / ARRAYS), config, folder))
    sae.folder = folder
    sae.origin = load_origin(folder, ours.get("identity") or {})
    sae.recipe = dict(ours.get("recipe") or {})
    if ours.get("architecture"):
        sae.architecture = architecture_from(ours["architecture"])
    if (folder / METRICS).exists():
        sae.metrics = read_json(folder / METRICS)
    return sae
