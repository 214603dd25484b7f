"""Verbs that use features: ``ablate``, ``steer``, ``turn``, ``readout``, ``assay``, ``variants``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sciinterp.cli.options import (
    MOST,
    CodesPlace,
    Device,
    Folder,
    Format,
    Model,
    SaePlace,
    SamplesFile,
    Seed,
    Stated,
    TableFile,
    Weights,
    echo_table,
    file_place,
    named,
    of_kind,
    read_sae,
)
from sciinterp.errors import InputError, no_such

if TYPE_CHECKING:
    from sciinterp.interventions.effect import Effect
    from sciinterp.project import Run as Made
    from sciinterp.sae import SAE

Features = Annotated[
    list[int], typer.Option("--feature", help="A feature (repeat the option for several).", min=0, max=MOST)
]
At = Annotated[
    str, typer.Option(help="Where: all, active (where the feature is), or positions from 0, such as 4,5,9.")
]
To = Annotated[
    Path | None,
    typer.Option("--out", help="Write the table of tokens here (TSV).", callback=file_place),
]
Run = Annotated[
    Path | None, typer.Option(help="A finished run: kept there with its concepts, and shown by its report.")
]
SHOWN = 20


# Options are named, so a verb may have more of them than a function may have arguments.
def ablate(
    model: Model,
    features: CodesPlace,
    samples: SamplesFile,
    feature: Features,
    at: At = "all",
    out: To = None,
    table: TableFile = None,
    weights: Weights = None,
    format: Format = "auto",
    device: Device = "cpu",
) -> None:
    """Take features away from a model's activations, and say what its scores lose."""
    import sciinterp as si

    given = si.load_features(features)
    adapter = si.load_model(model, weights=weights, device=device)
    inputs = si.read_samples(samples, table=table, format=format)
    _say(si.ablate(adapter, given, inputs, feature, at=_places(at)), out)


def steer(
    model: Model,
    features: CodesPlace,
    samples: SamplesFile,
    feature: Features,
    strength: Annotated[
        list[float], typer.Option(help="In units of the feature's largest activation; one, or one a feature.")
    ],
    at: At = "all",
    out: To = None,
    table: TableFile = None,
    weights: Weights = None,
    format: Format = "auto",
    device: Device = "cpu",
) -> None:
    """Add to features in a model's activations, and say what its scores do."""
    import sciinterp as si

    given = si.load_features(features)
    adapter = si.load_model(model, weights=weights, device=device)
    inputs = si.read_samples(samples, table=table, format=format)
    amount = strength[0] if len(strength) == 1 else strength
    _say(si.steer(adapter, given, inputs, feature, amount, at=_places(at)), out)


