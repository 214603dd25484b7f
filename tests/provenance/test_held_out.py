"""Held out, not held out, unknown: every way an SAE can come about, and every sentence that speaks of it."""

import ast
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp.association import AssociationSettings, read_hits, write_hits
from sciinterp.association.explanations import verdicts
from sciinterp.discovery.settings import Controls
from sciinterp.errors import InputError, MismatchError, ShapeError
from sciinterp.plots import concepts_vs_baselines
from sciinterp.provenance import UNKNOWN, HeldOut, Origin, Training, families_of, held_out
from sciinterp.report import write
from sciinterp.report.browser import write_browser
from sciinterp.report.prose import statements

# Words that only HeldOut may choose: a text of its own that holds them would say them of every SAE.
OWN_WORDS = re.compile(r"held[- ]out (F1|sample|famil)|famil\w+ held out", re.IGNORECASE)
# Where they may stand: HeldOut itself, what is printed with its words in their place, and SAEs compared on families
# that the split holds out from all of them.
WITH_REASON = {"provenance/heldout.py", "association/explanations.py", "cli/make.py"}
D, N_FAMILIES, EACH, LENGTH = 12, 16, 3, 20
# What may be printed only where it is known that no held-out family trained the SAE.
CLAIMS = (
    "was trained on the training families only",
    "tested on families that the features were not trained on",
    "held out from the sparse autoencoder",
    "held-out families",
)


def make_samples(first: int = 0, n_families: int = N_FAMILIES) -> si.Samples:
    rng = np.random.default_rng(first)
    families = [f"f{first + i}" for i in range(n_families) for _ in range(EACH)]
    ids = [f"s{first * EACH + i}" for i in range(len(families))]
    sequences = ["".join(rng.choice(list("ACDEFGHIKL"), LENGTH)) for _ in ids]
    return si.Samples(ids, sequences, table=pd.DataFrame({"family": families, "clone": ids}))


def rows_of(samples: si.Samples) -> np.ndarray:
    """Letters as rows, so that features have something to find."""
    table = np.random.default_rng(0).normal(size=(256, D)).astype(np.float32)
    return np.concatenate([table[np.frombuffer(s.encode(), np.uint8)] for s in samples.sequences])


def store(samples, folder, **origin):
    origin = {"model": "mine", "site": "last"} | origin
    return si.activations_from_array(rows_of(samples), samples, out=folder, **origin)


def train(source, **more):
    return si.train(source, si.TopK(n_features=24, k=3), steps=4, batch_size=64, **more)


