"""associate on a small planted world: what is chosen where, and what every row must say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

import sciinterp as si
from sciinterp.annotations import Annotations
from sciinterp.association import AssociationSettings, associate, read_hits, write_h5ad, write_hits
from sciinterp.association.statistics import ScreenSettings
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError, MismatchError, ShapeError
from sciinterp.samples import Samples, Split
from sciinterp.splits import split_families

DOCUMENTED = [
    "feature", "concept", "selected", "f1_train", "threshold", "precision", "recall", "f1",
    "f1_low", "f1_high",
    "average_precision", "auroc", "prevalence", "n_positive", "n_families", "test", "q", "best_baseline",
    "best_baseline_f1", "delta_f1", "delta_low", "delta_high",
]  # fmt: skip
LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))


class World:
    """Families of homologs; feature 0 reads concept 'site', feature 1 the first ten positions ('start')."""

    def __init__(self, n_families=60, members=3, length=60, n_features=12, seed=0):
        rng = np.random.default_rng(seed)
        sequences, family, rows, cells = [], [], [], []
        for f in range(n_families):
            template = rng.choice(LETTERS, length)
            at = int(rng.integers(15, length - 6)) if f % 2 else -1
            for _ in range(members):
                one = np.where(rng.random(length) < 0.1, rng.choice(LETTERS, length), template)
                name = f"s{len(sequences)}"
                sequences.append("".join(one))
                family.append(f"fam{f:02d}")
                rows.append((name, 0, 10, "start"))
                base = (len(sequences) - 1) * length
                cells += [(base + p, 1, 1 + rng.random()) for p in range(10)]
                if at >= 0:
                    rows.append((name, at, at + 4, "site"))
                    cells += [
                        (base + p, 0, 2 + rng.random()) for p in range(at, at + 4) if rng.random() < 0.9
                    ]
        n = len(sequences) * length
        for j in range(2, n_features):
            cells += [(p, j, rng.random() + 0.1) for p in rng.choice(n, n // 20, replace=False)]
        row, column, value = map(np.array, zip(*cells))
        table = pd.DataFrame({"family": family})
        self.samples = Samples([f"s{i}" for i in range(len(sequences))], sequences, table=table)
        codes = sp.csr_array((value.astype(np.float32), (row, column)), shape=(n, n_features))
        self.features = FeatureMatrix(codes, self.samples)
        self.annotations = Annotations(pd.DataFrame(rows, columns=["sample", "start", "end", "concept"]))
        self.split = split_families(self.samples, by="family", seed=seed)
        self.acts = rng.normal(size=(n, 8)).astype(np.float32)
        self.acts[:, 3] -= 3 * self.features.column(0)

    def associate(self, **given):
        """On the test families of the split alone; folds have a file of their own."""
        given.setdefault("settings", AssociationSettings(folds=1))
        return associate(self.features, given.pop("annotations", self.annotations), split=self.split, **given)


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def hits(world):
    return world.associate(acts=world.acts, control=world.features)


def test_every_documented_column_and_one_selected_row_a_concept(hits, world):
    assert set(DOCUMENTED) <= set(hits.columns)
    chosen = hits[hits["selected"]]
    assert sorted(chosen["concept"]) == world.annotations.position_names
    best = hits.groupby("concept")["f1_train"].max()
    assert (chosen.set_index("concept")["f1_train"] == best.loc[chosen["concept"]]).all()
    assert chosen.set_index("concept")["feature"].to_dict() == {"site": 0, "start": 1}
    assert not hits.duplicated(["feature", "concept"]).any()


def test_effects_are_those_of_held_out_families_at_the_threshold_chosen_in_training(hits, world):
    position_sample = world.samples.position_sample()
    test = np.isin(position_sample, world.split.test)
    truth = world.annotations.positives(world.samples, ["site"]).toarray()[test, 0]
    for row in hits[hits["concept"] == "site"].itertuples():
        on = world.features.column(row.feature)[test] > np.float32(row.threshold)
        tp = (on & truth).sum()
        assert row.f1 == pytest.approx(2 * tp / (on.sum() + truth.sum()))
        assert row.recall == pytest.approx(tp / truth.sum())
        assert row.n_positive == truth.sum()
        assert row.prevalence == pytest.approx(truth.mean())
        assert row.f1_low <= row.f1 <= row.f1_high


def test_labels_of_held_out_families_cannot_move_the_choice(world, hits):
    train = set(np.array(world.samples.ids)[world.split.train])
    frame = world.annotations.frame
    moved = frame[frame["sample"].isin(train) | (frame["concept"] == "start")]
    other = world.associate(annotations=Annotations(moved))
    for concept in ("site", "start"):
        first, second = (t[(t["concept"] == concept) & t["selected"]].iloc[0] for t in (hits, other))
        assert (first["feature"], first["threshold"], first["f1_train"]) == (
            second["feature"],
            second["threshold"],
            second["f1_train"],
        )
    assert np.isnan(other[other["concept"] == "site"]["f1"]).all()


def test_a_position_detector_is_named_as_such(hits):
    start = hits[hits["selected"] & (hits["concept"] == "start")].iloc[0]
    assert start["f1"] > 0.9
    assert start["best_baseline"] == "position"
    assert start["explained_by"] == "position"
    assert start["delta_low"] <= 0
    assert start["test"] == "universal"
    assert np.isnan(start["q"])


def test_the_neuron_and_the_control_that_read_it_explain_the_site(hits, world):
    table = hits.context["baselines"]
    site = table[table["concept"] == "site"].set_index("baseline")
    assert site.loc["neuron", "detail"] == "neuron 3 low"
    assert site.loc["randomised", "f1"] == pytest.approx(
        hits[hits["selected"] & (hits["concept"] == "site")]["f1"].iloc[0]
    )
    assert site.loc["randomised", "delta_low"] <= 0 <= site.loc["randomised", "delta_high"]
    assert site.loc["probe", "ceiling"]
    alone = world.associate()
    row = alone[alone["selected"] & (alone["concept"] == "site")].iloc[0]
    assert row["delta_low"] > 0.3
    assert row["explained_by"] == ""
    assert row["q"] < 0.05
    reading = {"neuron", "pca", "ica", "probe", "randomised"}
    assert {*reading, "domain"} <= set(alone.context["not_run"])
    assert not reading & set(hits.context["not_run"])
    assert list(alone.columns) == list(hits.columns)


def test_the_report_says_what_the_hits_say(hits, world):
    from sciinterp.report.content import concept_rows

    only_probe = world.associate(acts=world.acts, settings=AssociationSettings(folds=1, ceilings=("probe",)))
    for table in (hits, only_probe):
        said = table[table["selected"]].set_index("concept")["explained_by"]
        rows, _ = concept_rows(table)
        tested = [row for row in rows if row["verdict"] != "not tested"]
        assert tested
        assert {r["concept"]: "" if r["verdict"] == "above" else r["verdict"] for r in tested} == {
            r["concept"]: said[r["concept"]] for r in tested
        }


def test_same_seed_same_bytes_and_files_return(hits, world, tmp_path):
    again = world.associate(acts=world.acts, control=world.features)
    write_hits(hits, tmp_path / "a")
    write_hits(again, tmp_path / "b")
    for name in ("hits.tsv", "hits.parquet", "hits.baselines.tsv", "hits.context.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    back = read_hits(tmp_path / "a")
    pd.testing.assert_frame_equal(pd.DataFrame(back), pd.DataFrame(hits), check_dtype=False)
    assert back.context["counts"]["concepts"] == 2
    with pytest.raises(Exception, match="associate first"):
        read_hits(tmp_path)


def test_h5ad_opens_and_agrees(hits, world, tmp_path):
    anndata = pytest.importorskip("anndata", reason="AnnData files")
    write_h5ad(world.features, hits, tmp_path)
    features, samples = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in ("features", "samples"))
    assert features.shape == (world.features.n_features, 2)
    row = hits[hits["selected"] & (hits["concept"] == "site")].iloc[0]
    assert features["0", "site"].X[0, 0] == pytest.approx(row["f1"])
    assert features["0", "site"].layers["auroc"][0, 0] == pytest.approx(row["auroc"])
    assert samples.shape == (len(world.samples), world.features.n_features)
    assert sp.issparse(samples.X)
    np.testing.assert_allclose(samples.X.toarray(), world.features.max_per_sample().toarray())


def test_samples_a_source_does_not_cover_are_left_out(world):
    ids = np.array(world.samples.ids)
    frame = world.annotations.frame.assign(source="partial")
    covered = [i for i in ids if world.samples.table["family"][i] != "fam01"]
    kept = frame[frame["sample"].isin(covered)]
    partial = world.associate(annotations=Annotations(kept, coverage={"partial": covered}))
    site = partial[partial["concept"] == "site"].iloc[0]
    test = np.setdiff1d(world.split.test, np.flatnonzero(~np.isin(ids, covered)))
    truth = Annotations(kept).positives(world.samples, ["site"]).toarray()[:, 0]
    inside = np.isin(world.samples.position_sample(), test)
    assert site["prevalence"] == pytest.approx(truth[inside].mean())


def test_what_cannot_be_associated_says_so(world):
    nowhere = Annotations(pd.DataFrame({"sample": ["x"], "start": [0], "end": [1], "concept": ["c"]}))
    with pytest.raises(InputError, match="no annotation lies on any sample"):
        world.associate(annotations=nowhere)
    short = Split(*(np.arange(1),) * 3, family=np.zeros(3, np.int64), family_names=("a",))
    with pytest.raises(ShapeError, match="split"):
        associate(world.features, world.annotations, split=short)
    few = world.associate(settings=AssociationSettings(screen=ScreenSettings(min_families=100)))
    assert set(few[few["concept"] == "site"]["test"]) == {"too few families"}
    assert few[few["concept"] == "site"]["q"].isna().all()


def test_rows_of_other_samples_are_counted_and_said(world, caplog, tmp_path, undrawn):
    """A few misspelt names must not pass for absence."""
    frame = world.annotations.frame
    renamed = Annotations(frame.assign(sample=[f"x{s}" if s in ("s8", "s9") else s for s in frame["sample"]]))
    n = int(frame["sample"].isin(["s8", "s9"]).sum())
    hits = world.associate(annotations=renamed, settings=AssociationSettings(folds=1))
    said = hits.context["caveats"]["annotations"]
    assert said.startswith(f"{n} of {len(frame):,} rows of annotations are of 2 samples")
    assert said in caplog.text
    write_hits(hits, tmp_path)
    assert read_hits(tmp_path).context["caveats"] == hits.context["caveats"]
    page = si.report(tmp_path / "r.html", features=world.features, hits=hits).read_text()
    assert f"{n} of {len(frame):,} rows of annotations" in page


@pytest.mark.parametrize("given", ["another", "none", "same"])
def test_families_that_trained_the_sae_are_not_called_held_out(world, caplog, tmp_path, given, undrawn):
    splits = {
        "another": split_families(world.samples, by="family", seed=1),
        "none": None,
        "same": world.split,
    }
    split = splits[given]
    trained = {"samples": world.samples.digest}
    if split is not None:
        trained |= {"by": split.by, "seed": split.seed, "train": split.training_digest}
    features = FeatureMatrix(world.features.codes, world.samples, identity={"sae": {"trained_on": trained}})
    hits = associate(features, world.annotations, split=world.split, settings=AssociationSettings(folds=1))
    page = si.report(tmp_path / "r.html", features=features, hits=hits).read_text()
    claimed = "tested on families that the features were not trained on" in page
    assert claimed == (given == "same")
    assert ("held_out" in hits.context["caveats"]) == (given != "same")
    words = {"another": "may have trained it", "none": "held out here trained it", "same": "no such caveat"}[
        given
    ]
    assert (words in caplog.text) == (words in page) == (given != "same")


def test_a_control_that_is_not_randomised_is_refused(world):
    for seed, refused in ((None, True), (0, False)):
        identity = {"sae": {"model": "antiberty", "randomised_seed": seed}}
        control = FeatureMatrix(world.features.codes, world.samples, identity=identity)
        if refused:
            with pytest.raises(MismatchError, match="not of a randomised model"):
                world.associate(control=control)
            with pytest.raises(MismatchError, match="not of a randomised model"):
                si.discover(
                    world.features, world.annotations, pd.DataFrame(), split=world.split, control=control
                )
        else:
            assert "randomised" in set(
                world.associate(control=control, settings=AssociationSettings(folds=1)).context["baselines"][
                    "baseline"
                ]
            )


def test_samples_without_sequences_run_what_they_can(world):
    bare = pd.DataFrame({"id": world.samples.ids, "length": world.samples.lengths})
    found = associate(FeatureMatrix(world.features.codes, bare), world.annotations, split=world.split)
    assert {"identity", "composition", "kmer"} <= set(found.context["not_run"])
    assert {"position", "everything"} <= set(found.context["baselines"]["baseline"])


def test_ceilings_are_beside_and_can_be_made_rivals(world, hits):
    table = hits.context["baselines"]
    assert set(table[table["ceiling"]]["baseline"]) == {"window", "kmer", "probe", "ica"}
    assert not set(hits["best_baseline"]) & {"window", "kmer", "probe", "ica"}
    strict = world.associate(acts=world.acts, settings=AssociationSettings(folds=1, ceilings=()))
    row = strict[strict["selected"] & (strict["concept"] == "site")].iloc[0]
    every = strict.context["baselines"]
    assert row["best_baseline_f1"] == every[every["concept"] == "site"]["f1"].max()


def test_what_stands_beside_has_columns_of_its_own(hits):
    table = hits.context["baselines"].set_index(["concept", "baseline"])
    for row in hits[hits["selected"]].itertuples():
        for name in ("ica", "kmer", "window", "probe"):
            other = table.loc[row.concept, name]
            assert getattr(row, f"{name}_f1") == pytest.approx(other["f1"])
            assert getattr(row, f"{name}_delta_low") == pytest.approx(other["delta_low"], nan_ok=True)
            assert other["delta_f1"] == pytest.approx(row.f1 - other["f1"])
    assert hits["domain_f1"].isna().all()


def test_a_hit_says_presence_and_place_and_its_q_is_of_the_weaker(hits, world):
    site = hits[hits["selected"] & (hits["concept"] == "site")].iloc[0]
    assert site["place_fold"] > 3
    assert max(site["q_presence"], site["q_place"]) <= site["q"] < 0.01
    start = hits[hits["selected"] & (hits["concept"] == "start")].iloc[0]
    assert start["q_place"] < 1e-6
    assert np.isnan(start["q_presence"])
    tested = hits[hits["q"].notna()]
    assert len(tested) > 10
    assert (tested["q"] >= tested[["q_presence", "q_place"]].max(axis=1) * (1 - 1e-6)).all()
    assert "whichever is weaker" in hits.context["counts"]["screen"]["q_says"]
    assert hits.context["counts"]["screen"]["places"] == 2 * world.features.n_features


def test_facts_about_whole_samples_are_counted_and_left_to_enrichment(world):
    fact = pd.DataFrame({"sample": list(world.samples.ids), "start": -1, "end": -1, "concept": "fact"})
    both = Annotations(pd.concat([world.annotations.frame, fact], ignore_index=True))
    found = world.associate(annotations=both)
    assert found.context["counts"]["facts_about_samples"] == 1
    assert "fact" not in set(found["concept"])


def test_all_pairs_on_request_are_measured_a_few_at_a_time(world, monkeypatch):
    settings = AssociationSettings(folds=1, strongest=None)
    whole = world.associate(settings=settings)
    monkeypatch.setattr("sciinterp.budget.BLOCK_BYTES", 80)
    pd.testing.assert_frame_equal(pd.DataFrame(world.associate(settings=settings)), pd.DataFrame(whole))
    fires = np.flatnonzero(world.features.density > 0)
    assert len(whole) > 0.5 * len(fires)
    assert whole["selected"].sum() == whole["concept"].nunique()


def test_instances_are_recalled_as_a_whole(world, hits):
    site = hits[hits["selected"] & (hits["concept"] == "site")].iloc[0]
    frame = world.annotations.frame
    test = {world.samples.ids[i] for i in world.split.test}
    spans = frame[(frame["concept"] == "site") & frame["sample"].isin(test)]
    on = world.features.column(int(site["feature"])) > np.float32(site["threshold"])
    touched, found = 0, 0
    for sample, start, end in zip(spans["sample"], spans["start"], spans["end"]):
        here = np.concatenate([[0], on[world.features.rows(sample)], [0]]).astype(int)
        runs = zip(np.flatnonzero(np.diff(here) == 1), np.flatnonzero(np.diff(here) == -1))
        iou = [max(0, min(b, end) - max(a, start)) / (max(b, end) - min(a, start)) for a, b in runs]
        touched += any(x > 0 for x in iou)
        found += any(x >= 0.5 for x in iou)
    assert site["instance_recall"] == pytest.approx(touched / len(spans))
    assert site["instance_recall_iou"] == pytest.approx(found / len(spans))
    assert 0 < site["instance_recall_iou"] <= site["instance_recall"] <= 1


def test_features_of_the_same_density_know_nothing(hits):
    table = hits.context["baselines"]
    assert (table[table["baseline"] == "density"].set_index("concept").loc["site", "f1"]) < 0.1


@pytest.mark.parametrize("name", ["hits.tsv", "hits.context.json", "hits.baselines.tsv"])
def test_hits_that_were_changed_after_the_ledger_named_them_are_not_read(tmp_path, name):
    from sciinterp.association.files import read_hits
    from sciinterp.errors import StoreError
    from sciinterp.store.ledger import recorded

    for file in ("hits.tsv", "hits.context.json", "hits.baselines.tsv"):
        (tmp_path / file).write_text("{}\n" if file.endswith("json") else "concept\tfeature\nx\t1\n")
    with recorded("associate", tmp_path):
        pass
    assert len(read_hits(tmp_path)) == 1
    (tmp_path / name).write_text((tmp_path / name).read_text() + " ")
    with pytest.raises(StoreError, match=f"a file is damaged.*{name}"):
        read_hits(tmp_path)


@pytest.mark.parametrize("active", [(), ("s3",)])
def test_features_that_are_silent_in_training_are_hits_of_nothing(active, undrawn) -> None:
    samples = Samples([f"s{i}" for i in range(4)], ["MK"] * 4)
    split = split_families(samples, by=list("wxyz"))
    codes = np.zeros((8, 2), np.float32)
    for name in active:
        codes[2 * samples.index(name)] = 1
    rows = pd.DataFrame({"sample": samples.ids, "start": 0, "end": 1, "concept": "x"})
    hits = associate(FeatureMatrix(sp.csr_array(codes), samples), Annotations(rows), split=split)
    assert not (hits["f1"] > 0).any()


def test_hits_do_not_depend_on_the_number_of_threads(world):
    """Nor do the components, independent components and probe that stand beside."""
    acts = np.random.default_rng(0).laplace(size=(world.samples.n_positions, 96)).astype(np.float32)
    found = []
    for n in (1, 2):
        with threadpool_limits(n, user_api="blas"):
            found.append(world.associate(acts=acts))
    pd.testing.assert_frame_equal(*map(pd.DataFrame, found), check_exact=True)
    pd.testing.assert_frame_equal(*(hits.context["baselines"] for hits in found), check_exact=True)
    assert {"pca", "ica", "probe"} <= set(found[0].context["baselines"]["baseline"])
