"""Features of two dictionaries are matched by what they do on the same positions."""

import numpy as np
import pytest
import scipy.sparse as sp

from sciinterp.errors import InputError
from sciinterp.sae.stability import match_codes


def test_a_shuffled_dictionary_is_found_again_whatever_its_scale() -> None:
    rng = np.random.default_rng(0)
    codes = rng.gamma(2, 1, (300, 12)) * (rng.random((300, 12)) < 0.1)
    order = rng.permutation(12)
    match, cosine = match_codes(sp.csr_array(codes), sp.csr_array(3 * codes[:, order]))
    assert (order[match] == np.arange(12)).all() and np.allclose(cosine, 1)


def test_silent_and_supernumerary_features_have_no_match_to_speak_of() -> None:
    codes = np.eye(4)
    codes[:, 2] = 0
    match, cosine = match_codes(sp.csr_array(codes), sp.csr_array(codes[:, [3, 0, 2]]))
    assert match[0] == 1 and match[3] == 0 and cosine.tolist() == [1, 0, 0, 1]
    assert sorted(match[[1, 2]].tolist()) == [-1, 2]


def test_codes_of_other_positions_are_refused() -> None:
    with pytest.raises(InputError, match="other positions"):
        match_codes(sp.csr_array((3, 2)), sp.csr_array((4, 2)))
