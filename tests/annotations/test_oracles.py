"""What is computed here, computed another way: by Biopython, networkx, by enumeration, or straight from the definition."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from Bio.PDB.PDBParser import PDBParser
from Bio.PDB.SASA import ShrakeRupley
from Bio.PDB.vectors import Vector, calc_dihedral
from hypothesis import given, settings
from hypothesis import strategies as st

import sciinterp as si
from sciinterp.annotations import jaspar
from sciinterp.annotations.airr import motifs as liabilities
from sciinterp.annotations.backbone_motifs import away, dihedral, torsions
from sciinterp.annotations.cells import cell_annotations
from sciinterp.annotations.gff import parse_gff3
from sciinterp.annotations.go import parse_go, read_ontology
from sciinterp.annotations.secondary import _bends, _turns, hydrogen_bonds
from sciinterp.annotations.structure import MAX_SURFACE, parse_structure
from sciinterp.annotations.uniprot import BETWEEN, IMPOSSIBLE, NOTHING_CERTAIN, UNCERTAIN, UNKNOWN, locate
from sciinterp.codes.write_bigwig import Intervals, write_bigwig
from sciinterp.readers.backbones import joined, places_of
from sciinterp.samples import Samples


@pytest.fixture(scope="module")
def structures() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Places, chains and prolines of the beginnings of some real structures."""
    table = Path(__file__).parents[2] / "data" / "structures.tsv.gz"
    return [
        (places_of(s.data)[:90], np.array(s.data["chain"])[:90], np.array(list(s.sequence))[:90] == "P")
        for s in si.read_samples(table).subset([3, 120])
    ]


def test_torsions_are_those_of_biopython(structures) -> None:
    points = np.random.default_rng(0).normal(size=(40, 4, 3))
    theirs = [np.degrees(calc_dihedral(*(Vector(*p) for p in four))) for four in points]
    np.testing.assert_allclose(away(dihedral(*points.transpose(1, 0, 2)), np.array(theirs)), 0, atol=1e-6)
    for places, chain, _ in structures:
        follows = joined(places, chain)
        found = torsions(places, follows)
        assert np.isfinite(found["phi"]).sum() == np.isfinite(found["omega"]).sum() == follows.sum()
        for i in np.flatnonzero(follows)[::7]:
            n, ca, c, _ = places[i]
            four = places[i - 1][2], n, ca, c
            assert away(found["phi"][i], np.degrees(calc_dihedral(*(Vector(*p) for p in four)))) < 1e-6
            four = places[i - 1][0], places[i - 1][1], places[i - 1][2], n
            assert away(found["psi"][i - 1], np.degrees(calc_dihedral(*(Vector(*p) for p in four)))) < 1e-6


def test_bonds_bends_and_turns_are_those_of_the_definition(structures) -> None:
    for places, chain, proline in structures:
        n, follows = len(places), joined(places, chain)
        bonds, run = hydrogen_bonds(places, follows, proline), np.cumsum(~follows)
        assert bonds.any()
        for i, j in product(range(0, n, 3), range(n)):
            N, CA = places[j, :2]
            C0, O0 = places[i, 2], places[i, 3]
            able = follows[j] and not proline[j] and j not in (i, i + 1)
            close = np.linalg.norm(places[i, 1] - CA) < 9.0
            bound = False
            if able and close:
                back = places[j - 1, 2] - places[j - 1, 3]
                H = N + 1.01 * back / np.linalg.norm(back)
                pairs = (O0 - N, C0 - H, O0 - H, C0 - N)
                on, ch, oh, cn = (1 / max(np.linalg.norm(pair), 0.5) for pair in pairs)
                bound = 332 * 0.42 * 0.20 * (on + ch - oh - cn) < -0.5
            assert bonds[i, j] == bound, (i, j)
        bend = _bends(places[:, 1], run)
        for i in range(n):
            inside = 2 <= i < n - 2 and run[i - 2] == run[i + 2]
            turned = 0.0
            if inside:
                one, two = places[i, 1] - places[i - 2, 1], places[i + 2, 1] - places[i, 1]
                turned = np.degrees(np.arccos(one @ two / np.linalg.norm(one) / np.linalg.norm(two)))
            assert bend[i] == (turned > 70), i
        for size in (3, 4, 5):
            expected = [i + size < n and run[i] == run[i + size] and bonds[i, i + size] for i in range(n)]
            assert _turns(bonds, run, size).tolist() == expected


