"""Assays of variants: a table of changes of one wild type with what was measured of each.

Layouts are told by their columns: ProteinGym (``mutant``, ``DMS_score``, ``mutated_sequence``), MaveDB (``hgvs_pro``,
``score``, lines of comments), plain tables of a variant or a whole sequence with numbers beside it, with or without a
header, or of ``wildtype site mutant`` in columns of their own. Changes are read by
:mod:`sciinterp.readers.notation`. A row that cannot be used costs itself alone, and is named with its reason.

The wild type is given, found among samples, or put together from the assay: from whole sequences with their changes
undone, or from reference residues where these cover it. Files often count from a construct's first residue: where the
references fit at one other place only, positions are moved there, and that is said.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from sciinterp.errors import FormatError, InputError, no_such
from sciinterp.frames import Table
from sciinterp.readers.delimited import each, read_table
from sciinterp.readers.notation import UNSTATED, Variant, parse_variant
from sciinterp.readers.sample_tables import MISSING, SEQUENCES
from sciinterp.readers.substitutions import INSIDE, OUTSIDE, Substitutions, read_substitutions
from sciinterp.samples import Sample, Samples
from sciinterp.settings import checked

log = logging.getLogger(__name__)

VARIANTS = (
    "mutant", "hgvs_pro", "variant", "variants", "mutation", "mutations", "mutant_aa", "aa_change", "aa_mutations",
    "protein_variant", "hgvsp", "hgvs", "substitution", "substitutions",
)  # fmt: skip
WHOLE = ("mutated_sequence", "mutant_sequence", *SEQUENCES)
# A change in three columns: the letter before, the position, the letter after.
APART = (
    ("wildtype", "wild_type", "wt", "wt_aa", "wildtype_aa", "ref", "ref_aa"),
    ("site", "pos", "position", "resi", "residue"),
    ("mutant", "mut", "mt", "mut_aa", "mutant_aa", "alt", "alt_aa"),
)
SCORES = (
    "dms_score", "score", "fitness", "effect", "enrichment", "ddg", "y", "target", "measurement", "value",
)  # fmt: skip
_DECIMAL, _THOUSANDS = re.compile("[-\N{MINUS SIGN}]?[0-9]+,[0-9]+"), re.compile("-?[1-9][0-9]{0,2},[0-9]{3}")
# How tables write the wild type as a row.
WILD_TYPES = frozenset(("wt", "_wt", "_sy", "wildtype", "wild-type", "wild type", "p.=", "p.(=)", "="))
NO_VARIANT, NO_SCORE, UNCHANGED = "no variant", "no score", "the wild type itself"
AGAIN, WIDE, OTHER = (
    "the same variant again: averaged",
    "more cells than the header",
    "another sequence than its variant",
)
LENGTH = "a sequence of another length than the wild type"
WRONG, BEYOND = "the sample has another reference residue", "the variant lies outside the sample"
# A place is found where so many reference residues fit, of so many positions.
ENOUGH_FIT, ENOUGH_POSITIONS = 0.95, 5


@checked()
def read_assay(
    path: str | Path, *, wild_type: str | Sample | Samples | None = None, score: str | None = None
) -> Table:
    """What an assay measured of variants: ProteinGym's, MaveDB's and plain tables.

    Parameters
    ----------
    path : path
        Separated by tabs, commas or semicolons; may be gzipped.
    wild_type : str, Sample or Samples, optional
        The unchanged sequence, or samples among which it is the one that fits. Found in the table where it states
        enough.
    score : str, optional
        The column of scores; by default one of the usual names, or the only column of numbers.

    Returns
    -------
    Table
        ``variant score`` and every other column of numbers, one row a variant. ``context``: ``wild_type`` (None where
        not known), ``offset`` (by how much positions were moved), ``refused`` (``line variant reason`` of every row not
        used), ``n_in == n_kept + sum(dropped.values())``, ``wrong_reference`` (how many rows name another residue than
        stands there), ``score`` (the name of the column), ``wild_type_score``.

    Raises
    ------
    FormatError
        Not a table, or one without variants and sequences.
    InputError
        No such column of scores, or several and none of a usual name; no row that can be used.

    Examples
    --------
    >>> import sciinterp as si
    >>> path = getfixture("tmp_path") / "scan.csv"
    >>> _ = path.write_text("mutant,DMS_score\\nM1A,0.5\\nK2R:T3A,-1\\nK3A,0.1\\n")
    >>> assay = si.read_assay(path, wild_type="MKT")
    >>> assay["variant"].tolist(), assay.context["wrong_reference"]
    (['M1A', 'K2R;T3A'], 1)
    """
    path = Path(path)
    header, rows, refused = _rows(path)
    lower = {name.lower(): i for i, name in reversed(list(enumerate(header)))}
    by = next((lower[n] for n in VARIANTS if n in lower), None)
    whole = next((lower[n] for n in WHOLE if n in lower), None)
    apart = _apart(lower, rows, by)
    if by is None and whole is None and not apart:
        raise FormatError(
            "the table lacks a column of variants",
            file=str(path),
            expected=f"one of {', '.join(VARIANTS[:6])}, or {WHOLE[0]}",
            got=", ".join(header)[:120],
        )
    numbers, chosen = _numbers(header, rows, score, (by, whole, *apart), path)
    names = [header[i] for i in numbers]
    parts = [each(rows[i], _cell) for i in apart or (by,) if i is not None]
    table = pd.DataFrame(
        {
            "line": rows.index,
            "text": np.sum(parts, axis=0) if parts else "",
            "whole": "" if whole is None else each(rows[whole], _cell),
            "score": numbers[chosen],
        }
    )
    for i, name in zip(numbers, names):
        if i != chosen and name not in table:
            table[name] = numbers[i]
    found = _settled(
        table, wild_type, refused, has_variants=bool(apart) or by is not None, where=f"file '{path}'"
    )
    found.context.update(score=header[chosen], file=path.name)
    _warn(found, path.name)
    return found


@checked()
def fit_assay(assay: pd.DataFrame, wild_type: str | Sample | Samples) -> Table:
    """An assay's variants in the letters and positions of a wild type, which is found where samples are given.

    Parameters
    ----------
    assay : DataFrame
        Columns ``variant`` and ``score``; others are kept.
    wild_type : str, Sample or Samples

    Returns
    -------
    Table
        As :func:`read_assay`; rows in the order given.

    Raises
    ------
    InputError
        Columns that lack, or no row that fits.
    """
    for name in ("variant", "score"):
        if name not in assay.columns:
            raise no_such("column", name, assay.columns, where="assay")
    table = pd.DataFrame(assay).reset_index(drop=True)
    table = table.rename(columns={"variant": "text"}).assign(line=np.arange(1, len(assay) + 1), whole="")
    table["text"] = table["text"].map(lambda v: "" if v is None or v != v else str(v))
    score = pd.to_numeric(table["score"], errors="coerce")
    table["score"] = score.where(np.isfinite(score))
    return _settled(table, wild_type, [], has_variants=True, where="assay")


def _rows(path: Path) -> tuple[list[str], pd.DataFrame, list[dict]]:
    """Header, rows as wide as it indexed by their lines, and rows that are wider."""
    header, rows, wide = read_table(path)
    refused = [{"line": line, "variant": cells[0][:60], "reason": WIDE} for line, cells in wide]
    named = {name.lower() for name in header} & {*VARIANTS, *WHOLE}
    by = next((i for i, cell in enumerate(header) if not named and _is_variant(cell)), None)
    if by is not None and any(math.isfinite(_number(cell)) for cell in header):  # no header
        first = int(rows.index.min()) - 1 if len(rows) else 1
        rows = pd.concat([pd.DataFrame([header], index=[first], dtype=object), rows])
        others = [i for i in range(len(header)) if i != by]
        names = {by: VARIANTS[0], **({others[0]: SCORES[1]} if len(others) == 1 else {})}
        header = [names.get(i, f"column {i + 1}") for i in range(len(header))]
    return header, rows, refused


def _is_variant(text: str) -> bool:
    try:
        return bool(parse_variant(text))
    except InputError:
        return False


def _apart(lower: Mapping[str, int], rows: pd.DataFrame, by: int | None) -> tuple[int, ...]:
    """The three columns of a change, where these are told apart and no column states it whole."""
    found = [next((lower[n] for n in names if n in lower), None) for names in APART]
    first = [] if by is None else [re.search("[0-9]", cell) for cell in rows[by][:20] if cell.strip()]
    if None in found or len(first) < 2 * sum(map(bool, first)):  # most state a position of their own
        return ()
    return tuple(i for i in found if i is not None)


def _cell(text: str) -> str:
    text = text.strip()
    return "" if text in MISSING else text


def _numbers(
    header: list[str],
    rows: pd.DataFrame,
    score: str | None,
    not_these: tuple[int | None, ...],
    path: Path,
) -> tuple[dict[int, np.ndarray], int]:
    """The columns of numbers, and which of them is the score."""
    found: dict[int, np.ndarray] = {}
    # a column without a name is the index that pandas or R wrote
    for i in (i for i in range(len(header)) if i not in not_these and header[i]):
        values = _measured(rows[i])
        written = int((each(rows[i], _cell) != "").sum())
        if np.isfinite(values).sum() >= max(1, written / 2):
            found[i] = values
    lower = {name.lower(): i for i, name in reversed(list(enumerate(header)))}
    if score is not None:
        if score.lower() not in lower:
            raise no_such("column", score, header, where=f"file '{path}'")
        chosen = lower[score.lower()]
        return {chosen: _measured(rows[chosen]), **found}, chosen
    named = [lower[n] for n in SCORES if n in lower]
    usual = next((i for i in named if i in found or not len(rows)), None)
    if usual is None and not found:  # most of its cells are no numbers, such as ">10"; they are counted
        usual = next((i for i in named if np.isfinite(found.setdefault(i, _measured(rows[i]))).any()), None)
    if usual is None and len(found) == 1:
        usual = next(iter(found))
    if usual is None:
        raise InputError(
            "which column holds the scores cannot be told",
            where=f"file '{path}'",
            expected=f"one of {', '.join(SCORES[:4])}, or one column of numbers",
            got=", ".join(header[i] for i in found)[:120] or "no column of numbers",
            do="Name it: score=, --score of the command.",
        )
    return found or {usual: np.zeros(0)}, usual


def _measured(column: pd.Series) -> np.ndarray:
    """Numbers of a column, NaN where there is none; with decimal commas where they can be nothing else."""
    values = each(column, _number).astype(float)
    commas = {text.strip() for text in column.unique() if "," in text}
    decimal = any(not _THOUSANDS.fullmatch(text) for text in commas) and all(map(_DECIMAL.fullmatch, commas))
    if decimal and not column.str.contains(".", regex=False).any():
        return each(column, lambda text: _number(text.replace(",", "."))).astype(float)
    return values


def _number(text: str) -> float:
    try:
        value = float(text.replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _settled(
    table: pd.DataFrame,
    wild_type: str | Sample | Samples | None,
    refused: list[dict],
    *,
    has_variants: bool,
    where: str,
) -> Table:
    """Every row read, moved onto the wild type, checked and counted."""
    n_in = len(table) + len(refused)  # wide rows stand in none of the columns
    lines, texts, whole = (table[c].tolist() for c in ("line", "text", "whole"))
    scores = table["score"].to_numpy(float)
    changes: dict[int, Variant] = {}

    def refuse(i: int, reason: str) -> None:
        refused.append({"line": int(lines[i]), "variant": texts[i][:60], "reason": reason})

    said = pd.Series(texts if has_variants else whole, dtype=object)
    wild_rows = each(said, lambda text: text.lower() in WILD_TYPES).astype(bool)
    empty = (said == "").to_numpy()
    usable = ~(wild_rows | empty | np.isnan(scores))
    for i in np.flatnonzero(~usable).tolist():
        refuse(i, UNCHANGED if wild_rows[i] else NO_VARIANT if empty[i] else NO_SCORE)
    wild_scores = scores[wild_rows & ~np.isnan(scores)].tolist()
    plain = read_substitutions(texts, np.flatnonzero(usable & has_variants))
    usable[plain.rows] = False
    for i in np.flatnonzero(usable).tolist():
        try:
            changes[i] = parse_variant(texts[i]) if has_variants else Variant(0, "", "")
        except InputError as error:
            refuse(i, short_reason(error))
    wild, offset = _wild_type(wild_type, plain, changes, whole, has_variants)
    kept, reasons = _fitted_plain(wild, plain, offset, whole)
    for i, change in changes.items():
        moved = Variant(change.start + offset, change.ref, change.alt)
        try:
            fitted = _fitted(wild, moved, whole[i], has_variants)
        except InputError as error:
            reasons[i] = short_reason(error)
            continue
        if fitted.ref == fitted.alt and fitted.ref:
            wild_scores.append(float(scores[i]))
            reasons[i] = UNCHANGED
        else:
            kept[i] = str(fitted)
    for i, reason in reasons.items():
        refuse(i, reason)
    kept = dict(sorted(kept.items())) if changes else kept
    refused.sort(key=lambda r: r["line"])
    if not kept:
        first = refused[0] if refused else {"line": 0, "reason": "no row"}
        raise InputError(
            "no row of the assay can be used",
            where=where,
            got=f"{len(refused)} refused, the first on line {first['line']}: {first['reason']}",
        )
    out = table.loc[list(kept)].assign(variant=list(kept.values())).drop(columns=["text", "whole", "line"])
    first = out.drop_duplicates("variant")
    values = [c for c in out.columns if pd.api.types.is_numeric_dtype(out[c])]
    if len(first) < len(out):
        means = out.groupby("variant", sort=False)[values].mean()
        first = first.drop(columns=values).merge(means.reset_index(), on="variant", how="left")
    order = ["variant", "score", *(c for c in out.columns if c not in ("variant", "score"))]
    dropped = Counter(r["reason"] for r in refused) + Counter({AGAIN: len(out) - len(first)})
    context = {
        "wild_type": None if wild is None else wild.sequence,
        "wild_type_id": None if wild is None else wild.id,
        "offset": offset,
        "wrong_reference": sum(reason == WRONG for reason in reasons.values()),
        "refused": refused,
        "dropped": dict(dropped),
        "n_in": n_in,
        "n_kept": len(first),
        "wild_type_score": float(np.mean(wild_scores)) if wild_scores else None,
    }
    return Table(first[order].reset_index(drop=True), context=context)


def _fitted_plain(
    wild: Sample | None, plain: Substitutions, offset: int, whole: list[str]
) -> tuple[dict[int, str], dict[int, str]]:
    """Row -> its change in the wild type's positions, and row -> why it is none, of rows in the usual notation."""
    lower = wild is not None and wild.sequence.islower()
    fits = np.zeros(len(plain.rows), np.int8)
    if wild is not None:
        fits = plain.fit(wild.sequence.upper() if lower else wild.sequence, offset)
    kept, reasons = {}, {}
    for number, (i, fit) in enumerate(zip(plain.rows.tolist(), fits.tolist())):
        if fit == INSIDE and wild is not None and whole[i]:
            made = plain.put(number, wild.sequence, offset=offset)
            if made != whole[i] and made.upper() != whole[i].upper():
                reasons[i] = OTHER
                continue
        if fit == INSIDE:
            kept[i] = plain.moved(number, offset).lower() if lower else plain.moved(number, offset)
        else:
            reasons[i] = BEYOND if fit == OUTSIDE else WRONG
    return kept, reasons


