"""``associate``: every feature against every concept, beside what could explain it.

For each concept the feature and its threshold with the best F1 on training families are *selected*. Effects are
cross-fitted: families are dealt into folds, feature, threshold and every baseline are chosen anew on the families of
all other folds and measured once, on those of the fold, and the counts of all families together are the effect. So the
effect of a selected row is that of choosing, which ``folds_agree`` folds did as the row says; the strongest other
features stay the row's, their thresholds are the folds'. With ``folds=1`` the test families of the split judge alone.
Differences to the baselines carry intervals over the same families, and the verdict on a concept false discovery
control over concepts.
All concepts are shown, whatever they score.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sciinterp import distributed
from sciinterp.annotations import Annotations
from sciinterp.annotations.projection import require_placed
from sciinterp.association import baselines as registry
from sciinterp.association.compare import Rivals, baseline_table, compare
from sciinterp.association.context import HitsContext
from sciinterp.association.dense_baselines import Fit
from sciinterp.association.domains import of_concepts
from sciinterp.association.explanations import controlled
from sciinterp.association.files import write_association
from sciinterp.association.fitting import BaselineSettings, Inputs
from sciinterp.association.measure import Judge, Training, agreement, choose, measured, train_pairs
from sciinterp.association.partitions import Folds, Partition, cross, deal, partition
from sciinterp.association.ranking_without import add_ranked_intervals
from sciinterp.association.set_chance import DRAWS, chance_curves, chance_draws
from sciinterp.association.sets import KS, set_curves
from sciinterp.association.shift_test import Places, screen_places
from sciinterp.association.statistics import Screen, ScreenSettings, benjamini_hochberg, screen
from sciinterp.budget import BLOCK_VALUES, give_back, one_thread
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError, no_such, require_kinds
from sciinterp.frames import Table, stacked
from sciinterp.provenance import (
    carried_split,
    require_activations,
    require_randomised,
    require_twins,
    standing,
)
from sciinterp.samples import Samples, Split
from sciinterp.settings import SHARE, at_least, make_plain, plain_value, settings_of
from sciinterp.store import ledger

if TYPE_CHECKING:
    from sciinterp.activations import Activations

log = logging.getLogger(__name__)

_FIRST = (
    "feature", "concept", "selected", "folds_agree", "f1_train", "threshold", "precision", "recall", "f1", "f1_low",
    "f1_high", "average_precision", "average_precision_low", "average_precision_high", "auroc", "auroc_low",
    "auroc_high", "prevalence", "n_positive", "n_test_families", "n_test_families_effective", "n_families_needed",
    "n_families", "test",
    "q", "p_presence", "q_presence", "p_place", "q_place", "p_family", "p_min", "best_baseline", "best_baseline_f1",
    "delta_f1", "delta_low", "delta_high", "p_above", "q_above", "explained_by",
)  # fmt: skip
_LAST = (
    "instance_recall", "instance_recall_iou", "lift", "lift_letter", "lift_position", "place_fold",
)  # fmt: skip

# Curves of sets and of chance are drawn at once where so many codes, of which each holds copies, are stored at most.
_AT_ONCE = 8 * BLOCK_VALUES
# What a q-value says, wherever one is shown.
Q_SAYS = (
    "the feature is present in the families that have the concept beyond what their size and length explain, and in "
    "them it is active on the annotated places beyond what shifts along the chain explain, whichever is weaker"
)
Q_WITHOUT_PLACE = (
    "the feature is present where the concept is beyond what size and length explain; where there is no chain to shift "
    "along, or the concept always fills its samples, nothing is said of place"
)


def columns() -> list[str]:
    """Columns of hits; every ceiling has two of its own."""
    beside = [f"{name}_{what}" for name in registry.ceilings() for what in ("f1", "delta_low")]
    return [*_FIRST, *beside, *_LAST]


@dataclass(frozen=True)
class AssociationSettings:
    """Settings of :func:`associate`.

    Attributes
    ----------
    strongest : int or None
        Pairs measured in all: the same number of features for each concept, by ``f1_train``; None is every pair.
    folds : int or None
        Folds over which choices are cross-fitted, so that every family judges what was chosen without it; 1 measures on
        the test families of the split alone. None is three, or as many as there are families: on worlds of 43 families
        three, five and ten folds find the same concepts.
    level : float
        Coverage of the intervals.
    ceilings : tuple of str
        Baselines that are shown beside, each in columns of its own, but are never the best one: by default
        those that are fitted with the labels on many inputs at once, and ICA, which is another dictionary.
        ``("probe",)`` holds single features against all but the linear probe.
    sets : tuple of int
        Sizes of sets of features, and of every rival's units, that are read together
        (:mod:`sciinterp.association.sets`), on the test families of the split; empty for none.
    set_draws : int
        Rotations of each concept between families whose sets say what is reached by chance
        (:mod:`sciinterp.association.set_chance`); 0 for none.
    screen : ScreenSettings
        The family-level test.
    baselines : BaselineSettings
    """

    strongest: int | None = 300_000
    folds: int | None = None
    level: float = 0.95
    ceilings: tuple[str, ...] = field(default_factory=registry.ceilings)
    sets: tuple[int, ...] = KS
    set_draws: int = DRAWS
    screen: ScreenSettings = field(default_factory=ScreenSettings)
    baselines: BaselineSettings = field(default_factory=BaselineSettings)

    def __post_init__(self) -> None:
        many, any_number = at_least(1), at_least(0)
        make_plain(self, strongest=many, folds=many, level=SHARE, sets=many, set_draws=any_number)
        for name in self.ceilings:
            if registry.find(name) is None:
                known = [record.name for record in registry.BASELINES]
                raise no_such("baseline", name, known, where="ceilings")


def associate(
    features: FeatureMatrix,
    annotations: Annotations,
    *,
    split: Split | None = None,
    acts: Activations | np.ndarray | None = None,
    control: FeatureMatrix | Mapping[str, FeatureMatrix] | None = None,
    settings: AssociationSettings | None = None,
    seed: int = 0,
    out: str | Path | None = None,
) -> Table:
    """Test every feature against every concept, on held-out families and beside baselines.

    Parameters
    ----------
    features : FeatureMatrix
    annotations : Annotations
        Concepts placed on positions are tested; facts about whole samples are for :func:`enrichment`.
    split : Split, optional
        Families of the same samples; by default the split that the SAE was trained with.
    acts : Activations or ndarray [n_positions, d_in], optional
        The activations the codes come from: for the best raw neuron, components and the linear probe.
    control : FeatureMatrix or mapping of str to FeatureMatrix, optional
        Codes of the same recipe on randomised weights; or several by name, ``"randomised"`` and twins by the part
        that was not trained (:func:`sciinterp.twins`).
    settings : AssociationSettings, optional
    seed : int
        Of permutations and of the positions that regressions are fitted on.
    out : path, optional
        Folder for hits and all that belongs to them, see :mod:`sciinterp.association.files`; where it is a run
        folder, its ledger is kept.

    Returns
    -------
    Table
        One ``selected`` row a concept and the strongest others. ``explained_by`` is
        :func:`sciinterp.association.explanations.explained_by`. ``context`` holds ``baselines`` (one row a concept
        and baseline), ``sets`` (one row a concept, reader, rule and size), ``not_run`` (baseline -> reason), ``not_tested`` (concept -> reason), ``held_out``, ``caveats``
        and ``belongs`` (:func:`sciinterp.provenance.standing`), ``settings`` and ``counts``.

    Raises
    ------
    InputError
        The split is of other samples, or no annotation lies on any sample or training position.
    MismatchError
        The control's codes are not of randomised weights, or activations or twins are of another model or site.

    Notes
    -----
    Memory: 60 bytes for each feature and concept (the tests and the training scores), some bytes a position, at most
    half a gigabyte of training activations, and blocks of codes and scores of some hundred megabytes.
    """
    settings = settings_of(settings, AssociationSettings)
    require_kinds(features=(features, FeatureMatrix), annotations=(annotations, Annotations))
    split = carried_split(features.origin, features.samples) if split is None else split
    require_kinds(split=(split, Split))
    split.require_of(features.samples)
    fold = require_testable(annotations, features.samples, split, settings)
    if not features.n_features:
        raise InputError("these codes have no features", where="features=", expected="at least one")
    randomised, twins = _controls(control)
    require_randomised(randomised, features)
    require_twins(twins, features)
    require_activations(features, acts)
    seed = plain_value(seed, int, "seed")
    about = standing(features, annotations, split, all_judge=fold is not None)
    stated = asdict(settings) | {"seed": seed, "by": split.by, "split_seed": split.seed}
    with one_thread(), ledger.recorded("associate", out, settings=stated, inputs=about["belongs"]):
        hits = _associate(_Job(features, annotations, split, acts, randomised, twins, settings, seed, fold))
        hits.context |= {**about, "settings": stated}
        if out is not None:
            write_association(out, hits, features, annotations, split=split, seed=seed, shared=True)
    return hits


@dataclass(frozen=True, eq=False)
class _Job:
    """What :func:`associate` was given."""

    features: FeatureMatrix
    annotations: Annotations
    split: Split
    acts: Activations | np.ndarray | None
    control: FeatureMatrix | None
    twins: Mapping[str, FeatureMatrix]
    settings: AssociationSettings
    seed: int
    fold: np.ndarray | None


@dataclass
class _Found:
    """What the groups of concepts have given so far."""

    rows: list[pd.DataFrame] = field(default_factory=list)
    baselines: list[pd.DataFrame] = field(default_factory=list)
    sets: list[pd.DataFrame] = field(default_factory=list)
    not_run: dict[str, str] = field(default_factory=dict)
    not_tested: dict[str, str] = field(default_factory=dict)


def _associate(job: _Job) -> Table:
    """The screen, then the concepts of each coverage in turn."""
    samples, names = job.features.samples, job.annotations.position_names
    positives, covered = job.annotations.positives(samples, names), job.annotations.covered(samples, names)
    instances = job.annotations.instances(samples, names)
    tested = screen(job.features, positives, covered, job.split, settings=job.settings.screen, seed=job.seed)
    places = screen_places(job.features, positives, job.split.family, tested)
    q = weaker(tested.p, places.p)
    groups, found = partition(samples, positives, covered, job.split), _Found()
    single = [None] * len(groups)
    crossed = single if job.fold is None else cross(samples, positives, covered, job.split, job.fold)
    del positives
    give_back()
    for parts, folds in zip(groups, crossed):
        _associate_group(found, job, parts, folds, of_concepts(instances, parts.concepts), names)
    give_back()
    if not found.rows:
        raise _nothing_there(job.annotations)
    n_placed = int(np.isfinite(places.p).sum())
    said = {"places": n_placed, "q_says": Q_SAYS if n_placed else Q_WITHOUT_PLACE}
    counts = {
        **_sizes(job, groups),
        "screen": {**tested.summary, **said},
        "facts_about_samples": _facts_about_samples(job.annotations),
    }
    context: HitsContext = {
        "baselines": pd.concat(found.baselines, ignore_index=True),
        "sets": pd.concat(found.sets, ignore_index=True) if found.sets else pd.DataFrame(),
        "not_run": found.not_run,
        "not_tested": found.not_tested,
        "counts": counts,
    }
    return _finish(found.rows, (tested, places, q), names, context)


def _associate_group(
    found: _Found,
    job: _Job,
    parts: Partition,
    folds: Folds | None,
    instances: pd.DataFrame,
    names: list[str],
) -> None:
    """Choose, measure and compare the features of the concepts that share one coverage."""
    carried = np.asarray(parts.train.positives.sum(axis=0)).reshape(-1) > 0
    found.not_tested |= {names[c]: "no position in the training families" for c in parts.concepts[~carried]}
    if not carried.any():
        return
    features, settings = job.features, job.settings
    log.info("associating %d features with %d concepts", features.n_features, int(carried.sum()))
    n_kept = None if settings.strongest is None else max(1, settings.strongest // max(1, len(names)))
    training = train_pairs(features, parts)
    pairs = choose(training, parts.train.by_position.n_positive, n_kept=n_kept)
    # Where all covered families are in one fold, the split is left.
    crossed = folds is not None and len(np.unique(folds.fold[folds.numbers])) > 1
    inputs = Inputs(
        features.samples,
        parts,
        settings.baselines,
        job.seed,
        job.acts,
        job.control,
        job.twins,
        instances,
        training,
        axes_on=parts.train.rows if crossed else None,
    )
    table, of_baselines, not_run = _compared(job, inputs, folds if crossed else None, pairs)
    found.not_run |= not_run
    table["concept"] = parts.concepts[table["concept"]]
    of_baselines["concept"] = [names[c] for c in parts.concepts[of_baselines["concept"]]]
    found.baselines.append(of_baselines)
    give_back()  # judges and rivals are gone
    if settings.sets:
        sets = _sets(inputs, training, settings)
        sets["concept"] = [names[c] for c in parts.concepts[sets["concept"]]]
        found.sets.append(sets)
    found.rows.append(table)


def _compared(
    job: _Job, inputs: Inputs, folds: Folds | None, pairs: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Held-out effects of pairs beside the baselines, those of the baselines, and which did not run."""
    judges, baselines = _judge(inputs, folds, pairs)
    give_back()
    rivals = Rivals.made(baselines.ran, job.settings.ceilings, job.settings.level)
    table, of_selected = compare(measured(job.features, judges, pairs), rivals)
    of_baselines = baseline_table(pairs[pairs["selected"]], of_selected, rivals)
    del rivals
    table["folds_agree"] = agreement(judges, pairs)
    add_ranked_intervals(table, job.features, judges, level=job.settings.level)
    return table, of_baselines, baselines.not_run


