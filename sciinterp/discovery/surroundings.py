"""What stands around positions: every column that a reader of peaks may look at, on one padded axis.

Samples are laid end to end with :data:`FAR` sentinels before, between and behind them, so that what is within
:data:`FAR` of a position is read without a look at the ends, and no reader ever sees the next sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from sciinterp.association.backbone_baselines import ABEGO, N_TORSIONS
from sciinterp.discovery.letter_pairs import FAR, plain_words, word_table
from sciinterp.discovery.periodicity import scales

MAX_LABELS = 24  # combinations of broad concepts told apart
NONE = -1  # no peak


@dataclass(frozen=True, eq=False)
class Alike:
    """Positions group by group, ascending within each.

    Attributes
    ----------
    order : int32 [n_positions]
        On the padded axis.
    keys : int64 [n_groups]
        What the positions of each group have in common, ascending.
    starts : int64 [n_groups + 1]
    """

    order: np.ndarray
    keys: np.ndarray
    starts: np.ndarray

    def group(self, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the group of each key begins in the order, and how many it has."""
        number = np.minimum(np.searchsorted(self.keys, key), max(len(self.keys) - 1, 0))
        return self.starts[number], self.starts[number + 1] - self.starts[number]

    def rank(self, at: np.ndarray, first: np.ndarray, count: np.ndarray) -> np.ndarray:
        """How many of its group stand before each position, by halving."""
        low, high = first.copy(), first + count
        for _ in range(int(count.max(initial=0)).bit_length()):
            middle = (low + high) // 2
            beyond = (low < high) & (self.order[np.minimum(middle, len(self.order) - 1)] < at)
            low, high = np.where(beyond, middle + 1, low), np.where(beyond, high, np.maximum(middle, low))
        return low - first


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Columns over the padded axis.

    Attributes
    ----------
    letters : uint8 [n_padded]
        ``n_letters`` is the sentinel.
    alphabet : list of str
    labels : uint8 [n_padded]
        Which broad concepts hold a position, as one number; empty where there are none.
    label_names : list of str
    conservation : float32 [n_padded]
    sample : int32 [n_padded]
        -1 in the padding.
    offsets : int64 [n_samples + 1]
        Where each sample begins on the axis without padding.
    word_size : int
    word_table : uint8
        Numbers of the words that pairs are read in (:func:`sciinterp.discovery.letter_pairs.word_table`).
    property_names : list of str
    properties : float64 [n_properties, n_letters]
        Of the letters (:func:`sciinterp.discovery.periodicity.scales`).
    abego : uint8 [n_padded]
        Region of the Ramachandran plot, a number in :data:`sciinterp.association.backbone_baselines.ABEGO`; empty where there
        are no coordinates.
    torsion : uint8 [n_padded]
        Bin of phi and psi, likewise.
    backbone : dict
        int64 [n_padded] of each plain reading of coordinates (:func:`sciinterp.discovery.plain_readings.backbone_classes`).
    moments : dict
        What :func:`sciinterp.discovery.periodicity.fit_periodicity` found of them.
    """

    letters: np.ndarray
    alphabet: list[str]
    labels: np.ndarray
    label_names: list[str]
    conservation: np.ndarray
    sample: np.ndarray
    offsets: np.ndarray
    word_size: int
    word_table: np.ndarray
    property_names: list[str]
    properties: np.ndarray
    abego: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    torsion: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    backbone: dict[str, np.ndarray] = field(default_factory=dict)
    moments: dict[tuple[int, int, int], np.ndarray] = field(default_factory=dict)
    _alike: dict[tuple[str, bool], Alike] = field(default_factory=dict)
    _share: dict[str, np.ndarray] = field(default_factory=dict)

    def alike(self, column: str, by_sample: bool) -> Alike:
        """Positions of one letter, or of one class of a plain reading of coordinates; of one sample, or of all."""
        if (column, by_sample) not in self._alike:
            inside = np.flatnonzero(self.sample >= 0).astype(np.int32)
            key = self.key(column, by_sample, inside)
            order = np.argsort(key, kind="stable")
            key = key[order]
            starts = np.flatnonzero(np.diff(key, prepend=-1, append=-1))
            self._alike[column, by_sample] = Alike(inside[order], key[starts[:-1]], starts)
        return self._alike[column, by_sample]

    def key(self, column: str, by_sample: bool, at: np.ndarray) -> np.ndarray:
        """int64: what positions that :meth:`alike` puts together have in common."""
        key = (self.letters if column == "letters" else self.backbone[column])[at].astype(np.int64)
        return key + self.sample[at].astype(np.int64) * 256 if by_sample else key

    @property
    def at(self) -> np.ndarray:
        """int64 [n_positions]: where each position stands."""
        return self.padded(np.arange(self.offsets[-1]))

    def padded(self, position: np.ndarray) -> np.ndarray:
        """Where positions stand on the padded axis; -1 stays."""
        number = np.searchsorted(self.offsets, position, "right")  # of the sample, from 1
        return np.where(position >= 0, position + FAR * number, NONE)

    def from_ends(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Letters of its sample before each position and behind it; 0 in the padding."""
        sample = self.sample[at]
        before = at - self.offsets[sample] - FAR * (sample + 1)
        behind = self.offsets[sample + 1] - self.offsets[sample] - 1 - before
        return np.where(sample >= 0, before, 0), np.where(sample >= 0, behind, 0)

    @cached_property
    def words(self) -> np.ndarray:
        """uint8 [n_padded]: the word that begins at each position."""
        return self.word_table[plain_words(self.letters, self.n_letters, self.word_size)]

    @property
    def n_words(self) -> int:
        """Words told apart; the number itself stands for none."""
        return int(self.word_table.max())

    @property
    def n_letters(self) -> int:
        """Letters told apart; the number itself is the sentinel."""
        return len(self.alphabet)

    def share(self, column: str = "letters") -> np.ndarray:
        """float64: how often each letter, label, region or bin occurs at all."""
        if column in self._share:
            return self._share[column]
        values = getattr(self, column)[self.sample >= 0]
        sizes = {"letters": self.n_letters, "labels": len(self.label_names), "abego": len(ABEGO)}
        n = {**sizes, "torsion": N_TORSIONS}[column]
        self._share[column] = np.bincount(values, minlength=n)[:n] / max(len(values), 1)
        return self._share[column]

    def shuffled(
        self, at: np.ndarray, reach: int, rng: np.random.Generator
    ) -> tuple[Surroundings, np.ndarray]:
        """The same windows, each with what lies within ``reach`` of its middle in random order; and where they are."""
        width = 2 * FAR + 1
        window = at[..., None] + np.arange(-FAR, FAR + 1)
        order = np.broadcast_to(np.arange(width), window.shape).copy()
        near = slice(FAR - reach, FAR + reach + 1)
        key = rng.random((*at.shape, 2 * reach + 1), dtype=np.float32)
        # Sentinels stay where they are: they sort before or behind every key.
        outside = self.sample[np.maximum(window[..., near], 0)] != self.sample[np.maximum(at, 0)][..., None]
        key[outside] = np.broadcast_to(np.arange(-reach, reach + 1) * 4.0, outside.shape)[outside]
        order[..., near] = FAR - reach + np.argsort(key, axis=-1, kind="stable")
        source = np.take_along_axis(window, order, -1)
        flat = np.where(at[..., None] >= 0, source, 0).ravel()
        there = np.where(at >= 0, np.arange(at.size).reshape(at.shape) * width + FAR, NONE)
        mixed = {
            name: getattr(self, name)[flat]
            for name in ("letters", "labels", "abego", "torsion")
            if len(getattr(self, name))
        }
        return replace(self, **mixed, moments={}, _alike={}, _share={}), there


