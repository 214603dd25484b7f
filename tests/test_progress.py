"""The bar of progress: where it is drawn, and where it is silent."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from sciinterp.progress import progress


@pytest.mark.parametrize(
    ("shell", "drawn"),
    [(None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=object()), True)],
    ids=["IPython imported, not running", "a terminal of IPython", "a notebook's kernel"],
)
def test_a_kernel_draws_and_an_imported_package_does_not(
    monkeypatch: pytest.MonkeyPatch, shell: object, drawn: bool
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    bar = progress(range(3), file=io.StringIO())
    assert bar.disable is not drawn
    assert list(bar) == [0, 1, 2]


def test_only_the_first_rank_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert not progress(range(3), file=Terminal()).disable
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("WORLD_SIZE", "2"), ("RANK", "1")):
        monkeypatch.setenv(name, value)
    assert progress(range(3), file=Terminal()).disable
