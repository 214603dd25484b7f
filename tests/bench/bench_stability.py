"""Zero-shot stability: log odds of ProteinMPNN's letters beside plainer readers, on single mutations with measured change.

``python tests/bench/bench_stability.py curatedprotherm.csv ddg_pdb.tar.xz --model proteinmpnn``: of every mutated
position the letter is hidden and scored given the chain's backbone and all its other letters; the prediction is
log p(wild type) - log p(mutant). Printed are Spearman's rank correlations with the measured loss of stability, pooled
and as a mean over proteins of at least ten mutations, with 95% intervals from 1,000 draws of proteins.

Kortemme-Lab/ddg (MIT): mutations curated from ProTherm, and the entries of the Protein Data Bank they are on.
"""

from __future__ import annotations

import argparse
import csv
import json
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from Bio.Align import substitution_matrices
from scipy.stats import rankdata

import sciinterp as si
from sciinterp.models.mpnn import VOCABULARY

COPIES, ENOUGH, DRAWS, SHRINK = 6, 10, 1000, 5.0


def mutations(path: Path) -> pd.DataFrame:
    """One row a mutation: entry, chain, wild type, residue's number, mutant, loss of stability, exposure."""
    lines = [line for line in path.read_text().splitlines() if line.strip()]
    head = next(line for line in lines if line.startswith("#RecordID"))[1:].split(",")
    rows = []
    for row in csv.DictReader([x for x in lines if not x.startswith("#")], fieldnames=head):
        if "_" in row["Mutations"]:
            continue
        chain, wild, number, mutant = row["Mutations"].split()
        rows.append(
            (row["PDBFileID"], chain, wild, number, mutant, float(row["DDG"]), float(row["ResidueExposures"]))
        )
    return pd.DataFrame(rows, columns=["entry", "chain", "wild", "number", "mutant", "loss", "exposure"])


@torch.no_grad()
def hidden_alone(model: si.models.Adapter, record: dict, positions: list[int]) -> np.ndarray:
    """Log probabilities [n_positions, n_letters] at positions, each hidden alone; the encoder runs once."""
    batch = model.encode([record])
    inputs, out = batch.inputs, []
    found = model.module.encode(**inputs)
    for low in range(0, len(positions), COPIES):
        part = positions[low : low + COPIES]
        many = {k: v.expand(len(part), *v.shape[1:]) for k, v in inputs.items()}
        where = torch.zeros(len(part), len(record["sequence"]), dtype=torch.bool)
        where[torch.arange(len(part)), part] = True
        many = {**many, **{k: many[k].masked_fill(where, v) for k, v in (("letters", 20), ("rank", 1 << 40))}}
        states = [x.expand(len(part), *x.shape[1:]) for x in found]
        scores = model.module.decode(*states, **many)
        out.append(torch.log_softmax(scores[torch.arange(len(part)), part], -1))
    return torch.cat(out).numpy()


def predicted(model: si.models.Adapter, table: pd.DataFrame, folder: Path, keep: Path | None) -> np.ndarray:
    """log p(wild type) - log p(mutant); NaN where the structure has no such residue. Resumes what was kept."""
    kept = json.loads(keep.read_text()) if keep and keep.is_file() else {}
    out = np.full(len(table), np.nan)
    for (entry, chain), rows in table.groupby(["entry", "chain"]):
        name = f"{model.name} {entry} {chain}"
        if name not in kept:
            kept[name] = _of_chain(model, table, rows, folder, str(entry), str(chain))
            if keep:
                keep.write_text(json.dumps(kept))
        out[rows.index] = [kept[name].get(str(i), np.nan) for i in rows.index]
    return out


