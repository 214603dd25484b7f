"""Hostile and damaged folders: each is one line, nothing runs, nothing is allocated that the file does not hold.

One table a kind of file; every format inherits it.
"""

import json
import os
import pickle
import re
import struct
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import sciinterp as si
from sciinterp.errors import SciinterpError

D, F = 4, 12
G = torch.Generator().manual_seed(1)
LINEAR = {"encoder.weight": torch.randn(F, D, generator=G), "encoder.bias": torch.zeros(F)}
NATIVE = {
    "W_enc": torch.randn(D, F, generator=G),
    "b_enc": torch.zeros(F),
    "W_dec": torch.randn(F, D, generator=G),
}
NATIVE = {**NATIVE, "b_dec": torch.zeros(D)}
TOP = {**LINEAR, "decoder.weight": torch.randn(D, F, generator=G), "b_dec": torch.zeros(D)}
TOP = {**TOP, "k": torch.tensor(3, dtype=torch.int), "threshold": torch.tensor(0.5)}
CODER = {**LINEAR, "W_dec": torch.randn(F, D, generator=G), "b_dec": torch.zeros(D)}
V6 = {"architecture": "topk", "k": 3, "d_in": D, "d_sae": F, "metadata": {"sae_lens_version": "6.0.0"}}
YAML = "trainer_cfg: !!python/object:interplm.train.trainers.top_k.TopKTrainerConfig\n  k: 3\n"
# name: (file of arrays, arrays, file of configuration, configuration)
FORMATS = {
    "saelens": ("sae_weights.safetensors", NATIVE, "cfg.json", V6),
    "sparsify": ("sae.safetensors", CODER, "cfg.json", {"activation": "topk", "k": 3, "d_in": D}),
    "dictionary_learning": (
        "ae.pt",
        TOP,
        "config.json",
        {"trainer": {"dict_class": "AutoEncoderTopK", "k": 3}},
    ),
    "interplm": ("ae.pt", {**TOP, "normalize_to_sqrt_d": torch.tensor(True)}, "config.yaml", YAML),
    "esmc": (
        "m.safetensors",
        {**{k: v for k, v in NATIVE.items() if k != "b_enc"}, "idf": torch.ones(F)},
        "config.json",
        {"k": 3},
    ),
    "interprot": (
        "m.safetensors",
        {
            "w_enc": NATIVE["W_enc"],
            "b_enc": NATIVE["b_enc"],
            "w_dec": NATIVE["W_dec"],
            "b_pre": NATIVE["b_dec"],
        },
        "config.json",
        {"k": 3},
    ),
    "tied": (
        "m.pt",
        {"W": NATIVE["W_enc"], "b_enc": NATIVE["b_enc"], "b_dec": NATIVE["b_dec"]},
        "config.json",
        {"k": 3},
    ),
    "bionemo": (
        "checkpoint_final.pt",
        {
            "encoder.weight": LINEAR["encoder.weight"],
            "latent_bias": torch.zeros(F),
            "decoder.weight": TOP["decoder.weight"],
            "pre_bias": torch.zeros(D),
            "stats_last_nonzero": torch.zeros(F, dtype=torch.long),
        },
        "config.json",
        {"k": 3, "normalize_input": True},
    ),
    "overcomplete": (
        "m.pt",
        {
            "encoder.final_block.0.weight": LINEAR["encoder.weight"],
            "encoder.final_block.0.bias": torch.zeros(F),
            "dictionary._weights": torch.nn.functional.normalize(NATIVE["W_dec"], dim=1),
            "dictionary.multiplier": torch.tensor(0.0),
        },
        "config.json",
        {"k": 3},
    ),
}
# What a key of a configuration may hold instead.
VALUES = [
    None,
    "three",
    [3],
    {"k": 3},
    float("nan"),
    float("inf"),
    -1,
    0,
    2.5,
    10**30,
    True,
    F + 1,
    "\x00",
    "x" * 5000,
]


def write(folder: Path, name: str, arrays: dict | None = None, config: object = None) -> Path:
    file, held, config_file, plain = FORMATS[name]
    folder.mkdir(parents=True, exist_ok=True)
    held = {k: v.contiguous() for k, v in (held if arrays is None else arrays).items()}
    torch.save(held, folder / file) if file.endswith(".pt") else save_file(held, folder / file)
    config = plain if config is None else config
    (folder / config_file).write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


def check_refused(path: Path | str) -> str:
    """The one line, within seconds and without a gigabyte."""
    start = time.process_time()
    with pytest.raises(SciinterpError) as error:
        si.load_sae(path)
    assert time.process_time() - start < 10
    line = str(error.value)
    assert "\n" not in line
    assert len(line) < 2000
    return line


