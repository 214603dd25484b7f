"""Fixtures of the report's tests: one synthetic run, made once."""

from __future__ import annotations

import pytest
import synthetic_run as made


@pytest.fixture(scope="session")
def run() -> dict:
    samples = made.make_samples()
    annotations = made.make_annotations(samples)
    return {
        "sae": made.FakeSAE(),
        "samples": samples,
        "annotations": annotations,
        "features": made.make_features(samples),
        "hits": made.make_hits(samples, annotations),
        "candidates": made.make_candidates(samples, annotations),
    }
