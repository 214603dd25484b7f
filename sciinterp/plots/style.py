"""The journal style of every figure, and the helpers all figures share.

Widths are those of a printed column (89 mm) and page (183 mm), text is 7 pt, fonts are embedded (Type 42 in
PDF, outlines in SVG), colours are those of Okabe and Ito, which colour-blind readers tell apart. Files hold
no date and no random identifier: the same figure gives the same bytes.

Text that comes from data is never read as mathematics or markup: every label goes through :func:`plain`
and is drawn with ``parse_math=False``.
"""

from __future__ import annotations

import io
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sciinterp.errors import InputError, require_kinds
from sciinterp.store.atomic import atomic_write

if TYPE_CHECKING:
    from matplotlib.text import Text
    from matplotlib.transforms import Transform
    from matplotlib.typing import RcKeyType

MM = 1 / 25.4
# Longest label drawn; the rest is cut with an ellipsis.
LABEL_LIMIT = 80
# Keywords of matplotlib, which take anything.
Look = dict[str, Any]
WIDTHS = {"single": 89.0, "half": 120.0, "double": 183.0}

# Okabe and Ito (2008), in an order that keeps neighbours apart in print as well.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#8A9099"
PALETTE = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, YELLOW, GREY)
INK, MUTED, RULE = "#1B1F24", "#6B7480", "#D9DDE2"
# By name, for records that choose one.
COLOURS = {
    "BLUE": BLUE, "ORANGE": ORANGE, "GREEN": GREEN, "VERMILLION": VERMILLION, "PURPLE": PURPLE, "SKY": SKY,
    "YELLOW": YELLOW, "GREY": GREY, "MUTED": MUTED,
}  # fmt: skip

RC: dict[RcKeyType, object] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same outlines on every machine
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "legend.borderpad": 0.2,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlecolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.0,
    "patch.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "figure.facecolor": "white",
    "axes.facecolor": "none",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "sciinterp",
    "text.parse_math": False,
    "text.usetex": False,
    "axes.prop_cycle": cycler(color=list(PALETTE)),
}


# What a figure in the user's own style still needs: fonts in the file, the same bytes twice, text drawn literally.
_FILE: tuple[RcKeyType, ...] = ("pdf.fonttype", "ps.fonttype", "svg.fonttype", "svg.hashsalt", "text.usetex")
_OWN: ContextVar[bool] = ContextVar("sciinterp_own_style", default=False)
# Figures in the journal style; those on axes of the user, or made in her style, are none of them.
_JOURNAL: WeakSet[Figure] = WeakSet()


@contextmanager
def style(*, own: bool = False) -> Iterator[None]:
    """The journal style, for as long as the block lasts; or your own.

    Parameters
    ----------
    own : bool
        Figures of this package made inside the block keep your rcParams: fonts, sizes, colours of axes, resolution.

    Examples
    --------
    >>> with style():
    ...     mpl.rcParams["font.size"]
    7.0
    >>> with mpl.rc_context({"font.size": 11}), style(own=True):
    ...     mpl.rcParams["font.size"]
    11.0
    """
    before = _OWN.set(own)
    try:
        with _settings({key: RC[key] for key in _FILE} if own else RC):
            yield
    finally:
        _OWN.reset(before)


def is_own() -> bool:
    """Whether figures keep the user's style."""
    return _OWN.get()


@contextmanager
def _settings(values: dict[RcKeyType, object]) -> Iterator[None]:
    interactive = mpl.is_interactive()
    try:
        with mpl.rc_context(values):
            try:
                yield
            finally:
                # A notebook's backend is loaded by the first figure and sets this; restored, later ones stay hidden.
                interactive = mpl.is_interactive()
    finally:
        mpl.interactive(interactive)


_OFFSCREEN: ContextVar[bool] = ContextVar("sciinterp_offscreen", default=False)