WAYS = {  # how the SAE came about -> what is known
    "store with this split": "held out",
    "array with samples and this split": "held out",
    "store of this split's training samples": "held out",
    "store of other samples, same column": "held out",
    "randomised, with this split": "held out",
    "foreign, its training stated": "held out",
    "store without a split": "not held out",
    "array with samples": "not held out",
    "store with another split": "not held out",
    "store with another column": "not held out",
    "store of a subset": "not held out",
    "store of a superset": "not held out",
    "array alone": "unknown",
    "store of other samples, clusters": "unknown",
    "store of other samples, no split": "unknown",
    "foreign": "unknown",
    "foreign, its origin stated": "unknown",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    samples = make_samples()
    split = si.split_families(samples, by="family", seed=0)
    return samples, split, store(samples, tmp_path_factory.mktemp("acts"))


def make_sae(way, world, folder):
    samples, split, acts = world
    by = {"by": "family", "seed": 0}
    train_part = samples.subset(split.train)
    larger = si.Samples(
        [*samples.ids, "more"], [*samples.sequences, "A" * LENGTH],
        table=pd.DataFrame({"family": [*samples.table["family"], "f0"], "clone": [*samples.ids, "more"]}),
    )  # fmt: skip
    others = make_samples(100)
    if way == "store with this split":
        return train(acts, split=split)
    if way == "array with samples and this split":
        return train(rows_of(samples), samples=samples, split=split)
    if way == "store of this split's training samples":
        return train(store(train_part, folder))
    if way == "store of other samples, same column":
        return train(store(others, folder), split=si.split_families(others, **by))
    if way == "randomised, with this split":
        sae = train(acts, split=split)
        sae.origin = dataclasses.replace(sae.origin, randomised_seed=0)
        return sae
    if way == "store without a split":
        return train(acts)
    if way == "array with samples":
        return train(rows_of(samples), samples=samples)
    if way == "store with another split":
        return train(acts, split=si.split_families(samples, by="family", seed=1))
    if way == "store with another column":
        return train(acts, split=si.split_families(samples, by="clone", seed=0))
    if way == "store of a subset":
        return train(store(samples.subset(np.arange(0, len(samples), 2)), folder))
    if way == "store of a superset":
        return train(store(larger, folder), split=si.split_families(larger, by="family", seed=3))
    if way == "store of other samples, clusters":
        return train(store(others, folder), split=si.split_families(others, by=others.table["family"]))
    if way == "store of other samples, no split":
        return train(store(others, folder))
    sae = train(rows_of(samples))
    if way.startswith("foreign"):
        sae.export(folder / "foreign", format="sparsify")
        given = {"model": "mine", "site": "last"}
        if "training" in way:
            given["training"] = Training.of(samples, split)
        return si.load_sae(folder / "foreign", **({"origin": si.Origin(**given)} if "stated" in way else {}))
    return sae


def made(way, world, folder):
    """Codes by such an SAE, saved and read back, so that what is known survives the disk."""
    samples, _, acts = world
    sae = make_sae(way, world, folder)
    sae.save(folder / "sae")
    sae = si.load_sae(folder / "sae")
    source = acts if sae.origin.model else rows_of(samples)
    if sae.origin.randomised_seed == 0:
        source = rows_of(samples)
    si.encode(sae, source, samples=samples, out=folder / "features")
    features = si.load_features(folder / "features")
    features.sae = sae
    return features


@pytest.mark.parametrize("way", WAYS)
def test_what_is_known_of_every_way(way, world, tmp_path):
    samples, split, _ = world
    features = made(way, world, tmp_path)
    for origin in (features.origin, features.sae.origin):
        assert held_out(origin, samples, split).state == WAYS[way]


@pytest.fixture(scope="module")
def hits_of(world, tmp_path_factory):
    samples, split, _ = world
    rows = pd.DataFrame(
        [(name, p, p + 1, "letter:A") for name, s in zip(samples.ids, samples.sequences) for p, c in enumerate(s) if c == "A"],
        columns=["sample", "start", "end", "concept"],
    )  # fmt: skip
    annotations = si.Annotations(rows)

    def make(features, split=split, annotations=annotations, folds=1):
        settings = AssociationSettings(strongest=30, folds=folds)
        hits = si.associate(features, annotations, split=split, settings=settings)
        folder = tmp_path_factory.mktemp("hits")
        write_hits(hits, folder)
        return read_hits(folder)

    make.annotations = annotations
    return make


def printed(features, hits, out, **made_with) -> str:
    """Everything that a report, its figures' captions, a browser and the terminal say."""
    page = si.report(out / "r.html", features=features, hits=hits, **made_with)
    index = write_browser(out / "browser", features=features, hits=hits, **made_with)
    site = [p.read_text() for p in sorted(index.parent.rglob("*")) if p.suffix in (".js", ".html")]
    axis = concepts_vs_baselines(hits).get_xlabel()
    said = [page.read_text(), page.with_suffix(".json").read_text(), *site, axis, families_of(hits)]
    assert write.methods.methods(json.loads(page.with_suffix(".json").read_text()))
    return "\n".join([*said, *hits.context["caveats"].values()])


@pytest.mark.parametrize("way", WAYS)
def test_no_sentence_claims_more_than_is_known(way, world, hits_of, tmp_path, undrawn):
    features = made(way, world, tmp_path)
    hits = hits_of(features)
    given = {"split": world[1]} if len(way) % 2 else {}  # without it the page says what the hits say
    text = printed(features, hits, tmp_path, **given)
    for claim in CLAIMS:
        assert (claim in text) == (WAYS[way] == "held out"), claim
    assert WAYS[way] == "held out" or not OWN_WORDS.findall(
        text.replace("families held out from selection", "")
    )
    judged = hits.context["held_out"]
    assert judged["state"] == WAYS[way]
    assert ("held_out" in hits.context["caveats"]) == (WAYS[way] != "held out")
    assert text.count(judged["sentence"]) >= 2
    assert (judged["n_overlap"] > 0) == (WAYS[way] == "not held out")


def texts(path: Path) -> list[str]:
    """What a file may print: of Python its strings without docstrings."""
    if path.suffix != ".py":
        return [path.read_text()]
    tree = ast.parse(path.read_text())
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = {
        id(n.body[0].value)
        for n in ast.walk(tree)
        if isinstance(n, holders) and isinstance(n.body[0], ast.Expr)
    }
    constants = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docs)
    return [n.value for n in constants if isinstance(n.value, str)]


