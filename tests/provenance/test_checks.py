"""What belongs together: every comparison from both sides, what is unknown never equal, and no order that matters."""

from __future__ import annotations

import dataclasses
import itertools
import logging

import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp.errors import InputError, MismatchError
from sciinterp.provenance import (
    UNKNOWN,
    HeldOut,
    Origin,
    Training,
    belongings,
    carried_split,
    caveats,
    check,
    differing,
    families_of,
    held_out,
    measured_on,
    origin_of,
    require_activations,
    require_one_run,
    require_randomised,
    require_same,
    require_twins,
    site_of,
    standing,
    stated,
    trained_on,
)
from sciinterp.provenance.checks import COMPARED
from sciinterp.provenance.origin import hashes, label_hashes

KNOWN = Origin(
    "m",
    "ab",
    None,
    "layers.1",
    "residual",
    "none",
    8,
    "one",
    "float32",
    "float32",
    {"rms": 1.0},
    "cd",
    "topk",
    "ef",
)
OTHER = {"randomised_seed": 7, "d_in": 9, "fingerprint": {"rms": 2.0}, "training": Training(by="family")}
NAMES = [field.name for field in dataclasses.fields(Origin)]


class Thing:
    """Whatever carries an origin."""

    def __init__(self, origin: Origin, **more: object) -> None:
        self.origin = origin
        vars(self).update(more)


def changed(name: str) -> Origin:
    return dataclasses.replace(KNOWN, **{name: OTHER.get(name, "other")})


@pytest.mark.parametrize("name", NAMES)
def test_a_field_differs_only_where_both_know_it(name):
    one = changed(name) if getattr(KNOWN, name) is UNKNOWN else KNOWN
    other = dataclasses.replace(one, **{name: {"training": Training(by="x")}.get(name, "different")})
    assert list(differing(one, other, [name])) == [name] == list(differing(other, one, [name]))
    (mine, theirs) = differing(one, other, [name])[name]
    assert (mine, theirs) == (getattr(one, name), getattr(other, name))
    unknown = dataclasses.replace(one, **{name: UNKNOWN})
    for a, b in ((unknown, one), (one, unknown), (unknown, unknown), (one, one)):
        assert not differing(a, b, [name])


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_compared_stops_a_check(name):
    for one, other in ((KNOWN, changed(name)), (changed(name), KNOWN)):
        if name in COMPARED:
            with pytest.raises(
                MismatchError, match=f"was not made for this model, {'width' if name == 'd_in' else name}"
            ):
                check(one, other)
        else:
            check(one, other)
    check(KNOWN, dataclasses.replace(KNOWN, **{name: UNKNOWN}))


def test_all_that_differs_is_named_at_once():
    with pytest.raises(
        MismatchError,
        match=r"model, site, width: expected model m, site layers\.1, width 8, got model n, site s, width 3",
    ):
        check(KNOWN, dataclasses.replace(KNOWN, model="n", site="s", d_in=3))


@pytest.mark.parametrize(
    ("sae", "other", "said"),
    [
        (Origin(), Origin(), "neither the SAE nor the activations say"),
        (KNOWN, Origin(), "activations do not say which model"),
        (KNOWN, KNOWN, ""),
    ],
)
def test_what_nobody_says_is_logged(sae, other, said, caplog):
    caplog.set_level(logging.INFO, "sciinterp")
    check(sae, other)
    assert (said in caplog.text) if said else not caplog.text


@pytest.mark.parametrize("sae", [Origin(), Origin(model="m"), Origin(site="layers.1")])
def test_an_sae_of_nothing_known_is_refused_where_the_model_is_known(sae):
    with pytest.raises(
        MismatchError, match=r"not known which model and site the codes' SAE is of.*si\.fit_check"
    ):
        check(sae, KNOWN, name="the codes' SAE")
    with pytest.raises(MismatchError, match="not known which model and site"):
        site_of(Thing(dataclasses.replace(sae, site=UNKNOWN)))
    assert site_of(Thing(KNOWN)) == "layers.1"


