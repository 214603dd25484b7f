"""What a readout reads of a sample: its features, and what needs no features.

Codes become three numbers a feature and sample: the largest activation, the mean, and the share of positions where it is
active. Beside them stand mean-pooled activations, the same codes of the randomised model, and three readings of the
letters alone: composition, words of two and three letters, and length.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer

from sciinterp.activations import Activations
from sciinterp.codes import FeatureMatrix
from sciinterp.codes.active import active_cells
from sciinterp.samples import Samples

# name -> whether it is a plainer rival of the features: what decides whether they are needed
RIVALS = {
    "features": False,
    "activations": True,
    "composition": True,
    "kmers": True,
    "length": True,
    "randomised": True,
}
# Words are hashed away from rarer ones: a word must stand in so many samples.
MIN_SAMPLES = 3


def summarise_codes(features: FeatureMatrix) -> np.ndarray:
    """float64 [n_samples, 3 n_features]: largest activation, mean, share of active positions."""
    parts = []
    for lo, hi in features.sample_blocks():
        codes = sp.csr_array(features.by_sample(np.arange(lo, hi)))
        lengths = features.samples.lengths[lo:hi]
        owner = np.repeat(np.arange(hi - lo), lengths)
        adds = sp.csr_array(
            (np.ones(len(owner)), (owner, np.arange(len(owner)))), shape=(hi - lo, len(owner))
        )
        size = np.maximum(lengths, 1)[:, None]
        active = active_cells(codes, features.largest).astype(np.float64)
        parts.append(np.hstack([(adds @ codes).toarray() / size, (adds @ active).toarray() / size]))
    largest = sp.csr_array(features.max_per_sample()).toarray()
    return np.hstack([largest, np.concatenate(parts)]).astype(np.float64)


def mean_activations(acts: Activations | np.ndarray, samples: Samples) -> np.ndarray:
    """float64 [n_samples, d_in]: the mean over each sample's tokens."""
    if isinstance(acts, np.ndarray):
        return np.array([acts[a:b].mean(0) for a, b in zip(samples.offsets, samples.offsets[1:])], np.float64)
    return np.array([acts.read_sample(i).mean(0) for i in range(len(samples))], np.float64)


def represent(
    features: FeatureMatrix,
    *,
    acts: Activations | np.ndarray | None = None,
    control: FeatureMatrix | None = None,
) -> dict[str, np.ndarray]:
    """Every representation there is: name -> float64 [n_samples, n_columns].

    Parameters
    ----------
    features : FeatureMatrix
    acts : Activations or array [n_positions, d_in], optional
    control : FeatureMatrix, optional
        Codes of the randomised model on the same samples.
    """
    found = {"features": summarise_codes(features)}
    samples = features.samples
    if acts is not None:
        found["activations"] = mean_activations(acts, samples)
    if isinstance(samples[0].data, str):
        text = samples.sequences
        letters = sorted(set("".join(text)))
        found["composition"] = np.array([[t.count(x) / max(len(t), 1) for x in letters] for t in text])
        words = CountVectorizer(
            analyzer="char", ngram_range=(2, 3), lowercase=False, min_df=min(MIN_SAMPLES, len(text))
        )
        found["kmers"] = words.fit_transform(text).toarray().astype(np.float64)
    found["length"] = samples.lengths[:, None].astype(np.float64)
    if control is not None:
        found["randomised"] = summarise_codes(control)
    return found
