"""Samples and annotations for the recipes of the zoo whose data no package holds ready: crystals, genes, reactions, receptors.

    python data/build_zoo.py genes $AUGUSTUS_DOC # of Debian's augustus-doc: DATA/usr/share/doc/augustus
    python data/build_zoo.py crystals            # needs pymatgen
    python data/build_zoo.py reactions           # needs rdkit
    python data/build_zoo.py receptors tcrdist3-0.3-py3-none-any.whl     # pip download --no-deps tcrdist3==0.3

Files are written beside the recipes (``data/zoo``, or ``--out``). Crystals are ideal prototypes, their edges from ionic radii
(Shannon 1976); genes are blocks of chromosome 16 on both strands, with what RefSeq's transcripts say; reactions are templates over fragments; receptors are beta chains of MIRA (Nolan and others 2020), as tcrdist3
ships them, with the loops of its table of genes. None is a set to draw conclusions about nature from beyond what it holds.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import sciinterp as si
from sciinterp.annotations.crystals import site_properties
from sciinterp.annotations.gff import parse_gtf
from sciinterp.annotations.molecules import functional_groups
from sciinterp.errors import InputError
from sciinterp.models.encodings import reverse_complement

# Radii in angstrom at six neighbours (Shannon 1976).
CATIONS = {1: {"Li": 0.76, "Na": 1.02, "K": 1.38, "Rb": 1.52, "Cs": 1.67},
           2: {"Mg": 0.72, "Ca": 1.0, "Sr": 1.18, "Ba": 1.35, "Mn": 0.83, "Fe": 0.78, "Co": 0.745, "Ni": 0.69, "Zn": 0.74},
           4: {"Ti": 0.605, "Zr": 0.72, "Sn": 0.69, "Ce": 0.87}}  # fmt: skip
ANIONS = {1: {"F": 1.33, "Cl": 1.81, "Br": 1.96, "I": 2.2}, 2: {"O": 1.4, "S": 1.84, "Se": 1.98}}
LETTERS = re.compile("[ACDEFGHIKLMNPQRSTVWY]+")
FCC = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
LEFT = {  # what stands left of the bond that is made
    "methyl": "C", "propyl": "CCC", "isopropyl": "CC(C)", "cyclohexyl": "C1CCCCC1", "phenyl": "c1ccccc1", "tolyl": "Cc1ccc(cc1)",
    "fluorophenyl": "Fc1ccc(cc1)", "methoxyphenyl": "COc1ccc(cc1)", "nitrophenyl": "[O-][N+](=O)c1ccc(cc1)", "pyridyl": "c1cc(ncc1)",
    "thienyl": "c1cc(sc1)", "cyanophenyl": "N#Cc1ccc(cc1)"}  # fmt: skip
RIGHT = {
    "methyl": "C", "butyl": "CCCC", "benzyl": "Cc1ccccc1", "phenethyl": "CCc1ccccc1", "cyclopentyl": "C1CCCC1", "allyl": "CC=C",
    "phenyl": "c1ccccc1", "chlorophenyl": "c1ccc(Cl)cc1", "methoxyethyl": "CCOC", "acetophenyl": "c1ccc(C(C)=O)cc1",
    "trifluoroethyl": "CC(F)(F)F", "ester": "CC(=O)OC"}  # fmt: skip
TEMPLATES = {
    "amide": "{a}C(=O)O.N{b}>>{a}C(=O)N{b}",
    "ester": "{a}C(=O)O.O{b}>>{a}C(=O)O{b}",
    "acylation": "{a}C(=O)Cl.N{b}>>{a}C(=O)N{b}",
    "reductive amination": "{a}C=O.N{b}>>{a}CN{b}",
    "alkylation": "{a}CBr.O{b}>>{a}CO{b}",
    "sulfonamide": "{a}S(=O)(=O)Cl.N{b}>>{a}S(=O)(=O)N{b}",
}


def table(path: Path, header: str, rows: Iterable[Sequence[object]]) -> Path:
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle, delimiter="\t", lineterminator="\n")
        writer.writerow(header.split())
        writer.writerows(rows)
    return path


def prototypes() -> Iterable[tuple[str, float, list[tuple[str, tuple[float, ...]]]]]:
    """Name, edge of the cube and atoms."""

    def moved(by: tuple[float, ...]) -> list[tuple[float, ...]]:
        return [tuple((x + d) % 1 for x, d in zip(place, by)) for place in FCC]

    def ions(charges: tuple[int, ...]) -> Iterable[tuple[str, float, str, float]]:
        for charge in charges:
            for (a, r), (b, s) in itertools.product(CATIONS[charge].items(), ANIONS[charge].items()):
                yield a, r, b, s

    for a, r, b, s in ions((1, 2)):
        yield (
            f"rocksalt-{a}{b}",
            2 * (r + s),
            [(a, p) for p in FCC] + [(b, p) for p in moved((0.5, 0.5, 0.5))],
        )
        yield f"cscl-{a}{b}", 2 * (r + s) / 3**0.5, [(a, (0, 0, 0)), (b, (0.5, 0.5, 0.5))]
        yield (
            f"zincblende-{a}{b}",
            4 * (r + s) / 3**0.5,
            [(a, p) for p in FCC] + [(b, p) for p in moved((0.25,) * 3)],
        )
    quarters = [(p, q, r) for p in (0.25, 0.75) for q in (0.25, 0.75) for r in (0.25, 0.75)]
    for (a, r), (b, s) in itertools.product(CATIONS[2].items(), ANIONS[1].items()):
        yield f"fluorite-{a}{b}2", 4 * (r + s) / 3**0.5, [(a, p) for p in FCC] + [(b, p) for p in quarters]
    faces = [(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    for (large, small), anion in itertools.product(((2, 4), (1, 2)), (2, 1)):
        if large + small != 3 * anion:
            continue
        for (a, _), (b, r), (x, s) in itertools.product(
            CATIONS[large].items(), CATIONS[small].items(), ANIONS[anion].items()
        ):
            yield (
                f"perovskite-{a}{b}{x}3",
                2 * (r + s),
                [(a, (0, 0, 0)), (b, (0.5, 0.5, 0.5)), *((x, p) for p in faces)],
            )


def crystals(out: Path) -> None:
    blocks = []
    for name, edge, atoms in prototypes():
        cell = "".join(f"_cell_length_{side} {edge:.4f}\n" for side in "abc")
        cell += "".join(f"_cell_angle_{angle} 90\n" for angle in ("alpha", "beta", "gamma"))
        sites = "".join(f"{e}{i} {e} {x:.4f} {y:.4f} {z:.4f}\n" for i, (e, (x, y, z)) in enumerate(atoms, 1))
        head = "loop_\n_atom_site_label\n_atom_site_type_symbol\n" + "".join(
            f"_atom_site_fract_{x}\n" for x in "xyz"
        )
        blocks.append(
            f"data_{name}\n{cell}_symmetry_space_group_name_H-M 'P 1'\n_symmetry_Int_Tables_number 1\n{head}{sites}"
        )
    (out / "crystals.cif").write_text("\n".join(blocks))
    samples = si.read_samples(out / "crystals.cif")
    site_properties(samples).write(out / "crystals.annotations.tsv")


def reactions(out: Path) -> None:
    rows = [
        (f"{kind}:{a}:{b}".replace(" ", "-"), form.format(a=LEFT[a], b=RIGHT[b]), f"{a}:{kind}")
        for (kind, form), a, b in itertools.product(TEMPLATES.items(), LEFT, RIGHT)
    ]
    samples = si.read_samples(table(out / "reactions.tsv", "id smiles family", rows))
    functional_groups(samples).write(out / "reactions.annotations.tsv")


def genes(out: Path, augustus: Path, *, size: int = 7500) -> None:
    """Blocks read on both strands, which are one family; exons, introns and the bases beside their borders."""
    place = augustus / "tutorial-cgp" / "data"
    (chromosome,) = si.read_samples(place / "genomes" / "hg38.fa").sequences
    n = len(chromosome) // size
    names = {
        (i, strand): f"chr16:{i * size + 1}-{(i + 1) * size}({strand})" for i in range(n) for strand in "+-"
    }
    parts = {key: chromosome[key[0] * size : (key[0] + 1) * size] for key in names}
    sequences = {key: part if key[1] == "+" else reverse_complement(part) for key, part in parts.items()}
    (out / "genes.fasta").write_text("".join(f">{names[key]}\n{sequences[key]}\n" for key in names))
    table(out / "genes.tsv", "id block", ((names[key], f"block {key[0]}") for key in names))
    entries = parse_gtf(
        place / "refseq" / "refseq.hg38.gtf", duplicates="keep"
    ).frame  # exons, transcript by transcript
    exons = entries[entries["concept"] == "gff:exon"]
    spans: set[tuple[str, int, int, str]] = set()
    for (_, strand), rows in exons.groupby([exons["note"].str.extract("transcript_id=([^;]+)")[0], "strand"]):
        ordered = sorted(zip(rows["start"], rows["end"]))
        spans |= {("exon", start, end, strand) for start, end in ordered}
        for (_, left), (right, _) in itertools.pairwise(ordered):
            donor, acceptor = (left - 1, right) if strand == "+" else (right, left - 1)
            spans |= {("donor", donor, donor + 1, strand), ("acceptor", acceptor, acceptor + 1, strand)}
            spans.add(("intron", left, right, strand))
    marks = []
    for concept, start, end, strand in sorted(spans):
        for i in range(start // size, min(n, -(-end // size))):
            a, b = max(start - i * size, 0), min(end - i * size, size)
            marks.append((names[i, strand], *((a, b) if strand == "+" else (size - b, size - a)), concept))
    table(out / "genes.annotations.tsv", "sample start end concept", marks)


def receptors(out: Path, wheel: Path, *, n: int = 1500) -> None:
    with zipfile.ZipFile(wheel) as archive:
        genes = io.StringIO(archive.read("tcrdist/db/alphabeta_gammadelta_db.tsv").decode())
        names = sorted(
            x for x in archive.namelist() if re.search(r"mira_epitope_[0-9_]+[A-Z_]+\.tcrdist3\.csv$", x)
        )
        found = [
            row
            for name in names
            for row in csv.DictReader(io.StringIO(archive.read(name).decode("utf-8", "replace")))
        ]
    loops = {}
    for row in csv.DictReader(genes, delimiter="\t"):
        if (row["organism"], row["chain"], row["region"]) == ("human", "B", "V"):
            loops[row["id"]] = [part.replace(".", "") for part in row["cdrs"].split(";")[:2]]
    seen = {}
    for row in found:
        v, j, last = row["v_b_gene"], row["j_b_gene"], row["cdr3_b_aa"]
        if (
            all(map(LETTERS.fullmatch, loops.get(v, [""])))
            and re.fullmatch("C[A-Z]{8,20}[FW]", last)
            and LETTERS.fullmatch(last)
        ):
            seen.setdefault((v, last), j)
    kept = [(v, j, last) for (v, last), j in sorted(seen.items())][:: max(1, len(seen) // n)][:n]
    ends = {j: Counter(last[-5:] for _, i, last in kept if i == j).most_common(1)[0][0] for _, j, _ in kept}
    rows, marks = [], []
    for number, (v, j, last) in enumerate(kept):
        first, second = loops[v]
        rows.append((name := f"r{number}", first, second, last, last[4:7]))
        start = len(first) + len(second)
        marks.append((name, 0, start, "v:" + v.split("*")[0]))
        length = next((k for k in range(5, 2, -1) if last.endswith(ends[j][-k:])), 0)
        if length:
            marks.append((name, start + len(last) - length, start + len(last), "j:" + j.split("*")[0]))
    table(out / "receptors.tsv", "id cdr1b cdr2b cdr3b family", rows)
    table(out / "receptors.annotations.tsv", "sample start end concept", marks)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["crystals", "genes", "reactions", "receptors"])
    parser.add_argument("source", type=Path, nargs="?", help="Wheel of tcrdist3, or folder of augustus-doc.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "zoo")
    given = parser.parse_args()
    made = {"receptors": receptors, "genes": genes}
    if given.what in made:
        if given.source is None:
            raise InputError(f"{given.what} are read from a package", do="See the lines above (--help).")
        made[given.what](given.out, given.source)
    else:
        {"crystals": crystals, "reactions": reactions}[given.what](given.out)


if __name__ == "__main__":
    main()
