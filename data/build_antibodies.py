"""Rebuild the embedded antibodies: ``python data/build_antibodies.py r-cran-alakazam_1.2.1-1_amd64.deb``.

The Debian package (``apt-get download r-cran-alakazam``; it need not be installed, nor R) holds the table
of one human repertoire. This script unpacks it beside itself for a moment, takes the productive chains,
makes them unique as proteins, cuts both ends at random, moves the annotations along, and writes

    antibodies.fasta  antibodies.tsv  antibodies.annotations.tsv  antibodies.concepts.tsv  SOURCES.md  LICENSE

Why the cuts: when every sequence starts at residue 1, a feature that knows nothing but the absolute position
reaches F1 above 0.9 on framework regions; when every sequence ends at the same residue, distance to the end
does the same. Each end loses 0 to 25 residues, drawn from a generator seeded by the sample's identifier.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import pandas as pd

from sciinterp.annotations.airr import CONCEPTS, CONSERVED, MOTIFS, facts, motifs, spans
from sciinterp.annotations.imgt import imgt_positions
from sciinterp.annotations.table import Annotations
from sciinterp.readers.airr import Chain, chain_of, gene_of, pack_imgt, region_of, rows
from sciinterp.samples import Samples
from sciinterp.store.atomic import atomic_write
from sciinterp.store.tables import write_tsv

HERE = Path(__file__).resolve().parent
PACKAGE, VERSION = "r-cran-alakazam", "1.2.1-1"
TABLE = "usr/lib/R/site-library/alakazam/extdata/example_airr.tsv.gz"
COPYRIGHT = "usr/share/doc/r-cran-alakazam/copyright"
TABLE_SHA256 = "b1fc4df8b6748e6329a46a3a4af31ddf29776f58ba4995fc77f5856c5f061d50"
RELEASE = f"alakazam {VERSION}"
MAX_CUT, SEED = 25, 0
SUBGROUPS = ("IGHV1", "IGHV3", "IGHV4")
POINTS = {name for name, _, _ in CONSERVED} | {"shm"}
FILES = ("antibodies.fasta", "antibodies.tsv", "antibodies.annotations.tsv", "antibodies.concepts.tsv")


def main() -> None:
    """Build everything from the package, or from the table already taken out of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="the .deb, or a folder it was unpacked into (dpkg -x)")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.source
        if root.is_file():
            subprocess.run(["dpkg", "-x", str(root), temporary], check=True)
            root = Path(temporary)
        options.out.mkdir(parents=True, exist_ok=True)
        build(root / TABLE, root / COPYRIGHT, options.out)


def build(table: Path, copyright: Path, out: Path) -> None:
    """Write every file of the data set into ``out``."""
    found = hashlib.sha256(table.read_bytes()).hexdigest()
    if found != TABLE_SHA256:
        raise SystemExit(
            f"{table} is not the table this data set was made of: expected sha256 {TABLE_SHA256}, got {found}"
        )
    chains, counts = unique_chains(table)
    samples, annotations, moved = [], [], Counter()
    for chain, reads, isotypes in chains:
        sample, placed = cut(chain, moved)
        samples.append({**sample, "reads": reads, "isotypes": ",".join(isotypes)})
        annotations += placed
    frame = pd.DataFrame(samples)
    fasta = "".join(f">{s}\n{q}\n" for s, q in zip(frame["sample"], frame["sequence"]))
    atomic_write(out / "antibodies.fasta", fasta.encode())
    write_tsv(frame.drop(columns="sequence"), out / "antibodies.tsv")
    table_of(annotations).write(out / "antibodies.annotations.tsv")
    write_licence(copyright, out / "LICENSE")
    write_sources(frame, annotations, counts, moved, out)


