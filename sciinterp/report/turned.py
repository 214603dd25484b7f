"""What turning features did, as report and browser show it: each concept's record, the best one, and evidence for candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sciinterp.settings import Plain


def turned_concepts(turning: Plain | None) -> list[Plain]:
    """One record a concept that was turned, most control first: its feature, its row of the matrix, example and doses.

    Parameters
    ----------
    turning : mapping or None
        The content of ``turning.json``.
    """
    if not turning:
        return []
    examples = {e["concept"]: e for e in turning["examples"]}
    own = {r["concept"]: r for r in turning["table"] if r["kind"] == "feature"}
    found = []
    for told in turning["summary"]:
        concept = told["concept"]
        doses = [d for d in turning["doses"] if d["concept"] == concept]
        others = [
            r for r in turning["table"] if r["concept"] == concept and r["kind"] not in ("feature", "random")
        ]
        found.append(
            {
                **told,
                **own[concept],  # where both know, the number, not the verdict
                "feature": int(str(told["direction"]).rpartition(" ")[2]),
                "example": _marked(examples[concept]) if concept in examples else None,
                "others": [{k: r[k] for k in ("kind", "direction", "gain", "low", "high")} for r in others],
                "doses": [{k: d[k] for k in ("kind", "direction", "divergence", "gain")} for d in doses],
            }
        )
    return sorted(found, key=lambda r: (not r["control"], -(r["over_random"] or 0.0)))


def _marked(example: Plain) -> Plain:
    """The example with a line that points at letters that changed."""
    pairs = zip(example["before"], example["after"])
    return {**example, "changed": "".join("^" if a != b else " " for a, b in pairs).rstrip()}


def with_effects(rows: Iterable[Plain], turning: Plain | None) -> list[Plain]:
    """Candidates with what turning their features did among the evidence for or against, where it was measured."""
    of: dict[object, list[Plain]] = {}
    for one in turned_concepts(turning):
        if one["over_random"] is not None:
            of.setdefault(one["feature"], []).append(one)
    return [_with_effect(row, of) for row in rows]


def _with_effect(row: Plain, of: Mapping[object, list[Plain]]) -> Plain:
    evidence = row.get("evidence")
    if not isinstance(evidence, Mapping):
        return row
    new = dict(evidence)
    for j in dict.fromkeys([row.get("feature"), *(evidence.get("features") or ())]):
        for one in of.get(j, ()):
            key = "for" if one["control"] else "against"
            new[key] = [*(new.get(key) or ()), effect_sentence(one)]
    return {**row, "evidence": new}


def effect_sentence(one: Plain) -> str:
    """What turning one concept's feature did, in a sentence."""
    does = "turns" if one["control"] else "was not shown to turn"
    return (
        f"Feature {one['feature']} {does} {one['concept']} in {one['n_samples']} samples of the test families without it: the judge's "
        f"score changes by {one['gain']:+.2f} at a divergence of {one['divergence']:.2g} elsewhere, with random features "
        f"by {one['gain_random']:+.2f}."
    )
