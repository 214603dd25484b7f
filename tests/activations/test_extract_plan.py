"""The plan of an extraction, and rows by number: windows, batches and rows against plain loops, bounds kept."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_adapter import TinyAdapter, make_samples

import sciinterp as si
from sciinterp.activations import ExtractSettings, fingerprint, same_fingerprint
from sciinterp.activations.extraction import begun_threads
from sciinterp.activations.plan import Work, kept_tokens, window_starts
from sciinterp.activations.recorded import rows_of
from sciinterp.errors import InputError, SciinterpError
from sciinterp.models import Site
from sciinterp.models.encodings import pieces_to_batch

lengths = st.lists(st.integers(0, 7), min_size=1, max_size=12)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 300), st.integers(1, 60), st.data())
def test_windows_cover_a_sample_and_end_with_it(n, window, data) -> None:
    overlap = data.draw(st.integers(0, window - 1))
    starts = window_starts(n, window, overlap)
    assert starts == sorted(set(starts)) and starts[0] == 0
    covered = np.zeros(n, int)
    for lo in starts:
        assert lo + window <= n or n < window
        covered[lo : lo + window] += 1
    assert covered.min() >= 1
    for a, b in zip(starts, starts[1:-1]):
        assert b - a == window - overlap
    if len(starts) > 1:
        assert starts[-1] + window == n and starts[-1] - starts[-2] <= window - overlap


@settings(deadline=None, max_examples=100)
@given(lengths, st.data())
def test_rows_of_samples_by_a_loop(sizes, data) -> None:
    offsets = np.r_[0, np.cumsum(sizes)]
    chosen = data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=6))
    wanted = [row for i in chosen for row in range(offsets[i], offsets[i + 1])]
    assert rows_of(offsets, chosen).tolist() == wanted
    assert rows_of(offsets, np.array(chosen, np.int32)).tolist() == wanted
    for bad in (-1, len(sizes)):
        with pytest.raises(InputError, match="no such sample"):
            rows_of(offsets, [*chosen, bad])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(1, 60), st.integers(1, 50))
def test_every_position_goes_through_the_model_once_in_one_shard(sizes, shard, most) -> None:
    samples = make_samples(sizes)
    work = Work(TinyAdapter(), samples, most, ExtractSettings(shard_tokens=shard))
    seen = []
    for number in range(len(work.bounds) - 1):
        items = work.items(number)
        batches = work.batches(items)
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(items)))
        for batch in batches:
            padded = max(items[i].hi - items[i].lo for i in batch) * len(batch)
            assert padded <= most or len(batch) == 1
        seen += items
        # No shard is longer than what its last sample makes it.
        assert sum(sizes[work.bounds[number] : work.bounds[number + 1] - 1]) < shard
    assert [(s, lo, hi) for s, lo, hi in seen] == [(i, 0, n) for i, n in enumerate(sizes)]
    plan = work.plan(1)
    real = sum(sizes)
    assert 0 <= plan["padding"] < 1 and plan["samples"]["positions"] == real
    assert work.plan(1) == plan == Work(TinyAdapter(), samples, most, work.settings).plan(1)


def test_windows_must_advance_and_be_of_text() -> None:
    model = TinyAdapter(max_length=10, over_length="window")
    with pytest.raises(
        InputError, match="windows must advance, overlap: expected below the model's length 10"
    ):
        Work(model, make_samples((25,)), 64, ExtractSettings(overlap=10))
    Work(model, make_samples((10,)), 64, ExtractSettings(overlap=10))  # nothing is long
    cells = si.Samples(["a"], [tuple("ACDEFGHIKLMN")], kind="cells")
    with pytest.raises(InputError, match=r"too long for tiny, samples that are not sequences"):
        Work(model, cells, 64, ExtractSettings(overlap=2))


MERGES = ["AC", "CA", "GT", "ACGT", "TT", "CAGT", "TTTT"]


def by_words(text: str, k: int = 3) -> list[str]:
    """Words of k letters from the left, single letters where one would hold an N or run over the end."""
    out = []
    while text:
        size = k if len(text) >= k and "N" not in text[:k] else 1
        out, text = [*out, text[:size]], text[size:]
    return out


def by_pairs(text: str) -> list[str]:
    """Byte pairs: the earliest rule of the list first, wherever its pair stands."""
    out = list(text)
    while pairs := [
        (MERGES.index(a + b), i) for i, (a, b) in enumerate(zip(out, out[1:])) if a + b in MERGES
    ]:
        i = min(pairs)[1]
        out[i : i + 2] = [out[i] + out[i + 1]]
    return out


PARTED = {"letters": list, "words": by_words, "pairs": by_pairs}


class Words(TinyAdapter.__base__):
    """Tokens of one or more letters; a row says how long its token is, and which of its window."""

    name, alphabet, over_length = "words", "ACGTN", "window"

    def __init__(self, parted, max_length) -> None:
        super().__init__(torch.nn.Identity())
        self.parted, self.max_length = parted, max_length

    def _sites(self):
        yield Site("layers.0", "", 2)

    def _encode(self, data):
        rows = []
        for text in data:
            ends = np.cumsum([len(token) for token in self.parted(text)]).tolist()
            rows.append([(b - a, a, b) for a, b in zip([0, *ends], ends)])
        return pieces_to_batch(rows, [len(s) for s in data], pad=0)

    def _forward(self, batch):
        ids = batch.inputs["input_ids"].float()
        return self.module(torch.stack([ids, torch.arange(ids.shape[1]).expand_as(ids)], -1))


def covered_once(spans: np.ndarray, n: int) -> bool:
    return spans[:, :2].ravel().tolist() == [0, *np.repeat(spans[:-1, 1], 2).tolist(), n]


@pytest.mark.parametrize("name", PARTED)
@settings(deadline=None, max_examples=150)
@given(st.text("ACGT" * 5 + "N", min_size=1, max_size=60), st.integers(4, 20), st.data())
def test_windows_keep_each_position_once_whatever_tokens_are(name, text, window, data) -> None:
    """However little neighbours overlap: what is kept, end to end, is the sequence, in tokens of its windows."""
    overlap = data.draw(st.integers(0, window - 1))
    model, samples = Words(PARTED[name], window), si.Samples(["a"], [text], kind="dna")
    items = Work(model, samples, 64, ExtractSettings(overlap=overlap)).items(0)
    assert items[0].lo == 0 and items[-1].hi == len(text)
    assert all(b.lo <= a.hi and a.lo < b.lo for a, b in pairwise(items)) and all(
        i.hi - i.lo <= window for i in items
    )
    windows = []
    for item in items:
        batch = model.encode([text[item.lo : item.hi]])
        windows.append(batch.spans[0][batch.mask[0]].numpy() + np.array([item.lo, item.lo, 0]))
    kept = np.concatenate([spans[mask] for spans, mask in zip(windows, kept_tokens(windows))])
    assert covered_once(kept, len(text))
    if name == "letters":
        assert [i.lo for i in items] == window_starts(len(text), window, overlap)
    if name == "words" and overlap >= 3 and window % 3 == 0:  # no window cut one
        assert [text[a:b] for a, b, _ in kept] == by_words(text)


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 200), st.integers(2, 8), st.data())
def test_the_last_window_holds_as_much_of_the_end_as_fits(n, words, data) -> None:
    """Of a model of so many words of three: what is left behind the last word takes a place a letter."""
    window = 3 * words
    overlap = data.draw(st.integers(0, window - 1))

    def tokens(lo: int, hi: int) -> np.ndarray:
        return lo + np.cumsum([0, *map(len, by_words("A" * (hi - lo)))])[:-1]

    starts = window_starts(n, window, overlap, tokens, lambda lo: len(tokens(lo, n)) <= words)
    assert starts == sorted(set(starts)) and starts[-1] + window >= n
    assert all(b - a <= window for a, b in pairwise(starts)) and all(lo % 3 == 0 for lo in starts)
    assert n <= window or len(tokens(starts[-1], n)) <= words


@pytest.mark.parametrize("name", PARTED)
@pytest.mark.parametrize("overlap", [0, 1, 4])
def test_rows_of_windows_are_means_over_those_that_have_the_token(tmp_path, name, overlap) -> None:
    text = "ACGTTTTACNACAGTCAGTGTACACGTTTAGTACNNCAGTTTTTCA"
    model, samples = Words(PARTED[name], 11), si.Samples(["a", "b"], [text, "ACG"], kind="dna")
    how = ExtractSettings(overlap=overlap)
    acts = si.extract(model, samples, site="layers.0", out=tmp_path / "a", settings=how)
    spans = np.c_[acts.spans["start"], acts.spans["end"]][: int(acts.token_offsets[1])]
    assert covered_once(spans, len(text))
    rows: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for item in Work(model, samples, 64, how).items(0)[:-1]:
        ends = np.cumsum([len(token) for token in model.parted(text[item.lo : item.hi])]) + item.lo
        for number, (a, b) in enumerate(zip([item.lo, *ends], ends)):
            rows.setdefault((a, b), []).append((b - a, number))
    np.testing.assert_allclose(acts.read_sample(0), [np.mean(rows[tuple(span)], axis=0) for span in spans])


def test_rows_of_a_site_that_cuts_windows_in_different_places_are_refused(tmp_path) -> None:
    class Pooled(Words):
        def _sites(self):
            yield Site("layers.0", "", 2, stride=2)

        def _forward(self, batch):
            return self.module(batch.inputs["input_ids"].float()[:, 1::2, None].expand(-1, -1, 2))

    samples = si.Samples(["a", "b"], ["ACGTACGTACGTACG", "ACG"], kind="dna")
    with pytest.raises(InputError, match=r"windows cut the tokens in different places, sample 'a'"):
        si.extract(
            Pooled(list, 8), samples, site="layers.0", out=tmp_path / "a", settings=ExtractSettings(overlap=1)
        )


@pytest.mark.parametrize("bounds", [(-1, 3), (3, 2), (0, 18), (18, 18)])
def test_rows_outside_are_refused_by_stream_and_store_alike(tmp_path, bounds) -> None:
    samples = make_samples((5, 9, 3))
    found = si.stream(TinyAdapter(), samples, site="layers.0")
    acts = si.extract(TinyAdapter(), samples, site="layers.0", out=tmp_path / "a")
    for source in (found, acts):
        for read in (source.read, source.read_spans):
            with pytest.raises(SciinterpError, match="rows outside"):
                read(*bounds)
        with pytest.raises(InputError, match="no such sample"):
            source.rows([0, 3])
        assert source.read(17, 17).shape == (0, 8) and len(source.read_spans(4, 4)["start"]) == 0


def test_a_number_that_is_not_finite_stops_a_stream_by_sample() -> None:
    model, samples = TinyAdapter(), make_samples((5, 9, 3))
    found = si.stream(model, samples, site="layers.0")
    model.poison = {samples[1].sequence: 4}
    assert np.isfinite(found.read(0, 5)).all()
    with pytest.raises(InputError, match=r"NaN or infinity.*sample 's/1' site 'layers\.0'"):
        found.read(0, 17)


def test_a_stream_of_a_model_that_reads_one_sample_at_a_time() -> None:
    model, samples = TinyAdapter(), make_samples((5, 9, 3))
    plain = si.stream(model, samples, site="layers.1").read(0, 17)
    model.batch_dependent = True
    model.sizes.clear()
    alone = si.stream(model, samples, site="layers.1")
    np.testing.assert_allclose(alone.read(0, 17), plain, atol=1e-6)
    assert all(real == padded for real, padded in model.sizes)


def test_marks_by_their_definition_and_their_tolerance() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 7)).astype(np.float32)
    mark = fingerprint(rows, "p")
    few = rows[:256].astype(float)
    assert (mark["n"], mark["d_in"]) == (256, 7) and len(mark["values"]) == 16
    assert mark["rms"] == pytest.approx(np.sqrt((few**2).mean()), rel=1e-5)
    assert mark["mean"] == pytest.approx(few.mean(), rel=1e-4)
    assert mark["values"][0] == pytest.approx(few[0, 0], rel=1e-5)
    assert mark["values"][-1] == pytest.approx(few[-1, -1], rel=1e-5)
    assert same_fingerprint(mark, fingerprint(rows + 0.04 * mark["rms"], "p"))
    assert not same_fingerprint(mark, fingerprint(rows + 0.06 * mark["rms"], "p"))
    assert not same_fingerprint(mark, fingerprint(rows[:, :6], "p"))
    assert not same_fingerprint(mark, fingerprint(rows[:40], "p"))
    assert same_fingerprint(mark, fingerprint(-rows, "another probe"))
    for nothing in (None, {}):
        assert same_fingerprint(mark, nothing) and same_fingerprint(nothing, mark)
    assert fingerprint(np.zeros((0, 3), np.float32), "p")["values"] == []


def test_threads_are_those_an_unfinished_store_was_begun_with(tmp_path) -> None:
    model, samples = TinyAdapter(), make_samples((30, 40))
    assert begun_threads([tmp_path / "none"]) == torch.get_num_threads()
    model.stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        si.extract(model, samples, site="layers.0", out=tmp_path / "a", max_tokens=40,
                   settings=ExtractSettings(shard_tokens=30))  # fmt: skip
    plan = tmp_path / "a" / "plan.json"
    begun = torch.get_num_threads()
    plan.write_text(plan.read_text().replace(f'"threads": {begun}', '"threads": 7'))
    assert begun_threads([tmp_path / "a"]) == 7
    plan.write_text("[]")
    assert begun_threads([tmp_path / "a"]) == begun


def test_an_array_with_an_origin_is_the_store_of_the_model(tmp_path) -> None:
    """File against array: the same rows kept either way fit the same dictionary."""
    model, samples = TinyAdapter(), make_samples((5, 9, 3))
    acts = si.extract(model, samples, site="layers.0", out=tmp_path / "a")
    again = si.activations_from_array(
        acts.read(0, 17), samples, out=tmp_path / "b", model=model, site="layers.0"
    )
    assert np.array_equal(again.read(0, 17), acts.read(0, 17))
    assert np.array_equal(again.token_offsets, acts.token_offsets)
    assert {k: v.tolist() for k, v in again.spans.items()} == {k: v.tolist() for k, v in acts.spans.items()}
    marks = {"fingerprint": acts.origin.fingerprint}
    assert replace(again.origin, **marks).to_record() == acts.origin.to_record()
    of = {"model": "another", "site": "layers.0"}
    other = si.activations_from_array(acts.read(0, 17), samples, out=tmp_path / "c", **of)
    assert other.origin.model == "another" and other.origin.weights_sha256 != acts.origin.weights_sha256
