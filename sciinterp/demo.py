"""The demos: ``sciinterp run`` on an embedded configuration, ``demo.toml`` or ``structures.toml``.

AntiBERTy (26 million parameters, weights from its wheel) reads 1,355 human heavy chains; an SAE decomposes
``layers.4``; every feature is tested against twenty concepts and more on held-out V genes, beside the same
recipe on randomised weights. With ``--on structures``, ProteinMPNN reads the backbones of proteins that bind each
other, and features are tested against what the backbone and the side chains do there.
"""

from __future__ import annotations

from pathlib import Path

from sciinterp.config import RunConfig, from_mapping
from sciinterp.errors import InputError, no_such
from sciinterp.settings import read_toml

CONFIGS = {
    "antibodies": Path(__file__).with_name("demo.toml"),
    "structures": Path(__file__).with_name("structures.toml"),
}


def find_data(folder: Path | None = None, *, on: str = "antibodies") -> Path:
    """The folder of the embedded data: the one named, or ``data/`` of the source checkout or the working folder.

    InputError where they are not there, which says where to get them.
    """
    if on not in CONFIGS:
        raise no_such("demo", on, list(CONFIGS))
    data = read_toml(CONFIGS[on])["data"]
    names = [str(data[key]) for key in ("samples", "table", "annotations")]
    here = Path(__file__).resolve().parent.parent / "data"
    places = [folder] if folder is not None else [here, Path("data")]
    for place in places:
        if all((place / name).is_file() for name in names):
            return place
    raise InputError(
        "the demo's data are not here",
        where=f"folder '{places[-1]}'",
        expected=", ".join(names),
        got="none or some of them",
        do="They are not in the wheel: copy 'data/' from the source distribution's repository, "
        f"or rebuild it with data/build_{on}.py, and pass --data FOLDER.",
    )


def demo_config(
    *, on: str = "antibodies", data: Path | None = None, seed: int = 0, device: str = "cpu"
) -> RunConfig:
    """An embedded configuration, on the data where they lie."""
    place = find_data(data, on=on).absolute()
    values = {**read_toml(CONFIGS[on]), "seed": seed}
    values["model"] = {**values["model"], "device": device}
    return from_mapping(values, base=place)[0]
