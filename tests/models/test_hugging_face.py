"""Hugging Face models on seeded tiny configurations: their own hidden states, their own tokens, the suite."""

import itertools
import math
import re

import pytest
import torch

import sciinterp as si
from sciinterp.errors import InputError, MissingWeightsError
from sciinterp.models import capture, load_model, spans_of
from sciinterp.testing import check_adapter

esm = pytest.importorskip("esm")
hf = pytest.importorskip("transformers", reason="the extra 'hf' is not installed")
PROTEINS = ["MKTAYIAKQRQISF", "GSHMEELLKK", "ACDKTWY"]
DNA = ["ACGTACGTACGTTGCAGGCA", "TTGACANNGATTACAGATTACA", "GGGCCCAT"]
ESM = list(esm.Alphabet.from_architecture("ESM-1b").all_toks)
SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}


def esm_tokeniser(folder, vocabulary=ESM, eos: str | None = "<eos>"):
    path = folder / "vocab.txt"
    path.write_text("\n".join(vocabulary))
    return hf.EsmTokenizer(str(path), eos_token=eos)


def esm_config(vocabulary=ESM, **more):
    fixed = {"vocab_size": len(vocabulary), "pad_token_id": 1, "mask_token_id": vocabulary.index("<mask>")}
    rotary = {
        "position_embedding_type": "rotary",
        "max_position_embeddings": 1026,
        "token_dropout": True,
        "layer_norm_eps": 1e-5,
    }
    return hf.EsmConfig(**{**fixed, **rotary, **SMALL, **more})


