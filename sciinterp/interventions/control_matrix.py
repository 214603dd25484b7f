"""Does a feature turn what it is named after? Concepts by directions, each read at equal divergence off target.

A direction is added at the places of the aim (:mod:`sciinterp.interventions.aims`), at several doses. The control it has
is how much the judge's score rises, and the price is the divergence of all scores elsewhere: a dose that changes
everything turns anything. Doses of a direction are therefore sought until the divergence off target comes to one level,
the same for all directions, and the score is read there, interpolated over its doses.

Intervals leave one family out at a time, and a feature is compared with random ones of its density
(:mod:`sciinterp.interventions.control_statistics`). It has *control* where the lower ends of its gain and of that
difference both lie above zero.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sciinterp.activations import Activations
from sciinterp.annotations import Annotations
from sciinterp.budget import one_thread
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError, no_such, require_kinds
from sciinterp.frames import Table, require_columns
from sciinterp.interventions.aims import Aim, Judge, aim_at
from sciinterp.interventions.control_statistics import mean_interval, over_random, rank_correlation, summarise
from sciinterp.interventions.directions import (
    PLAIN,
    Direction,
    feature_directions,
    noise_directions,
    plain_directions,
    units_of_set,
)
from sciinterp.interventions.doses import Read, Stage, Start, at_level, stages_of
from sciinterp.interventions.reading import checked_site
from sciinterp.models import HasLogits, replayed
from sciinterp.models.generation import LETTERS
from sciinterp.products import ByOneDNN
from sciinterp.provenance import require_randomised
from sciinterp.samples import Split
from sciinterp.settings import POSITIVE, at_least, make_plain, settings_of

if TYPE_CHECKING:
    from sciinterp.models import Adapter
    from sciinterp.sae import SAE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ControlSettings:
    """How control is measured.

    Attributes
    ----------
    divergence : float
        Level at which directions are compared: mean divergence off target, in nats a token.
    n_samples : int
        Held-out samples a concept is turned on in, spread over families.
    n_random : int
        Random features of equal density.
    n_noise : int
        Gaussian directions.
    plain : sequence of str
        Directions that need no dictionary: ``means``, ``neuron``, ``component``.
    n_doses : int
        Doses tried of each direction, at most (of many samples as many on a few before: :mod:`~sciinterp.interventions.doses`).
    min_f1 : float
        Concepts whose selected feature has at least this held-out F1.
    randomised : bool
        In a run with that control: the randomised model, too, turned by its own features.
    seed : int
    """

    divergence: float = 0.1
    n_samples: int = 10
    n_random: int = 6
    n_noise: int = 1
    plain: tuple[str, ...] = PLAIN
    n_doses: int = 4
    min_f1: float = 0.0
    randomised: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        one = at_least(1)
        make_plain(self, divergence=POSITIVE, n_samples=one, n_random=one, n_noise=at_least(0), n_doses=one)
        for name in self.plain:
            if name not in PLAIN:
                raise no_such("plain direction", name, PLAIN, where="settings")


# As a plain run measures it: features that mark their concept, few samples and directions.
QUICK = ControlSettings(
    n_samples=5, n_random=4, n_noise=0, plain=("means",), n_doses=3, min_f1=0.5, randomised=False
)


@one_thread()
def control_matrix(
    model: Adapter,
    features: FeatureMatrix,
    hits: pd.DataFrame,
    annotations: Annotations,
    *,
    split: Split,
    acts: Activations | np.ndarray | None = None,
    judge: Judge | str | Mapping[str, Judge | str] | None = None,
    settings: ControlSettings | None = None,
) -> Table:
    """Measure whether the selected features turn their concepts, beside other directions, at equal damage.

    Parameters
    ----------
    model : Adapter
        With scores over letters.
    features : FeatureMatrix
        Codes of sequences, with their SAE.
    hits : DataFrame
        Of :func:`sciinterp.associate`: the selected feature of each concept, and its sets.
    annotations : Annotations
    split : Split
        Profiles and plain directions are of training families, everything else of held-out ones.
    acts : Activations or array [n_positions, d_in], optional
        For the difference of class means, the best neuron and the best component.
    judge : callable or str, or mapping of concept to such, optional
        Scores of samples (:mod:`sciinterp.interventions.judges`), in place of letter profiles of training families; or a word
        of the model's own head, where its scores are over words that are no letters (SpliceAI: ``donor``).
    settings : ControlSettings, optional

    Returns
    -------
    Table
        One row a concept and direction: ``concept kind direction gain low high over_random over_random_low
        over_random_high dose divergence reached n_samples n_families instead_of f1``. Gains are in the judge's units (nats
        of log odds a position, by default), doses in units of the site's spread. ``context`` holds ``doses`` (every dose
        tried), ``examples`` (a sample of each concept before and after), ``summary`` (one row a concept), ``rank_correlation`` of F1 and control over concepts
        with its interval, ``not_run`` (concept -> why) and the settings.

    Raises
    ------
    InputError, MismatchError
        A model without scores, codes without their SAE, an SAE of another model, or no concept that can be measured.
    """
    settings = settings_of(settings, ControlSettings)
    sae = _given(model, features, annotations)
    _check_asked(features, hits, split, judge)
    checked_site(model, sae)
    chosen = hits[hits["selected"].astype(bool)] if "selected" in hits else hits
    rows, doses, examples, not_run = [], [], [], {}
    for concept, feature, f1 in chosen[["concept", "feature", "f1"]].itertuples(index=False):
        if not f1 >= settings.min_f1:
            not_run[concept] = f"F1 below {settings.min_f1}"
            continue
        own = judge.get(concept) if isinstance(judge, Mapping) else judge
        aim = aim_at(
            concept, annotations, features.samples, split, letters=_compared(model, own),
            n_samples=settings.n_samples, seed=settings.seed, judge=own,
        )  # fmt: skip
        if isinstance(aim, str):
            not_run[concept] = aim
            continue
        related = _marking(hits[hits["concept"] == concept], int(feature))
        directions = _directions(
            features, int(feature), related, concept, hits, annotations, split, acts, aim, settings
        )
        log.info("turning %s in %d samples, %d directions", concept, len(aim.samples), len(directions))
        found, example = turn(model, str(sae.origin.site), aim, directions, settings)
        examples.append({"concept": concept, **example})
        rows.append(_rows(aim, directions, found).assign(f1=float(f1)))
        doses += _doses(concept, directions, found)
    if not rows:
        raise InputError("no concept can be turned", got="; ".join(f"{k}: {v}" for k, v in not_run.items()))
    table = pd.concat(rows, ignore_index=True)
    context = {"doses": pd.DataFrame(doses), "examples": examples, "not_run": not_run}
    more = {"summary": summarise(table), "rank_correlation": rank_correlation(table), "settings": settings}
    return Table(table, context=context | more)


def _given(model: Adapter, features: FeatureMatrix, annotations: Annotations) -> SAE:
    """The SAE of the codes, where everything that is needed has been given."""
    if not isinstance(features, FeatureMatrix):
        raise InputError(
            "control needs codes, since random features are those of equal density",
            where="features",
            expected="a FeatureMatrix",
            got=type(features).__name__,
            do="Give si.encode(sae, acts) in place of the SAE.",
        )
    if not isinstance(annotations, Annotations):
        raise InputError(
            "control needs annotations, since its judge is made of the letters that they lie on",
            where="annotations",
            expected="Annotations",
            got=type(annotations).__name__,
            do="The samples are those of the codes: give si.read_annotations(...) in their place.",
        )
    if features.sae is None or not isinstance(model, HasLogits):
        raise InputError("control needs a model with scores over letters, and codes with their SAE")
    return features.sae


def _check_asked(
    features: FeatureMatrix,
    hits: pd.DataFrame,
    split: Split,
    judge: Judge | str | Mapping[str, Judge | str] | None,
) -> None:
    """Whether hits, split and judges are what they should be, and of these codes."""
    require_columns(hits, ("concept", "feature", "f1"), "hits")
    numbers = pd.to_numeric(hits["feature"], errors="coerce")
    wrong = ~numbers.between(0, features.n_features - 1)
    if wrong.any():
        raise InputError(
            "there is no such feature",
            where="hits",
            expected=f"0 to {features.n_features - 1}",
            got=str(hits["feature"][wrong].iloc[0]),
        )
    require_kinds(split=(split, Split))
    split.require_of(features.samples)
    for one in judge.values() if isinstance(judge, Mapping) else [judge]:
        if not (one is None or isinstance(one, str) or callable(one)):
            raise InputError(
                "this is no judge", expected="a function of samples, or a word", got=type(one).__name__
            )
    for name in judge if isinstance(judge, Mapping) else ():
        if name not in set(hits["concept"]):
            raise no_such("concept", name, hits["concept"].astype(str).unique(), where="judge")


def with_control(
    table: Table,
    model: Adapter,
    control: FeatureMatrix,
    hits: pd.DataFrame,
    annotations: Annotations,
    *,
    split: Split,
    settings: ControlSettings,
) -> Table:
    """The matrix with that of the randomised model beside it, where its codes have their SAE.

    `model` has its own weights, which are drawn anew by the seed of the control; `hits` are of the model, with
    the baseline ``randomised``. The rest is as for :func:`control_matrix`, which made the table.
    """
    require_randomised(control)
    own, seed = randomised_hits(hits), control.origin.randomised_seed
    own = own[own["concept"].isin(set(table["concept"]))]
    if not len(own) or control.sae is None or not isinstance(seed, int):
        return table
    settings = replace(settings, n_noise=0, min_f1=0.0)
    found = control_matrix(model.randomised(seed), control, own, annotations, split=split, settings=settings)
    return beside_randomised(table, found)


def beside_randomised(table: Table, randomised: Table) -> Table:
    """A matrix with that of the randomised model beside it: its features, named ``randomised``.

    They were compared with random ones of their own dictionary.
    """
    own = pd.DataFrame(randomised).query("kind == 'feature'").assign(kind="randomised")
    doses = randomised.context["doses"].query("kind == 'feature'").assign(kind="randomised")
    both = pd.concat([pd.DataFrame(table), own[own["concept"].isin(set(table["concept"]))]])
    order = {name: i for i, name in enumerate(dict.fromkeys(table["concept"]))}
    both = both.sort_values("concept", key=lambda c: c.map(order), kind="stable", ignore_index=True)
    doses = pd.concat([table.context["doses"], doses], ignore_index=True)
    return Table(both, context={**table.context, "doses": doses, "summary": summarise(both)})


def randomised_hits(hits: pd.DataFrame) -> pd.DataFrame:
    """The feature of the randomised model that marks each concept best, as hits: those of the baseline ``randomised``."""
    baselines = (getattr(hits, "context", None) or {}).get("baselines")
    if baselines is None or not {"baseline", "detail"} <= set(baselines.columns):
        return pd.DataFrame(columns=["concept", "feature", "f1"])
    mine = baselines[
        (baselines["baseline"] == "randomised") & baselines["concept"].isin(set(hits["concept"]))
    ]
    feature = mine["detail"].astype(str).str.extract(r"^feature (\d+)", expand=False)
    found = mine.assign(feature=feature)[feature.notna()].astype({"feature": np.int64})
    return found[["concept", "feature", "f1"]].reset_index(drop=True)


def _marking(hits: pd.DataFrame, feature: int) -> set[int]:
    """Features that mark a concept at least half as well as the selected one: they are not random ones."""
    score = hits["f1_train" if "f1_train" in hits else "f1"].to_numpy(float)
    of = hits["feature"].to_numpy(np.int64)
    return set(of[score >= score[of == feature].max() / 2].tolist())


def _doses(concept: str, directions: list[Direction], found: list[Read]) -> list[dict[str, str | float]]:
    """Every dose that was tried."""
    return [
        {"concept": concept, "kind": direction.kind, "direction": direction.name, **one}
        for direction, read in zip(directions, found)
        for one in read.tried
    ]


def letters_of(model: Adapter) -> str:
    """The letters that are compared: those of the model's kind that are words of its own."""
    assert isinstance(model, HasLogits)
    words = {w.removeprefix("▁") for w in model.vocabulary}
    return "".join(x for x in LETTERS.get(model.kind) or model.alphabet or "" if x in words)


