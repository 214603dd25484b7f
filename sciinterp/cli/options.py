"""Options that several verbs share, and how tables are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sciinterp.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

# The largest number that files, numpy and torch all hold.
MOST = 2**63 - 1


def named(*verbs: Callable[..., None]) -> dict[str, Callable[..., None]]:
    """Verbs by the names that the command line gives them."""
    return {verb.__name__.replace("_", "-"): verb for verb in verbs}


def folder_place(path: Path | None) -> Path | None:
    """Refuse a folder that cannot be written before a verb has begun."""
    if path is not None:
        from sciinterp.store.atomic import require_place

        require_place(path)
    return path


def file_place(path: Path | None) -> Path | None:
    """Refuse a file that cannot be written before a verb has begun."""
    if path is not None:
        folder_place(path.parent)
        if path.is_dir():
            raise InputError("a folder stands where a file is to be written", where=f"'{path}'")
    return path


Out = Annotated[
    Path,
    typer.Option("--out", help="Folder to write; run again to resume.", callback=folder_place),
]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.", min=0, max=MOST)]
By = Annotated[
    str | None,
    typer.Option(
        help="Families: a sample column, mmseqs, mmseqs:IDENTITY, composition or block:SIZE. By default the split the SAE was "
        "trained with, else what suits the samples; said in a line."
    ),
]
Weights = Annotated[Path | None, typer.Option(help="Local weights, where the model needs them.")]
TableFile = Annotated[Path | None, typer.Option("--table", help="Table of sample columns.")]
Format = Annotated[str, typer.Option("--format", help="Format of the file, where it is not recognised.")]
Layer = Annotated[str | None, typer.Option(help="Of AnnData samples: the matrix of layers to read, not X.")]
Raw = Annotated[bool, typer.Option("--raw", help="Of AnnData samples: read raw.X.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what another call left in --out.")]


def there(device: str | None) -> str | None:
    """Refuse a device that is not here before a verb has begun."""
    if device not in (None, "cpu"):
        from sciinterp.devices import device_of

        try:
            device_of(device)
        except InputError as error:
            error.told_at("--device")
            raise
    return device


_DEVICE = typer.Option(help="cpu, cuda, cuda:1, mps, or auto for what is there.", callback=there)
Device = Annotated[str, _DEVICE]
OtherDevice = Annotated[str | None, _DEVICE]  # in the place of what a file says
Acts = Annotated[
    Path | None,
    typer.Option("--activations", help="For neurons and components; by default those beside the features."),
]
Control = Annotated[
    Path | None, typer.Option(help="Codes of the randomised model; by default those beside the features.")
]
Full = Annotated[bool, typer.Option("--full", help="Add what takes more minutes: seeds, width, calibration.")]
Folder = Annotated[Path, typer.Argument(help="A folder this package wrote.")]


def echo_table(frame: pd.DataFrame) -> None:
    """Print a table, long cells cut, numbers with three decimals."""
    index = frame.index.name is not None
    typer.echo(frame.to_string(index=index, max_colwidth=60, float_format=lambda v: f"{v:.3f}"))


def echo_not_run(reasons: Mapping[str, str], what: str = "") -> None:
    """One line on the baselines that are missing from a table, and why."""
    if reasons:
        typer.echo(f"{what}not run: " + "; ".join(f"{name} ({why})" for name, why in reasons.items()))
