"""The demo: ``sciinterp run`` on the embedded configuration, ``demo.toml``.

AntiBERTy (26 million parameters, weights from its wheel) reads 1,355 human heavy chains; an SAE decomposes
``layers.4``; every feature is tested against twenty concepts and more on held-out V genes, beside the same
recipe on randomised weights.
"""

from __future__ import annotations

from pathlib import Path

from sciinterp.config import RunConfig, from_mapping
from sciinterp.errors import InputError
from sciinterp.settings import read_toml

CONFIG = Path(__file__).with_name("demo.toml")


def find_data(folder: Path | None = None) -> Path:
    """The folder of the embedded data.

    Parameters
    ----------
    folder : path, optional
        Where the data lie; without it, ``data/`` of the source checkout or of the working folder.

    Raises
    ------
    InputError
        When the files are not there, saying where to get them.
    """
    data = read_toml(CONFIG)["data"]
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
        do="They are under AGPL-3.0 and not in the wheel: copy 'data/' from the source distribution's repository, "
        "or rebuild it with data/build_antibodies.py, and pass --data FOLDER.",
    )


def demo_config(*, data: Path | None = None, seed: int = 0, device: str = "cpu") -> RunConfig:
    """The embedded configuration, on the data where they lie."""
    values = {**read_toml(CONFIG), "seed": seed}
    values["model"] = {**values["model"], "device": device}
    return from_mapping(values, base=find_data(data).absolute())[0]
