"""Published SAEs by name: one row each, fetched from the hub or read from a folder.

What a row says of model and site is the origin of the SAE, as its authors state it; whether it is so on the weights at
hand, :func:`sciinterp.fit_check` measures. A revision is pinned where its commit was seen in a source; the other rows
say so, and take the newest. At the first use the commit and the checksum of the file are kept: later the same commit is
asked for, and another file under the same name is refused.
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
NEWEST = "newest, unpinned"
_CODE = "against the authors' code"
# How each format was checked: codes and reconstructions to 1e-5 of the authors' own forward.
CHECKED: dict[str, str] = {
    **dict.fromkeys(
        (
            *("saelens", "dictionary_learning", "sparsify", "overcomplete", "bionemo", "interplm"),
            *("interprot", "esmc", "tied"),
        ),
        _CODE,
    ),
    "arrays": "against saelens's folder of the same arrays",
}
# What each format does to rows before it encodes them.
ROWS: dict[str, str] = {
    "interplm": "as they are",
    "tied": "as they are",
    "interprot": "standardised",
    "esmc": "standardised",
}
# A commit that holds the files, as code or pages that use it name it.
_INTERPLM_650M = "5121c4c7f3ad0b5fbe0f3b9a457969192bb9912f"
_INTERPROT = "821ad1e3cb3f604dc2abd880a9b0b874f6a3f35f"
# ESM-C: layers, and the layer for which there are SAEs of every k and width.
_ESMC = {"300m": (30, 23), "600m": (36, 27), "6b": (80, 60)}


@dataclass(frozen=True)
class Published:
    """One SAE."""

    name: str
    model: str  # that it was trained on, at this site
    site: str
    width: int  # features
    k: int | None  # where the file does not say it
    licence: str  # of the weights
    repo: str  # where they lie on the hub
    file: str
    format: str  # how they are read
    revision: str = NEWEST

    @property
    def origin(self) -> Origin:
        """As the authors state it."""
        return Origin(model=self.model, site=self.site, licence=self.licence, how="stated")


def _site(layer: int, n_layers: int) -> str:
    """The site of hidden state ``layer``: 0 enters the first block, the last is read after the final norm."""
    return "embedding" if layer == 0 else "norm" if layer == n_layers else f"layers.{layer - 1}"


def _rows() -> list[Published]:
    rows = [
        Published(
            f"interplm/{model}/layer-{layer}", model, _site(layer, n), 10_240, None, "MIT", f"Elana/InterPLM-{model}",
            f"layer_{layer}/ae_normalized.pt", "interplm", commit,
        )
        for model, n, layers, commit in (
            ("esm2-8m", 6, range(1, 7), NEWEST), ("esm2-650m", 33, (1, 9, 18, 24, 30, 33), _INTERPLM_650M))
        for layer in layers
    ]  # fmt: skip
    for layer, more, k, commit in (
        *((layer, "", 64, _INTERPROT) for layer in (4, 8, 12, 16, 20, 24, 28, 32, 33)),
        (24, "_100k", 128, NEWEST),  # of 100,000 sequences, which their viewer shows; added later
    ):
        name = f"interprot/esm2-650m/layer-{layer}{more.replace('_', '-')}"
        file = f"esm2_plm1280_l{layer}_sae4096{more}.safetensors"
        rows.append(
            Published(name, "esm2-650m", _site(layer, 33), 4_096, k, "Apache-2.0", "liambai/InterProt-ESM2-SAEs", file, "interprot", commit)
        )  # fmt: skip
    for size, (n, best) in _ESMC.items():
        every = [(layer, 64, 16_384, "", f"layer-{layer}") for layer in range(n + 1)]
        if size == "6b":
            every += [(layer, 64, 131_072, "", f"layer-{layer}/codebook-131072") for layer in range(n + 1)]
        every += [
            (best, k, width, f"-layer{best}", f"layer-{best}/k-{k}/codebook-{width}")
            for k in (16, 32, 64, 128, 256, 512)
            for width in (8_192, 16_384, 32_768, 65_536, 131_072)
        ]
        rows += [
            Published(
                f"esmc/{size}/{name}", "esmc", _site(layer, n), width, k, "MIT, and others: Biohub/esm THIRD_PARTY_NOTICE.md",
                f"biohub/ESMC-{size.upper()}-sae{one}-k{k}-codebook{width}", f"layer_{layer}.safetensors", "esmc",
            )
            for layer, k, width, one, name in every
        ]  # fmt: skip
    return [
        *rows,
        # of the checkpoint evo2_7b_262k, on which alone it speaks: the output of block 26
        Published("goodfire/evo2-7b-262k/layer-26", "evo2-7b-262k", "layers.26", 32_768, 64, "see the hub",
                  "Goodfire/Evo-2-Layer-26-Mixed", "sae-layer26-mixed-expansion_8-k_64.pt", "tied"),
    ]  # fmt: skip


PUBLISHED: dict[str, Published] = {row.name: row for row in _rows()}


def list_saes(like: str = "") -> pd.DataFrame:
    """The SAEs that :func:`sciinterp.load_sae` knows by name, or those whose names begin with ``like``.

    Columns: ``model`` and ``site`` it was trained on, ``norm`` (whether the site lies before or after the model's final
    norm), ``rows`` (what is done to a row before it is encoded), ``width``, ``k``, ``licence``, ``repo``, ``file``,
    ``revision``, and how the reading of its format was ``verified``.

    Raises
    ------
    InputError
        No name begins so.
    """
    import pandas as pd

    rows = [
        {
            **asdict(row),
            "norm": "after" if row.site == "norm" else "before",
            "rows": ROWS[row.format],
            "verified": CHECKED[row.format],
        }
        for row in PUBLISHED.values()
        if row.name.startswith(like)
    ]
    if not rows:
        raise no_such("published SAE", like, PUBLISHED)
    order = "model site norm rows width k licence repo file revision verified".split()
    return pd.DataFrame(rows).set_index("name")[order]


def row_of(name: str) -> Published | None:
    """The row of a name; None where it cannot be one.

    InputError where the first word is that of published SAEs, and there is no such SAE.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    if name.split("/")[0] in {known.split("/")[0] for known in PUBLISHED} and not name.endswith(
        (".pt", ".safetensors")
    ):
        raise no_such("published SAE", name, PUBLISHED, do="sciinterp saes lists them.")
    return None