def unique_chains(table: Path) -> tuple[list[tuple[Chain, int, list[str]]], Counter]:
    """The first read of every productive protein sequence, with the number of reads and their isotypes."""
    counts: Counter = Counter()
    kept: dict[str, tuple[Chain, list[str]]] = {}
    for _, row in rows(table):
        counts["in: reads"] += 1
        chain = chain_of(row)
        if isinstance(chain, str):
            counts[f"dropped: {chain}"] += 1
        elif "23" not in chain.imgt or chain.sequence[chain.imgt.index("23")] != "C":
            counts["dropped: no cysteine at IMGT position 23"] += 1
        elif chain.sequence in kept:
            counts["dropped: the same protein as an earlier read"] += 1
            kept[chain.sequence][1].append(chain.calls["c_call"])
        else:
            kept[chain.sequence] = (chain, [chain.calls["c_call"]])
    counts["kept: chains"] = len(kept)
    out = [(chain, len(calls), sorted(set(calls), key=calls.index)) for chain, calls in kept.values()]
    for chain, _, isotypes in out:
        counts["residues before the cut"] += len(chain.sequence)
        counts["codons broken by a deletion, left out"] += chain.broken
        counts["chains with such a codon"] += bool(chain.broken)
        counts["chains whose V call is ambiguous (first gene taken)"] += len(genes(chain.calls["v_call"])) > 1
        counts["chains whose J call is ambiguous (first gene taken)"] += len(genes(chain.calls["j_call"])) > 1
        counts["chains seen with several isotypes (first taken)"] += len(isotypes) > 1
    counts["residues whose region immunum, from the sequence alone, gives the same"] = agreement(out)
    return out, counts


def agreement(chains: list[tuple[Chain, int, list[str]]]) -> int:
    """How many residues of the uncut chains an independent numbering puts in the same region."""
    positions = imgt_positions(Samples([c.id for c, _, _ in chains], [c.sequence for c, _, _ in chains]))
    return sum(
        p != "" and region_of(p) == region_of(q)
        for chain, _, _ in chains
        for p, q in zip(positions.get(chain.id, []), chain.imgt)
    )


def genes(call: str) -> set[str]:
    """The distinct genes among the alleles of a call."""
    return {gene_of(part) for part in call.split(",")}


def cuts(sample: str) -> tuple[int, int]:
    """How many residues the two ends of a sample lose: a function of its identifier and the seed alone."""
    digest = hashlib.sha256(f"{SEED}:{sample}".encode()).digest()
    first, second = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")
    return first % (MAX_CUT + 1), second % (MAX_CUT + 1)


def cut(chain: Chain, moved: Counter) -> tuple[dict, list[dict]]:
    """One row of the sample table, and the annotations that remain, on the cut sequence."""
    cut_n, cut_c = cuts(chain.id)
    stop = len(chain.sequence) - cut_c
    v_gene, j_gene = gene_of(chain.calls["v_call"]), gene_of(chain.calls["j_call"])
    subgroup = v_gene.split("-")[0].split("/")[0]
    placed = [(*span, "airr") for span in spans(chain)]
    placed += [
        (s, e, f"FR3:{subgroup}", n, o)
        for s, e, c, n, o in placed
        if c == "imgt:FR3" and subgroup in SUBGROUPS
    ]
    placed += [(*span, "motif") for span in motifs(chain.sequence)]
    out = []
    for start, end, concept, note, source in placed:
        s, e = max(start, cut_n), min(end, stop)
        whole = concept in MOTIFS or concept in POINTS
        if s >= e or (whole and (s, e) != (start, end)):
            moved["cut away" if s >= e else "motif cut through, dropped"] += 1
            continue
        moved["kept whole" if (s, e) == (start, end) else "clipped"] += 1
        out.append(row(chain.id, s - cut_n, e - cut_n, concept, source, note))
    out += [row(chain.id, s, e, concept, "airr", note) for s, e, concept, note in facts(chain)]
    inside = chain.imgt[cut_n:stop]
    n_junction = sum(1 for p in chain.imgt if 104 <= int(p.split(".")[0]) <= 118)
    sample = {
        "sample": chain.id,
        "cut_n": cut_n,
        "cut_c": cut_c,
        "v_gene": v_gene,
        "v_subgroup": subgroup,
        "d_gene": gene_of(chain.calls["d_call"]),
        "j_gene": j_gene,
        "isotype": chain.calls["c_call"],
        "family": v_gene,
        "junction_length": n_junction,
        "length": stop - cut_n,
        "length_uncut": len(chain.sequence),
        "broken_codons": chain.broken,
        "imgt": pack_imgt(inside),
        "sequence": chain.sequence[cut_n:stop],
    }
    return sample, out


