"""Training throughput beside the peers' own step code, interleaved in one process, one thread.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0 python tests/bench/bench_train.py
    [320x4096x2048 ...] [memory]

Every contender makes steps in turn, round after round, on the same rows; the best round of each counts, in
CPU seconds of the process as well as on the clock, so that other load on the machine falls on all alike.
Ours runs the whole loop (reader, AuxK, finiteness check, norm constraint, log) but for the files; a tenth
of its features is held dead so that AuxK has work. Peers that are not installed are left out.

With ``memory``, the memory each adds at 320x10240 and batch 4096: the peak over making it and three steps, in a process
of its own, above that of the data and the libraries.
"""

import importlib.util
import os
import subprocess
import sys
import time

import numpy as np
import torch

from sciinterp.sae import TopK, TrainSettings, loop
from sciinterp.sae.batches import Source

K, ROUNDS, STEPS = 32, 3, 2


class Ours:
    def __init__(self, x, d, f, batch, *, screen="off", alpha=1 / 32):
        settings = TrainSettings(steps=10_000, batch_size=batch, screen=screen)
        self.data = loop._Data(Source(x), None, settings, torch.device("cpu"))
        self.data.look()
        self.run = loop._Run(self.data, loop.Job(TopK(f, k=K, aux_alpha=alpha), settings))
        self.run.begin()
        self.run.parameters["b_enc"][: f // 10] = -1e3
        self.run.last_fired[: f // 10] = -(10**9)

    def __call__(self, n):
        self.data.steps = self.run.done + n
        loop._train(self.data, [self.run])


class DictionaryLearning:
    def __init__(self, x, d, f, batch):
        from dictionary_learning.trainers.top_k import TopKTrainer

        self.trainer = TopKTrainer(
            steps=10_000, activation_dim=d, dict_size=f, k=K, layer=0, lm_name="x", device="cpu"
        )
        self.x, self.batch, self.at = torch.from_numpy(x), batch, 1

    def __call__(self, n):
        for _ in range(n):
            rows = torch.randint(len(self.x), (self.batch,))
            self.trainer.update(self.at, self.x[rows])
            self.at += 1


class SAELens:
    """The body of SAETrainer's training step, without its data pipeline and its logger."""

    def __init__(self, x, d, f, batch):
        from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

        self.sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d, d_sae=f, k=K, dtype="float32", device="cpu"))
        self.optimizer = torch.optim.Adam(self.sae.parameters(), lr=1e-3)
        self.x, self.batch = torch.from_numpy(x), batch
        self.dead = torch.zeros(f, dtype=torch.bool)
        self.since, self.scores = torch.zeros(f), torch.zeros(f)

    def __call__(self, n):
        from sae_lens.saes.sae import TrainStepInput

        for i in range(n):
            rows = self.x[torch.randint(len(self.x), (self.batch,))]
            step = TrainStepInput(
                sae_in=rows,
                dead_neuron_mask=self.dead,
                coefficients={},
                n_training_steps=i,
                is_logging_step=False,
            )
            out = self.sae.training_forward_pass(step_input=step)
            with torch.no_grad():
                firing = out.feature_acts.bool().float()
                self.since += 1
                self.since[firing.sum(-2).bool()] = 0
                self.scores += firing.sum(0)
            out.loss.backward()
            torch.nn.utils.clip_grad_norm_(self.sae.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()


class Sparsify:
    def __init__(self, x, d, f, batch):
        os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
        from sparsify import SparseCoder, SparseCoderConfig

        self.sae = SparseCoder(d, SparseCoderConfig(num_latents=f, k=K))
        self.optimizer = torch.optim.Adam(self.sae.parameters(), lr=1e-3)
        self.x, self.batch = torch.from_numpy(x), batch
        self.dead = torch.zeros(f, dtype=torch.bool)

    def __call__(self, n):
        for _ in range(n):
            out = self.sae(self.x[torch.randint(len(self.x), (self.batch,))], dead_mask=self.dead)
            (out.fvu + out.auxk_loss / 32).backward()
            self.sae.remove_gradient_parallel_to_decoder_directions()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.sae.set_decoder_norm_to_unit_norm()


PEERS = {"dictionary_learning": DictionaryLearning, "sae_lens": SAELens, "sparsify": Sparsify}


OURS = {
    "ours exact": {},
    "ours screened": {"screen": "on"},
    "ours exact, no AuxK": {"alpha": 0.0},
}


def make(name: str, x: np.ndarray, d: int, f: int, batch: int):
    return Ours(x, d, f, batch, **OURS[name]) if name in OURS else PEERS[name](x, d, f, batch)


def contenders_here() -> list[str]:
    return [*OURS, *(name for name in PEERS if importlib.util.find_spec(name))]


def rows_of(d: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(2 * d, d)).astype(np.float32)
    codes = (rng.random((16384, 2 * d)) < 0.05) * rng.exponential(size=(16384, 2 * d))
    x = (codes.astype(np.float32) @ directions + 0.3 * rng.normal(size=(16384, d))).astype(np.float32)
    return x / x.std()


def status(field: str) -> float:
    """A field of this process's status, MiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))


def added_memory(name: str, d: int = 320, f: int = 10240, batch: int = 4096) -> None:
    """Print the MiB a contender adds; libraries are loaded and kernels compiled by a small one first."""
    make(name, rows_of(32), 32, 256, 64)(2)
    x = rows_of(d)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forget the peak so far
    before = status("VmRSS")
    make(name, x, d, f, batch)(3)
    print(f"{status('VmHWM') - before:.0f}")


def compare_memory() -> None:
    print("\nadded memory at 320x10240, batch 4096 (MiB)")
    found = {}
    for name in contenders_here():
        done = subprocess.run(
            [sys.executable, __file__, "added", name], capture_output=True, text=True, check=True
        )
        found[name] = float(done.stdout.split()[-1])
    least = min(
        (v for n, v in found.items() if n in ("dictionary_learning", "sae_lens")), default=float("nan")
    )
    for name, value in found.items():
        print(f"{name:22s} {value:8.0f}   {value / least:5.2f} of the leaner dense peer")


def compare(d: int, f: int, batch: int) -> None:
    x = rows_of(d)
    contenders = {name: make(name, x, d, f, batch) for name in contenders_here()}
    best: dict[str, list[float]] = {name: [float("inf")] * 2 for name in contenders}
    for step in contenders.values():
        step(1)
    for _ in range(ROUNDS):
        for name, step in contenders.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step(STEPS)
            spent = time.perf_counter() - wall, time.process_time() - cpu
            best[name] = [min(a, b) for a, b in zip(best[name], spent)]
    print(f"\n{d}x{f}, batch {batch}, k={K}, {torch.get_num_threads()} thread; load {os.getloadavg()[0]:.1f}")
    for name, (wall, cpu) in best.items():
        rate = STEPS * batch / cpu
        ratios = [
            f"{best[peer][1] / cpu:5.2f}x {peer}"
            for peer in PEERS
            if peer in best and name.startswith("ours")
        ]
        print(f"{name:22s} {STEPS * batch / wall:8.0f} rows/s {rate:8.0f} rows/CPU s   {'  '.join(ratios)}")
    cost = best["ours exact"][1] / best["ours exact, no AuxK"][1] - 1
    run = contenders["ours screened"].run
    screened, doubtful_rows = run.step.memory.get("screen", torch.zeros(2)).tolist()
    doubtful = doubtful_rows / max(screened, 1)
    print(f"AuxK costs {cost:.1%} of a step; {doubtful:.2%} of rows doubtful")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["added"]:
        added_memory(sys.argv[2])
        raise SystemExit
    for sizes in sys.argv[1:] or ["320x4096x2048", "512x10240x4096", "memory"]:
        if sizes == "memory":
            compare_memory()
        else:
            compare(*(int(n) for n in sizes.split("x")))