def fetched(row: Published, weights: str | Path | None, revision: str | None = None) -> Path:
    """The file of a published SAE: in the folder `weights`, or from the hub.

    `revision` is a commit, tag or branch of the hub; by default that of the row, or of the first use.
    StoreError where it is not the file that this name meant before.
    """
    key = row.name if revision is None else f"{row.name}@{revision}"
    kept = _kept().get(key, {})
    if weights is not None:
        file, commit = _in_folder(row, Path(weights)), ""
    else:
        pinned = None if row.revision == NEWEST else row.revision
        file, commit = _from_hub(row, revision or pinned or kept.get("commit") or None)
    return _as_before(key, file, commit, kept)


def _in_folder(row: Published, folder: Path) -> Path:
    found = next((p for p in (folder / row.file, folder / Path(row.file).name) if p.is_file()), None)
    if found is None:
        raise InputError(
            "the folder has no such file", where=f"'{folder}'", expected=row.file, do=_by_hand(row)
        )
    return found


def _from_hub(row: Published, revision: str | None) -> tuple[Path, str]:
    """The file, and the commit that its place in the hub's cache names."""
    hub = need("huggingface_hub", "hf", "A published SAE by name")
    try:
        file = Path(hub.hf_hub_download(repo_id=row.repo, filename=row.file, revision=revision))
    # whatever the hub raises: no network, no such file, a gate
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise InputError(
            "the SAE cannot be fetched",
            where=f"{row.repo}: {row.file}, revision {revision or NEWEST}",
            got=said,
            do=_by_hand(row),
        ) from None
    snapshot = next((p.name for p in file.parents if p.parent.name == "snapshots"), "")
    return file, snapshot


def _place() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "sciinterp" / "published-saes.json"


def _kept() -> dict[str, dict[str, str]]:
    """Commit and checksum of each name that was used, as they are kept."""
    place = _place()
    known = read_json(place) if place.is_file() else {}
    if not isinstance(known, dict) or not all(isinstance(entry, dict) for entry in known.values()):
        raise StoreError(
            "what was kept of published SAEs cannot be read",
            where=f"'{place}'",
            expected="names with commit and sha256",
            do="Remove the file; what is used next is kept anew.",
        )
    return known


def _as_before(key: str, file: Path, commit: str, kept: dict[str, str]) -> Path:
    """The file, after its checksum was kept, or compared with the one that was kept when the name was first used."""
    now, place = sha256_file(file), _place()
    if kept.get("sha256", now) != now:
        raise StoreError(
            "this is not the file that was used before",
            where=f"'{file}'",
            expected=f"sha256 {kept['sha256'][:12]}..., as {place} has it",
            got=f"{now[:12]}...",
            do=f"If its authors replaced it, take {key} out of {place.name}.",
        )
    entry = {"sha256": now, "commit": kept.get("commit") or commit}
    if entry != kept:
        try:
            write_json(make_folder(place.parent) / place.name, {**_kept(), key: entry})
        except (OSError, InputError, StoreError) as error:  # a home that cannot be written keeps nothing
            log.warning("the checksum of %s could not be kept: %s", key, error)
    return file


def _by_hand(row: Published) -> str:
    return f"Download {row.file} from huggingface.co/{row.repo} and pass weights=FOLDER."