def _fitted(wild: Sample | None, change: Variant, whole: str, has_variants: bool) -> Variant:
    """The change in the wild type's letters, as its own sequence says it where there is one."""
    if wild is None:
        return change
    if not has_variants:
        if len(whole) != wild.length:
            raise InputError(LENGTH if whole else NO_VARIANT)
        return Variant(0, wild.sequence, whole.upper() if wild.sequence.isupper() else whole)
    fitted = change.fitted(wild)
    if whole and fitted.apply(wild).sequence.upper() != whole.upper():
        raise InputError(OTHER)
    return fitted


def short_reason(error: InputError) -> str:
    """Why a variant is refused, the same for all that are refused for one reason."""
    return error.got if error.what == "a variant that cannot be carried out" else error.what


def _wild_type(
    given: str | Sample | Samples | None,
    plain: Substitutions,
    changes: Mapping[int, Variant],
    whole: list[str],
    has_variants: bool,
) -> tuple[Sample | None, int]:
    """The wild type, and by how much positions are moved to fit it."""
    if given is None:
        if not has_variants:
            raise InputError("whole sequences say no variant without their wild type", do="Give wild_type=.")
        found = _from_sequences(plain, changes, whole)
        return found or _from_references(_references(plain, changes.values())), 0
    if isinstance(given, str):
        given = Sample("wild type", given)
    if not has_variants:
        if isinstance(given, Samples):
            lengths = Counter(map(len, whole))
            given = max(given, key=lambda s: lengths[s.length])
        return given, 0
    references = _references(plain, changes.values())
    several = list(given) if isinstance(given, Samples) else [given]
    placed = [(*_place(references, sample.sequence), sample) for sample in several]
    _, offset, best = max(placed, key=lambda p: p[0])
    return best, offset


