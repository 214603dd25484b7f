"""The SAE that lies beside codes, found again by the path that their folder keeps."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sciinterp.errors import SciinterpError
from sciinterp.provenance import Origin
from sciinterp.store.codes_reader import CodesReader

if TYPE_CHECKING:
    from sciinterp.sae import SAE

log = logging.getLogger(__name__)


def relative_path(folder: Path, out: Path) -> str | None:
    """Where a folder lies, seen from one beside it; None where the two have no run folder in common."""
    run = Path(os.path.realpath(out)).parent
    real = Path(os.path.realpath(folder))
    return os.path.relpath(real, os.path.realpath(out)) if real != run and real.is_relative_to(run) else None


def sae_beside(codes: CodesReader, origin: Origin) -> SAE | None:
    """The SAE whose path a folder of codes keeps; None, and a word in the log, where it is not there or another."""
    kept = codes.manifest["extra"].get("sae")
    folder = codes.folder / kept if isinstance(kept, str) else None
    if folder is None or relative_path(folder, codes.folder) is None or not folder.is_dir():
        return None
    from sciinterp.sae import load_sae

    try:
        sae = load_sae(folder)
    except SciinterpError as error:
        log.warning("the SAE beside the codes cannot be used: %s", error)
        return None
    if sae.signed().sae_sha256 != origin.sae_sha256:
        log.warning("%s holds another SAE than the one that made the codes", folder)
        return None
    return sae
