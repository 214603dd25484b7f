"""A project: the whole path from samples to report in one folder, each stage resumable.

What it is a function of lies in its ledger (:mod:`sciinterp.store.ledger`): a second call goes on and ends with the same
bytes, one with other settings is refused. Filled by single verbs, it opens in report and browser too.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd

from sciinterp import distributed
from sciinterp.activations import Activations, extract, load_activations
from sciinterp.activations.plan import Work
from sciinterp.annotations import Annotations, read_annotations
from sciinterp.annotations.projection import placed
from sciinterp.association import associate, read_hits
from sciinterp.association.hits import require_testable
from sciinterp.codes import FeatureMatrix, encode, load_features
from sciinterp.config import RunConfig, keys_of
from sciinterp.control import randomised_control, twin_codes
from sciinterp.devices import device_of
from sciinterp.discovery import discover, read_candidates
from sciinterp.errors import InputError, MismatchError, StoreError, no_such, require_kinds
from sciinterp.frames import Table, html_card
from sciinterp.interventions.control_matrix import QUICK, ControlSettings, control_matrix, with_control
from sciinterp.interventions.files import read_turning, write_turning
from sciinterp.models import Adapter, load_model
from sciinterp.models.engine import MAX_TOKENS
from sciinterp.readers import read_samples
from sciinterp.readouts.assay_files import read_assays
from sciinterp.readouts.files import read_readouts
from sciinterp.report import browser
from sciinterp.report.content import concept_rows, tally
from sciinterp.report.write import report
from sciinterp.sae import SAE, load_sae, train
from sciinterp.samples import Samples, Split
from sciinterp.settings import Plain
from sciinterp.splits import split_families
from sciinterp.store import ledger
from sciinterp.store.atomic import is_overwriting, make_folder, read_json, require_place
from sciinterp.store.lock import folder_lock
from sciinterp.store.split_file import read_split

log = logging.getLogger(__name__)

# Packages whose version can change a number of the run.
PACKAGES = tuple("sciinterp torch numpy scipy pandas scikit-learn numba anndata matplotlib".split())
DEPTH = 0.6  # where a site is taken when none is named: the middle layers hold most concepts
PLAN = ("settings", "model", "samples", "annotations", "split", "licences", "versions")


@dataclass
class Run:
    """What a run folder holds, loaded."""

    folder: Path
    manifest: Plain
    annotations: Annotations
    split: Split
    samples: Samples | None = None
    features: FeatureMatrix | None = None
    hits: pd.DataFrame | None = None
    sae: SAE | None = None
    control: FeatureMatrix | None = None
    twins: dict[str, FeatureMatrix] = field(default_factory=dict)
    candidates: pd.DataFrame | None = None
    acts: Activations | None = None
    model: Adapter | None = None

    @property
    def seed(self) -> int:
        """Seed of every random choice."""
        return int((self.manifest.get("settings") or {}).get("seed", self.split.seed))

    def __repr__(self) -> str:
        done = ", ".join(self.manifest.get("stages") or {}) or "nothing recorded"
        return f"Run({str(self.folder)!r}: {done})"

    def _repr_html_(self) -> str:
        results = dict(self.manifest.get("results") or {})
        measured = results.pop("sae", None) or {}
        return html_card(repr(self), {**measured, **{k.replace("_", " "): v for k, v in results.items()}})


def run(config: RunConfig, out: str | Path, *, inputs: Run | None = None, with_report: bool = True) -> Run:
    """Do the whole job, or what is left of it, in a run folder that is new or of the same run.

    `inputs` are of :func:`read_inputs`, where several runs share model, samples, annotations and split.
    Without `with_report` the run ends with its results, and a later call writes the report. Nothing is
    written when an input cannot be used; MismatchError where the folder belongs to a run with other settings
    or inputs.
    """
    out = Path(out)
    _require_usable(out)
    made = replace(inputs, folder=out) if inputs else read_inputs(config, out)
    plan = _plan(config, made)
    # Of several ranks the first keeps the ledger, and does alone what is not shared out.
    manifest = distributed.told(_require_same(out, plan) if distributed.first() else {})
    if manifest.get("complete") and all((out / name).is_file() for name in ledger.checksums(manifest)):
        log.info("%s is complete: nothing to do", out)
        return load_run(out)
    make_folder(out)
    with folder_lock(out):
        if distributed.first():
            ledger.write_ledger(out, {**ledger.read_ledger(out), **plan, "complete": False})
        _represent(made, config)
        _conclude(made, config)
        if distributed.first():
            with distributed.alone():
                _end(made, with_report)
        distributed.meet()
    return made if distributed.first() else load_run(out)


def _end(made: Run, with_report: bool) -> None:
    """Results and the report, with which the run is complete."""
    out = made.folder
    made.manifest = {**ledger.read_ledger(out), "results": _results(made)}
    ledger.write_ledger(out, made.manifest)
    if not with_report:
        return
    write_report(made)
    made.manifest = {**ledger.read_ledger(out), "complete": True}
    ledger.write_ledger(out, made.manifest)


def read_inputs(config: RunConfig, out: Path) -> Run:
    """Everything that is read, checked before anything is written; an error names the key that it is about.

    What is read in no time comes first, and all that can be known before the model runs is refused here.
    """
    data, wanted = config.data, config.model
    for section, given in (("model", wanted), ("train", config.train)):
        with keys_of(section, given):
            device_of(given.device)
    with keys_of("model", wanted, "name", dtype="precision"):
        model = load_model(wanted.name, weights=wanted.weights, dtype=wanted.precision, device=wanted.device)
    with keys_of("model", wanted, "site"):
        site = site_of(model, wanted.site)
        model.site(site)
    if wanted.site is None:
        log.info(
            "site: %s, the block output nearest to %.0f%% of depth (--site names another)", site, 100 * DEPTH
        )
    with keys_of("data", data, "samples", format="samples_format"):
        samples = read_samples(
            data.samples, format=data.samples_format, table=data.table, layer=data.layer, raw=data.raw
        )
        samples = model.prepare(samples)
        if data.unreadable == "skip":
            samples = model.readable(samples)
        model.check(samples)
    with keys_of("extract", config.extract):
        Work(model, samples, MAX_TOKENS, config.extract)
    with keys_of("data", data, "annotations", format="annotations_format"):
        annotations = placed(read_annotations(data.annotations, format=data.annotations_format), samples)
        annotations.instances(samples)  # none ends beyond its sample
    with keys_of("split", config.split, "by"):
        by, fractions = config.split.by, config.split.fractions
        split = split_families(samples, by=by, fractions=fractions, seed=config.seed)
    with keys_of("data", data, "annotations"), keys_of("associate", config.associate):
        require_testable(annotations, samples, split, config.associate)
    return Run(out, {}, annotations, split, model=model, samples=samples)


def site_of(model: Adapter, name: str | None) -> str:
    """The site that is read: the one named, else the block output nearest to three fifths of the depth."""
    if name is not None:
        return name
    sites = model.sites()
    blocks = sites[sites["kind"].isin(["resid_post", "hidden"])]
    return str((blocks if len(blocks) else sites)["depth"].sub(DEPTH).abs().idxmin())


def _represent(made: Run, config: RunConfig) -> None:
    """Activations, SAE, codes, and the same on randomised weights."""
    out, model, samples = made.folder, made.model, made.samples
    assert model is not None and samples is not None
    site, dtype = site_of(model, config.model.site), config.model.kept_as
    with keys_of("extract", config.extract):
        made.acts = extract(
            model, samples, site=site, out=out / "activations", dtype=dtype, settings=config.extract
        )
    with keys_of("train", config.train):
        made.sae = train(made.acts, config.sae, settings=config.train, out=out / "sae", split=made.split)
    made.features = encode(made.sae, made.acts, out=out / "features", device=config.train.device)
    if config.control:
        where = out / "control"
        made.control = randomised_control(
            model, made.sae, samples, split=made.split, out=where, seed=config.seed, settings=config.extract
        )
    if config.twins:
        made.twins = twin_codes(made.sae, made.acts, split=made.split, out=out / "twins", frozen=config.twins)


def _conclude(made: Run, config: RunConfig) -> None:
    """Hits and candidates; what is there and intact is read."""
    out = made.folder
    assert made.features is not None
    if distributed.told(distributed.first() and ledger.is_done(out, "associate")):
        made.hits = read_hits(out)
    else:
        made.hits = associate(
            made.features,
            made.annotations,
            split=made.split,
            acts=made.acts,
            control={**({"randomised": made.control} if made.control else {}), **made.twins},
            settings=config.associate,
            seed=config.seed,
            out=out,
        )
    if config.candidates and distributed.told(distributed.first() and ledger.is_done(out, "discover")):
        made.candidates = read_candidates(out)
    elif config.candidates:
        made.candidates = discover(
            made.features,
            made.annotations,
            made.hits,
            split=made.split,
            model=made.model,
            control=made.control,
            settings=config.discover,
            out=out,
        )
    if config.turn and not ledger.is_done(out, "turn"):
        try:
            turn_features(made, settings=replace(QUICK, seed=config.seed))
        except InputError as error:
            log.warning("features were not turned: %s", error)


def turn_features(
    made: Run,
    *,
    concepts: Sequence[str] | None = None,
    settings: ControlSettings | None = None,
    device: str = "cpu",
) -> Table:
    """Measure and keep whether a run's selected features turn their concepts; a model it does not hold is loaded."""
    assert made.features is not None and made.hits is not None
    model, hits = made.model or _model_of(made, device), made.hits
    for name in sorted(set(concepts or ()) - set(hits["concept"])):
        raise no_such("concept", name, sorted(set(hits["concept"])))
    settings = settings or ControlSettings(seed=made.seed)
    told = {"concepts": list(concepts) if concepts else None, **asdict(settings)}
    some = hits[hits["concept"].isin(list(concepts))] if concepts else hits
    with ledger.recorded("turn", made.folder, settings=told):
        found = control_matrix(
            model, made.features, some, made.annotations, split=made.split, acts=made.acts, settings=settings
        )
        if settings.randomised and made.control is not None:
            if made.control.sae is None and (made.folder / "control" / "sae").is_dir():
                made.control.sae = load_sae(made.folder / "control" / "sae")
            found = with_control(
                found, model, made.control, some, made.annotations, split=made.split, settings=settings
            )
        write_turning(found, made.folder)
    return found


