"""Readers beside another way to the same thing: the csv module, anndata's matrix, one variant at a time, another order."""

from __future__ import annotations

import csv
import io
import logging
import re
import sys
import types
from itertools import product
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from Bio.Data import CodonTable
from Bio.Seq import Seq
from hypothesis import given, settings
from hypothesis import strategies as st

import sciinterp as si
from sciinterp.errors import InputError
from sciinterp.readers.airr import CODONS, chain_of, expand_imgt, pack_imgt
from sciinterp.readers.backbones import pack, places_of
from sciinterp.readers.bounded import Limits, limits, whole
from sciinterp.readers.delimited import read_rows, read_table
from sciinterp.readers.entries import Letters, kind_of
from sciinterp.readers.identifiers import match_chromosomes, match_ids
from sciinterp.readers.notation import parse_variant
from sciinterp.readers.receptors import LOOPS, _germline
from sciinterp.readers.substitutions import INSIDE, OTHER, OUTSIDE, read_substitutions

AMINO = "ACDEFGHIKLMNPQRSTVWY"
cell = st.text(st.sampled_from("ab ,;'\"\n7.é"), max_size=6)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=6))
def test_quoted_cells_are_those_of_the_csv_module(rows: list[tuple], tmp_path_factory) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("one", "two", "three"), *rows])
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    path.write_text(text.getvalue())
    expected = [list(row) for row in csv.reader(io.StringIO(text.getvalue()))]
    assert [cells for _, cells in read_rows(path)] == expected
    table = read_table(path)
    kept = [row for row in expected[1:] if any(c.strip() for c in row)]
    assert table.cells.to_numpy().tolist() == kept and not table.wide
    # lines are where a row ends
    ends = list(table.cells.index)
    assert ends == sorted(ends) and (not kept or ends[-1] <= text.getvalue().count("\n"))


names = st.lists(
    st.sampled_from(["P1", "p1", "P1.1", "P1.2", "sp|P1|A", "NM_1", "NM_1.2", "chr1", "1", "Chr1", "X", "chrX", "MT", "chrM"]),
    max_size=6, unique=True,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(theirs=names, ours=names, seed=st.integers(0, 9))
def test_names_mean_the_same_in_any_order(theirs: list[str], ours: list[str], seed: int) -> None:
    draw = np.random.default_rng(seed)
    for match in (match_ids, match_chromosomes):
        found = match(theirs, ours)
        assert set(found) <= set(theirs) and set(found.values()) <= set(ours)
        assert all(found[name] == name for name in theirs if name in ours)
        again = match(draw.permutation(theirs).tolist(), draw.permutation(ours).tolist())
        assert again == found
        assert match([*theirs, *theirs], ours) == found
    of: dict[str, set[str]] = {}
    for name, meant in match_ids(theirs, ours).items():
        of.setdefault(meant, set()).update(re.findall(r"\.[12]$", name))
    assert all(len(versions) < 2 for versions in of.values()), "two versions are two things"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("ACGTUNRYKMBDHVWS-.LQ", max_size=20), max_size=6), st.integers(1, 40))
def test_a_kind_is_told_from_all_letters_however_they_come(sequences: list[str], small: int) -> None:
    letters = "".join(sequences)
    plain, total = sum(c in "ACGTUN" for c in letters), sum(c not in "-." for c in letters)
    expected = (
        "dna"
        if plain and plain >= 0.9 * total and not set(letters) - set("ACGTUNRYSWKMBDHV-.")
        else "protein"
    )
    assert kind_of(sequences) == kind_of(sequences[::-1]) == kind_of([letters]) == expected
    pieces = Letters()
    for at in range(0, len(letters), small):
        pieces.add(letters[at : at + small])
        pieces._count()
    assert pieces.kind == expected