def test_no_text_of_its_own_speaks_of_held_out_families():
    """Captions, summaries, pages of the browser, messages: of rooms that are not built yet, too."""
    root = Path(si.__file__).parent
    files = [p for p in root.rglob("*") if p.suffix in (".py", ".html", ".js")]
    said = {p.relative_to(root).as_posix() for p in files if any(OWN_WORDS.search(text) for text in texts(p))}
    assert said == WITH_REASON


@pytest.mark.parametrize("kind", verdicts())
def test_a_verdict_takes_the_words_of_the_state(kind):
    families = HeldOut("unknown").families
    (said,) = statements([{"concept": "a", "verdict": kind.name or "above"}], families)
    assert not OWN_WORDS.search(said["says"].replace(families, ""))


def test_where_all_families_judge_those_that_trained_the_sae_are_named(world, hits_of, tmp_path, undrawn):
    _, split, _ = world
    features = made("store with this split", world, tmp_path)
    hits = hits_of(features, folds=None)
    judged = hits.context["held_out"]
    assert (judged["state"], judged["crossed"]) == ("not held out", True)
    assert judged["n_overlap"] == len(split.families("train"))
    assert judged["n_families"] == len(np.unique(split.family))
    text = printed(features, hits, tmp_path, split=split)
    assert text.count(judged["sentence"]) >= 2
    assert "chosen by F1 on the families of all other of 3 folds" in text
    assert f"F1 on {judged['families']}" in text
    unseen = hits_of(made("store of other samples, same column", world, tmp_path / "other"), folds=None)
    assert unseen.context["held_out"]["n_overlap"] == 0


def test_a_split_is_a_split_of_families_not_of_a_set(world):
    """The same training families in another order of samples, or with more calibration, are still held out."""
    samples, split, _ = world
    order = np.random.default_rng(1).permutation(len(samples))
    mixed = samples.subset(order)
    again = si.split_families(mixed, by="family", seed=0)
    origin = Origin(training=Training.of(samples, split))
    same = set(np.array(samples.ids)[split.train]) & set(np.array(mixed.ids)[again.test])
    assert (held_out(origin, mixed, again).state == "held out") == (not same)
    renamed = si.Samples(
        [f"x{i}" for i in range(len(samples))], samples.sequences, table=samples.table.reset_index(drop=True)
    )
    split = dataclasses.replace(split, ids=renamed.ids)
    assert held_out(origin, renamed, split).state == "held out"
    everything = dataclasses.replace(split, test=split.train, train=split.test)
    assert held_out(origin, renamed, everything).n_overlap == len(split.families("train"))


def test_later_verbs_take_the_split_that_the_sae_carries(world, hits_of, tmp_path, caplog):
    samples, _, acts = world
    split = si.split_families(samples, by="family", seed=5, fractions=(0.6, 0.1, 0.3))
    features = si.encode(train(acts, split=split), acts)
    hits = hits_of(features, split=None)
    assert hits.context["settings"]["split_seed"] == 5
    assert hits.context["held_out"]["state"] == "held out"
    assert hits.context["belongs"]["split"] == split.digest
    with pytest.raises(InputError, match=r"split="):
        hits_of(si.encode(train(acts), acts), split=None)


def test_hits_and_candidates_of_different_runs_never_meet(world, hits_of, tmp_path):
    samples, split, acts = world
    other = si.split_families(samples, by="family", seed=1)
    features = si.encode(train(acts, split=split), acts)
    hits, others = hits_of(features), hits_of(features, split=other)
    annotations = hits_of.annotations
    fewer = si.Annotations(annotations.frame.iloc[5:])
    candidates = si.discover(features, annotations, hits, split=split)
    another = si.encode(train(acts, split=split, seed=1), acts)
    for call in (
        lambda: si.report(tmp_path / "r.html", features=features, hits=others, candidates=candidates),
        lambda: write_browser(tmp_path / "b", features=features, hits=others, candidates=candidates),
        lambda: si.report(tmp_path / "r.html", features=another, hits=hits),
        lambda: write_browser(tmp_path / "b", features=another, hits=hits),
        lambda: si.report(tmp_path / "r.html", features=features, hits=hits, sae=another.sae),
        lambda: si.report(tmp_path / "r.html", features=features, hits=hits_of(features, annotations=fewer), candidates=candidates),
        lambda: si.discover(features, fewer, hits, split=split),
        lambda: si.discover(features, annotations, hits, split=other),
        lambda: si.discover(another, annotations, hits, split=split),
    ):  # fmt: skip
        with pytest.raises(MismatchError, match="belong together"):
            call()
    assert not (tmp_path / "r.html").exists()
    assert not (tmp_path / "b").exists()