def _model_of(made: Run, device: str) -> Adapter:
    """The model of a run, by its settings or by the origin of its codes."""
    told = (made.manifest.get("settings") or {}).get("model") or {}
    name, dtype = told.get("name") or made.features.origin.model, told.get("precision") or "float32"  # type: ignore[union-attr]
    return load_model(str(name), weights=told.get("weights"), dtype=dtype, device=device)


def write_report(made: Run) -> Path:
    """Write ``report.html`` of a run folder, with what a full run measured where it was made."""
    control = made.folder / "control" / "sae" / "metrics.json"
    extra = {
        "control": read_json(control) if control.is_file() else None,
        **_measured_beside(made.folder),
        **read_assays(made.folder),
    }
    assert made.features is not None and made.hits is not None
    return report(
        made.folder / "report.html",
        sae=made.sae,
        features=made.features,
        hits=made.hits,
        candidates=made.candidates,
        annotations=made.annotations,
        split=made.split,
        manifest={**made.manifest, **extra},
    )


def write_browser(made: Run, *, structures: Path | None = None) -> Path:
    """Write ``browser/`` of a run folder."""
    assert made.features is not None and made.hits is not None
    return browser.write_browser(
        made.folder / "browser",
        features=made.features,
        hits=made.hits,
        candidates=made.candidates,
        annotations=made.annotations,
        split=made.split,
        structures=structures,
        manifest={**made.manifest, **_measured_beside(made.folder)},
    )


