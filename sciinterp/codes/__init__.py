"""Codes: what an SAE says of every position of some samples, as a view on a store or on an array."""

from sciinterp.codes.encoding import encode, load_features
from sciinterp.codes.matrix import FeatureMatrix

__all__ = ["FeatureMatrix", "encode", "load_features"]
