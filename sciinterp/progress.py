"""One bar of progress for everything long: on a terminal, in a notebook, by the first rank alone."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm

from sciinterp import distributed


def progress(over: Iterable[object] | None = None, **how: Any) -> tqdm:
    """A bar of tqdm, over ``over`` or moved by hand; ``how`` are tqdm's own arguments.

    It is silent where the output is neither a terminal nor a notebook, and in every rank but the first.

    Examples
    --------
    >>> list(progress(range(3), desc="shards"))
    [0, 1, 2]
    """
    disable = None if distributed.first() else True
    return tqdm(over, disable=False if disable is None and _in_notebook() else disable, **how)


def _in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this code; that its package is imported says nothing."""
    shell = sys.modules.get("IPython")
    return hasattr(shell.get_ipython(), "kernel") if shell is not None else False