def _measured_beside(folder: Path) -> dict[str, Plain | None]:
    """What a full run, turned features and readouts left in a run folder."""
    full = folder / "full.json"
    return {
        "full": read_json(full) if full.is_file() else None,
        "turning": read_turning(folder),
        "readouts": read_readouts(folder),
    }


def load_run(folder: str | Path) -> Run:
    """Load a run folder, whoever filled it: ``sciinterp run``, single verbs, or a notebook.

    StoreError where it lacks codes, hits or annotations, or something it holds is damaged; MismatchError where
    its hits are of other samples than its codes.
    """
    require_kinds(folder=(folder, Path))
    folder = Path(folder)
    manifest = ledger.read_ledger(folder)
    absent = [name for name in ("features", "hits.tsv", "annotations.tsv") if not (folder / name).exists()]
    if absent:
        done = ", ".join(manifest["stages"]) or "nothing recorded"
        raise StoreError(
            "this is not a finished run",
            where=f"folder '{folder}'",
            expected=f"{ledger.NAME}, or what the verbs write: features/, and with 'associate --out' of this folder its tables",
            got=f"no {', '.join(absent)} (stages: {done})",
            do="Run the same command again to resume it, or make what is missing with encode and associate.",
        )
    ledger.require_intact(folder, *ledger.read_files(folder))
    features = load_features(folder / "features")
    hits = read_hits(folder)
    settings = (getattr(hits, "context", None) or {}).get("settings") or {}
    if (folder / "split.tsv").is_file():
        split = read_split(folder / "split.tsv", features.samples)
    else:
        split = split_families(features.samples, by=settings["by"], seed=settings["split_seed"])
    found = Run(
        folder,
        manifest,
        read_annotations(folder / "annotations.tsv"),
        split,
        features.samples,
        features,
        hits,
    )
    if (folder / "sae" / "cfg.json").is_file():
        found.sae = features.sae = load_sae(folder / "sae")
    if (folder / "control" / "features").is_dir():
        found.control = load_features(folder / "control" / "features")
    found.twins = twins_beside(folder)
    if (folder / "activations" / "manifest.json").is_file():
        found.acts = load_activations(folder / "activations")
    seeded = folder / "full" if (folder / "full.json").is_file() else folder  # with other seeds known
    if (seeded / "candidates.json").is_file():
        found.candidates = read_candidates(seeded)
    return found


