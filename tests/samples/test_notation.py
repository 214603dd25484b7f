"""Notation of changes: every form read to the letter, or refused with the reason."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciinterp.errors import InputError
from sciinterp.readers.notation import THREE, Variant, parse_variant, row_variants
from sciinterp.samples import Sample

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
SEQUENCE = "EVQLVESGGGLVKPGGSLRLSCAASGFTFSDYYMSWIRQAPGKG"


@given(st.sampled_from(sorted(THREE)), st.integers(1, 5000), st.sampled_from(sorted(THREE)))
@settings(max_examples=60, deadline=None)
def test_every_spelling_reads_the_same(ref, position, alt):
    short = f"{THREE[ref]}{position}{THREE[alt]}"
    wanted = Variant(position - 1, THREE[ref], THREE[alt])
    for text in (short, f"p.{short}", f"p.{ref}{position}{alt}", f"p.({ref}{position}{alt})", f" {short} "):
        assert parse_variant(text) == wanted
    assert parse_variant(f"{ref}{position}del") == Variant(position - 1, THREE[ref], "")
    assert parse_variant(str(wanted)) == wanted


@given(st.text(max_size=12))
@settings(max_examples=80, deadline=None)
def test_any_text_is_a_variant_or_one_clear_error(text):
    try:
        assert parse_variant(text).start >= 0
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("text", ["", "A0G", "42", "AG", "p.Xxx4Gly", "A42*", "A42fs", "c.42A>G", "A42_G44"])
def test_other_notations_are_refused(text):
    with pytest.raises(InputError):
        parse_variant(text)


def test_wrong_reference_says_what_stands_there():
    with pytest.raises(InputError, match="expected A at position 2, got V"):
        parse_variant("A2G").apply(Sample("s", SEQUENCE))
    with pytest.raises(InputError, match="expected position 1 to 44, got 99"):
        parse_variant("A99G").apply(Sample("s", SEQUENCE))


@given(st.integers(0, len(SEQUENCE) - 1), st.sampled_from(LETTERS))
@settings(max_examples=30, deadline=None)
def test_a_variant_and_its_reverse_cancel(position, alt):
    sample = Sample("s", SEQUENCE)
    there = Variant(position, SEQUENCE[position], alt).apply(sample)
    assert Variant(position, alt, SEQUENCE[position]).apply(there).sequence == SEQUENCE


# Notation, and what "MKTAYIAKQR" becomes.
FORMS = [
    ("K2=", "MKTAYIAKQR"), ("p.Lys2=", "MKTAYIAKQR"), ("p.(Lys2=)", "MKTAYIAKQR"), ("p.Lys2%3D", "MKTAYIAKQR"),
    ("p.Lys2_Ala4=", "MKTAYIAKQR"), ("k2r", "MRTAYIAKQR"), ("p.lys2arg", "MRTAYIAKQR"), ("P.LYS2ARG", "MRTAYIAKQR"),
    ("NP_000001.1:p.Lys2Arg", "MRTAYIAKQR"), ("p.(Lys2Arg)", "MRTAYIAKQR"), ("K2del", "MTAYIAKQR"),
    ("p.Lys2del", "MTAYIAKQR"), ("K2delK", "MTAYIAKQR"), ("K2_A4del", "MYIAKQR"), ("p.Lys2_Ala4del", "MYIAKQR"),
    ("p.(Lys2_Ala4delLysThrAla)", "MYIAKQR"), ("k2_a4del", "MYIAKQR"), ("T3dup", "MKTTAYIAKQR"),
    ("p.Thr3dup", "MKTTAYIAKQR"), ("K2_A4dup", "MKTAKTAYIAKQR"), ("p.Lys2_Ala4dup", "MKTAKTAYIAKQR"),
    ("p.Lys2_Ala4dupLysThrAla", "MKTAKTAYIAKQR"), ("K2_T3insW", "MKWTAYIAKQR"), ("K2_T3insALA", "MKALATAYIAKQR"),
    ("p.Lys2_Thr3insAla", "MKATAYIAKQR"), ("p.lys2_thr3insglypro", "MKGPTAYIAKQR"), ("K2_T3insAla", "MKATAYIAKQR"),
    ("K2delinsWV", "MWVTAYIAKQR"), ("p.Lys2delinsTrpVal", "MWVTAYIAKQR"), ("K2_A4delinsW", "MWYIAKQR"),
    ("p.(Lys2_Ala4delinsTrpVal)", "MWVYIAKQR"), ("K2_T3delinsFS", "MFSAYIAKQR"), ("M1del", "KTAYIAKQR"),
    ("R10del", "MKTAYIAKQ"), ("K2R:A4W", "MRTWYIAKQR"), ("A4W;K2R", "MRTWYIAKQR"), ("K2R,T3A,R10K", "MRAAYIAKQK"),
    ("p.[Lys2Arg;Thr3Ala]", "MRAAYIAKQR"), ("p.[(Lys2Arg);(Ala4Trp)]", "MRTWYIAKQR"), ("p.[K2R;A4=]", "MRTAYIAKQR"),
    ("NP_000001.1:p.[Lys2Arg;Ala4Trp]", "MRTWYIAKQR"), ("p.([Lys2Arg;Ala4Trp])", "MRTWYIAKQR"),
    ("K2R A4W", "MRTWYIAKQR"), ("K2R_A4W", "MRTWYIAKQR"), ("K2R/A4W", "MRTWYIAKQR"), ("A4W + K2R", "MRTWYIAKQR"),
    ("p.Lys2Arg p.Ala4Trp", "MRTWYIAKQR"), ("[k2r;a4w]", "MRTWYIAKQR"), ("K2_T3delinsWV:A4G", "MWVGYIAKQR"),
]  # fmt: skip
REFUSED = [
    ("p.(Arg10ProfsTer23)", "frame shift"), ("p.Arg10fs", "frame shift"), ("R10fs*5", "frame shift"),
    ("p.Arg10Ter", "a stop"), ("R10*", "a stop"), ("R10X", "a stop"), ("p.Lys2_Ala4delinsTrpTer", "a stop"),
    ("p.Ter11GlnextTer17", "amino acid"), ("p.Met1ext-5", "an extension"), ("p.Met1?", "unknown"),
    ("p.Lys2Xaa", "unknown"), ("p.Lys2[10]", "repeats"), ("p.[Lys2Arg;Thr3del]", "no substitution"),
    ("K2R:K2W", "two changes of one"), ("p.[Lys2Arg;Thr3fs]", "frame shift"), ("p.[Lys2Arg];[Thr3Ala]", "two alleles"),
    ("p.Lys2_Thr3ins10", "number of residues"), ("p.Lys2insAla", "between two neighbours"),
    ("K2_A4insW", "between two neighbours"), ("A4_K2del", "ends before it begins"), ("K2_A4delKT", "3 positions"),
    ("c.42A>G", "nucleotides"), ("r.42del", "nucleotides"),
    ("g.42A>", "states too little|do not fit"), ("g.42AC>G", "do not fit"), ("g.42_41del", "too little"), ("g.42insA", "do not fit"),
    ("g.42_44inv", "too little"), ("g.42+1A>G", "too little"), ("g.0A>G", "too little"), ("g.(42_44)del", "too little"), ("p.0", "not a protein variant"), ("p.?", "not a protein"),
    ("p.=", "not a protein variant"), ("K2_A4", "not a protein variant"), ("K2AV", "not a protein variant"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), FORMS)
def test_a_form_is_carried_out_to_the_letter(text, wanted):
    sample = Sample("s", "MKTAYIAKQR")
    assert parse_variant(text).apply(sample).sequence == wanted
    fitted = parse_variant(text).fitted(sample)
    assert parse_variant(str(fitted)).apply(sample).sequence == wanted
    assert fitted.trimmed().ref == "" or fitted.trimmed().fitted(sample) == fitted.trimmed()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("g.2C>T", "ATGTAC"), ("NC_000016.10:g.2C>T", "ATGTAC"), ("m.2c>t", "ATGTAC"), ("g.2del", "AGTAC"),
        ("g.2delC", "AGTAC"), ("g.2_4del", "AAC"), ("g.2_3insTT", "ACTTGTAC"), ("g.2_4delinsA", "AAAC"),
        ("g.2dup", "ACCGTAC"), ("g.2_3dup", "ACGCGTAC"), ("g.2=", "ACGTAC"), ("g.[2C>T;5A>G]", "ATGTGC"),
    ],
)  # fmt: skip
def test_a_genomic_form_is_carried_out_to_the_letter(text, wanted):
    assert parse_variant(text).apply(Sample("s", "ACGTAC")).sequence == wanted


def test_a_structure_keeps_its_places():
    sample = Sample("s", {"sequence": "MKT", "backbone": [0, 1, 2]}, 3)
    changed = parse_variant("M1W:T3A").apply(sample)
    assert changed.data == {"sequence": "WKA", "backbone": [0, 1, 2]} and changed.length == 3
    with pytest.raises(InputError, match="other than substitutions"):
        parse_variant("K2del").apply(sample)


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_a_form_that_states_too_little_is_refused_with_the_reason(text, reason):
    with pytest.raises(InputError, match=reason) as error:
        parse_variant(text)
    assert text in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("pos", "ref", "alt", "wanted"),
    [
        (2, "K", "R", ["MRTAYIAKQR"]),
        ("2", "k", "r", ["MRTAYIAKQR"]),
        (2.0, "K", "R,W", ["MRTAYIAKQR", "MWTAYIAKQR"]),
        (1, "MKT", "M", ["MAYIAKQR"]),
        (1, "M", "MW", ["MWKTAYIAKQR"]),
        (1, "M", "MW, MV", ["MWKTAYIAKQR", "MVKTAYIAKQR"]),
        (2, "KT", "WVW", ["MWVWAYIAKQR"]),
        (2, "K", "-", ["MTAYIAKQR"]),
    ],
)
@pytest.mark.parametrize("lower", [False, True])
def test_rows_of_a_vcf_whatever_their_case_and_the_samples(pos, ref, alt, wanted, lower):
    sample = Sample("s", "mktayiakqr" if lower else "MKTAYIAKQR")
    found = [
        v.apply(sample).sequence for v in row_variants({"#CHROM": "s", "POS": pos, "REF": ref, "ALT": alt})
    ]
    assert found == [w.lower() if lower else w for w in wanted]


@pytest.mark.parametrize(
    ("pos", "ref", "alt", "reason"),
    [
        (2, "K", ".", "no alternative"), (2, "K", "*", "deletion in another row"), (2, "K", "", "empty"),
        (2, "K", None, "empty"), (2, "K", np.nan, "empty"), (2, "K", "<DEL>", "<DEL>"), (2, "K", "K[1:7[", "letters"),
        (2, np.nan, "K", "letters"), (2, "-", "K", "letters"), (0, "K", "R", "whole number"),
        (2.5, "K", "R", "whole number"), ("x", "K", "R", "whole number"), (np.nan, "K", "R", "whole number"),
        (-3, "K", "R", "whole number"),
    ],
)  # fmt: skip
def test_alleles_that_are_none_are_refused(pos, ref, alt, reason):
    (found,) = row_variants({"chrom": "s", "pos": pos, "ref": ref, "alt": alt})
    assert isinstance(found, InputError) and reason in str(found)


@pytest.mark.parametrize(
    ("variant", "wanted"),
    [("rs334", "K2R"), ("16-176680-A-G", "K2R"), ("", "K2R"), (None, "K2R"), ("p.Lys2Trp", "K2W"), ("p.Lys2Ter", "a stop")],
)  # fmt: skip
def test_another_name_of_a_variant_stands_beside_its_alleles(variant, wanted):
    (found,) = row_variants({"variant": variant, "pos": 2, "ref": "K", "alt": "R"})
    assert wanted in str(found)
    (alone,) = row_variants({"variant": variant})
    assert isinstance(alone, InputError) is (wanted != "K2W")


def test_of_several_alternatives_each_stands_alone():
    one, two, three = row_variants({"pos": 2, "ref": "K", "alt": "R,*,W"})
    assert (one, three) == (Variant(1, "K", "R"), Variant(1, "K", "W"))
    assert isinstance(two, InputError)


@given(st.integers(0, 20), st.integers(1, 6), st.text("ACDEFG", max_size=6))
@settings(max_examples=60, deadline=None)
def test_trimming_changes_nothing(start, width, alt):
    sample = Sample("s", SEQUENCE)
    change = Variant(start, SEQUENCE[start : start + width], alt)
    short = change.trimmed()
    assert len(short.ref) <= len(change.ref) and len(short.alt) <= len(change.alt)
    after = SEQUENCE[: short.start] + short.alt + SEQUENCE[short.start + len(short.ref) :]
    assert change.apply(sample).sequence == after
    assert parse_variant(str(change)).apply(sample).sequence == after or not short.ref


@pytest.mark.parametrize(
    ("text", "kind", "fits"),
    [
        ("g.4A>G", "protein", False), ("g.4A>G", "structure", False), ("m.4A>G", "alignment", False),
        ("g.4A>G", "dna", True), ("p.Ala4Gly", "protein", True), ("p.[Ala4Gly;Cys5Asp]", "dna", False),
        ("NP_1.1:p.A4G", "rna", False), ("A4G", "dna", True), ("A4G", "protein", True),
    ],
)  # fmt: skip
def test_notation_of_another_kind_of_sample_is_refused(text, kind, fits):
    (found,) = row_variants({"variant": text}, kind)
    assert isinstance(found, Variant) is fits
    assert fits or "another kind" in str(found)


@pytest.mark.parametrize("text", ["[" * 20_000, "9" * 20_000, "<a>" * 9_000, "A1C:" * 9_000, "p.(" * 9_000])
def test_a_text_too_long_for_a_change_is_refused_at_once(text):
    began = time.process_time()
    with pytest.raises(InputError) as error:
        parse_variant(text)
    assert time.process_time() - began < 1 and len(str(error.value)) < 400
