"""Settings as TOML: what is written is read back, and a wrong key, type or name is one line that says where."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch

import sciinterp as si
from sciinterp.activations import ExtractSettings
from sciinterp.association import AssociationSettings
from sciinterp.association.fitting import BaselineSettings
from sciinterp.association.quantitative import CorrelateSettings
from sciinterp.association.statistics import ScreenSettings
from sciinterp.config import (
    DataSettings,
    ModelSettings,
    RunConfig,
    SplitSettings,
    from_mapping,
    read_config,
    template,
)
from sciinterp.decompositions import DecompositionSettings
from sciinterp.discovery import DiscoverySettings
from sciinterp.errors import FormatError, InputError
from sciinterp.fit import FitSettings
from sciinterp.interventions.control_matrix import ControlSettings
from sciinterp.interventions.designing import DesignSettings
from sciinterp.models import GenerationSettings
from sciinterp.readouts.assay_scores import AssaySettings
from sciinterp.readouts.readout import ReadoutSettings
from sciinterp.sae import ARCHITECTURES, TrainSettings
from sciinterp.sae.dictionary_benchmark import GroundTruthSettings
from sciinterp.sae.scaling import ScalingSettings
from sciinterp.settings import (
    POSITIVE,
    SHARE,
    UP_TO_ONE,
    at_least,
    build,
    describe,
    make_plain,
    plain_value,
    read_toml,
    settings_of,
    to_toml,
)
from sciinterp.testing import tiny_model
from sciinterp.zoo import Recipe

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
        ("train", "steps", "many", ["[train] steps", "whole number", "many"]),
        ("train", "steps", True, ["[train] steps", "True"]),
        ("train", "dead_window", -1.0, ["[train] dead_window", "> 0"]),
        ("sae", "architecture", "topkk", ["[sae]", "'topk'"]),
        ("sae", "kk", 3, ["[sae]", "'k'"]),
        ("sae", "k", 4096, ["[sae]", "k"]),
        ("associate", "levl", 0.9, ["[associate]", "'level'"]),
        ("associate", "screen", 3, ["[associate.screen]"]),
        ("discover", "n_fold", 3, ["[discover]", "'n_folds'"]),
        ("data", "unreadable", "drop", ["[data]", "'stop'"]),
        ("data", "sampels", "x", ["[data]", "'samples'"]),
        ("model", "sites", "layers.4", ["[model]", "'site'"]),
        ("split", "fractions", [1, 2], ["[split] fractions", "3 numbers"]),
        ("split", "fractions", [0.5, 0.5, 0.5], ["[split] fractions", "sum to 1", "1.5"]),
        ("split", "fractions", [1.2, -0.3, 0.1], ["[split] fractions", "1.2"]),
        ("model", "kept_as", "int8", ["[model] kept_as", "'float16'"]),
        ("model", "precision", "float64", ["[model] precision", "'float32'"]),
        ("train", "screen", "yes", ["[train] screen", "'auto'"]),
        ("train", "frozen", "decodr", ["[train] frozen", "'decoder'"]),
        ("sae", "prefixes", [64, 16], ["[sae] prefixes", "got (64, 16)"]),
        ("extract", "nonfinite", "ignore", ["[extract] nonfinite", "'skip'", "'ignore'"]),
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
    (ControlSettings, {"divergence": 0}, "out of range, ControlSettings divergence: expected a finite number above 0, got 0"),
    (ControlSettings, {"divergence": float("inf")}, "above 0, got inf"), (ControlSettings, {"n_samples": 2.5}, "whole number, got 2.5"),
    (ControlSettings, {"n_noise": -1}, "n_noise: expected 0 or more, got -1"), (ControlSettings, {"seed": -1}, "seed from 0"),
    (ControlSettings, {"plain": "means"}, "ControlSettings plain"), (ControlSettings, {"plain": ["means"]}, None),
    (DesignSettings, {"strength": float("nan")}, "expected a number, got nan"), (DesignSettings, {"judge": 3}, "DesignSettings judge"),
    (DesignSettings, {"split": "family"}, "DesignSettings split.*Split"), (DesignSettings, {"generation": 2}, "GenerationSettings"),
    (GenerationSettings, {"rounds": "2"}, "GenerationSettings rounds"), (GenerationSettings, {"positions": np.array([1, 2])}, None),
    (GenerationSettings, {"positions": [1.5]}, "GenerationSettings positions"), (GenerationSettings, {"temperature": None}, "temperature"),
    (AssaySettings, {"folds": 1}, "folds: expected 2 or more"), (AssaySettings, {"top": 10}, "between 0 and 1, got 10"),
    (AssaySettings, {"n_draws": "many"}, "AssaySettings n_draws"), (AssaySettings, {"n_permutations": np.int64(3)}, None),
    (ReadoutSettings, {"held_out": 1.0}, "between 0 and 1"), (ReadoutSettings, {"n_draws": 0}, "1 or more, got 0"),
    (ReadoutSettings, {"level": 5}, "from 0 to 1, got 5"), (ReadoutSettings, {"estimator": "ridge"}, "estimator: expected Estimator"),
    (FitSettings, {"n_tokens": 0}, "1 or more"), (FitSettings, {"norm_ratio": (0.5,)}, "FitSettings norm_ratio"),
    (ScalingSettings, {"widths": (8, "16")}, "ScalingSettings widths"), (ScalingSettings, {"architecture": "topk"}, "architecture"),
    (ScalingSettings, {"architecture": int}, "architecture"), (ScalingSettings, {"architecture": si.ReLU}, "with a k.*ReLU"), (ScalingSettings, {"level": 90}, "between 0 and 1"), (ScalingSettings, {"ks": [1, 2, 4]}, None),
    (ScreenSettings, {"n_permutations": 0}, "1 or more"), (ScreenSettings, {"carried": 2.0}, "from 0 to 1"), (ScreenSettings, {"within": ["cells"]}, None),
    (BaselineSettings, {"domain": 1}, "true or false"), (BaselineSettings, {"reach": -1}, "0 or more"), (BaselineSettings, {"max_fit": np.int32(9)}, None),
    (CorrelateSettings, {"level": 1.0}, "between 0 and 1"), (CorrelateSettings, {"folds": 0}, "2 or more"), (CorrelateSettings, {"folds": 3}, None),
    (DecompositionSettings, {"widths": (512, 0)}, "widths: expected 1 or more, got 0"), (DecompositionSettings, {"names": "topk"}, "names"),
    (GroundTruthSettings, {"steps": 0}, "1 or more"),
    (SplitSettings, {"fractions": "abc"}, "SplitSettings fractions"), (ModelSettings, {"name": 3}, "ModelSettings name: expected text, got 3"),
    (DataSettings, {"samples": "a", "annotations": "b", "raw": "yes"}, "DataSettings raw"), (RunConfig, {"data": 3, "model": 4}, "RunConfig data.*DataSettings"),
    (Recipe, {"sites": "layers.1"}, "Recipe sites"), (si.Matryoshka, {"n_features": 8, "k": 3, "prefixes": [4, 8]}, None), (si.TopK, {"n_features": 8, "k": True}, "TopK k"),
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
        (
            lambda: si.split_families(samples, by=labels, fractions="abc"),
            "fractions: expected a list.*got .abc",
        ),
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


@dataclass(frozen=True)
class Made:
    """Every kind of field that a settings record has.

    Attributes
    ----------
    n, level, pair, some, choice, judge, kind, inner, seed
        As they are called.
    """

    n: int = 1
    level: float = 0.5
    pair: tuple[int, float] = (1, 2.0)
    some: tuple[int, ...] | None = None
    choice: Literal["a", "b"] = "a"
    judge: Callable[[int], int] | None = None
    kind: type[si.errors.SciinterpError] = InputError
    inner: SplitSettings = field(default_factory=SplitSettings)
    notes: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        make_plain(self, n=at_least(1), level=SHARE, some=POSITIVE)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"n": np.int16(3)}, 3), ({"n": np.array(3)}, 3), ({"level": np.float32(0.25)}, 0.25), ({"pair": [np.int8(1), 2]}, (1, 2.0)),
        ({"some": range(1, 4)}, (1, 2, 3)), ({"some": torch.tensor([1, 2])}, (1, 2)), ({"some": pd.Series([5])}, (5,)),
        ({"judge": len}, len), ({"kind": FormatError}, FormatError), ({"notes": {"a": "b"}}, {"a": "b"}),
        ({"inner": {"by": "family"}}, SplitSettings(by="family")), ({"seed": np.uint64(2)}, 2),
    ],
)  # fmt: skip
def test_what_a_field_takes_is_kept_plain(given, kept) -> None:
    """Numbers and arrays of numpy, torch and pandas become Python's, and a table a record of its own."""
    ((name, _),) = given.items()
    found = getattr(Made(**given), name)
    assert found == kept and (type(found) is type(kept) or isinstance(found, float))
    assert Made(**{name: found}) == Made(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n": 0}, "out of range, Made n: expected 1 or more, got 0"), ({"n": 1.0}, "Made n: expected a whole number, got 1.0"),
        ({"n": np.array([1, 2])}, "Made n"), ({"level": 1}, "between 0 and 1, got 1.0"), ({"level": "0.5"}, "a number, got '0.5'"),
        ({"level": float("nan")}, "got nan"), ({"pair": (1,)}, "Made pair"), ({"pair": (1, "x")}, "Made pair"), ({"some": "12"}, "Made some"),
        ({"some": (1, 0)}, "above 0, got 0"), ({"choice": "c"}, "no such choice, Made choice: expected 'a' or 'b'"),
        ({"judge": 3}, "Made judge"), ({"kind": int}, "Made kind"), ({"kind": "InputError"}, "Made kind"),
        ({"inner": 3}, r"not a table, \[Made inner\]: expected key = value lines, or in Python SplitSettings"),
        ({"inner": {"bi": "x"}}, "'by'"), ({"notes": "none"}, "Made notes"), ({"seed": -1}, "seed from 0"), ({"seed": 2**63}, "cannot be"),
    ],
)  # fmt: skip
def test_what_a_field_does_not_take_is_named(given, said) -> None:
    with pytest.raises(InputError, match=said) as error:
        Made(**given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("bound", "inside", "outside"), [
    (POSITIVE, (1e-300, 5), (0, -1, float("inf"))), (SHARE, (0.001, 0.999), (0, 1, -1, 2)), (UP_TO_ONE, (0, 1, 0.5), (-1e-9, 1.001)),
    (at_least(2), (2, 3.5), (1.999, -2, float("inf"))),
])  # fmt: skip
def test_a_bound_holds_what_it_says(bound, inside, outside) -> None:
    for value in inside:
        assert plain_value(value, float, "x", bound) == value
    for value in outside:
        with pytest.raises(InputError, match=f"out of range, x: expected {bound.says}"):
            plain_value(value, float, "x", bound)