def test_phrases_exist_for_every_state():
    for state in ("held out", "not held out", "unknown"):
        record = HeldOut(state, 1, 4, "in some way").to_record()
        assert all(record[name] for name in ("sentence", "families", "trained", "pretraining"))
    assert held_out(Origin(), make_samples(), None).state == "unknown"
    assert not UNKNOWN


def test_a_page_never_says_that_families_which_trained_the_sae_were_held_out_from_it(
    world, hits_of, tmp_path
):
    """With folds every family judges, those too that trained the SAE: one callout said so, and the next the opposite."""
    _, split, acts = world
    features = si.encode(train(acts, split=split), acts)
    for folds, claimed in ((1, True), (3, False)):
        page = si.report(
            tmp_path / f"{folds}.html", features=features, hits=hits_of(features, folds=folds), split=split
        )
        text = page.read_text() + page.with_suffix(".json").read_text()
        assert (
            "held out from the sparse autoencoder and from the associations" in page.read_text()
        ) == claimed
        assert "Families were held out from" in text


# What is read row by row is of the same samples, in the same order.


def one_span(samples):
    return si.Annotations(
        pd.DataFrame({"sample": [samples.ids[0]], "start": [0], "end": [1], "concept": ["c"]})
    )


def test_a_split_of_other_samples_is_refused_by_every_verb(world, hits_of, tmp_path):
    """As many samples, of as many positions: others, or the same turned round, whose families stand at other numbers."""
    samples, split, acts = world
    features = si.encode(train(acts, split=split), acts)
    turned = si.split_families(samples.subset(np.arange(len(samples))[::-1]), by="family", seed=0)
    strangers = make_samples(100)
    other = si.split_families(strangers, by="family", seed=0)
    page, hits, spans = tmp_path / "r.html", hits_of(features), one_span(samples)
    verbs = (
        lambda s: train(acts, split=s),
        lambda s: hits_of(features, split=s),
        lambda s: si.discover(features, spans, None, split=s),
        lambda s: si.report(page, features=features, hits=hits, split=s),
        lambda s: s.position_family(samples),
    )
    for wrong, said in ((turned, "the same samples in another order"), (other, "of other samples")):
        for verb in verbs:
            with pytest.raises(MismatchError, match=said):
                verb(wrong)
    assert not page.exists()


def test_what_lies_beside_codes_is_of_their_samples_in_their_order(world, hits_of):
    samples, split, acts = world
    features = si.encode(train(acts, split=split), acts)
    turned = features.subset(samples=np.arange(len(samples))[::-1])
    few = features.subset(samples=np.arange(3))
    none = one_span(samples)
    for wrong, said in ((turned, "the same samples in another order"), (few, "of other samples")):
        wrong.origin = features.origin
        random = wrong.subset(samples=np.arange(len(wrong.samples)))
        random.origin = dataclasses.replace(features.origin, randomised_seed=0)
        for given in (random, {"decoder": wrong}):
            with pytest.raises(MismatchError, match=said):
                si.associate(features, none, split=split, control=given)
        for control in (Controls(seeds=(wrong,)), Controls(shuffled=wrong), random):
            with pytest.raises(MismatchError, match=said):
                si.discover(features, none, None, split=split, control=control)
    again = si.split_families(turned.samples, by="family", seed=0)
    with pytest.raises(MismatchError, match="acts=: expected"):
        si.associate(turned, none, split=again, acts=acts)


def test_a_split_put_together_by_hand_is_held_against_lengths(world):
    samples, split, _ = world
    bare = dataclasses.replace(split, ids=None)
    bare.require_of(samples)
    with pytest.raises(MismatchError, match="of samples of other lengths"):
        dataclasses.replace(bare, lengths=split.lengths + 1).require_of(samples)
    dataclasses.replace(bare, lengths=None).require_of(samples)  # which says nothing but how many
    with pytest.raises(ShapeError, match=f"expected {len(samples) - 1} samples, got {len(samples)}"):
        bare.require_of(samples.subset(np.arange(len(samples) - 1)))
