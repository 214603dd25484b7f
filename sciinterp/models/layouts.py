"""Layouts of models whose weights and code come from their own packages: build the module there, wrap it
here.

Each function says where the blocks of the published module lie and how its tokens map to positions. They are
verified on small seeded modules of the authors' code, where it installs, not on the published weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from torch import Tensor, nn

from sciinterp.errors import InputError, MissingWeightsError
from sciinterp.samples import Samples

from .by_path import ByPath
from .encodings import Letters, OneHot, pieces_to_batch
from .hugging_face import discover_sites
from .site import Batch, Site, stack_sites

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from transformers import PreTrainedModel

ENFORMER_BIN = 128
BORZOI_BINS = (128, 32)  # of the transformer, and after its U-net
# A cell: its genes, or a record of genes and their values.
Cell: TypeAlias = Sequence[str] | Mapping[str, Sequence]


@dataclass(frozen=True)
class Genes:
    """A cell as a sequence of genes: its positions are its genes, in the order given."""

    ids: Mapping[str, int]  # gene to token
    pad: int
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    alphabet: str = ""

    def encode(self, sequences: Sequence[Sequence[str]]) -> Batch:
        rows = [gene_tokens(cell, self.ids, do="Rank known genes only.") for cell in sequences]
        lengths = [len(cell) for cell in sequences]
        return pieces_to_batch(rows, lengths, pad=self.pad, prefix=self.prefix, suffix=self.suffix)


def gene_tokens(genes: Sequence[str], ids: Mapping[str, int], *, do: str) -> list[tuple[int, int, int]]:
    """Token, start and end of each gene; InputError, which says what to `do`, for one without a token."""
    unknown = [gene for gene in genes if gene not in ids]
    if unknown:
        raise InputError("a gene the model does not know", got=repr(unknown[0]), do=do)
    return [(ids[gene], i, i + 1) for i, gene in enumerate(genes)]


def rank_genes(
    counts: np.ndarray | csr_matrix,
    genes: Sequence[str],
    ids: Mapping[str, int],
    *,
    medians: Mapping[str, float] | None = None,
    n: int = 2048,
) -> list[tuple[str, ...]]:
    """Rows of an AnnData's X as ranked genes (Theodoris and others 2023): expressed, known, strongest first.

    Parameters
    ----------
    counts : array or csr matrix [n_cells, n_genes]
    genes : sequence of str
        Names of the columns, as in ``ids``.
    ids : mapping of gene to token
    medians : mapping of gene to float, optional
        Median non-zero expression over a large corpus, by which a cell's share of a gene is divided.
    n : int
        Longest cell.

    Examples
    --------
    >>> rank_genes(np.array([[0, 5, 1], [2, 0, 0]]), ["A", "B", "C"], {"A": 0, "B": 1, "C": 2})
    [('B', 'C'), ('A',)]
    """
    known = np.array([gene in ids for gene in genes])
    scale = np.array([1.0 if medians is None else medians.get(gene, 1.0) for gene in genes])
    cells = []
    for i in range(counts.shape[0]):
        row = counts[[i]] if isinstance(counts, np.ndarray) else counts[[i]].todense()
        row = np.asarray(row, dtype=np.float64).ravel() / scale
        order = np.lexsort((np.arange(len(row)), -row))
        cells.append(tuple(genes[j] for j in order if row[j] > 0 and known[j])[:n])
    return cells


def rank_cells(
    samples: Samples, ids: Mapping[str, int], *, medians: Mapping[str, float] | None = None, n: int = 2048
) -> Samples:
    """Cells as `sciinterp.read_samples` reads them from AnnData, as ranked genes: what the models here take.

    Sample columns are kept; cells without a known gene are dropped and counted, and so are the cells some of
    whose genes the model does not know.

    Examples
    --------
    >>> cells = Samples(["c1"], [{"genes": ["A", "B", "Q"], "values": [1.0, 5.0, 9.0]}], lengths=[3])
    >>> rank_cells(cells, {"A": 0, "B": 1}).data
    (('B', 'A'),)
    """
    return ranked(samples, samples.data, ids, medians, n)


def ranked(
    samples: Samples,
    cells: Sequence[Mapping[str, Sequence]],
    ids: Mapping[str, int],
    medians: Mapping[str, float] | None,
    n: int,
) -> Samples:
    """Samples whose cells are ranked genes of the cells given, one a sample."""
    data = [rank_genes(np.array([c["values"]]), c["genes"], ids, medians=medians, n=n)[0] for c in cells]
    out = with_cells(samples, data)
    shorter = sum(0 < len(new) < len(old["genes"]) for new, old in zip(data, cells))
    if shorter:
        out.changed["genes left out: unknown to the model, or beyond its length"] = shorter
    return out


def with_cells(samples: Samples, cells: Sequence[Cell]) -> Samples:
    """The samples with other cells, one each; those of no gene are dropped and counted.

    InputError where no cell has a gene.
    """
    sizes = [len(cell["genes"] if isinstance(cell, Mapping) else cell) for cell in cells]
    keep = [i for i, size in enumerate(sizes) if size]
    if not keep:
        raise InputError("no cell has a gene the model knows", got=f"{len(samples)} cells")
    table = samples.table if len(samples.table.columns) else None
    every = Samples(samples.ids, cells, lengths=sizes, table=table, kind=samples.kind, source=samples.source)
    out, lost = every.subset(keep), len(samples) - len(keep)
    out.n_in, out.changed = samples.n_in, dict(samples.changed)
    out.dropped = {**samples.dropped, **({"no gene the model knows": lost} if lost else {})}
    return out


def geneformer(module: PreTrainedModel, ids: Mapping[str, int], *, pad: int = 0) -> ByPath:
    """Geneformer: a BERT over ranked genes, samples being rows of an AnnData (see `rank_genes`)."""
    return bert_of_genes(module, Genes(ids, pad, *ends(ids)))


def ends(ids: Mapping[str, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Tokens before and after Geneformer's genes, where its version has them."""
    first, last = ((ids[token],) if token in ids else () for token in ("<cls>", "<eos>"))
    return first, last


