"""Installed peers read our files and we read theirs; skipped by name where one is not installed."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "bench" / "peer_roundtrip.py"


@pytest.mark.parametrize(
    "peer", ["sae_lens", "dictionary_learning", "sparsify", "overcomplete", "esm.models.esmc"]
)
def test_round_trip_with(peer):
    pytest.importorskip(peer, reason=f"{peer} is not installed")
    done = subprocess.run([sys.executable, str(SCRIPT), peer], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
