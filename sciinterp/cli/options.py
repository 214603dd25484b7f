"""Options that several verbs share, and how tables are shown."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from sciinterp.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from sciinterp.models import Adapter
    from sciinterp.sae import SAE

T = TypeVar("T", str, Path)
# The largest number that files, numpy and torch all hold.
MOST = 2**63 - 1
# Columns that folded text needs to be read.
LEAST = 10


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


def of_kind(what: str, *kinds: str) -> Callable[[typer.Context, typer.CallbackParam, T], T]:
    """Refuse what lies at a place and is of another kind, as arguments in another order are; the order is said."""

    def checked(context: typer.Context, parameter: typer.CallbackParam, given: T) -> T:
        from sciinterp.store.describe import kind_of

        kind = kind_of(str(given))
        if kind and kind not in kinds:
            order = [one.name.upper() for one in context.command.params if one.param_type_name == "argument"]
            raise InputError(
                f"this is {kind}, not {what}",
                where=f"{str(parameter.name).upper()} '{given}'",
                do=f"The order is sciinterp {context.info_name} {' '.join(order)}." if len(order) > 1 else "",
            )
        return given

    return checked


def _no_place(context: typer.Context, parameter: typer.CallbackParam, name: str) -> str:
    """Refuse a place where a model is named; a folder may have the name of one."""
    from sciinterp.models.registry import ENTRIES

    if name in {entry.name for entry in ENTRIES}:
        return name
    return of_kind("the name of a model")(context, parameter, name)


Model = Annotated[str, typer.Argument(help="A name of 'sciinterp models'.", callback=_no_place)]
SaePlace = Annotated[
    Path, typer.Argument(help="An SAE, of any known format.", callback=of_kind("an SAE", "an SAE"))
]
ActsPlace = Annotated[
    Path,
    typer.Argument(
        help="Activations, as extract writes them.",
        callback=of_kind("a store of activations", "a store of activations"),
    ),
]
CodesPlace = Annotated[
    Path,
    typer.Argument(
        help="Codes, as encode writes them.", callback=of_kind("a store of codes", "a store of codes")
    ),
]
SamplesFile = Annotated[
    Path,
    typer.Argument(help="File of samples.", callback=of_kind("a file of samples", "a file of sequences")),
]
AnnotationsFile = Annotated[
    Path, typer.Argument(help="File of annotations.", callback=of_kind("a file of annotations"))
]
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
Stated = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--origin", metavar="MODEL SITE", help="Of an SAE that does not say it: what it was trained on."
    ),
]
Acts = Annotated[
    Path | None,
    typer.Option("--activations", help="For neurons and components; by default those beside the features."),
]
Control = Annotated[
    Path | None, typer.Option(help="Codes of the randomised model; by default those beside the features.")
]
Full = Annotated[bool, typer.Option("--full", help="Add what takes more minutes: seeds, width, calibration.")]
Folder = Annotated[Path, typer.Argument(help="A folder this package wrote.")]


def read_sae(path: Path, origin: tuple[str, str] | None, *, model: Adapter | None = None) -> SAE:
    """An SAE, of the origin that was stated where it says none."""
    from sciinterp.provenance import Origin
    from sciinterp.sae import load_sae

    told = None if origin is None else Origin(model=origin[0], site=origin[1])
    return load_sae(path, origin=told, model=model)


def echo_table(frame: pd.DataFrame) -> None:
    """Print a table, numbers with three decimals: in a terminal with its text folded to fit, else with long cells cut."""
    index = frame.index.name is not None
    if sys.stdout.isatty() and (text := folded(frame.reset_index() if index else frame, terminal_width())):
        typer.echo(text)
    else:
        typer.echo(frame.to_string(index=index, max_colwidth=60, float_format=lambda v: f"{v:.3f}"))


def terminal_width() -> int:
    """Columns of the terminal, or what COLUMNS says."""
    return shutil.get_terminal_size().columns


def folded(frame: pd.DataFrame, width: int) -> str:
    """A table that is `width` wide, whole, with text folded inside its column; empty where that cannot be.

    Parameters
    ----------
    frame : DataFrame
        Its first column, of names, stays as it is, as numbers do.
    width : int
        Columns of the terminal.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table, least = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style=""), 0
    cells: list[list[str]] = []
    for at, name in enumerate(frame.columns):
        cells.append([f"{v:.3f}" if isinstance(v, float) else str(v) for v in frame[name]])
        is_text = frame[name].dtype == object
        folds = is_text and at > 0
        longest = max(map(len, (str(name), *cells[-1])))
        table.add_column(
            Text(str(name)), overflow="fold", no_wrap=not folds, justify="left" if is_text else "right"
        )
        least += 1 + (min(LEAST, longest) if folds else longest)
    if least > width:
        return ""
    for row in zip(*cells):
        table.add_row(*map(Text, row))
    console = Console(width=width, color_system=None, file=io.StringIO())
    with console.capture() as caught:
        console.print(table)
    return "\n".join(line.rstrip() for line in caught.get().splitlines())


def echo_not_run(reasons: Mapping[str, str], what: str = "") -> None:
    """One line on the baselines that are missing from a table, and why."""
    if reasons:
        typer.echo(f"{what}not run: " + "; ".join(f"{name} ({why})" for name, why in reasons.items()))
