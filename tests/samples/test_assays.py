"""Assays: every layout read, every row kept or counted with its reason, and no file ends in another error."""

from __future__ import annotations

import gzip
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sciinterp as si
from sciinterp.errors import FormatError, InputError
from sciinterp.readers import assays
from sciinterp.readers.assays import fit_assay
from sciinterp.readers.substitutions import read_substitutions

WILD = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"
PROTEINGYM = "mutant,mutated_sequence,DMS_score,DMS_score_bin\nM1A,{},0.5,1\nK2R:T3A,{},-1.25,0\nV34A,{},0.1,1\n".format(
    "A" + WILD[1:], "MRA" + WILD[3:], WILD
)
MAVEDB = """# Accession: urn:mavedb:00000001-a-1
accession,hgvs_nt,hgvs_splice,hgvs_pro,score,se,exp.score
urn:mavedb:00000001-a-1#1,c.1A>G,NA,p.Met1Ala,0.5,0.1,1
urn:mavedb:00000001-a-1#2,NA,NA,p.[Lys2Arg;Thr3Ala],-1.25,0.2,NA
urn:mavedb:00000001-a-1#3,NA,NA,p.Lys2Ter,-3,0.2,2
urn:mavedb:00000001-a-1#4,NA,NA,p.=,0.01,0.2,2
urn:mavedb:00000001-a-1#5,NA,NA,_wt,0.03,0.2,2
urn:mavedb:00000001-a-1#6,NA,NA,p.Tyr5=,0.02,0.2,2
urn:mavedb:00000001-a-1#7,NA,NA,p.(Arg10ProfsTer23),NA,0.2,2
urn:mavedb:00000001-a-1#8,NA,NA,p.(Arg10ProfsTer23),1,0.2,2
urn:mavedb:00000001-a-1#9,NA,NA,p.Ala2Gly,1,0.2,2
"""


def read(tmp_path: Path, text: str, name: str = "a.csv", **given):
    (tmp_path / name).write_bytes(text.encode())
    return si.read_assay(tmp_path / name, **given)


def accounted(found) -> None:
    facts = found.context
    assert facts["n_in"] == facts["n_kept"] + sum(facts["dropped"].values())
    assert facts["n_kept"] == len(found) > 0


def test_proteingym(tmp_path):
    found = read(tmp_path, PROTEINGYM)
    assert found[["variant", "score"]].values.tolist() == [["M1A", 0.5], ["K2R;T3A", -1.25]]
    assert found.context["wild_type"] == WILD
    assert list(found.columns) == ["variant", "score", "DMS_score_bin"]
    assert [r["line"] for r in found.context["refused"]] == [4]  # its position lies outside
    accounted(found)


def test_mavedb(tmp_path):
    found = read(tmp_path, MAVEDB, wild_type=WILD)
    assert found["variant"].tolist() == ["M1A", "K2R;T3A"]
    assert found["se"].tolist() == [0.1, 0.2] and "exp.score" in found.columns
    facts = found.context
    assert facts["wild_type_score"] == pytest.approx(0.02)
    reasons = {r["variant"]: r["reason"] for r in facts["refused"]}
    assert "a stop" in reasons["p.Lys2Ter"] and "frame shift" in reasons["p.(Arg10ProfsTer23)"]
    assert reasons["p.Ala2Gly"] == assays.WRONG and facts["wrong_reference"] == 1
    assert facts["dropped"][assays.UNCHANGED] == 3 and facts["dropped"][assays.NO_SCORE] == 1
    accounted(found)


