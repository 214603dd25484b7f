"""The configuration of a run: one TOML file, every section a settings record of the verb it is named after.

``sciinterp init`` writes a commented one; ``sciinterp run my.toml`` reads it. Paths in a file are relative to the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from sciinterp.activations import ExtractSettings
from sciinterp.association import AssociationSettings
from sciinterp.discovery import DiscoverySettings
from sciinterp.errors import InputError, SciinterpError, joined, no_such
from sciinterp.sae import ARCHITECTURES, Architecture, Matryoshka, TrainSettings
from sciinterp.sae.settings import FROZEN
from sciinterp.settings import (
    UP_TO_ONE,
    Plain,
    build,
    make_plain,
    parse_value,
    plain_value,
    read_toml,
    to_toml,
)

WHOLE = "the configuration"
HEAD = """\
# A run of sciinterp: 'sciinterp run {name}' does the whole job, and goes on where it stopped.
# Keys behind '#' show their defaults. Paths are relative to this file.

# Seed of every random choice.
seed = 0
# Folder of the results.
out = "runs/mine"
"""
LICENCES = """\
[licences]
# Notes that go into manifest and report, under names of your own.
# data = "CC BY 4.0"
"""


@dataclass(frozen=True)
class DataSettings:
    """What is read.

    Attributes
    ----------
    samples : str
        File of samples: FASTA, GenBank, AIRR, UniProt, tables, PDB, mmCIF, SMILES, AnnData ...
    annotations : str
        File of annotations of the same samples: a table, GFF3, BED, UniProt, InterPro ...
    table : str or None
        Table of sample columns (family, donor ...); its first column holds the identifiers.
    samples_format, annotations_format : str
        The format, where "auto" does not recognise it.
    layer : str or None
        Of AnnData samples: the matrix of layers to read, not X.
    raw : bool
        Of AnnData samples: read raw.X.
    unreadable : str
        Samples the model cannot read: "stop", or "skip" (named, and counted as dropped).
    """

    samples: str
    annotations: str
    table: str | None = None
    samples_format: str = "auto"
    annotations_format: str = "auto"
    layer: str | None = None
    raw: bool = False
    unreadable: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        make_plain(self)


@dataclass(frozen=True)
class ModelSettings:
    """The model and the place in it that is read.

    Attributes
    ----------
    name : str
        A name that 'sciinterp models' lists.
    site : str or None
        A name that 'sciinterp sites MODEL' lists; by default the block output at about three fifths of the depth.
    weights : str or None
        Local weights, where the model needs them.
    precision : str
        Of the matrix products: "float32", "bfloat16" or "float16".
    kept_as : str
        Type the activations are kept in.
    device : str
        "cpu", "cuda", "cuda:1", "mps" or "auto": of the model, and of the SAE where [train] names no other.
    """

    name: str
    site: str | None = None
    weights: str | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    kept_as: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        make_plain(self)


@dataclass(frozen=True)
class SplitSettings:
    """How families are found and shared out.

    Attributes
    ----------
    by : str or None
        A sample column, "mmseqs", "composition" or "block:SIZE"; by default what suits the samples, said in a line.
    fractions : tuple of float
        Wanted shares of positions for training, calibration and test, which sum to 1.
    """

    by: str | None = None
    fractions: tuple[float, float, float] = (0.75, 0.05, 0.2)

    def __post_init__(self) -> None:
        make_plain(self, fractions=UP_TO_ONE)
        if abs(sum(self.fractions) - 1) > 1e-6:
            said = f"{list(self.fractions)}, whose sum is {sum(self.fractions):g}"
            raise InputError(
                "impossible fractions", where="fractions", expected="shares that sum to 1", got=said
            )


@dataclass(frozen=True)
class RunConfig:
    """Everything a run is a function of.

    Attributes
    ----------
    data : DataSettings
    model : ModelSettings
    split : SplitSettings
    extract : ExtractSettings
    sae : Architecture
    train : TrainSettings
    associate : AssociationSettings
    discover : DiscoverySettings
    control : bool
        Train the same recipe on the model with randomised weights, and show it beside everything.
    twins : tuple of str
        Dictionaries by the same recipe a part of which is not trained, shown beside: "decoder", "decoder_soft" (it turns
        by at most 37 degrees), "encoder"; empty for none.
    candidates : bool
        Look for candidates; without it the run ends with its hits.
    turn : bool
        Turn the features that mark their concept, and measure whether the model follows (seconds a concept).
    seed : int
        Of every random choice that has no seed of its own.
    licences : mapping of str to str
        Notes that go into manifest and report.
    """

    data: DataSettings
    model: ModelSettings
    split: SplitSettings = field(default_factory=SplitSettings)
    extract: ExtractSettings = field(default_factory=ExtractSettings)
    sae: Architecture = field(default_factory=lambda: Matryoshka(n_features=1024, k=32))
    train: TrainSettings = field(default_factory=TrainSettings)
    associate: AssociationSettings = field(default_factory=AssociationSettings)
    discover: DiscoverySettings = field(default_factory=DiscoverySettings)
    control: bool = True
    twins: tuple[str, ...] = ("decoder_soft", "encoder")
    candidates: bool = True
    turn: bool = False
    seed: int = 0
    licences: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        make_plain(self)
        for name in self.twins:
            if name not in FROZEN:
                raise no_such("twin", name, FROZEN, where="twins")

    def record(self) -> Plain:
        """The configuration as plain values, files by their names alone."""
        out = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("licences", "sae")}
        plain = {k: asdict(v) if hasattr(v, "__dataclass_fields__") else v for k, v in out.items()}
        for key in ("samples", "annotations", "table"):
            plain["data"][key] = Path(plain["data"][key]).name if plain["data"][key] else None
        plain["model"]["weights"] = Path(w).name if (w := plain["model"]["weights"]) else None
        return {**plain, "sae": self.sae.as_dict()}


def from_mapping(values: Mapping[str, object], *, base: Path | None = None) -> tuple[RunConfig, Path | None]:
    """A configuration, and its ``out``, from the tables of a file; relative paths start from `base`.

    InputError: a section, key, name or type that does not exist, with the nearest that does.
    """
    values = dict(values)
    out = values.pop("out", None)
    known = [f.name for f in fields(RunConfig)]
    for key in values:
        if key not in known:
            raise no_such("section or key", key, [*known, "out"], where=WHOLE)
    for name in ("data", "model"):
        if name not in values:
            raise InputError("a section is missing", where=WHOLE, expected=f"[{name}]")
    place = base or Path()
    for section, keys in (("data", ("samples", "annotations", "table")), ("model", ("weights",))):
        table = values[section]
        if isinstance(table, Mapping):
            given = {k: str(place / table[k]) for k in keys if isinstance(table.get(k), str)}
            values[section] = {**table, **given}
    seed = values.get("seed", 0)
    for section in ("train", "discover"):
        table = values.get(section, {})
        if isinstance(table, Mapping) and isinstance(seed, int):
            values[section] = {"seed": seed, **table}
    model, table = values["model"], values.get("train", {})
    if isinstance(model, Mapping) and isinstance(table, Mapping) and "device" in model:
        values["train"] = {"device": model["device"], **table}
    architecture = _architecture(values.pop("sae", {}))
    config = replace(build(RunConfig, values), sae=architecture)
    return config, None if out is None else place / plain_value(out, str, "out")


@contextmanager
def keys_of(section: str, given: object, key: str = "", **arguments: str) -> Iterator[None]:
    """While open, an error of a verb that is given a section's values names the section and the key.

    Parameters
    ----------
    section : str
    given : dataclass
        Its settings.
    key : str
        What an error is about whose place names no key, no argument and no value of one.
    **arguments : str
        Of the verb, where they have other names: the key of each.
    """
    try:
        yield
    except SciinterpError as error:
        if error.where.startswith("["):
            raise
        names = [f.name for f in fields(given)]  # type: ignore[arg-type]
        keys = {**({key: key} if key else {}), **arguments, **dict(zip(names, names))}
        values = {name: getattr(given, of) for name, of in keys.items()}
        found, rest = error.about(values)
        if not (found or key):
            raise
        place = f"[{section}] {keys.get(found, key)}".rstrip()
        error.told_at(joined(place, rest))
        raise


@contextmanager
def named(path: str | Path | None, options: Mapping[str, str]) -> Iterator[None]:
    """While open, an error that names a key names its file, too, or the option that was given in the key's place.

    Parameters
    ----------
    path : path or None
        The configuration.
    options : mapping of str to str
        ``section.key`` -> how it was given on the command line.
    """
    try:
        yield
    except SciinterpError as error:
        error.told_at(_named("" if path is None else Path(path).name, options, error))
        raise


def _named(file: str, options: Mapping[str, str], error: SciinterpError) -> str:
    where = error.where
    for key, option in options.items():
        parts = key.split(".")
        sections = [f"[{'.'.join(parts[:i])}]" if i else WHOLE for i in range(len(parts))]
        place = f"{sections[-1]} {parts[-1]}".removeprefix(f"{WHOLE} ")
        if re.match(rf"{re.escape(place)}(?=[ ,]|$)", where):
            return option + where[len(place) :]
        if (where, error.got) in zip(sections, map(repr, parts)):  # there is no such key
            return option
    if where in (WHOLE, ""):
        return file or where
    ours = where.startswith("[") or where.split(",")[0] in ("out", *(f.name for f in fields(RunConfig)))
    return f"{file}, {where}" if file and ours else where


def _architecture(table: object) -> Architecture:
    if not isinstance(table, Mapping):
        raise InputError(
            "this is not a table", where="[sae]", expected="key = value lines", got=repr(table)[:60]
        )
    name = str(table.get("architecture", Matryoshka.name)).lower()
    if name not in ARCHITECTURES:
        raise no_such("architecture", name, ARCHITECTURES, where="[sae] architecture")
    values = {k: v for k, v in table.items() if k != "architecture"}
    return build(ARCHITECTURES[name], {"n_features": 1024, **values}, section="sae")


def read_config(
    path: str | Path | None,
    *,
    overrides: Mapping[str, object] | None = None,
    assignments: list[str] | None = None,
) -> tuple[RunConfig, Path | None]:
    """The configuration of a file, with what the command line says in its place.

    `overrides` are ``section.key`` to value, of which None is passed over; `assignments` are
    ``section.key=value``, the value as TOML writes it. Errors are those of :func:`from_mapping`; every message
    names section and key.
    """
    values = {} if path is None else read_toml(path)
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    # What the command line names is relative to where it is called, not to the file.
    paths = ("data.samples", "data.annotations", "data.table", "model.weights")
    given = {k: str(Path(str(v)).absolute()) if k in paths else v for k, v in given.items()}
    for text in assignments or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError("a setting needs its name", where=repr(text), expected="section.key=value")
        given[key.strip()] = parse_value(value.strip())
    for key, value in given.items():
        *sections, last = key.split(".")
        table = values
        for name in sections:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise InputError("this is not a section", where=repr(key), expected="section.key=value")
        table[last] = value
    return from_mapping(values, base=None if path is None else Path(path).absolute().parent)


def template(name: str, **given: str) -> str:
    """A commented configuration file of this name.

    `given` are ``model``, ``samples`` and ``annotations`` that are known already.
    """
    data = DataSettings(given.get("samples", "samples.fasta"), given.get("annotations", "annotations.tsv"))
    model = ModelSettings(given.get("model", "antiberty"))
    config = RunConfig(data, model)
    top = ["control", "twins", "candidates", "turn"]
    parts = [HEAD.format(name=name) + to_toml(config, "", commented=True, only=top)]
    for f in fields(RunConfig):
        record = getattr(config, f.name)
        if f.name == "sae":
            kinds = ", ".join(ARCHITECTURES)
            text = to_toml(record, "sae", commented=True)
            parts.append(
                text.replace("[sae]\n", f'[sae]\n# One of {kinds}.\n# architecture = "{record.name}"\n')
            )
        elif hasattr(record, "__dataclass_fields__"):
            text = to_toml(record, f.name, commented=True)
            for key in (
                ("samples", "annotations") if f.name == "data" else ("name",) if f.name == "model" else ()
            ):
                text = text.replace(f"# {key} = ", f"{key} = ")
            parts.append(text)
    return "\n".join([*parts, LICENCES])
