"""Where numbers come from, as one record that travels with them: :class:`Origin`.

Activations, SAEs, codes, hits, candidates and the report carry it. What nobody stated is :data:`UNKNOWN`, which
is equal to nothing, itself included, so that two unknowns never pass for the same thing. :func:`check` compares
two origins, :func:`held_out` says whether the families that scores are measured on trained the SAE, and
:func:`caveats` what makes scores say less than they seem to.
"""

from sciinterp.provenance.checks import (
    belongings,
    check,
    differing,
    require_activations,
    require_one_run,
    require_randomised,
    require_same,
    require_same_samples,
    require_twins,
    site_of,
    stated,
)
from sciinterp.provenance.heldout import (
    HELD_OUT_FAMILIES,
    LEAST_FVE,
    HeldOut,
    carried_split,
    caveats,
    families_of,
    held_out,
    measured_on,
    standing,
    trained_on,
    unfit,
)
from sciinterp.provenance.origin import UNKNOWN, HasOrigin, Origin, Training, origin_of

__all__ = [
    "HELD_OUT_FAMILIES",
    "LEAST_FVE",
    "UNKNOWN",
    "HasOrigin",
    "HeldOut",
    "Origin",
    "Training",
    "belongings",
    "carried_split",
    "caveats",
    "check",
    "differing",
    "families_of",
    "held_out",
    "measured_on",
    "origin_of",
    "require_activations",
    "require_one_run",
    "require_randomised",
    "require_same",
    "require_same_samples",
    "require_twins",
    "site_of",
    "standing",
    "stated",
    "trained_on",
    "unfit",
]