def _compared(model: Adapter, judge: Judge | str | None) -> str:
    """The letters that are compared; of a head over other words those of the sequences."""
    assert isinstance(model, HasLogits)
    letters = letters_of(model)
    if isinstance(judge, str) and judge not in model.vocabulary:
        raise no_such("word", judge, model.vocabulary, where=f"judge, the head of {model.name}")
    if not letters and not isinstance(judge, str):
        raise InputError(
            "the model's scores are not over letters",
            where=model.name,
            expected=f"judge=, a word of its head: {', '.join(model.vocabulary[:8])}",
        )
    return letters or LETTERS.get(model.kind) or model.alphabet


def _directions(
    features: FeatureMatrix,
    feature: int,
    related: set[int],
    concept: str,
    hits: pd.DataFrame,
    annotations: Annotations,
    split: Split,
    acts: Activations | np.ndarray | None,
    aim: Aim,
    settings: ControlSettings,
) -> list[Direction]:
    """Every direction that is tried for one concept."""
    sets = (getattr(hits, "context", None) or {}).get("sets")
    found = feature_directions(
        features, feature, units_of_set(sets, concept), related, settings.n_random, settings.seed
    )
    sae = features.sae
    assert sae is not None
    if acts is not None and settings.plain:
        names = [concept, *(aim.instead_of.split(", ") if aim.instead_of != "any letters" else [])]
        training = np.zeros(len(features.samples), bool)
        training[split.train] = True
        training = np.repeat(training, features.samples.lengths)
        labels = annotations.positives(features.samples, names).toarray()
        other = labels[:, 1:].any(1) if len(names) > 1 else ~labels[:, 0]
        yes, no = np.flatnonzero(training & labels[:, 0]), np.flatnonzero(training & other & ~labels[:, 0])
        plain = plain_directions(acts, features, yes, no, settings.seed)
        found += [one for one in plain if one.kind in settings.plain]
    return found + noise_directions(sae.d_in, settings.n_noise, settings.seed)


