"""The feature browser: a folder of static files that opens from disk and asks for nothing else.

Data lie in chunks that are loaded when needed. A browser refuses to fetch files from disk, so a chunk is a
script file with exactly one call and two JSON strings, ``sciinterpChunk("name", "...")``: the second is
parsed as JSON by our own static script, never run. Text from data reaches the page as text nodes only.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sciinterp.codes import FeatureMatrix
from sciinterp.errors import InputError, require_kinds
from sciinterp.report.json_values import plain_data
from sciinterp.report.shown import describe, gathered
from sciinterp.report.site_data import SiteData
from sciinterp.report.viewer import viewer_files
from sciinterp.report.write import asset
from sciinterp.settings import Plain
from sciinterp.store import ledger
from sciinterp.store.atomic import atomic_write

if TYPE_CHECKING:
    import io

    import pandas as pd

    from sciinterp.annotations import Annotations
    from sciinterp.samples import Split

log = logging.getLogger(__name__)

SITE_FILES = (
    "browser.css core.js draw.js tracks.js genome.js map.js structure.js lists.js pages.js route.js"
).split()
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'none'; "
    "base-uri 'none'; form-action 'none'"
)


def write_browser(
    out: str | Path,
    *,
    features: FeatureMatrix,
    hits: pd.DataFrame,
    candidates: pd.DataFrame | None = None,
    annotations: Annotations | None = None,
    split: Split | None = None,
    structures: str | Path | Mapping[str, str | Path] | None = None,
    manifest: Mapping[str, object] | None = None,
) -> Path:
    """Write the feature browser of features and hits made anywhere.

    Parameters
    ----------
    out : path
        Folder to write.
    features : FeatureMatrix
        The decoder directions of ``features.sae`` make the map.
    hits : pandas.DataFrame
        What ``associate`` returned.
    candidates : pandas.DataFrame, optional
    annotations, split : optional
        What the hits were made with; read from the folder above ``out`` where ``associate`` wrote them there.
    structures : mapping or path, optional
        Identifier -> PDB or mmCIF file, or a folder of files named by identifier.
    manifest : mapping, optional
        The run's manifest; under ``full`` what the full run measured (stability over seeds becomes a column), under
        ``turning`` what turning features did, under ``readouts`` labels that were read.

    Returns
    -------
    Path
        ``index.html``.
    """
    require_kinds(out=(out, Path))
    out = Path(out)
    ours = {*SITE_FILES, "index.html", "data", "viewer"}
    if out.is_dir() and {p.name for p in out.iterdir()} - ours:
        raise InputError(
            "the output folder is in use by something else",
            where=f"folder '{out}'",
            expected="a new, empty or browser folder",
            do="Choose another folder.",
        )
    shown = gathered(out.parent, features, hits, candidates, annotations, split, manifest)
    done = {**describe(shown), "labels": _labels(shown.manifest.get("readouts"))}
    data = SiteData(shown, done=plain_data(done), structures=structures)
    with ledger.recorded("browse", out.parent if out.name == "browser" else None):
        _write(out, data)
    return out / "index.html"


def _labels(readouts: Plain | None) -> list[Plain]:
    """Labels that were read: what was said, and the features that carry each."""
    return [
        {
            "name": name,
            "says": record["sentence"],
            "features": {str(r["feature"]): r for r in record["stable"]},
        }
        for name, record in (readouts or {}).items()
    ]


def _write(out: Path, data: SiteData) -> None:
    (out / "data").mkdir(parents=True, exist_ok=True)
    for old in (out / "data").glob("*.js"):  # of an earlier run, which may have had more
        if old.read_bytes()[:15] == b"sciinterpChunk(":
            old.unlink()
    viewer = viewer_files() if data.structures else {}
    data.done["viewer"] = bool(viewer)
    if viewer:
        (out / "viewer").mkdir(exist_ok=True)
    for name, content in viewer.items():
        atomic_write(out / "viewer" / name, content)
    for name, value in data.chunks():
        atomic_write(out / "data" / f"{name}.js", chunk(name, value))
    for name in SITE_FILES:
        atomic_write(out / name, asset(name).encode())
    page = asset("browser.html").replace("POLICY", POLICY.replace("'", "&#39;"))
    atomic_write(out / "index.html", page.encode())


def chunk(name: str, value: object) -> bytes:
    """One chunk: a call with two string literals, in ASCII, in which no character can end script or string.

    Examples
    --------
    >>> chunk("index", {"a": "</script>"})
    b'sciinterpChunk("index","{\\\\"a\\\\":\\\\"\\\\u003c/script>\\\\"}");\\n'
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    literal = json.dumps(text, ensure_ascii=True).replace("<", "\\u003c")
    return f"sciinterpChunk({json.dumps(name)},{literal});\n".encode("ascii")


def serve_folder(folder: Path, *, port: int = 8765) -> None:
    """Serve a folder on the loopback interface, files only, until interrupted."""
    with ThreadingHTTPServer(("127.0.0.1", port), partial(_handler(), directory=str(folder))) as server:
        log.info("http://127.0.0.1:%d/ (interrupt to stop)", server.server_address[1])
        server.serve_forever()


def _handler() -> type[SimpleHTTPRequestHandler]:
    """A request handler for files of this site only: names it wrote, and no listing of folders."""
    names = "|".join(re.escape(n) for n in ("index.html", *SITE_FILES))
    folders = r"data/[a-z0-9-]+\.js|viewer/[a-z]+\.(js|css|txt)"
    known = re.compile(rf"/({names}|{folders})?(\?.*)?\Z", re.IGNORECASE)

    class Handler(SimpleHTTPRequestHandler):
        def send_head(self) -> io.BytesIO | BinaryIO | None:
            host = self.headers.get("Host", "").split(":")[0]
            if host not in ("127.0.0.1", "localhost") or not known.match(self.path):
                self.send_error(404)
                return None
            return super().send_head()

        def end_headers(self) -> None:
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            super().end_headers()

        def log_message(self, format: str, *args: object) -> None:
            log.debug(format, *args)

    return Handler
