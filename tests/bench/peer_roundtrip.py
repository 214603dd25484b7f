"""Do the installed peers read our files, and do we read theirs? Codes and reconstructions to 1e-5.

Run in an environment where the peers are installed (``pip install sae-lens dictionary-learning
eai-sparsify overcomplete``; ``esm`` from 3.4 on, which takes the place of fair-esm)::

    python tests/bench/peer_roundtrip.py [sae_lens] [dictionary_learning] [sparsify] [overcomplete] [esm.models.esmc]

Exits non-zero when one that is installed disagrees; tests call it for the peers that can be imported.
"""

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import sciinterp as si
from sciinterp.errors import SciinterpError
from sciinterp.sae import SAE, ThresholdSAE, TopKSAE

D, F, N, K = 24, 96, 500, 6
ATOL = 1e-5


def ours(kind: str) -> SAE:
    g = torch.Generator().manual_seed(0)
    w_dec = torch.nn.functional.normalize(torch.randn(F, D, generator=g), dim=1)
    parts = (w_dec.T.clone(), 0.2 * torch.randn(F, generator=g), w_dec, torch.randn(D, generator=g))
    if kind == "topk":
        return TopKSAE(*parts, k=K)
    threshold = {
        "relu": torch.zeros(F),
        "batchtopk": torch.full((F,), 0.6),
        "jumprelu": torch.rand(F, generator=g),
    }
    sae = ThresholdSAE(*parts, threshold=threshold[kind])
    if kind == "batchtopk":
        sae.architecture = si.BatchTopK(F, k=K)
    return sae


def rows() -> torch.Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(9)) * 2 + 1


def agree(what: str, mine: SAE, codes: torch.Tensor, back: torch.Tensor) -> None:
    x = rows()
    for name, a, b in (
        ("codes", mine.encode(x).to_dense(), codes),
        ("reconstruction", mine.reconstruct(x), back),
    ):
        away = float((a - b.detach().float()).abs().max())
        print(f"{what:58s} {name:15s} {away:.1e}")
        if not away < ATOL:
            raise SystemExit(f"{what}: {name} differ by {away}")