LAYOUTS = [  # text, keywords, variants, scores
    ("variant\tscore\nM1A\t1\nk2r\t2\n", {}, ["M1A", "K2R"], [1, 2]),
    ("mutation;ddG\np.Met1Ala;1\nK2del;2\n", {}, ["M1A", "K2del"], [1, 2]),
    ("variant,a,b\nM1A,1,3\nK2R,2,4\n", {"score": "b"}, ["M1A", "K2R"], [3, 4]),
    ("variant,a,b\nM1A,1,x\nK2R,2,y\n", {}, ["M1A", "K2R"], [1, 2]),
    ("mutant,score\nM1A,<0.01\nK2R,>10\nT3A,1\n", {}, ["T3A"], [1]),  # named, though most are no numbers
    ("mutant,DMS_score\nM1A/x,1\nM1A,1\nM1A,2\n", {}, ["M1A"], [1.5]),
    ("sequence,score\nA{0},1\nMA{1},2\nMK,3\n{2},0.5\n", {}, ["M1A", "K2A"], [1, 2]),
    ("mutant,DMS_score\nA1C:D2E,1\nM1A:K2R:T3S,2\n", {}, ["M1A;K2R;T3S"], [2]),
    ("mutant,score\nM1A,nan\nK2R,inf\nT3A,1e-3\n,4\nA4G,NA\n", {}, ["T3A"], [0.001]),
    ("mutant,score\nM1A,1,9\nK2R,2\nT3A\n", {}, ["K2R"], [2]),
    ("\ufeffmutant,score\r\nM1A,1\r\n", {}, ["M1A"], [1]),
    ("mutant;score\nM1A;1\nK2R;\u22121,25\nT3A;0,5\n", {}, ["M1A", "K2R", "T3A"], [1, -1.25, 0.5]),  # decimal commas
    ("mutant\tscore\nM1A\t0.5\nK2R\t\u22121.25\n", {}, ["M1A", "K2R"], [0.5, -1.25]),
    ("mutant\tscore\nM1A\t1,234\nK2R\t2\nT3A\t3\n", {}, ["K2R", "T3A"], [2, 3]),  # could be either
    (",mutant,ddg_exp\n0,M1A,.5\n1,K2R,.7\n", {}, ["M1A", "K2R"], [0.5, 0.7]),  # an index is no score
    ("mutant\tscore\nM1A\t0,5\nK2R\t2.5\nT3A\t3\n", {}, ["K2R", "T3A"], [2.5, 3]),
    ("M1A,1\nK2R,2\nQ3A,3\n", {}, ["M1A", "K2R"], [1, 2]),
    ("1\tM1A\t3\n2\tK2R\t4\n", {"score": "column 3"}, ["M1A", "K2R"], [3, 4]),
    ("site,wildtype,mutant,effect\n1,M,A,1\n2,K,R,2\n2,Q,A,3\n", {}, ["M1A", "K2R"], [1, 2]),
    ("wt;pos;mut;x\nMet;1;Ala;1\nLys;2;;2\n", {}, ["M1A"], [1]),
    ("mutant,score\nM1A K2R,1\nM1A_T3S,2\nM1A/K2W,3\nK2_T3,4\n", {}, ["M1A;K2R", "M1A;T3S", "M1A;K2W"], [1, 2, 3]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "given", "variants", "scores"), LAYOUTS)
@pytest.mark.parametrize("packed", [False, True])
def test_layouts_and_damage(tmp_path, text, given, variants, scores, packed):
    text = text.format(WILD[1:], WILD[2:], WILD) if "{" in text else text
    raw = text.encode()
    (tmp_path / "a.csv").write_bytes(gzip.compress(raw) if packed else raw)
    found = si.read_assay(tmp_path / "a.csv", wild_type=WILD, **given)
    assert found["variant"].tolist() == variants
    assert found["score"].tolist() == scores
    accounted(found)


BROKEN = [
    ("", FormatError), ("\n\n", FormatError), ("score\n1\n", FormatError), ("mutant,score\n", InputError),
    ("mutant,a,b\nM1A,1,2\n", InputError), ("mutant,score\nM1A,x\n", InputError), ("mutant,score\nA1M,1\n", InputError),
    ("sequence,score\nAKT,1\n", InputError), ('mutant,score\n"M1A,1\n', FormatError), ("\0", FormatError),
    (f"mutant,score\nM{'9' * 5000}A,1\n", InputError), ("mutant,score\nM999999999999A,1\n", InputError),
]  # fmt: skip


