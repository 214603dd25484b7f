"""What ``demo --full`` measured beyond reconstruction, as rows of the report: the model beside its control."""

from __future__ import annotations

from sciinterp.settings import Plain

# (label, path in the measures, digits, what a model with randomised weights is expected to do)
_MEASURES = (
    ("Variance explained", ("fve",), 3, "rises"),
    ("Loss recovered, against zero", ("loss", "recovered_zero"), 3, "nothing to recover"),
    ("Loss recovered, against the mean", ("loss", "recovered_mean"), 3, "nothing to recover"),
    ("Masked loss, untouched (nats)", ("loss", "loss_clean"), 3, "near that of guessing"),
    ("Masked loss, reconstruction spliced in (nats)", ("loss", "loss_sae"), 3, ""),
    ("Description length (bits a token)", ("description_length", "total"), 0, "falls"),
    (
        "Saved against a Gaussian code (bits a token)",
        ("description_length", "saved"),
        0,
        "falls, to nothing saved",
    ),
    ("Unexplained variance a linear map predicts", ("dark_matter", "linear"), 4, "falls"),
    ("Unexplained variance that is left", ("dark_matter", "nonlinear"), 4, "falls"),
    ("Squared error a linear map predicts (R2)", ("dark_matter", "norm_r2"), 3, "rises"),
)
# (label, key of the mean over pairs of seeds, expectation)
_STABILITY = (
    ("Features shared by two seeds", "shared", "falls"),
    ("Features shared by two random dictionaries", "null_shared", ""),
    ("Correlation of matched features' codes", "activation", "falls"),
    ("The same, random directions of equal density", "null_activation", ""),
)
# What is told of the discovery benchmark: planted worlds, and the run's own concepts hidden, forgotten and merged.
_CHECKS = {
    "summary": ("measure", "value", "low", "high", "bound", "n"),
    "hidden": ("concept", "n_hidden", "recall", "recall_low", "recall_high", "letters_recall", "single_recall",
               "randomised_recall", "n_q", "randomised_n_q"),
    "forgotten": ("concept", "feature", "f1", "probability", "rank", "n_novel", "fate"),
    "merged": ("first", "second", "found", "probability", "q"),
}  # fmt: skip
UNEXPLAINED = 8  # concepts listed, those the error is most enriched in


def beyond(full: Plain | None) -> Plain | None:
    """Rows for the report, or None when the full run was not made.

    Parameters
    ----------
    full : mapping or None
        The content of ``full.json``.

    Returns
    -------
    dict or None
        ``rows`` (``name, model, control, expected, digits``), ``width`` (one row a dictionary), ``unexplained`` (the
        concepts the error is most enriched in), ``splitting`` and ``absorption`` (those there are),
        ``calibration`` (stated probabilities against planted truth) and ``checks`` (of candidates, by name).
    """
    if not full:
        return None
    model, control = full.get("measures", {}), full.get("measures_control", {})
    found = [
        (name, *(_at(side, path) for side in (model, control)), digits, expected)
        for name, path, digits, expected in _MEASURES
    ]
    sides = [(full.get(side) or {}).get("pairs", []) for side in ("stability", "stability_control")]
    found += [
        (name, *(_mean([pair.get(key) for pair in pairs]) for pairs in sides), 3, expected)
        for name, key, expected in _STABILITY
    ]
    rows = [dict(zip(("name", "model", "control", "digits", "expected"), row)) for row in found]
    other = {row["concept"]: row["ratio"] for row in control.get("unexplained", [])}
    unexplained = [{**row, "control": other.get(row["concept"])} for row in model.get("unexplained", [])]
    parts = full.get("splitting") or {}
    calibration = full.get("calibration") or {}
    return {
        "rows": rows,
        "width": [{"mdl": row.get("total"), **row} for row in full.get("width", [])],  # "total" in older runs
        "unexplained": [row for row in unexplained if row["low"] is not None and row["low"] > 1][
            :UNEXPLAINED
        ],
        "splitting": [row for row in parts.get("splitting", []) if row["gain"] > 0],
        "absorption": [row for row in parts.get("absorption", []) if row["absorbed"] > 0],
        "calibration": list(calibration.get("calibration", [])),
        "checks": {
            name: [{key: row.get(key) for key in keys} for row in calibration.get(name, [])]
            for name, keys in _CHECKS.items()
        },
    }


def _mean(values: list[float | None]) -> float | None:
    """Mean of what was measured; None where nothing was."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _at(record: Plain, path: tuple[str, ...]) -> object:
    if path == ("description_length", "saved"):
        length = record.get("description_length") or {}
        return None if "total" not in length else length["gaussian"] - length["total"]
    for key in path[:-1]:
        record = record.get(key) or {}
    return record.get(path[-1])
