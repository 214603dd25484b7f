"""One layout of each kind, on seeded modules of the published shapes."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from torch import nn

import sciinterp as si
from sciinterp.errors import InputError, MissingWeightsError
from sciinterp.models import capture, layouts, load_model, spans_of
from sciinterp.models.cells import BinnedGenes
from sciinterp.models.encodings import Letters
from sciinterp.testing import check_adapter

GENES = {f"G{i}": i for i in range(30)}
CELLS = [tuple(f"G{i}" for i in order) for order in ([3, 1, 4, 15, 9, 2, 6], [5, 3, 8], [29, 7, 0, 11])]
DNA = ["ACGTACGTTGCAACGT", "TTGCAGNA", "ACGTTGCATTGACCAG"]


class Mixer(nn.Module):
    """A block over [B, T, D] that reads the left context only, so padding on the right is not seen."""

    def __init__(self, width: int, out: str = "plain") -> None:
        super().__init__()
        self.norm, self.gru, self.out = nn.LayerNorm(width), nn.GRU(width, width, batch_first=True), out

    def forward(self, x, residual=None):
        if self.out == "pair":
            residual = x if residual is None else x + residual
            return self.gru(self.norm(residual))[0], residual
        y = x + self.gru(self.norm(x))[0]
        return (y, None) if self.out == "cache" else y


class Stack(nn.Module):
    def __init__(self, vocabulary: int, path: str, out: str, n: int = 3, width: int = 8) -> None:
        super().__init__()
        self.letters = nn.Embedding(vocabulary, width)
        self.add_module(path, nn.ModuleList(Mixer(width, out) for _ in range(n)))
        self.path, self.out = path, out

    def forward(self, tokens):
        x, residual = self.letters(tokens), None
        for block in getattr(self, self.path):
            if self.out == "pair":
                x, residual = block(x, residual)
            else:
                x = block(x)[0] if self.out == "cache" else block(x)
        return x if residual is None else x + residual


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.genes = nn.Embedding(32, 8, padding_idx=31)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, 3)

    def forward(self, genes, padding):
        return self.transformer_encoder(self.genes(genes), src_key_padding_mask=padding)


class Crop(nn.Module):
    target_length = 4

    def forward(self, x):
        n = (x.shape[1] - self.target_length) // 2
        return x[:, n:-n]


class Bins(nn.Module):
    """A convolution over bins of 2 bases, a transformer over all bins of the window, a crop, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(4, 8, 2, stride=2)
        self.transformer = nn.Sequential(
            *(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(3))
        )
        self.crop_final, self.head = Crop(), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.crop_final(self.transformer(self.stem(x.mT).mT)))


def passed(report) -> int:
    return int((report["result"] == "passed").sum())


def test_cells_as_ranked_genes() -> None:
    hf = pytest.importorskip("transformers", reason="the extra 'hf' is not installed")
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        pad_token_id=31,
    )
    model = layouts.geneformer(hf.BertModel(config), {**GENES, "<cls>": 30}, pad=31)
    assert passed(check_adapter(model, CELLS)) >= 15
    assert spans_of(model, "layers.0", model.encode(CELLS[1:2]))[0][:, :2].tolist() == [
        [0, 1],
        [1, 2],
        [2, 3],
    ]
    with pytest.raises(InputError, match="does not know"):
        model.encode([("G1", "NOPE")])


def test_cells_as_genes_through_a_fused_encoder() -> None:
    torch.manual_seed(0)
    model = layouts.scgpt(Cells(), {**GENES, "<cls>": 30}, width=8, pad=31)
    assert passed(check_adapter(model, CELLS)) >= 15


def test_genes_are_ranked_by_share_of_their_median() -> None:
    counts = np.array([[4, 2, 0, 9], [0, 0, 1, 1]])
    ids = {"A": 0, "B": 1, "C": 2}
    names = ["A", "B", "C", "unknown"]
    assert layouts.rank_genes(counts, names, ids) == [("A", "B"), ("C",)]
    assert layouts.rank_genes(csr_array(counts), names, ids, medians={"A": 8.0})[0] == ("B", "A")
    assert layouts.rank_genes(counts, names, ids, n=1)[0] == ("A",)


