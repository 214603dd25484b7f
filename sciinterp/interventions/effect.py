"""What an intervention does: scores, features of later sites, and the divergence where it was made and elsewhere.

The model runs twice on every batch, clean and with the edits written into it. Scores are log probabilities over the
model's vocabulary, read at each token they are about; their divergence is that of Kullback and Leibler, from the clean
run, in nats a token. Off target is every token that no edited row covers: what an intervention does there by itself is
its damage, and interventions are compared at equal damage (:mod:`sciinterp.interventions.control_matrix`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from sciinterp.codes.matrix import FeatureMatrix
from sciinterp.codes.positions import to_positions
from sciinterp.errors import InputError, require_kinds
from sciinterp.frames import Table
from sciinterp.interventions.reading import batches, checked_site
from sciinterp.interventions.writing import Edit, writing
from sciinterp.models import Batch, CanMask, HasLogits, capture, edit
from sciinterp.models.site import scored_spans, site_tokens
from sciinterp.sae import SAE

if TYPE_CHECKING:
    from sciinterp.models import Adapter
    from sciinterp.samples import Samples

# Larger vocabularies are read at the token's own word alone: k-mers and pieces, thousands a token.
MAX_WORDS = 64
# The edits of a batch, from the numbers of its samples.
Edits = Callable[[np.ndarray], Sequence[Edit]]
LABELS = ("sample", "label", "before", "after", "change")
LATER = ("sample", "feature", "before", "after", "change", "total_before", "total_after")


@runtime_checkable
class Readout(Protocol):
    """What reads labels off codes, as :func:`sciinterp.readout` keeps it: the codes it learnt from, and what it says of others."""

    features: FeatureMatrix

    def predict(self, features: FeatureMatrix) -> pd.DataFrame:
        """One row a sample, one column a label."""
        ...


class Scored(NamedTuple):
    """One run of one batch: log probabilities [n, V] of the tokens that scores are about, and later codes."""

    scores: Tensor | None
    later: list[sp.csr_array]


@dataclass(frozen=True, eq=False)
class Effect:
    """What an intervention did to some samples.

    Attributes
    ----------
    tokens : DataFrame
        One row a token that scores are about: ``sample position end word before after change divergence written``.
        ``before`` and ``after`` are log probabilities of the sample's own ``word`` there (NaN where scores are not about
        the input), ``written`` whether an edited row covers it. Empty for models without scores.
    vocabulary : tuple of str
        The words of ``before`` and ``after``; empty where they are more than :data:`MAX_WORDS`.
    before, after : float32 [n_tokens, n_words]
        Log probabilities of the clean and of the changed run, the rows of ``tokens``.
    features : Table
        Features of later sites: ``sample feature before after change total_before total_after``, the largest code and
        the sum over the sample, largest change first.
    labels : Table
        What readouts say: ``sample label before after change``, a label being a class (of two the second alone) or a number.
        A ridge regression counts from the mean of what it learnt from.
    written : tuple of bool arrays [n_positions]
        The positions of each sample where an activation was changed.
    """

    tokens: pd.DataFrame
    vocabulary: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray
    features: Table
    labels: Table
    written: tuple[np.ndarray, ...]

    @property
    def divergence(self) -> float:
        """Mean divergence in nats a token; NaN without scores."""
        return _mean(self.tokens["divergence"])

    @property
    def on_target(self) -> float:
        """Mean divergence at tokens that were written to."""
        return _mean(self.tokens.loc[self.tokens["written"], "divergence"])

    @property
    def off_target(self) -> float:
        """Mean divergence at all other tokens: NaN where every token was written to."""
        return _mean(self.tokens.loc[~self.tokens["written"], "divergence"])

    def to_frame(self) -> Table:
        """The table of tokens; its ``context`` holds the divergences and how many positions were written to."""
        facts = {name: getattr(self, name) for name in ("divergence", "on_target", "off_target")}
        n_written = int(sum(mask.sum() for mask in self.written))
        return Table(self.tokens, context={**facts, "n_written": n_written})

    def words(self) -> Table:
        """The change of every word's log probability at every token: ``sample position word before after change``."""
        n, v = self.before.shape
        own = self.tokens[["sample", "position"]].loc[self.tokens.index.repeat(v)].reset_index(drop=True)
        own["word"] = np.tile(np.array(self.vocabulary, object), n)
        own["before"], own["after"] = self.before.ravel(), self.after.ravel()
        return Table(own.assign(change=own["after"] - own["before"]))

    def __repr__(self) -> str:
        samples = len(self.written)
        n = int(sum(mask.sum() for mask in self.written))
        return (
            f"Effect({samples} samples, {n} positions written; divergence {self.on_target:.3g} nats there, "
            f"{self.off_target:.3g} elsewhere)"
        )