def bert_of_genes(module: PreTrainedModel, encoding: Genes, *, max_length: int | None = None) -> ByPath:
    """Geneformer with an encoding of its genes."""
    return ByPath(
        module,
        encoding,
        discover_sites(module, int(module.config.hidden_size)),
        name="geneformer",
        kind="cells",
        licence="Apache-2.0",
        max_length=max_length,
        call=with_long_mask,
    )


def scgpt(module: nn.Module, ids: Mapping[str, int], *, width: int, pad: int) -> ByPath:
    """scGPT's transformer: ``transformer_encoder.layers`` over genes; `module` maps genes and a padding
    mask.
    """
    return ByPath(
        module,
        Genes(ids, pad, ends(ids)[0]),
        list(_stack("transformer_encoder.layers", module, width)),
        name="scgpt",
        kind="cells",
        licence="MIT",
        call=lambda m, x: m(x["input_ids"], ~x["attention_mask"]),
    )


def enformer(
    module: nn.Module, *, width: int, length: int = 196_608, bases_per_bin: int = ENFORMER_BIN
) -> ByPath:
    """Enformer, as enformer-pytorch builds it: bins of a fixed window, cropped at both ends before the head.

    ``layers.i`` are blocks of the transformer over all bins; ``cropped`` is what the heads see.
    """
    sites = _windowed(module, "crop_final", width, length, (bases_per_bin, bases_per_bin))
    return _of_windows(module, sites, OneHot(length=length), name="enformer", licence="CC BY 4.0")


def borzoi(module: nn.Module, *, width: int, length: int = 524_288) -> ByPath:
    """Borzoi, as borzoi-pytorch builds it: a transformer over bins of 128 bases, then bins of 32, cropped before the head.

    ``layers.i`` are blocks of the transformer; ``cropped`` is what the joined convolutions and heads see.
    """
    sites = _windowed(module, "crop", width, length, BORZOI_BINS)
    encoding = OneHot(length=length, channels_first=True)
    return _of_windows(module, sites, encoding, name="borzoi", licence="Apache-2.0")