def row(sample: str, start: int, end: int, concept: str, source: str, note: str) -> dict:
    return {
        "sample": sample,
        "start": start,
        "end": end,
        "strand": ".",
        "concept": concept,
        "source": source,
        "evidence": "",
        "note": note,
        "release": RELEASE,
    }


def table_of(annotations: list[dict]) -> Annotations:
    """The annotations with their concepts table."""
    frame = pd.DataFrame(annotations)
    concepts = []
    for concept, source in sorted(set(zip(frame["concept"], frame["source"]))):
        name, parent, level = CONCEPTS.get(concept, (concept.replace(":", " "), "", 0))
        if concept.startswith("FR3:"):
            name, parent, level = f"framework region 3 of {concept[4:]} chains", "imgt:FR3", 1
        concepts.append(
            {
                "concept": concept,
                "name": name,
                "parent": parent,
                "level": level,
                "source": source,
                "exhaustive": True,
            }
        )
    return Annotations(frame, concepts=pd.DataFrame(concepts))


def write_licence(copyright: Path, path: Path) -> None:
    """The notice for the data files, then the licence as the package carries it."""
    body = copyright.read_text(encoding="utf-8").split("License: AGPL-3\n")[-1]
    text = "\n".join("" if line.strip() == "." else line.removeprefix(" ") for line in body.splitlines())
    atomic_write(path, (NOTICE + text + "\n").encode())


NOTICE = """\
This notice is about the data files of this folder alone: antibodies.fasta, antibodies.tsv,
antibodies.annotations.tsv and antibodies.concepts.tsv. They are derived, by build_antibodies.py, from the
file example_airr.tsv.gz of alakazam (Copyright 2017-2022 Jason Vander Heiden, Namita Gupta, Susanna
Marquez, Nima Nouri, Ruoyi Jiang, Julian Zhou, Kenneth Hoehn, Daniel Gadala-Maria, Edel Aron, Steven
Kleinstein), which is distributed under the GNU Affero General Public License, version 3. They are
distributed under the same licence, whose text follows, and come without any warranty. What was changed is
written in SOURCES.md. The program sciinterp is a separate work under the MIT licence (../LICENSE); it reads
these files as input, and its wheel does not contain them.

"""


def write_sources(
    frame: pd.DataFrame, annotations: list[dict], counts: Counter, moved: Counter, out: Path
) -> None:
    """SOURCES.md: origin, what came in, what was dropped and why, what came out, sha256, licence."""
    per_concept = Counter(a["concept"] for a in annotations if a["start"] >= 0)
    on_samples = Counter(a["concept"] for a in annotations if a["start"] < 0)
    residues = Counter()
    for a in annotations:
        residues[a["concept"]] += max(a["end"] - a["start"], 0)
    shown = [f"| {c} | {per_concept[c]:,} | {residues[c]:,} |" for c in sorted(per_concept)]
    contents = {name: (out / name).read_bytes() for name in FILES}
    sums = [
        f"| {name} | {len(raw):,} | `{hashlib.sha256(raw).hexdigest()}` |" for name, raw in contents.items()
    ]
    groups = frame.groupby(["v_gene", "j_gene", "junction_length"]).ngroups
    text = TEMPLATE.format(
        package=PACKAGE,
        version=VERSION,
        table=TABLE,
        sha=TABLE_SHA256,
        counts="\n".join(f"| {k} | {v:,} |" for k, v in counts.items()),
        chains=f"{len(frame):,}",
        residues=f"{int(frame['length'].sum()):,}",
        groups=groups,
        families=frame["family"].nunique(),
        max_cut=MAX_CUT,
        seed=SEED,
        moved="\n".join(f"| {k} | {moved[k]:,} |" for k in sorted(moved)),
        concepts="\n".join(shown),
        n_facts=f"{sum(on_samples.values()):,}",
        n_concepts=len(on_samples),
        rows=f"{len(annotations):,}",
        sums="\n".join(sums),
    )
    before = (out / "SOURCES.md").read_text() if (out / "SOURCES.md").is_file() else ""
    _, heading, others = before.partition("\n## Structures")  # other data's parts stay
    atomic_write(out / "SOURCES.md", (text + heading + others).encode())


