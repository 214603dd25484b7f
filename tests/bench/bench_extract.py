"""Throughput of ``extract`` beside the loops people use, on one model, in one interleaved run.

    python tests/bench/bench_extract.py [--samples 200] [--rounds 3] [--threads 1]

* fair-esm: the loop of its own extraction script (batches by length under 4,096 tokens, all blocks and the
  letter head, one file a sequence), on the module that our adapter wraps;
* Hugging Face: sequences as they come, 16 a batch, padded, all hidden states, rows kept in memory;
* bfloat16 beside float32, both ours, the same in the shapes of larger ESM-2 (seeded) and for AntiBERTy on its real
  weights.

ESM-2 of 6 blocks, 320 wide, seeded, unless said otherwise; lengths with median 120 and a tail to 500. A ratio above one means that
``extract`` is faster. Load on the machine is printed, because ratios of a busy machine say little.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "activations"))
import torch
from tiny_adapter import make_samples, natural_lengths

import sciinterp as si

MIDDLE, LAST = "layers.2", "norm"


def fair_esm_model(blocks: int = 6, width: int = 320):
    """A seeded ESM-2 and its alphabet; of the shape of the 8M model unless said otherwise."""
    import esm

    torch.manual_seed(0)
    alphabet = esm.Alphabet.from_architecture("ESM-1b")
    return esm.ESM2(blocks, width, 20, alphabet).eval().requires_grad_(False), alphabet


def fair_esm_loop(module, alphabet, samples, layer: int, out: Path) -> None:
    """What fair-esm's extraction script does for one layer."""
    from esm.data import FastaBatchedDataset

    data = FastaBatchedDataset([s.id.replace("/", "_") for s in samples], samples.sequences)
    batches = data.get_batch_indices(4096, extra_toks_per_seq=1)
    loader = torch.utils.data.DataLoader(
        data, collate_fn=alphabet.get_batch_converter(1022), batch_sampler=batches
    )
    with torch.no_grad():
        for labels, texts, tokens in loader:
            found = module(tokens, repr_layers=[layer], return_contacts=False)
            rows = found["representations"][layer]
            for i, label in enumerate(labels):
                kept = {"label": label, "representations": {layer: rows[i, 1 : len(texts[i]) + 1].clone()}}
                torch.save(kept, out / f"{label}.pt")


def hugging_face_model(folder: Path):
    """A seeded ESM-2 of 6 blocks as transformers builds it, and its tokeniser."""
    import transformers as hf

    words = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPNKQXBUZOCMHFWY.-", "<null_1>", "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(words))
    config = hf.EsmConfig(
        vocab_size=33,
        pad_token_id=1,
        mask_token_id=32,
        hidden_size=320,
        num_hidden_layers=6,
        num_attention_heads=20,
        intermediate_size=1280,
        position_embedding_type="rotary",
        token_dropout=True,
        max_position_embeddings=1026,
    )
    torch.manual_seed(0)
    module = hf.EsmForMaskedLM(config).eval().requires_grad_(False)
    return module, hf.EsmTokenizer(str(folder / "vocab.txt"))


def hugging_face_loop(module, tokeniser, samples, layer: int, size: int = 16) -> list[torch.Tensor]:
    """The loop of most tutorials: batches in the order of the file, every hidden state."""
    kept = []
    with torch.no_grad():
        for lo in range(0, len(samples), size):
            texts = samples.sequences[lo : lo + size]
            inputs = tokeniser(texts, return_tensors="pt", padding=True)
            states = module(**inputs, output_hidden_states=True).hidden_states[layer]
            kept += [states[i, 1 : len(text) + 1].clone() for i, text in enumerate(texts)]
    return kept


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of one call on the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - processor


def race(name: str, ours: Callable[[Path], object], theirs: Callable[[Path], object], rounds: int) -> None:
    """Print the medians over rounds of (their seconds / ours), the two taking turns."""
    ratios = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
            runs = [lambda a=a: ours(Path(a) / "x"), lambda b=b: theirs(Path(b))]
            order = (0, 1) if number % 2 else (1, 0)
            seconds = {i: timed(runs[i]) for i in order}
        ratios.append([t / o for t, o in zip(seconds[1], seconds[0])])
    clock, processor = (statistics.median(column) for column in zip(*ratios))
    every = ", ".join(f"{r[0]:.2f}" for r in ratios)
    print(f"{name}: {clock:.2f} times on the clock ({every}), {processor:.2f} of the processor", flush=True)


def main() -> None:
    """Run all comparisons and print their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)
    samples = make_samples(natural_lengths(options.samples))
    print(
        f"{len(samples)} sequences, {samples.n_positions} residues, {options.threads} threads, "
        f"load before {os.getloadavg()[0]:.1f}"
    )

    module, alphabet = fair_esm_model()
    model = si.load_model("esm2", weights=module)
    low = si.load_model("esm2", weights=module, dtype="bfloat16")
    for name, site, layer in (("middle", MIDDLE, 3), ("last", LAST, 6)):
        race(
            f"fair-esm's script, {name} site",
            lambda out, site=site: si.extract(model, samples, site=site, out=out),
            lambda out, layer=layer: fair_esm_loop(module, alphabet, samples, layer, out),
            options.rounds,
        )
    race(
        "ESM-2, float32 beside bfloat16, last site",
        lambda out: si.extract(low, samples, site=LAST, out=out),
        lambda out: si.extract(model, samples, site=LAST, out=out / "x"),
        options.rounds,
    )
    if len(samples) >= 60:
        some = samples.subset(range(0, len(samples), 3))
        for millions, blocks, width in ((35, 12, 480), (150, 30, 640)):
            wide = fair_esm_model(blocks, width)[0]
            exact, short = (si.load_model("esm2", weights=wide, dtype=d) for d in ("float32", "bfloat16"))
            race(
                f"ESM-2 of {millions}M, float32 beside bfloat16, last site",
                lambda out, short=short: si.extract(short, some, site=LAST, out=out),
                lambda out, exact=exact: si.extract(exact, some, site=LAST, out=out / "x"),
                options.rounds,
            )
        exact, short = (si.load_model("antiberty", dtype=d) for d in ("float32", "bfloat16"))
        race(
            "AntiBERTy, float32 beside bfloat16, layers.4",
            lambda out: si.extract(short, some, site="layers.4", out=out),
            lambda out: si.extract(exact, some, site="layers.4", out=out / "x"),
            options.rounds,
        )
    with tempfile.TemporaryDirectory() as folder:
        acts = si.extract(low, samples, site=MIDDLE, out=Path(folder) / "x")
        print(
            f"bfloat16 error at {MIDDLE}: {acts.manifest['extra']['precision_error']:.2e} of their deviation"
        )
        print(f"padding: {acts.padding:.1%}")
        built = hugging_face_model(Path(folder))
        face = si.load_model("hf-esm2", weights=built)
        for name, site, layer in (("middle", MIDDLE, 3), ("last", LAST, 6)):
            race(
                f"Hugging Face loop, {name} site",
                lambda out, site=site: si.extract(face, samples, site=site, out=out),
                lambda _, layer=layer: hugging_face_loop(*built, samples, layer),
                options.rounds,
            )
    print(f"load after {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
