"""Rebuild the embedded structures: ``python data/build_structures.py bm5_matched.tar.xz``.

The archive holds docking benchmark 5 (Vreven and others 2015), cleaned and renumbered (github.com/haddocking/BM5-clean,
folder ``structures-matched``; Apache-2.0): 230 complexes, each partner alone as it was solved and as it is in the
complex. This script takes the partners alone, keeps N, CA, C and O of every residue, and writes

    structures.tsv.gz  structures.samples.tsv
    structures.annotations.tsv.gz  structures.concepts.tsv  structures.coverage.tsv

A *sample* is one partner, with all its chains. A *family* joins the two partners of a complex, and all samples that
hold a chain in one cluster of mmseqs at 30% identity over 80% of both. What the backbone does is computed by
:mod:`sciinterp.annotations.backbone_motifs` from the coordinates written. From all atoms come: burial (accessible
surface of the partner alone), disulfides, contacts with metals and ligands, sugars bound to Asn, Ser or Thr, capping
boxes, and from the complex the interface.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import tarfile
import tempfile
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import biotite.structure as bs
import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from sciinterp.annotations.backbone_motifs import annotate_backbones, motifs
from sciinterp.annotations.rows import Rows
from sciinterp.annotations.structure import MAX_SURFACE
from sciinterp.annotations.table import Annotations
from sciinterp.readers.backbones import places_of, record_of, write_backbones
from sciinterp.readers.structures import Chain, Residue, read_structure
from sciinterp.samples import Samples
from sciinterp.splits.families import by_mmseqs
from sciinterp.store.tables import write_tsv

HERE = Path(__file__).resolve().parent
RELEASE = "BM5-clean"
SMALLEST, LARGEST, MOST_OF_A_FAMILY = 40, 500, 60
CONTACT, METAL, LIGAND, DISULFIDE, SUGAR, HYDROGEN_BOND = 5.0, 3.0, 4.0, 2.5, 1.7, 3.5
METALS = {"LI", "NA", "MG", "K", "CA", "MN", "FE", "CO", "NI", "CU", "ZN", "CD", "HG"}
SUGARS = {"NAG", "NDG", "BMA", "MAN", "FUC", "GAL", "SIA"}
SMALLEST_LIGAND = 7
BURIED, EXPOSED = 0.05, 0.25
CONCEPTS = {
    "burial:buried": "less than 5% of its surface accessible", "burial:between": "5 to 25% accessible",
    "burial:exposed": "at least 25% accessible", "disulfide": "cysteine of a disulfide (S within 2.5 A)",
    "contact:metal": "an atom within 3 A of a metal ion", "contact:ligand": "an atom within 4 A of a ligand",
    "glycosylation": "a sugar bound to its side chain", "capping box": "N-cap of a helix that shares two bonds with N3",
    "interface": "an atom within 5 A of the partner in the complex",
}  # fmt: skip
FILES = (
    "structures.tsv.gz", "structures.samples.tsv", "structures.annotations.tsv.gz", "structures.concepts.tsv",
    "structures.coverage.tsv",
)  # fmt: skip


def main() -> None:
    """Build everything from the archive."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        with tarfile.open(options.archive) as archive:
            archive.extractall(temporary, filter="data")
        build(Path(temporary), options.out)
    digest = hashlib.sha256(options.archive.read_bytes()).hexdigest()
    print(f"{options.archive.name} sha256 {digest}")
    for name in FILES:
        raw = (options.out / name).read_bytes()
        print(f"{name}\t{len(raw)}\t{hashlib.sha256(raw).hexdigest()}")


