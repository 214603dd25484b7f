"""What every variant of one sample does to features and to likelihood: a whole scan in one call.

A variant's change of a feature is told twice: the largest change at any position (signed), and the change at the changed
positions alone. Positions are compared with their counterparts, as :func:`sciinterp.variant_effect` does. Beside them
stand the changes of the activations themselves, and the likelihoods that the model has: masked marginals and wild-type
marginals (Meier and others 2021), which need no run of a variant, for models that can mask; for causal models the log
probability of the whole sequence. Of several substitutions marginals are summed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch

from sciinterp.codes.exports import plain_frame
from sciinterp.codes.positions import to_positions
from sciinterp.devices import moved
from sciinterp.errors import InputError, require_kinds
from sciinterp.interventions.reading import (
    batches,
    checked_site,
    letters_at,
    one_sample,
    require_pair,
    sequence_likelihoods,
)
from sciinterp.interventions.variants import counterparts
from sciinterp.models import CanMask, HasLogits, capture, spans_of
from sciinterp.products import ByOneDNN
from sciinterp.progress import progress
from sciinterp.readers.notation import Variant, parse_variant
from sciinterp.samples import Sample
from sciinterp.settings import plain_value

if TYPE_CHECKING:
    import anndata

    from sciinterp.models import Adapter
    from sciinterp.sae import SAE

AMINO_ACIDS, BASES = "ACDEFGHIKLMNPQRSTVWY", "ACGT"
# Likelihoods that a scan may hold, as columns of obs.
LIKELIHOODS = ("masked_marginal", "wild_type_marginal", "causal")


@dataclass
class _Changes:
    """What is gathered of the variants, batch by batch."""

    largest: list[sp.csr_array] = field(default_factory=list)
    here: list[sp.csr_array] = field(default_factory=list)
    dense: list[np.ndarray] = field(default_factory=list)
    numbers: list[np.ndarray] = field(default_factory=list)
    wild: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


def saturate(
    model: Adapter,
    sae: SAE,
    sample: Sample | str,
    variants: Sequence[str | Variant] | None = None,
    *,
    positions: Sequence[int] | None = None,
    at: Sequence[int] | None = None,
    likelihood: bool = True,
    device: str | None = None,
) -> anndata.AnnData:
    """Every substitution of a sample, or given variants of it, as variants by features.

    Parameters
    ----------
    model : Adapter
    sae : SAE
        Trained on this model.
    sample : Sample or str
        The wild type.
    variants : sequence of str or Variant, optional
        By default every substitution by an amino acid, or of DNA by a base.
    positions : sequence of int, optional
        Substitutions at these positions alone, from 0.
    at : sequence of int, optional
        Changes are read at these positions of the wild type alone, from 0, such as a splice site or an active site. By
        default at all: the largest change then is often far from the place that is asked about.
    likelihood : bool
        Whether likelihoods are computed, where the model has them.
    device : str, optional
        Where model and SAE compute.

    Returns
    -------
    AnnData [n_variants, n_features]
        ``X``: the largest change of each feature at any position (of ``at``), signed; layer ``here``: its sum over the changed
        positions. ``var["wild_type"]``: the largest code of the wild type where changes are read. ``obs``: ``variant position ref alt n_changes`` (``position`` the first changed, from 0) and those of
        :data:`LIKELIHOODS` that the model has, in nats, above zero where the variant is likelier. ``obsm["activations"]``
        [n_variants, 2 d_in]: change of the mean over the sample, then at the changed positions. ``uns``: ``sample``,
        ``wild_type``, ``model``, ``site``.

    Raises
    ------
    InputError
        A variant that cannot be carried out; letters of which there is no list.
    MismatchError
        An SAE of another model.

    Examples
    --------
    >>> import sciinterp as si
    >>> from sciinterp.testing import tiny_model
    >>> model, sae = tiny_model()
    >>> scan = si.saturate(model, sae, "EVQLVESGG", positions=[2])
    >>> scan.shape, scan.obs["variant"].iloc[0]
    ((19, 16), 'Q3A')
    """
    sample = one_sample(sample, "wild type")
    require_pair(model, sae)
    positions, at = _places(sample, positions, "positions"), _places(sample, at, "at")
    likelihood = plain_value(likelihood, bool, "likelihood")
    changes = _every(model, sample, positions) if variants is None else _fitted(model, sample, variants)
    if not changes:
        raise InputError("no variants to carry out", where=f"sample {sample.id!r}")
    site = checked_site(model, sae)
    obs = _rows(changes)
    with moved(device, model, sae), torch.no_grad(), ByOneDNN():
        found = _gathered(model, sae, site, sample, changes, at)
        if likelihood:
            for name, values in _likelihoods(model, sample, changes).items():
                obs[name] = values
    order = np.argsort(np.concatenate(found.numbers), kind="stable")
    return _as_anndata(model, sae, site, sample, obs, found, order)


def _fitted(model: Adapter, sample: Sample, variants: Sequence[str | Variant] | str) -> list[Variant]:
    """Variants that were named, fitted to the sample."""
    require_kinds(variants=(variants, Iterable))
    told = [variants] if isinstance(variants, str) else variants
    for variant in told:
        require_kinds(variant=(variant, str | Variant))
    read = [v if isinstance(v, Variant) else parse_variant(v) for v in told]
    return [variant.meant_for(model.kind).fitted(sample) for variant in read]


def _every(model: Adapter, sample: Sample, positions: Sequence[int] | None) -> list[Variant]:
    """Every substitution, position by position."""
    letters = BASES if model.kind == "dna" else AMINO_ACIDS
    if not set(letters) <= set(model.alphabet):
        raise InputError(
            "which letters to try is not known",
            where=model.name,
            expected="a model of proteins or DNA",
            do="Give variants=.",
        )
    places = range(sample.length) if positions is None else positions
    wild = sample.sequence
    cased = letters.lower() if wild.islower() else letters
    return [Variant(p, wild[p], x) for p in places for x in cased if x.upper() != wild[p].upper()]


def _rows(changes: list[Variant]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "variant": [str(c) for c in changes],
            "position": [c.trimmed().start for c in changes],
            "ref": [c.ref for c in changes],
            "alt": [c.alt for c in changes],
            "n_changes": [max(len(c.substitutions), 1) for c in changes],
        }
    )


def _places(sample: Sample, given: Sequence[int] | None, name: str) -> list[int] | None:
    """Positions of a sample, one at least; None where none were named."""
    if given is None:
        return None
    places = np.atleast_1d(np.asarray(given))
    wrong = places[[type(p) is not int or not 0 <= p < sample.length for p in places.tolist()]]
    if not places.size or len(wrong):
        said, got = f"whole numbers 0 to {sample.length - 1}", str(wrong[0]) if len(wrong) else "none"
        raise InputError("a position outside the sample", where=name, expected=said, got=got)
    return places.tolist()


def _gathered(
    model: Adapter, sae: SAE, site: str, sample: Sample, changes: list[Variant], at: Sequence[int] | None
) -> _Changes:
    """Changes of features and of activations of all variants."""
    ((_, codes, rows, spans),) = _read(model, sae, site, [sample])
    wild, asked = codes, codes if at is None else codes[list(at)]
    mean, out = rows[0].mean(0), _Changes(wild=asked.max(0).toarray().ravel())
    changed = [change.apply(sample) for change in changes]
    with progress(total=len(changed), desc="variants", leave=False) as bar:
        for numbers, codes, dense, tokens in _read(model, sae, site, changed):
            some = [changes[i] for i in numbers]
            lengths = [changed[i].length for i in numbers]
            largest, here = _of_batch(wild, codes, some, sample.sequence, lengths, at)
            out.largest.append(largest)
            out.here.append(here)
            means = np.array([x.mean(0) for x in dense]) - mean
            local = np.array(
                [_at(x, t, c) - _at(rows[0], spans[0], c) for x, t, c in zip(dense, tokens, some)], np.float32
            )
            out.dense.append(np.hstack([means, local]).astype(np.float32))
            out.numbers.append(numbers)
            bar.update(len(numbers))
    return out


def _read(
    model: Adapter, sae: SAE, site: str, samples: Sequence[Sample]
) -> Iterator[tuple[np.ndarray, sp.csr_array, list[np.ndarray], list[np.ndarray]]]:
    """Of each batch: numbers of its samples, codes on their positions end to end, activations, spans of tokens."""
    for numbers, batch in batches(model, samples):
        rows = capture(model, [site], batch)[site]
        spans = [s[:, :2].numpy() for s in spans_of(model, site, batch)]
        lengths = np.array([samples[i].length for i in numbers])
        first = np.cumsum(lengths) - lengths
        start, end = np.concatenate([s + f for s, f in zip(spans, first)]).T
        codes = to_positions(sae.encode_scipy(torch.cat(rows)), start, end, int(lengths.sum()))
        yield numbers, codes, [x.float().cpu().numpy() for x in rows], spans


def _at(x: np.ndarray, spans: np.ndarray, change: Variant) -> np.ndarray:
    """The mean activation of tokens that cover changed positions; of the first changed one where letters come or go."""
    places = [v.start for v in change.substitutions] or [min(change.start, int(spans[-1, 1]) - 1)]
    covers = np.zeros(len(spans), bool)
    for place in places:
        covers |= (spans[:, 0] <= place) & (place < spans[:, 1])
    return x[covers].mean(0) if covers.any() else np.zeros(x.shape[1], x.dtype)


def _of_batch(
    wild: sp.csr_array,
    codes: sp.csr_array,
    changes: list[Variant],
    sequence: str,
    lengths: list[int],
    at: Sequence[int] | None,
) -> tuple[sp.csr_array, sp.csr_array]:
    """The signed largest change of each feature (at places), and its change at changed positions, of each variant."""
    n, width = wild.shape
    padded = sp.vstack([codes, sp.csr_array((1, width), dtype=codes.dtype)], format="csr")
    lefts, rights, owners, heres, asked = [], [], [], [], []
    first = 0
    for i, (change, length) in enumerate(zip(changes, lengths)):
        left, right = counterparts(change, sequence)
        lefts.append(left)
        rights.append(np.where(right < 0, codes.shape[0], right + first))
        owners.append(np.full(len(left), i))
        sites = [v.start for v in change.substitutions] or [min(change.trimmed().start, n - 1)]
        heres.append(np.isin(left, sites) | (np.arange(len(left)) >= n))  # inserted letters come last
        asked.append(np.ones(len(left), bool) if at is None else np.isin(left, at))
        first += length
    owner, here = np.concatenate(owners), np.concatenate(heres)
    delta = sp.csr_array(padded[np.concatenate(rights)] - wild[np.concatenate(lefts)])
    up, down = np.zeros((2, len(changes) * width), np.float32)
    cell = np.repeat(owner, np.diff(delta.indptr)).astype(np.int64) * width + delta.indices
    read = np.repeat(np.concatenate(asked), np.diff(delta.indptr))
    np.maximum.at(up, cell[read], delta.data[read])
    np.minimum.at(down, cell[read], delta.data[read])
    largest = np.where(up >= -down, up, down).reshape(len(changes), width)
    adds = sp.csr_array((np.ones(here.sum(), np.float32), (owner[here], np.flatnonzero(here))),
                        shape=(len(changes), len(owner)))  # fmt: skip
    return sp.csr_array(largest), sp.csr_array(adds @ delta)


def _likelihoods(model: Adapter, sample: Sample, changes: list[Variant]) -> dict[str, np.ndarray]:
    """Those that the model has; NaN for variants that one is not defined for."""
    if not isinstance(model, HasLogits):
        return {}
    if not isinstance(model, CanMask):
        total = sequence_likelihoods(model, [sample, *(change.apply(sample) for change in changes)])
        return {"causal": total[1:] - total[0]} if total is not None else {}
    places = sorted({v.start for change in changes for v in change.substitutions})
    out = {}
    for name, hide in (("masked_marginal", True), ("wild_type_marginal", False)):
        known = dict(zip(places, letters_at(model, [(sample, p) for p in places], hide=hide)))
        out[name] = np.array([_marginal(known, change) for change in changes])
    return out


def _marginal(known: dict[int, dict[str, float] | None], change: Variant) -> float:
    """The sum over substitutions; zero for none, NaN where letters come or go."""
    if len(change.ref) != len(change.alt):
        return float("nan")
    total = 0.0
    for v in change.substitutions:
        letters = known[v.start] or {}
        total += letters.get(v.alt, float("nan")) - letters.get(v.ref, float("nan"))
    return total


def _as_anndata(
    model: Adapter,
    sae: SAE,
    site: str,
    sample: Sample,
    obs: pd.DataFrame,
    found: _Changes,
    order: np.ndarray,
) -> anndata.AnnData:
    import anndata

    obs.index = pd.Index([str(i) for i in range(len(obs))])
    names = pd.Index([str(j) for j in range(sae.n_features)], name="feature")
    var = pd.DataFrame({"wild_type": found.wild}, index=names)
    x, here = (sp.csr_matrix(sp.vstack(parts, format="csr")[order]) for parts in (found.largest, found.here))
    return anndata.AnnData(
        X=x,
        obs=plain_frame(obs),
        var=var,
        layers={"here": here},
        obsm={"activations": np.concatenate(found.dense)[order]},
        uns={"sample": sample.id, "wild_type": sample.sequence, "model": model.name, "site": site},
    )
