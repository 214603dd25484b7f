"""Do the installed peers read our files, and do we read theirs? Codes and reconstructions to 1e-5.

Run in an environment where the peers are installed (``pip install sae-lens dictionary-learning
eai-sparsify``)::

    python tests/bench/peer_roundtrip.py [sae_lens] [dictionary_learning] [sparsify]

Exits non-zero when one that is installed disagrees; tests call it for the peers that can be imported.
"""

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path

import torch

import sciinterp as si
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
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig, StandardSAE, StandardSAEConfig, TopKSAEConfig
    from sae_lens import TopKSAE as TheirTopK

    for kind in ("topk", "relu", "batchtopk", "jumprelu"):
        sae, place = ours(kind), folder / kind
        sae.identity = {"model": "m", "site": "layers.4"}
        sae.save(place)
        theirs = Theirs.load_from_disk(str(place))
        codes = theirs.encode(rows())
        agree(f"sae-lens reads our {kind}", sae, codes, theirs.decode(codes))
        if theirs.cfg.metadata.get("sciinterp") is None:
            raise SystemExit("sae-lens dropped our metadata")
    common = {"d_in": D, "d_sae": F, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True}
    made = (
        TheirTopK(TopKSAEConfig(k=K, **common)),
        TheirTopK(TopKSAEConfig(k=K, rescale_acts_by_decoder_norm=True, **common)),
        StandardSAE(StandardSAEConfig(**common)),
        JumpReLUSAE(JumpReLUSAEConfig(**{**common, "apply_b_dec_to_input": False})),
    )
    for theirs in made:
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.normal_(0, 0.3)
            if hasattr(theirs, "threshold"):
                theirs.threshold.abs_()
        place = folder / f"theirs {len(list(folder.iterdir()))}"
        theirs.save_model(str(place))
        codes = theirs.encode(rows())
        agree(f"we read sae-lens's {type(theirs).__name__}", si.load_sae(place), codes, theirs.decode(codes))


def dictionary_learning(folder: Path) -> None:
    from dictionary_learning.dictionary import AutoEncoder, JumpReluAutoEncoder
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
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
    for theirs in (
        AutoEncoderTopK(D, F, K),
        BatchTopKSAE(D, F, K),
        AutoEncoder(D, F),
        JumpReluAutoEncoder(D, F),
    ):
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.normal_(0, 0.3)
            if isinstance(theirs, BatchTopKSAE):
                theirs.threshold.fill_(0.4)
            elif isinstance(theirs, JumpReluAutoEncoder):
                theirs.threshold.abs_()
        place = folder / type(theirs).__name__
        place.mkdir()
        torch.save(theirs.state_dict(), place / "ae.pt")
        (place / "config.json").write_text(
            json.dumps({"trainer": {"dict_class": type(theirs).__name__, "k": K}})
        )
        codes = theirs.encode(rows())
        agree(
            f"we read dictionary-learning's {type(theirs).__name__}",
            si.load_sae(place),
            codes,
            theirs.decode(codes),
        )


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


PEERS = {"sae_lens": sae_lens, "dictionary_learning": dictionary_learning, "sparsify": sparsify}


def main(names: list[str]) -> None:
    ran = 0
    for name in names or list(PEERS):
        if importlib.util.find_spec(name) is None:
            print(f"{name}: not installed")
            continue
        with tempfile.TemporaryDirectory() as folder:
            PEERS[name](Path(folder))
        ran += 1
    print(f"{ran} peers agree")


if __name__ == "__main__":
    main(sys.argv[1:])