def _mean(values: pd.Series) -> float:
    return float(values.mean()) if len(values) else float("nan")


def measure(
    model: Adapter,
    samples: Samples,
    edits: Edits,
    *,
    later: Sequence[SAE | FeatureMatrix | Table] = (),
    hide: Sequence[np.ndarray] | None = None,
) -> Effect:
    """Run samples clean and with edits, those of a batch made from the numbers of its samples.

    Features of `later` SAEs, of sites after the edits, are read in both runs, and of readouts the label;
    positions of `hide` [n_positions] of each sample are hidden in both.

    Raises
    ------
    InputError
        The model gives no scores and no later SAE is given, or it cannot hide positions.
    """
    scored = isinstance(model, HasLogits)
    if not scored and not later:
        raise InputError(
            "nothing to read the effect by",
            where=model.name,
            expected="a model with scores over a vocabulary, or an SAE of a later site",
            do="Give later=, an SAE of a site after this one, or a readout.",
        )
    if hide is not None and not isinstance(model, CanMask):
        raise InputError("this model cannot hide a position", where=model.name)
    readouts = [(i, one) for i, one in enumerate(later) if isinstance(one, pd.DataFrame)]
    saes = [_sae_of(one) for one in later]
    sites = [checked_site(model, sae) for sae in saes]
    frames, pairs, features = [], [], []
    codes: dict[tuple[int, int], tuple[sp.csr_array, sp.csr_array]] = {}
    masks = [np.zeros(n, bool) for n in samples.lengths]
    for numbers, batch in batches(model, samples):
        shown = hidden(model, batch, numbers, hide)
        clean = run(model, shown, [], saes, sites)
        places: list[Tensor] = []
        changed = run(model, shown, edits(numbers), saes, sites, written=places)
        for row, start, end in torch.cat([torch.zeros(0, 3, dtype=torch.long), *places]).tolist():
            masks[numbers[row]][start:end] = True
        features += list(_later(samples, numbers, clean.later, changed.later, {i for i, _ in readouts}))
        for place, both in enumerate(zip(clean.later, changed.later)):
            which, row = divmod(place, len(numbers))
            if any(which == i for i, _ in readouts):
                codes[which, int(numbers[row])] = both
        if isinstance(model, HasLogits) and clean.scores is not None and changed.scores is not None:
            if bool(changed.scores.isnan().any()) and not bool(clean.scores.isnan().any()):
                raise InputError(
                    "the model's scores are no numbers any more",
                    where=model.name,
                    do="Turn the feature by less.",
                )
            frames.append(_tokens(model, samples, numbers, batch, clean.scores, changed.scores))
            if clean.scores.shape[1] <= MAX_WORDS:
                pairs.append((clean.scores.numpy(), changed.scores.numpy()))
    labels = [_read_labels(one, samples, [codes[i, k] for k in range(len(samples))]) for i, one in readouts]
    return _gathered(model, samples, frames, pairs, features, labels, masks, scored)