def test_filling_takes_what_is_missing_and_nothing_else():
    part = Origin(model="n", training=Training(by="x"))
    filled = part.filled(KNOWN)
    assert filled.model == "n" and filled.training is part.training and filled.sae_sha256 == "cd"
    assert {n for n in NAMES if getattr(filled, n) is not getattr(KNOWN, n)} == {"model", "training"}
    for one in (part, KNOWN, Origin()):
        assert one.filled(one).to_record() == one.to_record() == one.filled(Origin()).to_record()
        assert Origin().filled(one).to_record() == one.to_record()
        assert one.filled(KNOWN).filled(part).to_record() == one.filled(KNOWN.filled(part)).to_record()


@pytest.mark.parametrize("name", NAMES)
def test_a_record_holds_what_is_known_and_gives_it_back(name):
    one = changed(name)
    record = one.to_record()
    assert ("trained_on" if name == "training" else name) in record
    again = Origin.from_record(record)
    assert again.to_record() == record
    assert not differing(one, again, [n for n in NAMES if n not in ("training", "how", "licence")])
    damaged = {**record, name: object()}
    assert getattr(Origin.from_record(damaged), name) is UNKNOWN or name == "training"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "m"}, "names model and site.*got m"),
        ({"site": "s"}, "names model and site"),
        ({}, "names model and site.*unknown origin"),
        (None, "names model and site"),
        ("m", "names model and site"),
        ({"model": "m", "site": 5}, "another kind, origin= site: expected str, got 5"),
        ({"model": "m", "site": "s", "d_in": "8"}, "origin= d_in: expected int, got '8'"),
        (
            Origin("m", site="s", randomised_seed="0"),
            "origin= randomised_seed: expected int or None, got '0'",
        ),
        (Origin("m", site="s", training="x"), "origin= training: expected Training, got 'x'"),
        ({"model": "m", "site": "s", "layer": 3, "a": 1}, r"no such field.*expected model.*got 'a', 'layer'"),
    ],
    ids=str,
)
def test_an_origin_that_is_stated_names_model_and_site(given, said):
    with pytest.raises(InputError, match=said) as caught:
        stated(given)
    assert "\n" not in str(caught.value)


def test_what_is_stated_says_so():
    for given in (
        Origin(model="m", site="s"),
        {"model": "m", "site": "s"},
        Thing(Origin(model="m", site="s")),
    ):
        found = stated(given)
        assert (found.model, found.site, found.how) == ("m", "s", "stated")
    measured = dataclasses.replace(KNOWN, how="measured", training=Training(by="x"))
    assert stated(measured).how == "measured" and stated(measured).training is measured.training
    assert stated(Thing(measured)).training is UNKNOWN, "of activations: they trained nothing"


def test_the_origin_of_whatever_has_one():
    class Model:
        site_asked = None

        def origin_at(self, site):
            return dataclasses.replace(KNOWN, site=site)

    class Old:
        identity = {"model": "m", "site": "a"}  # noqa: RUF012
        site, fingerprint = "b", {"rms": 1.0}

    assert origin_of(Model(), "x").site == "x" and origin_of(Model()).model is UNKNOWN
    assert origin_of(Thing(KNOWN)) is KNOWN
    old = origin_of(Old())
    assert (old.model, old.site, old.fingerprint) == ("m", "b", {"rms": 1.0})
    for nothing in (None, 3, "m", [], object(), np.zeros(3)):
        assert origin_of(nothing).to_record() == {}


RANDOMISED = dataclasses.replace(KNOWN, randomised_seed=0, weights_sha256="random")


@pytest.mark.parametrize(
    ("control", "said"),
    [
        (RANDOMISED, ""),
        (dataclasses.replace(RANDOMISED, sae_sha256="zz"), ""),
        (Origin(), ""),
        (KNOWN, "not of a randomised model.*got codes of m with its own weights"),
        (dataclasses.replace(KNOWN, randomised_seed=UNKNOWN), "not of a randomised model"),
        (
            dataclasses.replace(RANDOMISED, model="n"),
            r"another model, control: expected m, got n.*randomised_control",
        ),
        (dataclasses.replace(RANDOMISED, site="s"), "another site"),
        (dataclasses.replace(RANDOMISED, norm="unit"), "another norm"),
    ],
)
def test_a_control_is_of_randomised_weights_and_the_same_site(control, said):
    require_randomised(None, Thing(KNOWN))
    if not said:
        require_randomised(Thing(control), Thing(KNOWN))
        return
    with pytest.raises(MismatchError, match=said):
        require_randomised(Thing(control), Thing(KNOWN))


