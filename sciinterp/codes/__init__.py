"""Codes: what an SAE says of every position of some samples, as a view on a store or on an array."""

from sciinterp.codes.matrix import FeatureMatrix, encode, load_features

__all__ = ["FeatureMatrix", "encode", "load_features"]