TEMPLATE = """\
# Sources of the embedded data

The part on antibodies is written by `build_antibodies.py`; do not edit it by hand.

## Antibodies: `antibodies.fasta`, `antibodies.tsv`, `antibodies.annotations.tsv`, `antibodies.concepts.tsv`

**Origin.** Human immunoglobulin heavy chains sequenced by Laserson, Vigneault et al. 2014 (*High-resolution
antibody dynamics of vaccine-induced immune responses*, PNAS 111:4928, doi:10.1073/pnas.1323862111), as the
subset of annotated reads that the R package alakazam distributes in `example_airr.tsv.gz`. Taken from the
Debian package `{package}` {version}, file `{table}`, sha256 `{sha}`.

**Licence.** The sequences are facts of a public study. The file they are taken from is distributed under
the GNU AGPL-3; the data files here are therefore kept under that licence (`LICENSE` in this folder),
outside the wheel and apart from the MIT code, which only reads them.

**Rebuild.**

    apt-get download {package}
    python data/build_antibodies.py {package}_{version}_amd64.deb

### Counts

| what | number |
| --- | ---: |
{counts}
| groups of V gene, J gene and junction length | {groups} |
| families (V genes) | {families} |
| residues after the cut | {residues} |

A chain is the translation of the IMGT-gapped alignment, codon by codon. A codon broken by a deletion that
is not a multiple of three has no knowable residue and is left out; bases inserted relative to the germline
are not in the alignment. "Junction not in frame": the file's own junction is not found at position 104 of
the translation. A chain without the cysteine at position 23 is left out: it is the disulfide's partner, and
its loss in these reads marks an incomplete V segment or a damaged read. With a
placeholder for each broken codon the same chains would have fifty residues more.

### What was changed

Each chain loses 0 to {max_cut} residues at each end, independently, drawn from sha256 of `{seed}:` and the
sample's identifier. The annotations move with the sequence: intervals are clipped, motifs and single
residues must lie wholly inside. The two cuts are columns of `antibodies.tsv`.

| annotations of intervals | number |
| --- | ---: |
{moved}

### Columns of `antibodies.tsv`

`sample` (identifier of the first read), `cut_n`, `cut_c` (residues lost), `v_gene`, `v_subgroup`, `d_gene`,
`j_gene` (first gene of the call, without allele), `isotype` (of the first read), `family` (the V gene: the
unit of splits), `junction_length` (residues 104 to 118, uncut), `length`, `length_uncut`, `broken_codons`,
`imgt` (IMGT position of every residue; ranges are inclusive, `sciinterp.readers.airr.expand_imgt` spells
them out), `reads` (with this protein sequence), `isotypes` (of all these reads).

### Concepts

{rows} rows: {n_facts} on whole samples ({n_concepts} genes and isotypes), the others on intervals:

| concept | intervals | residues |
| --- | ---: | ---: |
{concepts}

`segment:N` is residues of non-templated bases between V and D, and between D and J; a residue belongs to
the segment that gives at least two bases of its codon. `shm` is a residue that differs from the germline
residue in the same codon, where all three germline bases are known (assignments of D are uncertain, and so
are mutations there). Every annotation here is computed at every residue, so absence is an answer: all concepts
are exhaustive. Motifs are found by regular expression; that a motif is modified in a real antibody is
not implied.

### Files

| file | bytes | sha256 |
| --- | ---: | --- |
{sums}
"""


if __name__ == "__main__":
    main()
