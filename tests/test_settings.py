"""Settings as TOML: what is written is read back, and a wrong key, type or name is one line that says where."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import sciinterp as si
from sciinterp.activations import ExtractSettings
from sciinterp.association import AssociationSettings
from sciinterp.config import (
    DataSettings,
    ModelSettings,
    RunConfig,
    SplitSettings,
    from_mapping,
    read_config,
    template,
)
from sciinterp.discovery import DiscoverySettings
from sciinterp.errors import FormatError, InputError
from sciinterp.sae import ARCHITECTURES, TrainSettings
from sciinterp.settings import build, describe, read_toml, to_toml

RECORDS = [
    DataSettings("a.fasta", "b.tsv"),
    ModelSettings("antiberty"),
    SplitSettings(),
    ExtractSettings(),
    TrainSettings(),
    AssociationSettings(),
    DiscoverySettings(),
]
NEEDED = {"data": {"samples": "s.fa", "annotations": "a.tsv"}, "model": {"name": "antiberty"}}


def parse(text: str, folder: Path) -> dict:
    path = folder / "x.toml"
    path.write_text(text)
    return read_toml(path)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_what_is_written_is_read_back(record, tmp_path: Path) -> None:
    assert build(type(record), parse(to_toml(record, "x"), tmp_path)["x"]) == record


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_every_key_says_what_it_is_for(record) -> None:
    said = describe(type(record))
    silent = [
        f.name for f in fields(record) if not said.get(f.name) and not is_dataclass(getattr(record, f.name))
    ]
    assert not silent


def test_the_template_is_a_configuration_and_changes_no_default(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(template("my.toml", model="antiberty", samples="s.fa", annotations="a.tsv"))
    config, out = read_config(path)
    assert out == tmp_path / "runs/mine"
    plain, _ = from_mapping(NEEDED, base=tmp_path)
    assert config == plain


def test_every_default_of_the_template_can_be_uncommented(tmp_path: Path) -> None:
    text = template("my.toml")
    text = re.sub(r"^# (\w+ = .+)$", r"\1", text, flags=re.M)
    path = tmp_path / "all.toml"
    path.write_text(text)
    config, _ = read_config(path)
    assert config.sae == RunConfig(config.data, config.model).sae
    assert config.associate == AssociationSettings()
    assert config.discover == DiscoverySettings()


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("train", "step", 3, ["[train]", "'steps'", "'step'"]),
        ("train", "steps", "many", ["train.steps", "whole number", "many"]),
        ("train", "steps", True, ["train.steps", "True"]),
        ("train", "dead_window", -1.0, ["[train]", "dead_window", "> 0"]),
        ("sae", "architecture", "topkk", ["[sae]", "'topk'"]),
        ("sae", "kk", 3, ["[sae]", "'k'"]),
        ("sae", "k", 4096, ["[sae]", "k"]),
        ("associate", "levl", 0.9, ["[associate]", "'level'"]),
        ("associate", "screen", 3, ["associate.screen"]),
        ("discover", "n_fold", 3, ["[discover]", "'n_folds'"]),
        ("data", "unreadable", "drop", ["[data]", "'stop'"]),
        ("data", "sampels", "x", ["[data]", "'samples'"]),
        ("model", "sites", "layers.4", ["[model]", "'site'"]),
        ("split", "fractions", [1, 2], ["split.fractions"]),
        ("extract", "nonfinite", "ignore", ["extract.nonfinite", "'skip'", "'ignore'"]),
    ],
)
def test_a_wrong_key_or_value_names_section_key_and_what_is_right(section, key, value, words) -> None:
    values = {**NEEDED, section: {**NEEDED.get(section, {}), key: value}}
    with pytest.raises(InputError) as caught:
        from_mapping(values)
    said = str(caught.value)
    assert "\n" not in said
    for word in words:
        assert word in said, said


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_can_be_named(name: str) -> None:
    config, _ = from_mapping({**NEEDED, "sae": {"architecture": name, "n_features": 64}})
    assert type(config.sae) is ARCHITECTURES[name]
    assert config.sae.n_features == 64


def test_an_unknown_section_names_the_nearest() -> None:
    with pytest.raises(InputError, match="'associate'"):
        from_mapping({**NEEDED, "asociate": {}})


@pytest.mark.parametrize("missing", ["data", "model"])
def test_a_missing_section_is_named(missing: str) -> None:
    with pytest.raises(InputError, match=rf"\[{missing}\]"):
        from_mapping({k: v for k, v in NEEDED.items() if k != missing})


def test_a_missing_key_is_named() -> None:
    with pytest.raises(InputError, match="annotations"):
        from_mapping({**NEEDED, "data": {"samples": "x"}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a = " + b"[" * 100_000, "not TOML"),
        (b"a = " + b"9" * 10_000, "not TOML"),
        (b"\xff\xfe", "not TOML"),
        (b"# " + b"x" * (1 << 20), "too large"),
    ],
)
def test_hostile_toml_is_one_line(text: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(text)
    with pytest.raises(FormatError, match=said) as error:
        read_toml(tmp_path / "x.toml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["steps", "seed", "batch_size"])
@pytest.mark.parametrize("value", [2**63, -(2**70)])
def test_a_number_that_nothing_holds_is_refused(key: str, value: int) -> None:
    with pytest.raises(InputError, match="cannot be"):
        build(TrainSettings, {key: value})
    with pytest.raises(InputError, match="seed from 0"):
        build(TrainSettings, {"seed": -1})


def test_what_is_not_toml_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="line 2"):
        parse("a = 1\nb = = 2\n", tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_toml(tmp_path / "none.toml")


def test_paths_are_relative_to_the_file_and_options_to_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text('[data]\nsamples = "s.fa"\nannotations = "a.tsv"\n[model]\nname = "antiberty"\n')
    config, out = read_config(
        path, overrides={"data.samples": "other.fa", "seed": 3}, assignments=["sae.k=16"]
    )
    assert config.data.samples == str(Path("other.fa").absolute())
    assert config.data.annotations == str(tmp_path / "a.tsv")
    assert (config.seed, config.train.seed, config.sae.as_dict()["k"], out) == (3, 3, 16, None)


def test_a_record_of_a_run_holds_no_folder(tmp_path: Path) -> None:
    config, _ = from_mapping({**NEEDED, "seed": 1}, base=tmp_path)
    assert str(tmp_path) not in str(config.record())


# What is given in Python -> what is said; None where it is taken.
GIVEN = [
    (TrainSettings, {"seed": -1}, "seed from 0, got -1"), (TrainSettings, {"seed": 1.5}, "expected a whole number, got 1.5"),
    (TrainSettings, {"steps": "5"}, "another type, TrainSettings steps"), (TrainSettings, {"batch_size": 2.5}, "whole number"),
    (TrainSettings, {"clip": float("nan")}, "expected a number, got nan"), (TrainSettings, {"seed": np.int64(3)}, None),
    (TrainSettings, {"device": torch.device("cpu")}, None), (TrainSettings, {"epochs": 2}, None),
    (ExtractSettings, {"shard_tokens": "1"}, "ExtractSettings shard_tokens"), (ExtractSettings, {"overlap": np.int32(8)}, None),
    (AssociationSettings, {"folds": "5"}, "AssociationSettings folds"), (AssociationSettings, {"level": 95}, "between 0 and 1, got 95"),
    (DiscoverySettings, {"seed": "1"}, "DiscoverySettings seed"),
    (AssociationSettings, {"sets": np.array([1, 2])}, None), (AssociationSettings, {"sets": "12"}, "AssociationSettings sets"),
    (si.TopK, {"n_features": 8, "k": "3"}, "another type, TopK k: expected a whole number, got '3'"),
    (si.TopK, {"n_features": 8.5, "k": 3}, "TopK n_features"), (si.TopK, {"n_features": np.int64(8), "k": np.int64(3)}, None),
    (si.Matryoshka, {"n_features": 8, "k": 3, "prefixes": [4, 8]}, None), (si.TopK, {"n_features": 8, "k": True}, "TopK k"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "given", "said"), GIVEN)
def test_what_is_given_in_python_is_checked_as_what_is_written(made, given, said) -> None:
    if said:
        with pytest.raises(InputError, match=said) as error:
            made(**given)
        assert "\n" not in str(error.value)
        return
    for name, value in given.items():
        kept = getattr(made(**given), name)
        assert type(kept) in (int, float, str, tuple) and kept == (
            tuple(value) if isinstance(value, (list, np.ndarray)) else type(kept)(value)
        )


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None])
def test_a_seed_that_is_none_is_named_by_every_verb(seed) -> None:
    samples = si.Samples(list("abcdef"), ["MK"] * 6)
    codes = si.FeatureMatrix(np.ones((12, 2), np.float32), samples)
    rows = si.Annotations(pd.DataFrame({"sample": ["a"], "start": [0], "end": [1], "concept": ["x"]}))
    split = si.split_families(samples, by=list("abcdef"), seed=np.int64(0))
    for call in (
        lambda: si.split_families(samples, by=list("abcdef"), seed=seed),
        lambda: si.associate(codes, rows, split=split, seed=seed),
        lambda: si.train(np.ones((9, 4), np.float32), si.TopK(n_features=8, k=2), seed=seed),
    ):
        with pytest.raises(InputError, match=r"seed.*expected a whole number"):
            call()


def test_arguments_of_another_kind_are_named_with_what_makes_them(tmp_path: Path) -> None:
    samples = si.Samples(list("abcdef"), ["MK"] * 6)
    codes = si.FeatureMatrix(np.ones((12, 2), np.float32), samples)
    rows = si.Annotations(pd.DataFrame({"sample": ["a"], "start": [0], "end": [1], "concept": ["x"]}))
    split, labels = si.split_families(samples, by=list("abcdef")), list("abcdef")
    for call, said in (
        (
            lambda: si.associate(codes, "a.tsv", split=split),
            "annotations=: expected Annotations, got 'a.tsv'.*read_annotations",
        ),
        (lambda: si.associate(codes, rows.frame, split=split), "got DataFrame.*Annotations"),
        (
            lambda: si.associate(rows, codes, split=split),
            "features=: expected FeatureMatrix, got Annotations.*encode",
        ),
        (
            lambda: si.associate(codes, rows, split="family"),
            "split=: expected Split, got 'family'.*split_families",
        ),
        (lambda: si.discover(codes, "a.tsv", None, split=split), "annotations=: expected Annotations"),
        (
            lambda: si.encode(None, np.ones((12, 4)), samples=samples),
            "sae=: expected SAE, got None.*load_sae",
        ),
        (lambda: si.split_families("a.fasta", by=labels), "samples=: expected Samples.*read_samples"),
        (lambda: si.split_families(samples, by=labels, fractions="abc"), "impossible fractions"),
        (lambda: si.activations_from_array(np.ones((12, 4)), samples, out=5), "out=: expected a path, got 5"),
    ):
        with pytest.raises(InputError, match=said):
            call()
    for read in (si.read_samples, si.read_annotations, si.read_variants, si.read_assay, si.load_sae, si.load_activations,
                 si.load_features, si.read_hits):  # fmt: skip
        for path in (None, 5, b"x"):
            with pytest.raises(InputError, match="expected a path"):
                read(path)
    (tmp_path / "x.bedgraph").write_text("chr1 0 4 1\n")
    with pytest.raises(InputError, match="threshold"):
        si.read_annotations(tmp_path / "x.bedgraph", threshold="high")
