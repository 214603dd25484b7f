"""encode: the same codes in memory, on disk, after a kill and in any shards; memory does not grow with positions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sciinterp as si
from sciinterp.codes import encoding, saving
from sciinterp.errors import MismatchError, SciinterpError, ShapeError, StoreError
from sciinterp.provenance import Origin
from sciinterp.sae.base import TopKSAE

LENGTHS = (5, 0, 9, 3, 12, 1, 7)
D_IN, N_FEATURES = 6, 20


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(encoding, "BATCH_TOKENS", 4)
    monkeypatch.setattr(saving, "SHARD_POSITIONS", 10)


def make_sae(seed: int = 0) -> TopKSAE:
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g)  # noqa: E731
    sae = TopKSAE(draw(D_IN, N_FEATURES), draw(N_FEATURES), draw(N_FEATURES, D_IN), draw(D_IN), k=3)
    sae.origin = Origin(model="tiny", site="layers.0")
    return sae


def samples() -> si.Samples:
    return si.Samples([f"s{i}" for i in range(len(LENGTHS))], ["M" * n for n in LENGTHS])


def rows(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(sum(LENGTHS), D_IN)).astype(np.float32)


class Tokens:
    """Activations of two kinds of tokens: each position twice, and one token over each whole sample."""

    d_in, fingerprint, digest = D_IN, None, "0"

    def __init__(self) -> None:
        self.samples, self.origin = samples(), Origin(model="tiny", site="layers.0")
        spans = [[(i // 2, i // 2 + 1) for i in range(2 * n)] + [(0, n)] for n in LENGTHS]
        self.token_offsets = np.concatenate([[0], np.cumsum([len(x) for x in spans])])
        self.spans = np.array([x for part in spans for x in part])
        self.n_tokens = len(self.spans)
        self.values = np.random.default_rng(2).normal(size=(self.n_tokens, D_IN)).astype(np.float32)

    def read(self, lo, hi):
        return self.values[lo:hi]

    def read_spans(self, lo, hi):
        return {"start": self.spans[lo:hi, 0], "end": self.spans[lo:hi, 1]}


def tree(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("tokens", [False, True])
def test_memory_and_disk_and_any_shards_agree(tmp_path, monkeypatch, tokens):
    sae = make_sae()
    acts, given = (Tokens(), {}) if tokens else (rows(), {"samples": samples()})
    held = si.encode(sae, acts, **given)
    for shard in (1, 10, 1000):
        monkeypatch.setattr(saving, "SHARD_POSITIONS", shard)
        stored = si.encode(sae, acts, out=tmp_path / str(shard), **given)
        np.testing.assert_array_equal(stored.codes.toarray(), held.codes.toarray())
        np.testing.assert_array_equal(stored.max_per_sample().toarray(), held.max_per_sample().toarray())
        assert stored.sae is sae
        assert stored.origin.to_record() == held.origin.to_record()
    whole = sae.encode_scipy(acts.values if tokens else acts).toarray()
    if not tokens:
        np.testing.assert_allclose(held.codes.toarray(), whole, atol=1e-6)
        return
    at, wanted = Tokens(), np.zeros((sum(LENGTHS), N_FEATURES), np.float32)
    for i in range(len(LENGTHS)):
        for t in range(at.token_offsets[i], at.token_offsets[i + 1]):
            a, b = at.spans[t] + at.samples.offsets[i]
            wanted[a:b] = np.maximum(wanted[a:b], whole[t])
    np.testing.assert_allclose(held.codes.toarray(), wanted, atol=1e-6)


def test_killed_runs_end_in_the_same_bytes_and_repeat_a_shard_at_most(tmp_path, monkeypatch):
    sae, acts, of = make_sae(), rows(), samples()
    si.encode(sae, acts, samples=of, out=tmp_path / "whole")
    expected = tree(tmp_path / "whole")
    shards = sum(name.endswith("safetensors") for name in expected) - 1
    real = encoding._Encoder.shard
    for after in range(shards):
        made = 0

        def counted(self, first, last, bar, after=after):
            nonlocal made
            made += 1
            if made > after:
                raise KeyboardInterrupt
            return real(self, first, last, bar)

        folder = tmp_path / f"x{after}"
        with monkeypatch.context() as patch:
            patch.setattr(encoding._Encoder, "shard", counted)
            with pytest.raises(KeyboardInterrupt):
                si.encode(sae, acts, samples=of, out=folder)
        with pytest.raises(StoreError, match="not finished"):
            si.load_features(folder)
        left = []
        with monkeypatch.context() as patch:
            patch.setattr(encoding._Encoder, "shard", lambda *a, left=left: (left.append(1), real(*a))[1])
            si.encode(sae, acts, samples=of, out=folder)
        assert len(left) == shards - after
        assert tree(folder) == expected


def test_codes_of_another_sae_or_other_activations_are_never_taken_for_these(tmp_path):
    """Same model, site and samples: only the numbers differ, and that is enough."""
    of = samples()
    si.encode(make_sae(), rows(), samples=of, out=tmp_path / "f")
    before = tree(tmp_path / "f")
    with pytest.raises(MismatchError, match=r"identity\.sae_sha256 differs.*overwrite=True"):
        si.encode(make_sae(1), rows(), samples=of, out=tmp_path / "f")
    with pytest.raises(MismatchError, match=r"inputs\.activations differs"):
        si.encode(make_sae(), rows(2), samples=of, out=tmp_path / "f")
    assert tree(tmp_path / "f") == before
    other = si.encode(make_sae(1), rows(), samples=of, out=tmp_path / "f", overwrite=True)
    np.testing.assert_array_equal(
        other.codes.toarray(), si.encode(make_sae(1), rows(), samples=of).codes.toarray()
    )
    with pytest.raises(ShapeError, match="do not fit the samples"):
        si.encode(make_sae(), rows()[:-1], samples=of, out=tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_codes_know_the_sae_beside_them(tmp_path, caplog):
    sae, of = make_sae(), samples()
    sae.save(tmp_path / "run" / "sae")
    si.encode(sae, rows(), samples=of, out=tmp_path / "run" / "features")
    (tmp_path / "run").rename(tmp_path / "moved")
    found = si.load_features(tmp_path / "moved" / "features")
    assert found.sae is not None
    assert torch.equal(found.sae.W_dec, sae.W_dec)
    assert found.sae.folder == tmp_path / "moved" / "features" / ".." / "sae"
    make_sae(3).save(tmp_path / "moved" / "sae")
    assert si.load_features(tmp_path / "moved" / "features").sae is None
    assert "another SAE" in caplog.text
    # An SAE from elsewhere is not looked for: a folder of codes leads nowhere but beside itself.
    far = make_sae()
    far.save(tmp_path / "far" / "sae")
    si.encode(far, rows(), samples=of, out=tmp_path / "other" / "features")
    assert si.load_features(tmp_path / "other" / "features").sae is None


PEAK = """
import resource, sys
import numpy as np
import torch
import sciinterp as si
from sciinterp.sae.base import TopKSAE
torch.manual_seed(0)
n, d, f = int(sys.argv[2]), 16, 256
sae = TopKSAE(torch.randn(d, f), torch.randn(f), torch.randn(f, d), torch.randn(d), k=16)
acts = np.lib.format.open_memmap(sys.argv[1] + ".npy", mode="w+", dtype=np.float32, shape=(n, d))
for lo in range(0, n, 10000):
    acts[lo:lo + 10000] = np.random.default_rng(lo).normal(size=acts[lo:lo + 10000].shape)
