"""The zoo: SAEs of the models whose weights come from a package registry, each with its hits, baselines and a card.

A recipe is the configuration of a run (:mod:`sciinterp.config`), one TOML file a model, and a table ``[zoo]``: the
``sites`` it is run at and ``needs``, where its data come from. An entry is what such a run leaves of the SAE: the run itself stays beside it and resumes, and
:func:`sciinterp.project.run` writes its report. All sites of a model are read in one pass of it, and in one of its randomised
twin. An entry that is whole and of the same recipe is left as it is.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sciinterp.activations.extraction import extract, extract_sites
from sciinterp.config import RunConfig, from_mapping
from sciinterp.errors import InputError, MissingWeightsError, no_such
from sciinterp.project import Run, read_inputs, run
from sciinterp.provenance import measured_on
from sciinterp.report.prose import above_so, found_so
from sciinterp.settings import build, make_plain, read_toml
from sciinterp.store.atomic import atomic_write, make_folder, sha256_file

log = logging.getLogger(__name__)
# What an entry takes from a run, and how large it may be: a repository of the hub, or an e-mail, holds it.
KEPT = (
    *(
        f"sae/{name}"
        for name in ("cfg.json", "sae_weights.safetensors", "training.safetensors", "metrics.json")
    ),
    *("hits.tsv", "hits.baselines.tsv"),
)
MAX_BYTES = 20 << 20
SUMS, CARD = "SHA256SUMS", "README.md"


@dataclass(frozen=True)
class Recipe:
    """What a recipe says beside the configuration of a run.

    Attributes
    ----------
    sites : tuple of str
        Where the model is read; by default the site of the configuration.
    needs : str
        Where its data come from.
    """

    sites: tuple[str, ...] = ()
    needs: str = ""

    def __post_init__(self) -> None:
        make_plain(self)


def build_zoo(
    recipes: str | Path = "data/zoo",
    *,
    out: str | Path = "zoo",
    only: Sequence[str] | None = None,
    device: str | None = None,
) -> list[Path]:
    """Make the entries of recipes (TOML files, one a model), or what is left of them; returns their folders.

    An entry is ``out/MODEL/SITE``, and runs are kept under ``out/runs``. `only` names recipes, or entries
    (``antiberty/layers.4``); without it all are made, and those whose weights or data are not here are passed
    over, which is said. `device` takes the place of what recipes say.
    """
    place, out = Path(recipes), Path(out)
    known = {path.stem: path for path in sorted(place.glob("*.toml"))}
    if not known:
        raise InputError("there is no recipe", where=f"folder '{place}'", expected="one TOML file a model")
    wanted = {name: set[str]() for name in known} if not only else {}
    for asked in only or ():
        name, _, site = asked.partition("/")
        if name not in known:
            raise no_such("recipe", name, known)
        wanted.setdefault(name, set()).update({site} if site else set())
    made = []
    for name, some in wanted.items():
        try:
            runs = dict(recipe(known[name]))
            for site in some - set(runs):
                raise no_such("site", site, runs, where=f"recipe '{known[name]}'")
            left = [s for s in runs if not _is_whole(out / name / s, known[name]) and s in (some or runs)]
            if device is not None:
                runs = {s: replace(c, model=replace(c.model, device=device)) for s, c in runs.items()}
            for found in _made({site: runs[site] for site in left}, out / "runs" / name):
                _entry(found, out / name / found.folder.name, known[name])
            made += [out / name / site for site in runs if site in (some or runs)]
        except (InputError, MissingWeightsError) as error:
            if only:
                raise
            log.warning("%s is passed over: %s", name, error)
    return made


def recipe(path: Path) -> Iterator[tuple[str, RunConfig]]:
    """The runs of a recipe, site by site.

    An error where it is no TOML, has a key that is not known or no site, or its data are not here.
    """
    values = read_toml(path)
    own = build(Recipe, values.pop("zoo", {}), section="zoo")
    config, _ = from_mapping(values, base=path.absolute().parent)
    for file in (config.data.samples, config.data.annotations):
        if not Path(file).exists():
            raise InputError("the data of the recipe are not here", where=f"'{file}'", do=own.needs)
    sites = own.sites or ((config.model.site,) if config.model.site else ())
    if not sites:
        raise InputError("the recipe names no site", where=f"'{path}'", expected="[zoo] sites")
    for site in sites:
        yield site, replace(config, model=replace(config.model, site=site))


def _made(runs: dict[str, RunConfig], out: Path) -> Iterator[Run]:
    """The runs of a model's sites: it and its randomised twin read the samples once for all of them."""
    if not runs:
        return
    config = next(iter(runs.values()))
    inputs = read_inputs(config, out)
    model, samples = inputs.model, inputs.samples
    assert model is not None and samples is not None
    for site in runs:
        model.site(site)  # before a folder is made of its name
    dtype, how = config.model.kept_as, config.extract
    extract_sites(
        model,
        samples,
        {site: make_folder(out / site / "activations") for site in runs},
        dtype=dtype,
        settings=how,
    )
    if config.control:
        folders = {site: make_folder(out / site / "control" / "activations") for site in runs}
        extract_sites(model.randomised(config.seed), samples, folders, dtype=dtype, settings=how)
    for site, each in runs.items():
        # What is there is entered in the ledger: a run goes on in no folder without one.
        extract(model, samples, site=site, out=out / site / "activations", dtype=dtype, settings=how)
        yield run(each, out / site, inputs=inputs, with_report=False)


