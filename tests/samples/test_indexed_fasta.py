"""FASTA by index: the same samples as in memory, little memory, and nothing believed that the file does not say."""

import copy
import gc
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import sciinterp as si
from sciinterp.errors import FormatError, InputError, SciinterpError
from sciinterp.readers.bounded import limits
from sciinterp.readers.indexed import SUFFIX

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "activations"))

FORMS = {
    "wrapped": ">a one\nMKVL\nAC\n>b\nEVQLVESGGG\n>c\nAA\n",
    "CRLF": ">a\r\nMKVL\r\nAC\r\n>b\r\nEVQL\r\n",
    "mark of order": "\ufeff>a\nMKVL\n",
    "empty entry": ">a\nMK\n>b\n\n>c\nEV\n",
    "empty entry at the end": ">a\nMK\n>b\n",
    "blank lines": "\n\n>a\nMK\n\nVL\n\n>b\nAC",
    "lower case, stop signs, numbers, spaces": ">a\nmkvl*\n>b\n1 acg tt 7\n>c\nAC*\n",
    "dna": ">chr1:1-4\nACGT\n>chr1:5-8\nacgn\n",
    "accessions": ">sp|P69905|HBA_HUMAN x\nMKV\n>tr|A0A024RBG1|X\nEVQ\n",
    "greek": ">α1\nMKV\n>β\nAC\n",
    "ragged lines": ">a\nM\nKVLLLL\nAC\n\n>b\n" + "AC" * 40000 + "\n",
}


def write(folder: Path, text: str, form: str) -> Path:
    path = folder / ("x.fasta" if form == "plain" else "x.fasta.gz")
    if form == "plain":
        path.write_bytes(text.encode())
    else:
        from Bio.bgzf import BgzfWriter

        with BgzfWriter(str(path), "wb") as out:
            out.write(text.encode())
    return path


@pytest.mark.parametrize("form", ["plain", "bgzip"])
@pytest.mark.parametrize("name", FORMS)
def test_the_same_samples_as_in_memory(tmp_path: Path, name: str, form: str) -> None:
    path = write(tmp_path, FORMS[name], form)
    expected = si.read_samples(path, format="fasta", index=False)
    for made in (True, False):
        found = si.read_samples(path, index=True)
        assert (path.with_name(path.name + SUFFIX)).exists(), made
        assert tuple(found.ids) == expected.ids and found.sequences == expected.sequences
        assert found.lengths.tolist() == expected.lengths.tolist()
        told = ("kind", "n_in", "dropped", "changed", "digest")
        assert [getattr(found, t) for t in told] == [getattr(expected, t) for t in told]
        assert found.n_in == len(found) + sum(found.dropped.values())
        assert found.is_text and not isinstance(found.data, tuple)


@pytest.mark.parametrize("form", ["plain", "bgzip"])
def test_the_collection_is_the_one_noun(tmp_path: Path, form: str) -> None:
    rng = np.random.default_rng(0)
    rows = {f"s{i}": "".join(rng.choice(list("ACDEFGHIKL"), 1 + i * 7 % 90)) for i in range(300)}
    path = write(tmp_path, "".join(f">{k}\n{v}\n" for k, v in rows.items()), form)
    found, expected = si.read_samples(path, index=True), si.Samples(list(rows), list(rows.values()))
    order = rng.permutation(300)
    for part in (found, found.subset(order), found[10:200], found.subset(order)[5:50].subset([3, 1])):
        ids = list(part.ids)
        assert [s.sequence for s in part] == [rows[i] for i in ids]
        assert part.digest == expected.subset([expected.index(i) for i in ids]).digest
        assert [part.index(i) for i in ids] == list(range(len(ids))) and ids[0] in part and "s300" not in part
        assert part.ids == tuple(ids) and tuple(ids) == part.ids and part.ids != (*ids[:-1], "other")
        assert copy.deepcopy(part).sequences == part.sequences
    assert found.with_table(found.table.assign(family=1)).digest == found.digest
    assert found.data[-1] == expected.data[-1]
    with pytest.raises(IndexError):
        found.data[300]
    with pytest.raises(InputError, match="no such sample"):
        found.index("s300")
    if child := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    else:
        os._exit(found.sequences != expected.sequences)
    assert found.sequences == expected.sequences