def run(
    model: Adapter,
    batch: Batch,
    edits: Sequence[Edit],
    later: Sequence[SAE] = (),
    sites: Sequence[str] = (),
    *,
    written: list[Tensor] | None = None,
) -> Scored:
    """One pass: scores of the tokens they are about, and codes of later sites [n_tokens, n_features] of each sample."""
    found: dict[int, list[sp.csr_array]] = {}

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(writing(model, edits, written))
        if not isinstance(model, HasLogits):
            rows = capture(model, list(sites), batch)
            return Scored(
                None, [c for sae, s in zip(later, sites) for c in _coded(model, sae, s, batch, rows[s])]
            )
        for number, (sae, site) in enumerate(zip(later, sites)):

            def seen(rows: Tensor, number: int = number, sae: SAE = sae, site: str = site) -> Tensor:
                mask, _ = site_tokens(model.site(site), batch)
                parts = torch.split(rows.detach().float(), mask.sum(1).tolist())
                found[number] = list(_coded(model, sae, site, batch, parts))
                return rows

            stack.enter_context(edit(model, site, seen))
        logits = model.logits(batch).float()
        about = scored_tokens(model, batch)
        scores = torch.log_softmax(logits[about.to(logits.device)], -1).cpu()
    return Scored(scores, [c for number in range(len(later)) for c in found[number]])


def scored_tokens(model: Adapter, batch: Batch) -> Tensor:
    """bool [B, T]: the tokens whose scores are read: those about a token of the sample, else all real ones."""
    if not isinstance(model, HasLogits):
        return batch.mask
    about = model.targets(batch).mask
    return about if bool(about.any()) else batch.mask


def _coded(
    model: Adapter, sae: SAE, site: str, batch: Batch, rows: Sequence[Tensor]
) -> Iterator[sp.csr_array]:
    """Codes on positions of each sample."""
    mask, spans = site_tokens(model.site(site), batch)
    for i, x in enumerate(rows):
        start, end = spans[i][mask[i]][:, :2].numpy().T
        yield to_positions(sae.encode_scipy(x.detach().cpu()), start, end, int(batch.lengths[i]))


def hidden(model: Adapter, batch: Batch, numbers: np.ndarray, hide: Sequence[np.ndarray] | None) -> Batch:
    """The batch with tokens hidden that cover a position to hide."""
    if hide is None or not isinstance(model, CanMask):
        return batch
    where = torch.zeros_like(batch.mask)
    for row, number in enumerate(numbers):
        sums = torch.from_numpy(np.r_[0, np.cumsum(hide[number])])
        span = batch.spans[row][:, :2].long().clamp(min=0)
        where[row] = batch.mask[row] & (sums[span[:, 1]] > sums[span[:, 0]])
    return model.masked(batch, where)


def _tokens(
    model: HasLogits, samples: Samples, numbers: np.ndarray, batch: Batch, clean: Tensor, changed: Tensor
) -> pd.DataFrame:
    """The rows of :attr:`Effect.tokens` of one batch; ``written`` is filled in later."""
    ids, mask = model.targets(batch)
    about = mask if bool(mask.any()) else batch.mask
    row, start, end = scored_spans(batch, about).numpy().T
    n = len(clean)
    if bool(mask.any()):
        own = ids[mask].long()
        words = [model.vocabulary[i].removeprefix("▁") for i in own.tolist()]
        before, after = clean[torch.arange(n), own].numpy(), changed[torch.arange(n), own].numpy()
    else:
        words, before, after = [""] * n, np.full(n, np.nan), np.full(n, np.nan)
    return pd.DataFrame(
        {
            "number": numbers[row],
            "sample": np.array(samples.ids, object)[numbers[row]],
            "position": start,
            "end": end,
            "word": words,
            "before": before,
            "after": after,
            "change": after - before,
            "divergence": divergence(clean, changed).numpy(),
        }
    )


def divergence(clean: Tensor, changed: Tensor) -> Tensor:
    """float64 [n]: divergence of Kullback and Leibler of rows of log probabilities, from the clean ones."""
    p, q = clean.double(), changed.double()
    terms = torch.where(p == q, 0.0, p.exp() * (p - q))  # equal ones may both be minus infinity
    return terms.sum(-1)


