"""Real files of the Debian packages emboss-test and augustus-doc, where they are installed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from Bio import SwissProt
from test_parsers import assert_same_as_biopython as compare_embl
from test_uniprot_forms import assert_same_as_biopython as compare_uniprot

from sciinterp.annotations import read_annotations

EMBOSS = Path(os.environ.get("EMBOSS_TEST", "/usr/share/EMBOSS/test"))
AUGUSTUS = Path(os.environ.get("AUGUSTUS_DOC", "/usr/share/doc/augustus"))


def need(path: Path) -> Path:
    if not path.is_file():
        pytest.skip(f"{path.name} of a Debian package is not installed")
    return path


def test_swiss_prot_flat_file_agrees_with_biopython() -> None:
    path = need(EMBOSS / "swiss" / "seq.dat")
    assert compare_uniprot(path) == 2070
    annotations = read_annotations(path)
    facts = {"KEYWORD": 0, "EC": 0, "GO": 0}
    with path.open() as handle:
        for record in SwissProt.parse(handle):
            facts["KEYWORD"] += len(record.keywords)
            facts["GO"] += sum(reference[0] == "GO" for reference in record.cross_references)
            facts["EC"] += len(re.findall(r"\bEC[ =]\d", record.description))
    assert facts == {"KEYWORD": 927, "EC": 14, "GO": 636}
    n = 2109 + sum(facts.values())
    assert annotations.counts == {"n_in": n, "n_kept": n, "dropped": {}}
    assert len(annotations.coverage["uniprot"]) == 100
    assert (annotations.frame["concept"] == "uniprot:TRANSMEM").sum() == 125


def test_human_embl_entries_agree_with_biopython() -> None:
    path = need(EMBOSS / "embl" / "hum1.dat")
    parts = compare_embl(path)
    assert (parts["genbank:exon"], parts["genbank:repeat_region"], parts["genbank:CDS"]) == (803, 390, 958)
    annotations = read_annotations(path)
    assert len(annotations.coverage["genbank"]) == 20
    assert annotations.counts["without_content"] == 1
    assert annotations.counts["n_in"] == 1828


def test_transcripts_of_a_gtf() -> None:
    annotations = read_annotations(need(AUGUSTUS / "tutorial-cgp/data/refseq/refseq.hg38.gtf"))
    counts = annotations.counts
    assert counts["n_in"] == 367 == counts["n_kept"] + sum(counts["dropped"].values())
