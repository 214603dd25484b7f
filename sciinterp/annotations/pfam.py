"""Protein families by profile: pyhmmer with profiles the user gives, such as ``Pfam-A.hmm``.

A hit is a domain above the family's own gathering threshold where every profile has one, else above an
E-value: ``pfam:PF00069``, placed on the envelope of the domain.

Source: Eddy, PLoS Computational Biology 7:e1002195 (2011); Larralde and Zeller, Bioinformatics 39:btad214
(2023).
"""

from __future__ import annotations

from pathlib import Path

from sciinterp.annotations.rows import Rows, concept_name, join_note
from sciinterp.annotations.table import Annotations
from sciinterp.errors import InputError
from sciinterp.readers.bounded import need, parsing
from sciinterp.samples import Samples
from sciinterp.settings import POSITIVE, at_least, checked


@checked(e_value=POSITIVE, cpus=at_least(0))
def pfam_hits(
    samples: Samples,
    profiles: str | Path,
    *,
    e_value: float = 1e-5,
    cpus: int = 1,
    prefix: str = "pfam",
    release: str = "",
) -> Annotations:
    """Domains of proteins by profile HMMs.

    Parameters
    ----------
    samples : Samples
        Proteins.
    profiles : path
        HMMER3 profiles. Those of Pfam carry gathering thresholds, which then decide.
    e_value : float
        The largest E-value of a domain where profiles have no gathering threshold.
    cpus : int
        Threads.
    prefix, release : str
        Prefix of the concepts, and the ``release`` column.

    Returns
    -------
    Annotations
        Items are domains; ``counts["illegal"]`` is the number of samples that could not be searched and that
        the source does not cover.

    Raises
    ------
    InputError
        When pyhmmer is not installed or there is no such file.
    FormatError
        When these are not HMMER profiles.
    """
    pyhmmer = need("pyhmmer", "annotations", "searching profiles")
    if not Path(profiles).is_file():
        raise InputError(
            "there is no such file", where=f"file '{profiles}'", do="Get Pfam-A.hmm from InterPro."
        )

    with parsing(profiles, "a file of HMMER profiles"), pyhmmer.plan7.HMMFile(str(profiles)) as file:
        hmms = list(file)
        if not hmms:
            raise ValueError("no profile in the file")
    alphabet = hmms[0].alphabet
    rows = Rows(prefix, release=release)
    sequences, illegal = [], 0
    for number, sample in enumerate(samples):
        try:
            text = pyhmmer.easel.TextSequence(name=str(number).encode(), sequence=sample.sequence)
            sequences.append(text.digitize(alphabet))
            rows.covers(sample.id)
        except ValueError:
            illegal += 1
    gathering = all(h.cutoffs.gathering_available() for h in hmms)
    options = {"bit_cutoffs": "gathering"} if gathering else {"E": e_value, "domE": e_value}
    for hmm, hits in zip(hmms, pyhmmer.hmmsearch(hmms, sequences, cpus=cpus, **options)):
        accession = _text(hmm.accession).split(".")[0] or _text(hmm.name)
        concept = concept_name(prefix, accession)
        for domain in (d for hit in hits.included for d in hit.domains.included):
            rows.item()
            sample = samples.ids[int(_text(domain.hit.name))]
            note = join_note("", {"i_evalue": f"{domain.i_evalue:.2g}", "score": f"{domain.score:.1f}"})
            rows.add(sample, domain.env_from - 1, domain.env_to, concept, note=note)
            rows.concept(concept, name=_text(hmm.description) or _text(hmm.name))
    annotations = rows.annotations()
    annotations.counts["illegal"] = illegal
    return annotations


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
