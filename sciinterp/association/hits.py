"""``associate``: every feature against every concept, beside what could explain it.

For each concept the feature and its threshold with the best F1 on training families are *selected*; they, the
strongest other features and every baseline are then measured once, on held-out families. The difference to
the best baseline carries an interval from the same resampled families. All concepts are shown, whatever they
score.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sciinterp.annotations import Annotations
from sciinterp.association.baselines import CEILINGS, Baseline, BaselineSettings, run_baselines
from sciinterp.association.bootstrap import FamilyCounts, count_pairs, family_draws, intervals, ratio
from sciinterp.association.explanations import EXPLAINS, explained_by
from sciinterp.association.measure import Chosen, choose
from sciinterp.association.partitions import Parts, divide
from sciinterp.association.shift_test import localise
from sciinterp.association.statistics import ScreenSettings, screen
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError
from sciinterp.provenance import belongings, caveats, require_randomised
from sciinterp.samples import Split
from sciinterp.tables import Table

if TYPE_CHECKING:
    from sciinterp.activations import Activations

log = logging.getLogger(__name__)

COLUMNS = (
    "feature", "concept", "selected", "f1_train", "threshold", "precision", "recall", "f1", "f1_low",
    "f1_high", "average_precision", "auroc", "prevalence", "n_positive", "n_families", "test", "p", "q",
    "p_family", "p_min", "best_baseline", "best_baseline_f1", "delta_f1", "delta_low", "delta_high",
    "explained_by", "ica_f1", "ica_delta_low", "kmer_f1", "kmer_delta_low", "window_f1", "window_delta_low",
    "domain_f1", "domain_delta_low", "probe_f1", "probe_delta_low", "instance_recall", "instance_recall_iou",
    "lift", "lift_letter", "lift_position", "shift_fold", "shift_p",
)  # fmt: skip


@dataclass(frozen=True)
class AssociationSettings:
    """Settings of :func:`associate`.

    Attributes
    ----------
    strongest : int or None
        Pairs measured in all: the same number of features for each concept, by ``f1_train``; None is every pair.
    n_boot : int
        Resamples of the held-out families.
    level : float
        Coverage of the intervals.
    ceilings : tuple of str
        Baselines that are shown beside, each in columns of its own, but are never the best one: by default
        those that are fitted with the labels on many inputs at once, and ICA, which is another dictionary.
        ``("probe",)`` holds single features against all but the linear probe.
    screen : ScreenSettings
        The family-level test.
    baselines : BaselineSettings
    """

    strongest: int | None = 300_000
    n_boot: int = 2000
    level: float = 0.95
    ceilings: tuple[str, ...] = CEILINGS
    screen: ScreenSettings = field(default_factory=ScreenSettings)
    baselines: BaselineSettings = field(default_factory=BaselineSettings)


def associate(
    features: FeatureMatrix,
    annotations: Annotations,
    *,
    split: Split,
    acts: Activations | np.ndarray | None = None,
    control: FeatureMatrix | None = None,
    settings: AssociationSettings | None = None,
    seed: int = 0,
) -> Table:
    """Test every feature against every concept, on held-out families and beside baselines.

    Parameters
    ----------
    features : FeatureMatrix
    annotations : Annotations
        Concepts placed on positions are tested; facts about whole samples are for :func:`enrichment`.
    split : Split
        Families of the same samples.
    acts : Activations or ndarray [n_positions, d_in], optional
        The activations the codes come from: for the best raw neuron, components and the linear probe.
    control : FeatureMatrix, optional
        Codes of the same recipe on randomised weights.
    settings : AssociationSettings, optional
    seed : int
        Of resampling and permutation.

    Returns
    -------
    Table
        One ``selected`` row a concept and the strongest others. ``explained_by`` is
        :func:`sciinterp.association.explanations.explained_by`. ``context`` holds ``annotations``, ``split``,
        ``baselines`` (one row a concept and baseline), ``not_run`` (baseline -> reason), ``not_tested``
        (concept -> reason), ``caveats`` (:func:`sciinterp.provenance.caveats`), ``settings`` and ``counts``.

    Raises
    ------
    InputError
        The split is of other samples, or no concept lies on any training position.
    MismatchError
        The control's codes are not of randomised weights.

    Notes
    -----
    Memory, beside the arguments: 20 bytes for each feature and concept (the tests and the training scores),
    two copies of the codes, one of the activations that are read, and about half a gigabyte of blocks.
    """
    settings = settings or AssociationSettings()
    samples = features.samples
    _require_samples(split, len(samples))
    require_randomised(control, features)
    doubtful = caveats(features.origin, samples, annotations, split)
    names = annotations.position_names
    positives, covered = annotations.positives(samples, names), annotations.covered(samples, names)
    instances = annotations.instances(samples, names)
    tested = screen(features, positives, covered, split, settings=settings.screen, seed=seed)
    groups = divide(samples, positives, covered, split)
    found = _Found()
    for parts in groups:
        _associate_group(
            found,
            features,
            parts,
            _instances_of(instances, parts, len(names)),
            names,
            acts,
            control,
            split,
            settings,
            seed,
        )
    if not found.rows:
        raise _nothing_there(names)
    return _finish(
        pd.concat(found.rows, ignore_index=True),
        tested,
        names,
        {
            "annotations": annotations,
            "split": split,
            "baselines": pd.concat(found.baselines, ignore_index=True),
            "not_run": found.not_run,
            "not_tested": found.not_tested,
            "caveats": doubtful,
            "belongs": belongings(features.origin, samples, annotations, split),
            "settings": asdict(settings) | {"seed": seed, "by": split.by, "split_seed": split.seed},
            "counts": _sizes(features, split, names, groups)
            | {"screen": tested.summary, "facts_about_samples": _facts_about_samples(annotations)},
        },
    )


def _require_samples(split: Split, n_samples: int) -> None:
    if len(split.family) != n_samples:
        raise InputError(
            "the split is of other samples than the features",
            where="argument 'split'",
            expected=f"{n_samples} samples",
            got=str(len(split.family)),
        )


def _nothing_there(names: list[str]) -> InputError:
    return InputError(
        "no concept lies on any training position",
        where="argument 'annotations'",
        expected="at least one concept on the samples of split.train",
        got=f"{len(names)} concepts, none there",
        do="Do the identifiers of samples and annotations agree?",
    )


def _facts_about_samples(annotations: Annotations) -> int:
    """Concepts that lie on no position; enrichment tests them."""
    n_facts = len(annotations.names) - len(annotations.position_names)
    if n_facts:
        log.info(
            "%d concepts are facts about whole samples: sciinterp.association.enrichment tests them", n_facts
        )
    return n_facts


@dataclass
class _Found:
    """What the groups of concepts have given so far."""

    rows: list[pd.DataFrame] = field(default_factory=list)
    baselines: list[pd.DataFrame] = field(default_factory=list)
    not_run: dict[str, str] = field(default_factory=dict)
    not_tested: dict[str, str] = field(default_factory=dict)


def _associate_group(
    found: _Found,
    features: FeatureMatrix,
    parts: Parts,
    instances: pd.DataFrame,
    names: list[str],
    acts: Activations | np.ndarray | None,
    control: FeatureMatrix | None,
    split: Split,
    settings: AssociationSettings,
    seed: int,
) -> None:
    """Choose, measure and compare the features of the concepts that share one coverage."""
    carried = np.asarray(parts.train.positives.sum(axis=0)).reshape(-1) > 0
    found.not_tested |= {names[c]: "no position in the training families" for c in parts.concepts[~carried]}
    if not carried.any():
        return
    log.info("associating %d features with %d concepts", features.n_features, int(carried.sum()))
    n_kept = None if settings.strongest is None else max(1, settings.strongest // max(1, len(names)))
    chosen = choose(features, parts, instances, n_kept=n_kept)
    rivals = run_baselines(
        features.samples,
        parts,
        acts=acts,
        control=control,
        settings=settings.baselines,
        seed=seed,
        instances=instances,
    )
    found.not_run |= rivals.not_run
    draws = family_draws(max(1, parts.test.n_families), settings.n_boot, seed)
    ran = [*rivals.ran, chosen.density]
    table = _compare(chosen, ran, draws, settings)
    found.baselines.append(_baseline_table(chosen, ran, draws, [names[c] for c in parts.concepts], settings))
    _localised(table, features, parts, split, seed)
    table["concept"] = parts.concepts[table["concept"]]
    found.rows.append(table)


def _instances_of(instances: pd.DataFrame, parts: Parts, n_concepts: int) -> pd.DataFrame:
    """Instances of the concepts of a group, which are numbered as there."""
    number = np.full(n_concepts, -1)
    number[parts.concepts] = np.arange(len(parts.concepts))
    mine = instances.assign(concept=number[instances["concept"].to_numpy()])
    return mine[mine["concept"] >= 0]


def _compare(
    chosen: Chosen, baselines: list[Baseline], draws: np.ndarray, settings: AssociationSettings
) -> pd.DataFrame:
    """Effects and intervals of each pair, and its difference to the baseline with the best held-out F1."""
    rivals = [b for b in baselines if b.name not in settings.ceilings]
    f1 = np.stack([b.counts.f1() for b in rivals])
    best = np.argmax(f1, axis=0)
    names = np.array([b.name for b in rivals])
    kinds = [EXPLAINS[b.name] for b in rivals]
    reach = {kind: f1[[k == kind for k in kinds]].max(axis=0) for kind in kinds}
    beside = [b for b in baselines if b.name in CEILINGS]
    parts = []
    for out, counts in chosen.measured():
        out["f1_low"], out["f1_high"] = intervals(counts, draws, level=settings.level)
        concept = out["concept"].to_numpy()
        out["best_baseline"], out["best_baseline_f1"] = names[best[concept]], f1[best[concept], concept]
        out["delta_f1"] = out["f1"] - out["best_baseline_f1"]
        against = _of_best(rivals, best, concept, counts)
        out["delta_low"], out["delta_high"] = intervals(counts, draws, against=against, level=settings.level)
        unknown = out["n_positive"].to_numpy() == 0
        out.loc[unknown, ["best_baseline_f1", "delta_f1"]] = np.nan
        reached = {kind: value[concept] for kind, value in reach.items()}
        out["explained_by"] = explained_by(
            np.where(unknown, np.nan, out["f1"]), out["delta_low"].to_numpy(), reached
        )
        for other in beside:
            out[f"{other.name}_f1"] = np.where(unknown, np.nan, other.counts.f1()[concept])
            # An interval costs more than the rest of a row; beside ceilings the selected pairs have one.
            mine, low = np.flatnonzero(out["selected"].to_numpy()), np.full(len(out), np.nan)
            low[mine] = intervals(
                counts.take(mine), draws, against=other.counts.take(concept[mine]), level=settings.level
            )[0]
            out[f"{other.name}_delta_low"] = low
        parts.append(out)
    return pd.concat(parts, ignore_index=True)


def _localised(table: pd.DataFrame, features: FeatureMatrix, parts: Parts, split: Split, seed: int) -> None:
    """Add what shifting the annotation around held-out samples says of the selected pairs, a description."""
    number = parts.test.samples
    mine = table["selected"].to_numpy() & (table["n_positive"].to_numpy() > 0)
    table["shift_fold"], table["shift_p"] = np.nan, np.nan
    if not mine.any():
        return
    samples = features.samples.subset(number)
    found = localise(
        FeatureMatrix(features.codes[parts.test.rows], samples),
        parts.test.positives,
        split.family[number],
        feature=table.loc[mine, "feature"].to_numpy(),
        concept=table.loc[mine, "concept"].to_numpy(),
        seed=seed,
    )
    table.loc[mine, "shift_fold"], table.loc[mine, "shift_p"] = (
        found["fold"].to_numpy(),
        found["p_shift"].to_numpy(),
    )


def _of_best(
    rivals: list[Baseline], best: np.ndarray, concept: np.ndarray, counts: FamilyCounts
) -> FamilyCounts:
    """Counts of the best rival of each row's concept."""
    tp, predicted = np.empty_like(counts.tp), np.empty_like(counts.predicted)
    for number, rival in enumerate(rivals):
        mine = np.flatnonzero(best[concept] == number)
        tp[mine], predicted[mine] = rival.counts.tp[concept[mine]], rival.counts.predicted[concept[mine]]
    return FamilyCounts(tp, predicted, counts.positive)