@pytest.mark.parametrize(("text", "error"), BROKEN)
def test_what_is_no_assay_is_one_line(tmp_path, text, error):
    with pytest.raises(error) as caught:
        read(tmp_path, text, wild_type=WILD)
    assert "\n" not in str(caught.value)


def test_an_unknown_column_names_the_nearest(tmp_path):
    with pytest.raises(InputError, match="'score'"):
        read(tmp_path, "mutant,score\nM1A,1\n", score="scor")


def test_the_wild_type_is_found(tmp_path):
    """Among samples, at another place, from sequences, from references: or it is said that it is not known."""
    rows = "".join(f"{c}{i}{'A' if c != 'A' else 'G'},{i}\n" for i, c in enumerate(WILD, 1))
    samples = si.Samples(["x", "y", "z"], [WILD[::-1], WILD, "G" * 40])
    found = read(tmp_path, "mutant,score\n" + rows, wild_type=samples)
    assert found.context["wild_type_id"] == "y" and len(found) == len(WILD)
    assert read(tmp_path, "mutant,score\n" + rows).context["wild_type"] == WILD
    inside = "GSHMAS" + WILD
    moved = read(tmp_path, "mutant,score\n" + rows, wild_type=inside)
    assert moved.context["offset"] == 6 and moved["variant"][0] == "M7A" and len(moved) == len(WILD)
    few = read(tmp_path, "mutant,score\nK2A,1\n")
    assert few.context["wild_type"] is None and len(few) == 1


def test_fitting_again_changes_nothing_and_counts_the_wrong(tmp_path):
    once = read(tmp_path, MAVEDB, wild_type=WILD)
    again = fit_assay(once, WILD)
    assert again.equals(once[again.columns]) and again.context["wrong_reference"] == 0
    other = fit_assay(once, "MKA" + WILD[3:])
    assert other["variant"].tolist() == ["M1A"] and other.context["wrong_reference"] == 1


def test_forms_of_hgvs_are_read_or_refused_by_row(tmp_path):
    """What MaveDB and ClinVar write: substitutions, several at once, no change, letters gone and come, stops and shifts."""
    wild = "MKRAAVQWMK"
    read_as = {
        "p.Arg3Ala": "R3A", "p.(Arg3Ala)": "R3A", "p.arg3ala": "R3A", "r3a": "R3A", "P.ARG3ALA": "R3A", "NP_000509.1:p.Arg3Ala": "R3A",
        "p.[Arg3Ala;Val6Leu]": "R3A;V6L", "R3A:V6L": "R3A;V6L", "p.Arg3del": "R3del", "p.Arg3_Ala5del": "R3_A5del",
        "p.Ala4_Ala5insGly": "A4_A5insG", "p.Arg3_Ala5delinsTrp": "R3_A5delinsW", "p.Arg3dup": "R3dup",
    }  # fmt: skip
    refused = {
        "p.(Arg3ProfsTer23)": "frame shift", "p.Arg3fs": "frame shift", "p.Arg3Ter": "a stop", "p.Met1?": "unknown", "p.Arg3=": "itself",
        "p.Lys3Ala": "another reference", "p.Arg97=": "outside|another", "p.[(Arg3Ala)];[(=)]": "two alleles", "p.Arg3extTer17": "extension",
        "p.0": "not a protein variant", "c.76A>T": "transcripts",
    }  # fmt: skip
    for text, meant in read_as.items():
        found = read(tmp_path, f"hgvs_pro\tscore\n{text}\t1\np.Gln7Ala\t2\n", wild_type=wild)
        assert found["variant"].tolist() == [meant, "Q7A"], text
    rows = "".join(f"{text}\t1\n" for text in refused)
    found = read(tmp_path, "hgvs_pro\tscore\n" + rows + "p.Gln7Ala\t2\n", wild_type=wild)
    assert found["variant"].tolist() == ["Q7A"]
    reasons = {r["variant"]: r["reason"] for r in found.context["refused"]}
    assert [r["line"] for r in found.context["refused"]] == list(range(2, len(refused) + 2))
    for text, said in refused.items():
        assert re.search(said, reasons[text]), (text, reasons[text])