def turn(
    run: Folder,
    concept: Annotated[
        list[str] | None, typer.Option(help="A concept (repeat the option); by default all with a feature.")
    ] = None,
    level: Annotated[
        float, typer.Option(help="Divergence off target at which directions are compared.")
    ] = 0.1,
    n_samples: Annotated[
        int,
        typer.Option(
            "--samples", help="Samples of the test families a concept is turned on in.", min=1, max=MOST
        ),
    ] = 12,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Measure in a finished run whether selected features turn their concepts; the report shows it."""
    from sciinterp.interventions.control_matrix import ControlSettings
    from sciinterp.project import load_run, turn_features, write_report

    made = load_run(run)
    settings = ControlSettings(divergence=level, n_samples=n_samples, seed=seed)
    found = turn_features(made, concepts=concept, settings=settings, device=device)
    echo_table(found.context["summary"])
    for name, why in found.context["not_run"].items():
        typer.echo(f"not turned: {name} ({why})")
    typer.echo(f"report: {write_report(made)}")


def readout(
    run: Folder,
    column: Annotated[
        str, typer.Option(help="The label: a column of --labels, or of the samples' own table.")
    ],
    labels: Annotated[
        Path | None, typer.Option(help="A table of labels; its first column names the samples.")
    ] = None,
    event: Annotated[
        str | None, typer.Option(help="Of censored times: the column that is 1 where the time was reached.")
    ] = None,
    by: Annotated[str, typer.Option(help="Families, as for associate.")] = "family",
    classes: Annotated[
        str | None,
        typer.Option(help="Join values, and leave the others out: IGHM=no,IGHD=no,IGHG=yes,IGHA=yes."),
    ] = None,
    sizes: Annotated[str, typer.Option("--n", help="Sizes of training.")] = "24,96,all",
    draws: Annotated[
        int, typer.Option(help="Draws of families that are left out of reading.", min=1, max=MOST)
    ] = 12,
    seed: Seed = 0,
) -> None:
    """Read a label of whole samples in a finished run, beside plainer representations; the report shows it."""
    import pandas as pd

    from sciinterp.project import load_run, write_report
    from sciinterp.readers.sample_tables import sample_columns
    from sciinterp.readouts.files import read_label
    from sciinterp.readouts.readout import ReadoutSettings

    made = load_run(run)
    assert made.samples is not None
    assert made.features is not None
    values = (
        made.samples.table.set_index(pd.Index(made.samples.ids)) if labels is None else sample_columns(labels)
    )
    for name in (column, *([event] if event else [])):
        if name not in values.columns:
            raise no_such("column", name, values.columns, where="--event" if name == event else "--column")
    given = values[column]
    if classes is not None:
        joined = {name: other for name, _, other in (part.partition("=") for part in classes.split(","))}
        given = given.map({value: other or value for value, other in joined.items()})
    try:
        n = [None if part.strip() == "all" else int(part) for part in sizes.split(",")]
    except ValueError:
        raise InputError(
            "no such sizes", where="--n", expected="such as 24,96,all", got=repr(sizes)
        ) from None
    times = None if event is None else pd.DataFrame({"time": given, "event": values[event]})
    settings = ReadoutSettings(n_draws=draws, seed=seed)
    found = read_label(
        run,
        column,
        made.features,
        given if times is None else times,
        beside=(made.acts, made.control, made.hits),
        by=by,
        n=n,
        settings=settings,
    )
    echo_table(pd.DataFrame(found["table"]))
    typer.echo(f"\n{found['sentence']}")
    if found["stable"]:
        typer.echo("\nfeatures that carry it:")
        echo_table(pd.DataFrame(found["stable"]).head(SHOWN))
    typer.echo(f"\n{found['rule']['sentence']}\nreport: {write_report(made)}")


def assay(
    model: Model,
    sae: SaePlace,
    measured: Annotated[
        Path,
        typer.Argument(
            help="Variants with scores: ProteinGym, MaveDB, or a table.",
            callback=of_kind("a table of variants"),
        ),
    ],
    wild_type: Annotated[
        Path | None, typer.Option(help="Samples among which the wild type is; by default that of the table.")
    ] = None,
    score: Annotated[str | None, typer.Option(help="The column of scores, where it is not told.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the table here (TSV).", callback=file_place)
    ] = None,
    run: Run = None,
    origin: Stated = None,
    weights: Weights = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Rank an assay's variants by a model, by features and by plain baselines, positions held out."""
    import sciinterp as si
    from sciinterp.project import write_report
    from sciinterp.readouts.assay_files import keep_assay
    from sciinterp.readouts.assay_scores import AssaySettings
    from sciinterp.store.tables import write_tsv

    samples = si.read_samples(wild_type) if wild_type is not None else None
    table = si.read_assay(measured, wild_type=samples, score=score)
    adapter = si.load_model(model, weights=weights, device=device)
    dictionary = read_sae(sae, origin, model=adapter)
    made = None if run is None else _run_of(run, dictionary)
    hits = None if made is None else made.hits
    settings = AssaySettings(seed=seed)
    found = si.assay(adapter, dictionary, samples, table, hits=hits, settings=settings)
    if out is not None:
        write_tsv(found, out)
    if made is not None:
        keep_assay(made.folder, measured.name, found, read=table.context)
        typer.echo(f"report: {write_report(made)}")
    echo_table(found.drop(columns="note"))
    facts, read = found.context, table.context
    typer.echo(
        f"\n{facts['n_variants']} variants at {facts['n_positions']} positions; the random split is optimistic"
    )
    refused = [*read["refused"], *facts["refused"]]
    for row in refused[:SHOWN]:
        typer.echo(f"not used: line {row['line']}, {row['variant']}: {row['reason']}")
    typer.echo(
        f"{read['n_kept']} of {read['n_in']} rows read, {read['wrong_reference']} name another reference residue"
    )
    echo_table(facts["added"])
    echo_table(facts["features"].head(SHOWN))


def variants(
    model: Model,
    sae: SaePlace,
    samples: SamplesFile,
    table: Annotated[
        Path,
        typer.Argument(
            help="A VCF, or a table with columns sample and variant.", callback=of_kind("a table of variants")
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the features that change here (TSV).", callback=file_place),
    ] = None,
    sample_table: TableFile = None,
    run: Run = None,
    origin: Stated = None,
    weights: Weights = None,
    format: Format = "auto",
    device: Device = "cpu",
) -> None:
    """Which features variants take away or bring, and what the model's likelihood says of each."""
    import pandas as pd

    import sciinterp as si
    from sciinterp.project import write_report
    from sciinterp.readers.identifiers import match_ids
    from sciinterp.readers.sample_tables import text_table
    from sciinterp.readouts.assay_files import keep_variants
    from sciinterp.store.tables import write_tsv

    inputs = si.read_samples(samples, table=sample_table, format=format)
    is_vcf = table.name.lower().removesuffix(".gz").removesuffix(".bgz").endswith(".vcf")
    rows = si.read_variants(table) if is_vcf else text_table(table)
    steps = [rows]
    if is_vcf and not match_ids(rows["chrom"].unique(), inputs.ids):
        steps.append(si.place_variants(rows, inputs))
        rows = steps[-1]
    for told in [step.context for step in steps if is_vcf and step.context["dropped"]]:
        reasons = ", ".join(f"{n} {why}" for why, n in told["dropped"].items())
        typer.echo(
            f"{told.get('n_kept', told.get('n_placed'))} of {told['n_in']} alleles of {table.name}; not used: {reasons}"
        )
    adapter = si.load_model(model, weights=weights, device=device)
    dictionary = read_sae(sae, origin, model=adapter)
    made = None if run is None else _run_of(run, dictionary)
    hits = None if made is None else made.hits
    found = si.variant_effects(adapter, dictionary, inputs, rows, hits=hits, device=device)
    if out is not None:
        write_tsv(found, out)
    if made is not None:
        keep_variants(made.folder, found)
        typer.echo(f"report: {write_report(made)}")
    shown = ["row", "sample", "variant", "log_likelihood_change", "n_lost", "n_gained"]
    told = pd.DataFrame(found.context["variants"], columns=shown)
    echo_table(told.head(SHOWN))
    for row in found.context["refused"][:SHOWN]:
        typer.echo(f"not carried out: row {row['row']}: {row['reason']}")
    typer.echo(f"{len(told)} variants, {len(found.context['refused'])} refused")


def _run_of(folder: Path, dictionary: SAE) -> Made:
    """A finished run; InputError where its codes are of another SAE, whose concepts say nothing of this one's features."""
    from sciinterp.project import load_run

    made = load_run(folder)
    assert made.features is not None
    if made.features.origin.sae_sha256 != dictionary.signed().sae_sha256:
        raise InputError(
            "the SAE is not that of the run", where=f"--run {folder}", do="Give the folder's own sae."
        )
    return made


def _places(text: str) -> str | list[int]:
    if text in ("all", "active"):
        return text
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            "no such places", where="--at", expected="all, active, or positions such as 4,5,9", got=repr(text)
        ) from None


def _say(effect: Effect, out: Path | None) -> None:
    """Divergences, and the tokens that change most."""
    from sciinterp.store.tables import write_tsv

    frame = effect.to_frame()
    if out is not None:
        write_tsv(frame, out)
    largest = frame.loc[frame["divergence"].sort_values(ascending=False, kind="stable").index[:SHOWN]]
    echo_table(largest.drop(columns="end"))
    facts = frame.context
    typer.echo(
        f"\n{facts['n_written']} positions written; divergence in nats a token: {facts['on_target']:.4g} there, "
        f"{facts['off_target']:.4g} elsewhere"
    )


VERBS = named(ablate, steer, turn, readout, assay, variants)