def build(folder: Path, out: Path) -> None:
    """Read the partners, find families, annotate, write."""
    taken: dict[str, list[Chain]] = {}
    account: Counter[str] = Counter()
    for path in sorted(folder.rglob("*_u.pdb")):
        account["partners"] += 1
        _, chains = read_structure(path)
        n = sum(len(chain.residues) for chain in chains)
        if not SMALLEST <= n <= LARGEST:
            account[f"outside {SMALLEST} to {LARGEST} residues"] += 1
            continue
        taken[path.name.removesuffix("_u.pdb")] = chains
    families = _families(taken)
    held: Counter[str] = Counter()
    for name in list(taken):
        held[families[name]] += 1
        if held[families[name]] > MOST_OF_A_FAMILY:
            account[f"beyond {MOST_OF_A_FAMILY} of a family"] += 1
            del taken[name]
    data = [record_of(chains) for chains in taken.values()]
    for record in data:
        record.pop("elements", None), record.pop("places", None)
    table = pd.DataFrame({"sample": list(taken), "family": [families[name] for name in taken]})
    table["complex"] = [name[:4] for name in taken]
    table["chains"] = ["".join(dict.fromkeys(d["chain"])) for d in data]
    samples = Samples(taken, data, lengths=[len(d["sequence"]) for d in data], kind="structure", table=table)
    write_backbones(out / "structures.tsv.gz", samples)
    write_tsv(table, out / "structures.samples.tsv")
    atoms = _from_atoms(samples, taken, {p.name: p for p in folder.rglob("*.pdb")}, account)
    found = Annotations.merge([annotate_backbones(samples, release=RELEASE), atoms])
    _write(found, out)
    account["kept"], account["residues"] = len(samples), samples.n_positions
    account["families"] = table["family"].nunique()
    account["largest family"] = int(table["family"].value_counts().iloc[0])
    print(pd.Series(account).to_string(), found.frame["concept"].value_counts().to_string(), sep="\n")


def _write(found: Annotations, out: Path) -> None:
    """The annotations, gzipped with the same bytes every time, and their concepts and coverage."""
    plain = out / "structures.annotations.tsv"
    found.write(plain)
    (out / "structures.annotations.tsv.gz").write_bytes(gzip.compress(plain.read_bytes(), 9, mtime=0))
    plain.unlink()


def _families(taken: dict[str, list[Chain]]) -> dict[str, str]:
    """Samples joined by complexes and by clusters of their chains, named by their first member."""
    of_chain = [
        (name, chain.sequence)
        for name, chains in taken.items()
        for chain in chains
        if len(chain.residues) > 20
    ]
    chains = Samples([str(i) for i in range(len(of_chain))], [sequence for _, sequence in of_chain])
    parent = {name: name for name in taken}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    joined = defaultdict(list)
    for name in taken:
        joined["complex", name[:4]].append(name)
    for (name, _), cluster in zip(of_chain, by_mmseqs(chains)):
        joined["cluster", str(cluster)].append(name)
    for members in joined.values():
        for one, other in pairwise(members):
            a, b = sorted((root(one), root(other)))
            parent[b] = a
    return {name: root(name) for name in taken}


def _from_atoms(
    samples: Samples, taken: dict[str, list[Chain]], files: dict[str, Path], account: Counter[str]
) -> Annotations:
    """What needs all atoms, or the complex."""
    rows, bound = Rows("atoms", release=RELEASE), Rows("interface", release=RELEASE)
    for sample in samples:
        chains = taken[sample.id]
        residues = [r for chain in chains for r in chain.residues]
        rows.covers(sample.id)
        helix = motifs(places_of(sample.data), np.asarray(sample.data["chain"]), sample.sequence)
        marks = _side_chains(residues, chains, np.flatnonzero(helix["helix:N-cap"])) | _burial(residues)
        touching = _interface(sample.id, chains, files)
        if touching is None:
            account["without an interface: numbered otherwise in the complex"] += 1
        else:
            bound.covers(sample.id)
        for concept, at in [*marks.items(), ("interface", touching or [])]:
            gather = bound if concept == "interface" else rows
            for i in at:
                gather.item()
                gather.add(sample.id, int(i), int(i) + 1, concept)
                gather.keep()
    for gather in (rows, bound):
        for concept, name in CONCEPTS.items():
            if concept in gather.concepts():
                gather.concept(concept, name=name, exhaustive=True)
    return Annotations.merge([rows.annotations(), bound.annotations()])


