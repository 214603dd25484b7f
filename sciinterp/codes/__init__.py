"""Codes: what an SAE says of every position of some samples, as a view on a store or on an array."""

from sciinterp.codes.matrix import FeatureMatrix, doubts, encode, load_features, require_randomised

__all__ = ["FeatureMatrix", "doubts", "encode", "load_features", "require_randomised"]
