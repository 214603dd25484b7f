"""The sparse steps' losses and gradients are those of the dense losses under autograd, in float64."""

import importlib.util
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sciinterp.sae import BatchTopK, Gated, JumpReLU, Matryoshka, ReLU, TopK
from sciinterp.sae.architecture import Step
from sciinterp.sae.parameters import Parameters

_SPEC = importlib.util.spec_from_file_location("dense_sae", Path(__file__).with_name("dense_sae.py"))
dense_sae = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(dense_sae)

KINDS = {
    "topk": lambda f, k: TopK(f, k=k),
    "batchtopk": lambda f, k: BatchTopK(f, k=k),
    "matryoshka": lambda f, k: Matryoshka(f, k=k, prefixes=(f // 4, f // 2, f)),
    "relu": lambda f, k: ReLU(f, l1=1.5),
    "gated": lambda f, k: Gated(f, l1=1.5),
    "jumprelu": lambda f, k: JumpReLU(f, target_l0=k, bandwidth=0.7),
}


def make(architecture, d_in, seed):
    torch.manual_seed(seed)
    parameters = Parameters(architecture.shapes(d_in), unit_norm=architecture.unit_norm)
    for name in parameters.names():
        parameters[name].normal_()
    parameters["W_dec"].div_(parameters["W_dec"].norm(dim=1, keepdim=True))
    parameters["W_enc"].div_(d_in**0.5)
    parameters["b_enc"].mul_(0.3)
    if "theta" in parameters:
        parameters["theta"].abs_().mul_(0.2)
    return parameters


def assert_gradients_equal(architecture, n, d_in, n_dead, seed, tied=True):
    parameters = make(architecture, d_in, seed)
    x = torch.randn(n, d_in)
    target = x if tied else torch.randn(n, d_in)
    dead = torch.randperm(architecture.n_features)[:n_dead].sort().values
    step = Step(parameters, dead, memory={"started": torch.ones(1)})
    found = architecture.step(step, x, target)
    p = {name: parameters[name].double().requires_grad_() for name in parameters.names()}
    loss = dense_sae.LOSSES[architecture.name](architecture, p, x.double(), target.double(), dead)
    loss.backward()
    assert float(found["loss"]) == pytest.approx(loss.item(), rel=1e-5)
    for name, leaf in p.items():
        mine, theirs = parameters.gradients[name].double(), leaf.grad if leaf.grad is not None else 0 * leaf
        scale = theirs.norm().clamp_min(1e-3)
        assert (mine - theirs).norm() / scale < 1e-5, f"{architecture.name}: gradient of {name}"


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("n", "d_in", "f", "k"), [(700, 24, 96, 5), (64, 16, 256, 2), (33, 7, 40, 8)])
def test_gradients_equal_dense_autograd(name, n, d_in, f, k):
    assert_gradients_equal(KINDS[name](f, k), n, d_in, n_dead=f // 5, seed=1)


@pytest.mark.parametrize("name", KINDS)
def test_gradients_with_another_target(name):
    assert_gradients_equal(KINDS[name](64, 4), 130, 12, n_dead=9, seed=3, tied=False)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.integers(1, 60),
    st.integers(1, 20),
    st.integers(8, 70),
    st.integers(1, 8),
    st.integers(0, 8),
    st.integers(0, 10_000),
)
def test_gradients_of_any_shape(name, n, d_in, f, k, n_dead, seed):
    assert_gradients_equal(KINDS[name](f, k), n, d_in, n_dead, seed)


def test_projected_gradient_has_no_part_along_the_decoder():
    architecture = TopK(64, k=4)
    parameters = make(architecture, 12, 0)
    x = torch.randn(100, 12)
    architecture.step(Step(parameters, torch.empty(0, dtype=torch.int64)), x, x)
    parameters.gradient_norm(0.0)
    along = (parameters.gradients["W_dec"] * parameters["W_dec"]).sum(1)
    assert along.abs().max() < 1e-4
    parameters.update(1e-2)
    assert torch.allclose(parameters["W_dec"].norm(dim=1), torch.ones(64), atol=1e-6)


def test_defect_12_jumprelu_window_is_whole():
    """Entries on both sides of the threshold move it, also those that are not active."""
    architecture = JumpReLU(1, target_l0=1, bandwidth=1.0)
    for offset, moved in ((-0.49, True), (0.49, True), (-0.51, False), (0.51, False)):
        parameters = Parameters(architecture.shapes(1), unit_norm=True)
        parameters["W_enc"].fill_(1.0)
        parameters["W_dec"].fill_(1.0)
        parameters["theta"].fill_(2.0 / 4)
        x = torch.tensor([[2.0 + offset]])
        architecture.step(
            Step(parameters, torch.empty(0, dtype=torch.int64), memory={"started": torch.ones(1)}), x, x + 5
        )
        assert bool(parameters.gradients["theta"].abs().sum() > 0) == moved


def test_the_optimiser_is_torchs_adam_bit_for_bit_and_goes_on_from_its_state():
    ours = Parameters({"W_dec": (3, 4), "b_dec": (4,)}, unit_norm=False)
    ours.flat.copy_(torch.randn(len(ours.flat)))
    theirs = ours.flat.clone()
    adam = torch.optim.Adam([theirs], betas=(0.9, 0.999), eps=1e-8, fused=True)
    theirs.grad = torch.zeros_like(theirs)
    for step in range(8):
        gradient, adam.param_groups[0]["lr"] = torch.randn(len(theirs)), 0.1 / (1 + step)
        ours.flat.grad.copy_(gradient)
        theirs.grad.copy_(gradient)
        ours.update(0.1 / (1 + step))
        adam.step()
        assert torch.equal(ours.flat, theirs)
        again = Parameters({"W_dec": (3, 4), "b_dec": (4,)}, unit_norm=False)
        again.restore(ours.state())
        ours = again
