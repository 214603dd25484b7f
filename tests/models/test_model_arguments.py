"""Arguments given in Python: a wrong kind, range or name is one line that names it, as of a configuration's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_generation import biased

import sciinterp as si
from sciinterp.errors import InputError, SciinterpError
from sciinterp.models import GenerationSettings, plan_batches
from sciinterp.models.generation import drawn
from sciinterp.models.weight_files import built, path_of, renamed, unwrapped, wheel_file
from sciinterp.testing import check_adapter, tiny_model

WRONG = [
    ({"order": "backwards"}, "GenerationSettings order.*'left_to_right'.*got 'backwards'"),
    ({"order": None}, "GenerationSettings order"),
    ({"temperature": "hot"}, "GenerationSettings temperature: expected a number, got 'hot'"),
    ({"temperature": float("nan")}, "GenerationSettings temperature"),
    ({"temperature": float("inf")}, "GenerationSettings temperature: expected 0 or more"),
    ({"temperature": -1.0}, "GenerationSettings temperature: expected 0 or more"),
    ({"rounds": 0}, "GenerationSettings rounds: expected 1 or more"),
    ({"rounds": 1.5}, "GenerationSettings rounds: expected a whole number, got 1.5"),
    ({"rounds": True}, "GenerationSettings rounds"),
    ({"n_new": -1}, "GenerationSettings n_new: expected 0 or more"),
    ({"n_new": "2"}, "GenerationSettings n_new"),
    ({"positions": "12"}, "GenerationSettings positions"),
    ({"positions": (1.5,)}, "GenerationSettings positions"),
    ({"positions": 3}, "GenerationSettings positions"),
    ({"without": ["W"]}, "GenerationSettings without: expected text"),
]


@pytest.mark.parametrize(("given", "says"), WRONG)
def test_settings_of_writing(given, says) -> None:
    with pytest.raises(InputError, match=says) as caught:
        GenerationSettings(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "positions", [(0, 3), [3, 0], np.array([0, 3]), range(0, 4, 3), torch.tensor([0, 3])]
)
def test_positions_in_any_form(positions) -> None:
    settings = GenerationSettings(positions=positions, temperature=np.float32(1), rounds=np.int64(1))
    assert settings.places(5).tolist() == [0, 3] and type(settings.rounds) is int
    assert biased(tiny_model()[0], "W").generate("EVQLV", settings=settings) == ["WVQWV"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"n": 0}, "n: expected 1 or more, got 0"),
        ({"n": -2}, "n: expected 1 or more"),
        ({"n": 1.5}, "n: expected a whole number"),
        ({"n": "2"}, "n: expected a whole number"),
        ({"seed": -1}, "seed"),
        ({"seed": "x"}, "seed: expected a whole number"),
        ({"seed": float("nan")}, "seed"),
    ],
)
def test_draws_of_a_model(given, says) -> None:
    for model, sample in ((tiny_model()[0], "EVQLV"), _mpnn()):
        with pytest.raises(InputError, match=says):
            model.generate(sample, **given)


def _mpnn():
    from makers import WHOLE, small_mpnn

    return small_mpnn("proteinmpnn")(None), WHOLE[3]


def test_letters_come_as_often_as_their_scores_say() -> None:
    """The softmax at a temperature, by 4,000 evenly spread numbers: each count within one of its share."""
    scores = torch.tensor([0.3, -1.0, 2.0, 0.3, float("-inf")])
    for temperature in (0.5, 1.0, 3.0):
        share = torch.softmax(scores.double() / temperature, 0).numpy()
        found = [drawn(scores, temperature, (i + 0.5) / 4000) for i in range(4000)]
        assert np.abs(np.bincount(found, minlength=5) - 4000 * share).max() <= 1
        assert drawn(scores, temperature, np.nextafter(1, 0)) <= 4 and found == sorted(found)
    assert drawn(scores, 0.0, 0.99) == 2
    assert drawn(scores + 1e6, 1.0, 0.5) == drawn(scores, 1.0, 0.5)  # no overflow
    assert drawn(torch.tensor([5.0]), 1e-9, 0.999) == 0


def test_one_text_at_a_time_writes_what_all_at_once_do() -> None:
    model = tiny_model()[0]
    together = model.generate("EVQLVESGG", n=3, seed=4)
    model.batch_dependent = True
    assert model.generate("EVQLVESGG", n=3, seed=4) == together
    assert [model.generate("EVQLVESGG", n=1, seed=4)[0]] == together[:1]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": "esm2-8n"}, "no such model: expected 'esm2-8m'"),
        ({"name": "Antiberty"}, "expected 'antiberty'"),
        ({"name": 3}, "no such model"),
        ({"name": "antiberty", "dtype": "half"}, "no such precision, dtype"),
        ({"name": "antiberty", "dtype": ["float32"]}, "no such precision, dtype"),
        ({"name": "antiberty", "device": "tpu"}, "no such device here, device"),
        ({"name": "antiberty", "weights": 3}, "no weights of antiberty, weights.*got int"),
        ({"name": "antiberty", "weights": torch.nn.Linear(2, 2)}, "this module is not antiberty.*got Linear"),
        ({"name": "hf-esm2", "weights": (1, 2)}, "a pair .module, tokeniser."),
        ({"name": "hf-esm2", "weights": {}}, "got dict"),
        ({"name": "scgpt", "weights": "/no/such/folder"}, "no such file.*no folder '/no/such'"),
        ({"name": "borzoi", "weights": "x"}, "its own package"),
    ],
)
def test_models_that_cannot_be_opened(given, says) -> None:
    with pytest.raises(InputError, match=says) as caught:
        si.load_model(**given)
    assert "\n" not in str(caught.value)


def test_a_suite_of_one_sample_is_refused() -> None:
    with pytest.raises(InputError, match="at least two"):
        check_adapter(tiny_model()[0], ["EVQ"])


@pytest.mark.parametrize("most", [0, -1])
def test_a_batch_holds_something(most) -> None:
    for given in ({"max_tokens": most}, {"max_samples": most}):
        with pytest.raises(InputError, match="must hold something"):
            plan_batches([3, 4], **given)
    assert plan_batches([]) == []


def test_modules_come_out_of_their_wrappers_whatever_their_depth() -> None:
    inner = torch.nn.Linear(2, 2).train()
    around: torch.nn.Module = inner
    for name in ("module", "_orig_mod", "module"):
        outer = torch.nn.Module()
        outer.add_module(name, around)
        around = outer
    found = built("x", around, torch.nn.Linear)
    assert found is inner and not found.training and not found.weight.requires_grad
    assert built("x", None, torch.nn.Linear) is None and built("x", "path", torch.nn.Linear) is None
    with pytest.raises(InputError, match="expected Linear or Conv1d, got Module"):
        built("x", torch.nn.Module(), (torch.nn.Linear, torch.nn.Conv1d))


def test_names_of_arrays_by_pairs_in_their_order() -> None:
    one, two = torch.zeros(1), torch.ones(1)
    assert renamed({"a.b": one, "c": two}, ((r"^a\.", "x."), (r"x\.b$", "y"))) == {"y": one, "c": two}
    state = {"module._orig_mod.a": one, "module.b._fsdp_wrapped_module.c": two}
    assert unwrapped(state) == {"a": one, "b.c": two}
    assert unwrapped({"module.a": one, "b": two}) == {"module.a": one, "b": two}
    assert unwrapped({}) == {}


def test_files_of_wheels_are_there_and_the_published_ones(tmp_path) -> None:
    with pytest.raises(SciinterpError, match=r"not on this machine.*pip install thing==1"):
        wheel_file("no-such-wheel-at-all", "x", "00", install="thing==1")
    (tmp_path / "x").write_bytes(b"abc")
    sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert wheel_file("w", "x", sha, install="w", weights=tmp_path / "x") == tmp_path / "x"
    with pytest.raises(InputError, match=r"not the published.*expected sha256 0+\.\.\., got ba7816bf8f01\."):
        wheel_file("w", "x", "0" * 64, install="w", weights=tmp_path / "x")
    with pytest.raises(InputError, match="a path or a built module, got bytes"):
        path_of("w", b"x")
