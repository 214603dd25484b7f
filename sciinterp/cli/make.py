"""Verbs that make something: ``extract``, ``train``, ``encode``, ``control``, ``associate``, ``discover``, ``sweep-sites``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import typer

from sciinterp import distributed
from sciinterp.cli.options import (
    MOST,
    Acts,
    ActsPlace,
    AnnotationsFile,
    By,
    CodesPlace,
    Control,
    Device,
    Format,
    Layer,
    Model,
    Out,
    Overwrite,
    Raw,
    SaePlace,
    SamplesFile,
    Seed,
    Stated,
    TableFile,
    Weights,
    echo_not_run,
    echo_table,
    named,
    read_sae,
)
from sciinterp.errors import InputError, no_such

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sciinterp.activations import Activations
    from sciinterp.annotations import Annotations
    from sciinterp.association import AssociationSettings
    from sciinterp.codes import FeatureMatrix
    from sciinterp.frames import Table
    from sciinterp.provenance import Origin
    from sciinterp.samples import Samples, Split

T = TypeVar("T", int, float)


# Options are named, so a verb may have more of them than a function may have arguments.
def extract(
    model: Model,
    samples: SamplesFile,
    site: Annotated[list[str], typer.Option(help="A site, or several (repeat the option).")],
    out: Out,
    table: TableFile = None,
    weights: Weights = None,
    format: Format = "auto",
    layer: Layer = None,
    raw: Raw = False,
    dtype: Annotated[str, typer.Option(help="Type the activations are kept in.")] = "float32",
    precision: Annotated[
        str, typer.Option(help="Of the matrix products: float32, bfloat16 or float16; its error is kept.")
    ] = "float32",
    device: Device = "cpu",
    unreadable: Annotated[
        str,
        typer.Option(help="Samples the model cannot read: stop, or skip (named, and counted as dropped)."),
    ] = "stop",
    overwrite: Overwrite = False,
) -> None:
    """Record activations of a model on samples."""
    import sciinterp as si

    if unreadable not in ("stop", "skip"):
        raise no_such("choice", unreadable, ("stop", "skip"), where="--unreadable")
    adapter = si.load_model(model, weights=weights, dtype=precision, device=device)
    inputs = adapter.prepare(si.read_samples(samples, table=table, format=format, layer=layer, raw=raw))
    acts = si.extract(
        adapter,
        adapter.readable(inputs) if unreadable == "skip" else inputs,
        site=site[0] if len(site) == 1 else list(site),
        out=out,
        dtype=dtype,
        overwrite=overwrite,
    )
    typer.echo(repr(acts))


def train(
    activations: ActsPlace,
    out: Out,
    architecture: Annotated[
        str, typer.Option(help="topk, batchtopk, matryoshka, jumprelu, gated or relu.")
    ] = "matryoshka",
    features: Annotated[int, typer.Option(help="Size of the dictionary.", min=1, max=MOST)] = 1024,
    k: Annotated[
        int | None,
        typer.Option(help="Features active at a position (topk, batchtopk, matryoshka).", min=1, max=MOST),
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
    scaling: Annotated[
        bool,
        typer.Option(
            "--scaling",
            help="Fit how the error falls with width, k and training families (--grid 'features=... k=... share=...'), "
            "and say where the next doubling pays.",
        ),
    ] = False,
    control: Annotated[
        Path | None,
        typer.Option(help="With --scaling: activations of the randomised model, for the same fit."),
    ] = None,
    steps: Annotated[int, typer.Option(help="Training steps.", min=1, max=MOST)] = 600,
    device: Device = "cpu",
    by: By = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Train a sparse autoencoder on recorded activations, or several with --grid, and a table to choose from."""
    import sciinterp as si
    from sciinterp.sae.registry import architectures_from
    from sciinterp.store.atomic import overwriting

    named = [f"k={k}"] * (k is not None) + (parameters or []) + (grid or [])
    values = {"features": [str(features)], **_assigned(named)}
    values["n_features"] = values.pop("features")
    seeds = _numbers("seed", values.pop("seed", [str(seed)]), int)
    if scaling:
        with overwriting(overwrite):
            how = {"steps": steps, "device": device, "seeds": tuple(seeds)}
            _scaling(activations, control, architecture, values, out, by, how)
        return
    if control is not None:
        raise InputError("activations of a control are for --scaling", where="--control", do="Add --scaling.")
    wanted = architectures_from(architecture.lower(), values)
    acts = si.load_activations(activations)
    split = _split(acts.samples, by, seed)
    if len(wanted) * len(seeds) > 1:
        with overwriting(overwrite):
            table = si.sweep_saes(acts, wanted, out=out, seeds=seeds, split=split, steps=steps, device=device)
        echo_table(table)
        typer.echo(
            "\non families held out from all of them: fve, variance explained; l0, codes above zero a token; dead, share that never fires\n"
            "mdl, description length in bits a token on calibration families (lower is better) = codes + dictionary + "
            "residual; gaussian, the same without a dictionary\n"
            "pareto: no other SAE has at most this l0 and at least this fve; name: its folder below --out"
        )
        return
    with overwriting(overwrite):
        sae = si.train(acts, wanted[0], out=out, seed=seeds[0], steps=steps, split=split, device=device)
    typer.echo(
        f"variance explained {sae.metrics['fve']:.4f}, L0 {sae.metrics['l0']:.1f}, dead {sae.metrics['dead']:.3f}"
    )