@contextmanager
def offscreen() -> Iterator[None]:
    """For as long as the block lasts, figures made with ``ax=None`` are unknown to pyplot: nothing to close."""
    before = _OFFSCREEN.set(True)
    try:
        yield
    finally:
        _OFFSCREEN.reset(before)


@contextmanager
def drawing(ax: Axes | None, *, width: str | float = "single", height: float = 55.0) -> Iterator[Axes]:
    """The axes given, or new ones in the journal style; ``width`` and ``height`` in mm."""
    if ax is not None:
        require_kinds(ax=(ax, Axes))
        yield ax
        return
    size = (_mm(width) * MM, height * MM)
    with style(own=_OWN.get()):
        yield _new_axes(size)


def _new_axes(size: tuple[float, float]) -> Axes:
    """Axes on a new figure, which remembers its style."""
    if _OFFSCREEN.get():
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        ax = figure.add_subplot()
    else:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=size, layout="constrained")[1]
    if not _OWN.get():
        _JOURNAL.add(figure_of(ax))
    return ax


def _mm(width: str | float) -> float:
    if isinstance(width, str):
        if width not in WIDTHS:
            raise InputError(
                "there is no such figure width",
                expected=f"one of {sorted(WIDTHS)} or millimetres",
                got=repr(width),
            )
        return WIDTHS[width]
    return float(width)


def figure_of(ax: Axes) -> Figure:
    """The figure an axes stands on."""
    require_kinds(ax=(ax, Axes))
    figure = ax.get_figure(root=True)
    if figure is None:
        raise InputError("these axes stand on no figure")
    return figure


def to_bytes(ax: Axes, format: str = "svg") -> bytes:
    """The figure of ``ax`` as ``svg``, ``pdf`` or ``png``: the same figure, the same bytes."""
    metadata: dict[str, dict[str, None]] = {
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
        "png": {"Software": None},
    }
    if format not in metadata:
        raise InputError(
            "figures are not written in this format", expected="svg, pdf or png", got=repr(format)
        )
    buffer = io.BytesIO()
    figure = figure_of(ax)
    with style(own=figure not in _JOURNAL):
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.execute(figure)
            figure.set_layout_engine(None)  # laid out once: the solver run again would move things
        ground = "white" if format == "png" else "none"  # pixels are looked at on any ground, dark ones too
        figure.savefig(buffer, format=format, metadata=metadata[format], facecolor=ground)
    return buffer.getvalue()


def save(ax: Axes, path: str | Path) -> Path:
    """Write the figure of ``ax``; the ending of the name chooses ``.svg``, ``.pdf`` or ``.png``.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        What a figure function returned.
    path : path

    Returns
    -------
    Path
    """
    path = Path(path)
    atomic_write(path, to_bytes(ax, path.suffix.lstrip(".").lower()))
    return path


