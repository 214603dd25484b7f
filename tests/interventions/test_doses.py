"""Where a gain is read: at one level of divergence, between doses, beside one that nearly meets it, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from sciinterp.interventions.doses import NEAR, Start, Tried, _read

LEVEL = 0.1


def made(*doses):
    """Doses whose divergence is ten times the fourth power of the dose, and whose gain is the dose."""
    return [Tried(d, 10 * d**4, np.full(3, d)) for d in (0.0, *doses)]


# The dose at which that divergence is the level.
TRUE = (LEVEL / 10) ** (1 / 4)


@pytest.mark.parametrize("doses", [(0.5 * TRUE, 0.97 * TRUE), (1.03 * TRUE,), (0.5 * TRUE, 1.2 * TRUE)])
def test_the_gain_is_that_of_the_dose_at_the_level(doses):
    found = _read(made(*doses), LEVEL, Start(slope=4.0))
    assert found.reached and found.divergence == LEVEL
    assert found.dose == pytest.approx(TRUE, rel=0.06)
    np.testing.assert_allclose(found.gain, found.dose, rtol=0.01)


def test_a_dose_that_nearly_meets_the_level_is_carried_there_along_its_power():
    found = _read(made(1.04 * TRUE), LEVEL, Start(slope=4.0))
    assert found.dose == pytest.approx(TRUE, rel=1e-9)
    np.testing.assert_allclose(found.gain, TRUE)


def test_a_gain_that_falls_is_carried_as_it_falls():
    """A saturated gain falls with the dose: other samples said how fast, or two doses of these."""
    dose = 0.95 * TRUE
    fallen = [Tried(0.0, 0.0, np.zeros(3)), Tried(dose, 10 * dose**4, np.full(3, 2.0))]
    found = _read(fallen, LEVEL, Start(slope=4.0, rise=-6.0))
    np.testing.assert_allclose(found.gain, 2 - 6 * np.log(1 / 0.95))
    less = 0.8 * TRUE
    known = [fallen[0], Tried(less, 10 * less**4, np.full(3, 2 - 6 * np.log(0.8 / 0.95))), fallen[1]]
    np.testing.assert_allclose(_read(known, LEVEL, Start()).gain, found.gain)


def test_a_dose_too_far_below_the_level_is_not_carried_and_says_so():
    low = TRUE * (0.9 / NEAR) ** (1 / 4)
    found = _read(made(low), LEVEL, Start(slope=4.0))
    assert not found.reached and found.dose == low and found.divergence < LEVEL
    np.testing.assert_allclose(found.gain, low)