@pytest.mark.parametrize(
    ("twin", "said"),
    [
        (KNOWN, ""),
        (dataclasses.replace(KNOWN, sae_sha256="zz"), ""),
        (RANDOMISED, r"the twin is of another randomised seed, twin 'cone'.*si\.twins"),
        (dataclasses.replace(KNOWN, model="n"), "another model"),
        (dataclasses.replace(KNOWN, site="s"), "another site"),
    ],
)
def test_a_twin_is_of_the_same_model(twin, said):
    require_twins({}, Thing(KNOWN))
    twins = {"plain": Thing(KNOWN), "cone": Thing(twin)}
    if said:
        with pytest.raises(MismatchError, match=said):
            require_twins(twins, Thing(KNOWN))
    else:
        require_twins(twins, Thing(KNOWN))


def test_activations_beside_codes_are_of_their_model():
    for codes, acts in ((KNOWN, KNOWN), (KNOWN, Origin()), (Origin(), Origin()), (Origin(), KNOWN)):
        require_activations(Thing(codes), Thing(acts))
    with pytest.raises(MismatchError, match="the SAE of the codes was not made"):
        require_activations(Thing(KNOWN), Thing(changed("site")))
    with pytest.raises(MismatchError, match="not known"):
        require_activations(Thing(Origin(), sae=object()), Thing(KNOWN))


N = 12


def samples(order: list[int] | None = None, prefix: str = "s") -> si.Samples:
    order = list(range(N)) if order is None else order
    letters = "ACDEFGHIKLMN"
    table = pd.DataFrame({"family": [f"f{i // 2}" for i in order]})
    return si.Samples([f"{prefix}{i}" for i in order], [letters[i] * (1 + i % 3) for i in order], table=table)


def split_of(of: si.Samples, seed: int = 0) -> si.Split:
    return si.split_families(of, by="family", seed=seed, fractions=(0.5, 0.1, 0.4))


def codes(origin: Origin = KNOWN, of: si.Samples | None = None) -> si.FeatureMatrix:
    of = of or samples()
    return si.FeatureMatrix(np.ones((of.n_positions, 2), np.float32), of, origin=origin)


def rows(names: list[str], concept: str = "x") -> si.Annotations:
    return si.Annotations(pd.DataFrame({"sample": names, "start": 0, "end": 1, "concept": concept}))


def test_belongings_change_with_each_thing_and_with_nothing_else():
    of, split, notes = samples(), split_of(samples()), rows(["s0", "s1"])
    base = belongings(KNOWN, of, notes, split)
    assert set(base) == {"samples", "codes", "split", "annotations"}
    for name in NAMES:
        other = belongings(changed(name), of, notes, split)
        apart = {key for key in base if base[key] != other[key]}
        assert apart == ({"codes"} if name in (*COMPARED, "sae_sha256") else set())
    for key, given in {
        "samples": (KNOWN, samples(prefix="t"), notes, split),
        "annotations": (KNOWN, of, rows(["s0", "s2"]), split),
        "split": (KNOWN, of, notes, dataclasses.replace(split, train=split.test, test=split.train)),
    }.items():
        other = belongings(*given)
        assert {k for k in base if base[k] != other[k]} == {key}
    assert set(belongings(Origin(), of, None, None)) == {"samples"}


def test_what_both_say_has_to_agree_and_nothing_else():
    full = {"a": "1", "b": "2", "c": "3"}
    for size in range(4):
        for keys in itertools.combinations(full, size):
            require_same(full, {k: full[k] for k in keys}, names=("one", "other"))
            wrong = dict.fromkeys(keys, "x")
            if not keys:
                continue
            for one, other in ((full, wrong), (wrong, full)):
                with pytest.raises(
                    MismatchError,
                    match=f"^one and other do not belong together, other: expected the same {' and '.join(keys)}",
                ):
                    require_same(one, other, names=("one", "other"))


def table_of(belongs: dict[str, str]) -> Thing:
    return Thing(UNKNOWN, context={"belongs": belongs})


