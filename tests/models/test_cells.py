"""Geneformer and scGPT from folders in the published layout, on tiny seeded weights; hostile dictionaries are refused."""

import builtins
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array

import sciinterp as si
from sciinterp.cli.make import extract
from sciinterp.errors import FormatError, InputError, MissingWeightsError, SciinterpError
from sciinterp.models import capture, load_model
from sciinterp.models.cells import ScgptModule, bins
from sciinterp.store import plain_pickle
from sciinterp.store.plain_pickle import read_plain
from sciinterp.testing import check_adapter

IDS = {f"ENSG{i:011d}": i for i in range(4, 24)}
SPECIAL = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3}
MEDIANS = {gene: 1.0 + token % 3 for gene, token in IDS.items()}
SYMBOLS = {f"G{token}": gene for gene, token in IDS.items()}


def geneformer(folder: Path, *, special: bool = True, numpy: bool = True) -> Path:
    hf = pytest.importorskip("transformers", reason="the extra 'hf' is not installed")
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=24, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=12, pad_token_id=0, hidden_act="relu",
    )  # fmt: skip
    hf.BertForMaskedLM(config).save_pretrained(folder)
    (folder / "geneformer").mkdir()
    extra = SPECIAL if special else {k: SPECIAL[k] for k in ("<pad>", "<mask>")}
    kept = {
        "token_dictionary_gc1.pkl": {**extra, **IDS},
        "gene_median_dictionary_gc1.pkl": {g: np.float64(m) if numpy else m for g, m in MEDIANS.items()},
        "gene_name_id_dict_gc1.pkl": SYMBOLS,
    }
    for name, plain in kept.items():
        (folder / "geneformer" / name).write_bytes(pickle.dumps(plain))
    return folder


def h5ad(path: Path, names: list[str]) -> Path:
    anndata = pytest.importorskip("anndata", reason="anndata is not installed")
    counts = np.random.default_rng(0).poisson(1.5, (6, len(names))).astype(np.float32)
    counts[4] = 0
    counts[5, :-1], counts[5, -1] = 0, 3  # a cell with the unknown gene alone
    obs = pd.DataFrame({"donor": list("aabbcc")}, index=[f"c{i}" for i in range(6)])
    anndata.AnnData(csr_array(counts), obs=obs, var=pd.DataFrame(index=names)).write_h5ad(path)
    return path


NAMES = {
    "Ensembl": [*list(IDS)[:15], "ENSG99999999999"],
    "with a version": [*(f"{g}.7" for g in list(IDS)[:15]), "ENSG99999999999.1"],
    "symbols": [*list(SYMBOLS)[:15], "nobody"],
}


@pytest.mark.parametrize(
    ("names", "special"), [("Ensembl", True), ("with a version", False), ("symbols", True)]
)
def test_geneformer_reads_cells_as_its_authors_rank_them(names, special, tmp_path) -> None:
    """Expression over the median, strongest first; the hidden states are those of transformers' own BERT."""
    import transformers as hf

    model = load_model("geneformer", weights=geneformer(tmp_path / "m", special=special))
    cells = si.read_samples(h5ad(tmp_path / "x.h5ad", NAMES[names]))
    ready = model.prepare(cells)
    assert ready.ids == ("c0", "c1", "c2", "c3") and ready.dropped["no gene the model knows"] == 1
    assert ready.n_in == len(ready) + sum(ready.dropped.values()) and ready.table["donor"].tolist() == list(
        "aabb"
    )
    genes, n = list(IDS), 12 - 2 * special
    first = dict(zip(cells.data[0]["genes"], cells.data[0]["values"]))
    back = {NAMES[names][i]: genes[i] for i in range(15)}
    scaled = {back[g]: v / MEDIANS[back[g]] for g, v in first.items() if g in back}
    by_hand = sorted(scaled, key=lambda g: -scaled[g])
    assert [scaled[g] for g in ready.data[0]] == [scaled[g] for g in by_hand][:n]
    acts = si.extract(model, ready, site="layers.1", out=tmp_path / "acts")
    ids = [IDS[g] for g in ready.data[0]]
    ids = [2, *ids, 3] if special else ids
    theirs = hf.BertModel.from_pretrained(tmp_path / "m").eval()
    with torch.no_grad():
        states = theirs(torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0]
    states = states[1:-1] if special else states
    assert np.allclose(acts.read_sample("c0"), states.numpy(), atol=1e-5)
    assert model.prepare(ready) is ready


def test_geneformer_passes_the_conformance_suite(tmp_path) -> None:
    model = load_model("geneformer", weights=geneformer(tmp_path / "m", numpy=False))
    genes = list(IDS)
    report = check_adapter(model, [tuple(genes[i] for i in order) for order in ([3, 1, 4, 15], [5, 3], [0])])
    assert (report["result"] == "passed").sum() >= 15
    with pytest.raises(InputError, match="too long"):
        model.encode([tuple(genes[:15])])


