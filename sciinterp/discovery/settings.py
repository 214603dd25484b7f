"""Settings of discovery and of planted worlds, and the controls a search is given: below every file that needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sciinterp.codes import FeatureMatrix
from sciinterp.discovery.planted_forms import FORMS
from sciinterp.errors import InputError, no_such, require_kinds
from sciinterp.settings import UP_TO_ONE, at_least, make_plain

LEAST_LENGTH = 50  # of a planted sequence: the longest concept has room in it


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
        none = at_least(0)
        make_plain(
            self, min_probability=UP_TO_ONE, max_rows=none, n_folds=at_least(2), n_decoys=none, n_probed=none
        )


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

    def __post_init__(self) -> None:
        require_kinds(seeds=(self.seeds, Sequence))
        of_models = (("randomised", self.randomised), ("shuffled", self.shuffled))
        given = [(name, codes) for name, codes in of_models if codes is not None]
        given += [(f"seeds[{i}]", codes) for i, codes in enumerate(self.seeds)]
        require_kinds(**{name: (codes, FeatureMatrix) for name, codes in given})


@dataclass(frozen=True)
class PlantedSettings:
    """Size and difficulty of a planted world.

    Parameters
    ----------
    n_families, members, length
        Number of families; range of members per family; range of template lengths.
    n_masked, n_novel, n_merged, n_plain
        Concepts with hidden instances, hidden altogether, merged in pairs, and left alone.
    hidden_fraction
        Share of the instances of each masked concept that is withheld.
    n_features
        Size of the dictionary: what the concepts do not use is nuisance.
    noise
        Share of positions where a concept's feature fires for no reason.
    n_seeds
        Further dictionaries of the same world, for stability.
    novel_forms
        What the hidden concepts look like in sequence, taken in turn (:mod:`sciinterp.discovery.planted_forms`).
    hide
        False annotates everything.
    """

    n_families: int = 120
    members: tuple[int, int] = (3, 7)
    length: tuple[int, int] = (80, 130)
    n_masked: int = 10
    n_novel: int = 5
    n_merged: int = 3
    n_plain: int = 4
    hidden_fraction: float = 0.3
    n_features: int = 192
    noise: float = 0.006
    n_seeds: int = 3
    hide: bool = True
    novel_forms: tuple[str, ...] = ("motif",)

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("n_masked", "n_novel", "n_merged", "n_plain", "n_seeds"), at_least(0))
        bounds = {"n_families": at_least(3), "members": at_least(1), "length": at_least(LEAST_LENGTH)}
        make_plain(self, **counts, **bounds, hidden_fraction=UP_TO_ONE, noise=UP_TO_ONE)
        for name, (low, high) in (("members", self.members), ("length", self.length)):
            if low >= high:
                raise InputError("an empty range", where=name, expected="low < high", got=f"{low}, {high}")
        for form in self.novel_forms:
            if form not in FORMS:
                raise no_such("form of a concept", form, FORMS)
        if self.n_novel and not self.novel_forms:
            raise InputError("hidden concepts have no form", where="novel_forms", expected="one or more")
        needed = 3 * self.n_masked + 2 * (self.n_novel + 2 * self.n_merged + self.n_plain)
        if not needed:
            raise InputError(
                "a world of no concept", expected="n_masked, n_novel, n_merged or n_plain above 0"
            )
        if self.n_features < needed:
            said = f"{needed} or more, as many as read the concepts"
            raise InputError("too few features", where="n_features", expected=said, got=str(self.n_features))