def test_codons_are_those_of_the_standard_code() -> None:
    standard = CodonTable.unambiguous_dna_by_name["Standard"]
    assert dict(standard.forward_table) | dict.fromkeys(standard.stop_codons, "*") == CODONS
    draw = np.random.default_rng(0)
    for _ in range(20):
        bases = "".join(draw.choice(list("ACGT"), 60))
        chain = chain_of({"sequence_id": "a", "sequence_alignment": bases, "v_germline_start": "1"})
        protein = str(Seq(bases).translate())
        assert chain == "stop codon" if "*" in protein else getattr(chain, "sequence", "") == protein


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 128).map(str) | st.sampled_from(["111.1", "111.12", "112.1"]), max_size=30))
def test_packed_positions_are_the_positions(positions: list[str]) -> None:
    assert expand_imgt(pack_imgt(positions)) == positions
    assert len(pack_imgt(map(str, range(1, 129)))) == len("1-128")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**17), st.integers(1, 10))
def test_whole_numbers_are_digits_with_or_without_thousands(number: int, line: int) -> None:
    assert whole(f"{number}", "it", "f", line) == whole(f" {number:,} ", "it", "f", line) == number
    for wrong in (
        f"-{number}",
        f"{number}.0",
        f"{number}e1",
        f"{number},",
        f"+{number}",
        f"0x{number}",
        f"{number}٣",
    ):
        with pytest.raises(InputError.__mro__[1], match=f"line {line}"):
            whole(wrong, "it", "f", line)


def test_an_archive_may_hold_what_its_size_allows() -> None:
    usual = Limits()
    assert usual.unpacked(0) == usual.free_bytes and usual.unpacked(10**6) == 10**8
    assert usual.unpacked(10**15) == usual.unpacked_bytes
    with limits(ratio=3, free_bytes=0) as narrow:
        assert narrow.unpacked(7) == 21


@pytest.mark.parametrize("way", ["X", "layer", "raw", "dense", "repeated"])
def test_cells_are_the_rows_of_the_matrix(tmp_path: Path, way: str, caplog: pytest.LogCaptureFixture) -> None:
    draw = np.random.default_rng(0)
    dense = draw.poisson(0.7, (7, 5)).astype(np.float32)
    dense[3] = 0
    stored: object = dense if way == "dense" else sp.csr_matrix(dense)
    if way == "repeated":  # two entries of one place are their sum
        rows, columns = np.nonzero(dense)
        half = (dense[rows, columns] / 2, (rows, columns))
        parts = sp.coo_matrix(half, dense.shape), sp.coo_matrix(half, dense.shape)
        order = np.argsort(np.r_[parts[0].row, parts[1].row], kind="stable")
        data = np.r_[parts[0].data, parts[1].data][order]
        indices = np.r_[parts[0].col, parts[1].col][order]
        indptr = np.r_[0, np.cumsum(2 * (dense > 0).sum(1))]
        stored = sp.csr_matrix((data, indices, indptr), dense.shape)
    genes = ["g0", "g1", "g2", "g2", "g4"]
    obs = pd.DataFrame(
        {"n": range(7), "kind": pd.Categorical(["B", None] * 3 + ["T"])}, index=[f"c{i}" for i in range(7)]
    )
    var = pd.DataFrame(index=genes)
    other = sp.csr_matrix(np.ones_like(dense))
    data = anndata.AnnData(other if way in ("layer", "raw") else stored, obs=obs, var=var)
    if way == "layer":
        data.layers["counts"] = stored
    if way == "raw":
        data.raw = anndata.AnnData(stored, obs=obs, var=var)
    data.write_h5ad(tmp_path / "x.h5ad")
    given = {"layer": {"layer": "counts"}, "raw": {"raw": True}}.get(way, {})
    samples = si.read_samples(tmp_path / "x.h5ad", **given)
    there = [i for i in range(7) if dense[i].any()]
    assert samples.ids == tuple(f"c{i}" for i in there) and samples.kind == "cells"
    for i, cell in zip(there, samples):
        at = np.flatnonzero(dense[i])
        assert cell.data == {"genes": [genes[j] for j in at], "values": dense[i, at].tolist()}
        assert cell.length == len(at)
    assert samples.table["n"].tolist() == there
    assert samples.table["kind"].tolist() == [
        obs["kind"].astype(object).where(obs["kind"].notna(), None).iloc[i] for i in there
    ]
    assert samples.dropped == {"no gene expressed": 7 - len(there)} and samples.n_in == 7
    assert "2 genes share their name" in caplog.text


