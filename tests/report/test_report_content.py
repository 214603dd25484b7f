"""What a report says does not depend on whether its tables are fresh or come from their files."""

import numpy as np
import pandas as pd
import pytest

from sciinterp.discovery.files import describe_candidates
from sciinterp.frames import Table
from sciinterp.report.content import concept_rows, controls
from sciinterp.report.prose import statements

HITS = pd.DataFrame({"concept": ["a"], "feature": [1], "f1": [0.5], "selected": [True]})
CANDIDATES = pd.DataFrame({"kind": ["novel"], "probability": [0.5]})


def test_order_of_facts_is_not_that_of_their_arrival() -> None:
    missing = {"torsion": "no coordinates", "chain_end": "no coordinates", "domain": "not asked for"}
    found = {
        "not_run": missing,
        "not_tested": {"z": "too few", "b": "none"},
        "counts": {"refinement": {"tried": 2, "refused": 1}, "missing": {"tried": 3}},
        "skipped": {"z": "no source", "b": "too few families"},
        "precision_at": {str(k): {"expected": 0.5, "low": 0.1, "high": 0.9} for k in (10, 50, 100)},
    }
    backwards = {
        key: dict(reversed([(k, dict(reversed(v.items())) if key == "counts" else v) for k, v in of.items()]))
        for key, of in found.items()
    }
    first, second = ((Table(HITS, context=c), Table(CANDIDATES, context=c)) for c in (found, backwards))
    assert controls(*first, [], []) == controls(*second, [], [])
    assert [one["name"] for one in controls(*first, [], [])["not_run"]] == sorted(missing) * 2
    assert describe_candidates(first[1]) == describe_candidates(second[1])
    assert [line.split()[3] for line in describe_candidates(first[1])[1:4]] == ["10", "50", "100"]


FEW = [  # families that carry the concept, families needed, explained_by -> what is said beside its name
    (3, 9.0, "too few families", "c: 3 families carry it; about 9 would have to, to lie above every baseline with a power of 0.8"),
    (4, np.nan, "too few families", "c: 4 families carry it; a baseline does as well in them, so that no number would do"),
    (None, None, "too few families", "c"),
    (9, 12.0, "unclear", "c"),
]  # fmt: skip


@pytest.mark.parametrize(("n", "needed", "word", "said"), FEW)
def test_too_few_families_is_said_with_the_number_needed(n, needed, word, said) -> None:
    row = {"concept": "c", "feature": 1, "f1": 0.5, "selected": True, "explained_by": word}
    if n is not None:
        row |= {"n_test_families": n, "n_families_needed": needed}
    rows, _ = concept_rows(pd.DataFrame([row]), {})
    assert [s["concepts"] for s in statements(rows, "held-out families")] == [[said]]