def test_exposure_is_that_of_biopythons_surface(tmp_path: Path) -> None:
    """A ball of residues on a lattice: those inside are buried, those outside are not."""
    pytest.importorskip("biotite", reason="biotite computes the labels")
    draw, lines = np.random.default_rng(0), []
    for number, cell in enumerate(product(range(5), repeat=3), 1):
        kind = ("ALA", "SER", "LEU", "GLU")[number % 4]
        for atom in ("N", "CA", "C", "O", "CB"):
            x, y, z = 4.6 * np.array(cell) + draw.uniform(-1.4, 1.4, 3)
            place = f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00"
            lines.append(
                f"ATOM  {len(lines) + 1:5d}  {atom:<3} {kind} A{number:4d}    {place}          {atom[0]:>2}"
            )
    path = tmp_path / "ball.pdb"
    path.write_text("\n".join([*lines, "END", ""]))
    samples, found = si.read_samples(path), parse_structure(path)
    chain = next(PDBParser(QUIET=True).get_structure("x", path)[0].get_chains())
    ShrakeRupley(n_points=400).compute(chain, level="R")
    share = np.array([residue.sasa / MAX_SURFACE[residue.get_resname()] for residue in chain])
    exposed, buried = found.positives(samples, ["structure:exposed", "structure:buried"]).toarray().T
    assert len(share) == samples.n_positions == 125 and (exposed ^ buried).all()
    clear = np.abs(share - 0.25) > 0.06  # the two sets of radii differ by some percent
    assert (exposed[clear] == (share[clear] > 0.25)).all()
    assert (share[clear] > 0.25).sum() > 20 and (share[clear] < 0.25).sum() > 20


def test_ancestors_and_levels_are_those_of_networkx(tmp_path: Path) -> None:
    networkx = pytest.importorskip("networkx", reason="obonet reads ontologies as its graphs")
    pytest.importorskip("obonet", reason="obonet reads ontologies")
    draw = np.random.default_rng(4)
    graph = networkx.DiGraph()
    terms = [f"GO:{i:07d}" for i in range(40)]
    graph.add_nodes_from(terms)
    text = "format-version: 1.2\nontology: x\n"
    for i, term in enumerate(terms):
        text += f"\n[Term]\nid: {term}\nname: t{i}\n"
        for parent in draw.choice(i, size=min(i, 2), replace=False) if i > 2 else ():
            relation = draw.choice(["is_a", "part_of", "regulates"])
            text += (
                f"is_a: {terms[parent]}\n"
                if relation == "is_a"
                else f"relationship: {relation} {terms[parent]}\n"
            )
            if relation != "regulates":
                graph.add_edge(term, terms[parent])
    (tmp_path / "x.obo").write_text(text + "\n[Typedef]\nid: part_of\nname: part of\n")
    ontology = read_ontology(tmp_path / "x.obo")
    for term in terms:
        assert set(ontology.ancestors(term)) == networkx.descendants(graph, term)
        steps = [networkx.shortest_path_length(graph, term, a) for a in ontology.ancestors(term)]
        assert steps == sorted(steps), "nearest first"
    lines = [
        f"UniProtKB\tP{i}\tg\t\t{t}\tR\tIDA\t\tF\t\t\tprotein\ttaxon:1\t2025\tX\t\t\n"
        for i, t in enumerate(terms)
    ]
    (tmp_path / "x.gaf").write_text("!gaf-version: 2.2\n" + "".join(lines))
    found = parse_go(tmp_path / "x.gaf", ontology=ontology)
    stated = {(f"P{i}", t) for i, t in enumerate(terms)}
    true_path = stated | {(f"P{i}", a) for i, t in enumerate(terms) for a in networkx.descendants(graph, t)}
    rows = zip(found.frame["sample"], found.frame["concept"].str.upper())
    assert sorted(rows) == sorted(true_path)
    roots = [t for t in terms if not graph.out_degree(t)]
    for term in terms:
        level = min(
            networkx.shortest_path_length(graph, term, r) for r in roots if networkx.has_path(graph, term, r)
        )
        assert found.concepts.loc[term.lower(), "level"] == level


DNA = "ACGT"


@pytest.fixture
def memelite() -> None:
    pytest.importorskip("memelite", reason="memelite places motifs")


def motif_rows(samples: Samples, matrix: np.ndarray, threshold: float) -> list[tuple]:
    frame = jaspar.motif_hits(samples, {"M1 x": matrix}, threshold=threshold).frame
    return sorted(map(tuple, frame[["sample", "start", "end", "strand"]].to_numpy().tolist()))


