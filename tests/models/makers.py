"""One row a model: how the tests make it, on its real weights where they are here, small and seeded where not.

A new adapter adds a row and inherits every test of `test_capabilities`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from sciinterp.errors import MissingWeightsError
from sciinterp.models import Adapter, layouts, load_model

PROTEINS = ["MKTAYIAKQRQISFVKSHFSRQ", "GSHMEELLKKAWDQ", "ACDKTWYVHEF", "MKVLAAGIVGLLLAQW"]
DNA = ["ACGTACGTACGTTGCAGGCA", "TTGACAACGATTACAGATTACA", "GGGCCCATTACA", "ACCTTGGAACCA"]
CELLS = [tuple(f"G{i}" for i in row) for row in ([3, 1, 4, 15, 9], [5, 3, 8], [29, 7, 0, 11], [1, 2, 3, 4])]
SMILES = ["CC(=O)O.OCC>>CC(=O)OCC", "C[C@H](N)C(=O)O", "c1ccccc1Br", "CCOC(C)=O"]
RECEPTORS = [
    ["TSENNYY", "QEAYKQQN", "CAHRSAGGGTSYGKLTF", "SNHLY", "FYNNEI", "CASSEFQGDNEQFF"],
    ["VSGNPY", "YITGDNLV", "CAVDNARLMF", "MGHDK", "SYGVNS", "CASSDGSFNEQFF"],
    ["", "", "", "SNHLY", "FYNNEI", "CASSPGTGGNEQYF"],
    ["TSESDYY", "QEAYKQQN", "CAYRSAGGGTSYGKLTF", "", "", ""],
]
PLACES = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]
CRYSTALS = [
    {"lattice": [[0, a, a], [a, 0, a], [a, a, 0]], "species": list(s), "frac_coords": PLACES}
    for a, s in ((2.82, ("Na", "Cl")), (2.1, ("Mg", "O")), (3.1, ("K", "Cl")), (2.4, ("Ca", "O")))
]


def backbone(
    n: int, seed: int, *, chains: str = "A", missing: Sequence[tuple[int, int]] = (), gap: int = 0
) -> dict:
    """A chain (or several, one after the other) that bends like a protein, without atoms (residue, atom), numbered."""
    draw = np.random.default_rng(seed)
    turn = np.cumsum(draw.normal(0.5, 1.2, (n, 2)), 0)
    step = np.stack(
        [
            np.cos(turn[:, 0]),
            np.sin(turn[:, 0]) * np.cos(turn[:, 1]),
            np.sin(turn[:, 0]) * np.sin(turn[:, 1]),
        ],
        1,
    )
    alpha = np.cumsum(3.8 * step, 0)
    side = np.cross(step, draw.normal(size=(n, 3)))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    parts = [
        alpha - 1.2 * step + 0.8 * side,
        alpha,
        alpha + 1.2 * step + 0.9 * side,
        alpha + 1.6 * step + 2.1 * side,
    ]
    places = np.round(np.stack(parts, 1), 3).tolist()
    for residue, atom in missing:
        places[residue][atom] = None
    each = -(-n // len(chains))
    number = [i % each + 1 + (gap if i % each > each // 2 else 0) for i in range(n)]
    letters = "".join(draw.choice(list("ACDEFGHIKLMNPQRSTVWY"), n))
    return {
        "sequence": letters,
        "backbone": places,
        "chain": [chains[i // each] for i in range(n)],
        "number": number,
    }


BACKBONES = [
    backbone(30, 1),
    backbone(21, 2, missing=[(4, 3), (5, 0), (5, 1), (5, 2)]),
    {
        **backbone(60, 3, chains="HL", gap=7),
        "elements": ["Zn", "C", "O", "N"],
        "places": [[1, 2, 3], [4, 4, 4], [5, 4, 4], [9, 0, 1]],
    },
    backbone(12, 4),
]


# Every residue has a token.
WHOLE = [
    backbone(14, 1),
    backbone(9, 2),
    {**BACKBONES[2], **backbone(20, 3, chains="HL", gap=7)},
    backbone(12, 4),
]


def small_mpnn(name: str) -> Callable[[Path], Adapter]:
    def make(_: Path) -> Adapter:
        from sciinterp.models.mpnn_layers import MpnnModule

        torch.manual_seed(0)
        return load_model(name, weights=MpnnModule(width=16, k=8, n_atoms=5 if name == "ligandmpnn" else 0))

    return make


class Maker(NamedTuple):
    """A model, what it reads, and the kind of samples."""

    make: Callable[[Path], Adapter]
    samples: Sequence[Any]


def real(name: str) -> Callable[[Path], Adapter]:
    def make(_: Path) -> Adapter:
        try:
            return load_model(name)
        except MissingWeightsError as error:
            pytest.skip(f"{name}: {error}")

    return make


def fair(name: str) -> Callable[[Path], Adapter]:
    def make(_: Path) -> Adapter:
        import esm
        from test_fair_esm import args, esm2

        torch.manual_seed(0)
        if name == "esm2":
            return load_model("esm2", weights=esm2(2, 32, 4))
        if name == "esm-msa1b":
            alphabet = esm.Alphabet.from_architecture("msa_transformer")
            module = esm.MSATransformer(args("msa_transformer", embed_positions_msa=True), alphabet)
        else:
            alphabet = esm.Alphabet.from_architecture("ESM-1b")
            module = esm.ProteinBertModel(args("roberta_large", token_dropout=True), alphabet)
        return load_model(name, weights=module)

    return make


def face(name: str) -> Callable[[Path], Adapter]:
    def make(folder: Path) -> Adapter:
        from test_hugging_face import build

        return load_model(name, weights=build(name, folder))

    return make


def t5(_: Path) -> Adapter:
    """The whole of a ProtT5: its decoder gives scores."""
    import transformers as hf
    from test_hugging_face import words_tokeniser

    torch.manual_seed(0)
    words = ["<pad>", "</s>", "<unk>", *("▁" + c for c in "ALGVSREDTIPKFQNYMHWCXBOUZ"), "<extra_id_0>"]
    small = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    config = hf.T5Config(vocab_size=len(words), decoder_start_token_id=0, **small)
    return load_model("prott5", weights=(hf.T5ForConditionalGeneration(config), words_tokeniser(words, "t5")))


def gpt2(_: Path) -> Adapter:
    """A causal model over byte pairs."""
    import transformers as hf
    from test_hugging_face import bpe_tokeniser

    torch.manual_seed(0)
    tokeniser = bpe_tokeniser()
    config = hf.GPT2Config(vocab_size=len(tokeniser), n_embd=32, n_layer=2, n_head=4, n_positions=64)
    return load_model("dna-bpe", weights=(hf.GPT2LMHeadModel(config), tokeniser))


def layout(name: str) -> Callable[[Path], Adapter]:
    def make(_: Path) -> Adapter:
        from test_layouts import GENES, Bins, Cells, Stack

        torch.manual_seed(0)
        letters = layouts.Letters({c: i for i, c in enumerate("ACGTN")}, pad=5)
        if name == "scgpt":
            return layouts.scgpt(Cells(), {**GENES, "<cls>": 30}, width=8, pad=31)
        if name == "enformer":
            return layouts.enformer(Bins(), width=8, length=24, bases_per_bin=2)
        if name == "evo2":
            return layouts.evo2(Stack(128, "blocks", "cache"), width=8)
        named = {"name": "caduceus", "width": 8, "licence": "Apache-2.0", "path": "layers", "causal": True}
        return layouts.residual_pairs(Stack(6, "layers", "pair"), letters, **named)

    return make


def peptides(_: Path) -> Adapter:
    from test_readme_new_model import peptides as made

    return made()


MAKERS = {
    "antiberty": Maker(real("antiberty"), PROTEINS),
    "unirep-64": Maker(real("unirep-64"), PROTEINS),
    "spliceai-1": Maker(real("spliceai-1"), DNA[:2] * 2),
    "rxnmapper": Maker(real("rxnmapper"), SMILES),
    "chgnet": Maker(real("chgnet"), CRYSTALS),
    "sceptr": Maker(real("sceptr"), RECEPTORS),
    "proteinmpnn": Maker(real("proteinmpnn"), WHOLE),
    "small ligandmpnn": Maker(small_mpnn("ligandmpnn"), WHOLE),
    "esm2": Maker(fair("esm2"), PROTEINS),
    "esm1b": Maker(fair("esm1b"), PROTEINS),
    "esm-msa1b": Maker(fair("esm-msa1b"), [(s, s[::-1]) for s in PROTEINS]),
    **{name: Maker(face(name), PROTEINS) for name in ("hf-esm2", "esmc", "prott5", "protbert")},
    **{name: Maker(face(name), DNA) for name in ("nucleotide-transformer", "dna-bpe")},
    "prott5 with its decoder": Maker(t5, PROTEINS),
    "gpt2": Maker(gpt2, DNA),
    "scgpt": Maker(layout("scgpt"), CELLS),
    **{name: Maker(layout(name), DNA) for name in ("enformer", "evo2", "caduceus")},
    "peptides": Maker(peptides, PROTEINS),
}
