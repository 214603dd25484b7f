"""A run: the whole path from samples to report in one folder, each stage resumable.

The folder's ``manifest.json`` is written first with everything the run is a function of (versions, seeds,
hashes of inputs and weights, licences) and again at the end with what came out, so a second call with the same
settings resumes and ends with the same bytes, and a call with other settings is refused. Seconds and memory,
which differ from run to run, live in ``timings.jsonl``.
"""

from __future__ import annotations

import json
import logging
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from sciinterp.errors import InputError, MismatchError, StoreError

log = logging.getLogger(__name__)

MANIFEST_VERSION = 1
# Packages whose version can change a number of the run.
PACKAGES = (
    "sciinterp",
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "numba",
    "anndata",
    "matplotlib",
)


@dataclass(frozen=True)
class RunSettings:
    """Everything a run is a function of, files apart.

    ``by`` is the sample column whose values are families; ``batch_size`` and ``steps`` set the training.
    """

    model: str = "antiberty"
    site: str = "layers.4"
    by: str = "family"
    n_features: int = 1024
    k: int = 32
    steps: int = 600
    batch_size: int = 2048
    seed: int = 0
    dtype: str = "float32"


@dataclass
class Run:
    """What a run folder holds, loaded."""

    folder: Path
    manifest: dict[str, Any]
    sae: Any = None
    features: Any = None
    control: Any = None
    annotations: Any = None
    split: Any = None
    hits: Any = None
    candidates: Any = None
    acts: Any = None
    model: Any = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, complete={self.manifest.get('complete')})"

    def _repr_html_(self) -> str:
        from sciinterp.tables import html_card

        results, settings = (dict(self.manifest.get(k) or {}) for k in ("results", "settings"))
        measured = results.pop("sae", None) or {}
        shown = {k: settings.get(k) for k in ("model", "site", "n_features", "k", "seed")}
        return html_card(
            repr(self), {**shown, **measured, **{k.replace("_", " "): v for k, v in results.items()}}
        )


def run_all(
    samples_path: Path,
    annotations_path: Path,
    *,
    out: Path,
    table: Path | None = None,
    settings: RunSettings | None = None,
    licences: dict[str, str] | None = None,
) -> Run:
    """Do the whole job, or what is left of it.

    Parameters
    ----------
    samples_path, annotations_path, table : path
        The samples, their annotations and their columns.
    out : path
        The run folder, new or of the same run.
    settings : RunSettings
    licences : dict
        Licence notes that go into the manifest and the report.

    Raises
    ------
    InputError
        Before anything is written, when an input cannot be used.
    MismatchError
        When the folder belongs to a run with other settings or inputs.
    """
    import sciinterp as si
    from sciinterp.store.lock import folder_lock

    settings = settings or RunSettings()
    out = Path(out)
    _require_usable(out)
    model = si.load_model(settings.model, dtype=settings.dtype)
    model.site(settings.site)
    samples = si.read_samples(samples_path, table=table)
    model.check(samples)
    annotations = si.read_annotations(annotations_path)
    annotations.positives(samples)
    split = si.split_families(samples, by=settings.by, seed=settings.seed)
    manifest = _plan(settings, model, samples, annotations, split, licences or {})
    _require_same(out, manifest)
    if _is_complete(out):
        log.info("%s is complete: nothing to do", out)
        return load_run(out)
    out.mkdir(parents=True, exist_ok=True)
    with folder_lock(out):
        _write_manifest(out, manifest)
        annotations.write(out / "annotations.tsv")
        run = Run(out, manifest, annotations=annotations, split=split, model=model)
        _represent(run, samples, settings)
        _conclude(run, settings.seed)
    return run


def _represent(run: Run, samples: Any, settings: RunSettings) -> None:
    """Activations, SAE, codes, and the same on randomised weights."""
    import sciinterp as si

    out = run.folder
    with stage(out, "extract"):
        run.acts = si.extract(run.model, samples, site=settings.site, out=out / "activations")
    architecture = si.TopK(n_features=settings.n_features, k=settings.k)
    with stage(out, "train"):
        run.sae = si.train(
            run.acts,
            architecture,
            split=run.split,
            out=out / "sae",
            seed=settings.seed,
            steps=settings.steps,
            batch_size=settings.batch_size,
        )
    with stage(out, "encode"):
        run.features = si.encode(run.sae, run.acts, out=out / "features")
    with stage(out, "control"):
        run.control = si.randomised_control(
            run.model, run.sae, samples, split=run.split, out=out / "control", seed=settings.seed
        )