def test_what_cannot_be_read_from_the_middle_is_refused(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "x.fasta.gz"
    path.write_bytes(gzip.compress(b">a\nMKV\n"))
    with pytest.raises(InputError, match="bgzip"):
        si.read_samples(path, index=True)
    assert si.read_samples(path).sequences == ["MKV"]
    cases = {
        b">a\rMKV\r": "index=False",
        ">a\nMKV\n".encode("utf-16"): "read by index",
        b">a\nMK\0V\n": "index=False",
        b">a\nMK\xffV\n": "UTF-8",
        b">a\nMKV\n>b\nAC\n>a\nEV\n": "more than once",
        b">a\n\n": "no sequences",
        b">\nMKV\n": "without an identifier",
        b"MKV\n>a\nMKV\n": "not FASTA",
    }
    for raw, words in cases.items():
        path = tmp_path / "y.fasta"
        path.write_bytes(raw)
        with pytest.raises(SciinterpError, match=words):
            si.read_samples(path, index=True, format="fasta")
        assert not path.with_name(path.name + SUFFIX).exists()
    os.mkfifo(tmp_path / "pipe.fasta")
    with pytest.raises(InputError, match="a pipe"):
        si.read_samples(tmp_path / "pipe.fasta", index=True)
    (tmp_path / "t.tsv").write_text("id\tsequence\na\tMKV\n")
    with pytest.raises(InputError, match="only FASTA"):
        si.read_samples(tmp_path / "t.tsv", index=True)


def test_an_archive_that_grows_beyond_reason_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ">a\n" + "A" * (1 << 19) + "\n", "bgzip")
    with limits(free_bytes=1 << 16), pytest.raises(FormatError, match="unpacks to far more"):
        si.read_samples(path, index=True)


def test_a_stale_index_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, ">a\nMKV\n>b\nAC\n", "plain")
    before = si.read_samples(path, index=True)
    path.write_text(">b\nEVQL\n")
    with pytest.raises(InputError, match="changed since it was opened"):
        before.sequences
    assert si.read_samples(path, index=True).sequences == ["EVQL"]
    assert "has changed since it was indexed" in caplog.text
    # the same size and the same time, other letters: seen when they are read
    state = path.stat()
    path.write_text(">c\nEVQL\n")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(FormatError, match="not what its index says"):
        si.read_samples(path, index=True).sequences


def test_without_a_place_for_it_the_index_stays_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, ">a\nMKV\n", "plain")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sciinterp.readers.indexed.tempfile.mkstemp", refuse)
    assert si.read_samples(path, index=True).sequences == ["MKV"]
    assert [p.name for p in tmp_path.iterdir()] == ["x.fasta"]


@pytest.mark.parametrize("form", ["plain", "bgzip"])
def test_a_hostile_index_is_refused(tmp_path: Path, form: str) -> None:
    """Every byte flipped, every cut, huge claims: one line or the right sequences, in time and memory."""
    path = write(tmp_path, ">a\nMKV\n>b\nACDEF\n", form)
    right = si.read_samples(path, index=True).sequences
    place = path.with_name(path.name + SUFFIX)
    raw = place.read_bytes()
    line, arrays = raw.split(b"\n", 1)
    head = json.loads(line)
    claims = [
        {"names": 1 << 60},
        {"names": -1},
        {"shapes": [[1 << 50], [2], [2], [0, 2]]},
        {"shapes": [[-3], [-2], [2], [0, 2]]},
        {"shapes": []},
        {"told": {}},
        {"sciinterp-index": 2},
        {"file": None},
        {"told": {**head["told"], "n_in": "many"}},
    ]
    hostile = [json.dumps({**head, **claim}).encode() + b"\n" + arrays for claim in claims]
    hostile += [raw[:n] for n in range(0, len(raw), 7)] + [raw + b"x", b"", b"\0" * 4096, b"x" * (1 << 20)]
    for at in range(len(line) + 1, len(raw)):
        flipped = bytearray(raw)
        flipped[at] ^= 0xFF
        hostile.append(bytes(flipped))
    began, said = time.perf_counter(), []
    for bad in hostile:
        place.write_bytes(bad)
        try:
            assert si.read_samples(path, index=True).sequences == right
        except SciinterpError as error:
            said.append(str(error))
    assert len(said) > 0.8 * len(hostile)
    assert all("\n" not in line and len(line) < 500 for line in said)
    assert time.perf_counter() - began < 10