@pytest.mark.usefixtures("memelite")
def test_hits_of_a_motif_are_the_windows_of_a_low_p_value() -> None:
    """A p-value counts the windows of a uniform background that score as high: all 4 ** 5 of them are looked at."""
    draw = np.random.default_rng(3)
    matrix = draw.dirichlet(np.full(4, 0.4), 5).T
    score = np.log2((matrix + 1e-4) / 0.25)
    windows = np.array(list(product(range(4), repeat=5)))
    of = score[windows, np.arange(5)].sum(1)
    p = np.array([(of >= s - 1e-9).mean() for s in of])
    threshold = 0.02
    samples = Samples([f"s{i}" for i in range(3)], ["".join(draw.choice(list(DNA), 400)) for _ in range(3)])
    found = motif_rows(samples, matrix, threshold)
    sure, n_sure = set(found), 0
    for sample in samples:
        code = np.array([DNA.index(c) for c in sample.sequence])
        for start, strand in product(range(len(code) - 4), "+-"):
            window = code[start : start + 5] if strand == "+" else 3 - code[start : start + 5][::-1]
            value = p[int(window @ 4 ** np.arange(4, -1, -1))]
            if (
                value < 0.7 * threshold or value > 1.4 * threshold
            ):  # scores are counted in bins of a tenth of a bit
                assert ((sample.id, start, start + 5, strand) in sure) == (value < threshold)
                n_sure += value < threshold
    assert n_sure > 10


@pytest.mark.usefixtures("memelite")
def test_hits_do_not_depend_on_strand_order_case_or_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(5)
    matrix = draw.dirichlet(np.full(4, 0.3), 6).T
    texts = ["".join(draw.choice(list("ACGTN"), int(n), p=[0.24] * 4 + [0.04])) for n in (300, 5, 90, 0, 300)]
    samples = Samples(list("abcde"), texts)
    plain = motif_rows(samples, matrix, 0.01)
    assert len(plain) > 5
    turned = Samples(samples.ids, [t[::-1].translate(str.maketrans(DNA, "TGCA")) for t in texts])
    back = [
        (s, len(samples[s].sequence) - end, len(samples[s].sequence) - start, {"+": "-", "-": "+"}[strand])
        for s, start, end, strand in motif_rows(turned, matrix, 0.01)
    ]
    assert sorted(back) == plain
    assert motif_rows(samples.subset([4, 2, 0, 1, 3]), matrix, 0.01) == plain
    assert motif_rows(Samples(samples.ids, [t.lower() for t in texts]), matrix, 0.01) == plain
    monkeypatch.setattr(jaspar, "BATCH", 100)
    assert motif_rows(samples, matrix, 0.01) == plain
    assert len(jaspar.motif_hits(samples, {})) == 0


@settings(max_examples=40, deadline=None)
@given(st.text("NGSTPDLVRWA", max_size=30))
def test_liabilities_are_looked_for_at_every_place(sequence: str) -> None:
    found = sorted(liabilities(sequence))
    expected = []
    for i in range(len(sequence)):
        two, three, four = sequence[i : i + 2], sequence[i : i + 3], sequence[i : i + 4]
        if len(three) == 3 and three[0] == "N" and three[1] != "P" and three[2] in "ST":
            expected.append((i, i + 3, "motif:N-glycosylation", three))
        for name, first, seconds in (
            ("deamidation", "N", "GSNT"),
            ("isomerisation", "D", "GSDT"),
            ("acid-labile", "D", "P"),
        ):
            if len(two) == 2 and two[0] == first and two[1] in seconds:
                expected.append((i, i + 2, f"motif:{name}", two))
        if three in ("RGD", "LDV"):
            expected.append((i, i + 3, "motif:integrin-binding", three))
        if len(four) == 4 and four[:2] == "WG" and four[3] == "G":
            expected.append((i, i + 4, "motif:WGxG", four))
    assert found == sorted(expected)


SIGNS = ("", "<", ">", "?")


@pytest.mark.parametrize(("low", "high"), product(SIGNS, SIGNS))
def test_a_location_of_uniprot_keeps_what_is_certain(low: str, high: str) -> None:
    for first, more in product((1, 7, 99), (0, 1, 30)):
        start, end, flag = locate(f"{low}{first}..{high}{first + more}")
        if "?" in low + high:
            assert (start, flag) == (-1, UNCERTAIN)
        elif low == ">" or high == "<":
            assert (start, flag) == (-1, NOTHING_CERTAIN)
        else:
            assert (start, end) == (first - 1, first + more)
            assert flag == {"": "", "<": "start", ">": "end", "<>": "both"}[low + high]
        assert locate(f"{first}^{first + 1}")[2] == BETWEEN and locate(f"?..{first}")[2] == UNKNOWN
        assert locate(f"{first + more + 1}..{first}")[2] == IMPOSSIBLE


