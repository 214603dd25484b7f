"""The report's section on sets: features read together, beside everything else that could be."""

from __future__ import annotations

import pandas as pd

from sciinterp.association.set_facts import SetFacts, set_facts, set_sentences
from sciinterp.report.json_values import number
from sciinterp.settings import Plain


def set_rows(hits: pd.DataFrame) -> Plain:
    """Sentences, sizes, and one row a concept; empty where no sets were read."""
    table = (getattr(hits, "context", None) or {}).get("sets")
    facts = set_facts(table) if isinstance(table, pd.DataFrame) else []
    sizes = sorted({k for one in facts for k in one.f1})
    return {
        "sentences": set_sentences(table) if facts else [],
        "sizes": sizes,
        "rows": [_row(one, sizes) for one in facts],
    }


def _row(one: SetFacts, sizes: list[int]) -> Plain:
    return {
        "concept": one.concept,
        "f1": [number(one.f1.get(k)) for k in sizes],
        "k_found": one.k_found,
        "k_probe": one.k_probe,
        "probe": number(one.probe),
        "chance": number(one.chance),
        "any_of": list(one.any_of),
        "any_f1": number(one.any_f1),
        "sentence": one.sentence,
    }
