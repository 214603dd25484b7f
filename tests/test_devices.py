"""device=: every verb has it, an absent one is refused before anything is written, and a second device works."""

from __future__ import annotations

import inspect
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from second_device import second_device
from typer.main import get_command
from typer.testing import CliRunner

import sciinterp as si
from sciinterp.cli import app
from sciinterp.control import control_codes, twin_codes
from sciinterp.decompositions import compare_decompositions
from sciinterp.devices import device_of, moved
from sciinterp.errors import InputError
from sciinterp.interventions.ablation import ablation_effect
from sciinterp.measures import measure_sae
from sciinterp.sae import TrainSettings
from sciinterp.sae.dictionary_benchmark import benchmark_dictionary

# Commands that compute nothing with torch.
PLAIN = {
    "init",
    "associate",
    "discover",
    "readout",
    "models",
    "sites",
    "saes",
    "report",
    "browse",
    "tracks",
    "verify",
    "info",
}
COMMANDS: dict[str, click.Command] = get_command(app).commands  # type: ignore[attr-defined]
# Verbs that compute with torch; those without the keyword take it with their settings, or compute where the model is.
VERBS = {
    "load_model": si.load_model,
    "encode": si.encode,
    "randomised_control": si.randomised_control,
    "control_codes": control_codes,
    "twin_codes": twin_codes,
    "sweep_saes": si.sweep_saes,
    "loss_recovered": si.loss_recovered,
    "variant_effect": si.variant_effect,
    "variant_effects": si.variant_effects,
    "ablation_effect": ablation_effect,
    "measure_sae": measure_sae,
    "baseline_sae": si.baseline_sae,
    "benchmark_dictionary": benchmark_dictionary,
    "compare_decompositions": compare_decompositions,
}
SETTLED = {"train": si.train, "twins": si.twins, "select_width": si.select_width}
ABSENT = "cuda:77"


@pytest.mark.parametrize("name", [*VERBS, *SETTLED])
def test_every_verb_takes_a_device(name: str) -> None:
    parameters = inspect.signature({**VERBS, **SETTLED}[name]).parameters
    assert "device" in parameters or ("everyday" in parameters and hasattr(TrainSettings(), "device"))


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - PLAIN))
def test_every_command_takes_a_device_and_refuses_one_that_is_not_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given: list[str] = []
    for parameter in COMMANDS[name].params:
        if parameter.required:
            given += [*([] if parameter.param_type_name == "argument" else [parameter.opts[0]]), "1"]
    done = CliRunner().invoke(app, [name, *given, "--device", ABSENT])
    assert isinstance(done.exception, InputError), done.output
    assert str(done.exception).startswith("no such device here, --device: expected cpu"), done.exception
    assert "\n" not in str(done.exception) and not done.output.strip()
    assert not list(tmp_path.iterdir())


def test_commands_without_torch_have_no_device() -> None:
    assert all("device" not in {p.name for p in COMMANDS[name].params} for name in PLAIN)


@pytest.mark.parametrize("name", ["cuda:77", "mps:9", "banana", "", "cuda:x"])
def test_what_torch_says_of_a_device_that_is_not_there_is_one_short_line(name: str) -> None:
    with pytest.raises(InputError, match=r"no such device here, device: expected '?cpu") as caught:
        device_of(name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_auto_is_a_device_that_is_there() -> None:
    assert device_of("auto").type in ("cpu", "cuda", "mps")
    assert device_of(device_of("cpu")) == torch.device("cpu")


def test_what_was_moved_is_back_after_an_error(tiny: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sae = tiny
    with second_device(monkeypatch) as name:
        with moved(name, model, sae) as place:
            assert place.type == sae.device.type == model.device.type == name
        assert sae.device.type == model.device.type == "cpu"
        with pytest.raises(KeyboardInterrupt), moved(name, model, sae):
            raise KeyboardInterrupt
        assert sae.device.type == model.device.type == "cpu"
        with pytest.raises(InputError), moved(ABSENT, model, sae):
            pass
        assert sae.device.type == model.device.type == "cpu"


@pytest.fixture(scope="module")
def few() -> tuple[si.Samples, si.Split]:
    rng = np.random.default_rng(0)
    data = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), n)) for n in (30, 24, 41, 30, 35, 28)]
    samples = si.Samples([f"s{i}" for i in range(6)], data)
    return samples, si.split_families(samples, by=list("aabbcc"))


def _numbers(model, samples, split, out: Path, device: str) -> dict[str, np.ndarray]:
    """What every verb gives on a device."""
    acts = si.extract(model.to(device), samples, site="layers.0", out=out / "activations")
    found = {"acts": acts.read(0, acts.n_tokens)}
    for architecture in (
        si.TopK(24, k=4),
        si.BatchTopK(24, k=4),
        si.JumpReLU(24, target_l0=4),
        si.Gated(24),
        si.ReLU(24),
        si.Matryoshka(24, k=4),
    ):
        sae = si.train(
            acts,
            architecture,
            split=split,
            steps=4,
            batch_size=32,
            device=device,
            out=out / architecture.name,
        )
        found[architecture.name] = np.array([sae.metrics["fve"], sae.metrics["l0"]])
        assert sae.device.type == "cpu"
    features = si.encode(sae, acts, device=device)
    found["codes"] = features.by_sample(np.arange(len(samples))).toarray()
    features.sae = sae
    feature = int(found["codes"].sum(0).argmax())
    effect = ablation_effect(model, features, feature, n_random=1, device=device)
    assert isinstance(effect, dict)
    found["ablation"] = np.array([effect["kl"]])
    table = si.variant_effect(model, sae, samples[0], f"{samples[0].data[3]}4W", device=device)
    effect = si.ablate(model, features, samples, feature)
    found["ablate"] = np.array([effect.on_target, effect.off_target])
    found["steer"] = np.array([si.steer(model, features, samples, feature, 1.0, at="active").divergence])
    found["patch"] = np.array([si.patch(model, sae, samples[0], samples[3], feature).divergence])
    found["variant"] = np.array([table.context["log_likelihood_change"], len(table)])
    loss = si.loss_recovered(model, sae, samples, device=device)
    found["loss"] = np.array([loss["loss_clean"], loss["loss_sae"], loss["loss_mean"]])
    plain = si.baseline_sae("random", acts, like=sae, split=split, device=device)
    found["baseline"] = np.array([plain.metrics[name] for name in ("fve", "l0", "dead")])
    widths = si.select_width(
        acts, split=split, widths=(8, 16), ks=(2,), steps=2, batch_size=32, device=device
    )
    found["widths"] = widths[["fve", "l0"]].to_numpy()
    control = si.randomised_control(model, sae, samples, split=split, out=out / "control", device=device)
    found["control"] = control.by_sample(np.arange(len(samples))).toarray()
    return found


def test_a_second_device_gives_what_the_processor_gives(
    tiny: tuple, few: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (samples, split) = tiny[0], few
    here = _numbers(model, samples, split, tmp_path / "here", "cpu")
    with second_device(monkeypatch) as name:
        try:
            there = _numbers(model, samples, split, tmp_path / "there", name)
        finally:
            model.to("cpu")
    for what, value in here.items():
        np.testing.assert_allclose(there[what], value, rtol=1e-2, atol=1e-3, err_msg=what)
