"""Readouts as they lie in a folder: ``readout.tsv`` for people and other tools, ``readout.json`` with all that was said.

A folder holds several labels. What was read with the same settings from the same run is not read again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from sciinterp.activations import Activations
from sciinterp.codes import FeatureMatrix
from sciinterp.frames import Table
from sciinterp.interventions.files import by_name, read_pair, write_pair
from sciinterp.readouts.distilled import Rule, distil
from sciinterp.readouts.readout import Labels, ReadoutSettings, readout
from sciinterp.settings import Plain, settings_of
from sciinterp.store import ledger
from sciinterp.store.tables import plain_value, records

log = logging.getLogger(__name__)

NAMES = ("readout.tsv", "readout.json")
# What of a readout's context is a plain value.
_PLAIN = (
    "measure", "chance", "classes", "needed", "score", "best_rival", "best_rival_score", "difference", "carried_by",
    "n_samples", "n_families", "sentence",
)  # fmt: skip


def read_label(
    folder: str | Path,
    name: str,
    features: FeatureMatrix,
    labels: Labels,
    *,
    beside: tuple[Activations | None, FeatureMatrix | None, pd.DataFrame | None] = (None, None, None),
    by: str = "family",
    n: Sequence[int | None] = (24, 96, None),
    settings: ReadoutSettings | None = None,
) -> Plain:
    """Read a label of whole samples in a run, distil it, and keep both in the folder.

    What is there and intact is read. Another readout of this name is replaced. `beside` are activations, codes
    of the randomised model and hits; the rest is as :func:`sciinterp.readout` takes it. Gives the record in
    ``readout.json``.
    """
    folder, settings = Path(folder), settings_of(settings, ReadoutSettings)
    given = labels if isinstance(labels, str | tuple) else pd.DataFrame(labels).to_csv()
    digest = hashlib.sha256(str(given).encode()).hexdigest()
    asked = ledger.plain({"labels": digest, "by": by, "n": list(n), **asdict(settings)})
    known = (read_readouts(folder) or {}) if ledger.is_done(folder, "readout") else {}
    if known.get(name, {}).get("asked") == asked:
        log.info("the readout of %s is there", name)
        return known[name]
    acts, control, hits = beside
    with ledger.recorded("readout", folder, settings={"labels": sorted({*known, name})}):
        table = readout(
            features, labels, by=by, n=n, acts=acts, control=control, hits=hits, settings=settings
        )
        write_readout(folder, name, table, distil(table), asked=asked, others=known)
    return (read_readouts(folder) or {})[name]


def write_readout(
    folder: str | Path,
    label: str,
    table: Table,
    rule: Rule,
    *,
    asked: Mapping[str, object],
    others: Mapping[str, Plain],
) -> None:
    """Write a label's readout and the rule made of it, beside the records of other labels.

    `asked` is what it is a function of.
    """
    record = {
        "asked": dict(asked),
        "table": records(pd.DataFrame(table)),
        "stable": records(table.context["stable"]),
        "rule": {
            "terms": records(rule.terms),
            **{
                name: plain_value(getattr(rule, name))
                for name in ("form", "from_points", "score", "full", "plain")
            },
            **{name: getattr(rule, name) for name in ("measure", "text", "sentence")},
        },
        **{name: plain_value(table.context[name]) for name in _PLAIN},
    }
    labels = {**others, label: record}
    labels = {name: labels[name] for name in sorted(labels)}
    write_pair(folder, NAMES, by_name(labels, "label"), {"labels": labels}, computed=table)


def read_readouts(folder: str | Path) -> dict[str, Plain] | None:
    """Label -> its readout, from ``readout.json`` as the ledger knows it; None where none was read."""
    found = read_pair(folder, NAMES)
    return None if found is None else found["labels"]
