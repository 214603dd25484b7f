"""On a graphics card: training steps beside the packages people use, and extraction in bfloat16.

    python -m pytest -m gpu tests/bench/bench_gpu.py -s

Tokens a second of a TopK step at 1,280 x 16,384, k 32, batch 4,096 (the width of ESM-2 of 650 million weights), for each
package that is installed, on the same rows; and of extraction at the middle block of a seeded ESM-2 of 33 blocks, 1,280
wide, in float32 and bfloat16. The card is named beside every figure. Without a card every step is made once, small and on
the processor, so that it is known to work where there is one; nothing is measured then, and that is said.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import sciinterp as si

CARD = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
DEVICE = "cuda" if CARD else "cpu"
D, F, K, BATCH, STEPS, BLOCKS, CHAINS = (
    (1280, 16_384, 32, 4096, 50, 33, 300) if CARD else (40, 128, 4, 64, 1, 2, 12)
)
pytestmark = pytest.mark.gpu


def seconds_of(step: Callable[[], object], steps: int = STEPS) -> float:
    """Seconds of some steps after three that are not counted."""
    for _ in range(3):
        step()
    wait()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return time.perf_counter() - started


def wait() -> None:
    """Until the card has done what it was told."""
    if CARD:
        torch.cuda.synchronize()


def say(name: str, tokens: int, seconds: float) -> None:
    told = (
        f"{tokens / seconds:,.0f} tokens a second on {CARD}"
        if CARD
        else "works; not run: no graphics card here"
    )
    print(f"\n{name}: {told}")


@pytest.fixture(scope="module")
def rows() -> torch.Tensor:
    return torch.randn(BATCH, D, generator=torch.Generator().manual_seed(0)).to(DEVICE)


def test_our_step(rows: torch.Tensor) -> None:
    from sciinterp.sae.architecture import Step
    from sciinterp.sae.parameters import Parameters

    architecture = si.TopK(F, k=K)
    p = Parameters(architecture.shapes(D), unit_norm=True, device=DEVICE)
    p["W_dec"].normal_().div_(p["W_dec"].norm(dim=1, keepdim=True))
    p["W_enc"].copy_(p["W_dec"])
    step = Step(p, torch.empty(0, dtype=torch.int64, device=DEVICE))

    def one() -> None:
        architecture.step(step, rows, rows)
        p.gradient_norm(0.0)
        p.update(1e-4)

    say("sciinterp", STEPS * BATCH, seconds_of(one))
    assert torch.isfinite(p.flat).all()


def test_dictionary_learning(rows: torch.Tensor) -> None:
    trainers = pytest.importorskip("dictionary_learning.trainers.top_k")
    trainer = trainers.TopKTrainer(
        steps=10_000, activation_dim=D, dict_size=F, k=K, layer=0, lm_name="x", device=DEVICE
    )
    numbers = iter(range(10_000))
    say("dictionary-learning", STEPS * BATCH, seconds_of(lambda: trainer.update(next(numbers), rows)))


def test_sae_lens(rows: torch.Tensor) -> None:
    pytest.importorskip("sae_lens")
    from sae_lens.saes.sae import TrainStepInput
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=D, d_sae=F, k=K, dtype="float32", device=DEVICE))
    optimiser, numbers = torch.optim.Adam(sae.parameters()), iter(range(10_000))
    dead = torch.zeros(F, dtype=torch.bool, device=DEVICE)

    def one() -> None:
        given = TrainStepInput(
            sae_in=rows,
            dead_neuron_mask=dead,
            coefficients={},
            n_training_steps=next(numbers),
            is_logging_step=False,
        )
        optimiser.zero_grad()
        sae.training_forward_pass(step_input=given).loss.backward()
        optimiser.step()

    say("sae-lens", STEPS * BATCH, seconds_of(one))


def test_sparsify(rows: torch.Tensor) -> None:
    pytest.importorskip("sparsify")
    from sparsify import SparseCoder, SparseCoderConfig

    coder = SparseCoder(D, SparseCoderConfig(num_latents=F, k=K)).to(DEVICE)
    optimiser = torch.optim.Adam(coder.parameters())

    def one() -> None:
        optimiser.zero_grad()
        coder(rows).fvu.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimiser.step()
        coder.set_decoder_norm_to_unit_norm()

    say("eai-sparsify", STEPS * BATCH, seconds_of(one))


@pytest.mark.skipif(importlib.util.find_spec("esm") is None, reason="not run: fair-esm is not installed")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_extraction(precision: str, tmp_path: Path) -> None:
    import esm
    import numpy as np

    torch.manual_seed(0)
    module = esm.ESM2(BLOCKS, D, 20, esm.Alphabet.from_architecture("ESM-1b")).eval().requires_grad_(False)
    model = si.load_model("esm2", weights=module, device=DEVICE, dtype=precision)
    rng = np.random.default_rng(0)
    data = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), n)) for n in rng.integers(60, 500, CHAINS)]
    samples = si.Samples([str(i) for i in range(len(data))], data)
    site = f"layers.{BLOCKS // 2}"
    si.extract(model, samples[:20], site=site, out=tmp_path / "warm")
    started = time.perf_counter()
    si.extract(model, samples, site=site, out=tmp_path / "acts", dtype="bfloat16", max_tokens=32_768)
    say(f"extract, {precision}", samples.n_positions, time.perf_counter() - started)
