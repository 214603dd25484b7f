"""What the model itself says of a candidate: does it feel the feature, and which mutation would take it away?

*Ablation*: the feature's part of the activation is subtracted where it fires, beside random directions of the same
length (:func:`sciinterp.interventions.ablation.ablation_effect`). A novel candidate whose removal moves the output no more than
theirs is dropped: the model does not use it. *Falsifying mutation*: substitutions inside the candidate's span are
tried on the model, and the smallest that takes the feature away is kept: one substitution where one will do, else two
or three. It can be ordered from a mutagenesis kit: if the property stays in that mutant, the claim is wrong. Only the
first candidates of a kind are tried; the others say that they were not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from sciinterp import distributed
from sciinterp.codes import FeatureMatrix
from sciinterp.discovery.homology import CONSERVED
from sciinterp.discovery.records import Context, Mutation, Row
from sciinterp.errors import require_kinds
from sciinterp.readers.notation import Variant
from sciinterp.samples import Sample, Samples
from sciinterp.settings import plain_value

if TYPE_CHECKING:
    from sciinterp.models import Adapter
    from sciinterp.sae import SAE

SUBSTITUTES = "DPKAG"  # tried at a position of a protein, the first that differ: charge, a break, size
N_SUBSTITUTES = 3
MAX_PLACES = 10  # positions mutated: those of the span, the most active first, then its neighbours
BEYOND = 5  # neighbours on either side: what makes a feature fire often stands beside where it fires
MAX_TOGETHER = 3  # single substitutions joined where none alone removes the feature
N_JOINED = 4  # of the most effective ones, each at another position
REMOVED = 0.1  # share of the activation below which a substitution counts as having removed it
MARGINAL = 1.5  # times the random directions' effect below which an ablation is a reason against
N_NEAR = 16  # random directions where the effect is about that of a few


def probe(
    model: Adapter,
    features: FeatureMatrix,
    missing: list[Row],
    novel: list[Row],
    *,
    context: Context,
    n: int,
) -> tuple[list[Row], list[Row]]:
    """Try the first ``n`` candidates of both kinds on the model; novel ones it does not feel are left out.

    Parameters
    ----------
    model : Adapter
    features : FeatureMatrix
        With its SAE.
    missing, novel : list of dict
        Rows of the table of candidates; their evidence is added to.
    context : dict
        Counts and what was not run are written here.
    n : int

    Returns
    -------
    missing, novel : list of dict
    """
    context["counts"]["probed"] = {"missing": min(n, len(missing)), "novel": min(n, len(novel))}
    effects = _ablations(model, features, [*novel[:n], *missing[:n]])
    felt = [row for row in novel[:n] if _is_felt(row, effects, context)]
    context["counts"].setdefault("novel", {})["not felt by the model when ablated"] = min(
        n, len(novel)
    ) - len(felt)
    for row in missing[:n]:
        _is_felt(row, effects, context)
    tried = [*missing[:n], *felt]
    scan = lambda row: mutation_scan(  # noqa: E731
        model, features, row["sample"], row["start"], row["end"], row["feature"]
    )
    for row, found in zip(tried, distributed.spread(tried, scan)):
        _falsify(row, found, context)
    for row in (*missing[n:], *novel[n:]):
        row["evidence"]["against"].append(
            f"Not probed: only the first {n} candidates of a kind were ablated and mutated."
        )
    return missing, felt + novel[n:]


def _ablations(model: Adapter, features: FeatureMatrix, rows: list[Row]) -> dict[int, dict[str, float] | str]:
    """What ablating each of the rows' features does, or why the model cannot say; features are dealt to ranks.

    A few random directions differ by a fifth in the mean, which decides where the feature moves about as much: more are
    taken there. Directions are the same in every run.
    """
    from sciinterp.interventions.ablation import ablation_effect

    numbers = list(dict.fromkeys(row["feature"] for row in rows))

    def effect(feature: int) -> dict[str, float] | str:
        found = ablation_effect(model, features, feature)
        near = not isinstance(found, str) and 1 / MARGINAL < found["times_random"] < MARGINAL
        return ablation_effect(model, features, feature, n_random=N_NEAR) if near else found

    return dict(zip(numbers, distributed.spread(numbers, effect)))


def _is_felt(row: Row, effects: dict[int, dict[str, float] | str], context: Context) -> bool:
    """Whether the model feels a row's feature, as far as it can say; where it hardly does, the row says so."""
    found = effects[row["feature"]]
    if isinstance(found, str):
        context["not_run"]["ablation"] = found
        return True
    row["evidence"]["ablation"] = found
    if (times := found["times_random"]) < MARGINAL:
        _against(
            row,
            f"Removing its feature moves the model's output only {times:.2f} times as much as removing "
            "random directions of the same size.",
        )
    return times > 1


def _against(row: Row, text: str) -> None:
    against = row["evidence"]["against"]
    conserved = (row["evidence"].get("families") or {}).get(
        "share_of_its_own_alike_around_it", 0
    ) >= CONSERVED
    against.insert(int(conserved), text)
    row["reason_against"] = against[0]