def scgpt(folder: Path, change: dict | None = None) -> tuple[Path, ScgptModule]:
    folder.mkdir()
    vocabulary = {f"G{i}": i for i in range(20)} | {"<pad>": 20, "<cls>": 21, "<eoc>": 22}
    torch.manual_seed(0)
    module = ScgptModule(23, width=16, n_heads=2, inner=24, n_blocks=2, pad=20)
    args = {"embsize": 16, "nheads": 2, "d_hid": 24, "nlayers": 2, "pad_token": "<pad>", "pad_value": -2}
    state = {k.replace("in_proj_", "Wqkv."): v for k, v in module.state_dict().items()}
    state["decoder.fc.0.weight"] = torch.zeros(16, 16)
    (folder / "args.json").write_text(json.dumps({**args, "n_bins": 51, **(change or {})}))
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    torch.save(state, folder / "best_model.pt")
    return folder, module.eval()


def test_scgpt_reads_genes_and_their_bins(tmp_path) -> None:
    folder, module = scgpt(tmp_path / "m")
    model = load_model("scgpt", weights=folder)
    cells = si.read_samples(h5ad(tmp_path / "x.h5ad", [*(f"G{i}" for i in range(15)), "nobody"]))
    ready = model.prepare(cells)
    assert ready.ids == ("c0", "c1", "c2", "c3") and ready.dropped["no gene the model knows"] == 1
    acts = si.extract(model, ready, site="layers.1", out=tmp_path / "acts")
    cell = ready.data[0]
    values = torch.tensor([-2.0, *bins(np.array(cell["values"]), 51)])
    ids = torch.tensor([21, *(int(g[1:]) for g in cell["genes"])])
    with torch.no_grad():
        by_hand = module(ids[None], values[None], torch.ones(1, len(ids), dtype=torch.bool))[0, 1:]
    assert np.allclose(acts.read_sample("c0"), by_hand.numpy(), atol=1e-5)
    assert bins(np.array([1.0, 2.0, 3.0, 9.0]), 51).tolist() == [1.0, 17.0, 33.0, 50.0]
    assert (check_adapter(model, list(ready.data[:3]))["result"] == "passed").sum() >= 15
    with pytest.raises(InputError, match=r"model\.prepare"):
        model.encode([{"genes": ["nobody"], "values": [1.0]}])
    with pytest.raises(InputError, match="not a cell with its expression"):
        model.encode([("G1", "G2")])


def test_scgpt_is_its_authors_module(tmp_path) -> None:
    """Where the package can be imported: the same arrays in its TransformerModel give the same states."""
    theirs = pytest.importorskip("scgpt.model.model", reason="scgpt is not installed")
    folder, _ = scgpt(tmp_path / "m")
    vocabulary = json.loads((folder / "vocab.json").read_text())
    torch.manual_seed(1)
    other = theirs.TransformerModel(
        23, 16, 2, 24, 2, vocab=vocabulary, pad_token="<pad>", pad_value=-2, use_fast_transformer=False
    ).eval()
    state = {k.replace("in_proj_", "Wqkv."): v for k, v in other.state_dict().items()}
    torch.save(state, folder / "best_model.pt")
    model = load_model("scgpt", weights=folder)
    cells = [{"genes": ["G3", "G1", "G7"], "values": [1.0, 4.0, 2.0]}, {"genes": ["G2"], "values": [5.0]}]
    batch = model.encode(cells)
    ids, values = batch.inputs["input_ids"], batch.inputs["values"]
    with torch.no_grad():
        states = other._encode(ids, values, src_key_padding_mask=ids == 20)
    found = torch.cat(capture(model, ["layers.1"], batch)["layers.1"])
    assert torch.allclose(found, states[batch.mask], atol=1e-5)


