"""Arguments given in Python are checked as a configuration's values are: one error that names them and what is expected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp.annotations import Annotations, select_concepts
from sciinterp.annotations.backbone_motifs import annotate_backbones
from sciinterp.annotations.bed import parse_bed
from sciinterp.annotations.cells import cell_annotations
from sciinterp.annotations.crystals import site_properties
from sciinterp.annotations.formats import FORMATS, parser
from sciinterp.annotations.genbank import parse_embl, parse_genbank
from sciinterp.annotations.gff import parse_gff3, parse_gtf
from sciinterp.annotations.go import parse_go, read_ontology
from sciinterp.annotations.imgt import imgt_positions, number_imgt
from sciinterp.annotations.jaspar import jaspar_motifs, motif_hits
from sciinterp.annotations.molecules import functional_groups
from sciinterp.annotations.pfam import pfam_hits
from sciinterp.annotations.structure import parse_structure
from sciinterp.annotations.uniprot_text import parse_uniprot_dat
from sciinterp.errors import InputError
from sciinterp.readers.assays import fit_assay
from sciinterp.samples import Samples

SAMPLES = Samples(["a", "b", "c"], ["MKV", "AC", "ACD"], table=pd.DataFrame({"family": ["x", "y", "z"]}))
ROWS = Annotations(pd.DataFrame({"sample": ["a"], "start": [0], "end": [2], "concept": ["site"]}))
NAN = float("nan")
NO_NUMBER, NO_TEXT, NO_PATH = "expected a number", "expected text", "expected a path"
# A verb, what it is given, and what its error says beside the argument's name.
WRONG: list[tuple] = [
    (si.read_samples, {"path": 5}, NO_PATH),
    (si.read_samples, {"path": None}, NO_PATH),
    (si.read_samples, {"path": "x.fasta", "format": 3}, NO_TEXT),
    (si.read_samples, {"path": "x.fasta", "kind": 3}, NO_TEXT),
    (si.read_samples, {"path": "x.fasta", "raw": "yes"}, "expected true or false"),
    (si.read_samples, {"path": "x.fasta", "index": 1}, "expected true or false"),
    (si.read_samples, {"path": "x.fasta", "table": 3}, NO_TEXT),
    (si.read_annotations, {"path": 5}, NO_PATH),
    (si.read_annotations, {"path": "x.bed", "format": ["bed"]}, NO_TEXT),
    (si.read_annotations, {"path": "x.bw", "threshold": "1"}, NO_NUMBER),
    (si.read_annotations, {"path": "x.bw", "threshold": NAN}, NO_NUMBER),
    (si.read_annotations, {"path": "x.bw", "threshold": True}, NO_NUMBER),
    (si.read_values, {"path": 5, "samples": SAMPLES}, NO_TEXT),
    (si.read_values, {"path": "x.bw", "samples": "SAMPLES"}, "expected Samples"),
    (si.read_variants, {"path": 5}, NO_PATH),
    (si.read_variants, {"path": "x.vcf", "info": 5}, "Sequence"),
    (si.read_assay, {"path": 5}, NO_PATH),
    (si.read_assay, {"path": "x.csv", "score": 5}, NO_TEXT),
    (si.read_assay, {"path": "x.csv", "wild_type": 5}, NO_TEXT),
    (fit_assay, {"assay": [1], "wild_type": "MKV"}, "expected DataFrame"),
    (si.split_families, {"samples": "SAMPLES"}, "expected Samples"),
    (si.split_families, {"samples": SAMPLES, "seed": "x"}, "expected a whole number"),
    (si.split_families, {"samples": SAMPLES, "seed": 1.5}, "expected a whole number"),
    (si.split_families, {"samples": SAMPLES, "seed": -1}, "a seed from 0"),
    (si.split_families, {"samples": SAMPLES, "by": 5}, NO_TEXT),
    (si.split_families, {"samples": SAMPLES, "fractions": 0.5}, "fractions"),
    (si.split_families, {"samples": SAMPLES, "fractions": (0.5, 0.5)}, "fractions"),
    (si.split_families, {"samples": SAMPLES, "fractions": ("a", 1, 1)}, NO_NUMBER),
    (si.split_families, {"samples": SAMPLES, "fractions": (NAN, 1, 1)}, NO_NUMBER),
    (si.split_families, {"samples": SAMPLES, "fractions": (-1, 1, 1)}, "calibration alone may be 0"),
    (select_concepts, {"annotations": ROWS.frame, "samples": SAMPLES}, "expected Annotations"),
    (select_concepts, {"annotations": ROWS, "samples": ["a"]}, "expected Samples"),
    (select_concepts, {"annotations": ROWS, "samples": SAMPLES, "min_instances": -1}, "expected 0 or more"),
    (select_concepts, {"annotations": ROWS, "samples": SAMPLES, "min_families": 2.5}, "expected a whole number"),
    (select_concepts, {"annotations": ROWS, "samples": SAMPLES, "max_prevalence": 0}, "above 0, at most 1"),
    (select_concepts, {"annotations": ROWS, "samples": SAMPLES, "max_prevalence": 1.5}, "above 0, at most 1"),
    (select_concepts, {"annotations": ROWS, "samples": SAMPLES, "collapse": NAN}, NO_NUMBER),
    (select_concepts, {"annotations": ROWS, "samples": SAMPLES, "collapse": 0}, "a finite number above 0"),
    (annotate_backbones, {"samples": "SAMPLES"}, "expected Samples"),
    (functional_groups, {"samples": ["CCO"]}, "expected Samples"),
    (functional_groups, {"samples": SAMPLES, "groups": ["C"]}, "key = value lines"),
    (site_properties, {"samples": SAMPLES, "coordination": "yes"}, "expected true or false"),
    (jaspar_motifs, {"release": 2024}, NO_TEXT),
    (jaspar_motifs, {"ids": 4}, "Sequence"),
    (motif_hits, {"samples": SAMPLES, "motifs": [np.eye(4)]}, "key = value lines"),
    (motif_hits, {"samples": SAMPLES, "motifs": {}, "threshold": 1}, "between 0 and 1"),
    (motif_hits, {"samples": SAMPLES, "motifs": {}, "threshold": NAN}, NO_NUMBER),
    (pfam_hits, {"samples": SAMPLES, "profiles": "x.hmm", "e_value": 0}, "a finite number above 0"),
    (pfam_hits, {"samples": SAMPLES, "profiles": "x.hmm", "cpus": -1}, "0 or more"),
    (pfam_hits, {"samples": SAMPLES, "profiles": 5}, NO_PATH),
    (number_imgt, {"samples": SAMPLES, "min_confidence": 1.5}, "from 0 to 1"),
    (number_imgt, {"samples": SAMPLES, "min_confidence": NAN}, NO_NUMBER),
    (imgt_positions, {"samples": SAMPLES, "chains": 5}, "Sequence"),
    (cell_annotations, {"obs": {"a": 1}}, "expected DataFrame"),
    (read_ontology, {"path": 5}, NO_PATH),
    (parse_bed, {"path": "x.bed", "name": 4}, NO_TEXT),
    (parse_structure, {"path": "x.pdb", "format": "cif"}, "'pdb'"),
    (parse_structure, {"path": "x.pdb", "positions": "all"}, "'observed'"),
    (parse_structure, {"path": "x.pdb", "predicted": "no"}, "expected true or false"),
    *((verb, {"path": "x", "duplicates": "once"}, "'drop' or 'keep'") for verb in (parse_gff3, parse_gtf, parse_genbank, parse_embl)),
    *((verb, {"path": "x", "ids": "acession"}, "'accession'") for verb in (parse_genbank, parse_embl, parse_uniprot_dat)),
    (parse_go, {"path": "x", "ids": "name"}, "'id' or 'symbol'"),
    (parse_go, {"path": "x", "ontology": 3}, NO_TEXT),
    *((parser(format), {"path": 7}, NO_PATH) for format in FORMATS),
    *((parser(format), {"path": "x", "release": 7}, NO_TEXT) for format in FORMATS if format != "tsv"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "given", "words"),
    [pytest.param(*case, id=f"{case[0].__name__}-{list(case[1])[-1]}-{i}") for i, case in enumerate(WRONG)],
)
def test_a_wrong_argument_is_named_before_a_file_is_opened(verb, given: dict, words: str) -> None:
    with pytest.raises(InputError) as error:
        verb(**given)
    said = str(error.value)
    wrong = next(reversed(given)) if next(reversed(given)) in said else next(iter(given))
    assert wrong in said and words in said and "\n" not in said
    assert "no such file" not in said


def test_numbers_of_numpy_and_paths_of_any_kind_are_as_good(tmp_path: Path) -> None:
    fasta = tmp_path / "x.fasta"
    fasta.write_text(">a\nMKV\n>b\nAC\n>c\nAC\n")
    assert si.read_samples(str(fasta), index=np.bool_(False)).ids == si.read_samples(path=fasta).ids
    samples = si.read_samples(fasta)
    plain = si.split_families(samples, by=["x", "y", "z"], fractions=(0.5, 0.25, 0.25), seed=3)
    numpy = si.split_families(
        samples, by=np.array(list("xyz")), fractions=np.array([0.5, 0.25, 0.25]), seed=np.int64(3)
    )
    assert numpy.digest == plain.digest and numpy.seed == 3 and type(numpy.seed) is int
    again = si.split_families(samples, by=(c for c in "xyz"), fractions=[2, 1, 1], seed=3)
    assert again.digest == plain.digest
    kept, _ = select_concepts(
        ROWS, SAMPLES, min_instances=np.int32(1), min_families=1, max_prevalence=np.float32(1)
    )
    assert kept.names == ["site"]


def test_an_argument_that_a_verb_has_not_is_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="fractons"):
        si.split_families(SAMPLES, fractons=(1, 1, 1))
    with pytest.raises(TypeError, match="samples"):
        si.split_families()


@pytest.mark.parametrize("numbers", [[], np.zeros(0), np.zeros(0, bool), (), slice(0)])
def test_no_samples_are_a_part_too(numbers: object) -> None:
    none = SAMPLES[numbers] if isinstance(numbers, slice) else SAMPLES.subset(numbers)
    assert (len(none), none.ids, none.n_positions, none.table.shape) == (0, (), 0, (0, 1))


@pytest.mark.parametrize("numbers", [[0.5], ["a"], [None], 1, [[0, 1]]])
def test_what_are_no_numbers_of_samples_is_said(numbers: object) -> None:
    with pytest.raises(InputError, match="these are no samples"):
        SAMPLES.subset(numbers)


def test_numbers_without_length_are_no_data() -> None:
    for blank in (np.array(5), np.float64("nan"), None, 3.5):
        with pytest.raises(InputError, match="a sample without data, sample 'b'"):
            Samples(["a", "b"], ["MK", blank])


def test_one_odd_row_does_not_hide_that_changes_stand_in_three_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    rows = "".join(f"{a},{i + 1},W,{i}\n" for i, a in enumerate("MKTAYI"))
    path.write_text(f"wildtype,site,mutant,score\n{rows}A,2,7,9\n")
    found = si.read_assay(path, wild_type="MKTAYI")
    assert found["variant"].tolist() == [f"{a}{i + 1}W" for i, a in enumerate("MKTAYI")]
    assert found.context["refused"][0]["line"] == 8
    path.write_text("wildtype,site,mutant,score\nM,1,M1W,0\nK,2,K2W,1\n")
    assert si.read_assay(path, wild_type="MKTAYI")["variant"].tolist() == ["M1W", "K2W"]