def _of_chain(
    model: si.models.Adapter, table: pd.DataFrame, rows: pd.DataFrame, folder: Path, entry: str, chain: str
) -> dict[str, float]:
    """Predictions of one chain's mutations by the number of their row."""
    out: dict[str, float] = {}
    files = list(folder.rglob(f"{entry}.pdb"))
    if not files:
        return out
    chains = si.read_samples(files[0], kind="chains")
    data = next((s.data for s in chains if s.data["chain"][0] == chain), None)
    if data is None:
        return out
    codes = data.get("insertion") or [""] * len(data["number"])
    at = {f"{n}{c}": i for i, (n, c) in enumerate(zip(data["number"], codes))}
    whole = model.encode([data]).mask[0]
    fits = {
        i: at[row.number]
        for i, row in rows.iterrows()
        if row.number in at and data["sequence"][at[row.number]] == row.wild and whole[at[row.number]]
    }
    if not fits:
        return out
    places = sorted(set(fits.values()))
    scores = dict(zip(places, hidden_alone(model, data, places)))
    for i, place in fits.items():
        log = scores[place]
        out[str(i)] = float(log[VOCABULARY.index(table.wild[i])] - log[VOCABULARY.index(table.mutant[i])])
    return out


def by_type(table: pd.DataFrame) -> np.ndarray:
    """Mean loss of the same substitution in other proteins, drawn to that of the wild type, then of all."""
    out = np.zeros(len(table))
    for entry in table["entry"].unique():
        rest, own = table[table["entry"] != entry], table["entry"] == entry
        overall = rest["loss"].mean()
        sums = rest.groupby(["wild", "mutant"])["loss"].agg(["sum", "size"])
        wilds = rest.groupby("wild")["loss"].agg(["sum", "size"])
        towards = ((wilds["sum"] + SHRINK * overall) / (wilds["size"] + SHRINK)).to_dict()
        known = sums.to_dict("index")
        for i, row in table[own].iterrows():
            parent = towards.get(row.wild, overall)
            here = known.get((row.wild, row.mutant), {"sum": 0.0, "size": 0})
            out[i] = (here["sum"] + SHRINK * parent) / (here["size"] + SHRINK)
    return out


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def summary(table: pd.DataFrame, readers: list[str]) -> pd.DataFrame:
    """Pooled and by protein, with intervals from draws of proteins."""
    groups = dict(iter(table.groupby("entry")))
    enough = [e for e, part in groups.items() if len(part) >= ENOUGH and part["loss"].nunique() > 2]
    draw, rows = np.random.default_rng(0), []
    chosen = [draw.choice(list(groups), len(groups)) for _ in range(DRAWS)]
    numbers = {e: part.index.to_numpy() for e, part in groups.items()}
    for reader in readers:
        values, loss = table[reader], table["loss"]
        each = {e: correlation(values[numbers[e]], loss[numbers[e]]) for e in enough}
        pooled, means = [], []
        for entries in chosen:
            index = np.concatenate([numbers[e] for e in entries])
            pooled.append(correlation(values.to_numpy()[index], loss.to_numpy()[index]))
            inside = [each[e] for e in entries if e in each and np.isfinite(each[e])]
            means.append(np.mean(inside))
        ends = [np.percentile(x, [2.5, 97.5]).round(3) for x in (pooled, means)]
        rows.append((reader, correlation(values, loss), *ends[0], np.nanmean(list(each.values())), *ends[1]))
    columns = ["reader", "pooled", "low", "high", "by_protein", "by_low", "by_high"]
    out = pd.DataFrame(rows, columns=columns).set_index("reader").round(3)
    out.attrs["n"] = (len(table), len(groups), len(enough))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--model", default=["proteinmpnn"], nargs="+")
    parser.add_argument("--keep", type=Path, help="where predictions are kept (JSON); run again to resume")
    options = parser.parse_args()
    found = mutations(options.table)
    matrix = substitution_matrices.load("BLOSUM62")
    with tempfile.TemporaryDirectory() as temporary:
        with tarfile.open(options.archive) as archive:
            archive.extractall(temporary, filter="data")
        for name in options.model:
            start = time.process_time()
            found[name] = predicted(si.load_model(name), found, Path(temporary), options.keep)
            print(
                f"{name}: {found[name].notna().sum()} of {len(found)} scored, {time.process_time() - start:.0f} s",
                flush=True,
            )
    found["BLOSUM62"] = [-matrix[a][b] for a, b in zip(found["wild"], found["mutant"])]
    found["burial"] = -found["exposure"]
    found["substitution type"] = by_type(found)
    found = found.dropna().reset_index(drop=True)
    out = summary(found, [*options.model, "substitution type", "burial", "BLOSUM62"])
    print("{} mutations in {} proteins, {} with enough".format(*out.attrs["n"]))
    print(out.to_string())


if __name__ == "__main__":
    main()
