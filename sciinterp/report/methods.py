"""Methods text to paste into a paper: every choice and number the content knows, and none it does not."""

from __future__ import annotations

from collections.abc import Mapping

from sciinterp.association.baselines import describe
from sciinterp.association.explanations import THRESHOLDS
from sciinterp.association.jackknife import MIN_FAMILIES
from sciinterp.report.prose import UNITS_AND_THINGS, count, join, value
from sciinterp.settings import Plain


def what_is(name: str, settings: Plain) -> str:
    """What a baseline of this name is; nothing for a name we do not know."""
    known = settings.get("baselines")
    return describe(name, known if isinstance(known, Mapping) else None)


def methods(content: Plain) -> list[str]:
    """Paragraphs of methods text."""
    parts = (_recording, _split, _dictionary, _testing, _effects, _controls, _candidates, _beyond, _software)
    return [text for text in (part(content).strip() for part in parts) if text]


def _recording(content: Plain) -> str:
    done, data = content["done"], content["done"]["data"]
    unit, thing = UNITS_AND_THINGS.get(data["kind"], ("positions", "samples"))
    dropped = join([f"{v} {k}" for k, v in data["dropped"].items()])
    lost = f" ({data['n_in']:,} entries were read; dropped: {dropped})" if data["dropped"] else ""
    identity = content["provenance"]["sae"] or {}
    said = [
        f"{identity['precision']} arithmetic" if isinstance(identity.get("precision"), str) else "",
        f"kept as {identity['kept_as']}" if isinstance(identity.get("kept_as"), str) else "",
        f"normalised before by {identity['norm']}" if identity.get("norm") not in (None, "none", "") else "",
        f"{identity['kind']}" if isinstance(identity.get("kind"), str) else "",
    ]
    said = [s for s in said if s]
    weights = identity.get("weights_sha256")
    weights = f", weights of SHA-256 {str(weights)[:16]}..." if isinstance(weights, str) else ""
    text = f"Activations of {done['model']}{weights} were recorded at site {done['site']}"
    text += f" ({', '.join(said)})" if said else ""
    return text + f" for {data['n']:,} {thing} ({data['positions']:,} {unit}){lost}."


def _split(content: Plain) -> str:
    split = content["done"]["split"]
    if not split:
        return ""
    parts = [
        f"{count(p['samples'], 'sample')} in {count(p['families'], 'family', 'families')} for {p['part']}"
        for p in split["parts"]
    ]
    return (
        f"Samples were divided by {split['how']} ({count(split['n_families'], 'family', 'families')}, "
        f"seed {split['seed']}) so that no family is in two parts: {join(parts)}. {content['done']['judged']['pretraining']}"
    )


def _dictionary(content: Plain) -> str:
    sae, done, m = content["sae"], content["done"], content["sae"]["metrics"]
    extra = ", ".join(f"{k} = {v}" for k, v in sae["architecture"]["settings"].items() if v is not None)
    text = f"A sparse autoencoder ({sae['architecture']['name']}{', ' + extra if extra else ''}) "
    text += f"with {sae['n_features']:,} features"
    text += f" over {m['d_in']:,} dimensions" if m.get("d_in") else ""
    text += f" was trained{' ' + done['held_out']['trained'] if done['split'] else ''}"
    recipe, said = sae["recipe"], []
    if recipe.get("steps"):
        said.append(f"{recipe['steps']:,} steps of {recipe.get('batch_size', '?'):,} positions")
        rows = recipe.get("rows") or m.get("n_train_tokens")
        passes = recipe["steps"] * recipe["batch_size"] / rows if rows and recipe.get("batch_size") else None
        said[-1] += f", {passes:.1f} passes over {rows:,}" if passes else ""
    if sae["peak_learning_rate"]:
        said.append(f"Adam with a peak learning rate of {sae['peak_learning_rate']:.3g}")
    if recipe.get("warmup") is not None and recipe.get("decay") is not None:
        said.append(
            f"warm-up over {recipe['warmup']:.0%} and decay over the last {recipe['decay']:.0%} of steps"
        )
    other = ("encoder_pull", "clip", "dead_window", "sparsity_warmup")
    said += [f"{k.replace('_', ' ')} {recipe[k]:g}" for k in other if isinstance(recipe.get(k), int | float)]
    seed = recipe.get("seed", m.get("seed"))
    said += [f"seed {seed}"] if seed is not None else []
    text += f" ({'; '.join(said)})" if said else ""
    held = [
        f"it explains {value(m['fve'], 3)} of the variance" if m.get("fve") is not None else "",
        f"{value(m['l0'], 1)} codes lie above zero a token" if m.get("l0") is not None else "",
    ]
    held = [s for s in held if s]
    text += f". On {sae['measured_on']} {' and '.join(held)}" if held else ""
    text += (
        f"; {100 * m['dead']:.1f}% of features never fire on the training data"
        if m.get("dead") is not None
        else ""
    )
    return text + "."


