"""A small made-up run with the documented columns: samples, codes, annotations, hits and candidates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.annotations import Annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.frames import Table
from sciinterp.samples import Samples

REGIONS = [
    ("imgt:FR1", 0, 25),
    ("imgt:CDR1", 25, 33),
    ("imgt:FR2", 33, 50),
    ("imgt:CDR2", 50, 58),
    ("imgt:FR3", 58, 96),
    ("imgt:CDR3", 96, 108),
    ("imgt:FR4", 108, 118),
]
POINTS = [("residue:Cys23", 21), ("residue:Trp41", 35), ("residue:Cys104", 95)]
BASELINES = ["position", "position_c", "identity", "neuron", "randomised"]
GERMLINE = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKNTLYLQMNSLRAEDTAVYYC"
    "AKDRGGWYFDLWGQGTLVTVSS"
)


def hostile() -> list[str]:
    """Sixty texts that must show as text and do nothing else."""
    heads = [
        "<script>window.pwned=1</script>",
        "<img src=x onerror=window.pwned=1>",
        '"><svg onload=window.pwned=1>',
        "'-window.pwned=1-'",
        "${window.pwned=1}",
        "{{7*7}}",
        "{% raw %}",
        "</script><script>window.pwned=1</script>",
        "<!--",
        "-->",
        "]]>",
        "</style><style>*{display:none}",
        "javascript:window.pwned=1",
        "$\\frac{1}{0}$",
        "$unbalanced",
        "a\u202eb",
        "a\u2028b",
        "=SUM(A1)",
        "\\",
        "`window.pwned=1`",
        "</title><script>window.pwned=1</script>",
        "<iframe srcdoc='<script>parent.pwned=1</script>'>",
        "<a href='javascript:window.pwned=1'>x</a>",
        "&lt;b&gt;",
        "<math><mtext><script>window.pwned=1</script>",
        "<base href='//example.org'>",
        "../../etc/passwd",
        "__proto__",
        "constructor",
        "toString",
    ]
    return heads + [f"{text} {i} \"'<>&" for i, text in enumerate(heads)]


def make_samples(n: int = 40, *, seed: int = 0, names: list[str] | None = None) -> Samples:
    rng = np.random.default_rng(seed)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    ids, data, family = [], [], []
    for i in range(n):
        sequence = np.array(list(GERMLINE))
        swap = rng.random(len(sequence)) < 0.08
        swap[[21, 35, 95]] = False
        sequence[swap] = rng.choice(letters, swap.sum())
        ids.append(names[i % len(names)] + f"|{i}" if names else f"heavy_{i:04d}")
        data.append("".join(sequence))
        family.append(f"IGHV{i % 8 + 1}")
    return Samples(
        ids,
        data,
        table=pd.DataFrame({"id": ids, "family": family}),
        n_in=n + 5,
        dropped={"repeated sequence": 5},
    )


def make_annotations(samples: Samples, concepts: dict[str, str] | None = None) -> Annotations:
    rows = []
    for name in samples.ids:
        for concept, start, end in [*REGIONS, *((c, p, p + 1) for c, p in POINTS)]:
            label = (concepts or {}).get(concept, concept)
            rows.append((name, start, end, label, "imgt", "alignment", label))
        rows.append((name, -1, -1, "isotype:IGHG", "study", "", ""))
    return Annotations(
        pd.DataFrame(rows, columns=["sample", "start", "end", "concept", "source", "evidence", "note"])
    )


def make_features(samples: Samples, *, n_features: int = 64, seed: int = 0) -> FeatureMatrix:
    rng = np.random.default_rng(seed)
    dense = rng.gamma(2.0, 0.6, (samples.n_positions, n_features)) * (
        rng.random((samples.n_positions, n_features)) < 0.02
    )
    within = np.arange(samples.n_positions) - np.repeat(samples.offsets[:-1], samples.lengths)
    for j, (_, at) in enumerate(POINTS):
        dense[within == at, j] = rng.normal(6, 1, (within == at).sum()).clip(1)
    for j, (_, start, end) in enumerate(REGIONS):
        on = (within >= start) & (within < end) & (rng.random(len(within)) < 0.8)
        dense[on, 3 + j] = rng.gamma(4, 0.5, on.sum())
    dense[:, -3:] = 0  # never active
    identity = {"sae": {"model": "antiberty", "site": "layers.4", "seed": 0}}
    return FeatureMatrix(sp.csr_array(dense.astype(np.float32)), samples, identity=identity)


def make_hits(samples: Samples, annotations: Annotations, *, n_features: int = 64, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    concepts = annotations.position_names
    rows, baselines = [], {}
    for i, concept in enumerate(concepts):
        base = rng.uniform(0.05, 0.7, len(BASELINES))
        if i % 4 == 0:
            base[0] = 0.93
        baselines[concept] = base
        best = int(np.argmax(base))
        for rank, j in enumerate([i % n_features, *rng.choice(n_features, 4, replace=False)]):
            f1 = (
                float(np.clip(rng.normal(0.85 if i % 4 else 0.5, 0.1), 0, 1))
                if rank == 0
                else float(rng.uniform(0, 0.4))
            )
            delta = f1 - float(base[best])
            rows.append(
                {
                    "feature": int(j),
                    "concept": concept,
                    "selected": rank == 0,
                    "folds_agree": i % 4 if rank == 0 else 0,
                    "f1_train": f1,
                    "threshold": 0.51234 + i / 1000,
                    "precision": f1,
                    "recall": f1,
                    "f1": f1,
                    "f1_low": max(f1 - 0.08, 0),
                    "f1_high": min(f1 + 0.06, 1),
                    "average_precision": f1,
                    "auroc": 0.5 + f1 / 2,
                    "prevalence": 0.03124 + i / 1000,
                    "n_positive": 40 + i,
                    "n_families": 8,
                    "test": "cochran-mantel-haenszel",
                    "p_presence": 0.00123 * (rank + 1) + i / 10000,
                    "p_place": 0.00211 * (rank + 1) + i / 10000,
                    "q": 0.004 * (rank + 1),
                    "best_baseline": BASELINES[best],
                    "best_baseline_f1": float(base[best]),
                    "delta_f1": delta,
                    "delta_low": delta - 0.1,
                    "delta_high": delta + 0.1,
                }
            )
    context = {
        "baselines": pd.DataFrame.from_dict(baselines, orient="index", columns=BASELINES),
        "not_run": {"probe": "no activations were given"},
        "settings": {"level": 0.95},
        "counts": {"concepts": len(concepts), "folds": 3},
        "sets": make_sets(concepts),
    }
    return Table(rows, context=context)


def make_sets(concepts: list[str]) -> pd.DataFrame:
    """Curves of features, one rival, the control, the probe and chance; the first concept has no second feature."""
    rows = []
    readers = [
        ("features", 0.5),
        ("components", 0.4),
        ("randomised", 0.2),
        ("rotated", 0.1),
        ("features", 0.45),
    ]
    for i, concept in enumerate(concepts):
        for n, (reader, start) in enumerate(readers):
            for step, k in enumerate((1, 2, 4)):
                rule = "or" if n == 4 else "weighted"
                f1 = start + 0.1 * step * (reader in ("features", "components")) + 0.01 * i
                units = " ".join(map(str, range(1 if i == 0 and rule == "or" else k)))
                rows.append((concept, reader, k, rule, f1, f1, f1 - 0.1, f1 + 0.1, units))
        rows.append((concept, "probe", 64, "weighted", 0.7, 0.7, 0.6, 0.8, ""))
    names = ["concept", "reader", "k", "rule", "f1_train", "f1", "f1_low", "f1_high", "units"]
    return pd.DataFrame(rows, columns=names)


def make_candidates(samples: Samples, annotations: Annotations, *, n: int = 12) -> Table:
    rows = []
    for i in range(n):
        kind = ("missing", "novel", "refinement")[i % 3]
        rows.append(
            {
                "kind": kind,
                "sample": samples.ids[i % len(samples)],
                "start": 30 + i,
                "end": 36 + i,
                "concept": annotations.position_names[i % len(annotations.position_names)]
                if kind != "novel"
                else "",
                "feature": i,
                "score": 3.0 - i / 10,
                "probability": 0.9 - i / 30,
                "q": 0.02 * (i + 1),
                "reason_against": "composition alone reaches F1 0.40",
                "evidence": {"sources": ["imgt 2024"], "nearest": {"id": samples.ids[0], "identity": 0.91}},
            }
        )
    return Table(
        rows,
        context={"precision_at_k": [{"kind": "missing", "k": 5, "precision": 0.8, "low": 0.4, "high": 1.0}]},
    )


def make_full() -> dict:
    """What the full run adds: measures of model and control, widths, seeds, calibration."""
    measures = {
        "fve": 0.83,
        "loss": {"loss_clean": 0.41, "loss_sae": 0.46, "recovered_zero": 0.988, "recovered_mean": 0.984},
        "description_length": {"total": 461.5, "gaussian": 484.25},
        "dark_matter": {"fvu": 0.17, "linear": 0.07, "nonlinear": 0.1, "norm_r2": -0.02},
    }
    control = {
        **measures,
        "fve": 0.96,
        "dark_matter": {"fvu": 0.04, "linear": 0.01, "nonlinear": 0.03, "norm_r2": 0.4},
    }
    width = [
        {
            "n_features": n,
            "k": 8,
            "fve": 0.7 + i / 20,
            "codes": 200.5 + i,
            "dictionary": 20.25 * n / 256,
            "residual": 190.0 - 50 * i,
            "mdl": 429.0 + (i - 1) ** 2,
            "selected": i == 1,
        }
        for i, n in enumerate((256, 512, 1024))
    ]
    stability = {"features": {"score": np.linspace(0, 1, 64).tolist()}, "shared": 0.27, "null_shared": 0.0}
    calibration = [
        {"bin": i, "probability": (i + 0.5) / 10, "observed": (i + 0.4) / 10, "n": 40} for i in range(10)
    ]
    return {
        "measures": measures,
        "measures_control": control,
        "width": width,
        "stability": stability,
        "stability_control": {**stability, "shared": 0.02},
        "calibration": {"calibration": calibration, "summary": [{"n_candidates": 400, "brier": 0.125}]},
    }


class FakeSAE:
    """What a report reads of an SAE."""

    def __init__(self, n_features: int = 64, d_in: int = 16) -> None:
        rng = np.random.default_rng(0)
        self.W_dec = rng.normal(size=(n_features, d_in)).astype(np.float32)
        self.n_features, self.d_in = n_features, d_in
        self.architecture = "TopK(n_features=64, k=8)"
        self.identity = {"model": {"model": "antiberty", "weights_sha256": "ab" * 32}, "site": "layers.4"}
        self.metrics = {
            "fve": 0.871,
            "l0": 8.0,
            "dead": 0.031,
            "n_features": n_features,
            "d_in": d_in,
            "n_tokens": 172820,
            "seed": 0,
        }
        self.recipe = {
            "steps": 601,
            "batch_size": 2048,
            "rows": 109062,
            "warmup": 0.05,
            "decay": 0.3,
            "seed": 0,
        }
        self.log = [
            {"step": s, "lr": 0.0125, "fve": 1 - 0.9 * np.exp(-s / 100), "loss": float(np.exp(-s / 100))}
            for s in range(0, 601, 20)
        ]
