"""Verbs that do the whole job: ``demo``, ``init``, ``run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sciinterp import distributed
from sciinterp.cli.options import (
    MOST,
    Device,
    Full,
    Layer,
    OtherDevice,
    Out,
    Overwrite,
    Raw,
    Seed,
    TableFile,
    Weights,
    file_place,
    folder_place,
    named,
)
from sciinterp.errors import InputError, no_such

if TYPE_CHECKING:
    from sciinterp.project import Run


def demo(
    out: Out = Path("runs/demo"),
    on: Annotated[
        str, typer.Option(help="antibodies (AntiBERTy) or structures (ProteinMPNN).")
    ] = "antibodies",
    data: Annotated[
        Path | None, typer.Option(help="Folder of the embedded data, when it is elsewhere.")
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    full: Full = False,
    overwrite: Overwrite = False,
) -> None:
    """Run the whole job on embedded data: minutes, then open report.html."""
    from sciinterp.demo import demo_config
    from sciinterp.project import run as run_project
    from sciinterp.store.atomic import overwriting

    with overwriting(overwrite):
        made = run_project(demo_config(on=on, data=data, seed=seed, device=device), out)
    _end(made, full)


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.", callback=file_place)] = Path("my.toml"),
    model: Annotated[str, typer.Option(help="A name of 'sciinterp models'.")] = "antiberty",
    samples: Annotated[str, typer.Option(help="File of samples.")] = "samples.fasta",
    annotations: Annotated[str, typer.Option(help="File of annotations.")] = "annotations.tsv",
) -> None:
    """Write a commented configuration for 'sciinterp run'."""
    from sciinterp.config import template
    from sciinterp.models.registry import entry_of
    from sciinterp.store.atomic import atomic_write

    try:
        entry_of(model)
    except InputError as error:
        error.told_at("--model")
        raise
    if path.exists():
        raise InputError("the file is there already", where=f"file '{path}'", do="Choose another name.")
    text = template(path.name, model=model, samples=samples, annotations=annotations)
    atomic_write(path, text.encode())
    typer.echo(f"{path}: fill in [data] and [model], then run 'sciinterp run {path}'")


# Options are named, so a verb may have more of them than a function may have arguments.
def run(
    config: Annotated[Path | None, typer.Argument(help="Configuration; 'sciinterp init' writes one.")] = None,
    model: Annotated[str | None, typer.Option(help="A name of 'sciinterp models'.")] = None,
    samples: Annotated[Path | None, typer.Option(help="File of samples.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="File of annotations.")] = None,
    table: TableFile = None,
    site: Annotated[str | None, typer.Option(help="A name of 'sciinterp sites MODEL'.")] = None,
    weights: Weights = None,
    by: Annotated[
        str | None, typer.Option(help="Families: a column, mmseqs, composition or block:SIZE.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write; run again to resume.", callback=folder_place),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random choice.", min=0, max=MOST)] = None,
    device: OtherDevice = None,
    layer: Layer = None,
    raw: Raw = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SECTION.KEY=VALUE", help="Another setting, as often as needed: --set sae.k=16"
        ),
    ] = None,
    full: Full = False,
    overwrite: Overwrite = False,
) -> None:
    """Do the whole job on your own data: activations, SAE, control, hits, candidates, report."""
    from sciinterp.config import named, read_config
    from sciinterp.project import run as run_project
    from sciinterp.store.atomic import overwriting

    given = {
        "model.name": model,
        "data.samples": samples,
        "data.annotations": annotations,
        "data.table": table,
        "model.site": site,
        "model.weights": weights,
        "split.by": by,
        "seed": seed,
        "model.device": device,
        "data.layer": layer,
        "data.raw": raw or None,
    }
    if config is None:
        needed = {"--model": model, "--samples": samples, "--annotations": annotations, "--out": out}
        absent = [name for name, value in needed.items() if value is None]
        if absent:
            raise InputError(
                "nothing to run",
                expected="a configuration file, or --model --samples --annotations --out",
                got=f"no {', '.join(absent)}",
                do="'sciinterp init' writes a configuration.",
            )
    options = {key: f"--{key.rpartition('.')[2]}" for key, value in given.items() if value is not None}
    options |= {key: f"--set {key}" for key in (text.partition("=")[0].strip() for text in settings or [])}
    if out is not None:
        options["out"] = "--out"
    if model is not None:
        options["model.name"] = "--model"
    with named(config, options), overwriting(overwrite):
        read, place = read_config(config, overrides=given, assignments=settings)
        if out is None and place is None:
            raise InputError(
                "no folder to write", where="out", expected="--out, or out = ... in the configuration"
            )
        made = run_project(read, out or place or Path())
    _end(made, full)


def _end(made: Run, full: bool) -> None:
    """Measure what takes longer, where it is wanted, and say what a run has found."""
    from sciinterp.provenance import families_of
    from sciinterp.report.content import concept_rows, tally
    from sciinterp.report.prose import above_so, found_so

    if full and distributed.first():
        from sciinterp.full import run_full

        with distributed.alone():
            run_full(made)
    assert made.hits is not None
    n = tally(concept_rows(made.hits, made.annotations, made.samples)[0])
    typer.echo(
        f"{n['concepts_f1_half']} of {n['concepts_tested']} concepts at F1 >= 0.5 on {families_of(made.hits)}{found_so(n)}, "
        f"{n['concepts_beating_every_baseline']} above every counted baseline{above_so(n)}; "
        f"variance explained {made.manifest['results']['sae']['fve']:.3f}"
    )
    typer.echo(f"report: {made.folder / 'report.html'}")


def zoo(
    what: Annotated[str, typer.Argument(help="build")] = "build",
    recipes: Annotated[Path, typer.Option(help="Folder of recipes, one TOML file a model.")] = Path(
        "data/zoo"
    ),
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder of the entries; run again to resume.", callback=folder_place),
    ] = Path("zoo"),
    only: Annotated[
        str | None, typer.Option(help="Recipes, or entries such as antiberty/layers.4, by commas.")
    ] = None,
    device: OtherDevice = None,
) -> None:
    """Make SAEs with hits, baselines, card, licences and checksums of every model whose weights and data are here."""
    from sciinterp.zoo import build_zoo

    if what != "build":
        raise no_such("thing to do with the zoo", what, ["build"])
    names = None if only is None else [name.strip() for name in only.split(",")]
    for entry in build_zoo(recipes, out=out, only=names, device=device):
        typer.echo(str(entry))


VERBS = named(demo, init, run, zoo)
