"""Settings of discovery, and the controls it is given: below every file that needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sciinterp.codes import FeatureMatrix
from sciinterp.settings import make_plain


@dataclass(frozen=True)
class DiscoverySettings:
    """Settings of :func:`discover`.

    Attributes
    ----------
    min_probability : float
        Candidates below are counted, not listed.
    max_rows : int
        Longest list of one kind.
    n_folds : int
        Parts the families are divided into for cross-fitting.
    n_decoys : int
        Twins, rotated along their samples, that each novel candidate competes with.
    n_probed : int
        Candidates of a kind on which the model is tried, when one is given: ablation and mutation scan.
    records : bool
        False leaves the evidence out, for benchmarks.
    seed : int
        Changes nothing, as nothing is drawn with it; kept for configurations that state it.
    """

    min_probability: float = 0.05
    max_rows: int = 2000
    n_folds: int = 4
    n_decoys: int = 1
    n_probed: int = 4
    records: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        make_plain(self)


@dataclass(frozen=True, eq=False)
class Controls:
    """More than one control for :func:`discover`.

    Attributes
    ----------
    randomised : FeatureMatrix, optional
        Codes of the randomised model.
    shuffled : FeatureMatrix, optional
        Codes of the same model and SAE on the samples with their letters shuffled
        (:func:`sciinterp.discovery.probe.shuffled_codes`).
    seeds : sequence of FeatureMatrix
        Codes of the same positions by dictionaries trained with other seeds, three or more.
    """

    randomised: FeatureMatrix | None = None
    shuffled: FeatureMatrix | None = None
    seeds: Sequence[FeatureMatrix] = ()
