"""Baselines, each against what it claims to be: the best of its kind, chosen in training, found where planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from sciinterp.association import baselines as registry
from sciinterp.association import dense_baselines as dense
from sciinterp.association import sequence_baselines as of_sequence
from sciinterp.association.baselines import run_baselines
from sciinterp.association.dense_scores import best_unit, thresholds_of
from sciinterp.association.explanations import KINDS
from sciinterp.association.fitting import BaselineSettings, Inputs
from sciinterp.association.letters import Letters, distance_from_end, distance_from_start
from sciinterp.association.partitions import partition
from sciinterp.association.window_regression import _logistic
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import ShapeError
from sciinterp.samples import Samples
from sciinterp.splits import split_families

LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))


def make(truth_of, n=60, seed=0, low=50, high=80):
    """Samples in families of three, and the parts of one concept given by a function of a sequence."""
    rng = np.random.default_rng(seed)
    sequences = ["".join(rng.choice(LETTERS, rng.integers(low, high))) for _ in range(n)]
    table = pd.DataFrame({"family": [f"f{i // 3}" for i in range(n)]})
    samples = Samples([f"s{i}" for i in range(n)], sequences, table=table)
    truth = np.concatenate([truth_of(s) for s in sequences]).astype(bool)
    split = split_families(samples, by="family", seed=seed)
    return samples, partition(samples, sp.csr_array(truth[:, None]), np.ones((n, 1), bool), split)[0]


def run(samples, parts, **given):
    chosen = BaselineSettings(**given.pop("settings", {}))
    return run_baselines(Inputs(samples, parts, chosen, **given))


def f1_of(found):
    return {name: float(b.counts.f1()[0]) for name, b in found.ran.items()}


def at_start(sequence):
    return (np.arange(len(sequence)) >= 5) & (np.arange(len(sequence)) < 12)


def at_end(sequence):
    return at_start(sequence)[::-1]


def tryptophan_next(sequence):
    return np.array([sequence[i + 1 : i + 2] == "W" for i in range(len(sequence))])


def sequon(sequence):
    """The asparagine of N-{P}-[ST]."""
    return np.array(
        [
            s[0] == "N" and s[1:2] not in ("P", "") and s[2:3] in ("S", "T")
            for s in (sequence[i : i + 3] for i in range(len(sequence)))
        ]
    )


@pytest.mark.parametrize(
    ("truth_of", "winner"), [(at_start, "position"), (at_end, "position_c"), (tryptophan_next, "identity")]
)
def test_the_baseline_that_is_the_truth_wins(truth_of, winner):
    f1 = f1_of(run(*make(truth_of)))
    assert f1[winner] > 0.98
    rivals = {k: v for k, v in f1.items() if k not in (winner, *registry.ceilings())}
    assert max(rivals.values()) < 0.8


def test_what_needs_several_letters_is_for_the_window():
    f1 = f1_of(run(*make(sequon, n=300)))
    assert f1["window"] > 0.8
    assert f1["identity"] < 0.5
    assert {registry.find(name).explains for name in f1} <= {kind.name for kind in KINDS}


def test_the_best_single_letter_is_the_best_of_all_letters_and_offsets():
    samples, parts = make(sequon, n=120)
    found = run(samples, parts).ran["identity"]
    truth, best = parts.train.truth(0) > 0, 0.0
    for offset in range(-2, 3):
        for letter in LETTERS:
            on = np.concatenate(
                [
                    [0 <= i + offset < len(s) and s[i + offset] == letter for i in range(len(s))]
                    for s in samples.data
                ]
            )[parts.train.rows]
            best = max(best, 2 * (on & truth).sum() / (on.sum() + truth.sum()))
    assert found.f1_train[0] == pytest.approx(best)
    assert found.detail[0] == "N at +0"


def test_the_best_word_is_the_best_of_all_words_and_offsets():
    def wag(sequence):
        return np.array([sequence[max(0, i - 2) : i + 1] == "WAG" for i in range(len(sequence))])

    rng = np.random.default_rng(0)
    samples, _ = make(at_start, n=90)
    planted = ["".join(s[:i] + "WAG" + s[i + 3 :]) for s, i in zip(samples.data, rng.integers(0, 40, 90))]
    samples = Samples(list(samples.ids), planted, table=samples.table)
    truth = np.concatenate([wag(s) for s in samples.data])
    split = split_families(samples, by="family", seed=0)
    parts = partition(samples, sp.csr_array(truth[:, None]), np.ones((90, 1), bool), split)[0]
    found = run(samples, parts).ran["word"]
    assert found.detail[0] == "WAG at -2"
    assert found.f1_train[0] == float(found.counts.f1()[0]) == 1


def test_the_best_unit_is_the_best_of_all_units_both_ways():
    samples, parts = make(at_start)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(samples.n_positions, 40)).astype(np.float32)
    truth = np.concatenate([at_start(s) for s in samples.data])
    values[:, 17] -= 1.5 * truth
    of_train = values[parts.train.rows]
    best = best_unit(lambda unit: of_train[:, unit], 40, parts.train)
    zero = np.array([0])
    exact = {
        (u, sign): thresholds_of(sign * of_train[None, :, u], parts.train, zero)[1][0]
        for u in range(40)
        for sign in (1, -1)
    }
    assert (best.unit[0], best.sign[0]) == max(exact, key=exact.get) == (17, -1)
    assert best.f1_train[0] == pytest.approx(max(exact.values()))
    scores = of_train[:, best.unit[0]] * best.sign[0]
    on = scores > best.threshold[0]
    assert best.f1_train[0] == pytest.approx(
        2 * (on & truth[parts.train.rows]).sum() / (on.sum() + truth[parts.train.rows].sum())
    )


def test_inside_the_model_components_and_probe():
    samples, parts = make(at_start)
    rng = np.random.default_rng(0)
    truth = np.concatenate([at_start(s) for s in samples.data])
    sources = np.c_[truth * rng.exponential(4, len(truth)), rng.laplace(size=(len(truth), 7))]
    mixed = (sources @ np.linalg.qr(rng.normal(size=(8, 8)))[0]).astype(np.float32)
    f1 = f1_of(run(samples, parts, acts=mixed))
    assert f1["probe"] > 0.75
    assert f1["ica"] > 0.75
    assert f1["ica"] > f1["neuron"] + 0.05
    with pytest.raises(ShapeError, match="one a position"):
        run(samples, parts, acts=mixed[:-1])


def test_principal_axes_are_those_of_the_covariance():
    values = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32) * np.arange(
        1, 7, dtype=np.float32
    )
    axes = dense.principal_axes(dense.Moments.of(values), 3)
    _, _, right = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(axes.T @ right[:3].T), np.eye(3), atol=1e-3)


def test_a_control_of_other_samples_is_not_run():
    samples, parts = make(at_start)
    other = FeatureMatrix(sp.csr_array((5, 3), dtype=np.float32), pd.DataFrame({"id": ["x"], "length": [5]}))
    assert "5 positions" in run(samples, parts, control=other).not_run["randomised"]


def test_positions_longer_than_any_in_training_are_no_error():
    samples, parts = make(at_start)
    longest = distance_from_start(samples).copy()
    longest[parts.test.rows] += 1000
    near = of_sequence.by_distance(Inputs(samples, parts), distance_from_start(samples))
    far = of_sequence.by_distance(Inputs(samples, parts), longest)
    assert far.f1_train == near.f1_train
    # all of them count as the last bin that training has, which does not carry the concept
    assert near.counts.predicted.sum() > 0
    assert far.counts.predicted.sum() == 0


def test_shares_leave_their_own_family_out_in_training_and_use_all_for_others():
    samples, parts = make(sequon, n=60)
    letters = Letters.of(samples, parts.train.samples)
    block = of_sequence.kmer_scores(letters, parts.train, parts.test)
    of_train, of_test = (x[0] for x in block(0, 1))
    text, truth = "".join(samples.data), parts.train.truth(0) > 0
    start, end = distance_from_start(samples), distance_from_end(samples)

    def word(p):
        return "".join(text[p + o] if (start[p] + o >= 0 and end[p] - o >= 0) else "-" for o in (-1, 0, 1))

    def share(of, kept):
        parent = truth[[w[1] == of[1] for w in of_words]].mean()
        mine = kept & (of_words == of)
        return (truth[mine].sum() + of_sequence.SHRINK * parent) / (mine.sum() + of_sequence.SHRINK)

    of_words = np.array([word(p) for p in parts.train.rows])
    rng = np.random.default_rng(0)
    for i in rng.choice(len(of_train), 40, replace=False):
        others = parts.train.family != parts.train.family[i]
        assert of_train[i] == pytest.approx(share(of_words[i], others), rel=1e-5)
    for i in rng.choice(len(of_test), 40, replace=False):
        of = word(parts.test.rows[i])
        if of[1] in text:
            assert of_test[i] == pytest.approx(share(of, np.ones(len(truth), bool)), rel=1e-5)


def test_a_table_of_words_learns_nothing_from_labels_without_meaning():
    rng = np.random.default_rng(0)
    found = run(*make(lambda s: rng.random(len(s)) < 0.05, n=150))
    kmer = found.ran["kmer"]
    assert kmer.f1_train[0] < 0.15
    assert float(kmer.counts.f1()[0]) < 0.15


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_window_regression_is_ridge_logistic_regression(seed):
    rng = np.random.default_rng(seed)
    columns = rng.integers(0, 4, (300, 3)).astype(np.int32) + np.array([0, 4, 8], np.int32)
    truth = (rng.random(300) < 1 / (1 + np.exp(2 - columns[:, 0]))).astype(np.uint8)
    weights = np.zeros(13)
    distinct, of = np.unique(columns, axis=0, return_inverse=True)
    held, carrying = (np.bincount(of.reshape(-1), weights=w, minlength=len(distinct)) for w in (None, truth))
    _logistic(distinct, held.astype(np.float64), carrying, weights)
    onehot = np.zeros((300, 12))
    onehot[np.arange(300)[:, None], columns] = 1
    peer = LogisticRegression(C=1.0, tol=1e-8, max_iter=2000).fit(onehot, truth)
    np.testing.assert_allclose(weights[:-1], peer.coef_[0], atol=2e-3)
    assert weights[-1] == pytest.approx(peer.intercept_[0], abs=2e-3)


def test_tokens_that_span_positions_are_spread():
    class Acts:
        n_tokens, d_in = 3, 2
        token_offsets = np.array([0, 2, 3])
        spans = pd.DataFrame({"start": [0, 2, 0], "end": [3, 4, 2]})

        def read(self, low, high):
            return np.arange(6, dtype=np.float32).reshape(3, 2)[low:high]

    samples = Samples(["a", "b"], ["MKVL", "ACD"])
    rows = dense.position_rows(Acts(), samples)
    assert rows.tolist() == [0, 0, 0, 1, 2, 2, -1]
    np.testing.assert_array_equal(dense.read_rows(Acts(), rows)[:, 0], [0, 0, 0, 2, 4, 4, 0])


def test_a_domain_tool_finds_domains_it_has_not_seen():
    pytest.importorskip("pyhmmer", reason="profile HMMs")
    rng = np.random.default_rng(0)
    domain = "".join(rng.choice(LETTERS, 30))
    sequences, spans = [], []
    for i in range(60):
        kin = "".join(a if rng.random() < 0.8 else rng.choice(LETTERS) for a in domain)
        at = int(rng.integers(0, 60))
        text = "".join(rng.choice(LETTERS, 100))
        sequences.append(text[:at] + kin + text[at:])
        spans.append((0, 130 * i + at, 130 * i + at + 30, i))
    table = pd.DataFrame({"family": [f"f{i // 3}" for i in range(60)]})
    samples = Samples([f"s{i}" for i in range(60)], sequences, table=table)
    truth = np.zeros((60 * 130, 1), bool)
    for _, a, b, _ in spans:
        truth[a:b] = True
    split = split_families(samples, by="family", seed=0)
    parts = partition(samples, sp.csr_array(truth), np.ones((60, 1), bool), split)[0]
    instances = pd.DataFrame(spans, columns=["concept", "start", "end", "sample"])
    settings = BaselineSettings(domain=True)
    found = run_baselines(Inputs(samples, parts, settings, instances=instances))
    f1 = f1_of(found)
    assert f1["domain"] > 0.95
    assert f1["domain"] > max(v for k, v in f1.items() if k != "domain") + 0.2
    assert "not asked for" in run(samples, parts).not_run["domain"]
    crystals = Samples([f"s{i}" for i in range(60)], sequences, table=table, kind="crystal")
    refused = run_baselines(Inputs(crystals, parts, settings, instances=instances))
    assert "not of crystal" in refused.not_run["domain"]


def cells_of(truth_of, *, whole, n=60, seed=0):
    """Cells of 20 donors that express some of 30 genes; a position is a gene, or the whole cell."""
    rng = np.random.default_rng(seed)
    cells = []
    for _ in range(n):
        genes = rng.choice(30, 12, replace=False)
        cells.append({"genes": [f"G{g}" for g in genes], "values": (rng.random(12) * 5 + 0.5).tolist()})
    table = pd.DataFrame({"donor": [f"d{i // 3}" for i in range(n)]})
    lengths = np.ones(n, int) if whole else None if whole is None else np.full(n, 12)
    data = [tuple(c["genes"]) for c in cells] if whole is None else cells
    samples = Samples([f"c{i}" for i in range(n)], data, lengths=lengths, table=table, kind="cells")
    truth = np.concatenate([np.atleast_1d(truth_of(c)) for c in cells]).astype(bool)
    split = split_families(samples, by="donor", seed=seed)
    return samples, partition(samples, sp.csr_array(truth[:, None]), np.ones((n, 1), bool), split)[0]


def level(cell, gene):
    return dict(zip(cell["genes"], cell["values"])).get(gene, 0.0)


@pytest.mark.parametrize(
    ("truth_of", "whole", "detail"),
    [
        (lambda c: [g == "G3" for g in c["genes"]], False, "G3"),
        (lambda c: [g == "G3" for g in c["genes"]], None, "G3"),
        (lambda c: level(c, "G7") > 1.0, True, "expression of G7 high"),
        (lambda c: level(c, "G7") == 0.0, True, "expression of G7 low"),
    ],
)
def test_one_gene_is_the_rival_of_a_feature_of_cells(truth_of, whole, detail):
    found = run(*cells_of(truth_of, whole=whole))
    assert found.ran["gene"].detail == [detail]
    assert f1_of(found)["gene"] > 0.98
    assert ("kmer" in found.ran) == (whole is not True)
    assert {"identity", "word", "window"} <= set(found.not_run)


def test_a_set_of_genes_is_told_by_which_gene_it_is():
    few = {"G1", "G2", "G5", "G8"}
    f1 = f1_of(run(*cells_of(lambda c: [g in few for g in c["genes"]], whole=False)))
    assert f1["kmer"] > 0.98 > 0.6 > f1["gene"]
