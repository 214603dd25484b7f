"""Baselines of structures read the backbone, say nothing of their own definitions, and are asked only where there is one."""

import numpy as np
import pandas as pd
import scipy.sparse as sp

import sciinterp as si
from sciinterp.annotations.backbone_motifs import annotate_backbones
from sciinterp.annotations.secondary import STATES
from sciinterp.association import AssociationSettings, associate
from sciinterp.association.backbone_baselines import N_TORSIONS, REACH, geometry
from sciinterp.readers.backbones import pack


def helices(n: int = 24) -> si.Samples:
    """Chains of a helix of some length between two stretched ends, each its own family; two chains in the last."""
    draw, data = np.random.default_rng(0), []
    for _ in range(n):
        size, at = 30, np.arange(30)
        inside = (at >= (a := int(draw.integers(4, 8)))) & (at < a + int(draw.integers(10, 14)))
        turn, rise = np.cumsum(np.where(inside, 100.0, 170.0)), np.cumsum(np.where(inside, 1.5, 3.3))
        radius = np.where(inside, 2.3, 0.9)
        parts = []
        # N, CA, C and O of an ideal helix on cylinders (radius, degrees, height from CA).
        for r, t, z in ((0.7, -28, -0.9), (1.0, 0, 0.0), (0.72, 27, 1.1), (0.88, 31, 2.3)):
            angle = np.radians(turn + t)
            parts.append(np.stack([r * radius * np.cos(angle), r * radius * np.sin(angle), rise + z], 1))
        letters = "".join(draw.choice(list("ACDEFGHIKL"), size))
        record = {"sequence": letters, "backbone": pack(np.stack(parts, 1)), "number": list(range(size))}
        data.append({**record, "chain": ["A"] * size})
    data[-1]["chain"] = ["A"] * 10 + ["B"] * 20
    names = [f"s{i}" for i in range(n)]
    table = pd.DataFrame({"family": names})
    return si.Samples(names, data, lengths=[30] * n, kind="structure", table=table)


def test_geometry_is_of_each_chain() -> None:
    samples = helices()
    found = geometry(samples)
    assert found is geometry(samples)  # computed once
    assert found.torsion.shape == found.end.shape == (720,) and found.torsion.max() < N_TORSIONS
    last = slice(690, 720)
    assert found.end[last].tolist() == [0, 1, 2, 3, 4, 4, 3, 2, 1, 0, *range(10), *range(9, -1, -1)]
    assert found.state[690, :REACH].tolist() == found.state[700, :REACH].tolist() == [len(STATES)] * REACH
    assert (found.contacts >= 2).all() and found.contacts.max() > 9
    assert geometry(si.Samples(["a"], ["MKV"])) is None and geometry(si.Samples([], [])) is None


def test_a_definition_is_no_rival_and_its_shadow_is() -> None:
    samples = helices()
    annotations = annotate_backbones(samples)
    draw = np.random.default_rng(1)
    codes = sp.csr_array(
        draw.random((samples.n_positions, 6)) * (draw.random((samples.n_positions, 6)) < 0.2)
    )
    features = si.FeatureMatrix(codes.astype(np.float32), samples)
    split = si.split_families(samples, by="family", seed=0)
    hits = associate(features, annotations, split=split, settings=AssociationSettings(folds=1))
    assert not {"torsion", "state", "contacts", "chain_end"} & set(hits.context["not_run"])
    table = hits.context["baselines"].set_index(["baseline", "concept"])
    assert (
        table.loc[("state", "ss:H"), "f1"] == 0 and table.loc[("state", "ss:H"), "detail"] == "its definition"
    )
    assert " at " in table.loc[("state", "helix:N1"), "detail"]
    assert table.loc[("chain_end", "end:N"), "f1"] > 0.6
    plain = si.Samples(samples.ids, samples.letters, table=samples.table)
    other = associate(
        si.FeatureMatrix(codes.astype(np.float32), plain),
        annotations,
        split=split,
        settings=AssociationSettings(folds=1),
    )
    assert other.context["not_run"]["torsion"] == "the samples have no coordinates of a backbone"
