"""What a list of candidates holds, as plain data: its rows, the record of each kind, and what is said of the search."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Relatives(TypedDict):
    """Of a sample: how many there are, and how many carry the concept."""

    in_family: int
    annotated: int


class Near(TypedDict):
    """The annotated sample that is most alike; without an identity where an alignment would be too large."""

    sample: str
    jaccard_3mers: float
    same_family: bool
    identity: NotRequired[float]
    aligned_share: NotRequired[float]


class Fires(TypedDict):
    """A concept that holds a part of a feature's activity."""

    concept: str
    share_of_activity: float
    lift: float


class Nearest(TypedDict):
    """The concept that a feature meets best."""

    concept: str
    f1: float


class Lies(TypedDict):
    """Where peaks lie, counted from the end they keep to; and the concept that holds them."""

    counted_from: str
    position: int
    half_lie_between: list[int]
    concept: str | None
    share_of_peaks: NotRequired[float]


Pattern = TypedDict(
    "Pattern",
    {
        "class": str,
        "median_run": NotRequired[float],
        "share_of_its_samples": NotRequired[float],
        "period": NotRequired[int | None],
    },
)


class Mutation(TypedDict):
    """The smallest mutation that takes a feature away, as the model predicts."""

    variant: str
    feature: int
    before: float
    after: float
    left: float
    removes: bool
    n_tried: int


class Record(TypedDict):
    """What every record holds, and what the model adds where it was asked."""

    features: list[int]
    against: list[str]
    claim: NotRequired[str]
    would_be_falsified_by: NotRequired[str]
    set: NotRequired[dict[str, object]]
    ablation: NotRequired[dict[str, float]]
    falsifying_mutation: NotRequired[Mutation]


class Claimed(Record):
    """What a whole record holds."""

    sources_checked: list[dict[str, str]]


class MissingRecord(Claimed):
    """Of a missing annotation."""

    nearest_annotated_relative: Near | None
    relatives: Relatives
    baselines: dict[str, bool | float | str | None]
    features_also_fire_on: list[Fires]
    span: dict[str, float]
    annotated_spans_it_outscores: float
    unannotated_instances_estimated: float
    probability_that_any_was_left_out: float


class NovelRecord(Claimed):
    """Of a novel feature, or of a set of features."""

    reader: dict[str, object]
    pattern: Pattern
    lies: Lies
    n_families: int
    nearest_concept: Nearest | None
    held_out_auroc: dict[str, float]
    explains_the_peaks_from: dict[str, float]
    passes_in_half_samples: float
    probability_that_any_is_real: float
    stability: float | None
    co_active: list[int]
    partial_matches: list[Fires]
    typical_context: list[dict[str, object]]
    families: dict[str, float]


class RefinementRecord(Claimed):
    """Of a refinement."""

    tested_families: dict[str, int]
    test: dict[str, object]
    baselines: dict[str, bool | float | str | None]
    first_also_fires_on: list[Fires]
    second_also_fires_on: list[Fires]


class Place(TypedDict):
    """Where a candidate lies in its sample."""

    sample: str
    start: int
    end: int


class Said(TypedDict):
    """The record, its claim and the strongest reason against it."""

    claim: str
    reason_against: str
    evidence: Record


class Row(TypedDict):
    """A candidate: its keys are the columns of the table."""

    kind: str
    sample: str
    start: int
    end: int
    concept: str
    feature: int
    score: float
    probability: float
    q: float
    claim: str
    reason_against: str
    evidence: Record


class Context(TypedDict):
    """What is said of a whole search."""

    settings: dict[str, object]
    counts: dict[str, dict[str, object]]
    skipped: dict[str, str]
    not_run: dict[str, str]
    precision_at: NotRequired[dict[str, dict[str, float]]]