def _of_windows(
    module: nn.Module, sites: Sequence[Site], encoding: OneHot, *, name: str, licence: str
) -> ByPath:
    return ByPath(
        module,
        encoding,
        sites,
        name=name,
        kind="dna",
        licence=licence,
        max_length=encoding.length,
        call=lambda m, x: m(x["x"]),
    )


def _windowed(module: nn.Module, crop: str, width: int, length: int, bins: tuple[int, int]) -> list[Site]:
    """Sites of blocks over the bins of a window, and of what a crop leaves in its middle, in bins of its own.

    InputError where the crop keeps more bins than the window has.
    """
    whole_bin, cropped_bin = bins
    all_bins, kept = length // cropped_bin, int(module.get_submodule(crop).target_length)  # type: ignore[arg-type]
    kept = all_bins if kept == -1 else kept
    if not 0 < kept <= all_bins:
        raise InputError(
            "the crop does not fit the window",
            where=crop,
            expected=f"at most {all_bins} bins of {cropped_bin} bases",
            got=f"{kept}",
            do="Pass the length the module was built for.",
        )
    sites = _stack("transformer", module, width, stride=whole_bin, n_tokens=length // whole_bin)
    offset = (all_bins - kept) // 2 * cropped_bin
    last = Site("cropped", crop, width, stride=cropped_bin, offset=offset, n_tokens=kept, depth=1.0)
    return [*sites, last]


def evo2(module: nn.Module, *, width: int, max_length: int = 1_048_576, name: str = "evo2") -> ByPath:
    """Evo 2: StripedHyena blocks over bytes of DNA, read from left to right; blocks return (hidden,
    cache). ``name`` may be that of a checkpoint, such as evo2-7b-262k, which SAEs of it are checked against.
    """
    sites = [replace(s, select=(0,)) if s.is_block else s for s in _stack("blocks", module, width)]
    encoding = Letters({c: ord(c) for c in "ACGTN"}, pad=1)
    return ByPath(
        module,
        encoding,
        sites,
        name=name,
        kind="dna",
        licence="Apache-2.0",
        max_length=max_length,
        call=lambda m, x: m(x["input_ids"]),
    )


def residual_pairs(
    module: nn.Module,
    letters: Letters,
    *,
    name: str,
    width: int,
    licence: str,
    path: str,
    causal: bool = False,
) -> ByPath:
    """HyenaDNA, Caduceus and other stacks whose blocks hand on (hidden, residual): the stream is their
    sum. With ``causal`` (HyenaDNA), positions read what is left of them, so samples of any length share a batch; others take
    no mask and would read the padding: they are read one by one. Caduceus-PS has twice its ``d_model`` as width.
    """
    stack = _stack(path, module, width)
    sites = [replace(s, select=(0,), combine=((1,),)) if s.is_block else s for s in stack]
    model = ByPath(
        module, letters, sites, name=name, kind="dna", licence=licence, call=lambda m, x: m(x["input_ids"])
    )
    model.batch_dependent = not causal
    return model


def load(name: str, weights: object) -> ByPath:
    """A model that was wrapped by one of the functions here."""
    if not isinstance(weights, ByPath):
        raise MissingWeightsError(
            f"{name} comes from its own package",
            do="Build its module there, wrap it by sciinterp.models.layouts, and pass weights=THAT.",
        )
    return weights


def _stack(path: str, module: nn.Module, width: int, **common: int) -> Iterator[Site]:
    """Sites of a plain stack of blocks."""
    return stack_sites(path, len(list(module.get_submodule(path).children())), width, None, **common)


def with_long_mask(module: nn.Module, inputs: Mapping[str, Tensor]) -> object:
    """Run a model of Hugging Face, whose masks are numbers."""
    return module(**{key: value.long() for key, value in inputs.items()})