def turn(
    model: Adapter, site: str, aim: Aim, directions: list[Direction], settings: ControlSettings
) -> tuple[list[Read], dict[str, str | list[int]]]:
    """Gains of directions at the level of divergence, and one sample before and after the first of them."""
    given, n_scouts = stages_of(model, aim)
    found, start = [], Start()
    with ByOneDNN(), replayed(model, site, *(batch for _, batch in given)):
        stages = [Stage(model, site, aim, *one) for one in given]
        spread = float(np.sqrt(sum(s.spread for s in stages) / sum(s.n_rows for s in stages)))
        for direction in directions:
            read, start = at_level(
                stages, n_scouts, direction.vector, spread,
                start=start, level=settings.divergence, n_doses=settings.n_doses,
            )  # fmt: skip
            found.append(read)
        example = stages[0].example(directions[0].vector, found[0].dose * spread)
    return found, example


def _rows(aim: Aim, directions: list[Direction], found: list[Read]) -> pd.DataFrame:
    """The rows of one concept: gains, and differences from random features."""
    random = np.array([r.gain for d, r in zip(directions, found) if d.kind == "random"])
    rows = []
    for number, (direction, read) in enumerate(zip(directions, found)):
        others = random
        if direction.kind == "random":
            others = np.delete(random, [d.kind == "random" for d in directions[:number]].count(True), axis=0)
        gain, low, high = mean_interval(read.gain, aim.family)
        over, over_low, over_high = over_random(read.gain, others, aim.family)
        rows.append(
            {
                "concept": aim.concept, "kind": direction.kind, "direction": direction.name, "gain": gain,
                "low": low, "high": high, "over_random": over, "over_random_low": over_low,
                "over_random_high": over_high, "dose": read.dose, "divergence": read.divergence,
                "reached": read.reached, "n_samples": len(aim.samples),
                "n_families": len(np.unique(aim.family)), "instead_of": aim.instead_of,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