def _conclude(run: Run, seed: int) -> None:
    """Hits, candidates, tables, figures and the report."""
    import sciinterp as si
    from sciinterp.association import write_enrichment, write_h5ad, write_hits
    from sciinterp.discovery import write_candidates

    out = run.folder
    with stage(out, "associate"):
        run.hits = si.associate(
            run.features, run.annotations, split=run.split, acts=run.acts, control=run.control, seed=seed
        )
        write_hits(run.hits, out)
    with stage(out, "discover"):
        run.candidates = si.discover(
            run.features,
            run.annotations,
            run.hits,
            split=run.split,
            model=run.model,
            control=run.control,
            acts=run.acts,
            seed=seed,
        )
        write_candidates(run.candidates, out)
    with stage(out, "tables"):
        write_h5ad(run.features, run.hits, out, sae=run.sae)
        write_enrichment(run.features, run.annotations, out, split=run.split, seed=seed)
    run.manifest = {**run.manifest, "complete": True, "results": _results(run)}
    with stage(out, "report"):
        write_report(run)
    seal(run)


def seal(run: Run) -> None:
    """Write the manifest with the checksums of the tables that are there."""
    from sciinterp.store.verify import sealed

    run.manifest = sealed(run.manifest, run.folder)
    _write_manifest(run.folder, run.manifest)


def write_report(run: Run) -> Path:
    """Write ``report.html`` of a run whose tables are made, with what the full run measured where it was made."""
    import sciinterp as si
    from sciinterp.store.atomic import read_json

    full, control = run.folder / "full.json", run.folder / "control" / "sae" / "metrics.json"
    return si.report(
        run.folder / "report.html",
        sae=run.sae,
        features=run.features,
        hits=run.hits,
        candidates=run.candidates,
        acts=run.acts,
        manifest={
            **run.manifest,
            "full": read_json(full) if full.is_file() else None,
            "control": read_json(control) if control.is_file() else None,
        },
    )


def load_run(folder: str | Path) -> Run:
    """Load a finished run folder.

    Raises
    ------
    StoreError
        When the folder holds no run, or one that did not finish.
    """
    import sciinterp as si
    from sciinterp.association import read_hits
    from sciinterp.discovery import read_candidates
    from sciinterp.store.atomic import read_json

    folder = Path(folder)
    manifest = (
        read_json(folder / "manifest.json") if (folder / "manifest.json").is_file() else _assembled(folder)
    )
    if not manifest.get("complete"):
        raise StoreError(
            "this run did not finish",
            where=f"folder '{folder}'",
            do="Run the same command again to resume it.",
        )
    run = Run(folder, manifest)
    run.sae = si.load_sae(folder / "sae")
    run.features = si.load_features(folder / "features")
    run.features.sae = run.sae
    if (folder / "control" / "features").is_dir():
        run.control = si.load_features(folder / "control" / "features")
    if (folder / "activations").is_dir():
        run.acts = si.load_activations(folder / "activations")
    run.annotations = si.read_annotations(folder / "annotations.tsv")
    settings = manifest["settings"]
    run.split = si.split_families(run.features.samples, by=settings["by"], seed=settings["seed"])
    run.hits = read_hits(folder, annotations=run.annotations, split=run.split)
    seeded = folder / "full" if (folder / "full.json").is_file() else folder  # with other seeds known
    if (seeded / "candidates.json").is_file():
        run.candidates = read_candidates(seeded)
    return run


def _assembled(folder: Path) -> dict[str, Any]:
    """What stands for the manifest where single verbs filled a folder: SAE, codes, hits and their annotations."""
    from sciinterp.store.atomic import read_json

    needed = ("sae/cfg.json", "features/features.json", "hits.context.json", "annotations.tsv")
    absent = [name for name in needed if not (folder / name).is_file()]
    if absent:
        raise StoreError(
            "this is not a run folder",
            where=f"folder '{folder}'",
            expected="manifest.json, or what the verbs write: sae/ features/, and with 'associate --out' of this folder its tables",
            got=f"no manifest.json and no {', '.join(absent)}",
            do="Make one with 'sciinterp demo', or with extract, train, encode and associate.",
        )
    settings = read_json(folder / "hits.context.json")["settings"]
    return {"complete": True, "settings": {"by": settings["by"], "seed": settings["split_seed"]}}


