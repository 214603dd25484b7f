"""What a report says does not depend on whether its tables are fresh or come from their files."""

import pandas as pd

from sciinterp.discovery.files import describe_candidates
from sciinterp.frames import Table
from sciinterp.report.content import controls

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