def test_cells_of_an_anndata_file_to_activations(tmp_path) -> None:
    anndata = pytest.importorskip("anndata", reason="anndata is not installed")
    counts = np.array([[0, 2.0, 7, 1], [5, 0, 0, 9], [0, 0, 0, 4]], dtype=np.float32)
    obs = pd.DataFrame({"donor": ["d1", "d2", "d3"]}, index=["c1", "c2", "c3"])
    var = pd.DataFrame(index=["G1", "G2", "G3", "MT-unknown"])
    anndata.AnnData(csr_array(counts), obs=obs, var=var).write_h5ad(tmp_path / "x.h5ad")
    cells = layouts.rank_cells(si.read_samples(tmp_path / "x.h5ad"), GENES)
    assert cells.data == (("G3", "G2"), ("G1",))
    assert cells.n_in == len(cells) + sum(cells.dropped.values()) == 3
    assert list(cells.changed.values()) == [2]
    assert cells.table["donor"].tolist() == ["d1", "d2"]
    torch.manual_seed(0)
    model = layouts.scgpt(Cells(), {**GENES, "<cls>": 30}, width=8, pad=31)
    acts = si.extract(model, cells, site="layers.1", out=tmp_path / "acts")
    rows = capture(model, ["layers.1"], model.encode([("G3", "G2")]))["layers.1"][0]
    assert np.allclose(acts.read_sample("c1"), rows.numpy(), atol=1e-6)
    assert acts.spans["start"].tolist() == [0, 1, 0]


def test_bins_with_a_crop() -> None:
    torch.manual_seed(0)
    model = layouts.enformer(Bins(), width=8, length=16, bases_per_bin=2)
    assert passed(check_adapter(model, DNA)) >= 17
    batch = model.encode(["ACGTACGTTG"])
    assert spans_of(model, "layers.0", batch)[0][:, :2].tolist() == [[i, i + 2] for i in range(0, 10, 2)]
    assert spans_of(model, "cropped", batch)[0][:, :2].tolist() == [[4, 6], [6, 8], [8, 10]]
    assert capture(model, ["cropped"], batch)["cropped"][0].shape == (3, 8)


def test_long_causal_dna_by_dotted_path() -> None:
    torch.manual_seed(0)
    model = layouts.evo2(Stack(128, "blocks", "cache"), width=8)
    assert passed(check_adapter(model, DNA)) >= 17
    assert load_model("evo2", weights=model) is not None
    with pytest.raises(MissingWeightsError, match="its own package"):
        load_model("evo2")


def test_pairs_of_hidden_and_residual() -> None:
    torch.manual_seed(0)
    letters = Letters({c: i for i, c in enumerate("ACGTN")}, pad=5)
    named = {"name": "caduceus", "width": 8, "licence": "Apache-2.0", "path": "layers", "causal": True}
    model = layouts.residual_pairs(Stack(6, "layers", "pair"), letters, **named)
    assert passed(check_adapter(model, DNA)) >= 17
    batch = model.encode(DNA)
    assert torch.allclose(
        torch.cat(capture(model, ["layers.2"], batch)["layers.2"]), model.forward(batch)[batch.mask]
    )


class UNet(nn.Module):
    """A transformer over bins of 128 bases, bins of 32 after it, and a crop."""

    def __init__(self, kept: int) -> None:
        super().__init__()
        self.stem, self.transformer = (
            nn.Conv1d(4, 8, 128, stride=128),
            nn.Sequential(nn.Linear(8, 8), nn.Tanh()),
        )
        self.crop = Crop()
        self.crop.target_length = kept

    def forward(self, x):
        bins = self.transformer(self.stem(x).mT)
        return self.crop(bins.repeat_interleave(4, 1))