def beside(features: Any, folder: Path) -> dict[str, Path]:
    """Folders of activations and of control codes that lie beside codes in a run folder and belong to them.

    Parameters
    ----------
    features : FeatureMatrix
        The codes.
    folder : path
        Where they were read from.

    Returns
    -------
    dict
        ``activations`` where those beside are of the same samples, model and site, ``control`` where it is of the
        same samples.
    """
    import sciinterp as si
    from sciinterp.activations import same_fingerprint

    parent, digest, found = folder.resolve().parent, features.samples.digest, {}
    acts, control = parent / "activations", parent / "control" / "features"
    if (acts / "manifest.json").is_file():
        theirs = si.load_activations(acts)
        mark = features.origin.fingerprint
        if mark and same_fingerprint(theirs.fingerprint, mark) and theirs.samples.digest == digest:
            found["activations"] = acts
    if (control / "features.json").is_file() and si.load_features(control).samples.digest == digest:
        found["control"] = control
    return found


@contextmanager
def stage(out: Path, name: str) -> Iterator[None]:
    """Append seconds and peak memory of a stage to ``timings.jsonl``."""
    start = time.perf_counter()
    log.info("%s ...", name)
    yield
    record = {
        "stage": name,
        "seconds": round(time.perf_counter() - start, 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    with open(out / "timings.jsonl", "a", encoding="utf-8") as handle:
        handle.write(json.dumps(record) + "\n")
    log.info("%s: %.1f s, peak memory %d MiB", name, record["seconds"], record["peak_mib"])


def _plan(
    settings: RunSettings, model: Any, samples: Any, annotations: Any, split: Any, licences: dict[str, str]
) -> dict[str, Any]:
    import hashlib

    rows = annotations.frame.to_csv(sep="\t", index=False).encode()
    plan = {
        "version": MANIFEST_VERSION,
        "complete": False,
        "settings": asdict(settings),
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
        },
        "split": {
            part: {"samples": len(split.part(part)), "families": len(split.families(part))}
            for part in ("train", "calibration", "test")
        },
        "licences": licences,
        "versions": {name: metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
    }
    return json.loads(json.dumps(plan, sort_keys=True, default=str))


def _results(run: Run) -> dict[str, Any]:
    selected = run.hits[run.hits["selected"]]
    return {
        "sae": {k: run.sae.metrics.get(k) for k in ("fve", "l0", "dead")},
        "concepts_tested": len(selected),
        "concepts_f1_half": int((selected["f1"] >= 0.5).sum()),
        "concepts_beating_every_baseline": int((selected["delta_low"] > 0).sum()),
        "candidates": {k: int(v) for k, v in run.candidates["kind"].value_counts().sort_index().items()},
    }


def _require_usable(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError("the output is not a folder", where=f"'{out}'", do="Choose another --out.")
    # A run killed before its manifest leaves only its lock or a temporary, whose names begin with a dot.
    names = [p.name for p in out.iterdir() if not p.name.startswith(".")] if out.is_dir() else []
    if names and "manifest.json" not in names:
        raise InputError(
            "the output folder is in use by something else",
            where=f"folder '{out}'",
            expected="a new, empty or run folder",
            do="Choose another --out.",
        )


def _require_same(out: Path, manifest: dict[str, Any]) -> None:
    from sciinterp.store.atomic import read_json

    if not (out / "manifest.json").is_file():
        return
    found = read_json(out / "manifest.json")
    if found.get("version", 0) > MANIFEST_VERSION:
        raise StoreError(
            "this run was made by a newer sciinterp",
            where=f"folder '{out}'",
            expected=f"version {MANIFEST_VERSION}",
            got=str(found.get("version")),
            do="Update sciinterp.",
        )
    for key in manifest:
        if key != "complete" and found.get(key) != manifest[key]:
            raise MismatchError(
                f"the folder holds another run: its {key} differ",
                where=f"folder '{out}'",
                expected=_short(manifest[key], found.get(key)),
                got=_short(found.get(key), manifest[key]),
                do="Choose another --out, or remove the folder.",
            )


def _is_complete(out: Path) -> bool:
    from sciinterp.store.atomic import read_json

    return (out / "manifest.json").is_file() and bool(read_json(out / "manifest.json").get("complete"))


def _short(value: Any, other: Any) -> str:
    if isinstance(value, dict) and isinstance(other, dict):
        value = {k: v for k, v in value.items() if other.get(k) != v}
    return json.dumps(value)[:120]


def _write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    from sciinterp.store.atomic import write_json

    write_json(out / "manifest.json", manifest)