def _references(plain: Substitutions, changes: Iterable[Variant]) -> dict[int, str]:
    """The reference residue most rows name at each position."""
    said = plain.references()
    for change in changes:
        for i, letter in enumerate(change.ref.upper()):
            if letter != UNSTATED:
                said.setdefault(change.start + i, Counter())[letter] += 1
    return {at: counts.most_common(1)[0][0] for at, counts in said.items()}


def _place(references: Mapping[int, str], sequence: str) -> tuple[float, int]:
    """Share of references that fit, and the offset: another than zero where it fits there alone, and well."""
    if not references:
        return 0.0, 0
    letters = np.frombuffer(sequence.upper().encode("utf-32-le"), np.uint32)
    at, named = np.array(list(references)), np.array([ord(c) for c in references.values()], np.uint32)

    def fits(offset: int) -> float:
        where = at + offset
        inside = (where >= 0) & (where < len(letters))
        return float((letters[where[inside]] == named[inside]).sum() / len(at))

    here = fits(0)
    if here >= ENOUGH_FIT or len(at) < ENOUGH_POSITIONS:
        return here, 0
    offsets = range(-int(at.min()), len(letters) - int(at.max()))
    shares = {offset: fits(offset) for offset in offsets}
    good = [offset for offset, share in shares.items() if share >= ENOUGH_FIT]
    return (shares[good[0]], good[0]) if len(good) == 1 else (here, 0)