def _side_chains(residues: list[Residue], chains: list[Chain], caps: np.ndarray) -> dict[str, list[int]]:
    """Disulfides, capping boxes, and contacts with what is bound."""
    place = [{a.name: a.coord for a in r.atoms} for r in residues]
    sulfur = [(i, p["SG"]) for i, p in enumerate(place) if "SG" in p]
    out: dict[str, list[int]] = defaultdict(list)
    out["disulfide"] = [
        i for i, x in sulfur if any(i != j and np.linalg.norm(x - y) < DISULFIDE for j, y in sulfur)
    ]
    for i in caps:
        cap, third = place[i], place[i + 3] if i + 3 < len(place) else {}
        ours = [cap[n] for n in ("OG", "OG1", "OD1", "OD2") if n in cap]
        theirs = [third[n] for n in ("OE1", "OE2", "OD1", "OD2", "OG", "OG1") if n in third]
        if "N" in cap and "N" in third and _near(ours, third["N"]) and _near(theirs, cap["N"]):
            out["capping box"].append(int(i))
    owner = np.repeat(np.arange(len(residues)), [len(r.atoms) for r in residues])
    tree = cKDTree(np.array([a.coord for r in residues for a in r.atoms]))
    for other in (o for chain in chains for o in chain.others):
        heavy = [a for a in other.atoms if a.element not in ("H", "D")]
        kind, reach = (
            ("contact:metal", METAL)
            if len(heavy) == 1 and heavy[0].element in METALS
            else ("contact:ligand", LIGAND)
        )
        if other.name in SUGARS:
            for i, p in enumerate(place):
                tips = [p[n] for n in ("ND2", "OG", "OG1") if n in p]
                if any(a.name == "C1" and _near(tips, a.coord, SUGAR) for a in heavy):
                    out["glycosylation"].append(i)
        elif kind == "contact:metal" or len(heavy) >= SMALLEST_LIGAND:
            for hit in tree.query_ball_point(np.array([a.coord for a in heavy]), reach):
                out[kind] += owner[hit].tolist()
    return {name: sorted(set(at)) for name, at in out.items()}


def _near(places: list[np.ndarray], point: np.ndarray, reach: float = HYDROGEN_BOND) -> bool:
    return any(float(np.linalg.norm(p - point)) < reach for p in places)


def _burial(residues: list[Residue]) -> dict[str, list[int]]:
    """Three classes of accessible surface."""
    atoms = [(i, r, a) for i, r in enumerate(residues) for a in r.atoms if a.element not in ("H", "D")]
    part = bs.AtomArray(len(atoms))
    part.coord = np.array([a.coord for _, _, a in atoms], np.float32)
    part.res_id = np.array([i for i, _, _ in atoms])
    part.res_name = np.array([r.name for _, r, _ in atoms])
    part.atom_name, part.element = (
        np.array([a.name for _, _, a in atoms]),
        np.array([a.element for _, _, a in atoms]),
    )
    area = np.bincount(
        part.res_id, np.nan_to_num(bs.sasa(part, point_number=60, vdw_radii="Single")), len(residues)
    )
    out: dict[str, list[int]] = {name: [] for name in CONCEPTS if name.startswith("burial")}
    for i, residue in enumerate(residues):
        if residue.name in MAX_SURFACE:
            share = area[i] / MAX_SURFACE[residue.name]
            which = "buried" if share < BURIED else "between" if share < EXPOSED else "exposed"
            out[f"burial:{which}"].append(i)
    return out


def _interface(name: str, chains: list[Chain], files: dict[str, Path]) -> list[int] | None:
    """Residues that touch the partner in the complex; None where the complex numbers them otherwise."""
    own, other = (f"{name[:4]}_{side}_b-matched.pdb" for side in (name[5], "l" if name[5] == "r" else "r"))
    _, mine = read_structure(files[own])
    _, theirs = read_structure(files[other])
    atoms = [a.coord for c in theirs for r in c.residues for a in r.atoms]
    if not atoms:
        return None
    tree = cKDTree(np.array(atoms))
    touching, letter = set(), {}
    for chain in mine:
        for residue in chain.residues:
            key = (chain.name, residue.number, residue.insertion)
            letter[key] = residue.letter
            if tree.query(np.array([a.coord for a in residue.atoms]))[0].min() < CONTACT:
                touching.add(key)
    keys = [(chain.name, r.number, r.insertion) for chain in chains for r in chain.residues]
    letters = [r.letter for chain in chains for r in chain.residues]
    same = sum(letter.get(k) == x for k, x in zip(keys, letters))
    return [i for i, k in enumerate(keys) if k in touching] if same > 0.6 * len(letter) else None


if __name__ == "__main__":
    main()
