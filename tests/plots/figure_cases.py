"""Every figure on full, empty, single-row and NaN-holding input: name -> kind -> a function of ``ax``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

import sciinterp as si
from sciinterp.frames import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "report"))
import synthetic_run as made

KINDS = ("full", "one", "empty", "nan")
NAN = float("nan")


def helices(n: int) -> si.Samples:
    """Chains of thirty residues, each an ideal helix."""
    turn, rise = np.radians(100.0) * np.arange(30), 1.5 * np.arange(30)
    parts = [
        [r * np.cos(turn + a), r * np.sin(turn + a), z + rise]
        for r, a, z in ((1.55, -0.49, -0.9), (2.28, 0, 0), (1.66, 0.46, 1.1), (2.02, 0.55, 2.3))
    ]
    places = np.round(np.array(parts).transpose(2, 0, 1), 3).tolist()
    record = {
        "sequence": "ACDEFGHIKL" * 3,
        "backbone": places,
        "chain": ["A"] * 30,
        "number": list(range(1, 31)),
    }
    names = [f"s{i}" for i in range(n)]
    return si.Samples(names, [record] * n, lengths=[30] * n, kind="structure")


def scan(n: int = 400, score: float | None = None):
    """A scan of twenty positions with its scores."""
    import anndata

    rng = np.random.default_rng(0)
    pairs = [(p, x) for p in range(20) for x in "ACDEFGHIKLMNPQRSTVWY" if x != "ACDEFGHIKLMNPQRSTVWY"[p]][:n]
    frame = pd.DataFrame(pairs, columns=["position", "alt"]).assign(
        ref=lambda f: ["ACDEFGHIKLMNPQRSTVWY"[p] for p in f["position"]]
    )
    frame["score"] = rng.normal(size=len(frame)) + np.sin(frame["position"]) if score is None else score
    x = rng.normal(size=(len(frame), 10)) * (rng.random((len(frame), 10)) < 0.3)
    x[:, 3] = frame["score"].fillna(0) * 0.5 + 0.5 * rng.normal(size=len(frame))
    return anndata.AnnData(X=sp.csr_matrix(x), obs=frame.set_index(frame.index.astype(str)))


def sweep_table(seeds: int = 2) -> pd.DataFrame:
    """What a sweep of SAEs returns: two architectures, two widths, three sparsities, several seeds."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        for architecture in ("ReLU", "TopK"):
            for n_features in (512, 2048):
                for k in (8, 16, 32):
                    fve = 0.5 + 0.07 * np.log2(k) + 0.02 * np.log2(n_features / 512) + rng.normal(0, 0.004)
                    fve -= 0.05 * (architecture == "ReLU")
                    rows.append(
                        {
                            "seed": seed,
                            "n_features": n_features,
                            "k": k,
                            "architecture": architecture,
                            "fve": fve,
                            "l0": k + rng.normal(0, 0.1),
                            "dead": 0.0,
                            "mdl": 600 - 80 * fve + 0.02 * n_features,
                            "pareto": architecture == "TopK",
                        }
                    )
    return pd.DataFrame(rows)


