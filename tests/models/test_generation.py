"""Sequences drawn from models whose letters are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sciinterp.errors import InputError
from sciinterp.models import GenerationSettings, load_model
from sciinterp.testing import tiny_model


def biased(model, letter):
    """A model that gives one letter nearly all of its probability, everywhere."""
    module = model.module
    with torch.no_grad():
        head = module.cls["predictions"]["decoder"]
        head.weight.zero_()
        head.bias.zero_()
        head.bias[model.vocabulary.index(letter)] = 20.0
    return model


def test_letters_are_drawn_from_the_model():
    model = biased(tiny_model()[0], "W")
    write = lambda **given: model.generate("EVQLV", n=3, settings=GenerationSettings(**given))  # noqa: E731
    assert write() == ["WWWWW"] * 3
    assert write(positions=(0, 3)) == ["WVQWV"] * 3
    assert all("W" not in text for text in write(without="W"))


def test_temperature_and_seeds():
    """At temperature 0 everything is the same; at a high one every letter comes as often as any other."""
    model = tiny_model()[0]
    cold = model.generate("EVQLVESGG", n=3, settings=GenerationSettings(temperature=0, order="left_to_right"))
    assert len(set(cold)) == 1
    hot = "".join(model.generate("EVQLVESGG", n=200, seed=1, settings=GenerationSettings(temperature=1e6)))
    counts = np.unique(list(hot), return_counts=True)[1]
    assert len(counts) == 20 and ((counts - 90) ** 2 / 90).sum() < 43.8  # chi-square, 19 degrees, .001
    one, two = (model.generate("EVQLVESGG", n=2, seed=s) for s in (1, 2))
    assert one != two and one == model.generate("EVQLVESGG", n=2, seed=1)


def test_a_causal_model_draws_from_what_comes_before():
    """The same letters before a position give the same draw, whatever comes after; words are added at the end."""
    from sciinterp.models.unirep import Unirep, UnirepModule

    torch.manual_seed(0)
    model = Unirep(UnirepModule(8, 1).eval(), name="unirep-64")
    at = GenerationSettings(positions=(2, 3))
    one, other = (model.generate(text, seed=5, settings=at)[0] for text in ("MKTAYI", "MKTAVVVVV"))
    assert one[:4] == other[:4] and one[4:] == "YI"
    longer = model.generate("MKT", n=2, seed=5, settings=GenerationSettings(n_new=4))
    assert [len(t) for t in longer] == [7, 7] and all(t.startswith("MKT") for t in longer)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"positions": (9,)}, "0 to 4"),
        ({"order": "backwards"}, "'random' or 'left_to_right'"),
        ({"temperature": -1.0}, "0 or more"),
        ({"n_new": 2}, "does not add letters"),
        ({"without": "ACDEFGHIKLMNPQRSTVWY"}, "no letter is left"),
    ],
)
def test_what_cannot_be_written_is_one_line(given, says):
    with pytest.raises(InputError, match=says):
        tiny_model()[0].generate("EVQLV", settings=GenerationSettings(**given))


def test_the_registrys_models_write():
    assert load_model("antiberty", weights=tiny_model()[0].module).generate("EVQ") != ["EVQ"] * 2
