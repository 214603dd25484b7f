"""Verbs that use features: ``ablate``, ``steer``, ``turn``, ``readout``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sciinterp.cli.options import Device, Folder, Format, Seed, TableFile, Weights, echo_table
from sciinterp.errors import InputError, no_such

if TYPE_CHECKING:
    from sciinterp.interventions.effect import Effect

Features = Annotated[list[int], typer.Option("--feature", help="A feature (repeat the option for several).")]
At = Annotated[
    str, typer.Option(help="Where: all, active (where the feature is), or positions from 0, such as 4,5,9.")
]
To = Annotated[Path | None, typer.Option("--out", help="Write the table of tokens here (TSV).")]
SHOWN = 20


# Options are named, so a verb may have more of them than a function may have arguments.
def ablate(
    model: str,
    features: Path,
    samples: Path,
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
    model: str,
    features: Path,
    samples: Path,
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
        int, typer.Option("--samples", help="Held-out samples a concept is turned on in.")
    ] = 12,
    seed: Seed = 0,
) -> None:
    """Measure in a finished run whether selected features turn their concepts; the report shows it."""
    from sciinterp.interventions.control_matrix import ControlSettings
    from sciinterp.project import load_run, turn_features, write_report

    made = load_run(run)
    settings = ControlSettings(divergence=level, n_samples=n_samples, seed=seed)
    found = turn_features(made, concepts=concept, settings=settings)
    echo_table(found.context["summary"])
    for name, why in found.context["not_run"].items():
        typer.echo(f"not turned: {name} ({why})")
    typer.echo(f"report: {write_report(made)}")


def readout(
    run: Folder,
    label: Annotated[str, typer.Option(help="A column of the samples' table.")],
    by: Annotated[str, typer.Option(help="Families, as for associate.")] = "family",
    classes: Annotated[
        str | None, typer.Option(help="Keep these values alone, or join them: IGHM=0,IGHG=1,IGHA=1.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Read a label of whole samples from features, beside plainer representations, families held out."""
    import sciinterp as si
    from sciinterp.project import beside
    from sciinterp.readouts.readout import ReadoutSettings

    folder = run / "features"
    features = si.load_features(folder)
    values = features.samples.table
    if label not in values.columns:
        raise no_such("column", label, values.columns, where="--label")
    given = values[label]
    if classes is not None:
        joined = {name: other for name, _, other in (part.partition("=") for part in classes.split(","))}
        given = given.map({value: other or value for value, other in joined.items()})
    found = beside(features, folder)
    table = si.readout(
        features,
        given.to_list(),
        by=by,
        acts=si.load_activations(found["activations"]) if "activations" in found else None,
        control=si.load_features(found["control"]) if "control" in found else None,
        settings=ReadoutSettings(seed=seed),
    )
    echo_table(table)
    facts = table.context
    gap, low, high = facts["difference"]
    typer.echo(
        f"\nfeatures needed: {facts['needed']} (best plainer: {facts['best_rival']}, difference {gap:.3f} [{low:.3f}, {high:.3f}]); "
        f"{facts['n_samples']} samples, {facts['n_families']} families"
    )
    echo_table(facts["stable"].head(SHOWN))


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


VERBS = {"ablate": ablate, "steer": steer, "turn": turn, "readout": readout}
