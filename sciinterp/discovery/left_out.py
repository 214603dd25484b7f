"""Was anything left out at all? The probability that decides before any single span does.

A mixture finds something left out wherever unlabelled scores reach the labelled ones, and look-alikes reach them too. So
a span's probability is a product,

    P(left out) = P(the sources left out some of the concept) * P(this span is one | they did),

and the first factor is earned. Its evidence is counted in families: those that hold no annotated sample nearby and yet
marks as strong as annotated instances, against those where marks stand *beside* an annotated instance, in samples that
somebody has looked at; and by how much the mixture fits better than misfires alone. A logistic model of these numbers
gives each concept's Bayes factor. How often concepts of this collection have something left out is then estimated from
all of them together (:func:`sciinterp.discovery.calibrate.posterior`), from a prior that expects one in ten: where nothing was left out of any
concept, no single one stands out by chance.

The second factor is the mixture's probability, corrected by where the span stands. Sources leave out whole families, or
instances one by one. In the first case a mark *beside* an annotated instance, or in the sample of a relative of one
(*kin*), is a look-alike; in the second such marks are what was left out, and marks in families nobody annotated are not.
Which of the two a concept's source does is read from how many families hold strong marks in relatives' samples, for each
family that is annotated: whole families leave hardly any.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, logit

from sciinterp.discovery.calibrate import auroc
from sciinterp.discovery.logistic import predict

STRONG = 0.25  # quantile of the labelled scores from which a mark is as strong as an instance
CLIP = 0.005


@dataclass(frozen=True)
class Calibration:
    """Coefficients, the intercept last, and the share of concepts with something left out where they were fitted.

    Of :func:`~sciinterp.discovery.planted_faults.fit_calibration` on the first suite of planted worlds; ``python -m
    sciinterp.discovery.planted_faults`` fits both of these again.
    """

    concept: tuple[float, ...]
    span: tuple[float, ...]
    share: float


CALIBRATION = Calibration(
    concept=(2.418, -1.32, 2.558, 0.01, -0.903, -1.442),
    span=(0.589, 2.808, 2.644, 2.675, 3.552, 1.06, -0.3, 0.225),
    share=0.198,
)
# The same function on two small worlds, which a test draws again: where it no longer agrees, the other is to be fitted again.
SAMPLE = Calibration(
    concept=(0.358, 0.435, -0.042, 0.327, -0.106, 0.97),
    span=(1.185, 0.385, 0.132, -0.083, 0.607, -0.817, 0.584, 1.166),
    share=0.375,
)


@dataclass(frozen=True, eq=False)
class Marks:
    """What a concept's models marked, as far as it says whether anything was left out.

    Attributes
    ----------
    labelled, unlabelled : float
        Scores of spans that meet an annotated instance, and of the others.
    labelled_family, unlabelled_family : int
    beside : bool
        Of each unlabelled span: its sample holds an annotated instance.
    share : float
        Of all positions that lie in such samples.
    """

    labelled: np.ndarray
    unlabelled: np.ndarray
    labelled_family: np.ndarray
    unlabelled_family: np.ndarray
    beside: np.ndarray
    share: float
    calibration: Calibration = field(default=CALIBRATION)

    @property
    def kin(self) -> np.ndarray:
        """bool: the sample of an unlabelled span holds no annotated instance, but one of its relatives does."""
        return np.isin(self.unlabelled_family, self.labelled_family) & ~self.beside

    @property
    def outscored(self) -> np.ndarray:
        """float: share of the labelled spans that score lower than each unlabelled one."""
        return np.searchsorted(np.sort(self.labelled), self.unlabelled) / max(len(self.labelled), 1)

    @property
    def separation(self) -> float:
        """AUROC of the labelled against the unlabelled."""
        return auroc(self.labelled, self.unlabelled)

    def of_concept(self, ratio: float) -> np.ndarray:
        """float [5]: what the first model reads, given the likelihood ratio of the mixture."""
        bound = np.quantile(self.labelled, STRONG)
        strong, known = self.unlabelled >= bound, self.labelled >= bound
        away = len(np.unique(self.unlabelled_family[strong & ~self.beside])) + 0.5
        near = len(np.unique(self.unlabelled_family[strong & self.beside])) + 0.5
        annotated = len(np.unique(self.labelled_family[known])) + 1
        return np.array(
            [
                np.log(away / annotated),
                np.log(near / annotated),
                np.log1p(np.sqrt(ratio)),
                np.log(away),
                4 * self.separation - 3.5,
            ]
        )

    def log_bayes_factor(self, ratio: float) -> float:
        """Evidence that something was left out, from the likelihood ratio of the mixture."""
        fitted = self.calibration
        return float(predict(self.of_concept(ratio), np.array(fitted.concept)) - logit(fitted.share))

    def of_spans(self, probability: np.ndarray, beside: np.ndarray, kin: np.ndarray) -> np.ndarray:
        """float [n, 7]: what the second model reads of the unlabelled spans, given the mixture's probabilities.

        Parameters
        ----------
        probability : float [n]
        beside, kin : float [n]
            1 where a span is read as one that stands in the sample of an annotated instance, or in that of a relative.
        """
        bound = np.quantile(self.labelled, STRONG)
        annotated = len(np.unique(self.labelled_family[self.labelled >= bound])) + 1
        strong = len(np.unique(self.unlabelled_family[(self.unlabelled >= bound) & self.kin])) + 0.5
        one_by_one = np.log(strong / annotated)
        odds = logit(np.clip(probability, CLIP, 1 - CLIP))
        stranger = 1 - beside - kin
        places = [where * x for where in (beside, kin) for x in (1.0, one_by_one)]
        return np.column_stack([odds, 2 * self.outscored - 1, *places, stranger * one_by_one])

    def given_any(self, probability: np.ndarray) -> np.ndarray:
        """Probabilities of the unlabelled spans if something was left out."""
        return self._given_any(probability, self.beside, self.kin)

    def as_away(self, probability: np.ndarray) -> np.ndarray:
        """The same if none stood beside an annotated instance: in a relative's sample or a stranger's, the likelier."""
        nowhere, everywhere = np.zeros(len(probability)), np.ones(len(probability))
        return np.maximum(
            self._given_any(probability, nowhere, nowhere), self._given_any(probability, nowhere, everywhere)
        )

    def _given_any(self, probability: np.ndarray, beside: np.ndarray, kin: np.ndarray) -> np.ndarray:
        rows = self.of_spans(probability, beside.astype(float), kin.astype(float))
        return np.asarray(expit(predict(rows, np.array(self.calibration.span))))
