"""A split: samples divided by family into parts, and whether things in a row are of the same samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sciinterp.errors import InputError, MismatchError, ShapeError
from sciinterp.frames import html_card

if TYPE_CHECKING:
    import pandas as pd

    from sciinterp.samples import Samples

PARTS = ("train", "calibration", "test")


def apart(mine: Sequence[str], theirs: Sequence[str]) -> tuple[str, str, str] | None:
    """How identifiers in a row differ from those wanted, as what is said, expected and got; None where they do not.

    Examples
    --------
    >>> apart("ab", "ba"), apart("ab", "ab")
    (('the same samples in another order', "'a' as sample 0", "'b' as sample 0"), None)
    """
    if mine == theirs:
        return None
    same = len(mine) == len(theirs) and set(mine) == set(theirs)
    first = next((i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b), min(len(mine), len(theirs)))
    expected, got = (
        f"{x[first]!r} as sample {first}" if first < len(x) else f"{len(x)} samples" for x in (mine, theirs)
    )
    return "the same samples in another order" if same else "other samples", expected, got


@dataclass(frozen=True, eq=False)
class Split:
    """Samples divided by family: no family has samples in two parts.

    Attributes
    ----------
    train, calibration, test : ndarray of int64
        Numbers of samples, ascending.
    family : ndarray of int64 [n_samples]
        The family of every sample, a code into ``family_names``.
    family_names : tuple of str
    by, seed
        How families were found, and the seed that placed them.
    lengths : ndarray of int64 [n_samples], optional
        Positions of every sample, for :meth:`summary`.
    fractions : tuple of float
        Wanted fractions of positions in the three parts.
    ids : sequence of str, optional
        Identifiers of the samples that the numbers are of, in order.
    """

    train: np.ndarray
    calibration: np.ndarray
    test: np.ndarray
    family: np.ndarray
    family_names: tuple[str, ...]
    by: str = ""
    seed: int = 0
    lengths: np.ndarray | None = None
    fractions: tuple[float, ...] = (0.75, 0.05, 0.2)
    ids: Sequence[str] | None = None

    def require_of(self, samples: Samples, where: str = "split=") -> None:
        """Raise unless the split is of these samples in this order, since it holds their numbers.

        A split put together by hand that names no samples is held against how many there are and, where it has them, their lengths.

        Raises
        ------
        ShapeError
            It is of another number of samples.
        MismatchError
            It is of others, or of the same in another order.
        """
        n, do = len(samples), "Make one of these samples with si.split_families."
        if len(self.family) != n:
            got = str(len(self.family))
            raise ShapeError(
                "the split is of other samples", where=where, expected=f"{n} samples", got=got, do=do
            )
        if self.ids is None:
            if self.lengths is not None and not np.array_equal(self.lengths, samples.lengths):
                raise MismatchError("the split is of samples of other lengths", where=where, do=do)
        elif found := apart(samples.ids, self.ids):
            said, expected, got = found
            raise MismatchError(f"the split is of {said}", where=where, expected=expected, got=got, do=do)

    @property
    def digest(self) -> str:
        """sha256 over the part and the family of every sample: whether two splits are one."""
        part = np.zeros(len(self.family), "<i8")
        for number, name in enumerate(PARTS):
            part[self.part(name)] = number + 1
        _, first, family = np.unique(self.family, return_index=True, return_inverse=True)
        numbered = np.argsort(np.argsort(first))[family]  # by first sample, whatever the codes are
        return hashlib.sha256(part.tobytes() + numbered.astype("<i8").tobytes()).hexdigest()

    @property
    def training_digest(self) -> str:
        """sha256 over the numbers of the training samples: whether two things were trained on the same families."""
        return hashlib.sha256(np.ascontiguousarray(self.train, "<i8").tobytes()).hexdigest()

    def part(self, name: str) -> np.ndarray:
        """Sample numbers of ``train``, ``calibration`` or ``test``."""
        if name not in PARTS:
            raise InputError(
                "there is no such part of a split", expected="train, calibration or test", got=repr(name)
            )
        return getattr(self, name)

    def families(self, part: str) -> np.ndarray:
        """Codes of the families in a part."""
        return np.unique(self.family[self.part(part)])

    def position_family(self, samples: Samples) -> np.ndarray:
        """int64 [n_positions]: the family of every position of ``samples``, laid end to end."""
        self.require_of(samples)
        return np.repeat(self.family, samples.lengths)

    def summary(self) -> pd.DataFrame:
        """How many samples, families and positions each part holds, and its fraction of the positions."""
        import pandas as pd

        lengths = np.ones(len(self.family), np.int64) if self.lengths is None else self.lengths
        rows = [(len(self.part(p)), len(self.families(p)), int(lengths[self.part(p)].sum())) for p in PARTS]
        out = pd.DataFrame(
            rows, index=pd.Index(PARTS, name="part"), columns=["samples", "families", "positions"]
        )
        out["fraction"] = out["positions"] / max(int(out["positions"].sum()), 1)
        return out

    def __repr__(self) -> str:
        sizes = ", ".join(f"{p} {len(self.part(p))} in {len(self.families(p))}" for p in PARTS)
        return f"Split(by {self.by!r}, seed {self.seed}: samples in families: {sizes})"

    def _repr_html_(self) -> str:
        return html_card(
            f"Split by {self.by}, seed {self.seed}: no family is in two parts", table=self.summary()
        )
