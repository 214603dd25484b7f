"""The verbs ``assay`` and ``variants``, with a seeded model in place of the real one."""

from __future__ import annotations

import pandas as pd
import pytest
from typer.testing import CliRunner

import sciinterp as si
from sciinterp.cli import app

WILD = "EVQLVESGGGLVKPGGSLRLSCAAS"


@pytest.fixture
def run(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(si, "load_model", lambda *_, **__: tiny[0])
    monkeypatch.setattr("sciinterp.sae.load_sae", lambda *_, **__: tiny[1])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wild.fasta").write_text(f">w\n{WILD}\n")

    def call(*words: str) -> str:
        done = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    return call


def test_assay(run, tmp_path):
    rows = [f"{WILD[i]}{i + 1}{x},{i * 7 % 11 + ord(x) % 5}" for i in range(25) for x in "AK" if x != WILD[i]]
    (tmp_path / "scan.csv").write_text("mutant,DMS_score\n" + "\n".join([*rows, "W1A,3"]))
    said = run("assay", "tiny", "sae", "scan.csv", "--wild-type", "wild.fasta", "--out", "found.tsv")
    assert f"{len(rows)} of {len(rows) + 1} rows read, 1 name another reference residue" in said
    assert "not used: line" in said and "optimistic" in said
    found = pd.read_csv(tmp_path / "found.tsv", sep="\t")
    assert set(found["split"]) == {"random", "contiguous", "modulo"}


def test_variants(run, tmp_path):
    (tmp_path / "v.tsv").write_text("sample\tvariant\nw\tC22S\nw\tp.[Val2Ala;Leu4Trp]\nw\tA1G\n")
    said = run("variants", "tiny", "sae", "wild.fasta", "v.tsv", "--out", "found.tsv")
    assert (
        "C22S" in said
        and "V2A;L4W" in said
        and "not carried out: row 3" in said
        and "2 variants, 1 refused" in said
    )
    assert len(pd.read_csv(tmp_path / "found.tsv", sep="\t")) > 0
    (tmp_path / "v.vcf").write_text("##fileformat=VCFv4.2\nw\t22\t.\tC\tS\n")
    assert "1 variants, 0 refused" in run("variants", "tiny", "sae", "wild.fasta", "v.vcf")
