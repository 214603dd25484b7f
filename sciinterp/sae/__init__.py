"""Sparse autoencoders: architectures, training, files and measures.

``train`` makes one, ``load_sae`` reads one made here or elsewhere; :class:`~sciinterp.sae.base.SAE` says what
one is. The maths of the step is in ``sparse.py``, the loop in ``loop.py``, each loss in its architecture's
file.
"""

from sciinterp.sae.architecture import Architecture
from sciinterp.sae.base import SAE, ThresholdSAE, TopKSAE
from sciinterp.sae.batchtopk import BatchTopK
from sciinterp.sae.gated import Gated
from sciinterp.sae.jumprelu import JumpReLU
from sciinterp.sae.load import load_sae
from sciinterp.sae.loop import train
from sciinterp.sae.matryoshka import Matryoshka
from sciinterp.sae.registry import ARCHITECTURES
from sciinterp.sae.relu import ReLU
from sciinterp.sae.settings import TrainSettings
from sciinterp.sae.topk import TopK

__all__ = [
    "ARCHITECTURES",
    "SAE",
    "Architecture",
    "BatchTopK",
    "Gated",
    "JumpReLU",
    "Matryoshka",
    "ReLU",
    "ThresholdSAE",
    "TopK",
    "TopKSAE",
    "TrainSettings",
    "load_sae",
    "train",
]
