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
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from sciinterp.activations import Activations
from sciinterp.annotations import Annotations
from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError
from sciinterp.frames import Table
from sciinterp.interventions.aims import Aim, Judge, aim_at
from sciinterp.interventions.control_statistics import mean_interval, over_random, rank_correlation, summarise
from sciinterp.interventions.directions import (
    Direction,
    feature_directions,
    noise_directions,
    plain_directions,
    units_of_set,
)
from sciinterp.interventions.effect import divergence, hidden, scored_tokens
from sciinterp.interventions.reading import batches, checked_site
from sciinterp.interventions.writing import direction_edit, rows_at, writing
from sciinterp.models import Batch, CanMask, HasLogits, capture, replayed
from sciinterp.models.generation import LETTERS
from sciinterp.models.site import scored_spans
from sciinterp.provenance import require_randomised
from sciinterp.samples import Samples, Split

if TYPE_CHECKING:
    from sciinterp.models import Adapter
    from sciinterp.sae import SAE

log = logging.getLogger(__name__)

# The first dose and the largest, in units of the site's spread (root mean square distance from the mean activation).
FIRST, LARGEST = 0.5, 8.0
# A level of divergence is met where it is missed by no more than this factor, or lies between two doses that are each
# within the second one of it: gains are interpolated.
NEAR, BETWEEN = 1.15, 3.0


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
    n_doses : int
        Doses tried of each direction, at most.
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
    n_doses: int = 4
    min_f1: float = 0.0
    randomised: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.divergence > 0 or min(self.n_samples, self.n_random, self.n_doses) < 1:
            raise InputError(
                "a level above zero, and at least one sample, random feature and dose are needed"
            )


# As a plain run measures it: features that mark their concept, few samples and directions.
QUICK = ControlSettings(n_samples=6, n_random=4, n_noise=0, n_doses=3, min_f1=0.5, randomised=False)


class Read(NamedTuple):
    """A direction at one level: gain of each sample, dose, divergence, whether the level was met, and all doses tried."""

    gain: np.ndarray
    dose: float
    divergence: float
    reached: bool
    tried: list[dict[str, float]]