def _sets(inputs: Inputs, training: Training, settings: AssociationSettings) -> pd.DataFrame:
    """Curves of sets, and what chance reaches; of a small corpus a process draws several at once."""
    small, ks = training.features.n_stored <= _AT_ONCE, sorted(settings.sets)
    draws = chance_draws(inputs, ks=ks, draws=settings.set_draws)
    curves = set_curves(inputs, ks=settings.sets, level=settings.level)
    drawn = list(distributed.spread([*draws, *curves], lambda draw: draw(), threads=small))
    tables = [one for one in drawn if isinstance(one, pd.DataFrame) and len(one)]
    if not tables:  # all sizes are beyond the number of features
        return pd.DataFrame({"concept": []}, dtype=np.int64)
    found = pd.concat(tables, ignore_index=True)
    found = found.sort_values(["concept", "reader", "rule", "k"], kind="stable")
    reached = [one for one in drawn if isinstance(one, np.ndarray)]
    by_chance = [chance_curves(reached, ks)] if reached else []
    return pd.concat([found, *by_chance], ignore_index=True).sort_values("concept", kind="stable")


def _judge(
    inputs: Inputs, folds: Folds | None, pairs: pd.DataFrame
) -> tuple[list[Judge], registry.Baselines]:
    """Who judges the pairs: the test families, or every fold in turn; and the baselines as they see them."""
    training, instances = inputs.training, inputs.instances
    assert training is not None and instances is not None
    seen = [inputs]
    if folds is not None:
        seen = [replace(inputs, parts=fold, training=train_pairs(training.features, fold)) for fold in folds]
    if inputs.acts is not None:  # read once, before the folds go side by side
        Fit.of(seen[0])
    judges = [Judge.of(one.training or training, one.parts, pairs, instances) for one in seen]
    return judges, registry.pool(registry.run_folds(seen))