def _baseline_table(
    chosen: Chosen,
    baselines: list[Baseline],
    draws: np.ndarray,
    names: list[str],
    settings: AssociationSettings,
) -> pd.DataFrame:
    """One row a concept and baseline: chosen in training, held out, with the feature's lead over it."""
    pairs = chosen.pairs[chosen.pairs["selected"]]
    feature, concept = pairs["feature"].to_numpy(), pairs["concept"].to_numpy()
    of_feature = count_pairs(chosen.codes, chosen.parts.test, feature, concept, pairs["threshold"].to_numpy())
    held_out = np.where(of_feature.positive.sum(axis=1) > 0, of_feature.f1(), np.nan)
    out = []
    for baseline in baselines:
        mine = baseline.counts.take(concept)
        tp, predicted, positive = (x.sum(axis=1) for x in (mine.tp, mine.predicted, mine.positive))
        f1 = np.where(positive > 0, mine.f1(), np.nan)
        low, high = intervals(mine, draws, level=settings.level)
        lead_low, lead_high = intervals(of_feature, draws, against=mine, level=settings.level)
        out.append(
            pd.DataFrame(
                {
                    "concept": [names[c] for c in concept],
                    "baseline": baseline.name,
                    "detail": [baseline.detail[c] for c in concept],
                    "f1_train": baseline.f1_train[concept],
                    "precision": ratio(tp, predicted),
                    "recall": ratio(tp, positive),
                    "f1": f1,
                    "f1_low": low,
                    "f1_high": high,
                    "delta_f1": held_out - f1,
                    "delta_low": lead_low,
                    "delta_high": lead_high,
                    "ceiling": baseline.name in settings.ceilings,
                }
            )
        )
    return pd.concat(out, ignore_index=True)


