"""The synthetic run of the report's tests, for the figures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "report"))


@pytest.fixture(scope="session")
def run() -> dict:
    import synthetic_run as made

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