def _sae_of(one: SAE | FeatureMatrix | Table) -> SAE:
    """The SAE that is read: of codes and of a readout that of the codes."""
    codes = _reading(one).features if isinstance(one, pd.DataFrame) else one
    sae = codes.sae if isinstance(codes, FeatureMatrix) else codes
    if isinstance(codes, FeatureMatrix) and sae is None:
        raise InputError("the codes are without their SAE", do="Give the SAE: features.sae = sae.")
    require_kinds(later=(sae, SAE))
    assert isinstance(sae, SAE)
    return sae


def _reading(table: pd.DataFrame) -> Readout:
    found = (getattr(table, "context", None) or {}).get("reading")
    if not isinstance(found, Readout):
        raise InputError("this is no readout", expected="what si.readout returned in this process")
    return found


def _read_labels(
    readout: Table, samples: Samples, codes: Sequence[tuple[sp.csr_array, sp.csr_array]]
) -> pd.DataFrame:
    """What a readout says of every sample before and after."""
    before, after = (
        _reading(readout).predict(FeatureMatrix(sp.csr_array(sp.vstack([c[i] for c in codes])), samples))
        for i in (0, 1)
    )
    long = before.rename_axis("sample").reset_index().melt("sample", var_name="label", value_name="before")
    long["after"] = after.to_numpy().T.ravel()
    return long.assign(change=long["after"] - long["before"])


def _later(
    samples: Samples,
    numbers: np.ndarray,
    clean: list[sp.csr_array],
    changed: list[sp.csr_array],
    readouts: Container[int],
) -> Iterator[pd.DataFrame]:
    """Largest code and sum over the sample of every feature that changed; of a readout its label says that."""
    for place, (one, two) in enumerate(zip(clean, changed)):
        if place // len(numbers) in readouts:
            continue
        moved = np.unique(abs(two - one).tocoo().coords[1])
        most = [np.asarray(c[:, moved].max(0).todense()).ravel() for c in (one, two)]
        total = [np.asarray(c[:, moved].sum(0)).ravel() for c in (one, two)]
        name = samples.ids[int(numbers[place % len(numbers)])]
        columns = (name, moved, most[0], most[1], most[1] - most[0], *total)
        yield pd.DataFrame(dict(zip(LATER, columns))).assign(which=place // len(numbers))


def _gathered(
    model: Adapter,
    samples: Samples,
    frames: list[pd.DataFrame],
    pairs: list[tuple[np.ndarray, np.ndarray]],
    features: list[pd.DataFrame],
    labels: list[pd.DataFrame],
    masks: list[np.ndarray],
    scored: bool,
) -> Effect:
    """Batches put together, samples in their order."""
    columns = ["number", "sample", "position", "end", "word", "before", "after", "change", "divergence"]
    tokens = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    order = np.argsort(tokens["number"].to_numpy(np.int64), kind="stable")
    sums = [np.r_[0, np.cumsum(mask)] for mask in masks]
    spans = zip(tokens["number"], tokens["position"], tokens["end"])
    tokens["written"] = np.array([sums[i][b] > sums[i][a] for i, a, b in spans], bool)
    tokens = tokens.iloc[order].drop(columns="number").reset_index(drop=True)
    before, after = (
        np.concatenate([p[i] for p in pairs])[order] if pairs else np.zeros((len(tokens), 0), np.float32)
        for i in (0, 1)
    )
    words = model.vocabulary if scored and pairs else ()  # type: ignore[attr-defined]
    table = pd.concat(features, ignore_index=True) if features else pd.DataFrame(columns=[*LATER, "which"])
    by_size = np.argsort(-np.abs(table["change"].to_numpy(float)), kind="stable")
    table = table.iloc[by_size].reset_index(drop=True)
    if not len(table) or table["which"].nunique() < 2:
        table = table.drop(columns="which")
    told = pd.concat(labels, ignore_index=True) if labels else pd.DataFrame(columns=list(LABELS))
    return Effect(tokens, tuple(words), before, after, Table(table), Table(told), tuple(masks))