def lay_out(
    letters: np.ndarray,
    alphabet: list[str],
    offsets: np.ndarray,
    conservation: np.ndarray,
    held: np.ndarray,
    names: list[str],
    backbone: Mapping[str, np.ndarray] | None = None,
) -> Surroundings:
    """Lay out letters and what else stands at positions.

    Parameters
    ----------
    letters : int [n_positions]
        Numbers in the alphabet.
    offsets : int [n_samples + 1]
    conservation : float [n_positions]
    held : bool [n_positions, n_broad]
        Which positions each broad concept holds.
    names : list of str
        Of the broad concepts.
    backbone : dict, optional
        int [n_positions]: plain readings of coordinates, and ``abego``.
    """
    lengths, n = np.diff(offsets), len(letters)
    sample = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    n_padded, at = n + FAR * (len(lengths) + 1), np.arange(n, dtype=np.int32) + FAR * (sample + 1)
    labels, label_names = _labels(held, names)

    def lay(values: np.ndarray, beyond: float, dtype: type) -> np.ndarray:
        out = np.full(n_padded, beyond, dtype)
        out[at] = values
        return out

    laid = lay(letters, len(alphabet), np.uint8)
    share = np.bincount(letters, minlength=len(alphabet)) / max(n, 1)
    classes = {name: lay(of, 0, np.int64) for name, of in (backbone or {}).items() if name != "abego"}
    abego, torsion = (
        lay(backbone[name], n, np.uint8) if backbone else np.zeros(0, np.uint8)
        for name, n in (("abego", len(ABEGO)), ("torsion", N_TORSIONS))
    )
    return Surroundings(
        laid,
        alphabet,
        lay(labels, len(label_names), np.uint8) if label_names else np.zeros(0, np.uint8),
        label_names,
        lay(conservation, 0, np.float32),
        lay(sample, -1, np.int32),
        np.asarray(offsets, np.int64),
        *word_table(laid, len(alphabet)),
        *scales(alphabet, share),
        abego,
        torsion,
        classes,
    )


def _labels(held: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """The broad concepts of every position as one number, the commonest combinations first; and their names."""
    if not held.size:
        return np.zeros(0, np.int64), []
    kinds, number, count = np.unique(held, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(-count, kind="stable")[:MAX_LABELS]
    place = np.full(len(kinds), len(order))
    place[order] = np.arange(len(order))
    said = ["+".join(name for name, has in zip(names, kinds[i]) if has) or "none" for i in order]
    return place[np.ravel(number)], said + ["others"] * (len(kinds) > len(order))