def _testing(content: Plain) -> str:
    done, settings = content["done"], content["done"]["association_settings"]
    tested = [c for c in content["concepts"] if c["f1"] is not None]
    text = ""
    notes = done["annotations"]
    if notes:
        sources = [
            f"{s['source']} ({count(s['rows'], 'row')}{', release ' + s['release'] if s['release'] else ''})"
            for s in notes["sources"]
        ]
        text += f"Annotations came from {join(sources)}: {count(notes['concepts'], 'concept')}"
        text += f", {notes['on_positions']:,} of them placed on positions. "
    text += f"{count(len(tested), 'concept')} could be tested, each against every feature. "
    screen = settings.get("screen") if isinstance(settings.get("screen"), Mapping) else None
    tests = sorted({c["test"] for c in tested if c["test"] in TESTS})
    if tests:
        text += f"Presence in families was tested by {join([TESTS[t] for t in tests])}"
        if screen:
            text += (
                f" (a family carries a concept when {screen.get('carried', 0):.0%} of its samples do; at least "
                f"{screen.get('min_families')} families, {screen.get('min_carriers')} with and without it; strata by "
                f"{STRATA.get(screen.get('strata'), screen.get('strata'))}; {screen.get('n_permutations'):,} permutations of whole families)"
            )
        text += ". "
        if any(c["p_place"] is not None for c in tested):
            text += PLACE
        said = f", and say that {done['q_says']}" if done.get("q_says") else ""
        text += f"q-values are Benjamini and Hochberg's{said}. "
    universal = sum(c["test"] == "universal" for c in tested)
    few = sum(c["test"] == "too few families" for c in tested)
    text += f"{count(universal, 'concept')} that every family carries and {few} with too few families have no p-value. "
    return text


PLACE = (
    "Place was tested by shifting annotations around their chains, all relatives of a family together and families "
    "independently: the tail of the sum over families of positions that are active and annotated is a saddlepoint "
    "approximation to its exact distribution. The larger p-value of each pair counts. "
)
STRATA = {"exposure": "family size and length", "size": "family size"}
TESTS = {
    "cochran-mantel-haenszel": "the Cochran-Mantel-Haenszel test",
    "fisher": "Fisher's exact test",
    "within families": "the exact test of samples stratified by family (cells of one donor are exchangeable)",
}


def _effects(content: Plain) -> str:
    settings = content["done"]["association_settings"]
    families = content["done"]["judged"]["families"]
    n_folds = content["done"]["folds"]
    chosen = "training families" if n_folds == 1 else f"the families of all other of {n_folds} folds"
    text = (
        f"For every concept the feature and its threshold were chosen by F1 on {chosen}, over all features and "
        f"thresholds, and scored once on {families}; precision is a lower bound where a source does not annotate "
        "exhaustively. "
    )
    if settings.get("n_boot"):  # hits of before 0.4
        text += (
            f"Intervals ({settings.get('level', 0.95):.0%}) come from {settings['n_boot']:,} bootstrap samples of the "
            f"{families} (seed {settings.get('seed', 'not stated')}); the difference to the best baseline has its "
            "own, from the same samples. "
        )
    elif settings.get("level"):
        text += (
            f"Intervals ({settings['level']:.0%}) leave out one of the {families} at a time (jackknife, Student's t with as "
            "many degrees of freedom as equal families would say as much, less one; score interval, differences after "
            f"Zou and Donner, 2008); with fewer than {MIN_FAMILIES} families that carry a concept there are none. A "
            "feature is said to lie above every counted baseline where its difference to each of them clears zero, with "
            f"false discovery control over concepts (Benjamini-Hochberg, q at most {THRESHOLDS.q_above:g}). "
        )
    kept = settings.get("strongest")
    text += (
        f"Beside selected pairs the strongest others were measured, at most {kept:,} in all. " if kept else ""
    )
    return text


def _controls(content: Plain) -> str:
    run, missing = content["controls"]["run"], content["controls"]["not_run"]
    settings = content["done"]["association_settings"]

    def named(rows: list[Plain]) -> str:
        words = [(b["name"], what_is(b["name"], settings)) for b in rows]
        return "; ".join(f"{name}: {said}" if said else name for name, said in words)

    counted, ceilings = [b for b in run if b["counted"]], [b for b in run if not b["counted"]]
    text = (
        f"Baselines, chosen on training families and scored on the others as features are: {named(counted)}. "
        if counted
        else "No baseline was run. "
    )
    text += f"Shown beside and not counted among the baselines: {named(ceilings)}. " if ceilings else ""
    if missing:
        text += f"Not run: {join([m['name'] + (' (' + m['reason'] + ')' if m['reason'] else '') for m in missing])}."
    return text


def _candidates(content: Plain) -> str:
    listing = content["candidates"]
    if not listing["n"]:
        return ""
    kinds = join([f"{k['n']:,} {k['kind']}" for k in listing["kinds"]])
    text = (
        f"Candidates ({kinds}) carry a probability calibrated by hiding and recovering known annotations and a q-value "
        "against decoys; none has been confirmed. "
    )
    settings = listing["context"].get("settings")
    if isinstance(settings, Mapping):
        plain = [f"{k} = {v}" for k, v in settings.items() if not isinstance(v, dict | list)]
        text += f"Settings: {', '.join(plain)}. "
    skipped = listing["context"].get("skipped")
    if isinstance(skipped, Mapping) and skipped:
        text += f"{count(len(skipped), 'concept')} could not have missing annotations proposed."
    return text


def _beyond(content: Plain) -> str:
    beyond = content["beyond"]
    if not beyond:
        return ""
    said = [
        f"{r['name'][0].lower()}{r['name'][1:]} {value(r['model'], r['digits'])} "
        f"(randomised weights {value(r['control'], r['digits'])})"
        for r in beyond["rows"]
        if r["model"] is not None
    ]
    text = f"Measured on {content['done']['held_out']['families']}: {'; '.join(said)}. " if said else ""
    chosen = [r for r in beyond["width"] if r.get("selected")]
    if chosen:
        widths = [f"{r['n_features']:,}" for r in beyond["width"]]
        text += f"Of the widths {join(widths)}, {chosen[0]['n_features']:,} features give the shortest description."
    return text


def _software(content: Plain) -> str:
    versions = content["provenance"]["versions"]
    if not versions:
        return ""
    first = f"sciinterp {versions['sciinterp']}" if "sciinterp" in versions else "sciinterp"
    rest = join([f"{k} {v}" for k, v in versions.items() if k != "sciinterp"])
    return f"Computed with {first} on {rest}."