class Genes:
    """What :mod:`tidytcells` is asked: alleles of a gene, and the loops of an allele."""

    REGIONS: dict[str, dict[str, str]] = {  # noqa: RUF012
        "TRAV1-2*01": {"CDR1-IMGT": "TSGFNG", "CDR2-IMGT": "NVLDGL"},
        "TRAV1-2*02": {"CDR1-IMGT": "WRONG", "CDR2-IMGT": "WRONG"},
        "TRBV19*01": {"CDR1-IMGT": "LNHDA", "CDR2-IMGT": "SQIVND"},
        "TRBV19*03": {"CDR2-IMGT": "SQ"},
    }

    def query(self, *, contains_pattern: str, precision: str, functionality: str) -> set[str]:
        assert (precision, functionality) == ("allele", "F")
        return {allele for allele in self.REGIONS if contains_pattern in allele}

    def get_aa_sequence(self, gene: str) -> dict[str, str]:
        if gene not in self.REGIONS:
            raise ValueError(gene)
        return self.REGIONS[gene]


def test_loops_of_receptors_are_stated_or_those_of_their_gene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.tsv"
    rows = [
        ("id", "TRAV", "CDR3A", "TRBV", "CDR3B", "epitope"),
        ("one", "TRAV1-2", "cavf", "TRBV19*01", "CASSF", "GILGFVFTL"),
        ("gone", "TRAV99", "CAVF", "", "CASSF", "x"),
        ("beta", "", "", "TRBV19*03", "CASSF", ""),
        ("none", "", "", "", "", "x"),
        ("other", "TRAV1", "CAF", "", "", "x"),
    ]
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    _germline.cache_clear()
    monkeypatch.setitem(sys.modules, "tidytcells", None)
    with pytest.raises(InputError, match=r"sciinterp\[receptors\]"):
        si.read_samples(path)
    monkeypatch.setitem(sys.modules, "tidytcells", types.SimpleNamespace(tr=Genes()))
    samples = si.read_samples(path)
    _germline.cache_clear()
    assert {s.id: dict(zip(LOOPS, s.data)) for s in samples} == {
        "one": dict(zip(LOOPS, ["TSGFNG", "NVLDGL", "CAVF", "LNHDA", "SQIVND", "CASSF"])),
        "beta": dict(zip(LOOPS, ["", "", "", "", "SQ", "CASSF"])),
    }
    assert samples.lengths.tolist() == [6 + 6 + 4 + 5 + 6 + 5, 7]
    assert samples.dropped == {"V gene not known": 2, "no loop": 1} and samples.n_in == 5
    assert samples.table["epitope"].tolist() == ["GILGFVFTL", None]
    assert samples.table["TRAV"].tolist() == ["TRAV1-2", None]
    # loops that are stated are not looked up
    monkeypatch.setitem(sys.modules, "tidytcells", None)
    path.write_text("id\ttrbv\tcdr1b\tcdr2b\tcdr3b\na\tTRBV19\tLN\tSQ\tCAF\n")
    assert si.read_samples(path)["a"].data == ["", "", "", "LN", "SQ", "CAF"]


