"""Which site of a model an SAE is of, measured: what a published file says of itself is often too little.

Every site of the SAE's width is read in one pass over some thousand tokens. A dictionary that belongs there explains
the variance of the activations; on another layer, another model of equal width, on activations of another scale, it
does not, or less. Beside it stands a dictionary of random directions with as many active features and the best
scale: some sites are easy (an embedding has one vector a letter), and explaining what any directions would explain counts
for nothing. The site is that with the largest *gain*, the share of what random directions leave that the SAE explains.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from sciinterp.errors import InputError, require_kinds
from sciinterp.frames import html_card
from sciinterp.models import Adapter
from sciinterp.models.engine import capture, plan_batches
from sciinterp.provenance import LEAST_FVE, HasOrigin, Origin
from sciinterp.provenance.checks import differing
from sciinterp.sae.base import SAE, sae_of
from sciinterp.sae.metrics import Measures
from sciinterp.sae.weights import Weights
from sciinterp.samples import Samples
from sciinterp.settings import UP_TO_ONE, at_least, make_plain, settings_of

log = logging.getLogger(__name__)

FEWER = 1024  # tokens on which ways to treat rows are compared
# What may be done to rows before they are encoded, in words; see sae.weights.
INPUTS = {
    "none": "rows as they are",
    "layer_norm": "standardised rows (input_norm 'layer_norm')",
    "constant_norm_rescale": "rows of one length (input_norm 'constant_norm_rescale')",
}


@dataclass(frozen=True)
class FitSettings:
    """When an SAE fits a site.

    Attributes
    ----------
    n_tokens : int
        Tokens to measure on, at most.
    least_fve : float
        Variance that must be explained. SAEs that are of use explain .5 to .99 of the variance on their own site.
    least_gain : float
        Of the variance that random directions leave, the share that must be explained.
    ahead : float
        Share by which what is left (one less the gain) must lie below that of the next best site: neighbouring
        layers hold nearly the same, and which of two is meant must not be a toss. By as much another treatment of
        the rows must do better to speak against the file's.
    norm_ratio : (float, float)
        Length of reconstructions over that of activations, both about the mean.
    promise : float
        Variance explained may lie this far below what the file promises, and L0 by this many doublings beside it.
    """

    n_tokens: int = 4096
    least_fve: float = LEAST_FVE
    least_gain: float = 0.4
    ahead: float = 0.05
    norm_ratio: tuple[float, float] = (0.5, 1.5)
    promise: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        shares = dict.fromkeys(("least_fve", "least_gain", "ahead"), UP_TO_ONE)
        make_plain(self, n_tokens=at_least(1), norm_ratio=at_least(0), **shares)


@dataclass(eq=False)
class FitCheck(HasOrigin):
    """What :func:`fit_check` measured.

    Attributes
    ----------
    table : DataFrame
        By site: ``fve`` (variance explained), ``fve_random`` (by random directions), ``gain``, ``l0``, ``norm_ratio``,
        ``dead`` (share of features that never fire here), ``why_not`` (empty where it fits).
    site : str, optional
        The site that fits; None where none does.
    reason : str
        Why, in words.
    promised : dict
        ``fve`` and ``l0`` where the file states them, or its ``k``.
    origin : Origin
        Model and site, measured here; of nothing where no site fits.
    """

    table: pd.DataFrame
    site: str | None
    reason: str
    promised: dict[str, float]
    origin: Origin

    @property
    def fits(self) -> bool:
        """Whether a site fits."""
        return self.site is not None

    def __repr__(self) -> str:
        return f"FitCheck({self.reason})"

    def _repr_html_(self) -> str:
        return html_card(repr(self), self.promised, self.table.round(3))


def fit_check(sae: SAE, model: Adapter, samples: Samples, *, settings: FitSettings | None = None) -> FitCheck:
    """Measure at which site of a model an SAE fits, if at any. Where one does, the SAE takes it as its origin.

    Parameters
    ----------
    sae : SAE
        Of unknown origin, or one whose statement is to be tested: it is never changed where it states another.
    model : Adapter
    samples : Samples
        What the model reads; some thousand tokens are enough, taken from samples in the order given.
    settings : FitSettings, optional

    Returns
    -------
    FitCheck
        Its ``origin`` can be stored: ``si.load_sae(path, origin=fit)``.

    Raises
    ------
    InputError
        The model has no site of the SAE's width, or there are too few tokens.
    """
    require_kinds(sae=(sae, SAE), model=(model, Adapter), samples=(samples, Samples))
    settings = settings_of(settings, FitSettings)
    sites = [site for site in model._sites() if site.width == sae.d_in]
    if not sites:
        widths = ", ".join(map(str, sorted({site.width for site in model._sites()})))
        raise InputError(
            "the model has no site of the SAE's width",
            where=model.name,
            expected=f"one of {widths}",
            got=str(sae.d_in),
        )
    table = _measured(sae, model, samples, [site.name for site in sites], settings)
    promised = {name: float(sae.metrics[name]) for name in ("fve", "l0") if name in (sae.metrics or {})}
    if sae.k:
        promised["l0"] = float(sae.k)
    table.insert(2, "gain", 1 - (1 - table["fve"]) / (1 - table["fve_random"]))
    best = str(table["gain"].fillna(-np.inf).idxmax())
    table["why_not"] = [_why_not(table, str(name), best, promised, settings) for name in table.index]
    if not table.loc[best, "why_not"]:
        table.loc[best, "why_not"] = _other_input(sae, model, samples, best, settings)
    reason = table.loc[best, "why_not"]
    site = None if reason else best
    origin = replace(model.origin_at(best), how="measured") if site else Origin()
    if site and (apart := differing(sae.origin, origin)):
        words = "; ".join(f"{name}: it says {a}, measured {b}" for name, (a, b) in apart.items())
        return FitCheck(table, None, f"{best} fits, but the SAE says otherwise ({words})", promised, Origin())
    if site and not sae.origin.named:
        sae.origin = sae.origin.filled(origin)
    row = table.loc[best]
    told = (
        f"fits {best} of {model.name}: {row['fve']:.3f} of the variance explained, random directions {row['fve_random']:.3f}"
        if site
        else f"fits no site of {model.name}; the best, {best}: {reason}"
    )
    return FitCheck(table, site, told, promised, origin)


def _measured(
    sae: SAE, model: Adapter, samples: Samples, sites: list[str], settings: FitSettings
) -> pd.DataFrame:
    """One pass over the samples, all sites at once, sums alone kept."""
    enough = int(np.searchsorted(np.cumsum(samples.lengths), settings.n_tokens)) + 1
    some = samples.subset(np.arange(min(enough, len(samples))))
    model.check(some)
    measures: dict[str, tuple[Measures, Measures]] = {}
    random: dict[str, SAE] = {}
    for numbers in plan_batches(some.lengths, 2048, max_samples=1 if model.batch_dependent else None):
        batch = model.encode([some[int(i)] for i in numbers])
        with torch.no_grad():
            found = capture(model, sites, batch)
            for name in sites:
                rows = torch.cat(found[name]).float().cpu()
                if name not in measures:
                    centre = rows.mean(0)
                    measures[name] = Measures(centre, sae.n_features), Measures(centre, sae.n_features)
                    random[name] = _random_directions(sae, rows, settings.seed)
                for one, dictionary in zip(measures[name], (sae, random[name])):
                    codes = dictionary.encode(rows)
                    one.add(
                        rows, dictionary.reconstruct(rows), codes.crow_indices().diff(), codes.col_indices()
                    )
    n = next(iter(measures.values()))[0].n
    if n < 2 * 64:
        raise InputError("too few tokens to tell which site fits", expected="some thousand", got=str(n))
    rows = {name: _row(own, other) for name, (own, other) in measures.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("site")


def _random_directions(sae: SAE, rows: torch.Tensor, seed: int) -> SAE:
    """As many unit directions as the SAE has, and as many active on a row."""
    active = sae.encode(rows).crow_indices().diff().float().mean()
    k = int(min(max(round(float(active)), 1), sae.d_in, sae.n_features))
    directions = torch.randn(sae.n_features, sae.d_in, generator=torch.Generator().manual_seed(seed))
    directions /= directions.norm(dim=1, keepdim=True)
    zero = torch.zeros(sae.n_features)
    return sae_of(Weights(directions.T.contiguous(), zero, directions, rows.mean(0), k=k))


def _row(own: Measures, other: Measures) -> dict[str, float]:
    variance = own.variance
    if not variance:
        return dict.fromkeys(("fve", "fve_random", "l0", "norm_ratio", "dead"), float("nan"))
    # the random dictionary at its best scale
    by_random = other.both**2 / other.back / variance if other.back > 0 else 0.0
    found = own.result()
    return {
        "fve": found["fve"],
        "fve_random": by_random,
        "l0": found["l0"],
        "norm_ratio": float(np.sqrt(own.back / own.square)),
        "dead": float((own.counts == 0).double().mean()),
    }


def _other_input(sae: SAE, model: Adapter, samples: Samples, site: str, settings: FitSettings) -> str:
    """What speaks for another treatment of the rows than the file states: raw where standardised was meant, say.

    The site is right then, and codes and reconstructions are not: so it is measured what the same arrays explain there
    with rows as they are, standardised, and scaled to one length.
    """
    fewer = replace(settings, n_tokens=min(FEWER, settings.n_tokens))  # all on the same tokens
    own = float(_measured(sae, model, samples, [site], fewer).loc[site, "fve"])
    for norm, words in INPUTS.items():
        if norm == sae.input_norm or (sae.input_norm, norm) == ("standardised", "layer_norm"):
            continue
        other = sae_of(replace(sae.weights, input_norm=norm))
        fve = float(_measured(other, model, samples, [site], fewer).loc[site, "fve"])
        if 1 - fve < (1 - settings.ahead) * (1 - own):
            return (
                f"{own:.3f} of the variance is explained, but {fve:.3f} with {words}: it was trained on such"
            )
    return ""


def _why_not(
    table: pd.DataFrame, name: str, best: str, promised: dict[str, float], settings: FitSettings
) -> str:
    """What speaks against a site; empty where nothing does."""
    row, left = table.loc[name], 1 - table["gain"]
    low, high = settings.norm_ratio
    if not row["fve"] >= settings.least_fve:
        return f"{row['fve']:.3f} of the variance is explained, {settings.least_fve} is needed"
    if not row["gain"] >= settings.least_gain:
        return f"{row['fve']:.3f} of the variance is explained where random directions explain {row['fve_random']:.3f}"
    if not low <= row["norm_ratio"] <= high:
        return f"reconstructions are {row['norm_ratio']:.2f} times as long as activations: another scale"
    if row["fve"] < promised.get("fve", 0) - settings.promise:
        return f"{row['fve']:.3f} of the variance is explained, {promised['fve']:.3f} is promised"
    if promised.get("l0") and abs(np.log2(max(row["l0"], 1e-9) / promised["l0"])) > 1:
        return f"{row['l0']:.1f} features are active on a token, {promised['l0']:.1f} are promised"
    if name != best:
        return f"{best} fits better"
    if (rivals := left.drop(best).dropna()).size and left[best] > (1 - settings.ahead) * rivals.min():
        return f"{rivals.idxmin()} fits as well"
    return ""
