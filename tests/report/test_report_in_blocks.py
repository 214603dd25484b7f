# ruff: noqa: F811
"""Report and browser of codes on disk: the same bytes in small blocks, and never all codes at once."""

import pytest
from report_fixtures import run  # noqa: F401

import sciinterp as si
from sciinterp.codes import FeatureMatrix, load_features
from sciinterp.report import feature_facts, site_data
from sciinterp.report.browser import write_browser


def everything(folder, features, run):
    features.sae = run["sae"]
    both = {key: run[key] for key in ("hits", "candidates", "annotations", "split")}
    si.report(folder / "r.html", features=features, **both)
    write_browser(folder / "site", features=features, **both)
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_blocks_of_codes_on_disk_give_the_same_bytes(tmp_path, run, monkeypatch):
    held = everything(tmp_path / "held", run["features"], run)
    run["features"].save(tmp_path / "codes")
    features, asked = load_features(tmp_path / "codes"), []

    def spied(self, lo=0, hi=None):
        asked.append(self.stored_per_feature[lo:hi])
        return by_feature(self, lo, hi)

    by_feature, most = FeatureMatrix.by_feature, features.n_stored // 4
    monkeypatch.setattr(FeatureMatrix, "by_feature", spied)
    monkeypatch.setattr(FeatureMatrix, "codes", property(lambda self: pytest.fail("all codes were read")))
    for module in (feature_facts, site_data):
        monkeypatch.setattr(module, "BLOCK_VALUES", most)
    monkeypatch.setattr(feature_facts, "FEATURES_AT_ONCE", 7)
    assert everything(tmp_path / "stored", features, run) == held
    assert asked
    assert all(len(block) == 1 or block.sum() <= most for block in asked)