def sae_lens(folder: Path) -> None:
    from sae_lens import SAE as Theirs
    from sae_lens import registry

    for kind in ("topk", "relu", "batchtopk", "jumprelu"):
        sae, place = ours(kind), folder / kind
        sae.identity = {"model": "m", "site": "layers.4"}
        sae.save(place)
        theirs = Theirs.load_from_disk(str(place))
        codes = theirs.encode(rows())
        agree(f"sae-lens reads our {kind}", sae, codes, theirs.decode(codes))
        if theirs.cfg.metadata.get("sciinterp") is None:
            raise SystemExit("sae-lens dropped our metadata")
    common = {"d_in": D, "d_sae": F, "dtype": "float32", "device": "cpu"}
    layouts = {
        "topk": {"k": K},
        "topk, rescaled": {"k": K, "rescale_acts_by_decoder_norm": True},
        "topk, layer_norm": {"k": K, "normalize_activations": "layer_norm"},
        "standard": {},
        "standard, constant_norm_rescale": {"normalize_activations": "constant_norm_rescale"},
        "jumprelu": {"apply_b_dec_to_input": False},
        "gated": {},
    }
    for layout, settings in layouts.items():
        make, make_config = registry.SAE_CLASS_REGISTRY[layout.split(",")[0]]
        theirs = drawn(make(make_config(**{**common, "apply_b_dec_to_input": True, **settings})))
        place = folder / layout
        theirs.save_model(str(place))
        agree(f"we read sae-lens's {layout}", si.load_sae(place), *passed(theirs))
    for layout, settings in {
        "batchtopk": {},
        "matryoshka_batchtopk": {"matryoshka_widths": [F // 4]},
    }.items():
        make, make_config = registry.SAE_TRAINING_CLASS_REGISTRY[layout]
        training = drawn(make(make_config(**common, k=K, **settings)))
        training.topk_threshold.fill_(0.8)
        training.save_inference_model(str(folder / layout))
        theirs = Theirs.load_from_disk(str(folder / layout))
        agree(f"we read sae-lens's {layout} for inference", si.load_sae(folder / layout), *passed(theirs))
    for layout in ("transcoder", "skip_transcoder", "jumprelu_transcoder"):
        make, make_config = registry.SAE_CLASS_REGISTRY[layout]
        make(make_config(**common, d_out=D, apply_b_dec_to_input=False)).save_model(str(folder / layout))
        refuse(folder / layout, f"got {layout!r}")


def drawn(theirs: torch.nn.Module) -> Any:
    """Their module with every number drawn, thresholds above zero."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.normal_(0, 0.3)
            if name == "threshold":
                parameter.abs_()
    return theirs.eval()


def passed(theirs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Their codes and reconstruction."""
    with torch.no_grad():
        codes = theirs.encode(rows())
        return codes, theirs.decode(codes)


def refuse(place: Path, word: str) -> None:
    try:
        si.load_sae(place)
    except SciinterpError as error:
        said = str(error)
    else:
        raise SystemExit(f"{place}: was read")
    print(f"refused: {said}")
    if word not in said:
        raise SystemExit(f"{place}: {word} is not named")


def dictionary_learning(folder: Path) -> None:
    from dictionary_learning.dictionary import (
        AutoEncoder,
        AutoEncoderNew,
        GatedAutoEncoder,
        JumpReluAutoEncoder,
    )
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    readers = {
        "topk": lambda p: AutoEncoderTopK.from_pretrained(p),
        "relu": lambda p: AutoEncoder.from_pretrained(p, normalize_decoder=False),
        "batchtopk": lambda p: BatchTopKSAE.from_pretrained(p),
        "jumprelu": lambda p: JumpReluAutoEncoder.from_pretrained(p),
    }
    for kind, read in readers.items():
        sae, place = ours(kind), folder / kind
        sae.export(place, format="dictionary_learning")
        theirs = read(str(place / "ae.pt"))
        codes = theirs.encode(rows())
        agree(f"dictionary-learning reads our {kind}", sae, codes, theirs.decode(codes))
        named = json.loads((place / "config.json").read_text())["trainer"]["dict_class"]
        if named != type(theirs).__name__:
            raise SystemExit(f"config.json names {named}")
    made = (
        AutoEncoderTopK(D, F, K),
        BatchTopKSAE(D, F, K),
        MatryoshkaBatchTopKSAE(D, F, K, [F // 4, F - F // 4]),
        AutoEncoder(D, F),
        AutoEncoderNew(D, F),
        GatedAutoEncoder(D, F),
        JumpReluAutoEncoder(D, F),
    )
    for theirs in map(drawn, made):
        if hasattr(theirs, "threshold") and theirs.threshold.ndim == 0:
            theirs.threshold.fill_(0.4)
        place = folder / type(theirs).__name__
        place.mkdir()
        torch.save(theirs.state_dict(), place / "ae.pt")
        (place / "config.json").write_text(
            json.dumps({"trainer": {"dict_class": type(theirs).__name__, "k": K}})
        )
        agree(f"we read dictionary-learning's {type(theirs).__name__}", si.load_sae(place), *passed(theirs))


def sparsify(folder: Path) -> None:
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # its kernels need a GPU; this is its own switch
    from sparsify import SparseCoder, SparseCoderConfig

    sae = ours("topk")
    sae.export(folder / "ours", format="sparsify")
    theirs = SparseCoder.load_from_disk(folder / "ours")
    other = SparseCoder(D, SparseCoderConfig(num_latents=F, k=K))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.normal_(0, 0.3)
    other.save_to_disk(folder / "theirs")
    for what, mine, coder in (
        ("sparsify reads our topk", sae, theirs),
        ("we read sparsify's topk", si.load_sae(folder / "theirs"), other),
    ):
        found = coder.encode(rows())
        codes = torch.zeros(N, F).scatter_(1, found.top_indices, found.top_acts.detach())
        agree(what, mine, codes, coder.decode(found.top_acts, found.top_indices))
    for key, settings in {
        "a transcoder": {"transcode": True},
        "W_skip": {"transcode": True, "skip_connection": True},
        "groupmax": {"activation": "groupmax"},
    }.items():
        SparseCoder(D, SparseCoderConfig(num_latents=F, k=K, **settings)).save_to_disk(folder / key)
        refuse(folder / key, key)


def overcomplete(folder: Path) -> None:
    from overcomplete.sae import SAE as Theirs
    from overcomplete.sae import BatchTopKSAE, JumpSAE, RAJumpSAE, RATopKSAE
    from overcomplete.sae import TopKSAE as TheirTopK

    points, small = torch.randn(40, D, generator=torch.Generator().manual_seed(5)), {"device": "cpu"}
    made = {
        "SAE": (Theirs(D, F, **small), {"activation": "relu"}),
        "TopKSAE": (TheirTopK(D, F, top_k=K, **small), {"top_k": K}),
        "TopKSAE, mlp_bn_1": (TheirTopK(D, F, top_k=K, encoder_module="mlp_bn_1", **small), {"top_k": K}),
        "TopKSAE, tied": (TheirTopK(D, F, top_k=K, **small).tied(bias=True), {"top_k": K}),
        "TopKSAE, untied": (TheirTopK(D, F, top_k=K, **small).untied(), {"top_k": K}),
        "TopKSAE, max_l1 and multiplier": (
            TheirTopK(D, F, top_k=K, dictionary_params={"normalization": "max_l1", "use_multiplier": True}),
            {"top_k": K, "normalization": "max_l1"},
        ),
        "BatchTopKSAE": (BatchTopKSAE(D, F, top_k=K * 32, **small), {}),
        "JumpSAE": (JumpSAE(D, F, **small), {}),
        "RATopKSAE": (RATopKSAE(D, F, points, top_k=K, delta=0.5, **small), {"top_k": K, "delta": 0.5}),
        "RAJumpSAE": (RAJumpSAE(D, F, points, **small), {}),
    }
    for name, (theirs, config) in made.items():
        drawn(theirs.train()).train()
        theirs(rows())  # statistics of batches and a running threshold
        theirs.eval()
        if name == "BatchTopKSAE":
            config = {"running_threshold": float(theirs.running_threshold)}
        place = folder / name
        place.mkdir()
        torch.save(theirs.state_dict(), place / "sae.pt")
        (place / "config.json").write_text(json.dumps(config))
        with torch.no_grad():
            _, codes, back = theirs(rows())
        agree(f"we read overcomplete's {name}", si.load_sae(place), codes, back)
    theirs = TheirTopK(D, F, top_k=K, encoder_module="mlp_ln_3")
    torch.save(theirs.state_dict(), folder / "deep.pt")
    refuse(folder / "deep.pt", "more than a linear map")


def esm_c(folder: Path) -> None:
    """A folder of two layers as ESM-C's authors save it; theirs reconstruct the standardised rows."""
    from esm.models.esmc.sae import EsmcSaeConfig, EsmcSaeLayer, EsmcSaeModel, EsmcSaeParams

    model = EsmcSaeModel(EsmcSaeConfig(d_model=D, codebook_dim=F, k=K, available_layers=[3, 7]))
    for layer in (3, 7):
        model.layers[str(layer)] = drawn(
            EsmcSaeLayer(EsmcSaeParams(d_model=D, codebook_dim=F, k=K, layer=layer))
        )
    model.save_pretrained(folder)
    refuse(folder, "layer_3.safetensors, layer_7.safetensors")
    x = rows()
    mean, std = x.mean(1, keepdim=True), x.std(1, keepdim=True)
    for layer in (3, 7):
        theirs = model.layers[str(layer)]
        with torch.no_grad():
            codes = theirs(x).feature_magnitudes
            back = (codes @ theirs.W_dec + theirs.b_dec) * std + mean
            away = (codes @ theirs.W_dec + theirs.b_dec - (x - mean) / (std + 1e-5)).pow(2).mean(1)
        assert torch.allclose(away, theirs(x).reconstruction_loss, atol=ATOL)
        agree(
            f"we read ESM-C's layer {layer}", si.load_sae(folder / f"layer_{layer}.safetensors"), codes, back
        )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "use_residual_update_instead_of_states": True}))
    refuse(folder / "layer_3.safetensors", "use_residual_update_instead_of_states")


PEERS = {
    "sae_lens": sae_lens,
    "dictionary_learning": dictionary_learning,
    "sparsify": sparsify,
    "overcomplete": overcomplete,
    "esm.models.esmc": esm_c,
}


def is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # another package of the same first name
        return False


def main(names: list[str]) -> None:
    ran = 0
    for name in names or list(PEERS):
        if not is_there(name):
            print(f"{name}: not installed")
            continue
        with tempfile.TemporaryDirectory() as folder:
            PEERS[name](Path(folder))
        ran += 1
    print(f"{ran} peers agree")


if __name__ == "__main__":
    main(sys.argv[1:])
