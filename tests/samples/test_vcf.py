"""VCF files: every allele is carried out or counted, and one bad row costs itself alone."""

from __future__ import annotations

import gzip

import pytest

import sciinterp as si
from sciinterp.errors import FormatError
from sciinterp.readers import vcf

HEAD = "##fileformat=VCFv4.2\n##contig=<ID=s1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tx\n"
ROWS = [  # REF, ALT -> alternatives kept, reasons
    ("A", "T", ["T"], []),
    ("a", "t", ["t"], []),
    ("A", ".", [], [vcf.NO_ALLELE]),
    ("A", "*", [], [vcf.SPANNED]),
    ("A", "T,G,*", ["T", "G"], [vcf.SPANNED]),
    ("ACG", "A", ["A"], []),
    ("A", "ACG", ["ACG"], []),
    ("A", "<DEL>", [], [vcf.SYMBOLIC]),
    ("A", "<INS:ME:ALU>,C", ["C"], [vcf.SYMBOLIC]),
    ("G", "G]17:198982]", [], [vcf.BREAKEND]),
    ("T", ".A", [], [vcf.BREAKEND]),
    ("A", "A", [], [vcf.SAME]),
    ("A", "<*>", [], [vcf.SYMBOLIC]),
    ("A", "1", [], [vcf.NO_LETTERS]),
    ("A", "", [], [vcf.NO_ALLELE]),
    ("", "T", [], [vcf.NO_LETTERS]),
]


@pytest.mark.parametrize(("ref", "alt", "kept", "reasons"), ROWS)
def test_every_allele_is_kept_or_counted(ref, alt, kept, reasons, tmp_path):
    path = tmp_path / "v.vcf"
    path.write_text(f"{HEAD}s1\t3\trs1\t{ref}\t{alt}\t.\tPASS\t.\tGT\t0/1\n")
    found = si.read_variants(path)
    assert found["alt"].tolist() == kept
    assert found["ref"].tolist() == [ref] * len(kept)
    assert sorted(k for k, n in found.context["dropped"].items() for _ in range(n)) == sorted(reasons)
    assert found.context["n_in"] == len(kept) + len(reasons)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_bad_rows_cost_themselves_alone_whatever_the_line_ends(end, bom, tmp_path):
    rows = ["007\t1\t.\tA\tC", "s1 2 . A C", "s1\tx\t.\tA\tC", "s1\t0\t.\tA\tC", "", "1.10\t5\trs7\tG\tGA"]
    text = bom + (HEAD + "\n".join(rows) + "\n").replace("\n", end)
    for name, raw in (
        ("v.vcf", text.encode()),
        ("v.vcf.gz", gzip.compress(text.encode()[:90]) + gzip.compress(text.encode()[90:])),
    ):
        (tmp_path / name).write_bytes(raw)
        found = si.read_variants(tmp_path / name)
        assert found.values.tolist() == [["007", 1, "", "A", "C"], ["1.10", 5, "rs7", "G", "GA"]]
        assert found.context["dropped"] == {vcf.SHORT: 1, vcf.NO_POSITION: 2}


def test_without_a_header_and_without_a_variant(tmp_path):
    path = tmp_path / "v.vcf"
    path.write_text("s1\t1\t.\tA\tC\n")
    assert len(si.read_variants(path)) == 1
    path.write_text(HEAD)
    assert len(si.read_variants(path)) == 0
    path.write_text(">s1\nACGT\n")
    with pytest.raises(FormatError, match="not a VCF"):
        si.read_variants(path)
