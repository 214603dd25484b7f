"""Readouts: labels of whole samples read from features, beside plainer representations of the same samples."""
