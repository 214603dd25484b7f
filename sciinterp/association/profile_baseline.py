"""A domain tool as a baseline: profile HMMs built from the training families' instances, by pyhmmer.

For each concept the instance of middle length is made a profile, its kin of the training families are aligned
to it, and the profile is built anew from the alignment; the letters around a position then score as the best
domain that covers it. Without pyhmmer, or where instances are too short to be a domain, there is none.

Source: Eddy, PLoS Computational Biology 7:e1002195 (2011); Larralde and Zeller, Bioinformatics 39:btad214 (2023).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sciinterp.association.fitting import Block, Fitted, Inputs, scored
from sciinterp.association.partitions import Part
from sciinterp.samples import Samples

if TYPE_CHECKING:
    from pyhmmer.easel import Alphabet, DigitalSequenceBlock
    from pyhmmer.plan7 import HMM

# Positions an instance must have to be a domain, and instances a profile is made of.
MIN_LENGTH = 5
MAX_INSTANCES = 500
# Score where no domain is found: below every bit score.
NOWHERE = np.float32(-1e4)
ALPHABETS = {"protein": "amino", "structure": "amino", "dna": "dna", "rna": "rna"}


def why_not(inputs: Inputs) -> str:
    """Why profiles cannot be built on these samples, or an empty string."""
    if not inputs.settings.domain:
        return "not asked for (BaselineSettings(domain=True))"
    if inputs.samples.kind not in ALPHABETS:
        return f"profiles are of {', '.join(ALPHABETS)}, not of {inputs.samples.kind}"
    try:
        import pyhmmer  # noqa: F401
    except ImportError:
        return "pyhmmer is not installed (pip install pyhmmer)"
    return ""


def domain(inputs: Inputs) -> Fitted:
    """The best domain of each concept's profile."""
    assert inputs.instances is not None  # the registry asks for them
    parts = inputs.parts
    return scored(
        inputs, profile_scores(inputs.samples, inputs.instances, parts.train, parts.test, seed=inputs.seed)
    )


def profile_scores(samples: Samples, instances: pd.DataFrame, train: Part, test: Part, *, seed: int) -> Block:
    """Bit score of the best domain that covers each position.

    Profiles are made of instances of the training samples alone. Instances are ``concept`` (number within the
    parts), ``start``, ``end``, ``sample`` on the axis of all samples; `seed` says which are taken where there
    are more than ``MAX_INSTANCES``.
    """
    import pyhmmer

    alphabet = getattr(pyhmmer.easel.Alphabet, ALPHABETS[samples.kind])()
    mine = instances[np.isin(instances["sample"], train.samples)]
    mine = mine[(mine["end"] - mine["start"]) >= MIN_LENGTH]
    letters = "".join(samples.sequences)
    words = {c: [letters[a:b] for a, b in zip(t["start"], t["end"])] for c, t in mine.groupby("concept")}
    sequences = {id(part): _digital(samples, part, alphabet) for part in (train, test)}

    def block(low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        out = [np.full((high - low, part.n_positions), NOWHERE, np.float32) for part in (train, test)]
        for concept in range(low, high):
            hmm = _profile(words.get(concept, []), alphabet, np.random.default_rng([seed, concept]))
            if hmm is not None:
                for scores, part in zip(out, (train, test)):
                    _search(hmm, sequences[id(part)], scores[concept - low], samples.lengths[part.samples])
        return out[0], out[1]

    return block


def _digital(samples: Samples, part: Part, alphabet: Alphabet) -> DigitalSequenceBlock:
    """The samples of a part, named by their number in it; those with letters the alphabet lacks are left out."""
    import pyhmmer

    found = []
    for number, sample in enumerate(part.samples):
        try:
            text = pyhmmer.easel.TextSequence(name=str(number).encode(), sequence=samples.sequences[sample])
            found.append(text.digitize(alphabet))
        except ValueError:
            continue
    return pyhmmer.easel.DigitalSequenceBlock(alphabet, found)


def _profile(words: list[str], alphabet: Alphabet, rng: np.random.Generator) -> HMM | None:
    """The profile of some instances, or None where they cannot be one."""
    import pyhmmer

    words = sorted(set(words), key=lambda w: (len(w), w))
    if not words:
        return None
    middle = words[len(words) // 2]
    if len(words) > MAX_INSTANCES:
        words = [words[i] for i in np.sort(rng.choice(len(words), MAX_INSTANCES, replace=False))]
    builder, background = pyhmmer.plan7.Builder(alphabet, seed=1), pyhmmer.plan7.Background(alphabet)
    try:
        text = [
            pyhmmer.easel.TextSequence(name=str(i).encode(), sequence=w)
            for i, w in enumerate([middle, *words])
        ]
        digital = [t.digitize(alphabet) for t in text]
        first, _, _ = builder.build(digital[0], background)
        if len(words) == 1:
            return first
        aligned = pyhmmer.hmmer.hmmalign(first, digital[1:], cpus=1, digitize=True)
        assert isinstance(aligned, pyhmmer.easel.DigitalMSA)
        aligned.name = b"concept"
        return builder.build_msa(aligned, background)[0]
    except ValueError:  # letters the alphabet lacks, or nothing left to align
        return None


def _search(hmm: HMM, sequences: DigitalSequenceBlock, scores: np.ndarray, lengths: np.ndarray) -> None:
    """Lay the bit score of every domain, however weak, on the positions it covers."""
    import pyhmmer

    offsets = np.concatenate([[0], np.cumsum(lengths)])
    options = {"E": 1e9, "domE": 1e9, "F1": 1.0, "F2": 1.0, "F3": 1.0, "bias_filter": False}
    for hits in pyhmmer.hmmsearch([hmm], sequences, cpus=1, **options):
        for hit in hits:
            name = hit.name.decode() if isinstance(hit.name, bytes) else str(hit.name)
            base = offsets[int(name)]
            for domain in hit.domains:
                covered = scores[base + domain.env_from - 1 : base + domain.env_to]
                np.maximum(covered, np.float32(domain.score), out=covered)
