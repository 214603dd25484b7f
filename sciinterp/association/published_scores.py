"""Scores of earlier work under their names, so that a paper can put both in one table.

*Domain-adjusted F1* (InterPLM; Simon and Zou 2025): precision over positions, recall over instances (an
instance counts when any of its positions is predicted), five thresholds on codes scaled to a largest
activation of one. *Family F1* (InterProt; Adams et al. 2025): does the largest activation in a sample say
whether the sample belongs to a protein family?

Computed as published, with these repairs: thresholds apply to scaled codes and the scale comes from training
samples; feature and threshold are chosen on training families and scored on held-out ones; false positives
count in every sample that the source covers, not only in those that carry the concept; overlapping instances each count and repeats
of one concept are one concept; and relatives of test samples are not in training.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.annotations import Annotations
from sciinterp.association.domains import instances_of, of_concepts
from sciinterp.association.kernel import Counts, count
from sciinterp.association.partitions import Partition, coverages, partition
from sciinterp.association.ranking import precision_recall
from sciinterp.budget import BLOCK_VALUES
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError, no_such, require_kinds
from sciinterp.samples import Samples, Split
from sciinterp.settings import at_least, plain_value

INTERPLM_THRESHOLDS = (0.0, 0.15, 0.5, 0.6, 0.8)


def domain_adjusted_f1(
    features: FeatureMatrix,
    annotations: Annotations,
    *,
    split: Split,
    thresholds: tuple[float, ...] = INTERPLM_THRESHOLDS,
) -> pd.DataFrame:
    """InterPLM's score of the best feature for each concept, chosen on ``split.train`` and scored on ``split.test``.

    Thresholds are on codes divided by the feature's largest activation in training. One row a concept,
    ``concept feature threshold f1_train precision recall f1``, NaN where the held-out families do not carry
    it.
    """
    require_kinds(
        features=(features, FeatureMatrix), annotations=(annotations, Annotations), split=(split, Split)
    )
    levels = np.array(
        [plain_value(level, float, "thresholds", at_least(0)) for level in thresholds], np.float32
    )
    if not len(levels):
        raise InputError("no thresholds", where="argument 'thresholds'", expected="at least one")
    samples, names = features.samples, annotations.position_names
    positives, instances = annotations.positives(samples, names), annotations.instances(samples, names)
    if not names:
        raise InputError(
            "no concept lies on positions", where="argument 'annotations'", expected="at least one"
        )
    rows = []
    for parts in partition(samples, positives, annotations.covered(samples, names), split):
        mine = of_concepts(instances, parts.concepts)
        found = _of_parts(features, parts, mine, levels)
        found.insert(0, "concept", [names[c] for c in parts.concepts])
        rows.append(found)
    return pd.concat(rows).sort_values("concept", kind="stable", ignore_index=True)


def _of_parts(
    features: FeatureMatrix, parts: Partition, instances: pd.DataFrame, thresholds: np.ndarray
) -> pd.DataFrame:
    """The score of concepts that share one coverage, block by block of features: the best so far is kept."""
    sides, n_concepts = (parts.train, parts.test), len(parts.concepts)
    placed = [instances_of(instances, features.samples, side) for side in sides]
    # feature, threshold, F1 in training, then precision, recall and F1 held out
    best = np.zeros((6, n_concepts))
    best[2], concept = -1.0, np.arange(n_concepts)
    for low, high in features.feature_blocks(max(1, BLOCK_VALUES // 4)):
        block = features.by_feature(low, high)
        codes = [block.at(side.rows) for side in sides]
        largest = codes[0].largest
        table = largest[:, None] * thresholds
        table[largest == 0] = np.inf
        trained, held_out = (
            _adjusted(count(c, side.by_position, thresholds=table, instances=mine, memory_budget=np.inf))
            for c, side, mine in zip(codes, sides, placed)
        )
        flat = trained[2].transpose(1, 0, 2).reshape(n_concepts, -1)
        feature, at = np.divmod(flat.argmax(axis=1), len(thresholds))
        cells = (feature, concept, at)
        found = np.stack([feature + low, at, trained[2][cells], *(score[cells] for score in held_out)])
        better = found[2] > best[2]
        best[:, better] = found[:, better]
    known = parts.test.by_position.n_positive > 0
    precision, recall, f1 = np.where(known, best[3:], np.nan)
    return pd.DataFrame(
        {
            "feature": best[0].astype(np.int64),
            "threshold": thresholds.astype(np.float64).round(6)[best[1].astype(np.int64)],
            "f1_train": best[2],
            "precision": precision,
            "recall": recall,
            "f1": f1,
        }
    )


def _adjusted(counts: Counts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision over positions, recall over instances, and their harmonic mean."""
    precision = counts.tp / np.maximum(1, counts.predicted[:, None, :])
    assert counts.n_instances is not None  # asked for, as no sparse result is
    recall = np.asarray(counts.instances_hit) / np.maximum(1, counts.n_instances)[None, :, None]
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return precision, recall, f1


