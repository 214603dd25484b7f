"""What is said of a candidate: every reason has its case, numbers are those of plain counts, files give back what went in."""

from __future__ import annotations

import copy
import json

import numpy as np
import pandas as pd
import pytest
from Bio import Align
from laid_out import problem_of, random_texts

from sciinterp.discovery.caveats import against_missing, against_novel, against_refinement
from sciinterp.discovery.evidence import Evidence
from sciinterp.discovery.files import (
    COLUMNS,
    are_sets,
    describe_candidates,
    read_candidates,
    write_candidates,
)
from sciinterp.discovery.sequence_identity import KMER, SequenceIdentity, aligned_identity, kmer_sets
from sciinterp.errors import FormatError, StoreError
from sciinterp.frames import Table

MISSING = {
    "relatives": {"in_family": 3, "annotated": 2},
    "nearest_annotated_relative": {"sample": "s1", "identity": 0.9, "aligned_share": 1.0},
    "baselines": {"run": True, "delta_f1": 0.2, "best_baseline": "letter", "best_baseline_f1": 0.4, "f1": 0.6},
    "span": {"length": 10, "typical_length": 10.0},
    "features_also_fire_on": [],
    "annotated_spans_it_outscores": 0.7,
    "probability_that_any_was_left_out": 0.9,
}  # fmt: skip
NOVEL = {
    "held_out_auroc": {"reader": 0.9, "composition": 0.6, "centre": 0.6, "position": 0.5, "conservation": 0.5,
                       "order": 0.9, "matched": 0.8},
    "stability": 0.9,
    "passes_in_half_samples": 1.0,
    "families": {"share_of_its_own_alike_around_it": 0.0, "share_that_carry_it": 0.3},
    "reader": {"name": "motif", "text": "WxC", "auroc_low": 0.6, "auroc_high": 0.8},
    "partial_matches": [],
    "n_families": 40,
}  # fmt: skip


def changed(record: dict, change: dict) -> dict:
    """The record with some entries, given by their path, in the place of others."""
    out = copy.deepcopy(record)
    for path, value in change.items():
        *names, last = path.split(".")
        inner = out
        for name in names:
            inner = inner[name]
        inner[last] = value
    return out


def test_a_candidate_without_a_flaw_is_told_what_nobody_can_know():
    (only,) = against_missing(MISSING, "x:site")
    assert only == "x:site may be left unannotated there on purpose: the source gives no reason for absence."
    assert against_novel(NOVEL) == ["A source outside those checked may already describe WxC."]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"probability_that_any_was_left_out": 0.31}, "doubtful (probability 0.31)"),
        ({"relatives": {"in_family": 4, "annotated": 0}}, "None of its 4 relatives carries x:site"),
        ({"relatives": {"in_family": 0, "annotated": 0}}, "no relative here"),
        ({"baselines.delta_f1": -0.1}, "letter alone finds x:site better (F1 0.40 against 0.60)"),
        ({"span.length": 30}, "30 long where annotated instances are typically 10"),
        ({"span.length": 4}, "4 long where"),
        (
            {"features_also_fire_on": [{"concept": "x:b", "share_of_activity": 0.4, "lift": 3.0}]},
            "40% of its leading feature's activity lies in x:b",
        ),
        ({"annotated_spans_it_outscores": 0.1}, "scores below 90%"),
        ({"nearest_annotated_relative.identity": 0.3}, "30% of it is identical to its nearest annotated relative, s1"),
        ({"nearest_annotated_relative.aligned_share": 0.2}, "18% of it is identical"),
    ],
)  # fmt: skip
def test_every_reason_against_a_missing_annotation_has_its_case(change, words):
    (only,) = against_missing(changed(MISSING, change), "x:site")
    assert words in only and only.endswith(".")