MEASURE = """
    import sys, tempfile, time, pandas, pyarrow, Bio.SeqIO
    from pathlib import Path
    import sciinterp as si
    with tempfile.TemporaryDirectory() as folder:  # what the first reading loads is not the index
        tiny = Path(folder) / "t.fasta"
        tiny.write_text(">a\\nMKV\\n")
        once = si.read_samples(tiny, format="fasta", index=True)
        once[0].sequence, once.digest
    def most():  # ru_maxrss is inherited from the parent
        return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
    before = most()
    began = time.perf_counter()
    samples = si.read_samples(sys.argv[1], format="fasta", index=True)  # its head is not what is measured
    seconds = time.perf_counter() - began
    samples[len(samples) - 1].sequence, samples.digest
    print(len(samples), samples.n_positions, most() - before, seconds)
"""


def opened(path: Path) -> tuple[int, int, float, float]:
    """Samples, positions, MiB and seconds of opening a file, in a process of its own."""
    code = textwrap.dedent(MEASURE)
    out = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    ).stdout
    n, positions, kib, seconds = out.split()
    return int(n), int(positions), int(kib) / 1024, float(seconds)


def test_opening_takes_little_memory(tmp_path: Path) -> None:
    """20,000 sequences of 300 letters: 6 MB of text; the index of 2 million may take 200 MB, so this one 2."""
    path = tmp_path / "x.fasta"
    block = "".join(f">s{{0:03d}}{i:04d}\n{'ACDEFGHIKL' * 30}\n" for i in range(1000))
    with path.open("w") as file:
        for i in range(20):
            file.write(block.format(i))
    si.read_samples(path, index=True)
    n, positions, mib, _ = opened(path)
    assert (n, positions) == (20_000, 6_000_000)
    assert 0 < mib < 8  # the allocator's own steps are about as large as the index
    shutil.rmtree(tmp_path)


def test_verbs_take_indexed_samples(tmp_path: Path) -> None:
    from tiny_adapter import TinyAdapter

    model = TinyAdapter()
    text = ">a\nEVQLVESGGGLVQ\n>b\nQVQLQQSG\n>c\nDIQMTQSPSSLSAS\n"
    path = write(tmp_path, text, "bgzip")
    lazy, held = si.read_samples(path, index=True), si.read_samples(path, index=False)
    made = [
        si.extract(model, s, site="layers.0", out=tmp_path / n) for s, n in ((lazy, "lazy"), (held, "held"))
    ]
    for name in (p.name for p in (tmp_path / "held").iterdir() if p.is_file() and p.name != "timings.jsonl"):
        if name != "manifest.json":
            assert (tmp_path / "lazy" / name).read_bytes() == (tmp_path / "held" / name).read_bytes(), name
    assert made[0].samples.digest == lazy.digest == held.digest
    assert made[0].samples.sequences == lazy.sequences


def test_a_store_of_many_samples_leaves_their_sequences_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sciinterp.samples import Column
    from sciinterp.store import samples_file

    lazy = si.read_samples(
        write(tmp_path, "".join(f">s{i}\n{'MKV' * (1 + i % 5)}\n" for i in range(300)), "plain"), index=True
    )
    monkeypatch.setattr(samples_file, "ROWS", 64)
    samples_file.save_samples(tmp_path, lazy)
    held = samples_file.load_samples(tmp_path)
    monkeypatch.setattr(samples_file, "STAYS_FROM", 0)
    stays = samples_file.load_samples(tmp_path)
    assert isinstance(stays.data, Column) and isinstance(stays.ids, Column)
    assert stays.digest == held.digest == lazy.digest
    assert stays.sequences == held.sequences == lazy.sequences
    assert stays["s123"].sequence == "MKV" * 4 and list(stays.ids) == list(held.ids)


def test_a_table_and_a_split_hold_no_object_a_sample(tmp_path: Path) -> None:
    n, path, table = 20_000, tmp_path / "x.fasta", tmp_path / "x.tsv"
    path.write_text("".join(f">s{i:06d}\nACDEFGHIKL\n" for i in range(n)))
    rows = (f"s{i:06d}\tfamily of the number {i % 40}\torganism {i % 9}\n" for i in range(n))
    table.write_text("id\tfamily\torganism\n" + "".join(rows))
    si.read_samples(path, index=True)
    tracemalloc.start()
    try:
        samples = si.read_samples(path, index=True, table=table)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        split = si.split_families(samples, by="family")
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        numbered = si.split_families(samples, by=np.arange(n) // 500)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert list(split.family_names) == sorted({f"family of the number {i}" for i in range(40)})
    assert len(numbered.family_names) == 40 and numbered.family[600] == numbered.family[999]
    # five numbers and a name a sample, two columns of pointers; a text object alone has 50 and more
    assert held / n < 80 and (kept - held) / n < 24
    assert (peak - held) / n < 100 and (most - kept) / n < 100, ((peak - held) / n, (most - kept) / n)