@settings(max_examples=30, deadline=None)
@given(
    st.integers(3, 20), st.lists(st.tuples(st.integers(1, 40), st.integers(0, 25)), min_size=1, max_size=4)
)
def test_on_a_circle_positions_are_counted_round(
    tmp_path_factory, length: int, spans: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("circle") / "x.gff3"
    lines = [f"c\tx\tgene{i}\t{a}\t{a + more}\t.\t+\t.\t.\n" for i, (a, more) in enumerate(spans)]
    circle = f"##gff-version 3\n##sequence-region c 1 {length}\nc\tx\tregion\t1\t{length}\t.\t+\t.\tIs_circular=true\n"
    path.write_text(circle + "".join(lines))
    found = parse_gff3(path)
    sample = Samples(["c"], ["A" * length])
    too_long = 0
    for i, (a, more) in enumerate(spans):
        fits = more < length
        expected = {(a - 1 + k) % length for k in range(more + 1)} if fits else set()
        too_long += not fits
        assert set(np.flatnonzero(found.positives(sample, [f"gff:gene{i}"]).toarray()).tolist()) == expected
    assert found.counts["n_kept"] == len(spans) + 1 - too_long


@pytest.mark.parametrize("form", ["bigwig", "bedgraph"])
@pytest.mark.parametrize("seed", range(3))
def test_a_track_is_its_values_base_by_base(tmp_path: Path, form: str, seed: int) -> None:
    draw, size = np.random.default_rng(seed), 60
    edges = np.sort(draw.choice(size, 24, replace=False))
    start, end = edges[::2], edges[1::2]
    value = draw.integers(-3, 4, len(start)).astype(np.float32)
    path = tmp_path / f"depth.{'bw' if form == 'bigwig' else 'bg'}"
    if form == "bigwig":
        write_bigwig(
            path, ["chr1"], np.array([size]), Intervals(np.zeros(len(start), int), start, end, value)
        )
    else:
        path.write_text("".join(f"chr1\t{a}\t{b}\t{v}\n" for a, b, v in zip(start, end, value)))
    dense = np.full(size, np.nan, np.float32)
    for a, b, v in zip(start, end, value):
        dense[a:b] = v
    shown = si.read_annotations(path, threshold=1).positives(
        Samples(["chr1"], ["A" * size]), ["signal:depth"]
    )
    assert (shown.toarray().ravel() == (np.nan_to_num(dense, nan=-9) >= 1)).all()
    at = draw.choice(size - 12, 6, replace=False)
    names = [f"chr1:{a}-{a + 12}({strand})" for a, strand in zip(at, "+-+-+-")]
    windows = Samples(names, ["A" * 12] * 6, kind="dna")
    expected = np.concatenate(
        [dense[a : a + 12][:: 1 if strand == "+" else -1] for a, strand in zip(at, "+-+-+-")]
    )
    found = si.read_values(path, windows)
    np.testing.assert_array_equal(found.values[:, 0], expected)
    order = draw.permutation(6)
    other = si.read_values(path, windows.subset(order)).values.reshape(6, 12)
    np.testing.assert_array_equal(other, found.values.reshape(6, 12)[order])


def test_columns_of_cells_are_those_of_a_cross_table() -> None:
    draw = np.random.default_rng(1)
    obs = pd.DataFrame(
        {
            "kind": pd.Categorical(draw.choice(["B", "T", "NK"], 50)),
            "lab": draw.choice(np.array(["x", "y", None], object), 50),
            "ok": draw.random(50) < 0.5,
            "n": draw.random(50),
        },
        index=[f"c{i}" for i in range(50)],
    )
    found = cell_annotations(obs)
    for column in ("kind", "lab", "ok"):
        counts = obs[column].value_counts()
        mine = found.frame[found.frame["source"] == f"obs:{column}"]["concept"].value_counts()
        assert mine.to_dict() == {f"obs:{column}:{value}": n for value, n in counts.items() if n}
    assert found.counts["dropped"] == {"no value": int(obs["lab"].isna().sum()), "a column of numbers": 50}
    again = cell_annotations(obs.sample(frac=1, random_state=0)[["ok", "n", "lab", "kind"]])
    assert again.digest == found.digest and again.counts == found.counts
    assert again.concepts.equals(found.concepts)