def test_one_run_is_of_one_of_each():
    of = samples()
    split, notes, features = split_of(of), rows(["s0"]), codes()
    here = belongings(KNOWN, of, notes, split)
    require_one_run(features, None)
    require_one_run(features, pd.DataFrame())
    require_one_run(features, table_of(here), table_of(here), annotations=notes, split=split)
    for key in here:
        other = table_of({**here, key: "x"})
        with pytest.raises(MismatchError, match=f"the codes and the hits.*the same {key}"):
            require_one_run(features, other, annotations=notes, split=split)
        with pytest.raises(MismatchError, match=f"the hits and the candidates.*the same {key}"):
            require_one_run(features, table_of(here), other)

    class Sae:
        def __init__(self, sha256: str) -> None:
            self.sha256 = sha256

        def signed(self) -> Origin:
            return dataclasses.replace(KNOWN, sae_sha256=self.sha256)

    require_one_run(features, table_of(here), sae=Sae("cd"))
    with pytest.raises(MismatchError, match="codes and SAE do not belong together"):
        require_one_run(features, table_of(here), sae=Sae("zz"))


def trained(split: si.Split | None, of: si.Samples | None = None) -> Origin:
    return dataclasses.replace(KNOWN, training=Training.of(of or samples(), split))


@pytest.mark.parametrize("seed", range(3))
def test_held_out_does_not_depend_on_the_order_or_the_names_of_things(seed):
    """Of samples, of families, and of the samples themselves where their data is the same."""
    of, order = samples(), np.random.default_rng(seed).permutation(N).tolist()
    split = split_of(of)
    moved = samples(order)
    where = {name: i for i, name in enumerate(moved.ids)}
    part = lambda numbers: np.sort([where[of.ids[i]] for i in numbers])  # noqa: E731
    again = dataclasses.replace(
        split,
        train=part(split.train),
        calibration=part(split.calibration),
        test=part(split.test),
        family=split.family[order],
        ids=moved.ids,
    )
    turned = dataclasses.replace(
        split, family=len(split.family_names) - 1 - split.family, family_names=split.family_names[::-1]
    )
    for other in (split, split_of(of, 5), None):
        origin = trained(other)
        wanted = held_out(origin, of, split)
        assert held_out(origin, moved, again).state == held_out(origin, of, turned).state == wanted.state
        assert (
            held_out(origin, moved, again).n_overlap
            == held_out(origin, of, turned).n_overlap
            == wanted.n_overlap
        )
        renamed = held_out(origin, samples(prefix="t"), dataclasses.replace(split, ids=None))
        assert (renamed.state, renamed.n_overlap) == (wanted.state, wanted.n_overlap), "known by their data"


def test_overlap_counts_families_as_sets_do():
    of = samples()
    for seed in range(4):
        split = split_of(of, seed)
        for other in range(4):
            train = split_of(of, other).train
            wanted = {split.family[i] for i in train} & set(split.families("test").tolist())
            found = held_out(trained(split_of(of, other)), of, split)
            assert found.n_overlap == len(wanted) and found.n_families == len(split.families("test"))
            assert found.state == ("not held out" if wanted else "held out")
            crossed = held_out(trained(split_of(of, other)), of, split, all_judge=True)
            assert (
                crossed.crossed
                and crossed.n_families == 6
                and crossed.n_overlap == len({split.family[i] for i in train})
            )


def test_more_training_never_holds_more_out():
    of, split = samples(), split_of(samples())
    overlaps = []
    for n in range(1, N + 1):
        part = of.subset(np.arange(n))
        found = held_out(dataclasses.replace(KNOWN, training=Training.of(part, None)), of, split)
        overlaps.append(found.n_overlap)
        assert trained_on(Training.of(part, None), of).sum() == n
    assert overlaps == sorted(overlaps) and overlaps[-1] == len(split.families("test"))
    assert trained_on(UNKNOWN, of) is None and trained_on(Training(), of) is None


def test_hashes_are_of_names_and_data_apart():
    one, other = hashes(samples()), hashes(samples(prefix="t"))
    assert (
        len(np.unique(one)) == 2 * N
        and (one[:, 1] == other[:, 1]).all()
        and not np.isin(one[:, 0], other[:, 0]).any()
    )
    bare = si.Samples(["a", "b"], [None, np.arange(3)], lengths=[1, 3])
    assert hashes(bare)[0, 1] == 0 != hashes(bare)[1, 1]
    strided = si.Samples(["b"], [np.arange(6)[::2].copy()], lengths=[3])
    assert hashes(strided)[0, 1] == hashes(si.Samples(["c"], [np.arange(6)[::2]], lengths=[3]))[0, 1]
    assert label_hashes(["a", "b"]).tolist() == [
        one_hash for label in "ab" for one_hash in label_hashes([label])
    ]
    assert len(label_hashes([])) == 0 and label_hashes([]).dtype == np.uint64


