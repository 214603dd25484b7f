"""Reconstruction at equal tokens and sparsity, beside dictionary-learning's own TopK trainer.

    python tests/bench/bench_quality.py runs/demo/activations [1024x32 ...]

Both see the same training rows, batch size, number of steps and k; each with its own recipe for scale, start and
learning rate (theirs at its default and at ours, the better counts). Variance explained is measured by one function on
the families neither has seen. Run in an environment where ``dictionary-learning`` is installed.
"""

import sys

import torch

import sciinterp as si
from sciinterp.sae import TopKSAE, TrainSettings, train
from sciinterp.sae.batches import Reader, Source, parts_of
from sciinterp.sae.metrics import measure

STEPS, BATCH = 600, 2048


def theirs(source: Source, rows, d: int, f: int, k: int, seed: int, rate: float | None) -> TopKSAE:
    """Their trainer on batches of our reader, scaled as their own buffer would (mean squared norm of d)."""
    from dictionary_learning.trainers.top_k import TopKTrainer

    part = torch.from_numpy(source.take(rows[:: max(1, len(rows) // 8192)]))
    scale = float((d / part.square().sum(1).mean()).sqrt())
    trainer = TopKTrainer(
        steps=STEPS,
        activation_dim=d,
        dict_size=f,
        k=k,
        layer=0,
        lm_name="x",
        device="cpu",
        seed=seed,
        lr=rate,
        warmup_steps=STEPS // 20,
        decay_start=int(STEPS * 0.7),
    )
    reader = Reader(source, rows, BATCH, seed)
    for step in range(STEPS):
        trainer.update(step, reader.next()[0].mul_(scale))
    ae = trainer.ae
    bias = ae.b_dec.detach() / scale
    return TopKSAE(ae.encoder.weight.T, ae.encoder.bias / scale, ae.decoder.weight.T, bias, k=k)


def compare(folder: str, f: int, k: int, seed: int = 0) -> float:
    """Ours less theirs, in held-out variance explained."""
    acts = si.load_activations(folder)
    split = si.split_families(acts.samples, by="family", seed=0)
    source = Source(acts)
    parts = parts_of(source, split, seed)
    settings = TrainSettings(steps=STEPS, batch_size=BATCH, seed=seed)
    ours = train(acts, si.TopK(f, k=k), settings=settings, split=split)
    found = {"ours": ours.metrics["fve"]}
    for name, rate in (("theirs", None), ("theirs, our rate", settings.rate(STEPS // 2, STEPS, f))):
        sae = theirs(source, parts["train"], source.d_in, f, k, seed, rate)
        found[name] = measure(sae, source.pieces(parts["test"]))["fve"]
    print(
        f"{f}x{k}, {STEPS} steps of {BATCH}: " + ", ".join(f"{n} {v:.4f}" for n, v in found.items()),
        flush=True,
    )
    return found["ours"] - max(v for n, v in found.items() if n != "ours")


if __name__ == "__main__":
    for sizes in sys.argv[2:] or ["1024x32"]:
        gap = compare(sys.argv[1], *(int(n) for n in sizes.split("x")))
        print(f"ours less theirs: {gap:+.4f}")
        if gap < -0.005:
            raise SystemExit("ours reconstructs worse")