def words_tokeniser(vocabulary, model_type="bert"):
    """One letter a token, as ProtBERT's and ProtT5's tokenisers give for spaced text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {w: i for i, w in enumerate(vocabulary)}
    unknown = "[UNK]" if model_type == "bert" else "<unk>"
    raw = Tokenizer(models.WordLevel(ids, unk_token=unknown))
    if model_type == "bert":
        raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        single, special = "[CLS] $A [SEP]", [("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
        names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]", "cls_token": "[CLS]"}
    else:
        raw.pre_tokenizer = pre_tokenizers.Metaspace()
        single, special = "$A </s>", [("</s>", ids["</s>"])]
        names = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "</s>"}
    raw.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    return hf.PreTrainedTokenizerFast(tokenizer_object=raw, **names)


def bpe_tokeniser():
    from tokenizers import Tokenizer, models, processors

    words = [
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[PAD]",
        "[MASK]",
        *"ACGT",
        "AC",
        "GT",
        "ACGT",
        "TT",
        "CA",
        "GATTACA",
        "TA",
        "GA",
    ]
    merges = [("A", "C"), ("G", "T"), ("AC", "GT"), ("T", "T"), ("C", "A"), ("T", "A"), ("G", "A")]
    ids = {w: i for i, w in enumerate(words)}
    raw = Tokenizer(models.BPE(ids, merges, unk_token="[UNK]"))
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]", mask_token="[MASK]", cls_token="[CLS]"
    )


def nucleotide_vocabulary():
    kmers = ["".join(k) for k in itertools.product("ATCG", repeat=6)]
    return ["<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>", *kmers, *"ATCGN"]


def build(name, folder):
    """(module, tokeniser) of a family, small and seeded."""
    torch.manual_seed(0)
    if name == "hf-esm2":
        return hf.EsmForMaskedLM(esm_config()), esm_tokeniser(folder)
    if name == "esmc":
        config = hf.EsmcConfig(vocab_size=64, pad_token_id=1, mask_token_id=ESM.index("<mask>"), **SMALL)
        return hf.EsmcModel(config), esm_tokeniser(folder)
    if name in ("prott5", "ankh"):
        config = hf.T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=3, num_heads=4)
        letters = ["▁" + c for c in "ALGVSREDTIPKFQNYMHWCXBOUZ"]
        return hf.T5EncoderModel(config), words_tokeniser(["<pad>", "</s>", "<unk>", *letters], "t5")
    if name == "protbert":
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"LAGVESIKRDTPNQFYMHCWXUBZO"]
        return hf.BertForMaskedLM(hf.BertConfig(vocab_size=len(words), **SMALL)), words_tokeniser(words)
    if name == "nucleotide-transformer":
        words = nucleotide_vocabulary()
        return hf.EsmForMaskedLM(esm_config(words)), esm_tokeniser(folder, words, eos=None)
    if name == "dna-letters":
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"ACGTN"]
        return hf.BertForMaskedLM(hf.BertConfig(vocab_size=len(words), **SMALL)), words_tokeniser(words)
    tokeniser = bpe_tokeniser()
    return hf.BertForMaskedLM(hf.BertConfig(vocab_size=len(tokeniser), **SMALL)), tokeniser


@pytest.mark.parametrize(
    "name",
    ["hf-esm2", "esmc", "prott5", "ankh", "protbert", "nucleotide-transformer", "dna-bpe", "dna-letters"],
)
def test_families(name, tmp_path) -> None:
    module, tokeniser = build(name, tmp_path)
    model = load_model(name, weights=(module, tokeniser))
    samples = (
        PROTEINS
        if model.kind == "protein"
        else [s.replace("N", "A") if name == "dna-bpe" else s for s in DNA]
    )
    report = check_adapter(model, samples)
    assert report.loc["reference", "measured"] < 1e-5
    assert list(model.sites().index[:2]) == ["embedding", "layers.0"]
    assert report.loc["reverse_complement", "result"] == (
        "passed" if model.kind == "dna" else "not applicable"
    )


@pytest.mark.parametrize("name", ["hf-esm2", "prott5", "protbert", "nucleotide-transformer", "dna-letters"])
def test_tokens_equal_those_of_the_tokeniser(name, tmp_path) -> None:
    module, tokeniser = build(name, tmp_path)
    model = load_model(name, weights=(module, tokeniser))
    spaced = name in ("prott5", "protbert", "dna-letters")
    for sample in PROTEINS if model.kind == "protein" else DNA:
        theirs = tokeniser(" ".join(sample) if spaced else sample)["input_ids"]
        assert model.encode([sample]).inputs["input_ids"][0].tolist() == theirs


def test_illegal_letters_are_refused_where_the_tokeniser_merges_them(tmp_path) -> None:
    module, tokeniser = build("hf-esm2", tmp_path)
    model = load_model("hf-esm2", weights=(module, tokeniser))
    assert len(tokeniser("MKJJT")["input_ids"]) != 7
    with pytest.raises(InputError, match="position 2"):
        model.encode(["MKJJT"])


def test_six_mers_start_anew_at_n(tmp_path) -> None:
    model = load_model("nucleotide-transformer", weights=build("nucleotide-transformer", tmp_path))
    batch = model.encode(["ACGTACGTNACGTACG"])
    assert spans_of(model, "layers.0", batch)[0][:, :2].tolist() == [
        [0, 6],
        [6, 7],
        [7, 8],
        [8, 9],
        [9, 15],
        [15, 16],
    ]


def test_esm2_of_both_frameworks_agree(tmp_path) -> None:
    """The same weights through fair-esm and through transformers, at every layer."""
    torch.manual_seed(1)
    theirs = esm.model.esm2.ESM2(num_layers=3, embed_dim=32, attention_heads=4)
    module = hf.EsmModel(esm_config(intermediate_size=128), add_pooling_layer=False)
    names = {
        "self_attn.q_proj": "attention.self.query",
        "self_attn.k_proj": "attention.self.key",
        "self_attn.v_proj": "attention.self.value",
        "self_attn.out_proj": "attention.output.dense",
        "self_attn_layer_norm": "attention.LayerNorm",
        "fc1": "intermediate.dense",
        "fc2": "output.dense",
        "final_layer_norm": "LayerNorm",
    }
    state = {
        "embeddings.word_embeddings.weight": theirs.embed_tokens.weight,
        "encoder.emb_layer_norm_after.weight": theirs.emb_layer_norm_after.weight,
        "encoder.emb_layer_norm_after.bias": theirs.emb_layer_norm_after.bias,
    }
    for key, value in theirs.state_dict().items():
        for ours, other in names.items():
            number, _, rest = key.removeprefix("layers.").partition(".")
            if key.startswith("layers.") and rest.rpartition(".")[0] == ours:
                state[f"encoder.layer.{number}.{other}.{rest.rpartition('.')[2]}"] = value
    left = module.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    assert all("inv_freq" in k or "contact" in k for k in left.missing_keys), left.missing_keys
    fair = load_model("esm2", weights=theirs)
    face = load_model("hf-esm2", weights=(module, esm_tokeniser(tmp_path)))
    sites = ["embedding", "layers.0", "layers.1", "layers.2", "norm"]
    one = capture(fair, sites, fair.encode(PROTEINS))
    two = capture(face, sites, face.encode(PROTEINS))
    for name in sites:
        for a, b in zip(one[name], two[name]):
            assert torch.allclose(a, b, atol=1e-5), name


def test_folders_are_read_and_missing_ones_named(tmp_path, monkeypatch) -> None:
    module, tokeniser = build("hf-esm2", tmp_path)
    module.save_pretrained(tmp_path / "model")
    tokeniser.save_pretrained(tmp_path / "model")
    model = load_model("hf-esm2", weights=tmp_path / "model")
    batch = model.encode(PROTEINS)
    same = load_model("hf-esm2", weights=(module, tokeniser))
    assert torch.equal(capture(model, ["norm"], batch)["norm"][0], capture(same, ["norm"], batch)["norm"][0])
    assert model.identity == same.identity
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9/")
    with pytest.raises(MissingWeightsError, match=r"no such file.*nowhere"):
        load_model("hf-esm2", weights=tmp_path / "nowhere")
    with pytest.raises(MissingWeightsError, match=r"no folder here.*hub does not answer"):
        load_model("hf-esm2", weights="somebody/some-model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingWeightsError, match="could not be read") as caught:
        load_model("hf-esm2", weights=tmp_path / "empty")
    assert "\n" not in str(caught.value)
    with pytest.raises(MissingWeightsError, match="--weights"):
        load_model("prott5")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda n: hf.BertForTokenClassification(hf.BertConfig(vocab_size=n, **SMALL)), "no scores"),
        (lambda n: hf.ElectraForPreTraining(hf.ElectraConfig(vocab_size=n, **SMALL)), "no scores"),
        (lambda n: hf.GPT2Model(hf.GPT2Config(vocab_size=n, n_embd=32, n_layer=1, n_head=4)), "no scores"),
        (lambda n: hf.BertForMaskedLM(hf.BertConfig(vocab_size=n - 3, **SMALL)), r"token .* not know"),
        (lambda n: hf.BartForConditionalGeneration(hf.BartConfig(vocab_size=n, d_model=32)), "layout"),
        (lambda n: hf.ElectraForMaskedLM(hf.ElectraConfig(vocab_size=n, **SMALL)), ""),
        (lambda n: hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=n, **SMALL)), ""),
        (
            lambda n: hf.MambaForCausalLM(hf.MambaConfig(vocab_size=n, hidden_size=32, num_hidden_layers=1)),
            "",
        ),
    ],
)
def test_the_loss_of_any_model_or_one_line(make, said, tmp_path) -> None:
    """Models without scores over words, with another layout or another's tokeniser say so; others are scored."""
    tokeniser = bpe_tokeniser()
    samples = si.Samples(["a", "b"], ["ACGTACGTACGATTACA", "GGATCCATTAGGCCA"], kind="dna")
    try:
        model = load_model("dna-bpe", weights=(make(len(tokeniser)), tokeniser))
        acts = si.extract(model, samples, site="layers.0", out=tmp_path / "acts")
        sae = si.train(acts, si.TopK(n_features=8, k=2), seed=0, steps=1)
        found = si.loss_recovered(model, sae, samples)
    except InputError as error:
        assert said and re.search(said, str(error)), error  # noqa: PT017
    else:
        assert not said and math.isfinite(found["loss_clean"]) and found["n"] > 0