def twins_beside(folder: Path) -> dict[str, FeatureMatrix]:
    """Codes of twins in a run folder, by the part that was not trained."""
    places = sorted((folder / "twins").glob("*/features/manifest.json"))
    return {place.parent.parent.name: load_features(place.parent) for place in places}


def _plan(config: RunConfig, made: Run) -> Plain:
    """Everything the run is a function of, as it is written."""
    samples, annotations, split, model = made.samples, made.annotations, made.split, made.model
    assert samples is not None
    assert model is not None
    rows = annotations.frame.to_csv(sep="\t", index=False).encode()
    elsewhere = int((annotations.sample_numbers(samples) < 0).sum())  # rows of samples that are not here
    parts = ("train", "calibration", "test")
    plan = {
        "settings": config.record(),
        "model": model.origin.to_record(),
        "samples": {
            "n": len(samples),
            "positions": samples.n_positions,
            "sha256": samples.digest,
            "n_in": samples.n_in,
            "dropped": samples.dropped,
            "file": Path(samples.source).name,
        },
        "annotations": {
            "rows": len(annotations),
            "concepts": len(annotations.names),
            "sha256": hashlib.sha256(rows).hexdigest(),
            "counts": annotations.counts,
            **({"elsewhere": elsewhere} if elsewhere else {}),
        },
        "split": {
            "by": split.by,
            **{p: {"samples": len(split.part(p)), "families": len(split.families(p))} for p in parts},
        },
        "licences": {"model": f"{model.name}: {model.licence}", **config.licences},
        "versions": ledger.versions(PACKAGES) | {"python": platform.python_version()},
    }
    return ledger.plain(plan)


def _results(made: Run) -> Plain:
    assert made.hits is not None and made.sae is not None
    kinds = [] if made.candidates is None else made.candidates["kind"]
    return {
        "sae": {k: made.sae.metrics.get(k) for k in ("fve", "l0", "dead")},
        **tally(concept_rows(made.hits, made.annotations, made.samples)[0]),
        "candidates": dict(sorted(Counter(kinds).items())),
    }


def _require_usable(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError("the output is not a folder", where=f"out, '{out}'", do="Choose another.")
    require_place(out)
    # A run killed before its manifest leaves only its lock or a temporary, whose names begin with a dot.
    names = [p.name for p in out.iterdir() if not p.name.startswith(".")] if out.is_dir() else []
    if names and ledger.NAME not in names:
        raise InputError(
            "the output folder is in use by something else",
            where=f"out, folder '{out}'",
            expected="a new, empty or run folder",
            do="Choose another.",
        )


def _require_same(out: Path, plan: Plain) -> Plain:
    """The manifest that is there, which is of the same run; or an error that names what differs."""
    found = ledger.read_ledger(out)
    for key in PLAN:
        if key in found and found[key] != plan[key] and is_overwriting():
            log.info("%s holds another run, which is replaced: its %s differ", out, key)
            ledger.forget(out)
            return {}
        if key in found and found[key] != plan[key]:
            raise MismatchError(
                f"the folder holds another run: its {key} differ",
                where=f"out, folder '{out}'",
                expected=_short(plan[key], found[key]),
                got=_short(found[key], plan[key]),
                do="Choose another, or overwrite this one (--overwrite, si.overwriting()).",
            )
    return found


def _short(value: object, other: object) -> str:
    """What of a value differs from another, in 120 characters."""

    def cut(a: object, b: object) -> object:
        if isinstance(a, dict) and isinstance(b, dict):
            return {k: cut(v, b.get(k)) for k, v in a.items() if b.get(k) != v}
        return a

    return json.dumps(cut(value, other))[:120]
