"""Twins: what is frozen stays, what is not learns, and a run that was stopped ends with the same bytes."""

import numpy as np
import pytest
import torch

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.products import linear
from sciinterp.sae import loop, sparse
from sciinterp.sae.frozen import COSINE, back_onto_cone
from sciinterp.sae.settings import FROZEN, TrainSettings

X = np.random.default_rng(0).normal(size=(3000, 12)).astype(np.float32) * 3 + 1
KINDS = {
    "topk": si.TopK(40, k=4),
    "batchtopk": si.BatchTopK(40, k=4),
    "matryoshka": si.Matryoshka(40, k=4),
    "relu": si.ReLU(40),
    "gated": si.Gated(40),
    "jumprelu": si.JumpReLU(40, target_l0=4),
}
SETTINGS = TrainSettings(steps=60, batch_size=128, seed=3, learning_rate=0.1)  # far enough to leave the cone


def start(n=40, d=12, seed=3):
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


def cosines(a, b):
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_frozen_stays_and_the_rest_learns(kind):
    found = si.twins(X, KINDS[kind], settings=SETTINGS)
    free = si.train(X, KINDS[kind], settings=SETTINGS)
    at = start()
    decoder, soft, encoder = (found[name] for name in FROZEN)
    assert torch.allclose(cosines(decoder.W_dec, at), torch.ones(40), atol=1e-6)
    assert not torch.allclose(decoder.W_enc.T, at, atol=1e-3)
    assert cosines(soft.W_dec, at).min() >= COSINE - 1e-5
    assert (cosines(soft.W_dec, at) < 0.999).any()
    if kind != "gated":  # whose magnitudes rescale the encoder, by a positive number a feature
        assert torch.allclose(cosines(encoder.W_enc.T, at), torch.ones(40), atol=1e-6)
    assert not torch.allclose(cosines(encoder.W_dec, at), torch.ones(40), atol=1e-3)
    assert cosines(free.W_dec, at).min() < COSINE - 0.1


def test_a_twin_is_told_from_its_dictionary_and_a_plain_recipe_keeps_its_words():
    free, frozen = (
        si.train(X, KINDS["topk"], settings=SETTINGS),
        si.twins(X, KINDS["topk"], settings=SETTINGS),
    )
    assert "frozen" not in free.recipe
    assert [sae.recipe["frozen"] for sae in frozen.values()] == list(FROZEN)
    signs = {sae.signed().sae_sha256 for sae in (free, *frozen.values())}
    assert len(signs) == 4
    assert TrainSettings.of(frozen["encoder"].recipe).frozen == "encoder"


def test_together_or_alone_and_stopped_or_not_the_bytes_are_the_same(tmp_path, monkeypatch):
    settings = TrainSettings(steps=40, batch_size=128, checkpoint_every=7, log_every=3)
    whole = si.twins(X, KINDS["topk"], settings=settings, out=tmp_path / "whole")
    advance = loop._Run.advance

    def stopping(self, *batch):
        if self.done == 23:
            raise KeyboardInterrupt
        return advance(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "advance", stopping)
        with pytest.raises(KeyboardInterrupt):
            si.twins(X, KINDS["topk"], settings=settings, out=tmp_path / "cut")
    si.twins(X, KINDS["topk"], settings=settings, out=tmp_path / "cut")
    for part in FROZEN:
        name = f"{part}/sae_weights.safetensors"
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        alone = si.train(X, KINDS["topk"], settings=settings, frozen=part)
        assert torch.equal(alone.W_dec, whole[part].W_dec)
        assert torch.equal(alone.W_enc, whole[part].W_enc)


@pytest.mark.parametrize("kind", KINDS)
def test_products_with_an_encoder_that_does_not_move_are_looked_up_to_the_same_dictionary(kind, monkeypatch):
    settings = TrainSettings(steps=60, batch_size=128, frozen="encoder")
    found = si.train(X, KINDS[kind], settings=settings)
    monkeypatch.setattr(loop, "KNOWN_BYTES", 0)
    computed = si.train(X, KINDS[kind], settings=settings)
    assert torch.allclose(found.W_dec, computed.W_dec, atol=1e-3)
    assert torch.allclose(found.b_enc, computed.b_enc, atol=1e-3)
    assert found.metrics["fve"] == pytest.approx(computed.metrics["fve"], abs=1e-4)