JUNK = ["\t", ",", "\n", '"', "'", ";", "p.", "[", "]", "(", ")", "NA", "9" * 30, "1e999", "-", "\x85", "=", "Ter", "fs", ":", "?",
        "*", "\u2028", "\r", "_", "del", "#", "\0", "\xff", "mutant", "score", " "]  # fmt: skip


def broken(text: str, seed: int) -> str:
    """A valid table with cuts, shuffles and edits."""
    draw = random.Random(seed)
    if draw.random() < 0.25:
        return "".join(draw.choices(text.splitlines(keepends=True), k=draw.randrange(9)))
    for _ in range(draw.randrange(1, 6)):
        at, remove = draw.randrange(len(text) + 1), draw.randrange(8)
        text = text[:at] + draw.choice(JUNK) + text[at + remove :]
    return text


def sweep(tmp_path: Path, seeds: range) -> int:
    """Every case is read and accounted for, or one line of an error; how many were read."""
    path, n_read = tmp_path / "a.csv", 0
    for seed in seeds:
        source = (PROTEINGYM, MAVEDB, LAYOUTS[0][0], LAYOUTS[1][0])[seed % 4]
        path.write_bytes(broken(source, seed).encode("latin-1" if seed % 7 == 0 else "utf-8", "replace"))
        try:
            found = si.read_assay(path, wild_type=WILD if seed % 3 else None)
        except (FormatError, InputError) as error:
            assert "\n" not in str(error)  # noqa: PT017
            continue
        accounted(found)
        n_read += 1
    return n_read


def test_damaged_tables(tmp_path):
    assert sweep(tmp_path, range(60)) > 15


@pytest.mark.slow
def test_damaged_tables_in_full(tmp_path):
    assert sweep(tmp_path, range(8000)) > 2000  # 2,000 a layout


def test_the_usual_notation_is_read_as_any_other(tmp_path, monkeypatch):
    """Substitutions as arrays, and each by :func:`parse_variant`: the same rows, names and reasons."""
    draw = random.Random(0)
    wild = "".join(draw.choices("ACDEFGHIKLMNPQRSTVWY", k=60))

    def one() -> str:
        at = draw.randint(1, 60)
        before = wild[at - 1] if draw.random() < 0.97 else draw.choice("ACX")
        return f"{before}{at}{draw.choice('ACDXY=')}"

    forms = (
        "{}",
        "{}",
        "p.{}",
        "{}:{}",
        "{};{}",
        "{},{}:{}",
        f"p.Ala{wild.index('A') + 1}Gly",
        "{}{}",
        "a1c",
        "wt",
        "NA",
        "A0C",
        "A1del",
    )
    texts = [draw.choice(forms).format(*(one() for _ in range(3))) for _ in range(600)]
    files = {
        "plain": "\n".join(["mutant;score", *(f'"{t}";{i}' for i, t in enumerate(texts))]),
        "whole": "\n".join(
            ["mutant\tmutated_sequence\tscore"]
            + [
                f"{t}\t{wild[: int(t[1:-1]) - 1] + t[-1] + wild[int(t[1:-1]) :]}\t{i}"
                for i, t in enumerate(texts)
                if t[1:-1].isdigit() and t[-1] in "ACD" and 0 < int(t[1:-1]) < 60
            ]
        ),
    }
    none = np.zeros(0, np.int64)
    for name, text in files.items():
        path = tmp_path / f"{name}.csv"
        path.write_text(text)
        for given in (wild, "MM" * (name == "plain") + wild, wild.lower(), None):
            with monkeypatch.context() as patch:
                found = si.read_assay(path, wild_type=given)
                patch.setattr(assays, "read_substitutions", lambda texts, _: read_substitutions(texts, none))
                expected = si.read_assay(path, wild_type=given)
            pd.testing.assert_frame_equal(found, expected)
            assert found.context == expected.context, (name, given)
