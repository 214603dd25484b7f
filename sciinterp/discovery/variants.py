"""Which features does a variant take away or bring, and does the model find it less likely?

A variant is read as HGVS protein (``A42G``, ``p.Ala42Gly``, ``p.(Ala42del)``; positions from 1) or as a VCF-like
row (``pos ref alt``, positions from 1). The sample is encoded with and without it; positions are compared with
their counterparts. The change in likelihood is the masked marginal of Meier et al. 2021: log p(alt) - log p(ref)
at the hidden position, for single substitutions of models that can mask.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from sciinterp.errors import InputError
from sciinterp.samples import Sample, Samples
from sciinterp.tables import Table

if TYPE_CHECKING:
    from sciinterp.models import Adapter

THREE = {"Ala": "A", "Arg": "R", "Asn": "N", "Asp": "D", "Cys": "C", "Gln": "Q", "Glu": "E", "Gly": "G", "His": "H",
         "Ile": "I", "Leu": "L", "Lys": "K", "Met": "M", "Phe": "F", "Pro": "P", "Ser": "S", "Thr": "T", "Trp": "W",
         "Tyr": "Y", "Val": "V", "Sec": "U", "Pyl": "O"}  # fmt: skip
_LETTER = "([A-Z][a-z]{2}|[A-Z])"
_SUBSTITUTION = re.compile(rf"(?:p\.)?\(?{_LETTER}(\d+)(?:{_LETTER}|(del))\)?\Z")
HIT_F1 = 0.3  # a feature stands for a concept from this held-out F1 on
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


@dataclass(frozen=True)
class Variant:
    """A change of one stretch: ``ref`` at the 0-based ``start`` becomes ``alt``.

    Examples
    --------
    >>> parse_variant("p.Ala42Gly")
    Variant(start=41, ref='A', alt='G')
    """

    start: int
    ref: str
    alt: str

    def __str__(self) -> str:
        return f"{self.ref}{self.start + 1}{self.alt or 'del'}"

    def apply(self, sample: Sample) -> Sample:
        """The changed sample.

        Raises
        ------
        InputError
            When the position lies outside, or the sample holds something else there.
        """
        end = self.start + len(self.ref)
        if self.start < 0 or end > sample.length:
            raise InputError(
                "the variant lies outside the sample",
                where=f"variant {self}, sample {sample.id!r}",
                expected=f"position 1 to {sample.length}",
                got=str(self.start + 1),
            )
        found = sample.sequence[self.start : end]
        if found != self.ref:
            raise InputError(
                "the sample has another reference residue",
                where=f"variant {self}, sample {sample.id!r}",
                expected=f"{self.ref} at position {self.start + 1}",
                got=found,
                do="Positions count from 1 on the sample as it is given here, after any cut.",
            )
        sequence = sample.sequence[: self.start] + self.alt + sample.sequence[end:]
        if not sequence:
            raise InputError(
                "the variant deletes the whole sample", where=f"variant {self}, sample {sample.id!r}"
            )
        return Sample(f"{sample.id}:{self}", sequence)


def parse_variant(text: str) -> Variant:
    """Read ``A42G``, ``p.Ala42Gly``, ``A42del``.

    Raises
    ------
    InputError
        When the text is no substitution or deletion of one residue.
    """
    match = _SUBSTITUTION.match(str(text).strip())
    if match is None or int(match[2]) < 1:
        raise InputError(
            "this is not a protein variant",
            where=f"variant {text!r}",
            expected="a form like A42G, p.Ala42Gly or A42del, positions from 1",
            got=repr(text),
        )
    return Variant(int(match[2]) - 1, _one(match[1], text), "" if match[4] else _one(match[3], text))


def _one(name: str, text: str) -> str:
    if len(name) == 1:
        return name
    if name not in THREE:
        raise InputError(
            "this is not an amino acid", where=f"variant {text!r}", expected="a three-letter code", got=name
        )
    return THREE[name]


def variant_effect(
    model: Adapter,
    sae: Any,
    sample: Sample | str,
    variant: str | Variant,
    *,
    hits: pd.DataFrame | None = None,
    min_change: float = 0.05,
) -> Table:
    """Features that a variant takes away or brings.

    Parameters
    ----------
    model : Adapter
    sae : SAE
        Trained on this model.
    sample : Sample or str
    variant : str or Variant
        ``"A42G"``, ``"p.Ala42Gly"``, ``"A42del"``; positions from 1.
    hits : DataFrame, optional
        Of :func:`sciinterp.associate`: gives the concepts features stand for.
    min_change : float
        Smallest change listed, as a fraction of the largest code of the sample.

    Returns
    -------
    Table
        ``feature change position before after delta total_before total_after concepts``, largest change first.
        ``change`` is lost, gained, weaker or stronger, at the 0-based ``position`` (of the unchanged sample) where
        the feature changed most; totals are sums over the sample. ``context`` holds ``variant``,
        ``log_likelihood_ref``, ``log_likelihood_alt`` and ``log_likelihood_change`` (None where not measured).

    Raises
    ------
    InputError
        A variant that cannot be read, or that does not fit the sample.
    MismatchError
        An SAE of another model.
    """
    sample = sample if isinstance(sample, Sample) else Sample("sample", sample)
    change = variant if isinstance(variant, Variant) else parse_variant(variant)
    return _effects(model, sae, [(sample, change)], hits, min_change)[0]


def variant_effects(
    model: Adapter,
    sae: Any,
    samples: Samples,
    table: pd.DataFrame,
    *,
    hits: pd.DataFrame | None = None,
    min_change: float = 0.05,
) -> Table:
    """The same for a table of variants.

    Parameters
    ----------
    samples : Samples
    table : DataFrame
        Columns ``sample`` (or ``chrom``) and either ``variant`` (HGVS protein) or ``pos ref alt`` (VCF-like, from 1).

    Returns
    -------
    Table
        The rows of :func:`variant_effect` with ``sample`` and ``variant`` in front; ``context["variants"]`` is a list
        of one record a variant, in the order of the table, with its likelihoods and number of features changed.
    """
    pairs = [_row_variant(row, samples, number) for number, row in enumerate(table.to_dict("records"))]
    parts = _effects(model, sae, pairs, hits, min_change)
    frames, records = [], []
    for (sample, change), part in zip(pairs, parts):
        frame = pd.DataFrame(part)
        frame.insert(0, "sample", sample.id)
        frame.insert(1, "variant", str(change))
        frames.append(frame)
        records.append(
            {
                "sample": sample.id,
                **part.context,
                "n_lost": int((part["change"] == "lost").sum()),
                "n_gained": int((part["change"] == "gained").sum()),
            }
        )
    out = (
        pd.concat(frames, ignore_index=True)
        if frames
        else pd.DataFrame(columns=["sample", "variant", *COLUMNS])
    )
    return Table(out, context={"variants": records})


def _row_variant(row: dict[str, Any], samples: Samples, number: int) -> tuple[Sample, Variant]:
    name = row.get("sample", row.get("chrom", row.get("#CHROM", row.get("CHROM"))))
    if name is None:
        raise InputError(
            "a variant without its sample", where=f"row {number}", expected="a column 'sample' or 'chrom'"
        )
    sample = samples[str(name)]
    if "variant" in row:
        return sample, parse_variant(row["variant"])
    lower = {str(k).lower(): v for k, v in row.items()}
    if not {"pos", "ref", "alt"} <= set(lower):
        raise InputError(
            "a variant that cannot be read",
            where=f"row {number}",
            expected="'variant', or 'pos', 'ref' and 'alt'",
            got=", ".join(map(str, row)),
        )
    try:
        start = int(lower["pos"]) - 1
    except (TypeError, ValueError):
        raise InputError(
            "the position is not a whole number", where=f"row {number}", got=repr(lower["pos"])
        ) from None
    ref, alt = str(lower["ref"]), str(lower["alt"])
    if not (ref.isalpha() and (alt.isalpha() or alt in (".", "-", "*", ""))):
        raise InputError(
            "alleles that cannot be read", where=f"row {number}", expected="letters", got=f"{ref!r}, {alt!r}"
        )
    return sample, Variant(start, ref, alt if alt.isalpha() else "")


def _effects(
    model: Adapter,
    sae: Any,
    pairs: list[tuple[Sample, Variant]],
    hits: pd.DataFrame | None,
    min_change: float,
) -> list[Table]:
    from sciinterp.interventions.reading import codes_of, log_likelihoods

    sae.check(model)
    changed = [change.apply(sample) for sample, change in pairs]
    model.check(changed)
    originals = list({sample.id: sample for sample, _ in pairs}.values())
    before = dict(zip([s.id for s in originals], codes_of(model, sae, originals)))
    after = codes_of(model, sae, changed)
    concepts = feature_concepts(hits)
    out = []
    for (sample, change), codes in zip(pairs, after):
        table = _compare(before[sample.id], codes, change, concepts, min_change)
        likelihood = None
        if len(change.ref) == len(change.alt) == 1:
            likelihood = log_likelihoods(model, sample, change.start, [change.ref, change.alt])
        ref, alt = (likelihood[change.ref], likelihood[change.alt]) if likelihood else (None, None)
        context = {
            "variant": str(change),
            "log_likelihood_ref": ref,
            "log_likelihood_alt": alt,
            "log_likelihood_change": alt - ref
            if likelihood and alt is not None and ref is not None
            else None,
        }
        out.append(Table(table, context=context))
    return out


def feature_concepts(hits: pd.DataFrame | None, *, min_f1: float = HIT_F1) -> dict[int, list[str]]:
    """Concepts each feature stands for, best first: hits with a held-out F1 of at least ``min_f1``."""
    if hits is None or not {"feature", "concept", "f1"} <= set(hits.columns):
        return {}
    strong = pd.DataFrame(hits).loc[hits["f1"] >= min_f1].sort_values("f1", ascending=False, kind="stable")
    found: dict[int, list[str]] = {}
    for feature, concept in zip(strong["feature"].astype(int), strong["concept"].astype(str)):
        found.setdefault(feature, []).append(concept)
    return found


def _compare(
    before: sp.csr_array,
    after: sp.csr_array,
    change: Variant,
    concepts: dict[int, list[str]],
    min_change: float,
) -> pd.DataFrame:
    """One row a feature whose largest change at counterpart positions is large enough."""
    n, shift = before.shape[0], len(change.alt) - len(change.ref)
    shared = min(len(change.ref), len(change.alt))
    old = np.r_[np.arange(change.start + shared), np.arange(change.start + len(change.ref), n)]
    new = np.where(old < change.start + shared, old, old + shift)
    used = np.unique(np.r_[before.indices, after.indices])
    a, b = before[:, used].toarray().astype(np.float64), after[:, used].toarray().astype(np.float64)
    # What has no counterpart (deleted or inserted) counts as fallen silent or begun there.
    gone, come = np.setdiff1d(np.arange(n), old), np.setdiff1d(np.arange(after.shape[0]), new)
    left = np.vstack([a[old], a[gone], np.zeros((len(come), len(used)))])
    right = np.vstack([b[new], np.zeros((len(gone), len(used))), b[come]])
    place = np.r_[old, gone, np.full(len(come), change.start)]
    delta = right - left
    at = np.argmax(np.abs(delta), axis=0) if len(delta) else np.zeros(len(used), np.int64)
    column = np.arange(len(used))
    size, from_, to = delta[at, column], left[at, column], right[at, column]
    keep = np.flatnonzero(np.abs(size) >= max(min_change * max(a.max(initial=0), b.max(initial=0)), 1e-9))
    keep = keep[np.argsort(-np.abs(size[keep]), kind="stable")]
    words = np.where(
        size > 0, np.where(from_ == 0, "gained", "stronger"), np.where(to == 0, "lost", "weaker")
    )
    rows = [
        (
            int(used[j]),
            str(words[j]),
            int(place[at[j]]),
            float(from_[j]),
            float(to[j]),
            float(size[j]),
            float(a[:, j].sum()),
            float(b[:, j].sum()),
            "; ".join(concepts.get(int(used[j]), [])),
        )
        for j in keep
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
