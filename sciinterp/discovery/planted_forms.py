"""What a planted concept looks like in sequence.

Each form writes one instance: the letters of a stretch, :data:`KEEP` where what stands there stays.

* *motif*: conserved columns; a bias that is the same along the stretch where this is long;
* *gapped*: two conserved halves of four columns, two to nine letters apart, another distance in every family;
* *paired*: two conserved letters at one distance of eight to thirty, nothing in between; read at its two ends;
* *periodic*: an amphipathic stretch, hydrophobic on one side of a helix (period 3.6) or of a strand (period 2), in
  any phase;
* *domain*: thirty to forty-four letters in four parts that are weakly biased, each to letters of its own;
* *labelled*: no letters of its own: it stands where a helix turns into a strand (:func:`structure`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
# Rounded background of natural proteins, in the order of LETTERS.
BACKGROUND = (
    np.array([83, 14, 55, 67, 39, 71, 23, 59, 58, 97, 24, 41, 47, 39, 55, 66, 54, 69, 11, 28.0]) / 1000
)
KEEP = -1
FORMS = ("motif", "gapped", "paired", "periodic", "domain", "labelled")
CONSERVED = 0.75  # of a half of a gapped motif: what the ungapped motifs have
PAIRED = 0.92  # of either letter of a pair: it has two columns where a motif has six
ONE_SIDE = 0.85  # of an amphipathic stretch's letters lie on the side they belong to
BIASED = 0.45  # of a domain's letters come from the letters of its part
HELIX, STRAND, COIL = range(3)
# In alphabetical order of the letters: hydrophobic ones (Kyte and Doolittle above 1.5) and charged or polar ones.
HYDROPHOBIC = ["ACDEFGHIKLMNPQRSTVWY".index(x) for x in "AFILMV"]
POLAR = ["ACDEFGHIKLMNPQRSTVWY".index(x) for x in "DEHKNQRST"]


@dataclass(frozen=True, eq=False)
class Form:
    """One concept's form.

    Attributes
    ----------
    kind : str
        One of :data:`FORMS`.
    columns : float [n, 20]
        Letter probabilities: of the columns of a motif, of both halves, of both letters, of the two sides, or of the parts of a domain.
    length : int
        Letters of an instance, without the gap.
    gap : tuple of int
        Range of the letters between two halves, half-open.
    period : float
    """

    kind: str
    columns: np.ndarray
    length: int
    gap: tuple[int, int] = (0, 1)
    period: float = 0.0

    def write(self, rng: np.random.Generator, background: np.ndarray, *, strength: float = 1.0) -> np.ndarray:
        """int [n]: one instance; a weaker one where ``strength`` is below one."""
        columns = strength * self.columns + (1 - strength) * background
        gap = int(rng.integers(*self.gap))
        if self.kind in ("gapped", "paired"):
            half = len(columns) // 2
            letters = _draw(columns, rng)
            return np.concatenate([letters[:half], np.full(gap, KEEP), letters[half:]])
        at = np.arange(self.length)
        if self.kind == "periodic":
            side = np.cos(2 * np.pi * at / self.period + rng.uniform(0, 2 * np.pi)) < 0
            return _draw(columns[side.astype(int)], rng)
        if self.kind == "domain":
            return _draw(columns[at * len(columns) // self.length], rng)
        return np.full(self.length, KEEP) if self.kind == "labelled" else _draw(columns, rng)

    @property
    def longest(self) -> int:
        """Letters of the longest instance."""
        return self.length + self.gap[1] - 1


def motif_form(length: int, rng: np.random.Generator, background: np.ndarray) -> Form:
    """An ungapped motif, or a bias to four letters from twelve positions on."""
    if length < 12:
        return Form("motif", _conserved(length, CONSERVED, rng, background), length)
    bias = background * 0.45
    bias[rng.choice(20, 4, replace=False)] += 0.55 / 4
    return Form("motif", np.tile(bias / bias.sum(), (length, 1)), length)


def draw_form(kind: str, rng: np.random.Generator, background: np.ndarray) -> Form:
    """The form of one concept: its letters, lengths and distances."""
    if kind == "gapped":
        return Form(kind, _conserved(8, CONSERVED, rng, background), 8, (2, 10))
    if kind == "paired":
        distance = int(rng.integers(8, 31))
        return Form(kind, _conserved(2, PAIRED, rng, background), 2, (distance - 1, distance))
    if kind == "periodic":
        sides = np.stack(
            [
                ONE_SIDE * _only(a, background) + (1 - ONE_SIDE) * _only(b, background)
                for a, b in ((HYDROPHOBIC, POLAR), (POLAR, HYDROPHOBIC))
            ]
        )
        period, length = ((3.6, int(rng.integers(16, 24))), (2.0, int(rng.integers(10, 16))))[
            int(rng.random() < 0.25)
        ]
        return Form(kind, sides, length, period=period)
    if kind == "domain":
        parts = np.tile((1 - BIASED) * background, (4, 1))
        for part in parts:
            part[rng.choice(20, 4, replace=False)] += BIASED / 4
        return Form(kind, parts / parts.sum(1, keepdims=True), int(rng.integers(30, 45)))
    return Form(kind, np.zeros((0, 20)), 6)


def structure(length: int, rng: np.random.Generator) -> np.ndarray:
    """int [length]: helix, strand or coil in turn, in runs of five to fourteen."""
    runs = rng.integers(5, 15, length // 5 + 1)
    kinds = (rng.integers(3) + np.cumsum(rng.integers(1, 3, len(runs)))) % 3
    return np.repeat(kinds, runs)[:length]


def starts_of(labels: np.ndarray) -> np.ndarray:
    """Where the six positions about a turn from helix to strand begin."""
    turn = np.flatnonzero((labels[:-1] == HELIX) & (labels[1:] == STRAND)) + 1
    return turn[(turn >= 3) & (turn + 3 <= len(labels))] - 3


def label_spans(labels: np.ndarray) -> list[tuple[int, int, str]]:
    """Runs of helix and strand: start, end, name."""
    cut = np.unique(np.r_[0, np.flatnonzero(np.diff(labels)) + 1, len(labels)])
    return [
        (int(a), int(b), ("helix", "strand")[int(labels[a])])
        for a, b in zip(cut[:-1], cut[1:])
        if labels[a] != COIL
    ]


def _conserved(n: int, share: float, rng: np.random.Generator, background: np.ndarray) -> np.ndarray:
    columns = np.tile(background * (1 - share), (n, 1))
    columns[np.arange(n), rng.integers(0, 20, n)] += share
    return columns / columns.sum(1, keepdims=True)


def _only(letters: list[int], background: np.ndarray) -> np.ndarray:
    out = np.zeros(len(background))
    out[letters] = background[letters]
    return out / out.sum()


def _draw(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One letter number per row of ``probabilities``."""
    cumulative = probabilities.cumsum(1)
    return (rng.random((len(probabilities), 1)) > cumulative[:, :-1] / cumulative[:, -1:]).sum(1)


def hide_whole_families(
    family: np.ndarray, mine: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """bool [n_instances]: whole families of a concept's instances, until the share is reached; never all of them."""
    hidden = np.zeros(len(family), bool)
    for fam in rng.permutation(np.unique(family[mine])):
        if (hidden & mine).sum() >= share * mine.sum():
            break
        more = hidden | (mine & (family == fam))
        if more[mine].all():  # something of every concept stays known
            continue
        hidden = more
    return hidden
