"""Verbs that look at what is there: ``models``, ``sites``, ``saes``, ``report``, ``browse``, ``tracks``, ``fit``, ``benchmark``, ``verify``, ``info``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sciinterp.cli.options import (
    MOST,
    Device,
    Folder,
    Model,
    SaePlace,
    SamplesFile,
    Seed,
    Weights,
    echo_table,
    folder_place,
    named,
)
from sciinterp.errors import InputError, no_such

if TYPE_CHECKING:
    import pandas as pd


def models() -> None:
    """List the models: what they take, licence, where weights come from, how each was verified."""
    from sciinterp.models import list_models

    echo_table(list_models())


def saes(
    like: Annotated[str, typer.Argument(help="Only names that begin so, such as esmc/600m.")] = "",
) -> None:
    """List the published SAEs that are known by name: what each is of, width, k, licence, file, how it was verified."""
    from sciinterp.sae.hub import list_saes

    echo_table(list_saes(like))


def sites(model: Model, weights: Weights = None) -> None:
    """List a model's sites: width, stride and relative depth."""
    from sciinterp.models import load_model

    echo_table(load_model(model, weights=weights).sites())


def report(run: Folder) -> None:
    """Write report.html of a finished run, or of a folder that the verbs from extract to discover have filled."""
    from sciinterp.project import load_run, write_report

    typer.echo(f"report: {write_report(load_run(run))}")