def test_twins_alone_take_the_quick_product_and_the_slow_one_gives_the_same_dictionary(monkeypatch):
    taken = []
    monkeypatch.setattr(sparse, "linear", lambda *a: taken.append(0) or linear(*a))
    free = si.train(X, KINDS["topk"], settings=SETTINGS)
    free.encode(X)
    assert not taken
    quick = si.train(X, KINDS["topk"], settings=SETTINGS, frozen="decoder_soft", learning_rate=0.01)
    assert len(taken) >= SETTINGS.steps
    monkeypatch.setattr(sparse, "linear", torch.nn.functional.linear)
    slow = si.train(X, KINDS["topk"], settings=SETTINGS, frozen="decoder_soft", learning_rate=0.01)
    assert torch.allclose(quick.W_dec, slow.W_dec, atol=1e-3)
    assert quick.metrics["fve"] == pytest.approx(slow.metrics["fve"], abs=1e-4)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"topk"}))
def test_of_what_is_trained_topk_alone_takes_pytorchs_product(kind, monkeypatch):
    taken = []
    monkeypatch.setattr(sparse, "linear", lambda *a: taken.append(0) or linear(*a))
    quick = si.train(X, KINDS[kind], settings=SETTINGS, learning_rate=0.01)
    trained = len(taken)
    quick.encode(X)
    assert len(taken) > trained >= SETTINGS.steps
    monkeypatch.setattr(sparse, "linear", torch.nn.functional.linear)
    slow = si.train(X, KINDS[kind], settings=SETTINGS, learning_rate=0.01)
    assert torch.allclose(quick.W_dec, slow.W_dec, atol=1e-3)
    assert quick.metrics["fve"] == pytest.approx(slow.metrics["fve"], abs=1e-4)


def test_what_is_looked_up_never_grows_past_its_bound_and_no_neighbour_changes_a_byte(monkeypatch):
    settings = TrainSettings(steps=60, batch_size=128, frozen="encoder")
    jobs = [loop.Job(si.TopK(40, k=k), settings) for k in (2, 4, 6)]
    held, look_up = [], loop._Run.look_up

    def counted(self):
        look_up(self)
        held.append((len(held), self.step.work.known.scores.nbytes))

    monkeypatch.setattr(loop._Run, "look_up", counted)
    together = loop.train_together(X, jobs)
    one = held[0][1]
    monkeypatch.setattr(loop, "KNOWN_BYTES", 2 * one)
    in_turn = loop.train_together(X, jobs)
    assert [size for _, size in held] == [one] * 6
    for job, first, second in zip(jobs, together, in_turn):
        alone = loop.train_together(X, [job])[0]
        assert torch.equal(first.W_dec, second.W_dec) and torch.equal(first.W_dec, alone.W_dec)
    runs = [loop._Run(loop._Data(loop.Source(X), None, settings, torch.device("cpu")), job) for job in jobs]
    assert [len(some) for some in loop._passes(runs)] == [2, 1]


def test_the_cone_is_the_nearest_point_and_leaves_the_rest():
    rng = torch.Generator().manual_seed(0)
    at = start(200, 6)
    rows = torch.randn(200, 6, generator=rng) * 3
    inside = cosines(rows, at) >= COSINE
    turned = rows.clone()
    back_onto_cone(turned, at)
    assert torch.equal(turned[inside], rows[inside])
    assert torch.allclose(turned.norm(dim=1), rows.norm(dim=1), rtol=1e-5)
    assert torch.allclose(
        cosines(turned, at)[~inside], torch.full((int((~inside).sum()),), COSINE), atol=1e-5
    )
    other = torch.randn(200, 6, generator=rng)
    back_onto_cone(other, at)  # some point of the cone, none of which lies nearer in angle
    assert (cosines(turned, rows) >= cosines(other, rows) - 1e-5).all()


def test_trained_directions_recover_planted_ones_where_frozen_ones_cannot():
    rng = np.random.default_rng(1)
    true = rng.normal(size=(32, 16)).astype(np.float32)
    true /= np.linalg.norm(true, axis=1, keepdims=True)
    codes = (rng.random((6000, 32)) < 0.06) * rng.gamma(3, size=(6000, 32))
    x = (codes @ true).astype(np.float32)
    settings = TrainSettings(steps=600, batch_size=256)
    recovered = {
        name: float(np.abs(sae.W_dec.numpy() @ true.T).max(0).mean())
        for name, sae in {
            "trained": si.train(x, si.TopK(64, k=3), settings=settings),
            **si.twins(x, si.TopK(64, k=3), settings=settings, frozen=("decoder",)),
        }.items()
    }
    assert recovered["trained"] > 0.9 > recovered["decoder"] + 0.1


def test_a_part_that_is_none_is_refused_by_name():
    with pytest.raises(InputError, match=r"frozen part.*decoder_soft.*got 'decoder_sofd'"):
        si.twins(X, KINDS["topk"], frozen=("decoder_sofd",), settings=SETTINGS)
