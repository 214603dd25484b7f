"""Every file of the published folders and of files in parts, replaced by each hostile file of its kind.

Refused by name in one line within 10 seconds and 2 GB, and nothing runs. A sample always, all of them under ``slow``.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_sae_hostile import CODER, FORMATS, NATIVE, PT_FILES, SAFETENSORS, TEXTS, write

import sciinterp as si
from sciinterp.errors import SciinterpError
from sciinterp.models import load_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from test_cells import HOSTILE, geneformer, scgpt

EVERY = 12  # of the cases, one in so many is run always


def one(name: str) -> Callable[[Path], Path]:
    return lambda folder: write(folder, name)


def shards(folder: Path) -> Path:
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps({"activation": "topk", "k": 3, "d_in": 4}))
    for number, names in enumerate((["encoder.weight", "b_dec"], ["W_dec", "encoder.bias"]), start=1):
        part = {name: CODER[name].contiguous() for name in names}
        save_file(part, folder / f"sae-0000{number}-of-00002.safetensors")
    return folder


def layers(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"k": 3, "d_model": 4, "available_layers": [3, 7]}))
    held = {name: array for name, array in NATIVE.items() if name != "b_enc"}
    for layer in (3, 7):
        whole = {**held, "idf": torch.ones(12), "max": torch.ones(12)}
        save_file({k: v.contiguous() for k, v in whole.items()}, folder / f"layer_{layer}.safetensors")
    return folder / "layer_3.safetensors"


def entry(folder: Path) -> Path:
    """What is read of an entry of a zoo."""
    sae = si.load_sae(write(folder.with_name("plain"), "saelens"))
    sae.metrics = {"fve": 0.5, "l0": 3.0}
    return sae.save(folder)


def folder_of(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return geneformer(folder) if name == "geneformer" else scgpt(folder)[0]

    return make


# Place: how it is made, and the files of it that are replaced.
PLACES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    **{n: (one(n), (FORMATS[n][0], FORMATS[n][2])) for n in ("overcomplete", "bionemo", "interprot", "tied")},
    "sparsify in shards": (shards, ("sae-00001-of-00002.safetensors", "sae-00002-of-00002.safetensors", "cfg.json")),
    "layers of ESM-C": (layers, ("layer_3.safetensors", "config.json")),
    "entry of a zoo": (entry, ("sae_weights.safetensors", "cfg.json", "metrics.json")),
    "geneformer": (
        folder_of("geneformer"),
        ("model.safetensors", "config.json", "geneformer/token_dictionary_gc1.pkl", "geneformer/gene_median_dictionary_gc1.pkl"),
    ),
    "scgpt": (folder_of("scgpt"), ("best_model.pt", "args.json", "vocab.json")),
}  # fmt: skip
KINDS = {".safetensors": SAFETENSORS, ".pt": PT_FILES, ".json": TEXTS, ".pkl": HOSTILE}
CASES = [
    (place, file, kind)
    for place, (_, files) in PLACES.items()
    for file in files
    for kind in KINDS[Path(file).suffix]
]


def peak() -> int:
    """Most memory this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_there_are_twenty_of_each_place_and_the_plain_ones_are_read(tmp_path: Path) -> None:
    for place, (make, _) in PLACES.items():
        assert sum(case[0] == place for case in CASES) >= 20
        made = make(tmp_path / place.replace(" ", "-"))
        assert (
            load_model(place, weights=made) if place in ("geneformer", "scgpt") else si.load_sae(made).k == 3
        )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("place", "file", "kind"),
    [
        pytest.param(*case, marks=[] if i % EVERY == 0 else [pytest.mark.slow], id=" - ".join(case))
        for i, case in enumerate(CASES)
    ],
)
def test_a_hostile_file_is_refused(place: str, file: str, kind: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "theirs"
    made = PLACES[place][0](folder)
    table, path = KINDS[Path(file).suffix], folder / file
    content = table[kind]
    if callable(content):
        content(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    before, start = peak(), time.process_time()  # of this process: a busy machine is slow
    with pytest.raises(SciinterpError) as error:
        load_model(place, weights=made) if place in ("geneformer", "scgpt") else si.load_sae(made)
    assert time.process_time() - start < 10 and peak() - before < 2 << 30
    assert "\n" not in str(error.value) and len(str(error.value)) < 2000
    assert not (tmp_path / "ran").exists()