def _is_whole(folder: Path, source: Path) -> bool:
    """Whether an entry is there, of this recipe, and intact."""
    if not (folder / SUMS).is_file():
        return False
    lines = (folder / SUMS).read_text().splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    intact = all((folder / name).is_file() and sha256_file(folder / name) == sums[name] for name in sums)
    return intact and sums.get("recipe.toml") == sha256_file(source)


def _entry(made: Run, folder: Path, source: Path) -> Path:
    """What a run leaves in the zoo: arrays, tables, card and checksums; InputError where it is too large."""
    files = [made.folder / name for name in KEPT if (made.folder / name).is_file()]
    size = sum(file.stat().st_size for file in files)
    if size > MAX_BYTES:
        raise InputError(
            "too large for the zoo",
            where=f"'{made.folder}'",
            expected=f"at most {MAX_BYTES >> 20} MB",
            got=f"{size / (1 << 20):.1f} MB",
            do="Make fewer features, or test fewer concepts.",
        )
    make_folder(folder)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    shutil.copyfile(source, folder / "recipe.toml")
    atomic_write(folder / CARD, _card(made, folder).encode())
    names = sorted(p.name for p in folder.iterdir() if p.name != SUMS)
    sums = "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names)
    atomic_write(folder / SUMS, sums.encode())
    return folder


def _card(made: Run, folder: Path) -> str:
    """The card of an entry: what it is of, from what, how good, under which licences, how to load it."""
    manifest, sae = made.manifest, made.sae
    assert sae is not None
    results = manifest["results"]
    origin, samples = sae.origin, manifest["samples"]
    licences = "\n".join(f"* {name}: {text}" for name, text in sorted(manifest["licences"].items()))
    versions = json.dumps(manifest["versions"], sort_keys=True)
    return f"""# {origin.model}, {origin.site}: {sae.n_features} features

{sae.architecture}, trained on the training families (by {manifest["split"]["by"]}) of {samples["n"]:,} samples with \
{samples["positions"]:,} positions ({samples["file"]}).

| measured on {measured_on(origin)} | |
| --- | --- |
| variance explained | {results["sae"]["fve"]:.3f} |
| codes above zero on a position | {results["sae"]["l0"]:.1f} |
| features that never fire | {results["sae"]["dead"]:.3f} |

| concepts | |
| --- | --- |
| tested | {results["concepts_tested"]} |
| of these at F1 of .5 or more | {results["concepts_f1_half"]}{found_so(results)} |
| of these above every counted baseline | {results["concepts_beating_every_baseline"]}{above_so(results)} |

{_best(made)}
`hits.tsv` has every tested pair, `hits.baselines.tsv` what plainer readers reach on the same families. Weights of the model:
sha256 {origin.weights_sha256}. `recipe.toml` makes this entry again; `{SUMS}` has the checksum of each file.

```python
sae = si.load_sae("{folder.parent.name}/{folder.name}", model=si.load_model("{origin.model}"))  # this folder
```

## Licences

{licences}

Made with {versions}.
"""


def _best(made: Run, n: int = 10) -> str:
    """The concepts that one feature marks best, as a table, each beside the best reader that counts against it.

    Where not all folds chose the feature, the F1 is that of choosing.
    """
    assert made.hits is not None
    told = made.hits[made.hits["selected"]].dropna(subset=["f1"])
    chosen = told.sort_values(["f1", "concept"], ascending=[False, True]).head(n)
    folds = made.hits.context["counts"]["folds"]
    head = f"| concept | feature | chosen in folds, of {folds} | F1 | best baseline | its F1 |\n|{' --- |' * 6}\n"
    columns = ["concept", "feature", "folds_agree", "f1", "best_baseline", "best_baseline_f1"]
    chosen = chosen.assign(**{name: chosen[name].map(_cell) for name in ("concept", "best_baseline")})
    return head + "".join(
        f"| {concept} | {feature} | {agree} | {f1:.2f} | {rival} | {theirs:.2f} |\n"
        for concept, feature, agree, f1, rival, theirs in chosen[columns].itertuples(index=False)
    )


def _cell(text: object) -> str:
    """A name as one cell of the card's table: on one line, and nothing in it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>|$~])", r"\\\1", " ".join(str(text).split()))