FAULTS = {
    "no dictionary": lambda f: (f / "geneformer/token_dictionary_gc1.pkl").unlink(),
    "two dictionaries": lambda f: (f / "geneformer/token_dictionary_gc2.pkl").write_bytes(pickle.dumps(IDS)),
    "tokens beyond": lambda f: (f / "geneformer/token_dictionary_gc1.pkl").write_bytes(
        pickle.dumps({"a": 24})
    ),
    "tokens as text": lambda f: (f / "geneformer/token_dictionary_gc1.pkl").write_bytes(
        pickle.dumps({"a": "b"})
    ),
    "a median of zero": lambda f: (f / "geneformer/gene_median_dictionary_gc1.pkl").write_bytes(
        pickle.dumps({"a": 0.0})
    ),
    "no weights": lambda f: (f / "model.safetensors").unlink(),
    "another width": lambda f: (f / "config.json").write_text(
        (f / "config.json").read_text().replace('"hidden_size": 16', '"hidden_size": 32')
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_geneformer_that_does_not_fit_is_one_line(fault, tmp_path) -> None:
    folder = geneformer(tmp_path / "m")
    FAULTS[fault](folder)
    with pytest.raises(SciinterpError) as error:
        load_model("geneformer", weights=folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change", [{"embsize": 32}, {"nheads": 3}, {"nlayers": 3}, {"nlayers": 10**9}, {"input_emb_style": "scaling"}], ids=str
)  # fmt: skip
def test_an_scgpt_that_does_not_fit_is_one_line(change, tmp_path) -> None:
    with pytest.raises(SciinterpError) as error:
        load_model("scgpt", weights=scgpt(tmp_path / "m", change)[0])
    assert "\n" not in str(error.value)
    for name in ("geneformer", "scgpt"):
        with pytest.raises(MissingWeightsError):
            load_model(name, weights=tmp_path / "nothing")
        with pytest.raises(MissingWeightsError):
            load_model(name)


class Runs:
    def __reduce__(self):
        return os.mkdir, ("ran",)


HOSTILE = {
    "code": pickle.dumps(Runs()),
    "code in a value": pickle.dumps({"a": Runs()}),
    "eval": b"cbuiltins\neval\n(S'1'\ntR.",
    "a function": pickle.dumps({"a": builtins.print}),
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "numpy load": b"cnumpy\nload\n(V/etc/passwd\ntR.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"Pwhat\n.",
    "far memory": b"\x80\x02}r\xff\xff\xff\x7f.",
    "lists 100,000 deep": b"\x80\x02" + b"]" * 100_000 + b".",
    "tuples 100,000 deep": b"\x80\x02)" + b"\x85" * 100_000 + b".",
    "text that is not there": b"\x80\x04\x8d" + (1 << 40).to_bytes(8, "little") + b"a.",
    "a dictionary in a dictionary": pickle.dumps({"a": {"b": 1}}),
    "numbers as keys": pickle.dumps({1: 2}),
    "an array": pickle.dumps({"a": np.zeros(3)}),
    "complex": pickle.dumps({"a": np.complex128(1)}),
    "a list": pickle.dumps([1]),
    "nothing": b"",
    "cut": pickle.dumps(IDS)[:-9],
    "text": b"hello",
    "a number of the wrong size": b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00f8\x85RX\x01\x00\x00\x00a\x86R.",
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_dictionaries_run_nothing(kind, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "token_dictionary.pkl"
    path.write_bytes(HOSTILE[kind])
    with pytest.raises(SciinterpError) as error:
        read_plain(path)
    assert "\n" not in str(error.value) and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_dictionaries_are_read_whatever_wrote_them(protocol, tmp_path) -> None:
    """Of any protocol text and numbers; NumPy's numbers of those that write bytes as they are."""
    plain = {"a": 1, "b": 2.5, "c": "d", "big": 1 << 40}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(plain, protocol))
    assert read_plain(tmp_path / "x.pkl") == plain
    if protocol > 2:
        numbers = {"f": np.float64(1.25), "i": np.int64(-3), "s": np.float32(0.5)}
        (tmp_path / "y.pkl").write_bytes(pickle.dumps(numbers, protocol))
        assert read_plain(tmp_path / "y.pkl") == {"f": 1.25, "i": -3, "s": 0.5}
    with pytest.raises(SciinterpError):
        read_plain(tmp_path)


def test_cells_of_a_file_go_through_the_command(tmp_path) -> None:
    folder, _ = scgpt(tmp_path / "m")
    cells, out = h5ad(tmp_path / "x.h5ad", [*(f"G{i}" for i in range(15)), "nobody"]), tmp_path / "acts"
    extract(model="scgpt", samples=cells, site=["layers.1"], out=out, weights=folder)
    assert si.load_activations(out).samples.ids == ("c0", "c1", "c2", "c3")


def test_a_pickle_changes_nothing_of_what_reads_it(tmp_path):
    """Attributes that it sets on what it looked up are gone with it."""
    path = tmp_path / "poison.pkl"
    looked_up = b"cnumpy.core.multiarray\nscalar\n"
    attributes = b"(N}X\x04\x00\x00\x00kindK\x05stb"  # no state, and one attribute
    path.write_bytes(b"\x80\x02}X\x01\x00\x00\x00a" + looked_up + attributes + b"s.")
    with pytest.raises(FormatError, match="no dictionary of text and numbers"):
        read_plain(path)
    assert not hasattr(plain_pickle._Number, "kind")
