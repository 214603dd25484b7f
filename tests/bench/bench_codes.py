"""Memory and time of ``associate``, ``discover``, ``report`` and the browser on codes that lie in a store.

    python tests/bench/bench_codes.py [--positions 200000 2000000] [--features 10240] [--concepts 400] [--codes 32]
                                      [--verbs associate discover report browse] [--folder FOLDER]

A world is written once: families of five relatives, a motif wherever a concept stands, two features that read each
concept and one that reads a motif no source states, among features that fire anywhere; and the codes of a randomised
model. A tenth of the instances is not annotated. Every verb then runs in a process of its own and reads the store.
``peak_mb`` is the largest memory of that process (``VmHWM``) above what a bare interpreter holds: libraries, compiled
loops and the samples count. One line of JSON a verb and size; the bar at the whole size is 1,500, and ten times more
positions may raise the peak by 15%. ``tests/association/test_blocks.py`` runs the small end of it (``-m bench``), in one process:
``--together``, where the peak is set back before every verb.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LENGTH, MEMBERS, EVERY, WIDTH = 500, 5, 25, 64
VERBS = ("associate", "discover", "report", "browse")
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def write_world(folder: Path, n_positions: int, n_features: int, n_concepts: int, per_position: int) -> None:
    """Samples, annotations and split, the codes of an SAE and those of its control."""
    import numpy as np
    import pandas as pd
    import torch

    import sciinterp as si
    from sciinterp.sae.base import TopKSAE

    rng = np.random.default_rng(0)
    n = max(40, n_positions // LENGTH)
    letters = rng.integers(0, 20, (n, LENGTH))
    # Half the concepts' number of motifs that no source states stand beside those of the concepts.
    n_motifs = n_concepts + n_concepts // 2
    motifs = rng.integers(0, 20, (n_motifs, 7))
    slots = np.tile(np.arange(0, LENGTH, EVERY), n)
    sample = np.repeat(np.arange(n), LENGTH // EVERY)
    motif, start = rng.integers(0, n_motifs, len(slots)), slots + rng.integers(0, EVERY - 12, len(slots))
    length = rng.integers(7, 12, len(slots))
    for i in range(7):
        letters[sample, start + i] = motifs[motif, i]
    ids = [f"s{i}" for i in range(n)]
    table = pd.DataFrame({"family": [f"f{i // MEMBERS}" for i in range(n)]})
    sequences = ["".join(row) for row in np.array(list(LETTERS))[letters]]
    samples = si.Samples(ids, sequences, table=table)
    told = (motif < n_concepts) & (rng.random(len(motif)) < 0.9)
    spans = pd.DataFrame(
        {
            "sample": np.array(ids, object)[sample[told]],
            "start": start[told],
            "end": (start + length)[told],
            "concept": [f"c{m}" for m in motif[told]],
        }
    )
    si.Annotations(spans).write(folder / "annotations.tsv")
    torch.manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(n_features, WIDTH), dim=1)
    sae = TopKSAE(
        directions.T.clone(), torch.zeros(n_features), directions, torch.zeros(WIDTH), k=per_position
    )
    known = {"model": "drawn", "site": "layers.0", "weights_sha256": "0" * 64, "d_in": WIDTH}
    sae.identity = known
    sae.save(folder / "sae")
    known["sae_sha256"] = si.load_sae(folder / "sae").signed().sae_sha256
    at = samples.offsets[sample] + start
    for name, seed in (("features", None), ("control", 1)):
        origin = si.Origin(**known, randomised_seed=seed)
        reads = None if seed else (motif, at, length)
        _write_codes(folder / name, samples, origin, n_features, per_position, reads)


def _write_codes(folder, samples, origin, n_features, per_position, reads) -> None:
    """Codes drawn shard by shard: features that fire anywhere, and those that read what stands there."""
    import numpy as np
    import scipy.sparse as sp

    from sciinterp.codes.saving import codes_plan, finish
    from sciinterp.store.shards import open_writer

    share = np.cumsum(np.random.default_rng(2).lognormal(0, 1, n_features))
    plan = codes_plan(samples, n_features, origin, {}) | {"environment": {}}
    with open_writer(folder, plan, samples) as writer:
        for number in writer.missing:
            rng, group = np.random.default_rng([3, number]), writer.samples_of(number)
            lo, hi = (int(samples.offsets[i]) for i in (group.start, group.stop))
            row = np.repeat(np.arange(hi - lo), per_position)
            feature = np.searchsorted(share, rng.random(len(row)) * share[-1])
            value = 0.2 + rng.random(len(row), np.float32)
            if reads is not None:
                motif, at, length = reads
                for copy, sensitivity in ((0, 0.85), (1, 0.6)):
                    mine = (at >= lo) & (at < hi)
                    offset = np.concatenate([np.arange(n) for n in length[mine]])
                    where = np.repeat(at[mine], length[mine]) - lo + offset
                    which = np.repeat(2 * motif[mine] + copy, length[mine])
                    keep = (which < n_features) & (rng.random(len(where)) < sensitivity)
                    row, feature = np.append(row, where[keep]), np.append(feature, which[keep])
                    value = np.append(value, 1.5 + rng.random(int(keep.sum()), np.float32))
            codes = sp.coo_array((value, (row, feature)), shape=(hi - lo, n_features)).tocsr()
            writer.write_codes(number, codes.astype(np.float32), samples.lengths[group.start : group.stop])
        finish(writer, origin, sae="../sae" if reads is not None else None)


def run_verb(verb: str, folder: Path, bare: float | None = None) -> dict[str, float | str | int]:
    """One verb on the world of a folder: seconds, megabytes and how many rows it gave."""
    bare = _memory("VmRSS") if bare is None else bare
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    import sciinterp as si
    from sciinterp.discovery import read_candidates
    from sciinterp.report.browser import write_browser

    features, out = si.load_features(folder / "features"), folder / "out"
    annotations = si.read_annotations(folder / "annotations.tsv")
    split = si.split_families(features.samples, by="family", seed=0)
    given = {"features": features, "annotations": annotations, "split": split}
    started, rows = time.perf_counter(), 0
    if verb in ("associate", "discover"):
        control = si.load_features(folder / "control")
    if verb == "associate":
        rows = len(si.associate(**given, control=control, out=out))
    elif verb == "discover":
        rows = len(si.discover(**given, hits=si.read_hits(out), control=control, out=out))
    else:
        given |= {"hits": si.read_hits(out), "candidates": read_candidates(out)}
        si.report(out / "report.html", **given) if verb == "report" else write_browser(
            out / "browser", **given
        )
    seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 1), "peak_mb": round(_memory("VmHWM") - bare, 1), "rows": rows}


def _memory(key: str) -> float:
    with open("/proc/self/status") as file:
        return next(float(line.split()[1]) / 1024 for line in file if line.startswith(key))


def run_together(folders: list[Path], verbs: list[str]) -> None:
    """Every verb on the world of every folder, one after the other in this process; the first time loads and compiles.

    Blocks are small, so that small worlds fill them as large ones do.
    """
    bare = _memory("VmRSS")
    for verb in verbs:
        run_verb(verb, folders[0], bare)
        sys.modules["sciinterp.codes"].FeatureMatrix.sample_blocks.__defaults__ = (1 << 12,)
        for name, module in list(sys.modules.items()):
            if name.startswith("sciinterp"):
                for limit in ("BLOCK_VALUES", "KEPT"):
                    if isinstance(getattr(module, limit, None), int):
                        setattr(module, limit, 1 << 18)
        for folder in folders:
            told = {"verb": verb, "positions": int(folder.name), **run_verb(verb, folder, bare)}
            print(json.dumps(told), flush=True)


def measure(
    folder: Path, n_positions: int, n_features: int, n_concepts: int, per_position: int, verbs: list[str]
) -> None:
    """Write a world where there is none, and print what every verb takes, each in a process of its own."""
    world = folder / str(n_positions)
    if not (world / "control" / "manifest.json").is_file():
        world.mkdir(parents=True, exist_ok=True)
        size = (world, n_positions, n_features, n_concepts, per_position)
        _alone(
            f"from pathlib import Path, PosixPath\nfrom bench_codes import write_world\nwrite_world{size!r}"
        )
    for verb in verbs:
        said = _alone(
            "from pathlib import Path, PosixPath\nimport json\nfrom bench_codes import run_verb\n"
            f"print(json.dumps(run_verb({verb!r}, {world!r})))"
        )
        about = {"verb": verb, "positions": n_positions, "features": n_features, "concepts": n_concepts}
        print(json.dumps({**about, **json.loads(said.splitlines()[-1])}), flush=True)


def _alone(program: str) -> str:
    """What a program says in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--positions", type=int, nargs="+", default=[200_000, 2_000_000])
    for name, value in (("features", 10_240), ("concepts", 400), ("codes", 32)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--verbs", nargs="+", default=list(VERBS), choices=VERBS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--together", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).absolute()
        for n in given.positions:
            verbs = [] if given.together else given.verbs
            measure(folder, n, given.features, given.concepts, given.codes, verbs)
        if given.together:
            run_together([folder / str(n) for n in given.positions], given.verbs)