def sample_carriage(
    annotations: Annotations, samples: Samples, concepts: list[str] | None = None
) -> sp.csr_array:
    """csr bool [n_samples, n_concepts]: samples that carry a concept anywhere or as a whole."""
    names = annotations.names if concepts is None else concepts
    frame = annotations.frame
    sample = pd.Index(samples.ids).get_indexer(pd.Index(frame["sample"]))
    concept = pd.Index(names).get_indexer(pd.Index(frame["concept"]))
    kept = (sample >= 0) & (concept >= 0)
    shape = (len(samples), len(names))
    matrix = sp.coo_array((np.ones(int(kept.sum()), np.int64), (sample[kept], concept[kept])), shape=shape)
    return sp.csr_array(matrix.tocsr() > 0)


def family_f1(
    features: FeatureMatrix, annotations: Annotations, *, split: Split, concepts: list[str] | None = None
) -> pd.DataFrame:
    """InterProt's score: how well a feature's largest activation tells which samples carry a concept.

    Feature and threshold are chosen on the samples of ``split.train``, scored on those of ``split.test``: one
    row a concept, ``concept feature threshold f1_train f1 auroc average_precision n_positive prevalence``.
    """
    require_kinds(
        features=(features, FeatureMatrix), annotations=(annotations, Annotations), split=(split, Split)
    )
    names = annotations.names if concepts is None else list(concepts)
    for name in names:
        if name not in annotations.names:
            raise no_such("concept", name, annotations.names, where="argument 'concepts'")
    if not names:
        raise InputError("no concept", where="argument 'concepts'", expected="at least one")
    carries = sample_carriage(annotations, features.samples, names)
    largest = features.max_per_sample()
    out = []
    for mine, inside in coverages(annotations.covered(features.samples, names)):
        train, test = (part[inside[part]] for part in (split.train, split.test))
        found = _family_f1(largest, sp.csr_array(carries[:, mine]), train, test)
        found.insert(0, "concept", [names[c] for c in mine])
        out.append(found.set_index(pd.Index(mine)))
    return pd.concat(out).sort_index().reset_index(drop=True)


def _family_f1(
    largest: sp.csr_array, carries: sp.csr_array, train: np.ndarray, test: np.ndarray
) -> pd.DataFrame:
    """Scores of concepts that cover the same samples."""
    fitted = precision_recall(sp.csr_array(largest[train]), sp.csr_array(carries[train]))
    tested, truth = sp.csr_array(largest[test]), carries[test]
    held_out = precision_recall(tested, sp.csr_array(truth))
    concept = np.arange(carries.shape[1])
    feature = fitted.best_f1.argmax(axis=0)
    threshold = fitted.threshold[feature, concept]
    on = tested[:, feature].toarray() > threshold
    positive = truth.toarray()
    tp, total = (on & positive).sum(axis=0), on.sum(axis=0) + positive.sum(axis=0)
    known = held_out.n_positive > 0
    return pd.DataFrame(
        {
            "feature": feature,
            "threshold": threshold.astype(np.float64),
            "f1_train": fitted.best_f1[feature, concept],
            "f1": np.where(known, 2 * tp / np.maximum(1, total), np.nan),
            "auroc": held_out.auroc[feature, concept],
            "average_precision": np.where(known, held_out.average_precision[feature, concept], np.nan),
            "n_positive": held_out.n_positive,
            "prevalence": held_out.prevalence,
        }
    )