def sites(n: int = 5) -> pd.DataFrame:
    """What a sweep over sites returns."""
    return pd.DataFrame(
        {
            "site": [f"layers.{i}" for i in range(n)],
            "depth": np.linspace(0.2, 1, n),
            "fve": 0.8,
            "l0": 32.0,
            "concepts": 25,
            "sae": [5 + 2 * min(i, 3) for i in range(n)],
            "neurons": [4 + i // 2 for i in range(n)],
            "randomised": 2,
            "beat_every_baseline": [1 + 2 * min(i, 3) for i in range(n)],
        }
    )


def worlds(value: float | None = None) -> list[dict]:
    """What the benchmark of dictionaries returns: two worlds, two seeds, three dictionaries."""
    kinds = [("topk", 0.9), ("relu", 0.6), ("topk, frozen decoder", 0.05)]
    return [
        {
            "world": world,
            "seed": seed,
            "dictionary": kind,
            "recall": value or recall - 0.2 * (world == "noisy") * recall + 0.02 * seed,
        }
        for world in ("easy", "noisy")
        for seed in (0, 1)
        for kind, recall in kinds
    ]


def turned(concepts: tuple[str, ...] = ("FR3:IGHV1", "FR3:IGHV4", "residue:Cys104")) -> Table:
    """What a matrix of control holds."""
    rng = np.random.default_rng(0)
    kinds = ["feature", "set", "means", "neuron", "component", "noise", *["random"] * 4]
    rows, doses = [], []
    for i, concept in enumerate(concepts):
        for j, kind in enumerate(kinds):
            gain = (3.0 - i if kind == "feature" else 4.0 - i if kind == "means" else 0.4) + rng.normal(
                0, 0.3
            )
            name = f"{kind} {j}"
            rows.append({"concept": concept, "kind": kind, "direction": name, "gain": gain, "low": gain - 1, "high": gain + 1})  # fmt: skip
            doses += [{"concept": concept, "kind": kind, "direction": name, "dose": d, "divergence": 0.1 * d * d, "gain": gain * d} for d in (0.0, 0.5, 1.0)]  # fmt: skip
    return Table(pd.DataFrame(rows), context={"doses": pd.DataFrame(doses)})


def labelled(chance: float = 0.5) -> Table:
    """What a readout returns."""
    names = ("features", "activations", "kmers", "composition", "length", "randomised", "shuffled labels")
    rows = [
        {"n": n, "representation": name, "score": v + 0.02 * i, "low": v - 0.05, "high": v + 0.08}
        for i, n in enumerate((24, 96, 900))
        for name, v in zip(names, (0.8, 0.85, 0.75, 0.7, 0.5, 0.6, 0.48))
    ]
    return Table(pd.DataFrame(rows), context={"measure": "AUROC", "chance": chance})


def rule(concept: str = "residue:Trp41", **changed) -> dict:
    """What is kept of a rule."""
    terms = [
        {
            "feature": 12,
            "summary": "largest",
            "cut": 1.2,
            "points": 3,
            "concept": concept,
            "plain": "motif WGxG",
        },
        {"feature": 40, "summary": "mean", "cut": 0.05, "points": -1, "concept": "", "plain": ""},
    ]
    scores = {"score": [0.8, 0.7, 0.9], "full": [0.9, 0.8, 1.0], "plain": [0.7, 0.6, 0.8]}
    return {"form": "points", "measure": "AUROC", "terms": terms, **scores, **changed}


def _hits(rows: list[dict]) -> Table:
    columns = ["concept", "feature", "selected", "f1", "f1_low", "f1_high", "delta_low", "best_baseline_f1"]
    return Table(pd.DataFrame(rows, columns=columns))


def _like(hits: Table, rows: int | None, value: float | None = None) -> Table:
    """The first rows of a table of hits, or every number of it replaced."""
    out = Table(hits.head(rows) if rows is not None else hits.copy(), context=hits.context)
    if value is not None:
        for name in out.select_dtypes("float").columns:
            out[name] = value
    return out


def cases(run: dict) -> dict[str, dict[str, Callable]]:
    """The cases on one synthetic run (``report_fixtures.run``)."""
    pl, hits, features, annotations = si.pl, run["hits"], run["features"], run["annotations"]
    few = made.make_samples(3)
    silent = si.FeatureMatrix(sp.csr_array((few.n_positions, 4), dtype=np.float32), few)
    nothing = si.FeatureMatrix(sp.csr_array((0, 4), dtype=np.float32), si.Samples([], []))
    single = made.make_samples(1)
    one = made.make_features(single)
    one_notes = made.make_annotations(single)
    absent, one_hit = _hits([]), _like(hits, 1)
    unknown = _like(hits, None, NAN)
    runs, p = sweep_table(), np.linspace(0.01, 0.99, 80)
    log = run["sae"]
    sequence = "ACDEFGHIKL"
    rows = {"a": "AC-DEFGH-IKL", "b": "ACD-EFGHI-KL"}
    family = si.FeatureMatrix(
        sp.csr_array(np.tile(np.arange(10, dtype=np.float32), 2)[:, None]),
        si.Samples(["a", "b"], [sequence] * 2),
    )
    variants = pd.DataFrame(
        {
            "feature": [3, 1, 7, 9],
            "before": [6.0, 0.0, 2.0, 1.0],
            "after": [0.0, 3.5, 2.5, 0.2],
            "delta": [-6.0, 3.5, 0.5, -0.8],
            "concepts": ["residue:Trp41", "", "imgt:FR4", ""],
        }
    )
    precision = pd.DataFrame(
        {
            "kind": ["missing"] * 3 + ["novel"] * 2,
            "k": [5, 10, 20, 5, 8],
            "precision": [0.9, 0.8, 0.6, 0.5, 0.4],
            "low": [0.6, 0.6, 0.5, 0.2, 0.2],
            "high": [1, 0.95, 0.75, 0.8, 0.7],
            "base": 0.1,
        }
    )
    parts = [
        {"name": "model", "explained": 0.83, "linear": 0.07, "nonlinear": 0.1},
        {"name": "randomised", "explained": 0.96, "linear": 0.01, "nonlinear": 0.03},
    ]
    empty_frame = pd.DataFrame()

    def of(figure: Callable, full, single_, empty, nan, **more) -> dict[str, Callable]:
        inputs = dict(zip(KINDS, (full, single_, empty, nan)))
        return {
            kind: (lambda ax=None, v=value: figure(*(v if isinstance(v, tuple) else (v,)), ax=ax, **more))
            for kind, value in inputs.items()
        }

    helix = si.FeatureMatrix(
        sp.csr_array(np.eye(60, 4, -20, dtype=np.float32) + np.eye(60, 4, -44)), helices(2)
    )
    short = si.FeatureMatrix(sp.csr_array(np.eye(30, 4, -9, dtype=np.float32)), helices(1))
    quiet = si.FeatureMatrix(sp.csr_array((30, 4), dtype=np.float32), helices(1))
    structures = {
        name: {
            kind: (lambda ax=None, f=figure, m=m: f(m, 1, ax=ax))
            for kind, m in zip(KINDS, (helix, short, nothing, quiet))
        }
        for name, figure in (
            ("ramachandran", pl.ramachandran),
            ("trace", pl.trace),
            ("contact_map", pl.contact_map),
        )
    }
    return {
        **structures,
        "concepts_vs_baselines": of(pl.concepts_vs_baselines, hits, one_hit, absent, unknown),
        "concept_counts": of(pl.concept_counts, hits, one_hit, absent, unknown),
        "volcano": of(pl.volcano, hits, one_hit, absent, unknown),
        "heatmap": of(pl.heatmap, hits, one_hit, absent, unknown),
        "feature": {
            "full": lambda ax=None: pl.feature(features, 8, annotations=annotations, n=2, ax=ax),
            "one": lambda ax=None: pl.feature(one, 8, annotations=one_notes, ax=ax),
            "empty": lambda ax=None: pl.feature(nothing, 0, ax=ax),
            "nan": lambda ax=None: pl.feature(silent, 0, ax=ax),
        },
        "family_heatmap": {
            "full": lambda ax=None: pl.family_heatmap(features, 5, ax=ax),
            "one": lambda ax=None: pl.family_heatmap(family, 0, columns=rows, ax=ax),
            "empty": lambda ax=None: pl.family_heatmap(nothing, 0, ax=ax),
            "nan": lambda ax=None: pl.family_heatmap(silent, 0, ax=ax),
        },
        "logo": of(pl.logo, (features, 1), (one, 1), (nothing, 0), (silent, 0)),
        "training_curve": of(
            pl.training_curve,
            log,
            [{"step": 0, "fve": 0.5}],
            [],
            [{"step": 0, "fve": None}, {"step": 9, "fve": NAN}],
        ),
        "density_histogram": of(pl.density_histogram, features, [0.01], nothing, [NAN, NAN]),
        "front": of(
            pl.front, runs, runs.head(1), empty_frame, [{"l0": 3, "fve": None}, {"l0": NAN, "fve": 0.5}]
        ),
        "scaling": of(pl.scaling, runs, runs.head(1), None, [{"n_features": 512, "fve": NAN}]),
        "recovery": of(pl.recovery, worlds(), worlds()[:1], [], worlds(NAN)),
        "sets": of(
            pl.sets,
            hits,
            hits.context["sets"].head(1),
            absent,
            hits.context["sets"].assign(f1=NAN, f1_low=NAN, f1_high=NAN),
        ),
        "mdl": of(
            pl.mdl, runs, runs.head(1), [], [{"n_features": NAN, "mdl": 3.0}, {"n_features": 8, "mdl": NAN}]
        ),
        "dark_matter": of(pl.dark_matter, parts, parts[0], {}, {"explained": NAN}),
        "stability": of(
            pl.stability,
            np.random.default_rng(0).beta(4, 2, 400),
            [0.9],
            [],
            [NAN],
            null=np.linspace(0, 0.3, 40),
        ),
        "layer_sweep": of(pl.layer_sweep, sites(), sites(1), empty_frame, {"site": ["a"], "sae": [NAN]}),
        "precision_at_k": of(
            pl.precision_at_k, precision, precision.head(1), None, [{"k": 1, "precision": NAN}]
        ),
        "reliability": of(
            pl.reliability,
            (p, np.random.default_rng(0).random(80) < p),
            ([0.5], [1]),
            [],
            ([NAN, 0.2], [1, NAN]),
        ),
        "control_matrix": of(
            pl.control_matrix, turned(), turned(("a",)), None, pd.DataFrame(turned()).assign(gain=NAN)
        ),
        "dose": of(
            pl.dose,
            turned(),
            turned().context["doses"].head(1),
            empty_frame,
            turned().context["doses"].assign(gain=NAN),
        ),
        "readout": of(
            pl.readout, labelled(), labelled().head(1), None, pd.DataFrame(labelled()).assign(score=NAN)
        ),
        "distil": of(
            pl.distil,
            rule(),
            rule(terms=rule()["terms"][:1]),
            rule(terms=[]),
            rule(terms=[{**term, "points": NAN} for term in rule()["terms"]]),
        ),
        "assay_scan": of(
            lambda scan, ax=None: pl.assay_scan(scan, features=[] if scan is None else [3, 7], ax=ax),
            scan(),
            scan(1),
            None,
            scan(4, NAN),
        ),
        "assay_change": of(
            lambda scan, ax=None: pl.assay_change(scan, 3, ax=ax), scan(), scan(1), None, scan(4, NAN)
        ),
        "variant_effect": of(
            pl.variant_effect,
            variants,
            variants.head(1),
            None,
            pd.DataFrame({"feature": [1], "delta": [NAN]}),
        ),
    }


def reason(ax) -> str | None:
    """Why a figure is empty, where it says so; None where it is drawn."""
    texts = [t.get_text() for t in ax.texts]
    bare = not len(ax.get_xticks()) and not len(ax.get_yticks()) and not ax.has_data()
    return texts[0] if bare and len(texts) == 1 else None
