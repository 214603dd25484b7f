"""The second benchmark suite: whether error rates and powers that the package states hold in worlds it was not made on.

No constant that decides is fitted here; those were fitted on :mod:`sciinterp.discovery.planted`, on the embedded
data, or on nothing.
"""

from sciinterp.trust.suite import benchmark_trust

__all__ = ["benchmark_trust"]