@pytest.mark.parametrize("split_is", ["known", "none", "of labels", "not said"])
def test_the_split_that_is_carried_is_made_again_or_asked_for(split_is):
    of = samples()
    made = {
        "known": split_of(of, 3), "none": None, "of labels": si.split_families(of, by=[f"f{i // 2}" for i in range(N)]), "not said": None,
    }[split_is]  # fmt: skip
    origin = KNOWN if split_is == "not said" else trained(made)
    if split_is != "known":
        with pytest.raises(InputError, match=r"no split is given.*split=.*split_families"):
            carried_split(origin, of)
        return
    assert carried_split(origin, of).digest == made.digest
    kept = Origin.from_record(origin.to_record())
    assert carried_split(kept, of).digest == made.digest and kept.training.fractions == (0.5, 0.1, 0.4)
    assert measured_on(origin) == "families kept out of its training" and measured_on(KNOWN) == measured_on(
        trained(None)
    )


def test_caveats_count_the_rows_of_strangers_and_say_who_they_are(caplog):
    of, fine = samples(), HeldOut("held out", 0, 3)
    assert caveats(fine, of, None) == caveats(fine, of, rows(["s0", "s1"])) == {}
    found = caveats(fine, of, rows(["s0", "x", "y", "x"]))
    assert (
        list(found) == ["annotations"]
        and "3 of 4 rows of annotations are of 2 samples" in found["annotations"]
    )
    assert (
        "'x'" in found["annotations"]
        and "'s0'" in found["annotations"]
        and found["annotations"] in caplog.text
    )
    for state in ("not held out", "unknown"):
        judged = HeldOut(state, 1, 3, "in some way")
        assert caveats(judged, of, None) == {"held_out": judged.sentence}


def test_a_label_that_is_one_with_another_column_is_said():
    """Batch and disease are one; the type, the donor and the label's own column are not named, nor is what is half of it."""
    donor = np.repeat(np.arange(12), 4)
    kind = np.tile(["A", "A", "B", "B"], 12)
    disease = np.where(donor < 6, "sick", "well")
    batch, half = np.where(donor < 6, "one", "two"), np.where(donor < 5, "one", "two")
    table = pd.DataFrame(
        {"donor": donor.astype(str), "kind": kind, "disease": disease, "batch": batch, "half": half}
    )
    ids = [f"c{i}" for i in range(48)]
    of = si.Samples(ids, [f"x{i}" for i in range(48)], lengths=np.ones(48, int), table=table, kind="cells")
    split = si.split_families(of, by="donor", seed=0)
    known = np.arange(48) % 4 != 1  # the rest is of another disease, and not covered
    concepts = np.r_[np.char.add("disease:", disease)[known], kind]
    frame = pd.DataFrame(
        {"sample": np.r_[np.array(ids)[known], ids], "start": 0, "end": 1, "concept": concepts}
    ).assign(source=["d"] * known.sum() + ["k"] * 48)
    told = si.Annotations(frame, coverage={"d": np.array(ids)[known]})
    said = caveats(HeldOut("held out", 0, 3), of, told, None, split)
    assert list(said) == ["columns"] and "2 concepts" in said["columns"]
    assert "disease:sick by batch; disease:well by batch." in said["columns"]
    renamed = si.Annotations(frame.assign(concept=frame["concept"].str.replace("disease:", "")))
    assert "columns" not in caveats(HeldOut("held out", 0, 3), of, renamed.select(["A", "B"]), None, split)
    everywhere = si.Annotations(
        frame
    )  # without coverage the unlabelled count as negatives: nothing is one with them
    assert caveats(HeldOut("held out", 0, 3), of, everywhere, None, split) == {}


def test_standing_says_all_three_and_families_take_its_words():
    of = samples()
    split = split_of(of)
    for origin, words in (
        (trained(split), "held-out families"),
        (KNOWN, "families held out from selection alone"),
    ):
        found = standing(codes(origin), rows(["s0"]), split)
        assert set(found) == {"held_out", "caveats", "belongs"}
        assert found["held_out"] == held_out(origin, of, split).to_record()
        assert families_of(Thing(UNKNOWN, context=found)) == words
    assert families_of(None) == families_of(pd.DataFrame()) == "held-out families"
