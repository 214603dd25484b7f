"""Compiled loops: one decorator, so that caching and threading are decided once.

Compiled code is cached beside the source, or in the user's cache folder where the installation is read-only.
Where neither can be written, numba refuses at decoration; the loop is then compiled anew in each process
rather than failing. Compiling takes most of a first run: loops, not array expressions, which cost up to half a second
each, and no entry for callers in C. Every loop releases the interpreter lock and touches only the arrays it is given, so
disjoint ranges of features may run in several threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """``numba.njit`` with a cache where one can be written, without the interpreter lock."""
    njit: Any = numba.njit  # whose stub does not know all its options
    try:
        return njit(nogil=True, no_cfunc_wrapper=True, cache=True)(function)
    except RuntimeError:  # "no locator available": nowhere to write a cache
        return njit(nogil=True, no_cfunc_wrapper=True)(function)