def _scaling(
    activations: ActsPlace,
    control: Path | None,
    architecture: str,
    values: dict[str, list[str]],
    out: Path,
    by: str | None,
    how: Mapping[str, int | str | tuple[int, ...]],
) -> None:
    """Train what a law is fitted to; say what it says."""
    import sciinterp as si
    from sciinterp.sae.registry import ARCHITECTURES
    from sciinterp.sae.scaling import ScalingSettings
    from sciinterp.settings import build

    given = {**how, "architecture": ARCHITECTURES.get(architecture)}
    if architecture not in ("topk", "batchtopk", "matryoshka"):
        raise no_such(
            "architecture with a k", architecture, ("topk", "batchtopk", "matryoshka"), where="--scaling"
        )
    for option, field in (("n_features", "widths"), ("k", "ks")):
        if len(values.get(option, [])) > 1:
            given[field] = tuple(_numbers(option, values[option], int))
    if "share" in values:
        given["shares"] = tuple(_numbers("share", values["share"], float))
    unknown = set(values) - {"n_features", "k", "share"}
    if unknown:
        raise no_such("quantity to vary", min(unknown), ("features", "k", "share", "seed"), where="--scaling")
    acts, settings = si.load_activations(activations), build(ScalingSettings, given)
    found = si.scaling(
        acts,
        split=_split(acts.samples, by, settings.seeds[0]),
        control=None if control is None else si.load_activations(control),
        settings=settings,
        out=out,
    )
    for quantity in [term for term in dict.fromkeys(found.fits["term"]) if term != "irreducible"]:
        for suffix in ("svg", "png"):
            si.pl.save(si.pl.scaling(found, over=quantity), out / f"scaling.{quantity}.{suffix}")
    echo_table(found.fits)
    figures = f"figures: {out / 'scaling.*.svg'}"
    typer.echo("".join(f"\n{sentence}\n" for sentence in [*found.sentences, figures]), nl=False)


def encode(
    sae: SaePlace,
    activations: ActsPlace,
    out: Out,
    origin: Stated = None,
    device: Device = "cpu",
    overwrite: Overwrite = False,
) -> None:
    """Encode activations into sparse feature codes."""
    import sciinterp as si

    given = read_sae(sae, origin), si.load_activations(activations)
    typer.echo(repr(si.encode(*given, out=out, device=device, overwrite=overwrite)))


