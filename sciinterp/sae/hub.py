"""Published SAEs by name: one row each, fetched from the hub or read from a folder.

What a row says of model and site is the origin of the SAE, as its authors state it; whether it is so on the weights at
hand, :func:`sciinterp.fit_check` measures. No row is pinned to a revision: none of the commits is known here. So the
checksum of a file is kept when it is first used, and one that is another later is refused.
"""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sciinterp.errors import InputError, StoreError, no_such
from sciinterp.provenance import Origin
from sciinterp.readers.bounded import need
from sciinterp.store.atomic import make_folder, read_json, sha256_file, write_json

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
UNPINNED = "unpinned"
_CODE, _LAYOUT = "against the authors' code", "on a file made in their layout"
# How each format was checked: codes and reconstructions to 1e-5 of the authors' own forward, or of the published formula.
CHECKED = {
    "saelens": _CODE,
    "dictionary_learning": _CODE,
    "sparsify": _CODE,
    "overcomplete": _CODE,
    "bionemo": _CODE,
    "interplm": _CODE,
    "interprot": _CODE,
    "esmc": _LAYOUT,
    "tied": _LAYOUT,
}


@dataclass(frozen=True)
class Published:
    """One SAE.

    Attributes
    ----------
    name : str
    model, site : str
        What it was trained on; ``site`` is empty where it has no name here.
    width : int
        Features.
    k : int, optional
        Where the file does not say it.
    licence, repo, file, revision : str
        Of the weights, and where they lie on the hub.
    format : str
        How they are read.
    """

    name: str
    model: str
    site: str
    width: int
    k: int | None
    licence: str
    repo: str
    file: str
    format: str
    revision: str = UNPINNED

    @property
    def origin(self) -> Origin | None:
        """As the authors state it; None where model or site have no name here."""
        return (
            Origin(model=self.model, site=self.site, licence=self.licence, how="stated")
            if self.site
            else None
        )


def _esm2(layer: int, n_layers: int) -> str:
    """The site of a layer counted from 1; the last is read after the final norm."""
    return "norm" if layer == n_layers else f"layers.{layer - 1}"


def _rows() -> list[Published]:
    rows = [
        Published(
            f"interplm/{model}/layer-{layer}", model, _esm2(layer, n), 10_240, None, "MIT", f"Elana/InterPLM-{model}",
            f"layer_{layer}/ae_normalized.pt", "interplm",
        )
        for model, n, layers in (("esm2-8m", 6, range(1, 7)), ("esm2-650m", 33, (1, 9, 18, 24, 30, 33)))
        for layer in layers
    ]  # fmt: skip
    rows += [
        Published(
            f"interprot/esm2-650m/layer-{layer}", "esm2-650m", _esm2(layer, 33), 4_096, 64, "see the hub",
            "liambai/InterProt-ESM2-SAEs", f"esm2_plm1280_l{layer}_sae4096.safetensors", "interprot",
        )
        for layer in (4, 8, 12, 16, 20, 24, 28, 32, 33)
    ]  # fmt: skip
    return [
        *rows,
        # of the checkpoint evo2_7b_262k, on which alone it speaks; origin stated or measured by the user
        Published("goodfire/evo2-7b-262k/layer-26", "evo2-7b-262k", "", 32_768, 64, "see the hub",
                  "Goodfire/Evo-2-Layer-26-Mixed", "sae-layer26-mixed-expansion_8-k_64.pt", "tied"),
    ]  # fmt: skip


PUBLISHED: dict[str, Published] = {row.name: row for row in _rows()}


def list_saes() -> pd.DataFrame:
    """The SAEs that :func:`sciinterp.load_sae` knows by name."""
    import pandas as pd

    rows = [{**asdict(row), "verified": CHECKED[row.format]} for row in PUBLISHED.values()]
    frame = pd.DataFrame(rows).set_index("name")
    return frame[["model", "site", "width", "k", "licence", "repo", "file", "revision", "verified"]]


def row_of(name: str) -> Published | None:
    """The row of a name; None where it cannot be one.

    Raises
    ------
    InputError
        The first word is that of published SAEs, and there is no such SAE.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    if name.split("/")[0] in {known.split("/")[0] for known in PUBLISHED} and not name.endswith(
        (".pt", ".safetensors")
    ):
        raise no_such("published SAE", name, PUBLISHED, do="sciinterp saes lists them.")
    return None


def fetched(row: Published, weights: str | Path | None) -> Path:
    """The file of a published SAE: in a folder, or from the hub.

    Raises
    ------
    InputError
        It is not there, or the hub cannot be reached.
    StoreError
        It is not the file that this name meant before.
    """
    return _as_before(row, _found(row, weights))


def _found(row: Published, weights: str | Path | None) -> Path:
    if weights is not None:
        folder = Path(weights)
        found = next((p for p in (folder / row.file, folder / Path(row.file).name) if p.is_file()), None)
        if found is None:
            raise InputError(
                "the folder has no such file", where=f"'{folder}'", expected=row.file, do=_by_hand(row)
            )
        return found
    hub = need("huggingface_hub", "hf", "A published SAE by name")
    revision = None if row.revision == UNPINNED else row.revision
    try:
        return Path(hub.hf_hub_download(repo_id=row.repo, filename=row.file, revision=revision))
    # whatever the hub raises: no network, no such file, a gate
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise InputError(
            "the SAE cannot be fetched", where=f"{row.repo}: {row.file}", got=said, do=_by_hand(row)
        ) from None


def _as_before(row: Published, file: Path) -> Path:
    """The file, after its checksum was kept, or compared with the one that was kept when the name was first used."""
    kept = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sciinterp" / "published-saes.json"
    )
    now = sha256_file(file)
    known = read_json(kept) if kept.is_file() else {}
    before = known.get(row.name, now) if isinstance(known, dict) else None
    if before != now:
        raise StoreError(
            "this is not the file that was used before",
            where=f"'{file}'",
            expected=f"sha256 {str(before)[:12]}..., as {kept} has it",
            got=f"{now[:12]}...",
            do=f"If its authors replaced it, take {row.name} out of {kept.name}.",
        )
    if row.name not in known:
        try:
            write_json(make_folder(kept.parent) / kept.name, {**known, row.name: now})
        except (OSError, InputError, StoreError) as error:  # a home that cannot be written keeps nothing
            log.warning("the checksum of %s could not be kept: %s", row.name, error)
    return file


def _by_hand(row: Published) -> str:
    return f"Download {row.file} from huggingface.co/{row.repo} and pass weights=FOLDER."


def stated_of(row: Published) -> dict[str, int]:
    """What the row knows that the file does not say."""
    return {} if row.k is None else {"k": row.k}