@pytest.mark.parametrize("name", FORMATS)
def test_the_plain_files_are_read(name, tmp_path):
    assert si.load_sae(write(tmp_path, name)).k == 3


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "interplm"])
@pytest.mark.parametrize("value", VALUES, ids=lambda v: str(v)[:12])
def test_k_that_is_none(name, value, tmp_path):
    config = json.loads(json.dumps(FORMATS[name][3]))
    (config.get("trainer", config))["k"] = value
    if name == "dictionary_learning" and value is None:
        assert si.load_sae(write(tmp_path, name, config=config)).k == 3  # the array says it
    else:
        check_refused(write(tmp_path, name, config=config))


TEXTS: dict[str, str | bytes] = {
    "empty": "",
    "no object": "[1, 2]",
    "a number": "3",
    "nested 100,000 deep": "[" * 100_000 + "]" * 100_000,
    "objects 100,000 deep": '{"metadata":' * 100_000 + "1" + "}" * 100_000,
    "cut": '{"k": 3',
    "not UTF-8": b'{"k": "\xff\xfe"}',
}


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "interplm"])
@pytest.mark.parametrize("text", TEXTS)
def test_configuration_that_is_none(name, text, tmp_path):
    folder = write(tmp_path, name)
    content = TEXTS[text]
    (folder / FORMATS[name][2]).write_bytes(content if isinstance(content, bytes) else content.encode())
    check_refused(folder)


@pytest.mark.parametrize(
    "key", ["architecture", "d_in", "d_sae", "metadata", "normalize_activations", "apply_b_dec_to_input"]
)
@pytest.mark.parametrize("value", [[1], {"a": 1}, 2.5, "what", float("nan")], ids=str)
def test_saelens_keys_of_another_type(key, value, tmp_path):
    if (key, value) != ("metadata", {"a": 1}):
        check_refused(write(tmp_path, "saelens", config={**V6, key: value}))


def huge(shape: tuple[int, ...], *strides: int) -> torch.Tensor:
    return torch.zeros(1).as_strided(shape, strides or (0,) * len(shape))


