"""Does a model, or a dictionary's features, rank what an assay measured, and better than a substitution matrix?

Every reader of :mod:`sciinterp.readouts.assay_readers` is scored by rank correlation on variants that were held out in
three ways (:mod:`sciinterp.readouts.position_splits`): at random, which is optimistic, and by position. A score that is a
function of position alone ranks nothing under held-out positions.

Features are also tested one by one for what position and kind of substitution do not say: the ranks of the score, and a
feature's changes, are taken less what a regression on position and on the class of the letter after tells of them; the
correlation of what is left is compared with the largest of any feature when scores are permuted within positions
(Westfall and Young 1993).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import rankdata

from sciinterp.budget import one_thread
from sciinterp.errors import InputError, SciinterpError, require_kinds
from sciinterp.frames import Table, require_columns
from sciinterp.interventions.saturation import saturate
from sciinterp.interventions.variants import feature_concepts
from sciinterp.readers.assays import fit_assay
from sciinterp.readers.notation import Variant, parse_variant
from sciinterp.readouts.assay_readers import Reader, class_columns, predictions, readers_of
from sciinterp.readouts.position_splits import (
    OPTIMISTIC,
    SPLITS,
    correlation,
    draws_of,
    interval,
    parts_of,
    top_recall,
)
from sciinterp.samples import Sample, Samples
from sciinterp.settings import SHARE, at_least, make_plain, settings_of

if TYPE_CHECKING:
    import anndata

    from sciinterp.models import Adapter
    from sciinterp.sae import SAE

log = logging.getLogger(__name__)

NO_COUNTERPART = "no substitution: it has no place in a scan"
# A feature that changes in fewer variants is not tested.
MIN_CHANGED = 10


@dataclass(frozen=True)
class AssaySettings:
    """How an assay is read.

    Attributes
    ----------
    folds : int
        Parts of variants, or of positions, each held out once.
    n_draws : int
        Draws of positions, for intervals.
    top : float
        Share of variants that counts as the top.
    n_permutations : int
        Of scores within positions, for single features.
    seed : int
    """

    folds: int = 5
    n_draws: int = 1000
    top: float = 0.1
    n_permutations: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        one = at_least(1)
        make_plain(self, folds=at_least(2), n_draws=one, top=SHARE, n_permutations=one)


@one_thread()
def assay(
    model: Adapter,
    sae: SAE,
    wild_type: Sample | Samples | str | None,
    measured: pd.DataFrame,
    *,
    hits: pd.DataFrame | None = None,
    beside: Mapping[str, Sequence[float]] | None = None,
    settings: AssaySettings | None = None,
    device: str | None = None,
) -> Table:
    """Rank an assay's variants by likelihood, by changes of features and of activations, and by plain baselines.

    Parameters
    ----------
    model : Adapter
    sae : SAE
        Trained on this model.
    wild_type : Sample, Samples, str or None
        The unchanged sequence, samples among which it is, or None for that of the assay.
    measured : DataFrame
        Of :func:`sciinterp.read_assay`, or any with columns ``variant`` and ``score``; higher is better. With a column
        ``sample`` it is of several wild types among the samples: whole samples are held out and drawn, in one split.
    hits : DataFrame, optional
        Gives the concepts features stand for.
    beside : mapping, optional
        Further baselines by name: one number a row of ``measured``, such as conservation. What likelihood, features and
        activations add is told beyond substitution and these.
    settings : AssaySettings, optional
    device : str, optional

    Returns
    -------
    Table
        One row a split and reader: ``split reader kind correlation low high top_recall n note``. ``context``: ``added``
        (what likelihood, features and activations add to substitution and ``beside``, with intervals), ``features`` (those whose
        change follows the score within position and substitution class: ``feature correlation p n_changed concepts``),
        ``scan`` (AnnData of the variants, with ``score``), ``refused``, ``wild_type``, ``n_variants``, ``n_positions``.

    Raises
    ------
    InputError
        Too few variants or positions; none that fits.
    MismatchError
        An SAE of another model.
    """
    settings, beside = settings_of(settings, AssaySettings), beside or {}
    require_kinds(wild_type=(wild_type, Sample | Samples | str | None), beside=(beside, Mapping))
    usable = _usable(measured, wild_type, beside)
    _check_size(usable, settings)
    scan = _scans(model, sae, usable, device)
    rows = pd.concat([u.rows for u in usable], ignore_index=True)
    changes = [c for u in usable for c in u.changes]
    refused = [r for u in usable for r in u.refused]
    scan.obs["score"] = y = rows["score"].to_numpy(float)
    plain = {name: rows[f"_{name}"].to_numpy(float) for name in beside}
    readers, base = readers_of(scan, changes, protein=model.kind != "dna", beside=plain)
    number = np.repeat(np.arange(len(usable)), [len(u.changes) for u in usable])
    block = number if _of_several(measured) else None
    if block is not None:
        readers.pop("position means")  # of another sample's positions it says nothing
    table, added = compare(readers, y, changes, block=block, over=base, settings=settings)
    features = follow(sp.csr_array(scan.X), y, changes, of=number, settings=settings)
    concepts = feature_concepts(hits)
    features["concepts"] = ["; ".join(concepts.get(int(j), [])) for j in features["feature"]]
    if refused:
        log.warning(
            "%d of %d variants not used, the first: %s", len(refused), len(refused) + len(rows), refused[0]
        )
    facts = {
        "added": added,
        "features": features,
        "scan": scan,
        "refused": refused,
        "wild_type": usable[0].sample.sequence if len(usable) == 1 else None,
        "n_samples": sum(bool(u.changes) for u in usable),
        "n_variants": len(changes),
        "n_positions": len({(i, v.start) for i, c in zip(number, changes) for v in c.substitutions}),
    }
    return Table(table, context=facts)


class _Usable(NamedTuple):
    """A wild type, the substitutions of it with their rows, and what is refused."""

    sample: Sample
    rows: pd.DataFrame
    changes: list[Variant]
    refused: list[dict]


def _usable(
    measured: pd.DataFrame,
    wild_type: Sample | Samples | str | None,
    beside: Mapping[str, Sequence[float]],
) -> list[_Usable]:
    """What of the assay can be used, wild type by wild type."""
    require_columns(measured, ("variant", "score"), "measured")
    for name, values in beside.items():
        if np.shape(values) != (len(measured),) or np.asarray(values).dtype.kind not in "biuf":
            raise InputError(
                "a number a row is needed", where=f"beside {name!r}", expected=str(len(measured))
            )
    frame = pd.DataFrame(measured).assign(**{f"_{name}": values for name, values in beside.items()})
    if not _of_several(frame):
        known = getattr(measured, "context", {}).get("wild_type")
        wild_type = known if wild_type is None else wild_type
        if wild_type is None:
            raise InputError("the assay's wild type is not known", do="Give the unchanged sequence.")
        return [_fitted(frame, wild_type)]
    if not isinstance(wild_type, Samples):
        raise InputError("an assay of several samples needs them", expected="Samples", do="Give wild_type=.")
    out: list[_Usable] = []
    for name, part in frame.groupby("sample", sort=False):
        try:
            found = _fitted(part.drop(columns="sample"), wild_type[str(name)])
        except SciinterpError as error:
            found = _Usable(
                wild_type[0], part.iloc[:0], [], [{"line": 0, "variant": "", "reason": str(error)}]
            )
        out.append(found._replace(refused=[{"sample": name, **r} for r in found.refused]))
    return out


def _of_several(measured: pd.DataFrame) -> bool:
    """Whether a column names samples: a number there is of something else."""
    return "sample" in measured.columns and not pd.api.types.is_numeric_dtype(measured["sample"])


def _fitted(frame: pd.DataFrame, wild_type: Sample | Samples | str) -> _Usable:
    fitted = fit_assay(frame, wild_type)
    changes = [parse_variant(v) for v in fitted["variant"]]
    keep = [i for i, c in enumerate(changes) if c.substitutions]
    others = [
        {"line": 0, "variant": str(c), "reason": NO_COUNTERPART} for c in changes if not c.substitutions
    ]
    rows = pd.DataFrame(fitted).iloc[keep].reset_index(drop=True)
    sample, refused = _sample(wild_type, fitted), [*fitted.context["refused"], *others]
    return _Usable(sample, rows, [changes[i] for i in keep], refused)


def _scans(model: Adapter, sae: SAE, usable: Sequence[_Usable], device: str | None) -> anndata.AnnData:
    """The variants of every wild type under one another."""
    import anndata

    scans = [saturate(model, sae, u.sample, u.changes, device=device) for u in usable if u.changes]
    if len(scans) == 1:
        return scans[0]
    names = [u.sample.id for u in usable if u.changes]
    scan = anndata.concat(scans, keys=names, label="sample", index_unique="-", merge="same", uns_merge="same")
    scan.obs_names = [str(i) for i in range(scan.n_obs)]
    return scan


def _sample(wild_type: Sample | Samples | str, fitted: Table) -> Sample:
    """The wild type that was chosen, with its places where it is a structure."""
    if isinstance(wild_type, Samples):
        return wild_type[fitted.context["wild_type_id"]]
    return Sample("wild type", wild_type) if isinstance(wild_type, str) else wild_type


def _check_size(usable: Sequence[_Usable], settings: AssaySettings) -> None:
    changes = [c for u in usable for c in u.changes]
    one = len(usable) == 1
    blocks = {v.start for c in changes for v in c.substitutions} if one else [u for u in usable if u.changes]
    if len(changes) < 20 or len(blocks) < 2 * settings.folds:
        what = "positions" if one else "samples"
        raise InputError(
            f"too small an assay to hold {what} out",
            expected=f"20 substitutions at {2 * settings.folds} {what}",
            got=f"{len(changes)} at {len(blocks)}",
        )


def compare(
    readers: Mapping[str, Reader],
    y: np.ndarray,
    changes: Sequence[Variant],
    *,
    block: np.ndarray | None = None,
    over: str = "substitution",
    settings: AssaySettings,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every reader under every split, and what some add to a plain one.

    `block` is what is held out and drawn together instead of positions, such as proteins; there is one split
    then, ``held out``. A reader named ``OVER + NAME`` says what NAME adds to the plain one, `over`.
    """
    if block is None:
        positions = [[v.start for v in c.substitutions] for c in changes]
        splits = {how: parts_of(positions, how, folds=settings.folds, seed=settings.seed) for how in SPLITS}
        block = np.array([p[0] for p in positions])
    else:
        splits = {"held out": parts_of([[int(b)] for b in block], "contiguous", folds=settings.folds)}
    code = np.unique(block, return_inverse=True)[1]
    draws = draws_of(int(code.max()) + 1, settings.n_draws, settings.seed)
    rows, added = [], []
    for how, parts in splits.items():
        tested = [test for _, test in parts]
        drawn: dict[str, tuple[float, np.ndarray]] = {}
        for name, reader in readers.items():
            p = predictions(reader, y, parts, code)
            drawn[name] = correlation(y, p, tested, code, draws)
            low, high = interval(drawn[name][1])
            rows.append(
                {"split": how, "reader": name, "kind": reader.kind, "correlation": drawn[name][0], "low": low, "high": high,
                 "top_recall": top_recall(y, p, tested, settings.top), "n": sum(map(len, tested)),
                 "note": OPTIMISTIC if how == "random" else ""}
            )  # fmt: skip
        for name in drawn:
            if name.startswith(f"{over} + "):
                gap = drawn[name][0] - drawn[over][0]
                low, high = interval(drawn[name][1] - drawn[over][1])
                added.append({"split": how, "added": name.removeprefix(f"{over} + "), "difference": gap, "low": low, "high": high})  # fmt: skip
    return pd.DataFrame(rows), pd.DataFrame(added)


