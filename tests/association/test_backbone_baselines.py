"""Baselines of structures read the backbone, say nothing of their own definitions, and are asked only where there is one."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import sciinterp as si
from sciinterp.annotations.backbone_motifs import annotate_backbones
from sciinterp.annotations.secondary import STATES
from sciinterp.association import AssociationSettings, associate
from sciinterp.association.backbone_baselines import ABEGO, N_TORSIONS, REACH, geometry
from sciinterp.discovery.half_samples import explained, limits
from sciinterp.discovery.problem import make_problem
from sciinterp.discovery.sequence_readers import COLUMNS, OF_BACKBONE, coherence, describe
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


def test_a_reader_of_torsions_finds_what_one_torsion_does_not() -> None:
    """Letters are drawn, so only the backbone can tell: the first torsion of a helix is like no other, the fourth like many."""
    samples = helices(40)
    regions, bins = (of.reshape(40, 30) for of in (geometry(samples).abego, geometry(samples).torsion))
    assert {ABEGO[i] for i in np.unique(regions)} <= set(ABEGO)
    helix = regions == ABEGO.index("A")
    first = np.arange(40) * 30 + helix.argmax(axis=1)
    assert helix.sum() > 200 and (regions[:, 0] == ABEGO.index("x")).all()
    nothing = pd.DataFrame({"sample": [], "start": [], "end": [], "concept": []})
    codes = si.FeatureMatrix(sp.csr_array((1200, 1), dtype=np.float32), samples)
    split = si.split_families(samples, by="family", seed=0)
    problem = make_problem(codes, si.Annotations(nothing), split)
    found = coherence(problem, np.stack([first, first + 3]))
    of = pd.DataFrame(found.measures, columns=[*COLUMNS, *OF_BACKBONE])
    assert found.measures.shape == (2, 12) and found.reader.tolist() == ["bins", "bins"]
    assert of["torsion"][0] > 0.95 and of["same_torsion"][0] < 0.6
    assert of["reader"][1] > 0.9 > of["torsion"][1] and of["same_torsion"][1] > 0.7 and of["centre"][1] < 0.7
    assert explained(found.measures).tolist() == [True, False]
    assert (found.tried["bins"] > found.tried["torsions"]).all() and (found.tried["torsions"] > 0.6).all()
    said = describe(problem, first + 3, "torsions")
    assert said["text"] == f"torsions {said['consensus']} (ABEGO)" and "A" in said["consensus"]
    said = describe(problem, first + 3, "bins")
    phi, psi = divmod(int(bins.ravel()[first[0] + 3]), 12)  # the commonest bin, named by its middle
    assert [30 * phi - 165, 30 * psi - 165] in said["torsions"] and len(said["torsions"]) == 7
    assert f"{30 * phi - 165}/{30 * psi - 165}" in said["text"]
    around = problem.around
    mixed, at = around.shuffled(around.padded(first[:1][None]), 6, np.random.default_rng(0))
    window = around.torsion[around.at[first[0]] + np.arange(-6, 7)]
    shuffled = mixed.torsion[at[0, 0] + np.arange(-6, 7)]
    assert sorted(shuffled) == sorted(window) and (shuffled != window).any()


def test_letters_alone_have_no_backbone_to_be_held_against() -> None:
    samples = si.Samples(
        [f"s{i}" for i in range(6)], ["ACDEFGHIKL" * 3] * 6, table=pd.DataFrame({"family": list("abcdef")})
    )
    codes = si.FeatureMatrix(sp.csr_array((180, 1), dtype=np.float32), samples)
    nothing = pd.DataFrame({"sample": [], "start": [], "end": [], "concept": []})
    problem = make_problem(codes, si.Annotations(nothing), si.split_families(samples, by="family", seed=0))
    found = coherence(problem, (np.arange(6) * 30 + 4)[None])
    assert found.measures.shape == (1, 7) and limits(found.measures).shape == (1, 4)
    assert not {"torsions", "bins"} & set(found.tried) and not problem.around.backbone


@pytest.mark.parametrize(
    ("reader", "plain", "same", "gone"),
    [(0.85, 0.86, 0.6, True), (0.85, 0.86, 0.8, False), (0.85, 0.95, 0.8, True), (0.7, 0.74, 0.6, False)],
)
@pytest.mark.parametrize("name", ["torsion", "contacts"])
def test_what_one_residue_says_explains_what_its_surroundings_say_no_better(
    name, reader, plain, same, gone
) -> None:
    """As good will do where the reader cannot tell peaks from others of the class; clearly better where it can."""
    columns = (*COLUMNS, *OF_BACKBONE)
    measures = np.full((1, len(columns)), 0.5)
    for column, value in (("reader", reader), ("order", 0.9), (name, plain), (f"same_{name}", same)):
        measures[0, columns.index(column)] = value
    assert explained(measures)[0] == gone