def _falsify(row: Row, found: Mutation | str, context: Context) -> None:
    """Add the mutation that takes the feature away, as the model predicts."""
    if isinstance(found, str):
        context["not_run"]["falsifying mutation"] = found
        return
    evidence = row["evidence"]
    evidence["falsifying_mutation"] = found
    share = f"{100 * found['left']:.0f}%"
    if found["removes"]:
        evidence["would_be_falsified_by"] = (
            f"a {found['variant']} mutant of {row['sample']} that keeps {row['concept'] or 'the property'}: the model predicts that "
            f"it leaves {share} of feature {row['feature']} there"
        )
    else:
        evidence["against"].append(
            f"No mutation of up to {MAX_TOGETHER} substitutions was found that removes the feature: {found['variant']} leaves {share} "
            f"of it, the least of {found['n_tried']} tried."
        )


def mutation_scan(
    model: Adapter, features: FeatureMatrix, sample: str, start: int, end: int, feature: int
) -> Mutation | str:
    """The smallest mutation in or beside a span that takes a feature away from it, as the model predicts.

    Single substitutions are tried first; where none leaves a tenth or less, the best of them in twos, then in threes.

    Parameters
    ----------
    sample : str
    start, end : int
        0-based, half-open.

    Returns
    -------
    dict or str
        ``variant`` (positions from 1, several joined by ``;``), ``before, after, left, removes, n_tried``; or why
        nothing was tried.
    """
    from sciinterp.interventions.reading import codes_of

    if (sae := features.sae) is None:
        return "the codes are without their SAE"
    whole = features.samples[sample]
    letters = _letters(model, features.samples)
    if not isinstance(whole.data, str) or len(letters) < 2:
        return "the samples are not sequences of letters that can be exchanged"
    here = features.by_sample(features.samples.index(sample))
    active = here[np.arange(start, end)][:, [feature]].toarray().ravel()
    inside = start + np.argsort(-active, kind="stable")
    beside = [p for d in range(1, BEYOND + 1) for p in (start - d, end - 1 + d) if 0 <= p < whole.length]
    places = [int(p) for p in (*inside, *beside)][:MAX_PLACES]
    single = [
        Variant(p, whole.sequence[p], x)
        for p in places
        for x in [y for y in letters if y != whole.sequence[p]][:N_SUBSTITUTES]
    ]
    peak = lambda codes: float(codes[np.arange(start, end)][:, [feature]].max())  # noqa: E731
    intact, *after = (peak(c) for c in codes_of(model, sae, [whole, *(_mutant(whole, [v]) for v in single)]))
    if intact <= 0:
        return f"feature {feature} is silent in the span"
    left, tried = np.array(after), [[v] for v in single]
    best: list[Variant] = []
    for i in np.argsort(left, kind="stable"):
        if len(best) < N_JOINED and single[i].start not in {v.start for v in best}:
            best.append(single[i])
    for size in range(2, MAX_TOGETHER + 1):
        if left.min() <= REMOVED * intact:
            break
        together = [list(vs) for vs in combinations(best, size)]
        more = [peak(c) for c in codes_of(model, sae, [_mutant(whole, vs) for vs in together])]
        left, tried = np.append(left, more), tried + together
    at = int(np.argmin(left))
    return {
        "variant": ";".join(str(v) for v in sorted(tried[at], key=lambda v: v.start)),
        "feature": int(feature),
        "before": intact,
        "after": float(left[at]),
        "left": float(left[at] / intact),
        "removes": bool(left[at] <= REMOVED * intact),
        "n_tried": len(tried),
    }


def _mutant(sample: Sample, variants: Sequence[Variant]) -> Sample:
    """Several substitutions at once."""
    for variant in variants:
        sample = variant.apply(sample)
    return sample


def _letters(model: Adapter, samples: Samples) -> Sequence[str]:
    alphabet = getattr(model, "alphabet", "")
    return SUBSTITUTES if samples.kind == "protein" else sorted({*alphabet} & {*"ACGTUacgtu"} or {*alphabet})


def shuffled_codes(model: Adapter, sae: SAE, samples: Samples, *, seed: int = 0) -> FeatureMatrix:
    """Codes of the samples with the letters of each in random order: a control for :class:`Controls`.

    Parameters
    ----------
    model : Adapter
    sae : SAE
    samples : Samples
        Sequences.
    """
    from sciinterp.interventions.reading import codes_of

    require_kinds(samples=(samples, Samples))
    rng = np.random.default_rng([plain_value(seed, int, "seed"), 0x5ADF])
    data = ["".join(rng.permutation(list(s.sequence))) for s in samples]
    codes = codes_of(model, sae, [Sample(i, d) for i, d in zip(samples.ids, data)])
    return FeatureMatrix(
        sp.csr_array(sp.vstack(codes)),
        Samples(samples.ids, data, table=samples.table, kind=samples.kind),
        sae=sae,
    )
