"""Which features does a variant take away or bring, and does the model find it less likely?

A variant is HGVS protein notation or a VCF-like row (:mod:`sciinterp.readers.notation`). The sample is encoded
with and without it; positions are compared with their counterparts (:func:`counterparts`). The change in likelihood is the masked marginal
of Meier et al. 2021: log p(alt) - log p(ref) at the hidden position, for single substitutions of models that can mask.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.association.explanations import THRESHOLDS
from sciinterp.errors import InputError, SciinterpError, no_such, require_kinds
from sciinterp.frames import Table, name_of, require_columns
from sciinterp.readers.identifiers import match_ids
from sciinterp.readers.notation import Variant, parse_variant, row_variants
from sciinterp.samples import Sample, Samples
from sciinterp.settings import at_least, plain_value

if TYPE_CHECKING:
    from sciinterp.models import Adapter
    from sciinterp.sae import SAE

log = logging.getLogger(__name__)

MAX_POSITIONS = 100_000  # of changed samples whose codes are held at once
COLUMNS = (
    "feature",
    "change",
    "position",
    "before",
    "after",
    "delta",
    "total_before",
    "total_after",
    "concepts",
)


def variant_effect(
    model: Adapter,
    sae: SAE,
    sample: Sample | str,
    variant: str | Variant,
    *,
    hits: pd.DataFrame | None = None,
    min_change: float = 0.05,
    device: str | None = None,
) -> Table:
    """Features that a variant takes away or brings.

    Parameters
    ----------
    model : Adapter
    sae : SAE
        Trained on this model.
    sample : Sample or str
    variant : str or Variant
        ``"A42G"``, ``"p.Ala42Gly"``, ``"K23_V25del"`` ... (:func:`parse_variant`); positions from 1.
    hits : DataFrame, optional
        Of :func:`sciinterp.associate`: gives the concepts features stand for.
    min_change : float
        Smallest change listed, as a fraction of the largest code of the sample.
    device : str, optional
        Where model and SAE compute; where the model is when not given.

    Returns
    -------
    Table
        ``feature change position before after delta total_before total_after concepts``, largest change first.
        ``change`` is lost, gained, weaker or stronger, at the 0-based ``position`` (of the unchanged sample) where
        the feature changed most; ``before`` is its code there, ``after`` that of the counterpart, 0 where the position
        is deleted. Inserted letters are compared with those they repeat, else with the one they stand in front of.
        Totals are sums over the sample. Of models that read either strand there are rows of
        both, with a column ``strand``, and the likelihoods are means of both. ``context`` holds ``variant``,
        ``log_likelihood_ref``, ``log_likelihood_alt`` and ``log_likelihood_change`` (None where not measured).

    Raises
    ------
    InputError
        A variant that cannot be read, or that does not fit the sample.
    MismatchError
        An SAE of another model.
    """
    from sciinterp.interventions.reading import one_sample, require_pair

    sample = one_sample(sample, "sample")
    require_pair(model, sae)
    require_kinds(variant=(variant, str | Variant))
    change = variant if isinstance(variant, Variant) else parse_variant(variant)
    change = change.meant_for(model.kind).fitted(sample)
    sae.check(model)
    model.check([change.apply(sample)])
    return _effects(model, sae, [(sample, change)], hits, min_change, device)[0]


@dataclass(frozen=True)
class _Row:
    """One change of one row of a table, fitted to its sample."""

    number: int
    sample: Sample
    change: Variant


def variant_effects(
    model: Adapter,
    sae: SAE,
    samples: Samples,
    table: pd.DataFrame,
    *,
    hits: pd.DataFrame | None = None,
    min_change: float = 0.05,
    device: str | None = None,
) -> Table:
    """The same for a table of variants; a row that cannot be carried out is refused alone.

    Parameters
    ----------
    samples : Samples
    table : DataFrame
        Columns ``sample`` (or ``chrom``) and either ``variant`` (HGVS protein) or ``pos ref alt`` (VCF-like, from 1;
        several alternatives joined by commas are several variants).
    hits, min_change, device
        As there.

    Returns
    -------
    Table
        The rows of :func:`variant_effect` with ``sample`` and ``variant`` in front. ``context["variants"]`` is a list
        of one record a variant, in the order of the table, with its ``row`` (from 1), likelihoods and number of
        features changed; ``context["refused"]`` one of ``row`` and ``reason`` for what was not carried out.

    Raises
    ------
    InputError
        When every row is refused.
    MismatchError
        An SAE of another model.
    """
    from sciinterp.interventions.reading import require_pair

    require_kinds(samples=(samples, Samples), table=(table, pd.DataFrame))
    require_pair(model, sae)
    sae.check(model)
    rows, refused = _fitted(model, samples, table)
    if refused:
        first = f"row {refused[0]['row']}: {refused[0]['reason']}"
        if not rows:
            raise InputError(
                "no variant can be carried out", where=f"{len(refused)} of {len(refused)}", got=first
            )
        log.warning(
            "%d of %d variants refused, the first at %s", len(refused), len(refused) + len(rows), first
        )
    frames, records = [], []
    found = _effects(model, sae, [(r.sample, r.change) for r in rows], hits, min_change, device)
    for row, part in zip(rows, found):
        frames.append(pd.DataFrame(part).assign(sample=row.sample.id, variant=str(row.change)))
        changes = part["change"].value_counts()
        counts = {f"n_{name}": int(changes.get(name, 0)) for name in ("lost", "gained")}
        records.append({"row": row.number, "sample": row.sample.id, **part.context, **counts})
    strand = ["strand"] if frames and "strand" in frames[0] else []
    columns = ["sample", "variant", *COLUMNS, *strand]
    out = pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
    return Table(out, context={"variants": records, "refused": refused})


def _fitted(
    model: Adapter, samples: Samples, table: pd.DataFrame
) -> tuple[list[_Row], list[dict[str, int | str]]]:
    """The changes that fit their samples and the model, and why the others do not."""
    rows: list[_Row] = []
    refused: list[dict[str, int | str]] = []
    records = table.to_dict("records")
    meant = match_ids([name for name in map(_sample_name, records) if name is not None], samples.ids)
    for number, row in enumerate(records, 1):
        for change in row_variants(row, model.kind):
            try:
                if isinstance(change, InputError):
                    raise change
                sample = _sample_of(row, samples, meant)
                fitted = change.fitted(sample)
                model.check([fitted.apply(sample)])
                rows.append(_Row(number, sample, fitted))
            except SciinterpError as error:
                refused.append({"row": number, "reason": str(error)})
    return rows, refused


def _sample_name(row: Mapping[str, object]) -> str | None:
    lower = {str(k).lower().lstrip("#"): v for k, v in row.items()}
    name = lower.get("sample", lower.get("chrom"))
    return None if name is None else name_of(name).strip()


def _sample_of(row: Mapping[str, object], samples: Samples, meant: Mapping[str, str]) -> Sample:
    name = _sample_name(row)
    if name is None:
        raise InputError("a variant without its sample", expected="a column 'sample' or 'chrom'")
    if name not in meant:
        raise no_such("sample", name, samples.ids)
    return samples[meant[name]]


def _effects(
    model: Adapter,
    sae: SAE,
    pairs: list[tuple[Sample, Variant]],
    hits: pd.DataFrame | None,
    min_change: float,
    device: str | None,
) -> list[Table]:
    """What each change does, some samples' codes in memory at a time; read on both strands where there are two."""
    from sciinterp.devices import moved
    from sciinterp.products import ByOneDNN

    min_change = plain_value(min_change, float, "min_change", at_least(0))
    strands = "+-" if hasattr(model, "reverse_complement") else "+"
    concepts, found = feature_concepts(hits), []
    size = np.cumsum([2 * len(strands) * sample.length for sample, _ in pairs])
    for part in np.split(np.arange(len(pairs)), np.flatnonzero(np.diff(size // MAX_POSITIONS)) + 1):
        some = [pairs[i] for i in part]
        with moved(device, model, sae), ByOneDNN():
            read = [_strand(model, sae, some, strand) for strand in strands]
        for (sample, change), *each in zip(some, *read):
            pair = (change, sample.sequence, concepts, min_change)
            tables = [_compare(before, after, *pair) for before, after, _ in each]
            if len(strands) > 1:
                both = pd.concat([t.assign(strand=strand) for t, strand in zip(tables, strands)])
                tables = [
                    both.sort_values("delta", key=np.abs, ascending=False, kind="stable", ignore_index=True)
                ]
            known = [likelihood for *_, likelihood in each if likelihood is not None]
            ref, alt = np.mean(known, axis=0).tolist() if known else (None, None)
            context = {
                "variant": str(change),
                "log_likelihood_ref": ref,
                "log_likelihood_alt": alt,
                "log_likelihood_change": None if ref is None else alt - ref,
            }
            found.append(Table(tables[0], context=context))
    return found


def _strand(
    model: Adapter, sae: SAE, pairs: list[tuple[Sample, Variant]], strand: str
) -> list[tuple[sp.csr_array, sp.csr_array, tuple[float, float] | None]]:
    """Codes before and after each change, on the positions of the sample, and log likelihoods of both its letters.

    On strand "-" the model reads the reverse complements.
    """
    from sciinterp.interventions.reading import codes_of, letters_at

    forward = strand == "+"

    def turned(text: str) -> str:
        return text if forward else model.reverse_complement(text)  # type: ignore[attr-defined]

    def codes(samples: list[Sample]) -> list[sp.csr_array]:
        read = samples if forward else [Sample(s.id, turned(s.sequence)) for s in samples]
        return [c if forward else c[::-1] for c in codes_of(model, sae, read)]

    originals = list({sample.id: sample for sample, _ in pairs}.values())
    before = dict(zip([s.id for s in originals], codes(originals)))
    after = codes([change.apply(sample) for sample, change in pairs])
    single = [len(c.ref) == len(c.alt) == 1 for _, c in pairs]
    places = [
        (s, c.start) if forward else (Sample(s.id, turned(s.sequence)), s.length - 1 - c.start)
        for (s, c), one in zip(pairs, single)
        if one
    ]
    letters = iter(letters_at(model, places))
    found = []
    for (sample, change), changed, one in zip(pairs, after, single):
        known = (next(letters) if one else None) or {}
        ref, alt = known.get(turned(change.ref)), known.get(turned(change.alt))
        likelihood = None if ref is None or alt is None else (ref, alt)
        found.append((before[sample.id], changed, likelihood))
    return found


def feature_concepts(hits: pd.DataFrame | None, *, min_f1: float = THRESHOLDS.floor) -> dict[int, list[str]]:
    """Concepts each feature stands for, best first: hits with a held-out F1 of at least ``min_f1``."""
    if hits is None:
        return {}
    require_columns(hits, ("feature", "concept", "f1"), "hits")
    strong = pd.DataFrame(hits).loc[hits["f1"] >= min_f1].sort_values("f1", ascending=False, kind="stable")
    found: dict[int, list[str]] = {}
    for feature, concept in zip(strong["feature"].astype(int), strong["concept"].astype(str)):
        found.setdefault(feature, []).append(concept)
    return found


def counterparts(change: Variant, sequence: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions before and after a change that stand for each other; -1 after, where one has none.

    The positions of the unchanged sequence come first, then those that inserted letters are compared with: letters
    that repeat what stands beside them (duplications, repeats that grow) with what they repeat, others with the one
    they stand in front of, or the last.

    Examples
    --------
    >>> [x.tolist() for x in counterparts(Variant(1, "K", ""), "AKC")]
    [[0, 2, 1], [0, 1, -1]]
    >>> [x.tolist() for x in counterparts(Variant(1, "K", "KK"), "AKC")]
    [[0, 1, 2, 1], [0, 1, 3, 2]]
    """
    change, n = change.trimmed(), len(sequence)
    removed, added = len(change.ref), len(change.alt)
    shared = change.start + min(removed, added)  # up to here each position has its counterpart in place
    old = np.r_[np.arange(shared), np.arange(change.start + removed, n)]
    new = np.where(old < shared, old, old + added - removed)
    gone, come = np.arange(shared, change.start + removed), np.arange(shared, change.start + added)
    left = np.r_[old, gone, _beside(change.alt[min(removed, added) :], shared, sequence)]
    return left, np.r_[new, np.full(len(gone), -1), come]


def _beside(inserted: str, place: int, sequence: str) -> np.ndarray:
    """The position of a sequence that each letter inserted in front of a place is compared with."""
    n = len(inserted)
    for size in range(n, 0, -1):
        unit = inserted[:size]
        if n % size or unit * (n // size) != inserted:
            continue
        if sequence[max(place - size, 0) : place] == unit:
            return place - size + np.arange(n) % size
        if sequence[place : place + size] == unit:
            return place + np.arange(n) % size
    return np.full(n, min(place, len(sequence) - 1))


def _compare(
    before: sp.csr_array,
    after: sp.csr_array,
    change: Variant,
    sequence: str,
    concepts: dict[int, list[str]],
    min_change: float,
) -> pd.DataFrame:
    """One row a feature whose largest change at counterpart positions is large enough."""
    place, new = counterparts(change, sequence)
    before, after = before.astype(np.float64), after.astype(np.float64)
    silent = sp.csr_array((1, before.shape[1]))  # the row -1
    left, right = before[place], sp.csr_array(sp.vstack([after, silent], format="csr")[new])
    delta = sp.coo_array(right - left)
    row, column = delta.coords
    order = np.lexsort((row, -np.abs(delta.data), column))
    first = order[np.flatnonzero(np.diff(column[order], prepend=-1))]  # the largest of each feature
    largest = max(before.data.max(initial=0), after.data.max(initial=0))
    first = first[np.abs(delta.data[first]) >= max(min_change * largest, 1e-9)]
    first = first[np.lexsort((column[first], -np.abs(delta.data[first])))]
    at, feature, size = row[first], column[first], delta.data[first]
    from_, to = (np.asarray(m[at, feature]).ravel() if len(at) else np.zeros(0) for m in (left, right))
    total = [np.asarray(m.sum(0)).ravel()[feature] for m in (before, after)]
    words = np.where(
        size > 0, np.where(from_ == 0, "gained", "stronger"), np.where(to == 0, "lost", "weaker")
    )
    names = ["; ".join(concepts.get(int(j), [])) for j in feature]
    columns = (feature.astype(np.int64), words.astype(object), place[at], from_, to, size, *total, names)
    return pd.DataFrame(dict(zip(COLUMNS, columns)))
