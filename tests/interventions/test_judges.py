"""Judges: what each says of sequences, by hand, and how control and design use them."""

from __future__ import annotations

import numpy as np
import pytest
from planted_control import LETTERS, world

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.interventions.control_matrix import ControlSettings
from sciinterp.interventions.designing import DesignSettings
from sciinterp.testing import tiny_model

DATA = "data/antibodies.fasta"


def test_motif_counts_overlapping_matches():
    samples = si.Samples(["a", "b", "c"], ["ANNSTA", "NPSA", "NGSNGS"])
    assert si.judges.motif("N[^P][ST]")(samples).tolist() == [2, 0, 2]
    with pytest.raises(InputError, match="no regular expression"):
        si.judges.motif("N[")


def test_properties_and_composition_are_sums():
    samples = si.Samples(["a", "b"], ["KKDG", "GGP"])
    assert si.judges.residues("charge")(samples).tolist() == [1, 0]
    assert si.judges.residues({"G": 1.0})(samples).tolist() == [1, 2]
    helix = si.judges.residues("helix")(samples)
    assert helix[1] == pytest.approx(-1 - 1 - 3.16) and helix[0] == pytest.approx(-0.26 * 2 - 0.69 - 1)
    with pytest.raises(InputError, match="no such property"):
        si.judges.residues("colour")


def test_a_head_says_how_many_positions_are_a_word():
    model = world(0, 1)["model"]
    judge, samples = si.judges.head(model, "W"), si.Samples(["a", "b"], ["EVQLV", "WWWWWWWW"])
    for i, text in enumerate(samples.sequences):
        p = np.exp(np.array(model.logits(model.encode([text]))[0].double().log_softmax(-1).detach()))
        assert judge(samples)[i] == pytest.approx(p[: len(text), LETTERS.index("W")].sum(), abs=1e-6)
    with pytest.raises(InputError, match="no such word"):
        si.judges.head(model, "donor")


def test_germline_numbers_chains_anew():
    """Chains of the class score higher than others; what can no longer be numbered has the lowest odds everywhere."""
    pytest.importorskip("immunum", reason="the extra 'demo' is not installed")
    every = si.read_samples(DATA, table="data/antibodies.tsv")
    group = every.table["v_subgroup"].astype(str).to_numpy()
    names, count = np.unique(group, return_counts=True)
    one, two = names[np.argsort(-count)[:2]]
    carriers, others = (np.flatnonzero(group == name)[:24] for name in (one, two))
    training = every.subset(np.r_[carriers[:16], others[:16]])
    judge = si.judges.germline(training, [True] * 16 + [False] * 16)
    of_class, of_other = judge(every.subset(carriers[16:])), judge(every.subset(others[16:]))
    assert of_class.min() > of_other.max() and of_class.mean() > 0 > of_other.mean()
    broken = judge(si.Samples(["x"], ["GGSGGS"]))
    assert broken[0] <= of_other.min() and np.isfinite(broken).all()
    with pytest.raises(InputError, match="one truth value"):
        si.judges.germline(training, [True])


def test_control_by_a_word_of_the_models_own_head():
    """The driven feature raises its word wherever it is written; the idle one does not."""
    given, settings = world(0, 1), ControlSettings(n_samples=12, n_random=4, n_noise=0, divergence=0.05)
    table = si.control_matrix(**given, judge="W", settings=settings)
    told = table.context["summary"].set_index("concept")
    assert told.loc["driven", "control"] and not told.loc["idle", "control"]
    with pytest.raises(InputError, match="no such word"):
        si.control_matrix(**given, judge="donor", settings=settings)
    given["model"].vocabulary = tuple(f"class {i}" for i in range(22))
    with pytest.raises(InputError, match=r"not over letters.*a word of its head: class 0"):
        si.control_matrix(**given, settings=settings)
    table = si.control_matrix(**given, judge=f"class {LETTERS.index('W')}", settings=settings)
    assert table.context["summary"].set_index("concept").loc["driven", "control"]
    example = table.context["examples"][0]
    assert (
        example["own"] == example["before"] == example["after"]
    )  # a head that writes no letters changes none


@pytest.mark.parametrize("judge", [lambda s: np.zeros(1), lambda s: None, lambda s: ["high"] * len(s)])
def test_a_judge_gives_one_number_a_sample(judge):
    with pytest.raises(InputError, match="one number a sample"):
        si.control_matrix(**world(0, 1), judge=judge, settings=ControlSettings(n_samples=4))
    model, sae = tiny_model()
    with pytest.raises(InputError, match="one number a sample"):
        si.design(model, sae, "EVQLVE", [3], positions=[1], n=1, settings=DesignSettings(judge=judge))
