"""What is taken from an activation has the activation's units, however the SAE scales its input: by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sciinterp.interventions.writing import feature_edit
from sciinterp.sae.base import ThresholdSAE

ROWS = np.array([[3.0, 4.0, 0.0, 12.0], [-1.0, 2.0, 2.0, 4.0], [0.5, -2.0, 1.0, 1.5]])
W_ENC = np.array([[1.0, 0.2, -0.5], [0.3, 1.0, 0.0], [0.0, -0.4, 1.0], [0.5, 0.0, 0.8]])
W_DEC = np.array([[0.6, 0.0, 0.8, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.6, 0.0, 0.8]])
B_ENC, B_DEC = np.array([0.1, 0.0, -0.2]), np.array([0.5, -0.3, 0.2, 0.1])


def by_hand(row, norm):
    """Codes, shift and scale of one row, in plain arithmetic."""
    shift, scale, inside = 0.0, 1.0, row
    if norm == "constant_norm_rescale":  # to the norm sqrt(d)
        scale = np.sqrt((row**2).sum()) / np.sqrt(len(row))
        inside = row / scale
    elif norm == "layer_norm":
        shift, scale = row.mean(), row.std(ddof=1)
        inside = (row - shift) / (scale + 1e-5)
    return np.maximum((inside - B_DEC) @ W_ENC + B_ENC, 0), shift, scale


@pytest.fixture(params=["none", "constant_norm_rescale", "layer_norm"])
def sae(request):
    made = ThresholdSAE(
        *(torch.tensor(x).float() for x in (W_ENC, B_ENC, W_DEC, B_DEC)), threshold=torch.zeros(3)
    )
    made.input_norm = request.param
    return made


def test_a_reconstruction_is_scaled_back(sae):
    found = sae.reconstruct(torch.tensor(ROWS).float()).numpy()
    for row, got in zip(ROWS, found):
        codes, shift, scale = by_hand(row, sae.input_norm)
        assert got == pytest.approx((codes @ W_DEC + B_DEC) * scale + shift, abs=1e-4)


def test_ablation_takes_the_code_times_the_direction_in_units_of_the_activation(sae):
    rows = torch.tensor(ROWS).float()
    places = torch.tensor([[0, i, i + 1] for i in range(len(ROWS))])
    edit = feature_edit(sae, "layers.0", [2], lambda codes, _: torch.zeros_like(codes))
    part = edit.amounts(rows, places) @ edit.directions
    found = (rows + part * (edit.units(rows) if edit.units else 1.0)).numpy()
    taken = 0
    for row, got in zip(ROWS, found):
        codes, _, scale = by_hand(row, sae.input_norm)
        assert got == pytest.approx(row - codes[2] * W_DEC[2] * scale, abs=1e-4)
        taken += codes[2] > 0
    assert taken
