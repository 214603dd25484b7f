"""SAEs made by other packages, found in their files and read into the one SAE of this one.

====================  ==========================================  ==============================================
format                recognised by                               what is read
====================  ==========================================  ==============================================
sciinterp, saelens    ``cfg.json`` + ``sae_weights.safetensors``  standard, topk, jumprelu, gated, batchtopk
sparsify              ``encoder.weight`` and ``W_dec``            top-k
interplm              ``config.yaml``, or a factor a feature      ReLU, TopK, BatchTopK, JumpReLU; inputs scaled
dictionary_learning   ``encoder.weight``, or ``W_enc`` in a .pt   the classes of all its trainers, gated too
esmc                  ``W_enc``, ``W_dec`` and ``idf``            top-k on standardised inputs
interprot             ``w_enc``, ``w_dec`` and ``b_pre``          top-k on standardised inputs
bionemo               ``pre_bias`` and ``latent_bias``            top-k, ReLU; inputs standardised or of norm 1
overcomplete          ``dictionary._weights`` or ``.W``           one linear encoder, archetypal dictionaries too
tied                  ``W``, ``b_enc`` and ``b_dec`` alone        Goodfire's Evo 2: one matrix, top-k
arrays                ``W_enc`` or ``W_dec``, and no threshold    SAELens's names alone, turned as their shapes say
====================  ==========================================  ==============================================

A format is one row of :data:`FORMATS` and one function of ``published.py``. In a folder of checkpoints the highest
*number* is taken; where two SAEs could be meant, both are named. The configuration may lie one level above
``checkpoints/``. Nothing here can run code from a file: tensors are read by :mod:`sciinterp.store.torch_file` and
:mod:`sciinterp.store.arrays`, YAML is never constructed, and other pickles are refused unread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sciinterp.errors import FormatError, InputError
from sciinterp.models.weight_files import INSIDE, out_of_modules
from sciinterp.sae import published, published_others
from sciinterp.sae.published import Found
from sciinterp.sae.weights import ARRAYS, CONFIG, Weights
from sciinterp.store.arrays import load_arrays, read_header, widen
from sciinterp.store.fields import MAX_BYTES, Fields
from sciinterp.store.guard import require_regular
from sciinterp.store.plain_pickle import unsafe
from sciinterp.store.torch_file import read_checkpoint

UNSAFE = (".pkl", ".pickle", ".joblib", ".npy", ".npz", ".ckpt", ".bin")
YAML = ("config.yaml", "config.yml")
CONFIGS = (CONFIG, "config.json", *YAML)
ARRAY_FILES = (".pt", ".safetensors")
SHARD = re.compile(r"(.+)-([0-9]{1,5})-of-([0-9]{1,5})\.safetensors")
NUMBERED = re.compile(r"ae_(\d{1,18})\.pt")
TRAINER = re.compile(r"!!python/object:interplm\.train\.trainers\.\w+\.(\w+)Config\b")


class Format(NamedTuple):
    """How a format is recognised among what was found, and read."""

    is_it: Callable[[Found], bool]
    read: Callable[[Found], Weights]


def _has(*names: str) -> Callable[[Found], bool]:
    return lambda found: set(names) <= set(found.held)


FORMATS: dict[str, Format] = {
    "saelens": Format(lambda found: found.file.name == ARRAYS, published.read_saelens),
    "sparsify": Format(_has("encoder.weight", "W_dec"), published.read_sparsify),
    "interplm": Format(
        lambda found: (
            bool(found.facts) or bool({"activation_rescale_factor", "normalize_to_sqrt_d"} & set(found.held))
        ),
        published.read_interplm,
    ),
    "esmc": Format(_has("W_enc", "W_dec", "b_dec", "idf"), published.read_esmc),
    "interprot": Format(_has("w_enc", "w_dec", "b_enc", "b_pre"), published_others.read_interprot),
    "bionemo": Format(
        lambda found: {"pre_bias", "latent_bias"} <= set(found.held) or "router.weight" in found.held,
        published_others.read_bionemo,
    ),
    "overcomplete": Format(
        lambda found: any(name.startswith("dictionary.") for name in found.held),
        published_others.read_overcomplete,
    ),
    "tied": Format(lambda found: set(found.held) == {"W", "b_enc", "b_dec"}, published_others.read_tied),
    "dictionary_learning": Format(
        lambda found: (
            "encoder.weight" in found.held
            or (found.file.suffix == ".pt" and {"W_enc", "threshold"} <= set(found.held))
        ),
        published.read_dictionary_learning,
    ),
    "arrays": Format(
        lambda found: (
            bool({"W_enc", "W_dec"} & set(found.held))
            and (found.file.suffix == ".pt" or bool(found.config.values))
        ),
        published.read_arrays,
    ),
}


def read(
    path: Path, format: str = "auto", stated: Mapping[str, object] | None = None
) -> tuple[Weights, dict[str, object], Found]:
    """Arrays, what else is known, and where they were found; errors as in :func:`sciinterp.load_sae`.

    ``stated`` stands for the configuration where there is none.
    """
    known = ("auto", "sciinterp", *FORMATS)
    if format not in known:
        raise InputError("no such format", where=f"format={format!r}", expected=", ".join(known))
    found = _find(_arrays_file(path, format))
    if stated and not found.config.values:
        found = replace(found, config=Fields(dict(stated), found.file))
    chosen = "saelens" if format == "sciinterp" else format
    if chosen == "auto":
        chosen = next((name for name, row in FORMATS.items() if row.is_it(found)), "")
    if not chosen:
        raise FormatError(
            "this is not an SAE known here",
            file=str(found.file),
            expected=f"the arrays of {', '.join(FORMATS)}",
            got=", ".join(sorted(found.held)[:6])[:120],
            do="Save its arrays as W_enc, b_enc, W_dec and b_dec (the manual's page 'A published SAE').",
        )
    weights = FORMATS[chosen].read(found)
    return weights, published.kept_facts(found), found


def _arrays_file(path: Path, format: str) -> Path:
    """The file of arrays that a path means."""
    if not path.is_dir():
        if path.name in CONFIGS:
            return _arrays_file(path.parent, format)
        if path.suffix in (".pt", ".safetensors"):
            return path
        raise unsafe(path) if path.suffix in UNSAFE else _unknown(path)
    try:
        names = sorted(p.name for p in path.iterdir())
    except OSError as error:
        raise InputError("the folder cannot be read", where=f"'{path}'", got=str(error.strerror)) from error
    if format in ("sciinterp", "saelens") or (format == "auto" and {CONFIG, ARRAYS} <= set(names)):
        return path / ARRAYS
    numbered = [name for name in names if NUMBERED.fullmatch(name)]
    whole = [name for name in ("ae_normalized.pt", "ae.pt", "checkpoint_final.pt") if name in names]
    latest = sorted(numbered, key=lambda name: int(name[3:-3]))[-1:]
    torch_files = (whole or latest)[:1]
    others = [
        n
        for n in names
        if n.startswith("" if numbered and not whole else "ae")
        and n.endswith(".pt")
        and n not in (*whole, *numbered)
    ]
    safe = [n for n in names if n.endswith(".safetensors") and n != "training.safetensors"]
    if format in ("interplm", "dictionary_learning"):
        safe = []
    elif format in ("sparsify", "esmc", "interprot"):
        torch_files = others = []
    # the first of a file in shards stands for all of them; one that is missing is named when they are read
    firsts = {shard[1]: n for n in reversed(safe) if (shard := SHARD.fullmatch(n))}
    safe = [n for n in safe if SHARD.fullmatch(n) is None or n in firsts.values()]
    candidates = [*torch_files, *others, *safe] or [n for n in names if n.endswith(".pt")]
    if len(candidates) > 1:
        raise InputError(
            "several SAEs are here",
            where=f"'{path}'",
            got=", ".join(candidates[:6]),
            do="Name the file of one.",
        )
    if candidates:
        return path / candidates[0]
    if "checkpoints" in names and (path / "checkpoints").is_dir():
        return _arrays_file(path / "checkpoints", format)
    dangerous = [name for name in names if Path(name).suffix in UNSAFE]
    within = [
        n for n in names if (path / n).is_dir() and any(p.suffix in ARRAY_FILES for p in (path / n).iterdir())
    ]
    if within and not dangerous:
        raise InputError(
            "several SAEs are here, one a site" if len(within) > 1 else "the SAE lies one folder below",
            where=f"'{path}'",
            got=", ".join(within[:12]) + (" ..." if len(within) > 12 else ""),
            do=f"Name the folder of one, such as '{path / within[0]}'.",
        )
    raise unsafe(path / dangerous[0]) if dangerous else _unknown(path)


def _find(file: Path) -> Found:
    """Arrays and configuration, every file checked before a byte of it is used."""
    folder = file.parent
    places = [folder, folder.parent] if folder.name == "checkpoints" else [folder]
    root = _root(places[-1])
    config = next((p / name for p in places for name in (CONFIG, "config.json") if (p / name).exists()), None)
    if config is None and file.name in (ARRAYS, "sae.safetensors"):
        raise InputError(
            f"{CONFIG} is missing",
            where=f"'{folder}'",
            expected=f"{CONFIG} beside {file.name}",
            do="Without it the arrays can be read in more than one way.",
        )
    fields = Fields.read(config, inside=root)
    yaml = next((p / name for p in places for name in YAML if (p / name).exists()), None)
    facts, trainer = _plain_lines(yaml, root) if yaml is not None else (None, "")
    inner = fields.inner("trainer")
    stated = inner.text("dict_class") or trainer
    if "trainer" in fields:
        fields = inner
    if config is None and facts and facts.get("trainer_cfg.k", "").isdecimal():
        fields = Fields({"k": int(facts["trainer_cfg.k"])}, yaml or "")
    require_regular(file, inside=root)
    held, inside = _read_arrays(file)
    if inside:  # a checkpoint that carries its settings
        fields = Fields({**fields.values, **inside}, file)
    return Found(_plain_names(held), fields, file, stated, facts)


def _root(folder: Path) -> Path:
    """What links must not lead out of: the folder, or the cache of a hub whose snapshots are links."""
    real = folder.resolve()
    for above in real.parents:
        if above.name == "snapshots" and (above.parent / "blobs").is_dir():
            return above.parent
    return real


def _read_arrays(file: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """The arrays of a file, or of all shards of it, whatever shard was named; and settings that stand beside them."""
    shard = SHARD.fullmatch(file.name)
    if file.suffix == ".pt":
        return read_checkpoint(file)
    if shard is None:
        return _arrays_of(file), {}
    out: dict[str, np.ndarray] = {}
    for number in range(1, int(shard[3]) + 1):
        part = file.with_name(f"{shard[1]}-{number:0{len(shard[2])}d}-of-{shard[3]}.safetensors")
        require_regular(part, inside=_root(file.parent))
        held = _arrays_of(part)
        if twice := sorted(set(out) & set(held)):
            raise FormatError("two shards hold one array", file=str(part), got=", ".join(twice[:4]))
        out |= held
    return out, {}


def _arrays_of(file: Path) -> dict[str, np.ndarray]:
    header = read_header(file)
    try:
        held = load_arrays(file)
    except (ValueError, MemoryError, OverflowError) as error:
        if isinstance(error, (FormatError, InputError)):
            raise
        raise FormatError("cannot be read as arrays", file=str(file), got=str(error)[:80]) from error
    return {
        name: widen(array, "bfloat16") if header[name].dtype == "bfloat16" else array
        for name, array in held.items()
    }


def _plain_names(held: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names without what compiling wrote into them, and without the module they all stand in."""
    names = {INSIDE.sub("", name): array for name, array in held.items()}
    return [names, *out_of_modules(names)][-1]


def _plain_lines(file: Path, root: Path) -> tuple[dict[str, str], str]:
    """The ``key: value`` lines of a YAML file as text, one level deep, and the trainer its tags name.

    Tags and objects are never built.
    """
    if require_regular(file, inside=root) > MAX_BYTES:
        raise FormatError(
            "larger than a configuration", file=str(file), expected=f"at most {MAX_BYTES} bytes"
        )
    text = file.read_text(encoding="utf-8", errors="replace")
    found, section = {}, ""
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if not colon or not key.strip():
            continue
        if not key[0].isspace():
            section = key.strip()
        if value.strip() and "!" not in value and "!" not in key:
            name = key.strip() if not key[0].isspace() else f"{section}.{key.strip()}"
            found.setdefault(name, value.strip())
    named = sorted(set(TRAINER.findall(text)))
    if len(named) > 1:
        raise FormatError(
            "several trainers are named", file=str(file), expected="one", got=", ".join(named[:4])
        )
    return found, named[0] if named else ""


def _unknown(path: Path) -> InputError:
    return InputError(
        "this is not an SAE",
        where=f"'{path}'",
        expected=f"{CONFIG} with {ARRAYS} or sae.safetensors, or ae.pt",
        do="Name the format if the files have other names.",
    )