@pytest.mark.parametrize(
    "change",
    [
        {"probability_that_any_was_left_out": 0.5},
        {"relatives": {"in_family": 1, "annotated": 0}},
        {"baselines": {"run": False}},
        {"baselines.delta_f1": None},
        {"baselines.delta_f1": 0.0},
        {"span.length": 20},
        {"span.length": 5},
        {"features_also_fire_on": [{"concept": "x:b", "share_of_activity": 0.9, "lift": 2.0}]},
        {"nearest_annotated_relative": None},
        {"nearest_annotated_relative": {"sample": "s1", "jaccard_3mers": 0.1}},  # too long to align
        {"annotated_spans_it_outscores": 0.2},
    ],
)
def test_what_is_just_good_enough_is_not_held_against_it(change):
    (only,) = against_missing(changed(MISSING, change), "x:site")
    assert "on purpose" in only


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stability": None}, "Stability not measured"),
        ({"stability": 0.5}, "only loosely (cosine 0.50)"),
        ({"passes_in_half_samples": 0.6}, "only 60% of the half-samples"),
        (
            {"families": {"share_of_its_own_alike_around_it": 0.7, "share_that_carry_it": 0.25}},
            "alike too in 70% of the families where it peaks, and 25% of all families carry it",
        ),
        ({"held_out_auroc.composition": 0.87}, "Unordered letters find its peaks about as well (AUROC 0.87, its motif 0.90)"),
        ({"held_out_auroc.order": 0.7}, "only a part of what its motif finds away (AUROC 0.70"),
        ({"held_out_auroc.position": 0.88}, "Distance from the ends alone finds its peaks with AUROC 0.88, its motif with 0.90"),
        ({"held_out_auroc.conservation": 0.86}, "Conservation among relatives alone"),
        ({"held_out_auroc.torsion": 0.95}, "The torsion at the residue alone"),
        ({"held_out_auroc.contacts": 0.95}, "How many residues are near alone"),
        ({"held_out_auroc.chain_end": 0.95}, "Distance from the end of the chain alone"),
        (
            {"partial_matches": [{"concept": "x:b", "share_of_activity": 0.6, "lift": 2.5}]},
            "60% of its activity lies in x:b (2.5 times its share of positions)",
        ),
        ({"held_out_auroc.reader": 0.68}, "Its motif finds held-out peaks only with AUROC 0.68 (0.60 to 0.80)"),
        ({"n_families": 19}, "only 19 families"),
    ],
)  # fmt: skip
def test_every_reason_against_a_novel_concept_has_its_case(change, words):
    reasons = against_novel(changed(NOVEL, change))
    assert any(words in reason for reason in reasons), reasons
    assert all(reason.endswith(".") for reason in reasons)


def test_another_reader_is_called_by_its_name():
    record = changed(
        NOVEL, {"reader.name": "pair", "held_out_auroc.order": 0.6, "held_out_auroc.reader": 0.65}
    )
    assert all("its pair reader" in r.lower() for r in against_novel(record) if "AUROC" in r)


def test_the_strongest_reason_comes_first():
    worst = {"families": {"share_of_its_own_alike_around_it": 0.9, "share_that_carry_it": 1.0}, "n_families": 12,
             "stability": 0.1}  # fmt: skip
    reasons = against_novel(changed(NOVEL, worst))
    assert [r.split()[0] for r in reasons] == ["A", "Another", "It"]
    doubtful = changed(
        MISSING, {"span.length": 99, "probability_that_any_was_left_out": 0.1, "relatives.in_family": 0}
    )
    assert [r.split()[0] for r in against_missing(doubtful, "x")] == ["That", "The", "It"]


@pytest.mark.parametrize(
    ("families", "n_reasons"),
    [
        ({"only_first": 9, "only_second": 9, "both": 0, "neither": 0}, 1),
        ({"only_first": 9, "only_second": 9, "both": 2, "neither": 0}, 2),
        ({"only_first": 5, "only_second": 5, "both": 1, "neither": 1}, 3),
    ],
)
def test_reasons_against_a_refinement(families, n_reasons):
    reasons = against_refinement(
        {"tested_families": families, "features": [3, 8], "test": {"p": 0.012}}, "x:two"
    )
    assert len(reasons) == n_reasons and "Features 3 and 8" in reasons[-1]
    assert not families["both"] or reasons[0].startswith(f"{families['both']} of {sum(families.values())}")


# The evidence itself.