def _controls(
    control: FeatureMatrix | Mapping[str, FeatureMatrix] | None,
) -> tuple[FeatureMatrix | None, dict[str, FeatureMatrix]]:
    """The randomised model's codes, and those of twins."""
    if not isinstance(control, Mapping):
        return control, {}
    for name in control:
        if name not in (known := ("randomised", *registry.TWINS)):
            raise no_such("control", name, known, where="argument 'control'")
    return control.get("randomised"), {k: v for k, v in control.items() if k != "randomised"}


def _finish(
    rows: list[pd.DataFrame],
    tests: tuple[Screen, Places, np.ndarray],
    names: list[str],
    context: HitsContext,
) -> Table:
    """Add the tests of presence and place of each pair, sort, and order the columns."""
    tested, places, q = tests
    hits = stacked(rows, np.arange(sum(map(len, rows))))
    at = hits["feature"].to_numpy(), hits["concept"].to_numpy()
    concept = at[1]
    hits["q"] = q[at]
    hits["p_presence"], hits["q_presence"], hits["p_family"] = tested.p[at], tested.q[at], tested.p_family[at]
    hits["p_place"], hits["q_place"], hits["place_fold"] = places.p[at], places.q[at], places.fold[at]
    hits["q_above"] = benjamini_hochberg(hits["p_above"].to_numpy())
    hits["explained_by"] = controlled(hits["explained_by"], hits["f1"], hits["q_above"])
    hits["p_min"], hits["test"] = tested.p_min[concept], np.array(tested.test, dtype=object)[concept]
    hits["n_families"] = tested.n_families[concept]
    hits["concept"] = np.array(names, dtype=object)[concept]
    by = ["selected", "concept", "f1_train"]
    order = hits[by].sort_values(by, ascending=[False, True, False], kind="stable").index.to_numpy()
    return Table(stacked([hits], order, columns()), context=context)