def control_matrix(
    model: Adapter,
    features: FeatureMatrix,
    hits: pd.DataFrame,
    annotations: Annotations,
    *,
    split: Split,
    acts: Activations | np.ndarray | None = None,
    judge: Judge | Mapping[str, Judge] | None = None,
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
    judge : callable, or mapping of concept to callable, optional
        Scores of samples, in place of letter profiles of training families.
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
    settings = settings or ControlSettings()
    sae = _given(model, features, annotations)
    checked_site(model, sae)
    chosen = hits[hits["selected"].astype(bool)] if "selected" in hits else hits
    rows, doses, examples, not_run = [], [], [], {}
    for concept, feature, f1 in chosen[["concept", "feature", "f1"]].itertuples(index=False):
        if not f1 >= settings.min_f1:
            not_run[concept] = f"held-out F1 below {settings.min_f1}"
            continue
        own = judge.get(concept) if isinstance(judge, Mapping) else judge
        aim = aim_at(
            concept, annotations, features.samples, split, letters=letters_of(model),
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
    context: dict[str, Any] = {"doses": pd.DataFrame(doses), "examples": examples, "not_run": not_run}
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

    Parameters
    ----------
    table : Table
        What :func:`control_matrix` returned.
    model : Adapter
        With its own weights; they are drawn anew by the seed of the control.
    control : FeatureMatrix
        Codes of the randomised model.
    hits : DataFrame
        Of the model, with the baseline ``randomised``.
    annotations, split, settings
        As there.
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

    Parameters
    ----------
    table : Table
        What :func:`control_matrix` returned.
    randomised : Table
        The same of the randomised model and its codes: features were compared with random ones of its own dictionary.
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


def _doses(concept: str, directions: list[Direction], found: list[Read]) -> list[dict[str, Any]]:
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
    if acts is not None:
        names = [concept, *(aim.instead_of.split(", ") if aim.instead_of != "any letters" else [])]
        training = np.zeros(len(features.samples), bool)
        training[split.train] = True
        training = np.repeat(training, features.samples.lengths)
        labels = annotations.positives(features.samples, names).toarray()
        other = labels[:, 1:].any(1) if len(names) > 1 else ~labels[:, 0]
        yes, no = np.flatnonzero(training & labels[:, 0]), np.flatnonzero(training & other & ~labels[:, 0])
        found += plain_directions(acts, features, yes, no, settings.seed)
    return found + noise_directions(sae.d_in, settings.n_noise, settings.seed)


def turn(
    model: Adapter, site: str, aim: Aim, directions: list[Direction], settings: ControlSettings
) -> tuple[list[Read], dict[str, Any]]:
    """Gains of directions at the level of divergence, and one sample before and after the first of them.

    Parameters
    ----------
    model : Adapter
    site : str
    aim : Aim
    directions : list of Direction
    settings : ControlSettings
    """
    stages = [
        _Stage(model, site, aim, numbers, batch) for numbers, batch in batches(model, list(aim.samples))
    ]
    spread = float(np.sqrt(np.mean([s.spread for s in stages])))
    found, first = [], FIRST
    with replayed(model, site, *(stage.batch for stage in stages)):
        for direction in directions:
            read = _read(stages, direction, spread, first, len(aim.samples), settings)
            first = read.dose if read.reached else FIRST
            found.append(read)
        example = stages[0].example(directions[0].vector, found[0].dose * spread)
    return found, example


class _Stage:
    """One batch of an aim, run again and again: what is hidden, what is read, and the clean run."""

    def __init__(self, model: Adapter, site: str, aim: Aim, numbers: np.ndarray, batch: Batch) -> None:
        self.model, self.site, self.aim, self.numbers = model, site, aim, numbers
        self.batch = hidden(model, batch, numbers, aim.read) if isinstance(model, CanMask) else batch
        self.where = rows_at([aim.written[i] for i in numbers])
        self.about = scored_tokens(model, batch)
        self.spans = scored_spans(batch, self.about)
        self.off = ~rows_at([aim.target[i] for i in numbers])(self.spans)
        rows = torch.cat(capture(model, [site], self.batch)[site]).double()
        self.spread = float((rows - rows.mean(0)).pow(2).sum(1).mean())
        assert isinstance(model, HasLogits)
        words = [w.removeprefix("▁") for w in model.vocabulary]
        self.columns = [words.index(letter) for letter in aim.letters]
        self.read = rows_at([aim.read[i] for i in numbers])(self.spans)
        self.uniform = [np.random.default_rng([int(i)]).random(int(aim.read[i].sum())) for i in numbers]
        self.clean = self._scores(None, 0.0)
        self.score = self._judged(self.clean)

    def _scores(self, vector: Tensor | None, amount: float) -> Tensor:
        """Log probabilities [n, V] with so much of a direction written."""
        edits = []
        if vector is not None:
            edits = [direction_edit(self.site, vector[None], torch.tensor([amount]), where=self.where)]
        model = self.model
        assert isinstance(model, HasLogits)
        with torch.no_grad(), writing(model, edits):
            logits = model.logits(self.batch).float()
        return torch.log_softmax(logits[self.about.to(logits.device)], -1).cpu()

    def tried(self, vector: Tensor, amount: float) -> tuple[np.ndarray, float, int]:
        """Gain of each sample, and the sum of divergences off target with their number."""
        scores = self._scores(vector, amount)
        apart = divergence(self.clean[self.off], scores[self.off])
        return self._judged(scores) - self.score, float(apart.sum()), len(apart)

    def example(self, vector: Tensor, amount: float) -> dict[str, Any]:
        """The first sample, with the most probable letters where it is read, before and after."""
        sample, at = self.aim.samples[int(self.numbers[0])], np.flatnonzero(self.aim.read[self.numbers[0]])
        mine = self.read & (self.spans[:, 0] == 0)
        out: dict[str, Any] = {"sample": sample.id, "positions": at.tolist(), "own": sample.sequence}
        for name, scores in (("before", self.clean), ("after", self._scores(vector, amount))):
            text = list(sample.sequence)
            for place, best in zip(at, scores[mine][:, self.columns].argmax(1).tolist()):
                text[place] = self.aim.letters[best]
            out[name] = "".join(text)
        return out

    def _judged(self, scores: Tensor) -> np.ndarray:
        """The judge's score of each sample."""
        letters = torch.softmax(scores[self.read][:, self.columns], -1).double().numpy()
        owner = self.spans[self.read, 0].numpy()
        parts = [letters[owner == row] for row in range(len(self.numbers))]
        if self.aim.judge is None:
            return np.array(
                [(p * self.aim.odds[i][: len(p)]).sum(1).mean() for p, i in zip(parts, self.numbers)]
            )
        drawn = []
        for p, i, u in zip(parts, self.numbers, self.uniform):
            text, at = list(self.aim.samples[int(i)].sequence), np.flatnonzero(self.aim.read[i])
            for place, q, x in zip(at, p, u):
                text[place] = self.aim.letters[min(int(np.searchsorted(np.cumsum(q), x)), len(q) - 1)]
            drawn.append("".join(text))
        names = [self.aim.samples.ids[i] for i in self.numbers]
        return np.asarray(self.aim.judge(Samples(names, drawn, kind=self.aim.samples.kind)), float)


def _read(
    stages: list[_Stage], direction: Direction, spread: float, first: float, n: int, settings: ControlSettings
) -> Read:
    """Doses of one direction until the level is met; divergence grows with the square of a small dose."""
    level, dose = settings.divergence, first
    known: list[tuple[float, float, np.ndarray]] = [(0.0, 0.0, np.zeros(n))]
    for _ in range(settings.n_doses):
        gain, total, count = np.zeros(n), 0.0, 0
        for stage in stages:
            some, apart, size = stage.tried(direction.vector, dose * spread)
            gain[stage.numbers] = some
            total, count = total + apart, count + size
        apart = max(total / max(count, 1), 0.0)
        known.append((dose, apart, gain))
        ratio = np.array([one[1] for one in known]) / level
        between = ((ratio >= 1 / BETWEEN) & (ratio <= 1)).any() and ((ratio >= 1) & (ratio <= BETWEEN)).any()
        if between or 1 / NEAR <= apart / level <= NEAR or (dose >= LARGEST and apart < level):
            break
        dose = min(LARGEST, dose * float(np.clip(np.sqrt(level / max(apart, 1e-12)), 0.1, 8.0)))
    known.sort(key=lambda one: one[0])
    tried = [{"dose": d, "divergence": a, "gain": float(g.mean())} for d, a, g in known]
    above = next((i for i, one in enumerate(known) if one[1] >= level / NEAR), None)
    if above is None:
        dose, apart, gain = known[-1]
        return Read(gain, dose, apart, False, tried)
    (d0, a0, g0), (d1, a1, g1) = known[above - 1], known[above]
    # Between two doses the root of the divergence is nearly straight.
    share = (np.sqrt(level) - np.sqrt(a0)) / max(np.sqrt(a1) - np.sqrt(a0), 1e-12)
    share = float(np.clip(share, 0, 1))
    return Read(g0 + share * (g1 - g0), d0 + share * (d1 - d0), level if share < 1 else a1, True, tried)


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