@pytest.fixture(scope="module")
def evidence():
    spans = [(f"s{i}", 4, 8, "x:a") for i in range(9)] + [(f"s{i}", 0, 20, "x:all") for i in range(12)]
    codes = np.zeros((12, 20, 3))
    codes[:, 4:6, 0] = codes[:, [15], 1] = 1
    codes[:3, 4, 1] = 1
    problem = problem_of(
        random_texts(12, 20), spans, codes.reshape(-1, 3), families=[i // 2 for i in range(12)]
    )
    hits = pd.DataFrame(
        {"concept": ["x:a", "x:a"], "feature": [0, 1], "f1": [0.66, 0.1], "q": [1e-4, 0.9], "selected": [True, False],
         "delta_low": [0.1, 0.0], "best_baseline": ["letter", "letter"], "explained_by": ["", ""], "q_above": [0.01, 1.0],
         "delta_f1": [0.2, 0.0], "best_baseline_f1": [0.4, 0.4], "precision": [1.0, 0.1], "recall": [0.5, 0.1]}
    )  # fmt: skip
    return Evidence(problem, hits)


def test_where_a_concept_is_annotated_is_counted_once(evidence):
    placed = evidence.placed("x:a")
    assert placed.carriers.tolist() == list(range(9)) and placed.is_carrier.sum() == 9
    assert placed.typical == 4 and evidence.placed("x:a") is placed


def test_baselines_come_from_the_row_that_was_selected(evidence):
    row = evidence.baselines("x:a")
    assert row["run"] and row["feature"] == 0 and row["f1"] == 0.66 and row["best_baseline"] == "letter"
    assert all(type(v) in (bool, int, float, str) for v in row.values())
    assert evidence.baselines("x:unknown") == {"run": False}
    assert Evidence(evidence.problem, pd.DataFrame()).baselines("x:a") == {"run": False}


def test_the_nearest_concept_and_what_holds_the_activity(evidence):
    assert evidence.nearest(0)["concept"] == "x:a"
    assert evidence.nearest(0)["f1"] == pytest.approx(2 * 18 / (24 + 36), abs=1e-3)
    (most,) = [m for m in evidence.also_fires_on(0) if m["concept"] == "x:a"]
    assert most["share_of_activity"] == pytest.approx(18 / 24)
    assert most["lift"] == pytest.approx(18 / 24 / (36 / 240), abs=0.01)
    assert "x:a" not in [m["concept"] for m in evidence.also_fires_on(0, without="x:a")]
    assert evidence.also_fires_on(2)[0:0] == [] and evidence.nearest(2)["f1"] == 0  # it never fires


def test_where_peaks_lie_is_counted_from_the_end_they_keep_to(evidence):
    offsets = evidence.problem.samples.offsets
    at = evidence.lies(offsets[:9] + 5)
    assert (at["counted_from"], at["position"], at["half_lie_between"]) == ("start", 6, [6, 6])
    assert at["concept"] == "x:a" and at["share_of_peaks"] == 1
    nowhere = evidence.lies(offsets[:9] + 15)
    assert nowhere["concept"] is None and "share_of_peaks" not in nowhere


def test_without_concepts_there_is_nothing_near():
    alone = Evidence(problem_of(random_texts(4, 20), codes=np.eye(80)[:, :2]), pd.DataFrame())
    assert (
        alone.nearest(0) is None
        and alone.also_fires_on(0) == []
        and alone.lies(np.array([3]))["concept"] is None
    )


# Which sample is most like another.


def test_kmers_are_the_sets_of_words_of_each_sample():
    texts = ["ACDEFACD", "AC", "ACDEF", "WWWWW"]
    problem = problem_of(texts)
    got = kmer_sets(problem).toarray()
    sets = [{t[i : i + KMER] for i in range(len(t) - KMER + 1)} for t in texts]
    np.testing.assert_array_equal(got @ got.T, [[len(a & b) for b in sets] for a in sets])
    assert set(np.unique(got)) == {0, 1}


def test_the_nearest_relative_is_the_one_that_shares_most_words():
    texts = random_texts(8, 40, 1)
    texts[5] = texts[0][:30] + texts[5][:10]
    problem = problem_of(texts, families=[0, 1, 2, 3, 4, 0, 5, 6])
    like = SequenceIdentity(problem)
    near = like.nearest(0, np.arange(8))
    sets = [{t[i : i + KMER] for i in range(len(t) - KMER + 1)} for t in texts]
    assert near["sample"] == "s5" and near["same_family"]
    assert near["jaccard_3mers"] == pytest.approx(len(sets[0] & sets[5]) / len(sets[0] | sets[5]), abs=1e-3)
    assert near["identity"] == pytest.approx(aligned_identity(texts[0], texts[5])[0], abs=1e-3)
    assert like.nearest(0, np.array([0])) is None and like.nearest(0, np.zeros(0, int)) is None
    assert like.nearest(5, np.array([0]))["jaccard_3mers"] == near["jaccard_3mers"]


@pytest.mark.parametrize("seed", range(4))
def test_identity_is_counted_on_an_alignment_of_biopython(seed):
    """Counted by ``Alignment.counts`` on the aligned columns between the first and the last pair."""
    a, b = random_texts(2, 60, seed)
    b = a[10:40] + b[:15] + a[45:]
    aligner = Align.PairwiseAligner(scoring="blastp")
    aligner.end_gap_score = 0
    aligner.open_gap_score, aligner.extend_gap_score = -11, -1
    best = aligner.align(a, b)[0]
    counts = best.counts()
    pairs, inside = counts.identities + counts.mismatches, counts.internal_gaps
    identity, share = aligned_identity(a, b)
    assert identity == pytest.approx(counts.identities / (pairs + inside))
    assert share == pytest.approx(pairs / min(len(a), len(b)))


def test_bases_are_matched_as_letters():
    assert aligned_identity("ACGTACGTACGT", "acgtacgtacgt", protein=False) == (1.0, 1.0)
    assert aligned_identity("AAAA", "CCCC", protein=False)[0] == 0


# Files and sentences.


def listed(n: int = 3) -> Table:
    rows = [
        ["missing", f"s{i}", 2 * i, 2 * i + 3, "x:a", i, 0.5 - i, 0.9 - 0.1 * i, 0.1 + 0.1 * i, "candidate: x", "why.",
         {"features": [i], "against": ["why."], "nested": {"a": [1, None]}}]
        for i in range(n)
    ]  # fmt: skip
    return Table(pd.DataFrame(rows, columns=list(COLUMNS)), context={"counts": {"missing": {"spans": 4}}})


def test_what_was_written_is_read_with_its_types(tmp_path):
    write_candidates(listed(), tmp_path)
    again = read_candidates(tmp_path)
    pd.testing.assert_frame_equal(pd.DataFrame(again), pd.DataFrame(listed()))
    assert again.context == listed().context
    first = [(tmp_path / name).read_bytes() for name in ("candidates.tsv", "candidates.json")]
    write_candidates(again, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in ("candidates.tsv", "candidates.json")] == first
    table = pd.read_csv(tmp_path / "candidates.tsv", sep="\t")
    assert list(table.columns) == [c for c in COLUMNS if c != "evidence"] and len(table) == 3


def test_damage_is_named(tmp_path):
    with pytest.raises((StoreError, FormatError), match=r"candidates\.json"):
        read_candidates(tmp_path)
    (tmp_path / "candidates.json").write_text("{")
    with pytest.raises(FormatError, match=r"candidates\.json"):
        read_candidates(tmp_path)


def test_the_file_says_that_nobody_has_confirmed_it(tmp_path):
    write_candidates(listed(), tmp_path)
    assert "nobody has confirmed" in json.loads((tmp_path / "candidates.json").read_text())["note"]


def test_a_list_is_described_by_what_it_holds():
    table = listed()
    table.context |= {
        "precision_at": {"50": {"expected": 0.5, "low": 0.4, "high": 0.6}, "10": {"expected": 0.81, "low": 0.6, "high": 1.0}},
        "counts": {"missing": {"below_min_probability": 7, "beyond_max_rows": 0}, "listed": {"missing": 3}},
        "skipped": {"x:b": "too few", "x:c": "too few", "x:d": "other"},
        "not_run": {"ablation": "no model"},
    }  # fmt: skip
    assert describe_candidates(table) == [
        "3 candidates (3 missing); none is confirmed",
        "of the first 10 missing annotations 81% are expected to be right (90% interval 60 to 100%)",
        "of the first 50 missing annotations 50% are expected to be right (90% interval 40 to 60%)",
        "missing: 7 below min probability",
        "no missing annotation looked for in 1 concept: other",
        "no missing annotation looked for in 2 concepts: too few",
        "not run: ablation (no model)",
    ]
    empty = pd.DataFrame(listed(0))
    assert describe_candidates(empty) == ["0 candidates (none of any kind); none is confirmed"]


def test_rows_that_are_sets_say_so():
    table = listed()
    table.at[1, "evidence"] = {**table.at[1, "evidence"], "set": {"kind": "both", "features": [1, 2]}}
    assert are_sets(table).tolist() == [False, True, False] and len(are_sets(listed(0))) == 0
