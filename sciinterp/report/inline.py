"""Figures inside a page: SVG without scripts, styles, comments or identifiers that could clash.

A strict content-security policy forbids style attributes, so they become presentation attributes; ink becomes
``currentColor``, so that one figure serves a light and a dark page.
"""

from __future__ import annotations

import re
from html import escape

from sciinterp.plots.style import INK, MUTED, RULE

_NOISE = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>|<style[^>]*>.*?</style>", re.S
)
_STYLE = re.compile(r' style="([^"]*)"')
_PATH = re.compile(r'\bd="([^"]*)"')
_LONG = re.compile(r"(\.\d\d)\d+")
_SIZE = re.compile(r'<svg ([^>]*?)width="([\d.]+)pt"([^>]*?)>')


def _attributes(match: re.Match[str]) -> str:
    """A style attribute as presentation attributes, theme colours as classes."""
    pairs = dict(part.split(":", 1) for part in match.group(1).split(";") if ":" in part)
    pairs = {key.strip(): value.strip().lower() for key, value in pairs.items()}
    classes, out = [], []
    for key, value in pairs.items():
        if value == INK.lower():
            value = "currentColor"
        elif value == RULE.lower():
            classes.append(f"rule-{key}")
        elif value == MUTED.lower():
            classes.append(f"soft-{key}")
        elif value == "#ffffff" and (key == "stroke" or "stroke" in pairs):
            classes.append(f"paper-{key}")
        out.append(f' {key}="{escape(value)}"')
    return "".join(out) + (f' class="{" ".join(classes)}"' if classes else "")


def inline_svg(svg: bytes, *, name: str, title: str) -> str:
    """One figure as an element of a page.

    Parameters
    ----------
    svg : bytes
        What :func:`sciinterp.plots.style.to_bytes` wrote.
    name : str
        Prefix of every identifier in it: letters, digits and dashes.
    title : str
        What a screen reader says.

    Returns
    -------
    str
        Safe markup: everything in it was drawn by this package.

    Examples
    --------
    >>> inline_svg(b'<svg width="9pt"><g id="a" style="fill: #1b1f24"/></svg>', name="f", title="a < b")[-39:]
    '<g id="f-a" fill="currentColor"/></svg>'
    """
    text = _NOISE.sub("", svg.decode("utf-8")).strip()
    text = text.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace("xlink:href=", "href=")
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = _STYLE.sub(_attributes, text)
    text = _PATH.sub(lambda m: _LONG.sub(r"\1", m.group()), text)  # hundredths of a point are enough
    head = f'<svg \\1\\3 class="figure" role="img" aria-labelledby="{name}-title">'
    text = _SIZE.sub(head, text, count=1)
    text = re.sub(r'( height="[\d.]+pt")', "", text, count=1)
    return re.sub(r"\n\s*", "\n", text.replace(">", f'><title id="{name}-title">{escape(title)}</title>', 1))
