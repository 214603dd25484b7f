"""The demo: a real antibody language model on a real repertoire, with its controls.

AntiBERTy (26 million parameters, weights from its wheel) reads 1,355 human heavy chains; an SAE decomposes
``layers.4``; every feature is tested against twenty concepts and more on held-out V genes, beside the same
recipe on randomised weights.
"""

from __future__ import annotations

from pathlib import Path

from sciinterp.errors import InputError
from sciinterp.run import Run, RunSettings, run_all

NAMES = ("antibodies.fasta", "antibodies.tsv", "antibodies.annotations.tsv")
LICENCES = {
    "model": "AntiBERTy weights: MIT",
    "data": "antibodies.*: derived from a file distributed under AGPL-3.0; the sequences are facts of a public study "
    "(data/SOURCES.md)",
    "code": "sciinterp: MIT",
}


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
    places = (
        [folder] if folder is not None else [Path(__file__).resolve().parent.parent / "data", Path("data")]
    )
    for place in places:
        if all((place / name).is_file() for name in NAMES):
            return place
    raise InputError(
        "the demo's data are not here",
        where=f"folder '{places[-1]}'",
        expected=", ".join(NAMES),
        got="none or some of them",
        do="They are under AGPL-3.0 and not in the wheel: copy 'data/' from the source distribution's repository, "
        "or rebuild it with data/build_antibodies.py, and pass --data FOLDER.",
    )


def run_demo(out: Path, *, data: Path | None = None, seed: int = 0, steps: int = 600) -> Run:
    """Run the demo into ``out``, or resume it."""
    folder = find_data(data)
    return run_all(
        folder / NAMES[0],
        folder / NAMES[2],
        table=folder / NAMES[1],
        out=out,
        licences=LICENCES,
        settings=RunSettings(seed=seed, steps=steps),
    )
