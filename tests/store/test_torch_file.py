"""Files of torch read without torch: the numbers that torch reads, or one line, and nothing of a file is run."""

from __future__ import annotations

import collections
import io
import os
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sciinterp.errors import FormatError, InputError, SciinterpError
from sciinterp.store.torch_file import read_checkpoint

TYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
]  # fmt: skip


def numbers(tensor: torch.Tensor) -> np.ndarray:
    """What we promise of a tensor: bfloat16 as float32, all else as it is."""
    plain = tensor.detach().contiguous()
    return (plain.float() if plain.dtype is torch.bfloat16 else plain).numpy()


def read(path: Path) -> dict[str, np.ndarray]:
    found, told = read_checkpoint(path)
    assert told == {}
    return found


def agree(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Saved by torch, read by us: equal to what was saved in every bit."""
    torch.save(tensors, path)
    found = read(path)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        wanted = numbers(tensor)
        assert found[name].dtype == wanted.dtype and found[name].shape == wanted.shape
        assert found[name].tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_type_of_number(tmp_path, dtype):
    values = torch.arange(-6, 6).reshape(3, 4).to(dtype)
    agree(tmp_path / "a.pt", {"x": values, "scalar": values[1, 1], "none": values[:0], "thin": values[:, :0]})


def test_views_of_one_storage(tmp_path):
    x = torch.randn(4, 5, 3)
    agree(
        tmp_path / "a.pt",
        {
            "whole": x, "part": x[1:3], "turned": x.permute(2, 0, 1), "steps": x[::2, 1::3], "row": x[2, 3],
            "same": x, "wide": torch.ones(1, 3).expand(4, 3), "last": x[-1, -1, -1],
        },
    )  # fmt: skip


def test_parameters_ordered_tables_and_old_protocols(tmp_path):
    layer = torch.nn.Linear(3, 2)
    agree(tmp_path / "a.pt", layer.state_dict())
    agree(tmp_path / "a.pt", {"w": layer.weight})
    for protocol in (2, 3, 4, 5):
        torch.save(layer.state_dict(), tmp_path / "a.pt", pickle_protocol=protocol)
        assert read(tmp_path / "a.pt")["weight"].tobytes() == numbers(layer.weight).tobytes()


@pytest.mark.parametrize("name", ["model_state_dict", "state_dict", "model"])
def test_the_state_of_a_training_gives_tensors_and_settings(tmp_path, name):
    state, told = {"x": torch.arange(3)}, {"k": 3, "lr": 0.5, "arch": "topk", "dims": (1, 2), "on": True}
    torch.save({name: state, "model_config": told, "step": 7, "optimizer": {"lr": 1.0}}, tmp_path / "a.pt")
    found, settings = read_checkpoint(tmp_path / "a.pt")
    assert found["x"].tolist() == [0, 1, 2] and settings == told
    torch.save({name: state}, tmp_path / "a.pt")
    assert read(tmp_path / "a.pt")["x"].tolist() == [0, 1, 2]
    torch.save({name: state, "model_config": [1]}, tmp_path / "a.pt")
    with pytest.raises(FormatError, match=r"model_config is no table.*got list"):
        read_checkpoint(tmp_path / "a.pt")


def test_two_states_are_none(tmp_path):
    """Which of them is meant is not guessed."""
    torch.save({"model": {"x": torch.ones(1)}, "state_dict": {"x": torch.zeros(1)}}, tmp_path / "a.pt")
    with pytest.raises(FormatError, match="named tensors alone"):
        read_checkpoint(tmp_path / "a.pt")


class Runs:
    """What writes a file when it is loaded as pickles are."""

    def __init__(self, call: object, *given: object) -> None:
        self.call, self.given = call, given

    def __reduce__(self) -> tuple:
        return self.call, self.given


class Mine(torch.nn.Module):
    pass


def archive(path: Path, raw: bytes, *, how: int = zipfile.ZIP_STORED, name: str = "a/data.pkl") -> None:
    with zipfile.ZipFile(path, "w", how) as file:
        file.writestr(name, raw)


UNSAFE = {
    "a call": {"x": Runs(os.mkdir, "ran")},
    "an evaluation": {"x": Runs(eval, "1")},
    "a module": Mine(),
    "a class": {"x": Mine},
    "a counter": collections.Counter("aab"),
    "a path": {"x": Path("a")},
}


@pytest.mark.parametrize("what", UNSAFE)
def test_what_could_run_code_runs_nothing(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    torch.save(UNSAFE[what], "a.pt")
    with pytest.raises(InputError, match=r"could run code on loading.*Convert it") as caught:
        read_checkpoint(tmp_path / "a.pt")
    assert "\n" not in str(caught.value) and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_what_hides_in_a_pickle_by_hand_runs_nothing(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    archive(tmp_path / "a.pt", pickle.dumps({"x": Runs(os.mkdir, "ran")}, protocol))
    with pytest.raises(SciinterpError) as caught:
        read_checkpoint(tmp_path / "a.pt")
    assert "\n" not in str(caught.value) and not (tmp_path / "ran").exists()


OTHER_KINDS = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "meta": lambda: torch.ones(2, device="meta"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_tensors_of_another_kind_are_named(tmp_path, kind):
    torch.save({"x": OTHER_KINDS[kind]()}, tmp_path / "a.pt")
    with pytest.raises(SciinterpError) as caught:
        read_checkpoint(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", [[torch.ones(2)], torch.ones(2), {}, {"x": 1}, {1: torch.ones(2)}, {"x": {"y": torch.ones(1)}}]
)
def test_what_is_not_named_tensors_alone_is_said(tmp_path, value):
    torch.save(value, tmp_path / "a.pt")
    with pytest.raises(FormatError, match="named tensors"):
        read_checkpoint(tmp_path / "a.pt")


def pickled(
    count: int = 3, offset: int = 0, shape: tuple = (3,), stride: tuple = (1,), key: str = "0"
) -> bytes:
    """The pickle of one tensor whose numbers may lie."""
    out = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: object) -> object:
            return ("storage", torch.FloatStorage, key, "cpu", count) if obj is Lies else None

        def reducer_override(self, obj: object) -> object:
            if obj is TENSOR:
                given = (Lies, offset, shape, stride, False, collections.OrderedDict())
                return torch._utils._rebuild_tensor_v2, given
            return NotImplemented

    Pickler(out, 2).dump({"x": TENSOR})
    return out.getvalue()


class Lies:
    """Stands for a storage."""


TENSOR = collections.UserString("t")


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({}, ""),
        ({"count": 4}, "storage of 4 numbers that holds 3"),
        ({"offset": 1}, "reaches beyond"),
        ({"offset": -1}, "negative"),
        ({"shape": (4,)}, "reaches beyond"),
        ({"shape": (2,), "stride": (3,)}, "reaches beyond"),
        ({"shape": (-1,)}, "negative"),
        ({"stride": (-1,)}, "negative"),
        ({"shape": (3, 1)}, "negative"),
        ({"shape": (1 << 40, 1 << 40), "stride": (0, 0)}, "too big"),
        ({"shape": (1 << 20, 1 << 20), "stride": (0, 0)}, "declares what the file does not hold"),
        ({"shape": (0, 1 << 50), "stride": (1, 1)}, ""),
        ({"key": "1"}, "no item named"),
        ({"key": "../0"}, "no item named"),
    ],
    ids=str,
)
def test_tensors_that_lie_about_their_storage(tmp_path, lie, said):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as file:
        file.writestr("a/data.pkl", pickled(**lie))
        file.writestr("a/data/0", np.arange(3, dtype="<f4").tobytes())
    if said:
        with pytest.raises(FormatError, match=said) as caught:
            read_checkpoint(tmp_path / "a.pt")
        assert "\n" not in str(caught.value)
    else:
        assert read(tmp_path / "a.pt")["x"].tolist() == ([] if lie else [0, 1, 2])


def test_archives_that_are_none(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"x": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(FormatError, match="cannot be read as a file of tensors"):
        read_checkpoint(path)
    for raw, said in (
        (b"", "cannot be read"),
        (b"PK\x03\x04", "cannot be read"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
    ):
        path.write_bytes(raw)
        with pytest.raises(FormatError, match=said):
            read_checkpoint(path)
    archive(path, pickled(), name="a/other.pkl")
    with pytest.raises(FormatError, match=r"no data\.pkl"):
        read_checkpoint(path)
    archive(path, b"0" * 4000, how=zipfile.ZIP_DEFLATED)
    with pytest.raises(FormatError, match="compressed archive"):
        read_checkpoint(path)
    archive(path, b"0" * ((8 << 20) + 1))
    with pytest.raises(FormatError, match="larger than named tensors need"):
        read_checkpoint(path)
    with pytest.raises(SciinterpError, match="not a regular file"):
        read_checkpoint(tmp_path)


def test_300_damaged_files_are_other_numbers_or_one_line(tmp_path):
    """A bit anywhere: torch keeps a checksum of each entry, so numbers are never others; names may be."""
    path, rng = tmp_path / "a.pt", random.Random(0)
    torch.save({"x": torch.arange(6.0).reshape(2, 3), "y": torch.ones(2, dtype=torch.bfloat16)}, path)
    whole, refused = path.read_bytes(), 0
    for _ in range(300):
        raw = bytearray(whole)
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        path.write_bytes(raw)
        try:
            found = read(path)
        except SciinterpError as error:
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
            continue
        assert [x.tolist() for x in found.values()] == [[[0, 1, 2], [3, 4, 5]], [1, 1]]
    assert refused > 100
