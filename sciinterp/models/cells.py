"""Geneformer and scGPT from the folders they are published as: cells of an AnnData file, their genes as tokens.

Geneformer (Theodoris and others 2023) is a BERT of Hugging Face over genes in the order of their expression, each
divided by its median over a large corpus; token dictionary and medians lie beside it as pickles, which are read without
running them. scGPT (Cui and others 2024) is a transformer over genes without an order: a gene's embedding plus that of
its expression, in bins of the cell's own quantiles. ``model.prepare(cells)`` makes of cells what the model reads; both
do the same to cells that a run or ``sciinterp extract`` reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sciinterp.errors import FormatError, InputError, MissingWeightsError
from sciinterp.samples import Samples
from sciinterp.store.fields import Fields
from sciinterp.store.plain_pickle import read_plain

from .by_path import ByPath
from .encodings import pieces_to_batch
from .hugging_face import fitted
from .layouts import Genes, bert_of_genes, ends, gene_tokens, ranked, with_cells
from .layouts import load as load_wrapped
from .site import Batch, stack_sites
from .weight_files import fit, path_of, read_tensors, reading, transformers

# Where Geneformer's repository keeps its dictionaries, from the folder of a model.
PLACES = (".", "geneformer", "..", "../geneformer")
# Parts of scGPT's checkpoint that no site reads.
HEADS = (
    "decoder",
    "cls_decoder",
    "mvc_decoder",
    "flag_encoder",
    "batch_encoder",
    "grad_reverse_discriminator",
)
MAX_GENES = 1199  # scGPT was used with 1,200 tokens, the first of them <cls>


@dataclass(frozen=True)
class RankedGenes(Genes):
    """Genes in the order of their expression over their medians."""

    medians: Mapping[str, float] | None = None  # by Ensembl id
    symbols: Mapping[str, str] | None = None  # symbol to Ensembl id
    n: int = 2048  # longest cell

    def prepare(self, samples: Samples) -> Samples:
        """Cells of an AnnData file as ranked genes, by Ensembl id with or without a version, or by symbol."""
        if not len(samples) or not isinstance(samples.data[0], Mapping):
            return samples
        told = {name: self._id(name) for cell in samples.data for name in cell["genes"]}
        cells = [{**cell, "genes": [told[gene] for gene in cell["genes"]]} for cell in samples.data]
        known = {gene: token for gene, token in self.ids.items() if gene in (self.medians or self.ids)}
        return ranked(samples, cells, known, self.medians, self.n)

    def _id(self, name: str) -> str:
        if name in self.ids:
            return name
        stem = name.partition(".")[0] if name.startswith("ENS") else name
        return stem if stem in self.ids else (self.symbols or {}).get(name, name)


@dataclass(frozen=True)
class BinnedGenes:
    """Genes and their expression in bins, as scGPT reads a cell: ``<cls>``, then genes in the order given."""

    ids: Mapping[str, int]  # gene to token
    pad: int
    cls: int
    pad_value: float = -2.0  # what stands for the expression of ``<cls>`` and of padding
    n_bins: int = 51
    alphabet: str = ""

    def encode(self, sequences: Sequence[Mapping[str, Sequence]]) -> Batch:
        for cell in sequences:
            if not isinstance(cell, Mapping):
                raise InputError(
                    "this is not a cell with its expression",
                    expected="a record of genes and values, as si.read_samples reads an h5ad file",
                    got=type(cell).__name__,
                )
        do = "Use model.prepare(samples)."
        rows = [gene_tokens(cell["genes"], self.ids, do=do) for cell in sequences]
        batch = pieces_to_batch(rows, [len(row) for row in rows], pad=self.pad, prefix=(self.cls,))
        values = torch.full(batch.mask.shape, float(self.pad_value))
        for row, cell in zip(values, sequences):
            row[1 : 1 + len(cell["genes"])] = torch.from_numpy(bins(np.asarray(cell["values"]), self.n_bins))
        return replace(batch, inputs={**batch.inputs, "values": values})

    def prepare(self, samples: Samples) -> Samples:
        """Cells of the genes that the model knows; the strongest where there are more than it was used with.

        scGPT's own tool draws genes at random from larger cells; here nothing depends on chance.
        """
        if not len(samples) or not isinstance(samples.data[0], Mapping):
            return samples
        cells = []
        for cell in samples.data:
            values = np.array([v if g in self.ids else 0.0 for g, v in zip(cell["genes"], cell["values"])])
            strongest = np.lexsort((np.arange(len(values)), -values))[:MAX_GENES]
            keep = [int(i) for i in np.sort(strongest) if values[i] > 0]
            cells.append({"genes": [cell["genes"][i] for i in keep], "values": values[keep].tolist()})
        return with_cells(samples, cells)


def bins(values: np.ndarray, n: int) -> np.ndarray:
    """Expression of a cell in bins of its own quantiles, from 1 up; of equal edges the last."""
    edges = np.quantile(values, np.linspace(0, 1, n - 1))
    return np.digitize(values, edges).astype(np.float32)


class ScgptModule(nn.Module):
    """Embeddings of gene and expression, summed, and a stack of transformer blocks with norms after the sums."""

    def __init__(
        self, n_tokens: int, *, width: int, n_heads: int, inner: int, n_blocks: int, pad: int
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict(
            {"embedding": nn.Embedding(n_tokens, width, padding_idx=pad), "enc_norm": nn.LayerNorm(width)}
        )
        self.value_encoder = nn.ModuleDict(
            {"linear1": nn.Linear(1, width), "linear2": nn.Linear(width, width), "norm": nn.LayerNorm(width)}
        )
        block = nn.TransformerEncoderLayer(width, n_heads, inner, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(block, n_blocks, enable_nested_tensor=False)

    def forward(
        self, ids: Int[Tensor, "B T"], values: Float[Tensor, "B T"], present: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T D"]:
        gene, value = self.encoder, self.value_encoder
        x = gene["enc_norm"](gene["embedding"](ids))
        v = torch.relu(value["linear1"](values.clamp(max=512)[..., None]))
        x = x + value["norm"](value["linear2"](v))
        return self.transformer_encoder(x, src_key_padding_mask=~present)


def load(name: str, weights: object) -> ByPath:
    """Geneformer or scGPT from a folder, or wrapped by :mod:`sciinterp.models.layouts` around a module of yours."""
    if weights is None or not isinstance(weights, (str, Path)):
        return load_wrapped(name, weights)
    folder = path_of(name, weights)
    if not folder.is_dir():
        raise MissingWeightsError(f"{name} is read from a folder", where=f"{str(folder)!r}", do=_NEEDS[name])
    return _geneformer(name, folder) if name == "geneformer" else _scgpt(name, folder)


_NEEDS = {
    "geneformer": "It holds config.json, model.safetensors, token_dictionary*.pkl and gene_median_dictionary*.pkl.",
    "scgpt": "It holds args.json, vocab.json and best_model.pt.",
}


def _one(name: str, folder: Path, pattern: str) -> Path | None:
    """The one file of a pattern, nearest to the folder."""
    for place in PLACES:
        found = sorted((folder / place).glob(pattern))
        if len(found) > 1:
            raise InputError(
                f"several files of {name} could be meant",
                where=f"'{folder / place}'",
                got=", ".join(path.name for path in found[:4]),
                do="Put the one that belongs to the model into its folder.",
            )
        if found:
            return found[0]
    return None


def _geneformer(name: str, folder: Path) -> ByPath:
    tokens, medians = (
        _one(name, folder, f"{what}*.pkl") for what in ("token_dictionary", "gene_median_dictionary")
    )
    if tokens is None or medians is None:
        raise MissingWeightsError(f"{name} lacks a dictionary", where=f"{str(folder)!r}", do=_NEEDS[name])
    ids = read_plain(tokens)
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in ids.values()):
        raise FormatError("tokens are no whole numbers", file=str(tokens))
    median = read_plain(medians)
    if not all(isinstance(v, (int, float)) and 0 < v < np.inf for v in median.values()):
        raise FormatError("medians are no numbers above zero", file=str(medians))
    hf = transformers(name)
    with reading(name, folder):
        config = hf.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        module, report, _ = fitted(
            hf.BertModel, str(folder), config=config, local_files_only=True, trust_remote_code=False
        )
    if report:
        raise InputError(f"the weights do not fit {name}", where=f"weights {str(folder)!r}", got=report)
    if max(ids.values()) >= config.vocab_size or min(ids.values()) < 0:
        raise InputError(
            "the token dictionary is another model's",
            where=f"'{tokens}'",
            expected=f"tokens below {config.vocab_size}",
            got=str(max(ids.values())),
        )
    symbols = _one(name, folder, "gene_name_id_dict*.pkl")
    first, last = ends(ids)
    encoding = RankedGenes(
        ids,
        ids.get("<pad>", config.pad_token_id or 0),
        first,
        last,
        medians=median,
        symbols=None if symbols is None else {k: str(v) for k, v in read_plain(symbols).items()},
        n=config.max_position_embeddings - len(first) - len(last),
    )
    return bert_of_genes(module.eval().requires_grad_(False), encoding, max_length=encoding.n)


def _scgpt(name: str, folder: Path) -> ByPath:
    for file in ("args.json", "vocab.json", "best_model.pt"):
        if not (folder / file).is_file():
            raise MissingWeightsError(f"{name} lacks {file}", where=f"{str(folder)!r}", do=_NEEDS[name])
    args = Fields.read(folder / "args.json")
    args.choice("input_emb_style", ("continuous",), "continuous", "Other forms of expression are not read.")
    vocabulary = Fields.read(folder / "vocab.json")
    ids = {str(gene): vocabulary.whole(gene) for gene in vocabulary.values}
    special = ("<pad>", "<cls>", "<eoc>")
    for token in special:  # as its own tool does
        ids.setdefault(token, len(ids))
    if sorted(ids.values()) != list(range(len(ids))):
        raise FormatError("the tokens of the vocabulary are not 0, 1, 2 ...", file=str(folder / "vocab.json"))
    width, n_heads, inner, n_blocks = (
        args.whole(key, low=1) for key in ("embsize", "nheads", "d_hid", "nlayers")
    )
    if width % n_heads or max(width, inner) > 1 << 16 or n_blocks > 1000:
        raise FormatError("a model that cannot be", file=str(folder / "args.json"), got=f"{width}, {n_heads}")
    state = read_tensors(name, folder / "best_model.pt")
    with reading(name, folder / "best_model.pt"):
        state = {str(k).replace("Wqkv.", "in_proj_"): v for k, v in state.items()}
        rows = state["encoder.embedding.weight"].shape if "encoder.embedding.weight" in state else (0, 0)
    if tuple(rows) != (len(ids), width):
        raise InputError(
            f"the weights do not fit {name}",
            where=f"'{folder / 'best_model.pt'}'",
            expected=f"embeddings of {len(ids)} genes, {width} wide",
            got=str(list(rows)),
        )
    module = ScgptModule(
        len(ids), width=width, n_heads=n_heads, inner=inner, n_blocks=n_blocks, pad=ids["<pad>"]
    )
    module = fit(name, module, state, where=folder / "best_model.pt", unread=HEADS)
    genes = {gene: token for gene, token in ids.items() if gene not in special}
    pad_value = args.number("pad_value") if "pad_value" in args else -2.0
    return ByPath(
        module,
        BinnedGenes(genes, ids["<pad>"], ids["<cls>"], pad_value, args.whole("n_bins", 51, low=3)),
        list(stack_sites("transformer_encoder.layers", n_blocks, width)),
        name=name,
        kind="cells",
        licence="MIT",
        call=lambda m, x: m(x["input_ids"], x["values"], x["attention_mask"]),
    )