def control(
    model: Model,
    sae: SaePlace,
    samples: SamplesFile,
    out: Out,
    table: TableFile = None,
    weights: Weights = None,
    format: Format = "auto",
    layer: Layer = None,
    raw: Raw = False,
    origin: Stated = None,
    precision: Annotated[
        str, typer.Option(help="Of the matrix products: float32, bfloat16 or float16.")
    ] = "float32",
    device: Device = "cpu",
    by: By = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Repeat the recipe of an SAE on the model with randomised weights: what a finding has to be held against."""
    import sciinterp as si
    from sciinterp.store.atomic import overwriting

    adapter = si.load_model(model, weights=weights, dtype=precision, device=device)
    inputs = adapter.prepare(si.read_samples(samples, table=table, format=format, layer=layer, raw=raw))
    trained = read_sae(sae, origin)
    split = _split(inputs, by, seed, trained.origin)
    with overwriting(overwrite):
        codes = si.randomised_control(adapter, trained, inputs, split=split, out=out, seed=seed)
    typer.echo(repr(codes))


def associate(
    features: CodesPlace,
    annotations: AnnotationsFile,
    out: Out,
    activations: Acts = None,
    control: Control = None,
    format: Format = "auto",
    by: By = None,
    seed: Seed = 0,
    every: Annotated[bool, typer.Option("--all", help="Keep every pair, not only the strongest.")] = False,
) -> None:
    """Test every feature against every concept on held-out families."""
    from sciinterp.association import AssociationSettings
    from sciinterp.association.explanations import legend
    from sciinterp.association.explanations import shown as shown_word
    from sciinterp.provenance import families_of
    from sciinterp.report.content import concept_rows, tally
    from sciinterp.report.prose import above_so

    settings = AssociationSettings(strongest=None) if every else None
    given = _given(features, annotations, activations, control, format, by, seed)
    hits = given.associated(seed, out, settings)
    shown = [
        "concept",
        "feature",
        "folds_agree",
        "f1",
        "f1_low",
        "f1_high",
        "best_baseline",
        "best_baseline_f1",
    ]
    chosen = hits[hits["selected"]][[*shown, "delta_low", "q_above", "explained_by"]]
    echo_table(chosen.assign(explained_by=chosen["explained_by"].map(shown_word)))
    n = tally(concept_rows(hits, given.annotations, given.features.samples)[0])
    typer.echo(
        f"\nscores on {families_of(hits)}, and of choosing where folds_agree, the folds that chose the feature, is not "
        f"{hits.context['counts']['folds']}; delta_low: the least lower end of the intervals of F1 minus that of each "
        "counted baseline; q_above: the q-value over concepts of its lying above all of them; explained_by: "
        f"{legend()}\n{n['concepts_beating_every_baseline']} of {n['concepts_tested']} above every counted baseline"
        f"{above_so(n)}"
    )
    echo_not_run(hits.context["not_run"])


def discover(
    features: CodesPlace,
    annotations: AnnotationsFile,
    out: Out,
    activations: Acts = None,
    control: Control = None,
    format: Format = "auto",
    by: By = None,
    seed: Seed = 0,
) -> None:
    """List candidates: missing annotations, novel concepts, refinements. Hits that lie in --out are used."""
    import sciinterp as si
    from sciinterp.discovery import DiscoverySettings, describe_candidates
    from sciinterp.store import ledger

    given = _given(features, annotations, activations, control, format, by, seed)
    if distributed.told(distributed.first() and ledger.is_done(out, "associate")):
        logging.getLogger(__name__).info("hits: %s", out / "hits.tsv")
        hits = si.read_hits(out)
    else:
        hits = given.associated(seed, out)
    candidates = si.discover(
        given.features,
        given.annotations,
        hits,
        split=given.split,
        control=given.control,
        settings=DiscoverySettings(seed=seed),
        out=out,
    )
    shown = ["kind", "sample", "start", "end", "concept", "feature", "probability", "q", "reason_against"]
    if len(candidates):
        echo_table(candidates[shown].head(30))
        typer.echo("")
    for line in describe_candidates(candidates):
        typer.echo(line)
    echo_not_run(hits.context["not_run"], "baselines ")


def sweep_sites(
    model: Model,
    samples: SamplesFile,
    annotations: AnnotationsFile,
    site: Annotated[list[str], typer.Option(help="A site (repeat the option for each).")],
    out: Out,
    table: TableFile = None,
    weights: Weights = None,
    format: Annotated[
        str, typer.Option(help="Format of the annotations, where it is not recognised.")
    ] = "auto",
    samples_format: Annotated[
        str, typer.Option(help="Format of the samples, where it is not recognised.")
    ] = "auto",
    layer: Layer = None,
    raw: Raw = False,
    device: Device = "cpu",
    by: By = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Concepts by site: one SAE a site, beside neurons and randomised weights."""
    import sciinterp as si
    from sciinterp.annotations.projection import placed
    from sciinterp.sae import TrainSettings
    from sciinterp.store.atomic import overwriting
    from sciinterp.store.tables import write_tsv

    inputs = si.read_samples(samples, table=table, format=samples_format, layer=layer, raw=raw)
    adapter = si.load_model(model, weights=weights, device=device)
    for name in site:
        adapter.site(name)
    notes = placed(si.read_annotations(annotations, format=format), inputs)
    split = _split(inputs, by, seed)
    settings = TrainSettings(seed=seed, device=device)
    with overwriting(overwrite):
        rows = si.sweep_sites(adapter, inputs, notes, sites=site, out=out, settings=settings, split=split)
    write_tsv(rows, out / "sites.tsv")
    write_tsv(rows.context["hits"], out / "concepts.tsv")
    figure = si.pl.layer_sweep(rows)
    for suffix in ("svg", "png"):
        si.pl.save(figure, out / f"sites.{suffix}")
    echo_table(rows)
    typer.echo(f"concepts of every site: {out / 'concepts.tsv'}; figure: {out / 'sites.svg'}")


def _split(samples: Samples, by: str | None, seed: int, origin: Origin | None = None) -> Split:
    """Families by an option; without it those that the SAE of an origin was trained with, where they are known."""
    import sciinterp as si
    from sciinterp.provenance import Training, carried_split

    told = origin.training if origin is not None else None
    if by is None and origin is not None and isinstance(told, Training) and told.repeatable:
        return carried_split(origin, samples)
    return si.split_families(samples, by=by, seed=seed)


class _Given(NamedTuple):
    """What associate and discover read."""

    folder: Path
    features: FeatureMatrix
    annotations: Annotations
    split: Split
    acts: Activations | None
    control: FeatureMatrix | None

    def associated(self, seed: int, out: Path, settings: AssociationSettings | None = None) -> Table:
        """Hits, with the codes of twins that lie in the run folder of the features as further controls."""
        import sciinterp as si
        from sciinterp.project import twins_beside

        control = {} if self.control is None else {"randomised": self.control}
        control |= twins_beside(self.folder.resolve().parent)
        how = {"split": self.split, "acts": self.acts, "control": control, "settings": settings}
        return si.associate(self.features, self.annotations, **how, seed=seed, out=out)


def _given(
    features: Path,
    annotations: Path,
    activations: Path | None,
    control: Path | None,
    format: str,
    by: str | None,
    seed: int,
) -> _Given:
    """What was read; activations and control that were not named are looked for beside the features."""
    import sciinterp as si
    from sciinterp.annotations.projection import placed

    codes = si.load_features(features)
    found = _beside(codes, features)
    for name, path in (("activations", activations), ("control", control)):
        if path is None and name in found:
            logging.getLogger(__name__).info("%s: %s, found beside the features", name, found[name])
    activations, control = activations or found.get("activations"), control or found.get("control")
    return _Given(
        features,
        codes,
        placed(si.read_annotations(annotations, format=format), codes.samples),
        _split(codes.samples, by, seed, codes.origin),
        si.load_activations(activations) if activations else None,
        si.load_features(control) if control else None,
    )


def _beside(features: FeatureMatrix, folder: Path) -> dict[str, Path]:
    """Folders that lie beside codes in a run folder and belong to them: ``activations``, ``control``.

    Activations are of the same samples, model and site, codes of the control of the same samples.
    """
    import sciinterp as si
    from sciinterp.activations import same_fingerprint

    parent, digest, found = folder.resolve().parent, features.samples.digest, dict[str, Path]()
    acts, control = parent / "activations", parent / "control" / "features"
    if (acts / "manifest.json").is_file():
        theirs, mark = si.load_activations(acts), features.origin.fingerprint
        same = isinstance(mark, Mapping) and bool(mark) and same_fingerprint(theirs.fingerprint, mark)
        if same and theirs.samples.digest == digest:
            found["activations"] = acts
    if control.is_dir() and si.load_features(control).samples.digest == digest:
        found["control"] = control
    return found


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


def _numbers(name: str, texts: list[str], kind: type[T]) -> list[T]:
    try:
        return [kind(text) for text in texts]
    except ValueError:
        whole = "whole " * (kind is int)
        raise InputError(f"not a {whole}number", where=name, got=", ".join(texts)) from None


VERBS = named(extract, train, encode, control, associate, discover, sweep_sites)
