"""The command line: the verbs of the package, each a thin call of the function of the same name.

Errors a user can mend are one line on standard error and exit code 2; an interrupt is exit code 130, and the
same command run again resumes.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sciinterp.errors import InputError, SciinterpError

if TYPE_CHECKING:
    import pandas as pd

    from sciinterp.association import AssociationSettings
    from sciinterp.tables import Table

# Idle OpenMP threads that spin take the cores from those that work: up to elevenfold on a loaded machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

app = typer.Typer(
    name="sciinterp",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="See what a foundation model knows, and find what nobody has annotated yet.",
)

Out = Annotated[Path, typer.Option("--out", help="Folder to write; run again to resume.")]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]
By = Annotated[str, typer.Option(help="Families: a sample column, mmseqs, composition or block:SIZE.")]
Weights = Annotated[Path | None, typer.Option(help="Local weights, where the model needs them.")]
Acts = Annotated[
    Path | None,
    typer.Option(help="Activations, for neurons and components; by default those beside the features."),
]
Control = Annotated[
    Path | None, typer.Option(help="Codes of the randomised model; by default those beside the features.")
]
Folder = Annotated[Path, typer.Argument(help="A folder this package wrote.")]


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.")] = False,
) -> None:
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("sciinterp")
    logger.handlers[:] = [handler]
    logger.setLevel(level)


@app.command()
def demo(
    out: Out = Path("runs/demo"),
    data: Annotated[
        Path | None, typer.Option(help="Folder of the embedded data, when it is elsewhere.")
    ] = None,
    seed: Seed = 0,
    full: Annotated[
        bool, typer.Option("--full", help="Add what takes more minutes: seeds, width, calibration.")
    ] = False,
) -> None:
    """Run the whole job on the embedded antibodies: minutes, then open report.html."""
    from sciinterp.demo import run_demo

    run = run_demo(out, data=data, seed=seed)
    if full:
        from sciinterp.full import run_full

        run_full(run)
    results = run.manifest["results"]
    typer.echo(
        f"{results['concepts_f1_half']} of {results['concepts_tested']} concepts at held-out F1 >= 0.5, "
        f"{results['concepts_beating_every_baseline']} beat every baseline; "
        f"variance explained {results['sae']['fve']:.3f}"
    )
    typer.echo(f"report: {run.folder / 'report.html'}")


@app.command()
def models() -> None:
    """List the models: what they take, licence, where weights come from, how each was verified."""
    from sciinterp.models import list_models

    _echo_table(list_models())


@app.command()
def sites(model: str, weights: Weights = None) -> None:
    """List a model's sites: width, stride and relative depth."""
    from sciinterp.models import load_model

    _echo_table(load_model(model, weights=weights).sites())


# Options are named, so a verb may have more of them than a function may have arguments.
@app.command("extract")
def _extract(
    model: str,
    samples: Path,
    site: Annotated[list[str], typer.Option(help="A site, or several (repeat the option).")],
    out: Out,
    table: Annotated[Path | None, typer.Option(help="Tab-separated sample columns.")] = None,
    weights: Weights = None,
    dtype: Annotated[str, typer.Option(help="Type the activations are kept in.")] = "float32",
    precision: Annotated[
        str, typer.Option(help="Of the matrix products: float32, bfloat16 or float16; its error is kept.")
    ] = "float32",
    unreadable: Annotated[
        str,
        typer.Option(help="Samples the model cannot read: stop, or skip (named, and counted as dropped)."),
    ] = "stop",
) -> None:
    """Record activations of a model on samples."""
    import sciinterp as si

    if unreadable not in ("stop", "skip"):
        raise InputError(
            "no such choice", where="--unreadable", expected="stop or skip", got=repr(unreadable)
        )
    adapter, inputs = (
        si.load_model(model, weights=weights, dtype=precision),
        si.read_samples(samples, table=table),
    )
    acts = si.extract(
        adapter,
        adapter.readable(inputs) if unreadable == "skip" else inputs,
        site=site[0] if len(site) == 1 else list(site),
        out=out,
        dtype=dtype,
    )
    typer.echo(repr(acts))