acts.flush()
del acts

class Rows:
    d_in, fingerprint, digest, n_tokens = d, None, "0", n
    samples = si.Samples([str(i) for i in range(n // 100)], lengths=[100] * (n // 100))
    token_offsets = samples.offsets
    def read(self, lo, hi):
        with open(sys.argv[1] + ".npy", "rb") as file:
            file.seek(128 + 4 * d * lo)
            return np.frombuffer(file.read(4 * d * (hi - lo)), np.float32).reshape(-1, d).copy()
    def read_spans(self, lo, hi):
        start = np.arange(lo, hi) % 100
        return {"start": start, "end": start + 1}

sae.encode_scipy(Rows().read(0, 8192))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
features = si.encode(sae, Rows(), out=sys.argv[1])
for lo, hi in features.feature_blocks(1 << 18):
    features.by_feature(lo, hi)
features.density, features.max_per_sample()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, features.n_stored)
"""


def test_memory_does_not_grow_with_positions(tmp_path):
    peaks, stored = [], []
    for n in (150_000, 600_000):
        told = subprocess.run(
            [sys.executable, "-c", PEAK, str(tmp_path / str(n)), str(n)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        peaks.append(int(told[0]))
        stored.append(int(told[1]))
    assert stored[1] > 3.9 * stored[0]
    # KiB: what all the codes of the larger run would take, held once, is twice the room left.
    assert peaks[1] - peaks[0] < stored[1] * 8 / 1024 / 2


WRONG = [
    ({"acts": "runs/a"}, "real numbers"),
    ({"acts": np.full((37, D_IN), "x")}, "real numbers"),
    ({"acts": np.ones((37, D_IN), complex)}, "real numbers"),
    ({"acts": np.ma.masked_greater(np.ones((37, D_IN)), 0)}, "masked values"),
    ({"acts": np.ones((37, D_IN + 1), np.float32)}, r"do not fit the SAE.*expected \[n, 6\]"),
    ({"acts": np.zeros(D_IN, np.float32)}, r"do not fit the SAE.*expected \[n, 6\]"),
    ({"samples": "s.fasta"}, "samples=: expected Samples, got 's.fasta'.*read_samples"),
    ({"samples": ["MK"]}, "samples=: expected Samples, got list"),
    ({"samples": None}, "needs its samples"),
    ({"out": 5}, "out=: expected a path, got 5"),
    ({"overwrite": "yes"}, "overwrite=: expected bool, got 'yes'"),
    ({"device": "abacus"}, "no such device.*'abacus'"),
    ({"sae": "runs/sae"}, "sae=: expected SAE.*load_sae"),
    ({"model": "antiberty"}, "activations from two places"),
]


@pytest.mark.parametrize(
    ("given", "said"), WRONG, ids=[f"{next(iter(g))} {i}" for i, (g, _) in enumerate(WRONG)]
)
def test_what_cannot_be_encoded_is_named_before_anything_is_written(tmp_path, given, said):
    given = {"sae": make_sae(), "acts": rows(), "samples": samples(), "out": tmp_path / "f", **given}
    with pytest.raises(SciinterpError, match=said) as caught:
        si.encode(given.pop("sae"), given.pop("acts"), **given)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "form", [np.ndarray.tolist, torch.from_numpy, np.asfortranarray, lambda x: x.astype(np.float64)]
)
def test_rows_of_any_form_have_the_same_codes(form):
    wanted = si.encode(make_sae(), rows(), samples=samples()).codes
    found = si.encode(make_sae(), form(rows()), samples=samples()).codes
    np.testing.assert_array_equal(found.toarray(), wanted.toarray())


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_samples_and_what_lies_beside_them_change_no_code(seed):
    """Of each sample the codes are its own, to the last digits of a product of another size."""
    of, order = samples(), np.random.default_rng(seed).permutation(len(LENGTHS))
    whole, x = si.encode(make_sae(), rows(), samples=of), rows()
    at = [np.arange(of.offsets[i], of.offsets[i + 1]) for i in order]
    moved = si.encode(make_sae(), x[np.concatenate(at)], samples=of.subset(order))
    for place, i in enumerate(order):
        alone = si.encode(make_sae(), x[at[place]], samples=of.subset([i]))
        wanted = whole.by_sample(int(i)).toarray()
        np.testing.assert_allclose(moved.by_sample(place).toarray(), wanted, atol=1e-6)
        np.testing.assert_allclose(alone.codes.toarray(), wanted, atol=1e-6)


def test_a_permutation_of_features_permutes_codes():
    sae, order = make_sae(), torch.randperm(N_FEATURES, generator=torch.Generator().manual_seed(1))
    other = TopKSAE(sae.W_enc[:, order], sae.b_enc[order], sae.W_dec[order], sae.b_dec, k=3)
    other.origin = sae.origin
    one, two = (si.encode(x, rows(), samples=samples()).codes.toarray() for x in (sae, other))
    np.testing.assert_allclose(two, one[:, order.numpy()], atol=1e-6)


@pytest.mark.parametrize("batch", [8, 24, 32, 64])
def test_a_shard_that_begins_within_a_batch_has_its_own_rows(tmp_path, monkeypatch, batch):
    monkeypatch.setattr(encoding, "BATCH_TOKENS", batch)
    monkeypatch.setattr(saving, "SHARD_POSITIONS", 5)
    stored = si.encode(make_sae(), rows(), samples=samples(), out=tmp_path / "f").codes.toarray()
    np.testing.assert_allclose(stored, make_sae().encode_scipy(rows()).toarray(), atol=1e-6)
