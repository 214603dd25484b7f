"""The command line: the verbs of the package, each a thin call of the function of the same name.

Errors a user can mend are one line on standard error and exit code 2; an interrupt is exit code 130, and the
same command run again resumes.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from typing import Annotated, get_type_hints

import typer
from typer.models import OptionInfo

from sciinterp import __version__, distributed
from sciinterp.cli import act, look, make, whole
from sciinterp.errors import SciinterpError, joined

# Idle OpenMP threads that spin take the cores from those that work: up to elevenfold on a loaded machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

# What reads inputs and says so, before anything is computed.
READING = ("readers", "samples", "splits", "annotations", "models", "config", "project", "cli", "settings")
# Commands that the ranks of torchrun do together; any other is the first rank's.
TOGETHER = ("extract", "train", "encode", "control", "associate", "discover", "run", "demo")

app = typer.Typer(
    name="sciinterp",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="See what a foundation model knows, and find what nobody has annotated yet.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sciinterp {__version__}")
        raise typer.Exit


class Held(MemoryHandler):
    """Holds what is said of inputs until work begins, so that an error of theirs is the one line of standard error."""

    def __init__(self, shown: logging.Handler) -> None:
        super().__init__(capacity=0, target=shown)
        self.begun = False

    def shouldFlush(self, record: logging.LogRecord) -> bool:
        self.begun |= record.name.split(".")[1:2] not in ([room] for room in READING)
        return self.begun


@app.callback()
def _options(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version, and stop.")
    ] = False,
) -> None:
    if context.invoked_subcommand not in TOGETHER:
        if not distributed.first():
            raise typer.Exit
        context.with_resource(distributed.alone())
    if not distributed.first():
        quiet, verbose = True, False
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("sciinterp")
    logger.handlers[:] = [shown if verbose else Held(shown)]
    logger.setLevel(level)


def _naming_options(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, whose errors about what one of its options gave name the option."""
    options: dict[str, str] = {}
    for name, hint in get_type_hints(verb, include_extras=True).items():
        for how in getattr(hint, "__metadata__", ()):
            if isinstance(how, OptionInfo):
                options[name] = (how.param_decls or [f"--{name.replace('_', '-')}"])[0]

    @functools.wraps(verb)
    def call(*args: object, **given: object) -> None:
        try:
            verb(*args, **given)
        except SciinterpError as error:
            found, rest = error.about({name: value for name, value in given.items() if name in options})
            if found:
                error.told_at(joined(options[found], rest))
            raise

    return call


for verbs in (whole, make, act, look):
    for name, verb in verbs.VERBS.items():
        app.command(name)(_naming_options(verb))


# What typer raises for options that are not there or not of their type: a class of its own, or of click, by version.
_Usage: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line; one line for what a user can mend."""
    distributed.begin()
    with one_message():
        raise SystemExit(app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0)


@contextmanager
def one_message() -> Iterator[None]:
    """End with one line for what a user can mend, whichever rank met it."""
    try:
        yield
    except SciinterpError as error:
        _fail(f"error: {error}", 2)
    except _Usage as error:
        _fail(_usage(error), 2)
    except OSError as error:
        if error.errno == errno.EPIPE:  # who reads what is printed has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise SystemExit(1) from None
        name = f", {str(error.filename)[:200]!r}" if error.filename else ""
        _fail(f"error: the system refuses a file or folder{name}: {error.strerror or error}.", 2)
    except KeyboardInterrupt:
        _fail("interrupted; run the same command again to resume", 130)
    except RuntimeError as error:
        if not distributed.is_lost(error):
            raise
        _fail("error: another rank has ended; run the same command again to resume", 1)
    finally:
        _say_held()


def _say_held(wanted: bool = True) -> None:
    """Say what was held back, or leave it out."""
    for handler in logging.getLogger("sciinterp").handlers:
        if isinstance(handler, Held):
            handler.buffer = handler.buffer if wanted else []
            handler.flush()


def _usage(error: Exception) -> str:
    """What is wrong with the arguments, in one line, and where they are explained."""
    told = getattr(error, "format_message", None)  # with the nearest option
    said = told() if told else str(error)
    context = getattr(error, "ctx", None)
    verb = getattr(context, "command_path", "sciinterp")
    return f"error: {' '.join(said.split()).rstrip('.')}. See '{verb} --help'."


def _fail(message: str, code: int) -> None:
    """End with a message; of several ranks the first to fail says it, and torchrun ends the others."""
    _say_held(wanted=code != 2)
    if distributed.fails_first():
        typer.echo(message, err=True)
    raise SystemExit(code) from None


if __name__ == "__main__":
    main()
