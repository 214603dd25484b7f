"""The fit check names the site of an SAE, and none for an SAE of another model, scale or make."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import sciinterp as si
from sciinterp.association import AssociationSettings
from sciinterp.errors import InputError, MismatchError
from sciinterp.fit import FitSettings
from sciinterp.provenance import LEAST_FVE, Origin, unfit
from sciinterp.report.content import sae_summary
from sciinterp.sae import TrainSettings
from sciinterp.sae.base import sae_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "activations"))
SITES = ("embedding", "layers.0", "layers.1")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    from tiny_adapter import TinyAdapter, make_samples

    model, samples = TinyAdapter(width=48), make_samples([40] * 60)
    return model, samples, {s: trained(model, samples, s, tmp_path_factory.mktemp(s)) for s in SITES}


def trained(model, samples, site, out):
    acts, how = (
        si.extract(model, samples, site=site, out=out / "acts"),
        TrainSettings(steps=80, batch_size=256),
    )
    return si.train(acts, si.TopK(n_features=128, k=4), settings=how, seed=0, out=out / "sae")


def stranger(sae, **changed):
    """The same weights, of unknown origin and without measures, as a published file has them."""
    return sae_of(replace(sae.weights, **changed))


@pytest.mark.parametrize("site", SITES)
def test_the_right_site_is_named_and_its_origin_lets_the_sae_be_used(small, site, tmp_path) -> None:
    model, samples, saes = small
    sae, acts = stranger(saes[site]), si.extract(model, samples, site=site, out=tmp_path / site)
    with pytest.raises(MismatchError, match=r"si\.fit_check"):
        sae.check(model)
    with pytest.raises(MismatchError, match=r"si\.fit_check"):
        si.encode(sae, acts, out=tmp_path / "codes")
    fit = si.fit_check(sae, model, samples)
    assert fit.site == site and fit.fits and fit.origin.how == sae.origin.how == "measured"
    assert (fit.table["why_not"] == "").sum() == 1 and set(fit.table.index) == set(SITES)
    sae.check(model)
    codes = si.encode(sae, acts, out=tmp_path / "codes")
    assert codes.origin.model == "tiny" and codes.origin.site == site
    other = next(s for s in SITES if s != site)
    with pytest.raises(MismatchError, match="site"):
        si.encode(sae, si.extract(model, samples, site=other, out=tmp_path / other), out=tmp_path / "none")


def test_a_verdict_is_kept_with_the_sae(small, tmp_path) -> None:
    model, samples, saes = small
    saved = stranger(saes["layers.0"]).save(tmp_path / "sae")
    fit = si.fit_check(si.load_sae(saved), model, samples)
    sae = si.load_sae(saved, origin=fit)
    assert sae.origin.how == "measured" and sae.origin.site == "layers.0"
    again = si.load_sae(sae.save(tmp_path / "again"), model=model)
    assert again.origin.how == "measured" and again.origin.weights_sha256 == model.origin.weights_sha256


def test_what_fits_nowhere_is_refused(small, tmp_path) -> None:
    model, samples, saes = small
    sae = saes["layers.1"]
    turn = torch.linalg.qr(torch.randn(48, 48, generator=torch.Generator().manual_seed(0)))[0]
    w = sae.weights
    randomised = model.randomised(0)
    cases = {
        "of another model of equal width": stranger(
            sae, W_enc=turn @ w.W_enc, W_dec=w.W_dec @ turn.T, b_dec=w.b_dec @ turn.T
        ),
        "of the randomised model": stranger(trained(randomised, samples, "layers.1", tmp_path)),
        "of unscaled activations": stranger(sae, W_enc=w.W_enc / 8, W_dec=w.W_dec * 8, b_dec=w.b_dec * 8),
        "of random directions": stranger(
            sae, W_enc=torch.randn_like(w.W_enc), W_dec=torch.randn_like(w.W_dec)
        ),
    }
    for name, other in cases.items():
        fit = si.fit_check(other, model, samples)
        assert not fit.fits and fit.site is None and not other.origin.named, (name, fit.table)
        assert "fits no site of tiny" in fit.reason
        with pytest.raises(MismatchError, match=r"si\.fit_check"):
            other.check(model)


def standardised(rows: torch.Tensor) -> torch.Tensor:
    return (rows - rows.mean(1, keepdim=True)) / (rows.std(1, keepdim=True) + 1e-5)


@pytest.mark.parametrize("meant", ["layer_norm", "none"])
def test_raw_activations_where_standardised_were_meant(small, meant, tmp_path) -> None:
    """The same arrays with the rows as they were in training, and not: the site is right, the codes are not."""
    model, samples, saes = small
    acts = si.extract(model, samples, site="layers.1", out=tmp_path / "acts")
    rows = standardised(torch.from_numpy(np.asarray(acts.read(0, acts.n_tokens))))
    how = TrainSettings(steps=80, batch_size=256)
    made = {
        "layer_norm": lambda: si.train(rows.numpy(), si.TopK(n_features=128, k=4), settings=how, seed=0),
        "none": lambda: saes["layers.1"],
    }
    sae, other = made[meant](), {"layer_norm": "none", "none": "layer_norm"}[meant]
    assert si.fit_check(stranger(sae, input_norm=meant), model, samples).site == "layers.1"
    wrong = si.fit_check(stranger(sae, input_norm=other), model, samples)
    words = {"layer_norm": "standardised rows", "none": "rows as they are"}[meant]
    assert not wrong.fits and "it was trained on such" in wrong.reason and words in wrong.reason


def test_before_and_after_the_final_norm(tmp_path) -> None:
    """A model whose last norm is a site of its own: the site that was read is named, not its other side."""
    pytest.importorskip("esm", reason="the extra 'esm' is not installed")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
    from test_fair_esm import esm2
    from tiny_adapter import make_samples

    torch.manual_seed(0)
    module = esm2(2, 48, 4)
    with torch.no_grad():
        module.embed_tokens.weight.mul_(20)
    model, samples = si.load_model("esm2", weights=module), make_samples([40] * 60)
    pair = ("layers.1", "norm") if "norm" in model.sites().index else tuple(model.sites().index[-2:])
    for site in pair:
        sae = trained(model, samples, site, tmp_path / site)
        fit = si.fit_check(stranger(sae), model, samples)
        assert fit.site == site, fit.table


def test_unknown_origin_is_refused_everywhere_at_equal_width(small, tmp_path) -> None:
    """Regression: a foreign SAE on the wrong layer passed in silence. Nothing passes because the width is right."""
    model, samples, saes = small
    sae = si.load_sae(stranger(saes["layers.1"]).save(tmp_path / "theirs"))
    assert not sae.origin.named and sae.d_in == model.sites()["width"].iloc[0]
    acts = si.extract(model, samples, site="layers.0", out=tmp_path / "acts")
    codes = sae.encode_scipy(acts.read(0, acts.n_tokens))
    features = si.FeatureMatrix(codes, samples, sae=sae)
    spots = pd.DataFrame({"sample": samples.ids, "start": 1, "end": 4, "concept": "a"})
    annotations, split = si.Annotations(spots), si.split_families(samples, by="composition", seed=0)
    attempts = {
        "check, a model": lambda: sae.check(model),
        "check, activations": lambda: sae.check(acts),
        "load, a model": lambda: si.load_sae(tmp_path / "theirs", model=model),
        "encode activations": lambda: si.encode(sae, acts),
        "encode a model": lambda: si.encode(sae, model=model, samples=samples, out=tmp_path / "codes"),
        "associate": lambda: si.associate(features, annotations, split=split, acts=acts),
        "ablate": lambda: si.ablate(model, sae, samples, features=[0]),
    }
    for name, attempt in attempts.items():
        with pytest.raises(MismatchError, match=r"si\.fit_check") as error:
            attempt()
        assert "\n" not in str(error.value), name
    assert not (tmp_path / "codes" / "manifest.json").exists()
    fit = si.fit_check(sae, model, samples)
    assert fit.site == "layers.1" and sae.origin.site == "layers.1"
    with pytest.raises(MismatchError, match="site"):
        si.encode(sae, acts)


def test_promises_are_held_against_what_is_measured(small) -> None:
    model, samples, saes = small
    sae = stranger(saes["layers.0"])
    sae.metrics = {"fve": 0.99, "l0": 4.0}
    strict = si.fit_check(sae, model, samples, settings=FitSettings(promise=-0.5))
    assert not strict.fits and "is promised" in strict.reason and strict.promised == {"fve": 0.99, "l0": 4.0}
    sae.origin = Origin(model="tiny", site="layers.1")
    lying = si.fit_check(sae, model, samples)
    assert not lying.fits and "says otherwise (site: it says layers.1, measured layers.0)" in lying.reason
    assert sae.origin.site == "layers.1"


def test_no_site_of_the_width_and_too_few_tokens(small) -> None:
    model, samples, saes = small
    from tiny_adapter import TinyAdapter

    with pytest.raises(InputError, match="no site of the SAE's width"):
        si.fit_check(stranger(saes["layers.0"]), TinyAdapter(width=8), samples)
    with pytest.raises(InputError, match="too few tokens"):
        si.fit_check(stranger(saes["layers.0"]), model, samples[:1])


@pytest.mark.slow
def test_eight_layers_of_antiberty(root, tmp_path) -> None:
    """One small SAE a layer: 8 of 8 named, 56 of 56 wrong pairs refused, and what is of something else."""
    model = si.load_model("antiberty")
    samples = si.read_samples(root / "data/antibodies.fasta", table=root / "data/antibodies.tsv")
    train, test = samples[::16], samples[5::16]
    sites = [f"layers.{i}" for i in range(8)]
    acts = si.extract(model, train, site=sites, out=tmp_path / "acts")
    how, few = TrainSettings(steps=150, batch_size=1024), FitSettings(n_tokens=2048)
    saes = {
        s: si.train(acts[s], si.TopK(n_features=512, k=32), settings=how, seed=0, out=tmp_path / s)
        for s in sites
    }
    right, refused = 0, 0
    for site, sae in saes.items():
        fit = si.fit_check(stranger(sae), model, test, settings=few)
        print(site, fit.reason, fit.table.drop(columns="why_not").round(3).to_string(), sep="\n")
        right += fit.site == site
        refused += int((fit.table["why_not"].drop(site).loc[[s for s in sites if s != site]] != "").sum())
    print(f"{right} of 8 right, {refused} of 56 wrong pairs refused")
    w = saes["layers.4"].weights
    randomised = si.extract(model.randomised(0), train, site="layers.4", out=tmp_path / "randomised")
    unirep = si.load_model("unirep-64")
    states = si.extract(unirep, train, site=unirep.sites().index[-1], out=tmp_path / "unirep")
    rows = np.asarray(states.read(0, states.n_tokens))
    turn = np.random.default_rng(0).normal(size=(rows.shape[1], 512)) / np.sqrt(rows.shape[1])
    part = si.activations_from_array(
        (rows @ turn).astype(np.float32), train, out=tmp_path / "turned", model="unirep", site="turned"
    )
    rows = torch.from_numpy(np.asarray(acts["layers.4"].read(0, acts["layers.4"].n_tokens)))
    normed = standardised(rows).numpy()
    others = {
        "randomised": si.train(
            randomised, si.TopK(n_features=512, k=32), settings=how, seed=0, out=tmp_path / "r"
        ),
        "unirep": si.train(part, si.TopK(n_features=512, k=32), settings=how, seed=0, out=tmp_path / "u"),
        "unscaled": stranger(saes["layers.4"], W_enc=w.W_enc / 10, W_dec=w.W_dec * 10, b_dec=w.b_dec * 10),
    }
    # This model ends its layers with a norm: rows are standardised to a percent, so nothing tells the two apart.
    assert abs(rows.std(dim=1) - 1).max() < 0.02
    of_normed = si.train(normed, si.TopK(n_features=512, k=32), settings=how, seed=0, out=tmp_path / "n")
    for given in ({"input_norm": "layer_norm"}, {}):
        assert si.fit_check(stranger(of_normed, **given), model, test, settings=few).site == "layers.4"
    for name, sae in others.items():
        fit = si.fit_check(stranger(sae), model, test, settings=few)
        print(name, fit.reason)
        assert not fit.fits, name
    assert right == 8 and refused == 56


def test_an_sae_that_nobody_measured_is_measured_where_it_is_used(small, tmp_path, caplog) -> None:
    """A random dictionary with a stated origin encoded, was associated and reported, its variance a dash."""
    model, samples, saes = small
    acts = si.extract(model, samples, site="layers.1", out=tmp_path / "acts")
    good, noise = stranger(saes["layers.1"]), torch.randn(48, 128, generator=torch.Generator().manual_seed(0))
    bad = sae_of(replace(good.weights, W_enc=noise, W_dec=noise.T.contiguous()))
    for sae in (good, bad):
        sae.origin = saes["layers.1"].origin
    rows = torch.from_numpy(np.asarray(acts.read(0, acts.n_tokens)))
    measured = {}
    for name, sae in (("good", good), ("bad", bad)):
        caplog.clear()
        codes = si.encode(sae, acts, out=tmp_path / name / "features")
        # all 2,400 tokens: what is explained of the variance, by its definition
        error = (rows - sae.reconstruct(rows)).double().square().sum()
        left = error / (rows - rows.mean(0)).double().square().sum()
        assert codes.measured["fve"] == pytest.approx(1 - float(left), abs=1e-4)
        assert codes.measured["n_tokens"] == acts.n_tokens == 2400
        assert si.load_features(tmp_path / name / "features").measured == codes.measured
        assert si.encode(sae, acts).measured == codes.measured == codes.subset(samples=[0]).measured
        assert ("does not reconstruct these activations" in caplog.text) == (name == "bad")
        measured[name] = codes.measured["fve"]
    assert measured["good"] > 0.4 > 0 > measured["bad"]
    assert si.encode(saes["layers.1"], acts).measured == {}  # its training measured it
    spots = pd.DataFrame({"sample": samples.ids, "start": 1, "end": 4, "concept": "a"})
    split = si.split_families(samples, by="composition", seed=0)
    settings = AssociationSettings(folds=1, set_draws=0)
    for name in ("good", "bad"):
        codes = si.load_features(tmp_path / name / "features")
        hits = si.associate(codes, si.Annotations(spots), split=split, settings=settings)
        assert ("does not reconstruct" in hits.context["caveats"].get("fit", "")) == (name == "bad")
        shown = sae_summary(None, codes)
        assert (shown["metrics"]["fve"], shown["measured_on"]) == (measured[name], "tokens of these samples")


def test_what_is_said_of_a_dictionary_begins_at_a_bound() -> None:
    assert unfit({"fve": LEAST_FVE, "n_tokens": 9}) == unfit({}) == ""
    assert "explains 0.399 of the variance of 9 " in unfit({"fve": 0.399, "n_tokens": 9})
    assert FitSettings().least_fve == LEAST_FVE
