"""Compiled loops of the sparse step on a CPU: exact top-k, transposition, sampled products, row updates.

Every kernel works on rows that do not depend on each other, so a split over threads changes no bit of the
result. They release the interpreter's lock; :func:`over_rows` runs one part per thread.

Exact two-stage top-k of a row of ``F`` numbers: cut the row into ``G`` groups and take each group's maximum.
Where ``k`` maxima are >= ``t``, at least ``k`` numbers are, so every one of the top ``k`` is >= ``t`` and lies in a
group whose maximum is >= ``t``: gather those few numbers and select among them. Ties at the ``k``-th place go to the
lowest feature number; indices come out in ascending order.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import njit

# Rows shorter than this are not worth a second thread.
MIN_ROWS_PER_THREAD = 64
# Halvings in the search for a floor, and maxima above it beyond ``k`` that end it early.
HALVINGS, SPARE = 8, 4
# Reassociated sums let the compiler use vector registers; NaN and infinity keep their meaning.
_SUMS = {"reassoc", "contract", "nsz"}


def over_rows(n: int, part: Callable[..., object], *arguments: object) -> None:
    """Run ``part(lo, hi, *arguments)`` over ``n`` rows, one range per torch thread."""
    threads = min(torch.get_num_threads(), max(n // MIN_ROWS_PER_THREAD, 1))
    if threads <= 1:
        part(0, n, *arguments)
        return
    cuts = [n * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads - 1) as pool:  # the first range is of the thread that asks
        others = [pool.submit(part, cuts[i], cuts[i + 1], *arguments) for i in range(1, threads)]
        part(0, cuts[1], *arguments)
        for done in others:
            done.result()


def group_size(n_features: int, k: int) -> int:
    """Numbers per group: as many groups as leave about four times ``k`` of them, at most 32 each."""
    size = 32
    while size > 1 and n_features // size < 4 * k:
        size //= 2
    return size


@njit(nogil=True, cache=True)
def _kth_largest(a, n, k):
    """The ``k``-th largest of ``a[:n]`` (1-based), reordering ``a``: Hoare's selection."""
    lo, hi, target = 0, n - 1, k - 1
    while lo < hi:
        pivot = a[(lo + hi) // 2]
        i, j = lo, hi
        while i <= j:
            while a[i] > pivot:
                i += 1
            while a[j] < pivot:
                j -= 1
            if i <= j:
                a[i], a[j] = a[j], a[i]
                i += 1
                j -= 1
        if target <= j:
            hi = j
        elif target >= i:
            lo = i
        else:
            break
    return a[target]


@njit(nogil=True, cache=True)
def _floor(maxima, k, middle):
    """A number with ``k`` of some maxima at or above it, and few more: by halving, whose passes run in vector registers.

    ``middle [1]`` is room for a number of their type.
    """
    least = most = maxima[0]
    for j in range(maxima.shape[0]):
        least = maxima[j] if maxima[j] < least else least
        most = maxima[j] if maxima[j] > most else most
    for _ in range(HALVINGS):
        middle[0] = (least + most) / 2
        t = middle[0]
        n = np.int32(0)
        for j in range(maxima.shape[0]):
            n += np.int32(maxima[j] >= t)
        if n < k:
            most = t
            continue
        least = t
        if n <= k + SPARE:
            break
    return least


@njit(nogil=True, cache=True)
def select_topk(lo, hi, pre, size, values, columns, floor):
    """Top ``k`` of the rows ``lo:hi`` of ``pre [n, F]`` into ``values`` and ``columns`` ``[n, k]``.

    A row with fewer than ``k`` comparable numbers (NaN) is marked by ``columns[r, 0] = -1``. ``floor[r]``
    receives the ``k``-th value.
    """
    n_features, k = pre.shape[1], columns.shape[1]
    groups = n_features // size
    maxima = np.empty(groups, pre.dtype)
    work = np.empty(n_features, pre.dtype)
    middle = np.empty(1, pre.dtype)
    picked = np.empty(groups, np.int32)
    found = np.empty(n_features, np.int32)
    for r in range(lo, hi):
        row = pre[r]
        for j in range(groups):  # loops, not slices: they take a second less to compile
            maxima[j] = row[j]
        for i in range(1, size):
            part = row[i * groups : (i + 1) * groups]
            for j in range(groups):
                maxima[j] = part[j] if part[j] > maxima[j] else maxima[j]
        least = _floor(maxima, k, middle) if groups >= k else row.min()
        n_picked = 0
        for j in range(groups):  # written always and kept where it counts: a branch would be guessed wrong
            picked[n_picked] = j
            n_picked += maxima[j] >= least
        c = 0
        for i in range(size):
            for p in range(n_picked):
                f = i * groups + picked[p]
                found[c] = f
                work[c] = row[f]
                c += row[f] >= least
        for f in range(size * groups, n_features):
            if row[f] >= least:
                found[c] = f
                work[c] = row[f]
                c += 1
        if c < k:
            columns[r, 0] = -1
            continue
        kth = _kth_largest(work, c, k)
        above = 0
        for q in range(c):
            above += row[found[q]] > kth
        ties = k - above
        out = 0
        for q in range(c):
            value = row[found[q]]
            if value > kth:
                columns[r, out] = found[q]
                values[r, out] = value
                out += 1
            elif value == kth and ties > 0:
                ties -= 1
                columns[r, out] = found[q]
                values[r, out] = value
                out += 1
        floor[r] = kth


@njit(nogil=True, cache=True)
def transpose(columns, rows_of, n_columns, start, rows, order):
    """Entries sorted by column, keeping their order within one (a counting sort).

    ``rows_of[i]`` is the row of entry ``i``. Fills ``start [n_columns + 1]``, ``rows [nnz]`` and
    ``order [nnz]``: entry ``order[p]`` stands at place ``p``.
    """
    for j in range(n_columns + 1):
        start[j] = 0
    for i in range(columns.shape[0]):
        start[columns[i] + 1] += 1
    for j in range(n_columns):
        start[j + 1] += start[j]
    place = start[:n_columns].copy()
    for i in range(columns.shape[0]):
        p = place[columns[i]]
        place[columns[i]] = p + 1
        rows[p] = rows_of[i]
        order[p] = i


@njit(nogil=True, cache=True, fastmath=_SUMS)
def sampled_products(lo, hi, left, right, start, columns, out):
    """``out[i] = left[r] . right[columns[i]]`` for the entries ``i`` of each row ``r`` in ``lo:hi``."""
    width = left.shape[1]
    for r in range(lo, hi):
        a = left[r]
        for i in range(start[r], start[r + 1]):
            b = right[columns[i]]
            total = np.float32(0)
            for q in range(width):
                total += a[q] * b[q]
            out[i] = total


@njit(nogil=True, cache=True, fastmath=_SUMS)
def scatter_rows(lo, hi, start, rows, weights, dense, out):
    """``out[j] = sum of weights[p] * dense[rows[p]]`` over the entries ``p`` of row ``j``: sparse times
    dense.
    """
    width = dense.shape[1]
    for j in range(lo, hi):
        total = out[j]
        for q in range(width):
            total[q] = np.float32(0)
        p, end = start[j], start[j + 1]
        while p + 4 <= end:
            a, b, c, d = dense[rows[p]], dense[rows[p + 1]], dense[rows[p + 2]], dense[rows[p + 3]]
            wa, wb, wc, wd = weights[p], weights[p + 1], weights[p + 2], weights[p + 3]
            for q in range(width):
                total[q] += (wa * a[q] + wb * b[q]) + (wc * c[q] + wd * d[q])
            p += 4
        while p < end:
            a, wa = dense[rows[p]], weights[p]
            for q in range(width):
                total[q] += wa * a[q]
            p += 1


@njit(nogil=True, cache=True, fastmath=_SUMS)
def project_rows(lo, hi, gradient, direction):
    """Take from each gradient row its part along the unit direction, which a unit norm could not follow."""
    width = gradient.shape[1]
    for j in range(lo, hi):
        g, d = gradient[j], direction[j]
        along = np.float32(0)
        for q in range(width):
            along += g[q] * d[q]
        for q in range(width):
            g[q] -= along * d[q]


@njit(nogil=True, cache=True, fastmath=_SUMS)
def normalise_rows(lo, hi, matrix):
    """Scale each row to norm one; a row of zeros stays."""
    width = matrix.shape[1]
    for j in range(lo, hi):
        row = matrix[j]
        square = np.float32(0)
        for q in range(width):
            square += row[q] * row[q]
        if square > 0:
            scale = np.float32(1) / np.sqrt(square)
            for q in range(width):
                row[q] *= scale


@njit(nogil=True, cache=True, fastmath=_SUMS)
def _dot(a, b):
    total = np.float32(0)
    for q in range(a.shape[0]):
        total += a[q] * b[q]
    return total


@njit(nogil=True, cache=True, fastmath=_SUMS)
def nested_gradients(lo, hi, codes, ends, decoder, target, scale, found):
    """Errors of nested reconstructions, and what entries and their directions receive of them (``matryoshka.py``).

    ``codes`` are ``start columns values``, ``decoder`` is ``W_dec b_dec``, prefix ``s`` holds the columns below
    ``ends[s]``, and ``found`` the outputs: ``gradient [n, S, d]`` (of the reconstruction by segment ``s``: ``scale``
    times the errors of the prefixes that contain it), ``d_codes [nnz]``, ``bags [nnz]`` (row and segment of an entry:
    ``r S + s``), ``squares [n, S]`` and ``last [n, d]`` (error of the whole). One pass a row, in which all of its
    prefixes stay in the cache.
    """
    start, columns, values = codes
    w_dec, b_dec = decoder
    gradient, d_codes, bags, squares, last = found
    parts, width = len(ends), w_dec.shape[1]
    for r in range(lo, hi):
        error = last[r]
        for q in range(width):
            error[q] = b_dec[q] - target[r, q]
        i = start[r]
        for s in range(parts):
            while i < start[r + 1] and columns[i] < ends[s]:
                direction, weight = w_dec[columns[i]], values[i]
                for q in range(width):
                    error[q] += weight * direction[q]
                bags[i] = r * parts + s
                i += 1
            kept, square = gradient[r, s], np.float32(0)
            for q in range(width):
                kept[q] = scale * error[q]
                square += error[q] * error[q]
            squares[r, s] = square
        for s in range(parts - 2, -1, -1):
            kept, wider = gradient[r, s], gradient[r, s + 1]
            for q in range(width):
                kept[q] += wider[q]
        for i in range(start[r], start[r + 1]):
            d_codes[i] = _dot(gradient[r, bags[i] - r * parts], w_dec[columns[i]])


@njit(nogil=True, cache=True)
def rescore(lo, hi, rows, weights, bias, proposed, margin, found):
    """Exact scores of the proposed features; the ``k`` best, ascending, and whether they are certain.

    ``found`` holds the outputs ``values [n, k]``, ``columns [n, k]`` and ``certain [n]``. A row is certain
    when its ``k``-th score is above ``margin``, or when ``margin`` is not positive.
    """
    values, columns, certain = found
    n, k = proposed.shape[1], values.shape[1]
    exact = np.empty(n, np.float32)
    work = np.empty(n, np.float32)
    for r in range(lo, hi):
        if proposed[r, 0] < 0:
            certain[r] = False
            continue
        for p in range(n):
            f = proposed[r, p]
            exact[p] = _dot(rows[r], weights[f]) + bias[f]
        work[:] = exact
        kth = _kth_largest(work, n, k)
        certain[r] = kth > margin[r] or margin[r] <= 0
        above = 0
        for p in range(n):
            if exact[p] > kth:
                above += 1
        ties, out = k - above, 0
        for p in range(n):
            if exact[p] > kth or (exact[p] == kth and ties > 0):
                if exact[p] == kth:
                    ties -= 1
                if out < k:
                    columns[r, out] = proposed[r, p]
                    values[r, out] = exact[p]
                    out += 1
        if out < k:
            certain[r] = False


@njit(nogil=True, cache=True, fastmath=_SUMS)
def rounding_norms(lo, hi, exact, coarse, out):
    """Squared norms per row of what bfloat16 lost, of the rounded row and of the exact row, into ``out [3,
    F]``.

    ``coarse`` holds the bfloat16 bits as 16-bit integers: they are the upper half of a float32.
    """
    width = exact.shape[1]
    wide = np.empty(width, np.int32)
    back = wide.view(np.float32)
    for j in range(lo, hi):
        for q in range(width):
            wide[q] = np.int32(coarse[j, q]) << 16
        lost = rounded = whole = np.float32(0)
        for q in range(width):
            difference = exact[j, q] - back[q]
            lost += difference * difference
            rounded += back[q] * back[q]
            whole += exact[j, q] * exact[j, q]
        out[0, j], out[1, j], out[2, j] = lost, rounded, whole
