"""The manual: ``sphinx-build -W -b html notebooks site`` builds it from the pages and notebooks of this folder."""

from importlib import metadata

project, author, copyright = "sciinterp", "The sciinterp authors", "The sciinterp authors"
release = metadata.version("sciinterp")
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "runs", "data"]
html_theme = "furo"
html_title = f"sciinterp {release}"
# The tests execute the notebooks; the manual shows them as committed.
nb_execution_mode = "off"
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
# Jaxtyping writes shapes as strings, which are no names to look up.
suppress_warnings = ["ref.python", "mystnb.unknown_mime_type"]
