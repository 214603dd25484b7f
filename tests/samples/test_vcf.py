"""VCF files: every allele is carried out or counted, and one bad row costs itself alone."""

from __future__ import annotations

import gzip
import random

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


SPEC = "##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
OLD = SPEC.replace("4.3", "4.2")
NUMBERED = '##INFO=<Description="a, b",Number={},ID=AD,Type=Integer>\n'
# name -> (file, alleles as chrom pos ref alt, values of CLNDN or AD, reasons)
SAVED = {
    "five columns": ("#CHROM\tPOS\tID\tREF\tALT\ns1\t3\t.\tA\tT\n", ["s1 3 A T"], [], {}),
    "parted by blanks": ("##fileformat=VCFv4.2\n#CHROM POS ID REF ALT\ns1 3 . A T\n", ["s1 3 A T"], [], {}),
    "a header in small letters": (SPEC.lower() + "s1\t3\t.\ta\tt\n", ["s1 3 a t"], [], {}),
    "a header without its mark": (SPEC[22:].lstrip("#") + "s1\t3\t.\tA\tT\n", ["s1 3 A T"], [], {vcf.NO_POSITION: 1}),
    "gVCF": (SPEC + "s1\t3\t.\tA\tT,<NON_REF>\t.\t.\tEND=9\n", ["s1 3 A T"], [], {vcf.SYMBOLIC: 1}),
    "a comma too many": (SPEC + "s1\t3\t.\tA\tT,\n", ["s1 3 A T"], [], {vcf.NO_ALLELE: 1}),
    "tabs at the end": (SPEC + "s1\t3\t.\tA\tT\t.\t.\t.\t\t\t\n", ["s1 3 A T"], [], {}),
    "in quotes": (SPEC + '"s1"\t"3"\t.\t"A"\t"T,G"\n', ["s1 3 A T", "s1 3 A G"], [], {}),
    "a number with commas": (SPEC + "s1\t1,234,567\t.\tA\tT\n", ["s1 1234567 A T"], [], {}),
    "a number with a point": (SPEC + "s1\t3.0\t.\tA\tT\n", ["s1 3 A T"], [], {}),
    "a number as a power": (SPEC + "s1\t1e6\t.\tA\tT\n", [], [], {vcf.NO_POSITION: 1}),
    "breakends": (
        SPEC + "s1\t3\t.\tA\t]13:123]T,ACG[2:32[,A.,.A,<BND>\n", [], [], {vcf.BREAKEND: 4, vcf.SYMBOLIC: 1},
    ),
    "dashes": (SPEC + "s1\t3\t.\tA\t-\ns1\t3\t.\t-\tA\n", [], [], {vcf.NO_LETTERS: 2}),
    "joined files": (SPEC + "s1\t3\t.\tA\tT\n" + SPEC + "s1\t4\t.\tC\tT\n", ["s1 3 A T", "s1 4 C T"], [], {}),
    "a name in brackets": (SPEC + "<ctg1>\t3\t.\tA\tT\n", ["<ctg1> 3 A T"], [], {}),
    "escaped values": (SPEC + "s1\t3\t.\tA\tT\t.\t.\tCLNDN=a%3Bb%2cc\n", ["s1 3 A T"], ["a;b,c"], {}),
    "percents before 4.3": (OLD + "s1\t3\t.\tA\tT\t.\t.\tCLNDN=a%3Bb\n", ["s1 3 A T"], ["a%3Bb"], {}),
    "an empty value": (SPEC + "s1\t3\t.\tA\tT\t.\t.\tCLNDN=\n", ["s1 3 A T"], [""], {}),
    "blanks in INFO": (SPEC + "s1\t3\t.\tA\tT\t.\t.\t CLNDN=b ; X=1\n", ["s1 3 A T"], ["b"], {}),
    "a value each alternative": (
        NUMBERED.format("A") + SPEC + "s1\t3\t.\tA\tT,*,G\t.\t.\tAD=5,9,3\n", ["s1 3 A T", "s1 3 A G"], ["5", "3"],
        {vcf.SPANNED: 1},
    ),
    "a value each allele": (
        NUMBERED.format("R") + SPEC + "s1\t3\t.\tA\tT,G\t.\t.\tAD=10,5,3\n", ["s1 3 A T", "s1 3 A G"], ["5", "3"], {},
    ),
    "fewer values than alleles": (
        NUMBERED.format("A") + SPEC + "s1\t3\t.\tA\tT,G\t.\t.\tAD=5\n", ["s1 3 A T", "s1 3 A G"], ["5", "5"], {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAVED)
def test_files_as_programs_and_spreadsheets_save_them(name, tmp_path):
    text, alleles, values, reasons = SAVED[name]
    (tmp_path / "v.vcf").write_text(text)
    found = si.read_variants(tmp_path / "v.vcf", info=("CLNDN", "AD"))
    assert [" ".join(map(str, row)) for row in found[["chrom", "pos", "ref", "alt"]].values] == alleles
    assert [v for c in ("CLNDN", "AD") if c in found for v in found[c]] == values
    assert found.context["dropped"] == reasons


def test_chromosomes_are_found_with_and_without_chr(tmp_path):
    (tmp_path / "v.vcf").write_text(SPEC + "1\t3\t.\tG\tT\nchrM\t2\t.\tC\tT\nchr1_alt\t3\t.\tG\tT\n")
    windows = si.Samples(["chr1:1-4", "MT:1-4"], ["ACGT", "ACGT"], kind="dna")
    placed = si.place_variants(si.read_variants(tmp_path / "v.vcf"), windows)
    assert placed["sample"].tolist() == ["chr1:1-4", "MT:1-4"]
    assert placed.context["dropped"] == {"on no window": 1}
    (tmp_path / "x.bed").write_text("1\t1\t3\tsite\nM\t0\t2\tsite\n")
    rows = si.read_annotations(tmp_path / "x.bed").project(windows)
    assert set(rows.frame["sample"]) == {"chr1:1-4", "MT:1-4"}


CLINVAR = """##fileformat=VCFv4.1
##source=ClinVar
##INFO=<ID=AF_EXAC,Number=A,Type=Float,Description="">
##INFO=<ID=CLNSIG,Number=.,Type=String,Description="">
#CHROM	POS	ID	REF	ALT	QUAL	FILTER	INFO
16	176680	15126	A	G,T	.	.	AF_EXAC=0.1,0.2;ALLELEID=1;CLNDN=alpha_Thalassemia|x;CLNSIG=Pathogenic;GENEINFO=HBA1:3039;MC=SO:0001583|missense_variant
16	176700	15127	C	T	.	.	CLNSIG=Benign;DB;CLNVC=single_nucleotide_variant
16	176710	15128	C	T	.	.	.
"""


def test_clinvar_and_any_other_keys_of_info(tmp_path):
    path = tmp_path / "clinvar.vcf"
    path.write_text(CLINVAR)
    found = si.read_variants(path)
    assert list(found.columns) == ["chrom", "pos", "id", "ref", "alt", "CLNSIG", "CLNDN", "GENEINFO", "MC"]
    assert found["CLNSIG"].tolist() == ["Pathogenic", "Pathogenic", "Benign", ""]
    assert found["GENEINFO"].tolist() == ["HBA1:3039", "HBA1:3039", "", ""]
    other = si.read_variants(path, info=["AF_EXAC", "DB", "absent"])
    assert other["AF_EXAC"].tolist() == ["0.1", "0.2", "", ""] and other["DB"].tolist() == ["", "", "DB", ""]
    assert "absent" not in other.columns and list(si.read_variants(path, info=()).columns) == list(
        vcf.COLUMNS
    )


JUNK = [
    "\t",
    "\n",
    ";",
    "=",
    ",",
    "<",
    "]",
    ".",
    "*",
    "9" * 30,
    "#",
    "##INFO=<ID=CLNSIG,Number=A>",
    "\0",
    "\xff",
    "-",
    " ",
]


def sweep(tmp_path, seeds) -> None:
    path = tmp_path / "v.vcf"
    for seed in seeds:
        draw, text = random.Random(seed), CLINVAR
        for _ in range(draw.randrange(1, 6)):
            at, remove = draw.randrange(len(text) + 1), draw.randrange(12)
            text = text[:at] + draw.choice(JUNK) + text[at + remove :]
        path.write_bytes(text.encode("latin-1" if seed % 5 == 0 else "utf-8"))
        try:
            found = si.read_variants(path)
        except FormatError as error:
            assert "\n" not in str(error)  # noqa: PT017
            continue
        assert found.context["n_in"] == len(found) + sum(found.context["dropped"].values())


def test_damaged_files(tmp_path):
    sweep(tmp_path, range(60))


@pytest.mark.slow
def test_damaged_files_in_full(tmp_path):
    sweep(tmp_path, range(2000))