def _finish(hits: pd.DataFrame, tested, names: list[str], context: dict) -> Table:
    """Add the family-level test of each pair, sort, and order the columns."""
    feature, concept = hits["feature"].to_numpy(), hits["concept"].to_numpy()
    for name in ("p", "q", "p_family"):
        hits[name] = getattr(tested, name)[feature, concept]
    hits["p_min"], hits["test"] = tested.p_min[concept], np.array(tested.test, dtype=object)[concept]
    hits["n_families"] = tested.n_families[concept]
    hits["concept"] = np.array(names, dtype=object)[concept]
    hits["test"] = hits["test"].astype(str)
    hits["concept"] = hits["concept"].astype(str)
    hits = hits.sort_values(
        ["selected", "concept", "f1_train"], ascending=[False, True, False], kind="stable"
    )
    return Table(hits.reindex(columns=list(COLUMNS)).reset_index(drop=True), context=context)


def _sizes(features: FeatureMatrix, split: Split, names: list[str], groups: list[Parts]) -> dict:
    return {
        "concepts": len(names),
        "features": features.n_features,
        "positions": features.n_positions,
        "coverages": len(groups),
        "families": {part: len(split.families(part)) for part in ("train", "calibration", "test")},
        "samples": {part: len(split.part(part)) for part in ("train", "calibration", "test")},
    }
