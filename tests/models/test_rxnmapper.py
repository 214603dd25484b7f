"""RXNMapper on its real weights: calls of one shared block, atoms as positions, and it maps atoms."""

import pytest

from sciinterp.errors import InputError, MissingWeightsError
from sciinterp.models import load_model, spans_of
from sciinterp.testing import check_adapter

ESTER = "CC(=O)O.OCC>>CC(=O)OCC"


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("transformers", reason="the extra 'hf' is not installed")
    try:
        return load_model("rxnmapper")
    except MissingWeightsError as error:
        pytest.skip(f"rxnmapper: {error}")


def test_conformance_on_the_real_weights(model) -> None:
    report = check_adapter(model, [ESTER, "C[C@H](N)C(=O)O", "c1ccccc1Br"])
    assert report.loc["reference", "measured"] < 1e-5
    assert list(model.sites().loc[["layers.0", "layers.11"], "call"]) == [0, 11]


def test_atoms_are_positions(model) -> None:
    batch = model.encode([ESTER])
    assert int(batch.lengths[0]) == model.count_positions(ESTER) == 13
    assert spans_of(model, "layers.0", batch)[0][:, 0].tolist() == list(range(13))
    with pytest.raises(InputError):
        model.encode(["C[Unobtainium]C"])


def test_the_language_model_knows_what_it_reads(model) -> None:
    """Its weights fit its vocabulary: it predicts the tokens of a common reaction that it sees."""
    batch = model.encode([ESTER])
    guess = model.logits(batch).argmax(-1)
    assert float((guess == batch.inputs["input_ids"])[batch.mask].float().mean()) > 0.9
