"""One form for every error a user can meet.

A message is one line: what is wrong, where: expected, got. What to do. For example
``SAE 'runs/a/sae' does not fit site 'layers.4' of esm2-35m: expected d_in=480, got 320. Load the model it
was trained on.`` The command line prints exactly this line and exits with a code that is not 0.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import islice
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import get_args

# How what stands in the place of a file that was not fetched begins, in small letters.
POINTER, PAGE = b"version https://git-lfs", (b"<!doctype html", b"<html")
# A shell knows what it means; to Python it is a name like another.
HOME = "Write your home folder out, or Path(...).expanduser(): '~' is not read as it."
LONGEST = 500  # characters of a part of a message; what a file holds may have any number
BESIDE = 10_000  # files of a folder among which the nearest name is looked for


class SciinterpError(ValueError):
    """Base of every error raised on purpose.

    Parameters
    ----------
    what : str
        What is wrong, without a final full stop.
    where : str, optional
        The file, sample, site or argument concerned.
    expected, got : str, optional
        What would have been right, and what was found.
    do : str, optional
        What the reader can do about it: one sentence.

    Examples
    --------
    >>> print(InputError("no sequences", where="file 'a.fasta'", expected="at least one", got="0"))
    no sequences, file 'a.fasta': expected at least one, got 0.
    """

    def __init__(
        self, what: str, *, where: str = "", expected: str = "", got: str = "", do: str = ""
    ) -> None:
        self.what, self.where, self.expected, self.got, self.do = what, where, expected, got, do
        super().__init__(self._line())

    def _line(self) -> str:
        what, where, expected, got, do = map(_cut, (self.what, self.where, self.expected, self.got, self.do))
        head = f"{what}, {where}" if where else what
        parts = [f"expected {expected}"] * bool(expected) + [f"got {got}"] * bool(got)
        line = (f"{head}: {', '.join(parts)}" if parts else head).rstrip(".") + "."
        return " ".join(f"{line} {do}".split())

    def about(self, given: Mapping[str, object]) -> tuple[str, str]:
        """Which of these arguments the error is about, by name or by value, and what its place says besides; "" if none.

        Examples
        --------
        >>> InputError("no such column", where="by='famly'").about({"by": "famly"})
        ('by', '')
        >>> InputError("empty", where="file 'a.tsv' line 1").about({"samples": "a.fa", "table": "a.tsv"})
        ('table', "file 'a.tsv' line 1")
        """
        for name, value in given.items():
            each = value if isinstance(value, list | tuple) else [value]
            said = "|".join(re.escape(repr(str(one))) for one in each)
            if found := re.match(rf"(?:argument )?'?{name}'?(?:=| |,|$) ?(?:{said})?,? ?", self.where):
                return name, self.where[found.end() :]
        for name, value in given.items():
            if self.where.startswith(
                tuple(f"{kind} {str(value)!r}" for kind in ("file", "folder", "column"))
            ):
                return name, self.where
        return "", self.where

    def told_at(self, where: str) -> None:
        """Give the error a place that its reader knows better: a key of a file, an option of a command."""
        self.where = where
        self.args = (self._line(),)


def joined(place: str, rest: str) -> str:
    """A place, and what else is said of it."""
    return f"{place}{'' if not rest or rest.startswith('of ') else ','} {rest}".rstrip()


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


class InputError(SciinterpError):
    """The user's input cannot be used: an unknown name, an illegal letter, an empty file."""


def no_such(what: str, name: object, known: Iterable[str], *, where: str = "", do: str = "") -> InputError:
    """The error for a name that does not exist, with the nearest that do.

    Examples
    --------
    >>> print(no_such("key", "seeed", ["seed", "steps"], where="[train]"))
    no such key, [train]: expected 'seed' or 'steps', got 'seeed'.
    """
    names = [str(k) for k in known]
    close = get_close_matches(str(name).lower(), names, n=4, cutoff=0.4)
    close = close or get_close_matches(str(name), names, n=4, cutoff=0.4) or names[:8]
    if len(names) <= 4:  # few enough to be named, all of them
        close = list(dict.fromkeys([*close, *names]))
    return InputError(
        f"no such {what}", where=where, expected=" or ".join(map(repr, close)), got=repr(str(name)), do=do
    )