@app.command("train")
def _train(
    activations: Path,
    out: Out,
    architecture: Annotated[
        str, typer.Option(help="topk, batchtopk, matryoshka, jumprelu, gated or relu.")
    ] = "topk",
    features: Annotated[int, typer.Option(help="Size of the dictionary.")] = 1024,
    k: Annotated[
        int | None, typer.Option(help="Features active at a position (topk, batchtopk, matryoshka).")
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Another parameter, as often as needed: --set l1=2, --set target_l0=32, --set prefixes=64:256:1024.",
        ),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=V1,V2",
            help="Train all combinations in one pass over the data: --grid 'k=16,32 features=512,1024 seed=0,1', or one "
            "--grid for each name.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 600,
    by: By = "family",
    seed: Seed = 0,
) -> None:
    """Train a sparse autoencoder on recorded activations, or several with --grid, and a table to choose from."""
    import sciinterp as si
    from sciinterp.sae.registry import architectures_from

    named = [f"k={k}"] * (k is not None) + (parameters or []) + (grid or [])
    values = {"features": [str(features)], **_assigned(named)}
    values["n_features"] = values.pop("features")
    seeds = _integers("seed", values.pop("seed", [str(seed)]))
    wanted = architectures_from(architecture.lower(), values)
    acts = si.load_activations(activations)
    split = si.split_families(acts.samples, by=by, seed=seed)
    if len(wanted) * len(seeds) > 1:
        _echo_table(si.sweep_saes(acts, wanted, out=out, seeds=seeds, split=split, steps=steps))
        typer.echo(
            "\non held-out families: fve, variance explained; l0, active features a token; dead, share that never fires\n"
            "mdl, description length in bits a token on calibration families (lower is better) = codes + dictionary + "
            "residual; gaussian, the same without a dictionary\n"
            "pareto: no other SAE has at most this l0 and at least this fve; name: its folder below --out"
        )
        return
    sae = si.train(acts, wanted[0], out=out, seed=seeds[0], steps=steps, split=split)
    typer.echo(
        f"variance explained {sae.metrics['fve']:.4f}, L0 {sae.metrics['l0']:.1f}, dead {sae.metrics['dead']:.3f}"
    )


@app.command()
def encode(sae: Path, activations: Path, out: Out) -> None:
    """Encode activations into sparse feature codes."""
    import sciinterp as si

    typer.echo(repr(si.encode(si.load_sae(sae), si.load_activations(activations), out=out)))


@app.command()
def associate(
    features: Path,
    annotations: Path,
    out: Out,
    activations: Acts = None,
    control: Control = None,
    by: By = "family",
    seed: Seed = 0,
    every: Annotated[bool, typer.Option("--all", help="Keep every pair, not only the strongest.")] = False,
) -> None:
    """Test every feature against every concept on held-out families."""
    from sciinterp.association import AssociationSettings, write_enrichment, write_h5ad, write_hits

    settings = AssociationSettings(strongest=None) if every else None
    given, hits = _associate(features, annotations, activations, control, by, seed, settings=settings)
    write_hits(hits, _new_folder(out))
    given["annotations"].write(out / "annotations.tsv")
    write_h5ad(given["features"], hits, out)
    write_enrichment(given["features"], given["annotations"], out, split=given["split"], seed=seed)
    shown = [
        "concept",
        "feature",
        "f1",
        "f1_low",
        "f1_high",
        "best_baseline",
        "best_baseline_f1",
        "delta_low",
    ]
    chosen = hits[hits["selected"]][[*shown, "explained_by"]]
    _echo_table(chosen.assign(explained_by=chosen["explained_by"].replace("", "-")))
    typer.echo(
        "\nscores on held-out families; delta_low: lower end of the interval of F1 minus that of the best baseline; "
        "explained_by: the simplest kind of baseline that does as well, '-' where the feature lies above all counted ones"
    )
    _echo_not_run(hits.context["not_run"])