def browse(
    run: Folder,
    structures: Annotated[
        Path | None, typer.Option(help="Folder of PDB or mmCIF files named by sample.")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Also serve it, on this machine only.")] = False,
) -> None:
    """Write a static feature browser of such a folder; open it from disk."""
    from sciinterp.project import load_run, write_browser
    from sciinterp.report.browser import serve_folder

    index = write_browser(load_run(run), structures=structures)
    typer.echo(f"browser: {index}")
    if serve:
        serve_folder(index.parent)


def benchmark(
    what: Annotated[str, typer.Argument(help="discovery, rediscovery, trust or dictionary")] = "discovery",
    seed: Seed = 0,
    worlds: Annotated[
        int | None,
        typer.Option(
            help="Worlds with something hidden (3 by default), of each design of trust (20), or seeds of each world of "
            "dictionary (1).",
            min=1,
            max=MOST,
        ),
    ] = None,
    null: Annotated[int, typer.Option(help="Planted worlds with nothing hidden.", min=0, max=MOST)] = 3,
    forms: Annotated[
        int, typer.Option(help="Planted worlds with a hidden concept of each form.", min=0, max=MOST)
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Keep each world (or search) here; run again to resume.", callback=folder_place),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            help="Hide and recover the concepts of this run instead; with dictionary, compare architectures and widths "
            "on its activations and concepts."
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="Claims of trust, worlds of dictionary (with --run its architectures and widths: topk,1024), or beginnings "
            "of concepts that stay, by commas."
        ),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Measure candidates against planted truth, or what a run hides; every claim in worlds that set no constant; dictionaries."""
    if what == "trust":
        from sciinterp.trust import benchmark_trust

        claims = None if only is None else [name.strip() for name in only.split(",")]
        given = {} if worlds is None else {"n_worlds": worlds}
        echo_table(benchmark_trust(seed=seed, only=claims, out=out, **given))
        return
    if what not in ("discovery", "dictionary", "rediscovery"):
        raise no_such("benchmark", what, ["discovery", "rediscovery", "trust", "dictionary"])
    if what == "rediscovery":
        tables = _rediscovered(seed, run, only, out)
    elif what == "dictionary" and run is not None:
        tables = _decompositions(run, only, out, device)
    elif what == "dictionary":
        tables = _dictionaries(range(seed, seed + (worlds or 1)), only, out, device)
    elif run is not None:
        from sciinterp.full import hide_and_recover
        from sciinterp.project import load_run

        tables = hide_and_recover(load_run(run), seed=seed)
    else:
        from sciinterp.discovery import benchmark_discovery

        n_worlds = 3 if worlds is None else worlds
        tables = benchmark_discovery(seed=seed, n_worlds=n_worlds, n_null=null, n_forms=forms, out=out)
    for name, table in tables.items():
        typer.echo(f"\n{name}")
        echo_table(table.T.rename_axis("measure") if len(table) < 3 < table.shape[1] else table)


def _rediscovered(seed: int, run: Path | None, only: str | None, out: Path | None) -> dict[str, pd.DataFrame]:
    """Which concepts of a run come back as novel candidates when only broad ones are annotated."""
    from sciinterp.discovery.rediscovery import BROAD, rediscover
    from sciinterp.project import load_run

    if run is None:
        raise InputError(
            "no run to hide concepts of",
            expected="--run FOLDER",
            do="Make one: sciinterp demo --on structures.",
        )
    made = load_run(run)
    if made.features is None:
        raise InputError("the run has no codes", where=f"folder '{run}'")
    keep = BROAD if only is None else tuple(name.strip() for name in only.split(","))
    table = rediscover(
        made.features, made.annotations, split=made.split, control=made.control, keep=keep, seed=seed, out=out
    )
    return {"rediscovered": table}


def _decompositions(run: Path, only: str | None, out: Path | None, device: str) -> dict[str, pd.DataFrame]:
    """Architectures and widths, of those that were named, on the activations of a run; its calibration families judge."""
    from sciinterp.decompositions import DecompositionSettings, compare_decompositions
    from sciinterp.project import load_run
    from sciinterp.store.tables import write_tsv

    loaded, settings = load_run(run), DecompositionSettings()
    if loaded.acts is None:
        raise InputError("the run is without its activations", where=f"folder '{run}'")
    if only is not None:
        named = [name.strip() for name in only.split(",")]
        widths = tuple(int(name) for name in named if name.isdigit()) or settings.widths
        names = tuple(name for name in named if not name.isdigit()) or settings.names
        settings = DecompositionSettings(widths=widths, names=names)
    table = compare_decompositions(
        loaded.acts, loaded.annotations, split=loaded.split, settings=settings, out=out, device=device
    )
    if out is not None:
        write_tsv(table, out / "decompositions.tsv")
    return {"decompositions": table}


def _dictionaries(seeds: range, only: str | None, out: Path | None, device: str) -> dict[str, pd.DataFrame]:
    """Every architecture and its twins on known features, in the worlds that were named."""
    import sciinterp as si
    from sciinterp.sae.dictionary_benchmark import benchmark_dictionary
    from sciinterp.sae.ground_truth import WIDE, WORLDS
    from sciinterp.store.tables import write_tsv

    known = {world.name: world for world in (*WORLDS, WIDE)}
    wanted = [w.name for w in WORLDS] if only is None else [name.strip() for name in only.split(",")]
    for name in wanted:
        if name not in known:
            raise no_such("world", name, known, where="--only")
    tables = benchmark_dictionary(
        worlds=[known[name] for name in wanted], seeds=seeds, out=out, device=device
    )
    if out is not None:
        write_tsv(tables["recovery"], out / "recovery.tsv")
        for suffix in ("svg", "png"):
            si.pl.save(si.pl.recovery(tables), out / f"recovery.{suffix}")
    return {"recovery": tables["summary"]} | ({"seeds": tables["seeds"]} if len(seeds) > 1 else {})


def tracks(
    run: Folder,
    features: Annotated[
        str, typer.Option(help="Features by commas, such as 12,57; or best: those of the hits.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the tracks.", callback=folder_place)],
    format: Annotated[str, typer.Option(help="bigwig or bedgraph.")] = "bigwig",
    sizes: Annotated[
        Path | None, typer.Option(help="Names and lengths of the chromosomes: chrom.sizes, .fai.")
    ] = None,
) -> None:
    """Write features and candidates of a run as tracks of a genome browser, or GFF3 of proteins."""
    import sciinterp as si
    from sciinterp.project import load_run

    made = load_run(run)
    if made.features is None or made.hits is None:
        raise InputError("the run has no features yet", where=f"'{run}'")
    if features == "best":
        wanted = made.hits.loc[made.hits["selected"], "feature"].tolist()
    elif all(part.strip().isdecimal() for part in features.split(",")):
        wanted = [int(part) for part in features.split(",")]
    else:
        raise InputError(
            "not numbers of features", where="--features", expected="12,57, or best", got=features
        )
    for path in si.tracks(
        made.features, wanted, out=out, candidates=made.candidates, format=format, sizes=sizes
    ):
        typer.echo(str(path))


def fit(
    sae: SaePlace,
    model: Model,
    samples: SamplesFile,
    weights: Weights = None,
    tokens: Annotated[int, typer.Option(help="Tokens to measure on, at most.", min=1, max=MOST)] = 4096,
    device: Device = "cpu",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Keep the SAE here with the measured origin, so that verbs take it.",
            callback=folder_place,
        ),
    ] = None,
) -> None:
    """Measure at which site of a model an SAE fits; exit code 1 where it fits none."""
    import sciinterp as si
    from sciinterp.devices import moved
    from sciinterp.fit import FitSettings

    read = si.load_sae(sae)
    adapter = si.load_model(model, weights=weights, device=device)
    with moved(device, read):
        found = si.fit_check(read, adapter, si.read_samples(samples), settings=FitSettings(n_tokens=tokens))
    echo_table(found.table)
    typer.echo(found.reason)
    if not found.fits:
        raise typer.Exit(1)
    if out is not None:
        typer.echo(f"kept in {read.save(out)}")


def verify(folder: Folder) -> None:
    """Check every checksum below a folder; exit code 1 when something is damaged, 2 when there is nothing to check."""
    from sciinterp.store.verify import check_files, summarise_files

    files = check_files(folder)
    found = files["status"].value_counts()
    by_folder = summarise_files(files)
    if len(by_folder):
        echo_table(by_folder)
    damaged = files[files["status"] == "damaged"]
    typer.echo("".join(f"\ndamaged: {file} ({why})" for file, why in zip(damaged["file"], damaged["detail"])))
    typer.echo(
        f"{len(files)} files: "
        + ", ".join(f"{found.get(status, 0)} {status}" for status in ("ok", "unchecked", "damaged"))
        + " (unchecked: no checksum is kept of them)" * ("unchecked" in found)
    )
    if len(damaged):
        raise typer.Exit(1)


def info(folder: Folder) -> None:
    """Say what a folder holds."""
    from sciinterp.store.describe import info as describe

    for key, value in describe(folder).items():
        typer.echo(f"{key}: {value}")


VERBS = named(models, sites, saes, report, browse, tracks, fit, benchmark, verify, info)