def plain(text: object, limit: int = 48) -> str:
    """Text from data as one short line: control, direction and unpaired characters become a visible mark.

    Examples
    --------
    >>> plain("a" + chr(0) + "b" + chr(10) + "c")
    'a\\ufffdb c'
    """
    line = " ".join(str(text).split())
    line = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn") else c
        for c in line
    )
    return line if len(line) <= limit else line[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def note(ax: Axes, text: str) -> Axes:
    """Empty axes that say why they are empty."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    label(ax, 0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=MUTED)
    return ax


def label(
    ax: Axes,
    x: float,
    y: float,
    text: object,
    *,
    transform: Transform | None = None,
    ha: str = "left",
    va: str = "center",
    color: str | None = None,
) -> Text:
    """Literal text on axes, in the colour of text."""
    color = mpl.rcParams["text.color"] if color is None else color
    transform = ax.transData if transform is None else transform
    how: Look = {"ha": ha, "va": va, "color": color, "transform": transform}
    return ax.text(x, y, plain(text, LABEL_LIMIT), parse_math=False, usetex=False, **how)


def corner(ax: Axes, x: float, y: float, text: object, *, color: str | None = MUTED) -> Text:
    """Literal text at shares of the axes' width and height, towards their middle; above them from a height of 1 on."""
    va = "bottom" if y < 0.5 or y > 1 else "top"
    return label(
        ax, x, y, text, transform=ax.transAxes, ha="right" if x > 0.5 else "left", va=va, color=color
    )


def name_axes(ax: Axes, *, x: str = "", y: str = "", title: str = "") -> None:
    """Axis names and title, literally, on as many lines as the figure has no room for on one."""
    width, height = figure_of(ax).get_size_inches()
    below = plain(x, 90)
    # Long names end where the axes end: names of ticks may have taken half of the page.
    where = "right" if len(below) > 0.75 * _room(width, ax.xaxis.label) else "center"
    ax.set_xlabel(_lines(below, width, ax.xaxis.label), parse_math=False, loc=where)
    ax.set_ylabel(_lines(plain(y, 90), height, ax.yaxis.label), parse_math=False)
    if title:
        ax.set_title(_lines(plain(title, 110), 0.55 * width, ax.title), parse_math=False)


def _room(inches: float, like: Text) -> int:
    """Letters that fit on a line, each about half as wide as high."""
    return max(int(0.9 * inches * 72 / (0.5 * float(like.get_fontsize()))), 12)


def _lines(text: str, inches: float, like: Text) -> str:
    """Text broken at spaces so that each line fits."""
    return "\n".join(textwrap.wrap(text, _room(inches, like), break_long_words=False))


def ticks(
    ax: Axes,
    axis: str,
    places: Sequence[float] | np.ndarray,
    names: Iterable[object],
    *,
    limit: int = 28,
    rotation: float = 0.0,
) -> None:
    """Named ticks on axis ``x`` or ``y``, literally."""
    target = ax.xaxis if axis == "x" else ax.yaxis
    target.set_ticks(list(places), labels=[plain(n, limit) for n in names])
    for text in target.get_ticklabels():
        text.set_parse_math(False)
        text.set_rotation(rotation)
        if rotation:
            text.set_horizontalalignment("right")
            text.set_rotation_mode("anchor")


def legend(ax: Axes, *, columns: int = 4) -> None:
    """A legend of literal text, above the axes; none where there is nothing to name."""
    handles, _ = ax.get_legend_handles_labels()
    if not handles:
        return
    names = [plain(h.get_label(), 32) for h in handles]
    room = figure_of(ax).get_size_inches()[0] * 72 / (6.5 * 0.62)  # characters that fit side by side
    columns = max(1, min(columns, int(room / (max(map(len, names)) + 5))))
    drawn = ax.legend(
        handles=handles,
        labels=names,
        ncols=columns,
        columnspacing=1.1,
        handletextpad=0.4,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
    )
    for text in drawn.get_texts():
        text.set_parse_math(False)


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power(value: float) -> str:
    """A power of ten in plain characters.

    Examples
    --------
    >>> power(0.001), power(1)
    ('10⁻³', '1')
    """
    if value <= 0:
        return "0"
    exponent = round(float(np.log10(value)))
    return "1" if exponent == 0 else "10" + str(exponent).translate(_SUPERSCRIPT)


def log_axis(ax: Axes, axis: str = "x") -> None:
    """A logarithmic axis whose labels need no mathematics."""
    (ax.set_xscale if axis == "x" else ax.set_yscale)("log")
    target = ax.xaxis if axis == "x" else ax.yaxis
    target.set_major_locator(LogLocator(numticks=8))
    target.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    target.set_minor_formatter(NullFormatter())


def finite(values: object) -> np.ndarray:
    """float64 [n]: the values as a flat array, with NaN where a value is no number."""
    import pandas as pd

    if values is None:
        return np.zeros(0)
    flat = pd.to_numeric(pd.Series(np.asarray(values, dtype=object).ravel()), errors="coerce")
    array = flat.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(array), array, np.nan)