def weaker(p_presence: np.ndarray, p_place: np.ndarray) -> np.ndarray:
    """q-values of the weaker of two claims: Benjamini and Hochberg over the larger p-value of each pair.

    No smaller than either claim's own q-value, and more than the larger of them where many pairs pass one
    test and few pass both: those whose place is real and whose presence is chance would else be left over
    together with those of the other sort, every one of them false. Where `p_presence` is NaN there is no
    q-value; where `p_place` is, it is that of presence.

    Examples
    --------
    >>> weaker(np.array([0.01, 0.02, 0.03, np.nan]), np.array([0.5, np.nan, 0.001, 0.1])).round(3).tolist()
    [0.5, 0.045, 0.045, nan]
    """
    return benjamini_hochberg(np.where(np.isnan(p_presence), np.nan, np.fmax(p_presence, p_place)))


def _sizes(job: _Job, groups: list[Partition]) -> dict[str, object]:
    split = job.split
    return {
        "concepts": len(job.annotations.position_names),
        "features": job.features.n_features,
        "positions": job.features.n_positions,
        "coverages": len(groups),
        "folds": 1 if job.fold is None else len(np.unique(job.fold[job.fold >= 0])),
        "families": {part: len(split.families(part)) for part in ("train", "calibration", "test")},
        "samples": {part: len(split.part(part)) for part in ("train", "calibration", "test")},
    }