change = st.tuples(st.sampled_from(AMINO), st.integers(1, 12), st.sampled_from(AMINO))


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.lists(change, min_size=1, max_size=3), min_size=1, max_size=8), offset=st.integers(-3, 3)
)
def test_substitutions_together_are_variants_one_by_one(rows: list[list[tuple]], offset: int) -> None:
    wild = "MKTAYIAKQR"
    texts = [";".join(f"{a}{at}{b}" for a, at, b in row) for row in rows]
    found = read_substitutions(texts, np.arange(len(texts)))
    usual = [
        i
        for i, row in enumerate(rows)
        if all(a != b for a, _, b in row) and all(p[1] < q[1] for p, q in zip(row, row[1:]))
    ]
    assert found.rows.tolist() == usual and found.texts == [texts[i] for i in usual]
    said: dict[int, dict[str, int]] = {}
    for number, (i, fit) in enumerate(zip(usual, found.fit(wild, offset))):
        for a, at, _ in rows[i]:
            said.setdefault(at - 1, {}).setdefault(a, 0)
            said[at - 1][a] += 1
        inside = all(0 <= at - 1 + offset < len(wild) for _, at, _ in rows[i])
        right = inside and all(wild[at - 1 + offset] == a for a, at, _ in rows[i])
        assert fit == (INSIDE if right else OTHER if inside else OUTSIDE)
        moved = [(a, at + offset, b) for a, at, b in rows[i]]
        if all(at > 0 for _, at, _ in moved):
            assert found.moved(number, offset) == ";".join(f"{a}{at}{b}" for a, at, b in moved)
        if right:
            made = parse_variant(found.moved(number, offset)).apply(si.Sample("w", wild)).sequence
            assert found.put(number, wild, offset=offset) == made
            assert found.put(number, made, offset=offset, back=True) == wild
    assert {at: dict(counts) for at, counts in found.references().items()} == said