def no_such_file(path: str | Path, *, do: str = "") -> InputError:
    """The error for a file that is not there, with the nearest that lies beside it."""
    path, near = Path(path), list[str]()
    try:
        near = get_close_matches(
            path.name, [entry.name for entry in islice(os.scandir(path.parent), BESIDE)], n=1
        )
    except (OSError, ValueError):
        do = do or (f"There is no folder '{path.parent}'." if not os.path.isdir(path.parent) else "")
    do = f"The nearest beside it is {near[0]!r}." if near else do
    return InputError("there is no such file", where=f"file '{str(path)[:200]}'", do=do)


class MissingWeightsError(InputError):
    """The weights of a model are not on this machine; the message says how to get them."""


class ShapeError(SciinterpError):
    """An array has the wrong shape or type."""


class MismatchError(SciinterpError):
    """Two things that must belong together do not: an SAE and a model, a plan and its resumption."""


class StoreError(SciinterpError):
    """A store on disk is damaged, incomplete or of an unknown version, or cannot be written.

    Attributes
    ----------
    computed : object
        What was to be written, where a writer failed after the work was done; else None.
    """

    computed: object = None


class BusyError(StoreError):
    """Another process is writing the store."""


class FormatError(SciinterpError):
    """A file is not in the format it is read as.

    Attributes
    ----------
    file : str
    line : int
        1-based line number, or 0 where the format has no lines.
    """

    def __init__(
        self, what: str, *, file: str, line: int = 0, expected: str = "", got: str = "", do: str = ""
    ) -> None:
        self.file, self.line = str(file), int(line)
        where = f"file {self.file!r}" + (f" line {self.line}" if self.line else "")
        super().__init__(what, where=where, expected=expected, got=got, do=do)


# What makes a thing of this class, for whoever gave another.
MADE_BY = {
    "Adapter": "si.load_model(name)",
    "Annotations": "si.read_annotations(path) or si.Annotations(table)",
    "Architecture": "si.TopK(n_features=1024, k=32) or another architecture",
    "FeatureMatrix": "si.encode, si.load_features(folder) or si.FeatureMatrix(codes, samples)",
    "SAE": "si.train or si.load_sae(path)",
    "Samples": "si.read_samples(path) or si.Samples(ids, sequences)",
    "Split": "si.split_families(samples)",
}


def require_kinds(**given: tuple[object, type | UnionType]) -> None:
    """Raise where an argument is of another class than the one beside it.

    ``Path`` stands for text, too, and for no place that begins with '~'; ``Split | None`` for an argument that may be left out.
    """
    for name, (value, kind) in given.items():
        if kind is Path and str(value).startswith("~"):
            raise InputError("the path begins with '~'", where=f"{name}={str(value)!r}", do=HOME)
        kinds = (kind,) if isinstance(kind, type) else get_args(kind)
        if not isinstance(value, tuple((str, PathLike) if one is Path else one for one in kinds)):
            names = ["a path" if one is Path else one.__name__ for one in kinds if one is not type(None)]
            raise InputError(
                "an argument of another kind",
                where=f"{name}=",
                expected=" or ".join(names),
                got=repr(value)[:60] if isinstance(value, (str, int, type(None))) else type(value).__name__,
                do=f"{MADE_BY[names[0]]} gives one." if names[0] in MADE_BY else "",
            )


def require_fetched(head: bytes, path: object) -> None:
    """FormatError where a file begins as a pointer of Git LFS, or as a web page, that stands in its place."""
    head = head.lstrip().lower()
    if head.startswith(POINTER):
        raise FormatError(
            "a pointer of Git LFS stands where the file should be", file=str(path), do="Run: git lfs pull."
        )
    if head.startswith(PAGE):
        raise FormatError(
            "a web page stands where the file should be",
            file=str(path),
            do="Fetch the file itself: the server may have answered with an error, or asked for a login.",
        )