def test_settings_of_another_verb_are_refused_by_every_verb(tmp_path: Path) -> None:
    """And None stands for the defaults, as in the verbs' signatures."""
    samples = si.Samples(list("abcdef"), ["MK"] * 6)
    codes = si.FeatureMatrix(np.ones((12, 2), np.float32), samples)
    rows = si.Annotations(pd.DataFrame({"sample": ["a"], "start": [0], "end": [1], "concept": ["x"]}))
    split, x = si.split_families(samples, by=list("abcdef")), np.ones((9, 4), np.float32)
    model, sae = tiny_model()
    wrong = {"settings": SplitSettings()}
    for call in (
        lambda: si.associate(codes, rows, split=split, **wrong),
        lambda: si.discover(codes, rows, None, split=split, **wrong),
        lambda: si.train(x, si.TopK(n_features=8, k=2), **wrong),
        lambda: si.scaling(x, **wrong),
        lambda: si.extract(model, samples, site="layers.0", out=tmp_path, **wrong),
        lambda: si.readout(codes, ["a", "b"] * 3, by=list("abcdef"), **wrong),
        lambda: si.assay(model, sae, "MK", pd.DataFrame({"variant": ["M1A"], "score": [1.0]}), **wrong),
        lambda: si.fit_check(sae, model, samples, **wrong),
        lambda: si.design(model, sae, "MK", [3], **wrong),
        lambda: si.control_matrix(model, codes, pd.DataFrame(), rows, split=split, **wrong),
        lambda: model.generate("MK", **wrong),
    ):
        with pytest.raises(InputError, match=r"settings=: expected \w+Settings, got SplitSettings"):
            call()
    assert settings_of(None, SplitSettings) == SplitSettings()
