"""Fixtures of the report's tests: one synthetic run, made once."""

from __future__ import annotations

import pytest
import synthetic_run as made

from sciinterp import split_families


@pytest.fixture(scope="session")
def run() -> dict:
    samples = made.make_samples()
    annotations = made.make_annotations(samples)
    features, sae = made.make_features(samples), made.FakeSAE()
    features.sae = sae
    return {
        "sae": sae,
        "samples": samples,
        "annotations": annotations,
        "split": split_families(samples, by="family", seed=0),
        "features": features,
        "hits": made.make_hits(samples, annotations),
        "candidates": made.make_candidates(samples, annotations),
    }


@pytest.fixture(scope="session")
def chromium():
    from webdriver import Chromium, available

    if not available():
        pytest.skip("chromium and chromedriver are not installed")
    browser = Chromium()
    browser.open("about:blank")
    browser.resize(1360, 900)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def hostile_run() -> dict:
    """The synthetic run with sixty hostile texts in every text field."""
    import pandas as pd

    texts = made.hostile()
    samples = made.make_samples(60, names=texts)
    concepts = {c: f"{texts[i]}{i}" for i, (c, *_) in enumerate([*made.REGIONS, *made.POINTS])}
    annotations = made.make_annotations(samples, concepts)
    annotations.frame["note"] = [texts[i % 60] for i in range(len(annotations.frame))]
    annotations.frame["source"] = [texts[i % 60] for i in range(len(annotations.frame))]
    annotations.concepts["name"] = [texts[-i - 1] for i in range(len(annotations.concepts))]
    hits = made.make_hits(samples, annotations)
    hits["test"] = [texts[i % 60] for i in range(len(hits))]
    hits.context["baselines"] = hits.context["baselines"].rename(columns=dict(zip(made.BASELINES, texts[:5])))
    hits["best_baseline"] = hits["best_baseline"].map(dict(zip(made.BASELINES, texts[:5])))
    hits.context["not_run"] = {t: t for t in texts}
    hits.context["settings"] = {t: t for t in texts}
    candidates = made.make_candidates(samples, annotations, n=60)
    for column in ("kind", "concept", "sample", "reason_against"):
        candidates[column] = texts
    candidates["evidence"] = pd.Series([{t: {t: [t]}} for t in texts], index=candidates.index)
    sae = made.FakeSAE()
    sae.architecture = texts[7]
    sae.identity = {"model": texts[0], "site": texts[20], "extra": {t: t for t in texts}}
    features = made.make_features(samples)
    features.identity = {"sae": {t: t for t in texts}}
    manifest = {
        "licences": {t: t for t in texts},
        "versions": {t: t for t in texts},
        "settings": {t: t for t in texts},
    }
    samples.dropped = {t: i for i, t in enumerate(texts)}
    samples.source = f"folder/{texts[1]}.fasta"
    features.sae = sae
    sae.recipe = {f"recipe {t}": t for t in texts}
    manifest["full"] = made.make_full()
    manifest["full"]["width"][0]["architecture"] = texts[0]
    return {
        "sae": sae,
        "samples": samples,
        "annotations": annotations,
        "split": split_families(samples, by="family", seed=0),
        "features": features,
        "hits": hits,
        "candidates": candidates,
        "manifest": manifest,
        "texts": texts,
    }
