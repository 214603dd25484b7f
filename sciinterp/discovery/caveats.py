"""Why a candidate may be wrong: sentences made from its own numbers, strongest first."""

from __future__ import annotations

from sciinterp.discovery.homology import CONSERVED
from sciinterp.discovery.records import MissingRecord, NovelRecord, RefinementRecord


class _Reasons:
    """What speaks against one candidate, each with its strength."""

    def __init__(self) -> None:
        self.found: list[tuple[float, str]] = []

    def say(self, strength: float, text: str) -> None:
        """One more."""
        self.found.append((strength, text))

    def strongest_first(self, otherwise: str) -> list[str]:
        """All of them, or what is true where there are none."""
        return [text for _, text in sorted(self.found, key=lambda r: -r[0])] or [otherwise]


def against_missing(record: MissingRecord, concept: str) -> list[str]:
    """What speaks against a missing annotation."""
    reasons = _Reasons()
    relatives, near, base = record["relatives"], record["nearest_annotated_relative"], record["baselines"]
    length, typical = record["span"]["length"], record["span"]["typical_length"]
    if (chance := record["probability_that_any_was_left_out"]) < 0.5:
        text = f"That any instance of {concept} was left out is itself doubtful (probability {chance:.2f})."
        reasons.say(0.9, text)
    if relatives["in_family"] >= 2 and relatives["annotated"] == 0:
        text = f"None of its {relatives['in_family']} relatives carries {concept}, so the whole family may lack it."
        reasons.say(0.6, text)
    if relatives["in_family"] == 0:
        reasons.say(0.3, "It has no relative here that could support it.")
    delta = base.get("delta_f1")
    if isinstance(delta, float) and delta < 0:
        reasons.say(
            0.7,
            f"{base['best_baseline']} alone finds {concept} better (F1 {base['best_baseline_f1']:.2f} against "
            f"{base['f1']:.2f}), so the features may repeat what it shows.",
        )
    if not 0.5 <= length / max(typical, 1) <= 2:
        text = f"The span is {length} long where annotated instances are typically {typical:.0f}."
        reasons.say(0.5, text)
    for other in record["features_also_fire_on"][:1]:
        if (share := other["share_of_activity"]) > 0.3 and other["lift"] > 2:
            text = f"{100 * share:.0f}% of its leading feature's activity lies in {other['concept']}, which it may be reading instead."
            reasons.say(share, text)
    if (below := 1 - record["annotated_spans_it_outscores"]) > 0.8:
        reasons.say(0.65, f"It scores below {100 * below:.0f}% of the annotated instances.")
    alike = 1.0 if near is None else near.get("identity", 1.0) * near.get("aligned_share", 1.0)
    if near is not None and alike < 0.4:
        text = f"{100 * alike:.0f}% of it is identical to its nearest annotated relative, {near['sample']}."
        reasons.say(0.4, text)
    return reasons.strongest_first(
        f"{concept} may be left unannotated there on purpose: the source gives no reason for absence."
    )


ALONE = {
    "position": "Distance from the ends",
    "conservation": "Conservation among relatives",
    "torsion": "The torsion at the residue",
    "contacts": "How many residues are near",
    "chain_end": "Distance from the end of the chain",
}


def against_novel(record: NovelRecord) -> list[str]:
    """What speaks against a novel concept."""
    reasons = _Reasons()
    measures, stable, families = record["held_out_auroc"], record["stability"], record["families"]
    reads, order, composition = (measures[name] for name in ("reader", "order", "composition"))
    if stable is None:  # true of every row of such a list: what is particular to this one comes first
        text = "Stability not measured: without dictionaries of other seeds it may be an accident of one training run."
        reasons.say(0.5, text)
    elif stable < 0.6:
        reasons.say(0.7, f"Another dictionary reads it only loosely (cosine {stable:.2f}).")
    if (share := record["passes_in_half_samples"]) < 0.8:
        text = f"It passes in only {100 * share:.0f}% of the half-samples of its families, so others might not show it."
        reasons.say(1.3 - share / 2, text)
    if (alike := families["share_of_its_own_alike_around_it"]) >= CONSERVED:
        reasons.say(
            2.0,
            f"A conserved stretch: the letters around it are alike too in {100 * alike:.0f}% of the families where it peaks, and "
            f"{100 * families['share_that_carry_it']:.0f}% of all families carry it, so they share it by descent and experts "
            "probably know it, even where no source states it.",
        )
    reader = record["reader"]["name"]
    its = f"its {reader} reader" if reader != "motif" else "its motif"
    if composition >= reads - 0.05 and order >= 0.8:
        reasons.say(
            0.55,
            f"Unordered letters find its peaks about as well (AUROC {composition:.2f}, {its} "
            f"{reads:.2f}); it is kept because shuffling them hurts (AUROC {order:.2f} "
            "against shuffled windows).",
        )
    if order < 0.8:
        reasons.say(
            1.2 - order / 2,
            f"Shuffling the letters around a peak takes only a part of what {its} finds away (AUROC "
            f"{order:.2f} against shuffled windows), so it may read composition.",
        )
    for name, words in ALONE.items():
        if (area := measures.get(name, 0)) > max(0.7, reads - 0.05):
            text = f"{words} alone finds its peaks with AUROC {area:.2f}, {its} with {reads:.2f}."
            reasons.say(area, text)
    for match in [m for m in record["partial_matches"] if m["lift"] >= 1.5][:1]:
        reasons.say(
            0.3 + match["share_of_activity"] / 2,
            f"{100 * match['share_of_activity']:.0f}% of its activity lies in "
            f"{match['concept']} ({match['lift']:.1f} times its share of positions), so it may be a part of that.",
        )
    if reads < 0.7:
        low, high = record["reader"]["auroc_low"], record["reader"]["auroc_high"]
        text = f"I{its[1:]} finds held-out peaks only with AUROC {reads:.2f} ({low:.2f} to {high:.2f})."
        reasons.say(0.6, text)
    if record["n_families"] < 20:
        reasons.say(0.4, f"It was seen in only {record['n_families']} families.")
    return reasons.strongest_first(
        f"A source outside those checked may already describe {record['reader']['text']}."
    )


def against_refinement(record: RefinementRecord, concept: str) -> list[str]:
    """What speaks against a refinement."""
    families, (a, b) = record["tested_families"], record["features"]
    n = sum(families.values())
    reasons = []
    if families["both"]:
        reasons.append(f"{families['both']} of {n} families are held by both features.")
    if n < 15:
        reasons.append(f"It was tested on only {n} families (p = {record['test']['p']:.2g}).")
    reasons.append(
        f"Features {a} and {b} may tell groups of relatives apart by sequence around {concept} "
        "rather than two kinds of it."
    )
    return reasons
