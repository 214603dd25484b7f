"""AntiBERTy on its real weights: equal to transformers.BertModel at all nine states, heads as published."""

import pytest
import torch

from sciinterp.errors import InputError, MissingWeightsError
from sciinterp.models import HasLogits, activation_error, capture, load_model
from sciinterp.models.antiberty import Antiberty, AntibertyModule
from sciinterp.testing import check_adapter

HEAVY = (
    "EVQLVQSGPEVKKPGTSVKVSCKASGFTFMSSAVQWVRQARGQRLEWIGWIVIGSGNTNYAQKFQERVTITRDMSTSTAYMELSSLRSEDTAVYYCAAPYCSS"
    "ISCNDGFDIWGQGTMVTVS"
)
LIGHT = (
    "DVVMTQTPFSLPVSLGDQASISCRSSQSLVHSNGNTYLHWYLQKPGQSPKLLIYKVSNRFSGVPDRFSGSGSGTDFTLKISRVEAEDLGVYFCSQSTHVPYTF"
)


@pytest.fixture(scope="module")
def model():
    try:
        return load_model("antiberty")
    except MissingWeightsError as error:
        pytest.skip(f"antiberty: {error}")


def test_equals_transformers_at_all_nine_states(model) -> None:
    hf = pytest.importorskip("transformers", reason="the extra 'hf' is not installed")
    config = hf.BertConfig(
        vocab_size=25,
        hidden_size=512,
        num_hidden_layers=8,
        num_attention_heads=8,
        intermediate_size=2048,
        layer_norm_eps=1e-12,
    )
    theirs = hf.BertModel(config).eval()
    theirs.load_state_dict(model.module.bert.state_dict(), strict=True)
    batch = model.encode([HEAVY, LIGHT[:40]])
    with torch.no_grad():
        mask = batch.inputs["attention_mask"].long()
        states = theirs(
            batch.inputs["input_ids"], attention_mask=mask, output_hidden_states=True
        ).hidden_states
    names = ["embedding", *(f"layers.{i}" for i in range(8))]
    ours = capture(model, names, batch)
    for name, state in zip(names, states):
        for i, rows in enumerate(ours[name]):
            assert float((rows - state[i][batch.mask[i]]).abs().max()) < 1e-5, name


def test_heads_agree_with_the_published_examples(model) -> None:
    assert model.species_and_chain(model.encode([HEAVY, LIGHT])) == (["Human", "Mouse"], ["Heavy", "Light"])
    assert isinstance(model, HasLogits)
    batch = model.encode([HEAVY])
    guess = model.logits(batch).argmax(-1)
    assert float((guess == batch.inputs["input_ids"])[batch.mask].float().mean()) > 0.9


def test_bfloat16_is_close(model) -> None:
    errors = activation_error(model.with_dtype("bfloat16"), ["embedding", "layers.4"], model.encode([HEAVY]))
    assert errors["embedding"] == 0
    assert errors["layers.4"] < 0.01


def test_conformance_on_a_small_module() -> None:
    torch.manual_seed(0)
    small = load_model("antiberty", weights=AntibertyModule(n_blocks=3, width=32, n_heads=4, inner=64))
    assert isinstance(small, Antiberty)
    report = check_adapter(small, [HEAVY[:20], LIGHT[:12], "ACDE"])
    assert (report["result"] == "passed").sum() >= 20


def test_another_file_is_refused(tmp_path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"something else")
    with pytest.raises(InputError, match="not the published weights"):
        load_model("antiberty", weights=tmp_path / "pytorch_model.bin")
    with pytest.raises(MissingWeightsError, match=r"no such file.*none\.bin"):
        load_model("antiberty", weights=tmp_path / "none.bin")
