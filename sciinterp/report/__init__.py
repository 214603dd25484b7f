"""What people look at: the one-file report and the feature browser.

``sciinterp.report`` is this package and, as ``si.report(...)``, the function that writes a report: the module
can be called, so that both readings work whatever was imported first.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any


class _ReportModule(ModuleType):
    """A module that can be called: :func:`sciinterp.report.write.report`."""

    def __call__(self, path: str | Path, **arguments: Any) -> Path:
        from sciinterp.report.write import report

        return report(path, **arguments)


sys.modules[__name__].__class__ = _ReportModule