def _from_sequences(plain: Substitutions, changes: Mapping[int, Variant], whole: list[str]) -> Sample | None:
    """The sequence most rows come from, their changes undone."""
    found: Counter[str] = Counter(
        plain.put(number, sequence, back=True)
        for number, i in enumerate(plain.rows.tolist())
        if len(sequence := whole[i]) > plain.start[plain.first[number + 1] - 1]
    )
    for i, change in changes.items():
        sequence, ref = whole[i], change.ref
        end = change.start + len(change.alt)
        if len(ref) == len(change.alt):
            stands = sequence[change.start : end]
            ref = "".join(s if r == UNSTATED else r for r, s in zip(ref, stands))
        if sequence and end <= len(sequence) and UNSTATED not in ref:
            found[sequence[: change.start] + ref + sequence[end:]] += 1
    return Sample("wild type", found.most_common(1)[0][0]) if found else None


def _from_references(references: Mapping[int, str]) -> Sample | None:
    """The sequence that reference residues spell, where none is missing."""
    n = max(references, default=-1) + 1
    return Sample("wild type", "".join(references[i] for i in range(n))) if n == len(references) > 0 else None


def _warn(found: Table, name: str) -> None:
    facts = found.context
    for reason, n in facts["dropped"].items():
        log.warning("%s: %d of %d rows not used: %s", name, n, facts["n_in"], reason)
    if facts["offset"]:
        log.warning("%s: positions moved by %+d, where the reference residues fit", name, facts["offset"])