def _facts_about_samples(annotations: Annotations) -> int:
    """Concepts that lie on no position; enrichment tests them."""
    n_facts = len(annotations.names) - len(annotations.position_names)
    if n_facts:
        log.info(
            "%d concepts are facts about whole samples: sciinterp.association.enrichment tests them", n_facts
        )
    return n_facts


def require_testable(
    annotations: Annotations, samples: Samples, split: Split, settings: AssociationSettings
) -> np.ndarray | None:
    """Refuse what :func:`associate` could test nothing of, which is known without a model; the folds that judge, if any.

    Raises
    ------
    InputError
        No annotation lies on any sample or training position, or more folds are asked for than there are families.
    """
    require_placed(annotations, samples)
    number, start = annotations.sample_numbers(samples), annotations.frame["start"].to_numpy()
    if not np.isin(number[start >= 0], split.train).any():
        raise _nothing_there(annotations)
    single = settings.folds == 1 or (settings.folds is None and len(np.unique(split.family)) < 2)
    return None if single else deal(split, settings.folds)


def _nothing_there(annotations: Annotations) -> InputError:
    n, names = len(annotations), annotations.position_names
    dropped = "; ".join(f"{n} dropped: {why}" for why, n in annotations.counts.get("dropped", {}).items())
    return InputError(
        "no concept lies on any training position" if names else "no concept lies on any position",
        where="argument 'annotations'",
        expected="at least one concept on the samples of split.train",
        got=f"{len(names)} concepts on positions, in {n} rows"
        if n
        else f"no row at all{dropped and f' ({dropped})'}",
        do="Facts about whole samples are for sciinterp.association.enrichment."
        if n and not names
        else "Do the identifiers of samples and annotations agree?" * bool(n),
    )
