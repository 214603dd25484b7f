"""Writing sequences: positions drawn anew, one a forward pass, or letters added at the end.

A model with a mask token hides a position, draws its letter from what the rest says, and goes on to the next, for some
rounds (Gibbs sampling as of Wang and Cho, 2019). A causal model draws from left to right, each letter from those before
it. Either way every step is a forward pass of the adapter of its own: what is written into an activation meanwhile
(:func:`sciinterp.models.edit`) is felt at every step. A step draws a word as long as the one it replaces, so positions
keep their numbers; of a token of several letters, those that may not change are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sciinterp.errors import InputError
from sciinterp.settings import at_least, make_plain, plain_value, settings_of

from .adapter import Adapter, CanMask, HasLogits, data_of
from .site import Batch, scored_spans

# Letters that are drawn where the samples are of such a kind; of other kinds, the model's whole alphabet.
LETTERS = {"protein": "ACDEFGHIKLMNPQRSTVWY", "dna": "ACGT"}


@dataclass(frozen=True)
class GenerationSettings:
    """How samples are written.

    Attributes
    ----------
    positions : tuple of int, optional
        Positions that may change, from 0; by default all of the sample's, or none where letters are added.
    temperature : float
        Scores are divided by it before a word is drawn; 0 takes the most probable one.
    rounds : int
        How often a masked model passes over the positions; a causal one passes once.
    order : str
        Of masked models, in each round: random (each sample its own) or left_to_right.
    without : str
        Letters that are not drawn.
    n_new : int
        Words that a causal model adds at the end.
    """

    positions: tuple[int, ...] | None = None
    temperature: float = 1.0
    rounds: int = 1
    order: Literal["random", "left_to_right"] = "random"
    without: str = ""
    n_new: int = 0

    def __post_init__(self) -> None:
        make_plain(self, temperature=at_least(0), rounds=at_least(1), n_new=at_least(0))

    def places(self, length: int) -> np.ndarray:
        """int64: the positions of a sample that may change, ascending."""
        if self.positions is None:
            return np.arange(0 if self.n_new else length)
        found = np.unique(np.asarray(self.positions, np.int64))
        if found.size and (found[0] < 0 or found[-1] >= length):
            raise InputError(
                "there is no such position",
                expected=f"0 to {length - 1}",
                got=str(found[-1] if found[-1] >= length else found[0]),
            )
        return found


def generate(
    self: Adapter, sample: object, *, n: int = 1, seed: int = 0, settings: GenerationSettings | None = None
) -> list[str]:
    """Write sequences like a given one.

    Parameters
    ----------
    sample : Sample or str
    n : int
        How many; each has its own random numbers, whatever the others are.
    seed : int
    settings : GenerationSettings, optional

    Returns
    -------
    list of str
        The given sequence with positions drawn anew, or words added.

    Raises
    ------
    InputError
        No sequence, a position outside it or without a score, or words to be added by a masked model.
    """
    settings, text = settings_of(settings, GenerationSettings), data_of(sample)
    if not isinstance(text, str) or not isinstance(self, HasLogits):
        raise InputError("only sequences of letters are written", where=self.name, got=type(text).__name__)
    self.check([text])
    masked = isinstance(self, CanMask)
    if masked and settings.n_new:
        raise InputError(
            "a model that reads both sides does not add letters",
            where=self.name,
            do="Give positions to be drawn anew.",
        )
    rngs = generators(n, seed)
    places, texts = settings.places(len(text)), [text] * n
    shuffled = masked and settings.order == "random"
    for _ in range(settings.rounds if masked else 1):
        orders = [rng.permutation(places) if shuffled else places for rng in rngs]
        for step in range(len(places)):
            texts = _step(self, texts, [int(order[step]) for order in orders], settings, rngs)
    for _ in range(settings.n_new):
        texts = _step(self, texts, None, settings, rngs)
    self.check(texts)
    return texts


def generators(n: int, seed: int) -> list[np.random.Generator]:
    """Random numbers for each of `n` samples, whatever the others are."""
    n, seed = plain_value(n, int, "n", at_least(1)), plain_value(seed, int, "seed")
    return [np.random.default_rng([seed, number]) for number in range(n)]


def _step(
    model: Adapter,
    texts: list[str],
    places: list[int] | None,
    settings: GenerationSettings,
    rngs: list[np.random.Generator],
) -> list[str]:
    """One word of every text drawn: the one that covers its place, or one more at the end."""
    if model.batch_dependent and len(texts) > 1:
        alone = [[i] for i in range(len(texts))]
    else:
        alone = [list(range(len(texts)))]
    out = list(texts)
    open_ = set(settings.places(len(texts[0])).tolist()) if places is not None else set()
    for some in alone:
        batch = model.encode([texts[i] for i in some])
        given = None if places is None else [places[i] for i in some]
        scores, spans = _scores(model, batch, given, [texts[i] for i in some])
        for row, i in enumerate(some):
            start, end = spans[row]
            free = None if places is None else [p in open_ for p in range(start, end)]
            word = _drawn(model, scores[row], texts[i][start:end], free, settings, rngs[i])
            out[i] = texts[i][:start] + word + texts[i][end:]
    return out


def _scores(
    model: Adapter, batch: Batch, places: list[int] | None, texts: list[str]
) -> tuple[Tensor, list[tuple[int, int]]]:
    """Scores [n, V] of the words to be drawn, and the positions that each takes."""
    assert isinstance(model, HasLogits)
    row = torch.arange(len(batch))
    if places is None:
        last = torch.where(batch.mask, torch.arange(batch.mask.shape[1]), -1).amax(1)
        with torch.no_grad():
            return model.logits(batch)[row, last].float().cpu(), [(len(t), len(t)) for t in texts]
    at = torch.as_tensor(places)
    about = model.targets(batch).mask
    spans, where = scored_spans(batch, about), about.nonzero()
    covers = (spans[:, 1] <= at[spans[:, 0]]) & (at[spans[:, 0]] < spans[:, 2])
    if int(covers.sum()) != len(batch):
        missing = sorted({*range(len(batch))} - {*spans[covers, 0].tolist()}) or [0]
        raise InputError(
            "the model gives no score about a position of its own",
            where=f"{model.name}, position {places[missing[0]]}",
            do="Leave it out of the positions that may change.",
        )
    shown = batch
    if isinstance(model, CanMask):
        hidden = torch.zeros_like(batch.mask)
        hidden[where[covers, 0], where[covers, 1]] = True
        shown = model.masked(batch, hidden)
    with torch.no_grad():
        found = model.logits(shown)[where[covers, 0], where[covers, 1]].float().cpu()
    return found, [(a, b) for _, a, b in spans[covers].tolist()]


def _drawn(
    model: Adapter,
    scores: Tensor,
    old: str,
    free: list[bool] | None,
    settings: GenerationSettings,
    rng: np.random.Generator,
) -> str:
    """A word in place of an old one, its letters at positions that are not free as they were; or any word."""
    assert isinstance(model, HasLogits)
    allowed = set(LETTERS.get(model.kind, model.alphabet)) & set(model.alphabet) - set(settings.without)

    def fits(word: str) -> bool:
        if free is None:
            return bool(word) and allowed.issuperset(word)
        letters = zip(word, old, free)
        return len(word) == len(old) and all(w in allowed if f else w == o for w, o, f in letters)

    words = [w.removeprefix("▁") for w in model.vocabulary]
    open_ = [i for i, word in enumerate(words) if fits(word)]
    u = rng.random()
    if not open_ and len(old) > 1:
        return old  # no other word has these letters at its fixed positions
    if not open_:
        raise InputError("no letter is left that may be drawn", where=model.name, got=settings.without)
    return words[open_[drawn(scores[open_], settings.temperature, u)]]


def drawn(scores: Float[Tensor, " n"], temperature: float, u: float) -> int:
    """The number of one of some scores: drawn by `u` from [0, 1), or the largest where the temperature is 0."""
    logs = scores.double().numpy()
    if temperature == 0:
        return int(np.argmax(logs))
    p = np.exp((logs - logs.max()) / temperature)
    return min(int(np.searchsorted(np.cumsum(p / p.sum()), u)), len(logs) - 1)
