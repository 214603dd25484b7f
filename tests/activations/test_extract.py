"""extract: rows equal what the model computes, whatever the batches, interruptions and sites."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_adapter import TinyAdapter, make_samples, natural_lengths

import sciinterp as si
from sciinterp.activations import ExtractSettings, same_fingerprint, site_folder
from sciinterp.activations.plan import Work
from sciinterp.errors import InputError, MismatchError, SciinterpError, StoreError
from sciinterp.models import capture

SMALL = ExtractSettings(shard_tokens=40)
LENGTHS = (5, 12, 7, 30, 1, 9, 22, 4, 17, 8)


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def direct(model, samples, site):
    """Each sample alone through the model."""
    return [capture(model, [site], model.encode([s]))[site][0].numpy() for s in samples]


@pytest.mark.parametrize("site", ["embedding", "layers.0", "layers.1"])
def test_rows_are_the_models_in_the_order_of_the_samples(tmp_path, site):
    model, samples = TinyAdapter(), make_samples(LENGTHS)
    acts = si.extract(model, samples, site=site, out=tmp_path / "a", settings=SMALL, max_tokens=64)
    expected = direct(model, samples, site)
    assert acts.token_offsets.tolist() == samples.offsets.tolist()
    for i, rows in enumerate(expected):
        np.testing.assert_allclose(acts.read_sample(i), rows, atol=1e-6)
        np.testing.assert_array_equal(acts.read_sample(samples.ids[i]), acts.read_sample(i))
    assert acts.samples.digest == samples.digest
    assert (acts.site, acts.d_in, acts.n_tokens) == (site, 8, sum(LENGTHS))
    start = np.concatenate([np.arange(n) for n in LENGTHS])
    np.testing.assert_array_equal(acts.spans["start"], start)
    np.testing.assert_array_equal(acts.spans["end"], start + 1)
    rows = acts.rows(np.array([3, 0]))
    assert rows.tolist() == [*range(24, 54), *range(5)]
    assert acts.identity["model"] == "tiny"
    assert acts.identity["site"] == site
    assert json.loads(json.dumps(acts.identity)) == acts.identity
    np.testing.assert_array_equal(acts.read_spans(5, 24)["end"], acts.spans["end"][5:24])


def test_several_sites_are_the_same_stores_from_one_pass(tmp_path):
    samples = make_samples(LENGTHS)
    model = TinyAdapter()
    one = si.extract(model, samples, site="layers.0", out=tmp_path / "one", settings=SMALL)
    alone = model.calls
    model = TinyAdapter()
    both = si.extract(model, samples, site=["layers.0", "embedding"], out=tmp_path / "both", settings=SMALL)
    assert list(both) == ["layers.0", "embedding"]
    assert model.calls == alone
    assert tree(tmp_path / "both" / "layers.0") == tree(tmp_path / "one")
    assert both["layers.0"].digest == one.digest


@settings(max_examples=6, deadline=None)
@given(stop=st.integers(1, 12), sites=st.sampled_from([["layers.1"], ["embedding", "layers.1"]]))
def test_interrupted_anywhere_it_ends_the_same(tmp_path_factory, stop, sites):
    samples = make_samples(LENGTHS)
    whole, broken = tmp_path_factory.mktemp("w"), tmp_path_factory.mktemp("b")
    si.extract(
        reference := TinyAdapter(), samples, site=sites, out=whole / "x", settings=SMALL, max_tokens=40
    )
    model = TinyAdapter()
    model.stop_at = stop
    with contextlib.suppress(KeyboardInterrupt):
        si.extract(model, samples, site=sites, out=broken / "x", settings=SMALL, max_tokens=40)
    first = model.calls
    model.stop_at = None
    si.extract(model, samples, site=sites, out=broken / "x", settings=SMALL, max_tokens=40)
    assert tree(broken) == tree(whole)
    # At most one shard is repeated: its batches, and the last pass, which takes the fingerprint.
    work = Work(model, samples, 40, SMALL)
    most = max(len(work.batches(work.items(k))) for k in range(len(work.bounds) - 1))
    assert model.calls <= reference.calls + min(first, most + 1)


def test_done_returns_at_once(tmp_path):
    model, samples = TinyAdapter(), make_samples(LENGTHS)
    si.extract(model, samples, site="layers.1", out=tmp_path / "a")
    calls, before = model.calls, tree(tmp_path)
    si.extract(model, samples, site="layers.1", out=tmp_path / "a")
    assert model.calls == calls
    assert tree(tmp_path) == before


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_rows_are_rounded_not_cut(tmp_path, dtype):
    model, samples = TinyAdapter(), make_samples(LENGTHS)
    acts = si.extract(model, samples, site="layers.1", out=tmp_path / "a", dtype=dtype, settings=SMALL)
    exact = np.concatenate(direct(model, samples, "layers.1"))
    kind = getattr(torch, dtype)
    expected = torch.from_numpy(exact).to(kind).float().numpy()
    np.testing.assert_allclose(acts.read(0, acts.n_tokens), expected, atol=1e-6, rtol=1e-2)
    wide = si.extract(model, samples, site="layers.1", out=tmp_path / "b", settings=SMALL)
    size = [sum(p.stat().st_size for p in x.folder.glob("*.safetensors")) for x in (acts, wide)]
    assert size[0] < 0.75 * size[1]


def test_lower_precision_of_the_model_is_measured(tmp_path):
    model, samples = TinyAdapter(32, dtype="bfloat16"), make_samples(LENGTHS)
    acts = si.extract(model, samples, site="layers.1", out=tmp_path / "a", settings=SMALL)
    assert 1e-4 < acts.manifest["extra"]["precision_error"] < 0.1
    assert acts.identity["precision"] == "bfloat16"
    exact = si.extract(TinyAdapter(32), samples, site="layers.1", out=tmp_path / "b", settings=SMALL)
    assert exact.manifest["extra"]["precision_error"] is None
    assert same_fingerprint(acts.fingerprint, exact.fingerprint)


def test_nan_is_named_by_sample_position_and_site(tmp_path):
    model, samples = TinyAdapter(), make_samples(LENGTHS)
    model.poison = {samples[6].sequence: 13}
    with pytest.raises(
        InputError, match=r"NaN.*sample 's/6' position 13 \(counted from 0\) site 'layers\.0'.*got nan"
    ):
        si.extract(model, samples, site=["embedding", "layers.0"], out=tmp_path / "a", settings=SMALL)


def test_nan_is_skipped_and_counted(tmp_path):
    model, samples = TinyAdapter(), make_samples(LENGTHS)
    model.poison = {samples[6].sequence: 13, samples[0].sequence: 0}
    skip = ExtractSettings(shard_tokens=40, nonfinite="skip")
    acts = si.extract(model, samples, site="layers.0", out=tmp_path / "a", settings=skip)
    counts = np.diff(acts.token_offsets)
    assert counts[[0, 6]].tolist() == [0, 0]
    assert counts.sum() == sum(LENGTHS) - 22 - 5
    assert acts.skipped == {"NaN or infinity": 2}
    assert acts.read_sample(0).shape == (0, 8)
    np.testing.assert_allclose(acts.read_sample(7), direct(TinyAdapter(), samples, "layers.0")[7], atol=1e-6)


def test_float16_overflow_is_not_written_as_infinity(tmp_path):
    model, samples = TinyAdapter(scale=1e5), make_samples(LENGTHS)
    with pytest.raises(InputError, match=r"float16 overflow.*Keep them as bfloat16 or float32"):
        si.extract(model, samples, site="embedding", out=tmp_path / "a", dtype="float16")
    acts = si.extract(model, samples, site="embedding", out=tmp_path / "b", dtype="bfloat16")
    assert np.isfinite(acts.read(0, acts.n_tokens)).all()


def test_refusals_come_before_anything_is_written(tmp_path):
    good = make_samples(LENGTHS)
    cases = [
        (TinyAdapter(), si.Samples(["a", "b"], ["MK", "MJK"]), {}, "does not know this letter"),
        (TinyAdapter(max_length=10), good, {}, "too long for tiny"),
        (TinyAdapter(), good, {"site": "layers.7"}, "no such site"),
        (TinyAdapter(), good, {"site": ["layers.1", "x"]}, "no such site"),
        (TinyAdapter(), good, {"site": []}, "nothing to extract"),
        (TinyAdapter(), good, {"dtype": "int8"}, "no such type"),
        (TinyAdapter(max_length=10, over_length="window"), good, {}, "windows must advance"),
        (TinyAdapter(), si.Samples([], []), {}, "nothing to extract"),
    ]
    for model, samples, change, message in cases:
        with pytest.raises(InputError, match=message):
            si.extract(model, samples, **{"site": "layers.1", "out": tmp_path / "a", **change})
        assert not (tmp_path / "a").exists()
        assert model.calls == 0


def test_folders_in_use_and_other_plans(tmp_path):
    model, samples = TinyAdapter(), make_samples(LENGTHS)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    for site in ("layers.1", ["layers.1", "layers.0"]):
        with pytest.raises(StoreError, match=r"output folder is in use.*notes\.txt"):
            si.extract(model, samples, site=site, out=tmp_path / "mine", overwrite=True)
    assert tree(tmp_path) == {"mine/notes.txt": b"x"}
    si.extract(model, samples, site="layers.1", out=tmp_path / "a")
    before = tree(tmp_path)
    for change, message in (
        ({"site": "layers.0"}, r"identity\.site differs"),
        ({"dtype": "float16"}, "dtype differs"),
        ({"max_tokens": 16}, "max_tokens differs"),
        ({"samples": samples.subset([0, 1])}, r"samples\.digest differs"),
        ({"model": TinyAdapter().randomised(3)}, r"identity\.randomised_seed differs.*expected 3, got None"),
    ):
        arguments = {"model": model, "samples": samples, "site": "layers.1", "out": tmp_path / "a", **change}
        with pytest.raises(MismatchError, match=message):
            si.extract(arguments.pop("model"), arguments.pop("samples"), **arguments)
    assert tree(tmp_path) == before
    acts = si.extract(model, samples, site="layers.0", out=tmp_path / "a", overwrite=True)
    assert acts.site == "layers.0"


def test_one_site_that_does_not_fit_stops_the_others_from_being_begun(tmp_path):
    model, samples = TinyAdapter(), make_samples(LENGTHS)
    si.extract(model, samples, site=["layers.1"], out=tmp_path / "a", dtype="float16")
    with pytest.raises(MismatchError):
        si.extract(model, samples, site=["layers.0", "layers.1"], out=tmp_path / "a")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["layers.1"]


def test_windows_cover_long_samples_and_average_where_they_overlap(tmp_path):
    samples = make_samples((25, 9, 10, 11, 64))
    model = TinyAdapter(max_length=10, over_length="window")
    settings = ExtractSettings(shard_tokens=40, overlap=4)
    acts = si.extract(model, samples, site="layers.0", out=tmp_path / "a", settings=settings)
    whole = TinyAdapter()
    for i, exact in enumerate(direct(whole, samples, "layers.0")):
        got = acts.read_sample(i)
        assert got.shape == exact.shape
        if len(exact) <= 10:
            np.testing.assert_allclose(got, exact, atol=1e-6)
            continue
        starts = [*range(0, len(exact) - 10, 6), len(exact) - 10]
        total, count = np.zeros_like(exact), np.zeros((len(exact), 1), np.float32)
        for lo in starts:
            part = samples[i].sequence[lo : lo + 10]
            total[lo : lo + 10] += capture(whole, ["layers.0"], whole.encode([part]))["layers.0"][0].numpy()
            count[lo : lo + 10] += 1
        np.testing.assert_allclose(got, total / count, atol=1e-5)
    # The embedding of a letter does not depend on the window: overlaps agree.
    local = si.extract(model, samples, site="embedding", out=tmp_path / "b", settings=settings)
    np.testing.assert_allclose(
        local.read(0, local.n_tokens), np.concatenate(direct(whole, samples, "embedding")), atol=1e-6
    )
    assert local._reader.plan["windows"] == {"length": 10, "overlap": 4, "combine": "mean"}


def test_batch_dependent_models_run_one_sample_at_a_time(tmp_path):
    model, samples = TinyAdapter(), make_samples(LENGTHS)
    model.batch_dependent = True
    si.extract(model, samples, site="layers.1", out=tmp_path / "a")
    assert all(real == padded for real, padded in model.sizes)


def test_padding_is_under_five_percent_of_a_natural_distribution(tmp_path):
    model, samples = TinyAdapter(), make_samples(natural_lengths(800))
    acts = si.extract(model, samples, site="embedding", out=tmp_path / "a")
    real, padded = np.array(model.sizes[:-1]).sum(0)  # the last pass is the fingerprint's
    assert 1 - real / padded < 0.05
    assert abs(acts._reader.plan["padding"] - (1 - real / padded)) < 1e-3


def test_resuming_uses_the_threads_it_was_begun_with(tmp_path):
    model, samples = TinyAdapter(), make_samples(LENGTHS)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        model.stop_at = 3
        with pytest.raises(KeyboardInterrupt):
            si.extract(model, samples, site="layers.1", out=tmp_path / "a", settings=SMALL)
        torch.set_num_threads(1)
        acts = si.extract(model, samples, site="layers.1", out=tmp_path / "a", settings=SMALL)
        assert torch.get_num_threads() == 1
        assert acts._reader.plan["environment"]["threads"] == 2
    finally:
        torch.set_num_threads(before)


def test_fingerprints_tell_models_apart_and_not_samples(tmp_path):
    model, samples = TinyAdapter(), make_samples(LENGTHS)
    a = si.extract(model, samples, site="layers.1", out=tmp_path / "a")
    b = si.extract(model, samples.subset([3, 1]), site="layers.1", out=tmp_path / "b")
    c = si.extract(model.randomised(1), samples, site="layers.1", out=tmp_path / "c")
    d = si.extract(model, samples, site="layers.0", out=tmp_path / "d")
    assert same_fingerprint(a.fingerprint, b.fingerprint)
    assert not same_fingerprint(a.fingerprint, c.fingerprint)
    assert not same_fingerprint(a.fingerprint, d.fingerprint)
    assert same_fingerprint(a.fingerprint, None)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80))
def test_site_folders_are_safe_names(name):
    folder = site_folder(name)
    assert folder
    assert "/" not in folder
    assert not folder.startswith(".")
    assert len(folder.encode()) < 80


def test_bad_settings_and_numbers_are_refused(tmp_path):
    for change in ({"shard_tokens": 0}, {"overlap": -1}, {"nonfinite": "ignore"}):
        with pytest.raises(InputError):
            ExtractSettings(**change)
    acts = si.extract(TinyAdapter(), make_samples(LENGTHS), site="layers.1", out=tmp_path / "a")
    for bad in (lambda: acts.read_sample(99), lambda: acts.rows([99]), lambda: acts.read(0, 10**6)):
        with pytest.raises(SciinterpError):
            bad()
    assert "tiny at layers.1" in repr(acts)
    assert "<p>" in acts._repr_html_()


@pytest.mark.parametrize("shape", [(3, 4), (6, 4, 1), (6,), (0, 4)])
def test_an_array_that_does_not_fit_its_samples_is_refused_in_one_line(tmp_path, shape):
    of = si.Samples(["a", "b"], ["MKV", "ACD"])
    with pytest.raises(SciinterpError, match=r"array|dimension|shape") as caught:
        si.activations_from_array(np.ones(shape, np.float32), of, model="m", site="s", out=tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()
