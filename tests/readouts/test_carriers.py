"""What lies beside is taken out of features and label as a partial rank correlation does it."""

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from sciinterp.readouts import carriers as of_carriers
from sciinterp.readouts.carriers import carriers
from sciinterp.readouts.outcome import Outcome


def partial_spearman(x: np.ndarray, y: np.ndarray, beside: np.ndarray) -> float:
    """By the inverse of the matrix of all rank correlations."""
    inverse = np.linalg.inv(np.atleast_2d(spearmanr(np.c_[x, y, beside]).statistic))
    return -inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])


@pytest.mark.parametrize(("n", "columns"), [(25, 1), (25, 3), (200, 1)])
def test_ranks_beside_are_taken_out_as_in_partial_rank_correlations(n, columns):
    """With ties, whatever the scale of any side; of many samples by squares and cubes of ranks, too."""
    rng = np.random.default_rng(n + columns)
    beside = rng.normal(size=(n, columns)).round(1)
    x = np.maximum(rng.normal(size=(n, 12)) + beside[:, :1], 0).astype(np.float32)
    y = (rng.normal(size=n) + 2 * beside[:, 0] + x[:, 0]).round(1)
    found = []
    for of in (beside, np.exp(9 * beside)):
        units = of_carriers._units(x, Outcome(np.exp(y)), np.arange(n), of)
        assert not units.inside
        found.append(units.correlations(np.arange(n), units.y)[:, 0])
    np.testing.assert_array_equal(*found)
    ranks = rankdata(beside, axis=0)
    out = np.c_[np.ones(n), ranks] if n < 30 else ranks ** np.arange(4)
    for j, rho in enumerate(found[0]):
        sides = np.c_[rankdata(x[:, j]), rankdata(y)]
        left = sides - out @ np.linalg.lstsq(out, sides, rcond=None)[0]
        assert rho == pytest.approx(np.corrcoef(left.T)[0, 1], abs=1e-4)
        if n < 30:
            assert rho == pytest.approx(partial_spearman(x[:, j], y, beside), abs=1e-4)


@pytest.mark.parametrize("families", ["one each", "of four"])
def test_features_that_only_follow_what_lies_beside_carry_nothing(families):
    """Strictly, however bent, in no world; silent up to some length in as many as chance has: 2 of 20 at a level of 5%."""
    named = {"strictly": 0, "from some length on": 0}
    for seed in range(10):
        rng = np.random.default_rng(seed)
        length = rng.lognormal(size=120)
        rank = rankdata(length)[:, None] / 120
        family = np.arange(120) // (1 if families == "one each" else 4)
        label = Outcome(np.exp(2 * rank[:, 0]) + 0.5 * rng.normal(size=120))
        draws = [np.flatnonzero(family % 3 != k) for k in range(3)]
        steps = np.linspace(0, 1, 20)
        for name, x in (
            ("strictly", np.exp(6 * rank * (1 + steps))),
            ("from some length on", np.maximum(rank - 0.2 - 0.6 * steps, 0)),
        ):
            columns = np.tile(x, 3).astype(np.float32)
            named[name] += (
                len(
                    carriers(
                        columns, label, family, draws, beside=length[:, None], n_permutations=60, seed=seed
                    )
                )
                > 0
            )
            assert len(carriers(columns, label, family, draws, n_permutations=60, seed=seed)) == 20
    assert named["strictly"] == 0 and named["from some length on"] <= 2
