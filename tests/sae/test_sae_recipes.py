"""BioNeMo's recipes and overcomplete: codes and reconstruction are those of the definition; what is not said is asked for."""

import json

import pytest
import torch
import torch.nn.functional as F
from test_sae_published import B_DEC, B_ENC, W_DEC, W_ENC, D, K, N, X, above, check_agrees, put, top

import sciinterp as si
from sciinterp.errors import SciinterpError

RECIPE = {"encoder.weight": W_ENC.T, "latent_bias": B_ENC, "decoder.weight": W_DEC.T, "pre_bias": B_DEC}
FIRED = {"stats_last_nonzero": torch.arange(N)}
MEAN, STD = X.mean(1, keepdim=True), X.std(1, keepdim=True) + 1e-8


def bionemo(kind: str, normed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    if kind == "TopK":
        codes = top((((X - MEAN) / STD if normed else X) - B_DEC) @ W_ENC + B_ENC)
        back = codes @ W_DEC + B_DEC
        return codes, back * STD + MEAN if normed else back
    x = X - B_DEC
    codes = F.relu((F.normalize(x, dim=-1) if normed else x) @ W_ENC + B_ENC)
    return codes, codes @ W_DEC + B_DEC


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("kind", ["TopK", "ReLU"])
def test_bionemo_is_its_definition(kind, normed, tmp_path):
    """As a training's state with its settings, wrapped by several devices or not, and as tensors with config.json."""
    held = {**RECIPE, **(FIRED if kind == "TopK" else {})}
    said = {"normalize_input": normed, **({"top_k": K, "auxk": None} if kind == "TopK" else {})}
    plain = put(tmp_path / "plain", held, {"config.json": said}, "sae.pt")
    check_agrees(si.load_sae(plain), *bionemo(kind, normed))
    for prefix in ("", "module."):
        module = torch.nn.Linear(2, 2)
        state = {
            "model_state_dict": {prefix + name: value.contiguous() for name, value in held.items()},
            "global_step": 7,
            "epoch": 1,
            "config": {"lr": 1e-3},
            "optimizer_state_dict": torch.optim.Adam(module.parameters()).state_dict(),
            "input_dim": D,
            "hidden_dim": N,
            "model_config": {"input_dim": D, "hidden_dim": N, **said},
        }
        folder = tmp_path / f"run {prefix}" / "checkpoints"
        folder.mkdir(parents=True)
        torch.save(state, folder / "checkpoint_final.pt")
        sae = si.load_sae(folder.parent)
        check_agrees(sae, *bionemo(kind, normed))
        again = si.load_sae(sae.save(tmp_path / f"ours {prefix}"))
        check_agrees(again, *bionemo(kind, normed))
        if normed:
            with pytest.raises(SciinterpError, match="cannot express"):
                sae.export(tmp_path / "out", format="saelens")


@pytest.mark.parametrize(
    ("held", "config", "words"),
    [
        ({**RECIPE, **FIRED}, {"top_k": K}, "normalised is not said"),
        ({**RECIPE, **FIRED}, {"normalize_input": True}, "k is not given once"),
        ({**RECIPE, **FIRED}, {"normalize_input": "yes", "k": K}, "normalize_input"),
        (RECIPE, {"normalize_input": True, "hidden_dim": N + 1}, "hidden_dim"),
        (RECIPE, {"normalize_input": True, "k": N + 1}, "k does not fit"),
        ({**RECIPE, "router.weight": W_ENC}, {"normalize_input": True}, "mixture of experts"),
        ({**RECIPE, "b": B_ENC}, {"normalize_input": True}, "not understood"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bionemo_takes_no_guess(held, config, words, tmp_path):
    with pytest.raises(SciinterpError, match=words) as error:
        si.load_sae(put(tmp_path, held, {"config.json": config}, "sae.pt"))
    assert "\n" not in str(error.value)


ATOMS = F.normalize(W_DEC, dim=1)
ONE = torch.tensor(0.3)
FINAL = {"encoder.final_block.0.weight": W_ENC.T, "encoder.final_block.0.bias": B_ENC}
BATCH = {
    "weight": B_ENC + 1,
    "bias": B_ENC - 0.1,
    "running_mean": B_ENC * 2,
    "running_var": B_ENC.abs() + 0.5,
}
BATCH = {f"encoder.final_block.1.{name}": value for name, value in BATCH.items()}
POINTS = torch.randn(9, D, generator=torch.Generator().manual_seed(2))
MIX = torch.rand(N, 9, generator=torch.Generator().manual_seed(3)) - 0.2
PRE = X @ W_ENC + B_ENC


def atoms(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"dictionary._weights": rows, "dictionary.multiplier": ONE}


def archetypes() -> torch.Tensor:
    mix = MIX.relu()
    return mix / mix.sum(1, keepdim=True) @ POINTS + 0.4 * ATOMS


def normed() -> torch.Tensor:
    parts = [BATCH[f"encoder.final_block.1.{n}"] for n in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(PRE, *parts)


# arrays, config.json, codes, dictionary
OVERCOMPLETE = {
    "SAE": ({**FINAL, **atoms(ATOMS)}, {"activation": "relu"}, lambda: PRE.relu(), ATOMS),
    "TopKSAE": ({**FINAL, **atoms(ATOMS)}, {"top_k": K}, lambda: top(PRE), ATOMS),
    "a step after it was normalised": (
        {**FINAL, **atoms(ATOMS * 1.02)},
        {"top_k": K},
        lambda: top(PRE),
        ATOMS,
    ),
    "identity": (
        {**FINAL, **atoms(W_DEC)},
        {"k": K, "normalization": "identity"},
        lambda: top(PRE),
        W_DEC,
    ),
    "max_l1": (
        {**FINAL, **atoms(W_DEC)},
        {"k": K, "normalization": "max_l1"},
        lambda: top(PRE),
        W_DEC / W_DEC.abs().sum(1).max(),
    ),
    "BatchTopKSAE": (
        {**FINAL, **atoms(ATOMS)},
        {"running_threshold": 0.8},
        lambda: above(PRE, 0.8),
        ATOMS,
    ),
    "JumpSAE": (
        {**FINAL, **atoms(ATOMS), "thresholds": B_ENC - 1},
        {},
        lambda: above(PRE, (B_ENC - 1).exp()),
        ATOMS,
    ),
    "batch norm": ({**FINAL, **BATCH, **atoms(ATOMS)}, {"top_k": K}, lambda: top(normed()), ATOMS),
    "untied": (
        {"encoder.weight": W_ENC.T, **atoms(ATOMS)},
        {"top_k": K},
        lambda: top(X @ W_ENC),
        ATOMS,
    ),
    "tied": (
        {"encoder.bias": B_ENC, **atoms(ATOMS), "encoder.tied_to._weights": ATOMS},
        {"top_k": K},
        lambda: top(X @ ATOMS.T * ONE.exp() + B_ENC),
        ATOMS,
    ),
    "RATopKSAE": (
        {
            **FINAL,
            "dictionary.W": MIX,
            "dictionary.C": POINTS,
            "dictionary.Relax": ATOMS,
            "dictionary.multiplier": ONE,
        },
        {"top_k": K, "delta": 0.4},
        lambda: top(PRE),
        archetypes(),
    ),
}


@pytest.mark.parametrize("name", OVERCOMPLETE)
def test_overcomplete_is_its_definition(name, tmp_path):
    held, config, codes, dictionary = OVERCOMPLETE[name]
    sae = si.load_sae(put(tmp_path / "a", held, {"config.json": config}, "sae.pt"))
    check_agrees(sae, codes(), codes() @ dictionary * ONE.exp())
    check_agrees(si.load_sae(sae.save(tmp_path / "b")), codes(), codes() @ dictionary * ONE.exp())


@pytest.mark.parametrize(
    ("change", "config", "words"),
    [
        ({}, {}, "those of an SAE, a TopKSAE and a BatchTopKSAE"),
        ({}, {"top_k": K, "running_threshold": 0.5}, "top_k and running_threshold"),
        ({}, {"running_threshold": -1}, "running_threshold"),
        ({}, {"activation": "gelu"}, "activation"),
        ({"dictionary._weights": W_DEC}, {"top_k": K}, "how directions are normalised is not said"),
        ({"dictionary.multiplier": torch.tensor(200.0)}, {"top_k": K}, "multiplier that cannot be"),
        ({"encoder.mlp_blocks.0.0.weight": W_ENC.T}, {"top_k": K}, "more than a linear map"),
        ({"encoder.final_block.1.weight": B_ENC}, {"top_k": K}, "normalisation over features"),
        ({"Q": B_ENC}, {"top_k": K}, "not understood.*Q"),
        ({"thresholds": B_ENC[1:]}, {}, "thresholds has a shape"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_overcomplete_takes_no_guess(change, config, words, tmp_path):
    held = {**FINAL, **atoms(ATOMS), **change}
    with pytest.raises(SciinterpError, match=words) as error:
        si.load_sae(put(tmp_path, held, {"config.json": config}, "sae.pt"))
    assert "\n" not in str(error.value)


def test_a_state_of_training_runs_nothing_and_keeps_its_settings_plain(tmp_path):
    held = {name: value.contiguous() for name, value in {**RECIPE, **FIRED}.items()}
    for number, settings in enumerate(([1], "x", {"top_k": [3], "normalize_input": True}, {"top_k": json})):
        file = tmp_path / f"{number}.pt"
        try:
            torch.save({"model_state_dict": held, "model_config": settings}, file)
        except TypeError:  # a module of Python cannot be written
            torch.save({"model_state_dict": held, "model_config": print}, file)
        with pytest.raises(SciinterpError):
            si.load_sae(file)
    torch.save({"model_state_dict": {"a": 1}}, tmp_path / "x.pt")
    with pytest.raises(SciinterpError, match="named tensors alone"):
        si.load_sae(tmp_path / "x.pt")