@app.command()
def discover(
    features: Path,
    annotations: Path,
    out: Out,
    activations: Acts = None,
    control: Control = None,
    by: By = "family",
    seed: Seed = 0,
) -> None:
    """List candidates: missing annotations, novel concepts, refinements."""
    import sciinterp as si
    from sciinterp.discovery import describe_candidates, write_candidates

    given, hits = _associate(features, annotations, activations, control, by, seed)
    candidates = si.discover(
        given["features"],
        given["annotations"],
        hits,
        split=given["split"],
        control=given["control"],
        acts=given["acts"],
        seed=seed,
    )
    write_candidates(candidates, _new_folder(out))
    shown = ["kind", "sample", "start", "end", "concept", "feature", "probability", "q", "reason_against"]
    if len(candidates):
        _echo_table(candidates[shown].head(30))
        typer.echo("")
    for line in describe_candidates(candidates):
        typer.echo(line)
    _echo_not_run(hits.context["not_run"], "baselines ")


@app.command()
def report(run: Folder) -> None:
    """Write report.html of a finished run, or of a folder that the verbs from extract to discover have filled."""
    from sciinterp.run import load_run, write_report

    typer.echo(f"report: {write_report(load_run(run))}")


@app.command()
def browse(
    run: Folder,
    structures: Annotated[
        Path | None, typer.Option(help="Folder of PDB or mmCIF files named by sample.")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Also serve it, on this machine only.")] = False,
) -> None:
    """Write a static feature browser of such a folder; open it from disk."""
    from sciinterp.report.browser import serve_folder, write_browser
    from sciinterp.run import load_run
    from sciinterp.store.atomic import read_json

    found = load_run(run)
    full = run / "full.json"
    index = write_browser(
        run / "browser",
        features=found.features,
        hits=found.hits,
        sae=found.sae,
        candidates=found.candidates,
        structures=structures,
        manifest={**found.manifest, "full": read_json(full) if full.is_file() else None},
    )
    typer.echo(f"browser: {index}")
    if serve:
        serve_folder(index.parent)


@app.command()
def benchmark(
    what: Annotated[str, typer.Argument(help="discovery")] = "discovery",
    seed: Seed = 0,
    worlds: Annotated[int, typer.Option(help="Planted worlds with something hidden.")] = 3,
    null: Annotated[int, typer.Option(help="Planted worlds with nothing hidden.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Keep each world here; run again to resume.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="Hide and recover the concepts of this run instead.")
    ] = None,
) -> None:
    """Measure candidates against planted truth, or against what a run hides from them: precision, calibration."""
    if what != "discovery":
        raise InputError("there is no such benchmark", where=repr(what), expected="discovery")
    if run is not None:
        from sciinterp.full import hide_and_recover
        from sciinterp.run import load_run

        tables = hide_and_recover(load_run(run), seed=seed)
    else:
        from sciinterp.discovery import benchmark_discovery

        tables = benchmark_discovery(seed=seed, n_worlds=worlds, n_null=null, out=out)
    for name, table in tables.items():
        typer.echo(f"\n{name}")
        _echo_table(table.T.rename_axis("measure") if len(table) < 3 < table.shape[1] else table)


@app.command()
def sweep_sites(
    model: str,
    samples: Path,
    annotations: Path,
    site: Annotated[list[str], typer.Option(help="A site (repeat the option for each).")],
    out: Out,
    table: Annotated[Path | None, typer.Option(help="Tab-separated sample columns.")] = None,
    by: By = "family",
    seed: Seed = 0,
) -> None:
    """Concepts by site: one SAE a site, beside neurons and randomised weights."""
    import sciinterp as si
    from sciinterp.sae import TrainSettings
    from sciinterp.store.tables import write_tsv

    inputs = si.read_samples(samples, table=table)
    rows = si.sweep_sites(
        si.load_model(model),
        inputs,
        si.read_annotations(annotations),
        sites=site,
        out=out,
        settings=TrainSettings(seed=seed),
        split=si.split_families(inputs, by=by, seed=seed),
    )
    write_tsv(rows, out / "sites.tsv")
    write_tsv(rows.context["hits"], out / "concepts.tsv")
    figure = si.pl.layer_sweep(rows)
    for suffix in ("svg", "png"):
        si.pl.save(figure, out / f"sites.{suffix}")
    _echo_table(rows)
    typer.echo(f"concepts of every site: {out / 'concepts.tsv'}; figure: {out / 'sites.svg'}")


@app.command()
def verify(folder: Folder) -> None:
    """Check every checksum below a folder; exit code 1 when something is damaged, 2 when there is nothing to check."""
    from sciinterp.store.verify import check_files, summarise_files

    files = check_files(folder)
    found = files["status"].value_counts()
    by_folder = summarise_files(files)
    if len(by_folder):
        _echo_table(by_folder)
    damaged = files[files["status"] == "damaged"]
    typer.echo("".join(f"\ndamaged: {file} ({why})" for file, why in zip(damaged["file"], damaged["detail"])))
    typer.echo(
        f"{len(files)} files: "
        + ", ".join(f"{found.get(status, 0)} {status}" for status in ("ok", "unchecked", "damaged"))
        + " (unchecked: no checksum is kept of them)" * ("unchecked" in found)
    )
    if len(damaged):
        raise typer.Exit(1)


@app.command()
def info(folder: Folder) -> None:
    """Say what a folder holds."""
    from sciinterp.store.verify import info as describe

    for key, value in describe(folder).items():
        typer.echo(f"{key}: {value}")


def _associate(
    features: Path,
    annotations: Path,
    activations: Path | None,
    control: Path | None,
    by: str,
    seed: int,
    settings: AssociationSettings | None = None,
) -> tuple[dict[str, Any], Table]:
    """What was read, and the hits; activations and control that were not named are looked for beside the features."""
    import sciinterp as si
    from sciinterp.run import beside

    given: dict[str, Any] = {
        "features": si.load_features(features),
        "annotations": si.read_annotations(annotations),
    }
    found = beside(given["features"], features)
    for name, path in (("activations", activations), ("control", control)):
        if path is None and name in found:
            logging.getLogger("sciinterp").info("%s: %s, found beside the features", name, found[name])
    activations, control = activations or found.get("activations"), control or found.get("control")
    given["split"] = si.split_families(given["features"].samples, by=by, seed=seed)
    given["acts"] = si.load_activations(activations) if activations else None
    given["control"] = si.load_features(control) if control else None
    return given, si.associate(**given, settings=settings, seed=seed)


def _echo_not_run(reasons: Mapping[str, str], what: str = "") -> None:
    """One line on the baselines that are missing from a table, and why."""
    if reasons:
        typer.echo(f"{what}not run: " + "; ".join(f"{name} ({why})" for name, why in reasons.items()))


def _assigned(options: list[str]) -> dict[str, list[str]]:
    """``NAME=V1,V2`` options as lists of values; one option may hold several, parted by spaces."""
    found: dict[str, list[str]] = {}
    for option in " ".join(options).split():
        name, equals, values = option.partition("=")
        if not equals:
            raise InputError(
                "a parameter needs its name", where=repr(option), expected="NAME=VALUE, such as k=32"
            )
        found[name] = values.split(",")
    return found


def _integers(name: str, texts: list[str]) -> list[int]:
    try:
        return [int(text) for text in texts]
    except ValueError:
        raise InputError("not a whole number", where=name, got=", ".join(texts)) from None


def _new_folder(out: Path) -> Path:
    from sciinterp.store.atomic import make_folder

    return make_folder(out)


def _echo_table(frame: pd.DataFrame) -> None:
    index = frame.index.name is not None
    typer.echo(frame.to_string(index=index, max_colwidth=60, float_format=lambda v: f"{v:.3f}"))


def main() -> None:
    """Run the command line; one line for what a user can mend."""
    try:
        app(standalone_mode=True)
    except SciinterpError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; run the same command again to resume", err=True)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