def follow(
    x: sp.csr_array,
    y: np.ndarray,
    changes: Sequence[Variant],
    *,
    of: np.ndarray | None = None,
    settings: AssaySettings,
) -> pd.DataFrame:
    """Features whose change follows the score within position and class of substitution, adjusted p at most .05.

    ``of`` [n] says whose positions they are, where an assay has several wild types.
    """
    of = np.zeros(len(changes), np.int64) if of is None else of
    known = class_columns(changes, of)
    u, s, _ = np.linalg.svd(known, full_matrices=False)
    basis = u[:, s > 1e-9 * s[0]]  # orthonormal columns of what position and class tell
    x = sp.csr_array(x, dtype=np.float64)
    n_changed = np.bincount(x.indices, minlength=x.shape[1])
    square = np.asarray(x.power(2).sum(0)).ravel() - ((x.T @ basis) ** 2).sum(1)
    tested = (n_changed >= MIN_CHANGED) & (
        square > 1e-6 * np.maximum(np.asarray(x.power(2).sum(0)).ravel(), 1e-12)
    )

    def less(v: np.ndarray) -> np.ndarray:
        v = v - basis @ (basis.T @ v)
        return v / np.maximum(np.sqrt((v**2).sum(0)), 1e-12)

    firsts = np.array([(w, c.substitutions[0].start) for w, c in zip(of, changes)])
    position = np.unique(firsts, axis=0, return_inverse=True)[1].ravel()
    left = rankdata(y)
    left = left - basis @ (basis.T @ left)
    scale = np.sqrt(np.where(tested, square, 1.0))
    real = np.where(tested, (x.T @ less(left)) / scale, 0.0)
    rng = np.random.default_rng(settings.seed)
    permuted = np.repeat(left[:, None], settings.n_permutations, 1)
    for one in np.unique(position):
        rows = np.flatnonzero(position == one)
        permuted[rows] = rng.permuted(permuted[rows], axis=0)
    most = np.where(tested[:, None], np.abs(x.T @ less(permuted)) / scale[:, None], 0.0).max(0)
    p = (1 + (most[None] >= np.abs(real)[:, None]).sum(1)) / (1 + len(most))
    frame = pd.DataFrame(
        {"feature": np.arange(len(real)), "correlation": real, "p": p, "n_changed": n_changed}
    )
    kept = frame[tested & (p <= 0.05)]
    return kept.sort_values("correlation", key=np.abs, ascending=False).reset_index(drop=True)