@pytest.mark.parametrize("seed", range(4))
def test_an_assay_is_what_was_measured_in_every_layout(tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    wild = "".join(draw.choice(list(AMINO), 30))
    at = draw.choice(30, 12, replace=False)
    to = [draw.choice([a for a in AMINO if a != wild[i]]) for i in at]
    score = np.round(draw.normal(size=12), 3)
    variants = [f"{wild[i]}{i + 1}{b}" for i, b in zip(at, to)]
    whole_sequences = [wild[:i] + b + wild[i + 1 :] for i, b in zip(at, to)]
    shift = 100
    layouts = {
        "gym": ("mutant,mutated_sequence,DMS_score", zip(variants, whole_sequences, score)),
        "mave": ("hgvs_pro,score", ((f"p.({v})", s) for v, s in zip(variants, score))),
        "apart": ("wildtype,site,mutant,score", ((wild[i], i + 1, b, s) for i, b, s in zip(at, to, score))),
        "whole": ("sequence,score", zip(whole_sequences, score)),
        "moved": ("variant,score", ((f"{wild[i]}{i + 1 + shift}{b}", s) for i, b, s in zip(at, to, score))),
    }
    order = draw.permutation(12)
    for name, (header, rows) in layouts.items():
        path = tmp_path / f"{name}.csv"
        lines = [",".join(map(str, row)) for row in rows]
        path.write_text(
            "\n".join([header, *(lines[i] for i in order), "nonsense,1,2,3"[: 8 + 2 * header.count(",")]])
        )
        found = si.read_assay(path, wild_type=wild)
        assert dict(zip(found["variant"], found["score"])) == dict(zip(variants, score)), name
        assert found["variant"].tolist() == [variants[i] for i in order]
        context = found.context
        assert context["offset"] == (-shift if name == "moved" else 0) and context["wild_type"] == wild
        assert context["n_in"] == context["n_kept"] + sum(context["dropped"].values()) == 13
        several = si.Samples(["other", "mine"], [wild[::-1], wild])
        assert si.read_assay(path, wild_type=several).context["wild_type_id"] == "mine" or name == "whole"


@pytest.mark.parametrize("seed", range(3))
def test_alleles_of_a_vcf_are_those_of_its_lines(tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    odd = ["*", ".", "<DEL>", "A[2:5[", "N1"]
    lines, expected, dropped = [], [], 0
    for position in range(1, 60):
        ref = "".join(draw.choice(list("ACGT"), draw.integers(1, 4)))
        alts = [
            "".join(draw.choice([*"ACGT"], 2)) if draw.random() < 0.7 else draw.choice(odd)
            for _ in range(draw.integers(1, 4))
        ]
        af = [f"{draw.random():.3f}" for _ in alts]
        lines.append(
            f"1\t{position}\trs{position}\t{ref}\t{','.join(alts)}\t.\tPASS\tAF={','.join(af)};DB;X=%2C"
        )
        for alt, value in zip(alts, af):
            if alt in odd or alt == ref:
                dropped += 1
            else:
                expected.append(["1", position, f"rs{position}", ref, alt, value, "DB"])
    head = '##fileformat=VCFv4.2\n##INFO=<ID=AF,Number=A,Type=Float,Description="x">\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n'
    (tmp_path / "x.vcf").write_text(head + "\n".join(lines) + "\n")
    found = si.read_variants(tmp_path / "x.vcf", info=("AF", "DB"))
    assert found.to_numpy().tolist() == expected
    assert found.context["n_in"] == len(expected) + dropped == found.context["n_kept"] + dropped
    plain = si.read_variants(tmp_path / "x.vcf", info=())
    assert plain.to_numpy().tolist() == [row[:5] for row in expected]
    (tmp_path / "y.vcf").write_text(head + "\n".join(lines[::-1]) + "\n")
    assert si.read_variants(tmp_path / "y.vcf", info=("AF",))["pos"].is_monotonic_decreasing


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.integers(0, 1000))
def test_places_packed_or_listed_are_one(n: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    places = np.round(draw.normal(scale=40, size=(n, 4, 3)), 3)
    places[draw.random((n, 4)) < 0.2] = np.nan
    listed = [[None if np.isnan(atom).any() else atom.tolist() for atom in residue] for residue in places]
    packed = places_of({"backbone": pack(places)})
    np.testing.assert_allclose(packed, places, atol=1e-9)
    np.testing.assert_array_equal(np.isnan(places_of({"backbone": listed})), np.isnan(places))
    np.testing.assert_allclose(places_of({"backbone": listed}), places, atol=1e-9)


@pytest.mark.parametrize(
    "bad", [5, "not base64!", "AAAA", [[1.0, 2.0]], [[[1, 2, np.inf]] * 4], [[None] * 3], [["x"] * 4]]
)
def test_places_that_are_none_are_one_line(bad: object) -> None:
    with pytest.raises(InputError, match="places of a backbone must be finite numbers"):
        places_of({"backbone": bad})


def test_one_joined_table_whatever_the_order_of_its_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    ids = [f"P{i}" for i in range(6)]
    (tmp_path / "x.fasta").write_text("".join(f">sp|{i}|N_X d\nMKV\n" for i in ids))
    for order, form in product((range(6), [3, 1, 5, 0, 2, 4]), ("{}", "sp|{}|N_X", "{}.1", "{}")):
        table = "".join(f"{form.format(ids[i])}\tf{i}\t{i}\n" for i in order)
        (tmp_path / "x.tsv").write_text(f"id\tfamily\tn\n{table}")
        samples = si.read_samples(tmp_path / "x.fasta", table=tmp_path / "x.tsv")
        assert samples.table["family"].tolist() == [f"f{i}" for i in range(6)]
        assert samples.table["n"].tolist() == list(range(6))
    (tmp_path / "x.tsv").write_text(f"id\tfamily\tn\n{table}P9\tf9\t9\n")
    more = si.read_samples(tmp_path / "x.fasta", table=tmp_path / "x.tsv")
    assert more.changed["rows of the sample table without a sample, left out"] == 1
    assert more.table["n"].tolist() == list(range(6))