def test_bins_of_two_sizes() -> None:
    """Of 512 bases: four bins of 128, then ten of the sixteen of 32, the middle ones."""
    torch.manual_seed(0)
    model = layouts.borzoi(UNet(10), width=8, length=512)
    assert (model.alphabet, model.max_length, model.name) == ("ACGTN", 512, "borzoi")
    batch = model.encode(["ACGT" * 128, "ACGT" * 40])
    spans = spans_of(model, "cropped", batch)
    assert spans[0][:, :2].tolist() == [[32 * i, 32 * i + 32] for i in range(3, 13)]
    assert spans[1][:, :2].tolist() == [[96, 128], [128, 160]]  # the sample ends in the fifth bin
    assert spans_of(model, "layers.0", batch)[1][:, :2].tolist() == [[0, 128], [128, 160]]
    found = capture(model, ["layers.1", "cropped"], batch)
    assert torch.equal(found["cropped"][0], found["layers.1"][0].repeat_interleave(4, 0)[3:13])
    whole = layouts.borzoi(UNet(-1), width=8, length=512).site("cropped")
    assert (whole.n_tokens, whole.offset) == (16, 0)
    for kept in (0, 17, -2):
        with pytest.raises(InputError, match=r"crop does not fit the window.*at most 16 bins of 32 bases"):
            layouts.borzoi(UNet(kept), width=8, length=512)


def test_ranks_by_a_plain_sort_and_for_any_form_of_counts() -> None:
    rng = np.random.default_rng(0)
    counts, names = rng.poisson(0.8, (20, 12)), [f"G{i}" for i in rng.permutation(12)]
    ids, medians = {f"G{i}": i for i in range(9)}, {f"G{i}": 0.5 + i % 3 for i in range(12)}
    found = layouts.rank_genes(counts, names, ids, medians=medians, n=5)
    for row, cell in zip(counts, found):
        known = [j for j in range(12) if row[j] and names[j] in ids]
        assert (
            list(cell)
            == [names[j] for j in sorted(known, key=lambda j: (-row[j] / medians[names[j]], j))][:5]
        )
    for form in (csr_array(counts), csr_array(counts).astype(np.float32), counts.astype(np.uint16)):
        assert layouts.rank_genes(form, names, ids, medians=medians, n=5) == found
    doubled = layouts.rank_genes(7 * counts, names, ids, medians=medians, n=5)
    assert doubled == found  # a cell's depth does not matter


def test_what_was_dropped_and_changed_before_is_carried() -> None:
    cells = [{"genes": ["G1", "Q"], "values": [1.0, 9.0]}, {"genes": ["G2"], "values": [3.0]}]
    before = {"table": pd.DataFrame({"donor": ["d", "e"]}), "kind": "cells", "lengths": [2, 1]}
    samples = si.Samples(["a", "b"], cells, n_in=5, dropped={"empty": 3}, **before)
    samples.changed = {"renamed": 1}
    ready = layouts.rank_cells(samples, GENES)
    assert (ready.n_in, ready.dropped, ready.kind) == (5, {"empty": 3}, "cells")
    assert ready.changed == {"renamed": 1, "genes left out: unknown to the model, or beyond its length": 1}
    binned = BinnedGenes(GENES, 31, 30).prepare(samples)
    assert (binned.n_in, binned.dropped, binned.changed) == (5, {"empty": 3}, {"renamed": 1})
    assert binned.data[0] == {"genes": ["G1"], "values": [1.0]} and binned.lengths.tolist() == [1, 1]
    lost = BinnedGenes({"G1": 1}, 31, 30).prepare(samples)
    assert lost.n_in == len(lost) + sum(lost.dropped.values()) == 5 and lost.table["donor"].tolist() == ["d"]
    with pytest.raises(InputError, match="no cell has a gene"):
        BinnedGenes({"Z": 1}, 31, 30).prepare(samples)