ARRAYS: dict[str, Callable[[str, torch.Tensor], dict[str, torch.Tensor] | None]] = {
    "NaN": lambda n, t: {n: torch.full_like(t, float("nan"))},
    "infinite": lambda n, t: {n: torch.full_like(t, float("inf"))},
    "whole numbers": lambda n, t: {n: t.to(torch.int64)},
    "complex": lambda n, t: {n: t.to(torch.complex64)},
    "zero-dimensional": lambda n, t: {n: torch.tensor(1.0)},
    "empty": lambda n, t: {n: torch.zeros(0, *t.shape[1:])},
    "one side more": lambda n, t: {n: t[None]},
    "another size": lambda n, t: {n: torch.cat([t, t])},
    "a stranger beside it": lambda n, t: {n: t, "W_skip": torch.eye(D)},
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_that_do_not_fit(name, kind, tmp_path):
    held = FORMATS[name][1]
    last = next(n for n in ("b_dec", "b_pre", "pre_bias", "dictionary._weights") if n in held)
    for array in (last, next(iter(held))):
        check_refused(
            write(tmp_path / array.replace(".", ""), name, {**held, **ARRAYS[kind](array, held[array])})
        )


TENSORS = {
    "4 GB by strides": lambda: huge((1 << 15, 1 << 15)),
    "sparse": lambda: torch.eye(F)[:, :D].to_sparse(),
    "sparse rows": lambda: torch.eye(F)[:, :D].to_sparse_csr(),
    "meta": lambda: torch.empty(F, D, device="meta"),
    "quantised": lambda: torch.quantize_per_tensor(torch.randn(F, D), 0.1, 0, torch.qint8),
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "a list": lambda: [1.0, 2.0],
    "a number": lambda: 3.0,
    "names": lambda: {"a": torch.zeros(2)},
}


@pytest.mark.parametrize("name", ["dictionary_learning", "interplm"])
@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.filterwarnings("ignore")
def test_tensors_of_another_kind(name, kind, tmp_path):
    folder = write(tmp_path, name)
    torch.save({**FORMATS[name][1], "encoder.weight": TENSORS[kind]()}, folder / "ae.pt")
    check_refused(folder)


def test_aliases_that_declare_gigabytes(tmp_path):
    folder, base = write(tmp_path, "dictionary_learning"), torch.zeros(1 << 20)
    torch.save({f"a{i}": base for i in range(1000)}, folder / "ae.pt")
    assert "declares what the file does not hold" in check_refused(folder)


class Touch:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def rewritten(file: Path, change: Callable[[str, bytes], bytes], how: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(file) as archive:
        parts = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, content in parts:
            archive.writestr(name, change(name, content))


def pickled(content: bytes) -> Callable[[Path], None]:
    return lambda file: rewritten(file, lambda name, old: content if name.endswith("data.pkl") else old)


def cut_storage(file: Path) -> None:
    rewritten(file, lambda name, old: old[:-4] if "/data/" in name else old)


def bomb(file: Path) -> None:
    rewritten(
        file, lambda name, old: bytes(1 << 28) if name.endswith("/data/0") else old, zipfile.ZIP_DEFLATED
    )


PT_FILES: dict[str, Callable[[Path], object]] = {
    "empty": lambda f: f.write_bytes(b""),
    "text": lambda f: f.write_text("hello"),
    "code": lambda f: torch.save({"W": Touch()}, f),
    "bare pickle": lambda f: f.write_bytes(pickle.dumps(Touch())),
    "old format": lambda f: torch.save({"a": torch.zeros(3)}, f, _use_new_zipfile_serialization=False),
    "cut": lambda f: f.write_bytes(f.read_bytes()[:200]),
    "storage cut": cut_storage,
    "compressed bomb": bomb,
    "no pickle": lambda f: zipfile.ZipFile(f, "w").close(),
    "pickle: code": pickled(pickle.dumps(Touch(), 2)),
    "pickle: eval": pickled(b"cbuiltins\neval\n(S'1'\ntR."),
    "pickle: far memory": pickled(b"\x80\x02}r\xff\xff\xff\x7f."),
    "pickle: unknown operation": pickled(b"\xff\xff."),
    "pickle: nothing": pickled(b""),
    "pickle: a list": pickled(pickle.dumps([1, 2], 2)),
    "pickle: lists 100,000 deep": pickled(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
    "pickle: a stranger's storage": pickled(b"\x80\x02U\x07storageQ."),
    "a list": lambda f: torch.save([torch.zeros(2)], f),
    "numbers as names": lambda f: torch.save({1: torch.zeros(2)}, f),
    "nothing": lambda f: torch.save({}, f),
    "a training's state": lambda f: torch.save({"step": 3, "ae": {"a": torch.zeros(2)}}, f),
}


@pytest.mark.parametrize("kind", PT_FILES)
@pytest.mark.filterwarnings("ignore")
def test_torch_files(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write(tmp_path / "a", "dictionary_learning")
    PT_FILES[kind](folder / "ae.pt")
    check_refused(folder)
    assert not (tmp_path / "ran").exists()


def header(fields: dict | bytes, data: bytes = b"") -> bytes:
    raw = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def one(dtype: object = "F32", shape: object = (4,), offsets: object = (0, 16)) -> bytes:
    return header({"b_dec": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}, bytes(16))


SAFETENSORS: dict[str, bytes] = {
    "empty": b"",
    "short": b"\x01\x02",
    "header beyond the file": struct.pack("<Q", 1 << 40) + b"{}",
    "no JSON": header(b"not json"),
    "deep JSON": header(b"[" * 100_000),
    "a list": header(b"[]"),
    "text as an entry": header({"b_dec": "x"}),
    "no arrays": header({}),
    "4 GB declared": one(shape=(1 << 30,), offsets=(0, 1 << 32)),
    "4 GB by its shape": one(shape=(1 << 30,)),
    "nothing, very wide": one(shape=(0, 1 << 60), offsets=(0, 0)),
    "negative side": one(shape=(-4,)),
    "two negative sides": one(shape=(-2, -2)),
    "side as text": one(shape=("4",)),
    "NaN as a side": header(b'{"b_dec":{"dtype":"F32","shape":[NaN],"data_offsets":[0,16]}}', bytes(16)),
    "offsets turned": one(offsets=(16, 0)),
    "offsets of floats": one(offsets=(0.5, 16.5)),
    "negative offset": one(offsets=(-16, 0)),
    "one offset": one(offsets=(0,)),
    "unknown type": one(dtype="F8_E4M3"),
    "type as a number": one(dtype=7),
    "aliases": header(
        {f"a{i}": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for i in range(1000)}, bytes(16)
    ),
}


@pytest.mark.parametrize("name", ["saelens", "sparsify", "esmc"])
@pytest.mark.parametrize("kind", SAFETENSORS)
def test_safetensors_files(name, kind, tmp_path):
    folder = write(tmp_path, name)
    (folder / FORMATS[name][0]).write_bytes(SAFETENSORS[kind])
    check_refused(folder)


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_not_fetched_and_numbers_of_eight_bits_are_named(name, tmp_path):
    folder = write(tmp_path, name)
    arrays = folder / FORMATS[name][0]
    texts = {
        "pointer of Git LFS.*git lfs pull": "version https://git-lfs.github.com/spec/v1\n",
        "web page": "<!DOCTYPE html><html>",
    }
    for words, text in texts.items():
        arrays.write_text(text)
        assert re.search(words, check_refused(folder))
    if arrays.suffix == ".safetensors":
        arrays.write_bytes(SAFETENSORS["unknown type"])
        assert re.search("type that is not read.*F8_E4M3.*float32", check_refused(folder))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("which", ["arrays", "configuration"])
@pytest.mark.parametrize(
    "what", ["pipe", "device", "link out", "folder", "link to nothing", "circle of links"]
)
def test_names_that_are_no_files(name, which, what, tmp_path):
    folder = write(tmp_path / "a", name)
    path = folder / FORMATS[name][0 if which == "arrays" else 2]
    if what == "link out":
        path.rename(tmp_path / "outside")
        path.symlink_to(tmp_path / "outside")
    else:
        path.unlink()
        if what == "pipe":
            os.mkfifo(path)
        elif what == "device":
            path.symlink_to("/dev/zero")
        elif what == "folder":
            path.mkdir()
        else:
            path.symlink_to(path.name if what == "circle of links" else "nowhere")
    if (which, what) == ("configuration", "link to nothing") and name == "interplm":
        pytest.skip("as if it were not there")
    done: list[str] = []
    thread = threading.Thread(target=lambda: done.append(check_refused(folder)), daemon=True)
    thread.start()
    thread.join(10)
    assert done, "a read that hangs, or files that were used"


@pytest.mark.parametrize(
    "path", ["x" * 5000, "a\0b", "/dev/zero", "/dev/null", "x/" * 2000], ids=lambda p: repr(p[:9])
)
def test_paths_that_cannot_be(path):
    check_refused(path)


def test_files_of_a_hub_are_links_within_its_cache(tmp_path):
    folder = write(tmp_path / "models--a--b" / "snapshots" / "0123", "saelens")
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(blobs / str(number))
        path.symlink_to(Path("..", "..", "blobs", str(number)))
    assert si.load_sae(folder).k == 3


OURS = {
    "architecture": [
        [],
        "topk",
        {"name": "topk"},
        {"name": "x"},
        {"name": "topk", "n_features": "4"},
        {"name": "topk", "n_features": F + 1, "k": 3},
        {"name": "topk", "n_features": F, "k": None},
        {"name": "topk", "n_features": F, "what": 1},
        {"name": "matryoshka", "n_features": F, "prefixes": [-1, F]},
    ],
    "recipe": [[], "x", 3],
    "identity": [[], "x", 3],
    "weights_sha256": [[], 3, "00"],
    "measured": ["yes", 1, [1]],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in OURS.items() for value in values], ids=str
)
def test_what_an_sae_of_ours_says_of_itself(key, value, tmp_path):
    ours = {"sae_lens_version": "6.0.0", "sciinterp": {key: value}}
    check_refused(write(tmp_path, "saelens", config={**V6, "metadata": ours}))


@pytest.mark.parametrize("file", ["cfg.json", "metrics.json", "sae_weights.safetensors"])
def test_every_changed_byte_and_digit_is_found(file, tmp_path):
    x = torch.randn(200, D, generator=torch.Generator().manual_seed(0)).numpy()
    si.train(x, si.TopK(F, k=3), steps=3, batch_size=32, out=tmp_path / "a")
    path = tmp_path / "a" / file
    whole = path.read_bytes()
    digits = [i for i, byte in enumerate(whole) if chr(byte).isdigit()][::7]
    for at in [*range(1, len(whole), max(1, len(whole) // 40)), *digits[:40]]:
        flipped = whole[at] ^ (1 if at in digits else 1 << at % 7)
        path.write_bytes(whole[:at] + bytes([flipped]) + whole[at + 1 :])
        with pytest.raises(SciinterpError):
            si.load_sae(tmp_path / "a")
    path.unlink()
    with pytest.raises(SciinterpError):
        si.load_sae(tmp_path / "a")


def test_folders_of_older_versions_are_read_and_said_to_be_unchecked(tmp_path, caplog):
    x = torch.randn(200, D, generator=torch.Generator().manual_seed(0)).numpy()
    sae = si.train(x, si.TopK(F, k=3), steps=3, batch_size=32, out=tmp_path / "a")
    for name in ("cfg.json", "metrics.json"):
        kept = json.loads((tmp_path / "a" / name).read_text())
        del kept["sha256"]
        if name == "cfg.json":
            del kept["metadata"]["sciinterp"]["measured"]  # came with the checksums
        (tmp_path / "a" / name).write_text(json.dumps(kept))
    with caplog.at_level("WARNING", "sciinterp"):
        assert si.load_sae(tmp_path / "a").metrics == sae.metrics
    assert "unchecked" in caplog.text
