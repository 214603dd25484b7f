"""A sweep reads every site in one pass, and its counts are those of an association made site by site."""

from __future__ import annotations

import pandas as pd
import pytest
from tiny_adapter import TinyAdapter, make_samples

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.sae import TrainSettings
from sciinterp.store.tables import read_tsv

SITES = ["embedding", "layers.0", "layers.1"]
ARCHITECTURE = si.TopK(n_features=16, k=2)
SETTINGS = TrainSettings(steps=12, batch_size=64, seed=3)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three letters as concepts: the embedding knows them, whatever its weights."""
    samples = make_samples([30] * 24)
    rows = [(s.id, i, i + 1, f"letter:{c}") for s in samples for i, c in enumerate(s.sequence) if c in "ACD"]
    annotations = si.Annotations(pd.DataFrame(rows, columns=["sample", "start", "end", "concept"]))
    split = si.split_families(samples, by=[str(i // 3) for i in range(24)])
    folder, model = tmp_path_factory.mktemp("sweep"), TinyAdapter()
    table = sweep(model, samples, annotations, split, folder / "sweep")
    return folder, model, samples, annotations, split, table


def sweep(model, samples, annotations, split, out, sites=SITES):
    return si.sweep_sites(
        model,
        samples,
        annotations,
        sites=sites,
        split=split,
        out=out,
        architecture=ARCHITECTURE,
        settings=SETTINGS,
    )


def test_one_pass_for_all_sites(world, tmp_path):
    _, model, samples, *_ = world
    alone = TinyAdapter()
    si.extract(alone, samples, site="layers.1", out=tmp_path / "alone")
    assert model.calls == alone.calls


def test_counts_are_those_of_each_site_alone(world):
    """Each site again, by the public functions of one site."""
    folder, model, samples, annotations, split, table = world
    assert table["site"].tolist() == SITES
    assert table["depth"].tolist() == [0.0, 0.5, 1.0]
    for row in table.itertuples():
        acts = si.load_activations(folder / "sweep" / "activations" / row.site)
        sae = si.train(
            acts, ARCHITECTURE, split=split, steps=12, batch_size=64, seed=3, out=folder / f"sae-{row.site}"
        )
        control = si.randomised_control(
            model, sae, samples, split=split, out=folder / f"control-{row.site}", seed=3
        )
        features = si.encode(sae, acts, out=folder / f"features-{row.site}")
        hits = si.associate(features, annotations, split=split, acts=acts, control=control, seed=3)
        chosen, baselines = hits[hits["selected"]], hits.context["baselines"]
        reached = baselines[baselines["f1"] >= 0.5].groupby("baseline").size()
        assert row.concepts == 3
        assert row.sae == (chosen["f1"] >= 0.5).sum()
        assert row.neurons == reached.get("neuron", 0)
        assert row.randomised == reached.get("randomised", 0)
        assert row.beat_every_baseline == (chosen["delta_low"] > 0).sum()
        of_site = table.context["hits"].query("site == @row.site")
        assert of_site["f1"].tolist() == chosen["f1"].tolist()
        expected = baselines.pivot(index="concept", columns="baseline", values="f1").loc[of_site["concept"]]
        assert of_site["neuron_f1"].tolist() == expected["neuron"].tolist()
        assert of_site["randomised_f1"].tolist() == expected["randomised"].tolist()


def test_run_again_it_resumes(world):
    folder, _, samples, annotations, split, table = world
    model = TinyAdapter()
    again = sweep(model, samples, annotations, split, folder / "sweep")
    assert model.calls == 0
    pd.testing.assert_frame_equal(pd.DataFrame(again), pd.DataFrame(table))


def test_no_such_site_is_refused_before_work(world, tmp_path):
    _, model, samples, annotations, split, _ = world
    for sites in ([], ["layers.0", "layers.9"]):
        with pytest.raises(InputError):
            sweep(model, samples, annotations, split, tmp_path / "s", sites)
    assert not (tmp_path / "s").exists()


def test_the_verb_writes_tables_and_figure(world, tmp_path, monkeypatch, capsys, defined, undefined):
    from sciinterp.cli import main

    _, _, samples, annotations, _, _ = world
    monkeypatch.setattr("sciinterp.load_model", lambda *_, **__: TinyAdapter(), raising=False)
    monkeypatch.setattr(TrainSettings, "n_steps", lambda *_: 12)
    (tmp_path / "s.fasta").write_text("".join(f">{s.id}\n{s.sequence}\n" for s in samples))
    (tmp_path / "s.tsv").write_text(
        "sample\tfamily\n" + "".join(f"{s.id}\t{i // 3}\n" for i, s in enumerate(samples))
    )
    annotations.write(tmp_path / "s.annotations.tsv")
    words = [
        "sweep-sites",
        "tiny",
        "s.fasta",
        "s.annotations.tsv",
        "--table",
        "s.tsv",
        "--site",
        "embedding",
        "--site",
        "layers.1",
        "--out",
        "out",
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["sciinterp", "--quiet", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    sites, concepts = read_tsv(tmp_path / "out/sites.tsv"), read_tsv(tmp_path / "out/concepts.tsv")
    assert sites["site"].tolist() == ["embedding", "layers.1"]
    assert undefined(tmp_path / "out/sites.tsv", "sites.tsv and concepts.tsv") == []
    of_hits = set(defined("sites.tsv and concepts.tsv")) | set(defined("hits.tsv"))
    assert set(concepts) - of_hits == set()
    assert sites["sae"].tolist() == concepts.groupby("site")["f1"].agg(lambda f1: (f1 >= 0.5).sum()).tolist()
    assert "layers.1" in (tmp_path / "out/sites.svg").read_text()
    assert "layers.1" in capsys.readouterr().out
    before = (tmp_path / "out/sites.tsv").read_bytes()
    for more, code in ([], 2), (["--overwrite"], 0):
        monkeypatch.setattr("sys.argv", ["sciinterp", "--quiet", *words, "--seed", "1", *more])
        with pytest.raises(SystemExit) as stop:
            main()
        assert (stop.value.code or 0) == code
    assert (tmp_path / "out/sites.tsv").read_bytes() != before
    assert "--overwrite" in capsys.readouterr().err
