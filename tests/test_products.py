"""Products by oneDNN: the same numbers as PyTorch's own, and only where they may be taken."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn import functional as F
from torch.overrides import _get_current_function_mode_stack

from sciinterp import products
from sciinterp.products import ByOneDNN, as_here, linear

SHAPES = {"rows": (7, 12), "one row": (1, 12), "batch": (3, 5, 12), "no rows": (0, 12), "vector": (12,)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_the_product_is_pytorchs_own(shape, strided, with_bias):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape), torch.randn(9, 12), torch.randn(9) if with_bias else None
    if strided:
        x, weight = x.repeat_interleave(2, -1)[..., ::2], weight.T.contiguous().T
    found = linear(x, weight, bias)
    assert found.shape == (*shape[:-1], 9)
    torch.testing.assert_close(found, F.linear(x, weight, bias), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [2, 17, 300])
@pytest.mark.parametrize("strided", [False, True])
def test_a_row_knows_no_other_rows(n, strided):
    """Two or more: one alone is a vector, which is multiplied in another way."""
    torch.manual_seed(0)
    rows, weight, bias = torch.randn(300, 128), torch.randn(256, 128), torch.randn(256)
    weight = weight.T.contiguous().T if strided else weight
    assert torch.equal(linear(rows[:n], weight, bias), linear(rows, weight, bias)[:n])


def test_values_that_are_no_numbers_stay_so():
    x = torch.tensor([[1.0, float("nan")], [float("inf"), 1.0], [1.0, 2.0]])
    found = linear(x, torch.ones(3, 2))
    assert found[0].isnan().all() and found[1].isinf().all() and found[2].tolist() == [3.0, 3.0, 3.0]


@pytest.mark.parametrize("case", ["gradients", "double", "half", "switched off", "not there"])
def test_elsewhere_it_is_pytorchs_to_the_bit(case, monkeypatch):
    if case == "not there":
        monkeypatch.setattr(products, "PRODUCT", None)
    torch.manual_seed(0)
    dtype = {"double": torch.float64, "half": torch.bfloat16}.get(case, torch.float32)
    x, weight = torch.randn(64, 96, dtype=dtype), torch.randn(80, 96, dtype=dtype)
    weight.requires_grad_(case == "gradients")
    with torch.backends.mkldnn.flags(enabled=case != "switched off"):
        found = linear(x, weight)
    assert torch.equal(found, F.linear(x, weight))
    assert found.requires_grad == (case == "gradients")


def test_modules_take_it_while_the_mode_is_open():
    module, x = torch.nn.Linear(96, 80), torch.randn(64, 96)
    with torch.no_grad(), ByOneDNN():
        inside = module(x)
    assert torch.equal(inside, linear(x, module.weight.detach(), module.bias.detach()))
    with ByOneDNN():
        module(x).sum().backward()
    assert module.weight.grad is not None


def test_what_is_open_here_is_open_in_a_thread_that_works_for_it():
    rows, weight = torch.randn(64, 96), torch.randn(80, 96)
    taken = []

    def product():
        taken.append(any(isinstance(mode, ByOneDNN) for mode in _get_current_function_mode_stack()))
        return F.linear(rows, weight)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(as_here(product)).result()
        with ByOneDNN():
            found = pool.submit(as_here(product)).result()
    assert taken == [False, True] and torch.equal(found, linear(rows, weight))
