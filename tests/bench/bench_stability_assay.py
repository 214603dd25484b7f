"""Stability as an assay: what ProteinMPNN's likelihood and changes of features add to substitution type and burial.

``python tests/bench/bench_stability_assay.py curatedprotherm.csv ddg_pdb.tar.xz data/structures.tsv.gz OUT`` trains a
dictionary on the decoder's last layer with the embedded partners (no measured number enters), scans every measured mutation
and holds whole proteins out. Scores are the negative of the measured loss, so that likelier is better. The encoder sees no
letter, so its features do not change; a decoder's features change at neighbours that are decoded after the mutated residue.
Copies of one backbone in a batch pass the encoder once. Scans are kept chain by chain: run again to resume.
"""

from __future__ import annotations

import argparse
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import pandas as pd
import torch
from bench_stability import mutations

import sciinterp as si
from sciinterp.readouts import assay_scores
from sciinterp.sae.settings import TrainSettings

SITE, N_FEATURES, K, STEPS, EVERY = "decoder.2", 512, 16, 300, 2


def encoded_once(encode: Callable[..., tuple[torch.Tensor, ...]]) -> Callable[..., tuple[torch.Tensor, ...]]:
    """The same encoder, which runs one row of a batch whose backbones are all the same."""

    def run(**g: torch.Tensor) -> tuple[torch.Tensor, ...]:
        n, same = (
            len(g["backbone"]),
            (g["backbone"] == g["backbone"][:1]).all() and (g["whole"] == g["whole"][:1]).all(),
        )
        if n == 1 or not bool(same):
            return encode(**g)
        return tuple(x.expand(n, *x.shape[1:]) for x in encode(**{k: v[:1] for k, v in g.items()}))

    return run


def dictionary(model: Any, structures: Path, out: Path) -> Any:
    """A dictionary of the decoder's last layer, trained on every second embedded partner."""
    everything = si.read_samples(structures, table=structures.with_name("structures.samples.tsv"))
    samples = everything.subset(range(0, len(everything), EVERY))
    acts = si.extract(model, samples, site=SITE, out=out / "activations")
    split = si.split_families(samples, by="family", seed=0)
    recipe = TrainSettings(steps=STEPS, batch_size=2048)
    return si.train(
        acts, si.TopK(n_features=N_FEATURES, k=K), split=split, out=out / "sae", seed=0, settings=recipe
    )


def kept(scan_of: Callable[..., anndata.AnnData], folder: Path) -> Callable[..., anndata.AnnData]:
    """The same scans, written to a folder and read from it when they are asked for again."""
    folder.mkdir(parents=True, exist_ok=True)

    def run(model: Any, sae: Any, sample: si.Sample, changes: Any, **rest: Any) -> anndata.AnnData:
        path = folder / f"{sample.id}.h5ad"
        if path.is_file():
            known = anndata.read_h5ad(path)
            if known.obs["variant"].tolist() == [str(c) for c in changes]:
                return known
        scan = scan_of(model, sae, sample, changes, **rest)
        scan.write_h5ad(path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)  # whole, or not there
        return scan

    return run


def chains_of(table: pd.DataFrame, folder: Path) -> tuple[si.Samples, pd.DataFrame]:
    """The mutated chains as samples, and the mutations whose residue stands there: ``sample variant score burial``."""
    ids, data, rows = [], [], []
    for (entry, chain), part in table.groupby(["entry", "chain"]):
        files = list(folder.rglob(f"{entry}.pdb"))
        read = si.read_samples(files[0], kind="chains") if files else []
        record = next((s.data for s in read if s.data["chain"][0] == chain), None)
        if record is None:
            continue
        codes = record.get("insertion") or [""] * len(record["number"])
        at = {f"{n}{c}": i for i, (n, c) in enumerate(zip(record["number"], codes))}
        name = f"{entry}_{chain}"
        ids.append(name)
        data.append(record)
        for row in part.itertuples():
            if row.number in at and record["sequence"][at[row.number]] == row.wild:
                rows.append((name, f"{row.wild}{at[row.number] + 1}{row.mutant}", -row.loss, -row.exposure))
    lengths = [len(d["sequence"]) for d in data]
    samples = si.Samples(ids, data, lengths=lengths, kind="structure")
    return samples, pd.DataFrame(rows, columns=["sample", "variant", "score", "burial"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("archive", type=Path)
    parser.add_argument("structures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--proteins", type=int, help="the first so many alone")
    options = parser.parse_args()
    start, model = time.process_time(), si.load_model("proteinmpnn")
    sae = dictionary(model, options.structures, options.out)
    print(
        f"dictionary: variance explained {sae.metrics['fve']:.3f}, {time.process_time() - start:.0f} s",
        flush=True,
    )
    table = mutations(options.table)
    if options.proteins:
        table = table[table["entry"].isin(sorted(table["entry"].unique())[: options.proteins])]
    with tempfile.TemporaryDirectory() as temporary:
        with tarfile.open(options.archive) as archive:
            archive.extractall(temporary, filter="data")
        samples, measured = chains_of(table, Path(temporary))
    assay_scores.saturate = kept(assay_scores.saturate, options.out / "scans")
    module: Any = model.module
    module.encode = encoded_once(module.encode)
    found = si.assay(model, sae, samples, measured, beside={"burial": measured["burial"].tolist()})
    facts = found.context
    print(f"{len(measured)} rows, {facts['n_variants']} variants at {facts['n_positions']} positions of {facts['n_samples']} chains, "
          f"{len(facts['refused'])} not used; {time.process_time() - start:.0f} s")  # fmt: skip
    print(pd.DataFrame(found).drop(columns="note").round(3).to_string(index=False))
    print(facts["added"].round(3).to_string(index=False))
    print(facts["features"].round(3).to_string(index=False))
    found.to_csv(options.out / "stability.tsv", sep="\t", index=False)
    facts["added"].to_csv(options.out / "added.tsv", sep="\t", index=False)


if __name__ == "__main__":
    main()
