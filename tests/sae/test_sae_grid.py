"""Several SAEs in one pass: each is the one that would be trained alone, killed or not; the front is the front."""

import contextlib
import importlib.util
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sciinterp as si
from sciinterp.cli import main
from sciinterp.errors import InputError
from sciinterp.sae import loop
from sciinterp.sae.batches import Reader
from sciinterp.sae.grid import name_of, pareto
from sciinterp.sae.loop import Job, train, train_together
from sciinterp.sae.settings import TrainSettings
from sciinterp.store.describe import info

X = np.random.default_rng(0).normal(size=(3000, 12)).astype(np.float32) * 3 + 1
GRID = [
    si.TopK(24, k=2),
    si.TopK(40, k=4),
    si.BatchTopK(40, k=4),
    si.ReLU(24, l1=1.0),
    si.JumpReLU(24, target_l0=3),
]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_each_sae_of_a_sweep_is_the_one_trained_alone(tmp_path: Path) -> None:
    si.sweep_saes(X, GRID, out=tmp_path / "all", seeds=(3, 5), steps=30, batch_size=128)
    for architecture in GRID:
        for seed in (3, 5):
            settings = TrainSettings(steps=30, batch_size=128, seed=seed, order_seed=3)
            train(X, architecture, settings=settings, out=tmp_path / "alone")
            assert files(tmp_path / "all" / name_of(architecture, seed)) == files(tmp_path / "alone")
            (tmp_path / "alone").rename(tmp_path / f"done {name_of(architecture, seed)}")


def test_data_are_read_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, read = Reader.next, []
    monkeypatch.setattr(Reader, "next", lambda self: read.append(1) or whole(self))
    si.sweep_saes(X, GRID, seeds=(0, 1), steps=12, batch_size=64)
    assert len(read) == 12


def test_the_table_is_what_a_paper_prints(tmp_path: Path, undefined) -> None:
    table = si.sweep_saes(X, GRID, out=tmp_path, seeds=(0, 1), steps=30, batch_size=128)
    wanted = "seed n_features k architecture fve l0 dead mdl pareto".split()
    assert list(table.columns[: len(wanted)]) == wanted
    assert len(table) == 2 * len(GRID)
    for row in table.itertuples():
        kept = json.loads((tmp_path / row.name / "metrics.json").read_text())
        assert (kept["fve"], kept["l0"], kept["seed"]) == (row.fve, row.l0, row.seed)
    assert table["mdl"].to_numpy() == pytest.approx(
        (table["codes"] + table["dictionary"] + table["residual"]).to_numpy()
    )
    assert table["k"].isna().tolist() == (table["architecture"] == "relu").tolist()
    assert undefined(tmp_path / "sweep.tsv") == []
    back = pd.read_csv(tmp_path / "sweep.tsv", sep="\t")
    assert back["fve"].to_numpy() == pytest.approx(table["fve"].to_numpy())


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_front_holds_exactly_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    found = pareto([p[0] for p in points], [p[1] for p in points])
    for i, (l0, fve) in enumerate(points):
        beaten = any(a <= l0 and b >= fve and (a, b) != (l0, fve) for a, b in points)
        assert found[i] == (not beaten)


def test_killed_in_a_sweep_and_resumed_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also between the checkpoints of two SAEs, so that one resumes from a later step than the other."""

    class Killed(BaseException):
        pass

    settings = TrainSettings(steps=40, batch_size=128, checkpoint_every=7, order_seed=0)

    def sweep(out: Path) -> None:
        pairs = [(a, s) for s in (0, 1) for a in GRID[:3]]
        train_together(X, [Job(a, replace(settings, seed=s), out / name_of(a, s)) for a, s in pairs])

    sweep(tmp_path / "whole")
    whole, saves = loop._Run.save, []

    def save(self: loop._Run) -> None:
        saves.append(1)
        if len(saves) == stop:
            raise Killed
        whole(self)

    for stop in (3, 8, 17):
        saves.clear()
        with monkeypatch.context() as patch:
            patch.setattr(loop._Run, "save", save)
            with pytest.raises(Killed):
                sweep(tmp_path / "cut")
        steps = {p.name for p in (tmp_path / "cut").rglob("step_*")}
        assert len(steps) == (1 if stop == 3 else 2)
    sweep(tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_a_sweep_can_be_widened_later(tmp_path: Path) -> None:
    si.sweep_saes(X, GRID[:1], out=tmp_path, steps=20, batch_size=128)
    before = files(tmp_path / name_of(GRID[0], 0))
    table = si.sweep_saes(X, GRID[:2], out=tmp_path, steps=20, batch_size=128)
    assert len(table) == 2
    assert files(tmp_path / name_of(GRID[0], 0)) == before


def test_what_cannot_share_batches_is_refused() -> None:
    jobs = [Job(GRID[0], TrainSettings(steps=5, batch_size=b, order_seed=0)) for b in (32, 64)]
    with pytest.raises(InputError, match="batch_size"):
        train_together(X, jobs)
    with pytest.raises(InputError, match="order"):
        train_together(X, [Job(GRID[0], TrainSettings(steps=5, seed=s)) for s in (0, 1)])
    with pytest.raises(InputError, match="none twice"):
        si.sweep_saes(X, [GRID[0], GRID[0]], steps=5)


def test_width_is_selected_by_description_length() -> None:
    class Acts:
        d_in, n_tokens, identity, site, fingerprint = 12, 3000, {"model": "m"}, "layers.1", "f"

        def read(self, lo: int, hi: int) -> np.ndarray:
            return X[lo:hi]

        def rows(self, numbers: np.ndarray) -> np.ndarray:
            return np.concatenate([np.arange(i * 10, i * 10 + 10) for i in numbers])

    class Parts:
        train, calibration, test = np.arange(200), np.arange(200, 250), np.arange(250, 300)

    table = si.select_width(Acts(), split=Parts(), widths=(8, 64), ks=(2, 4), steps=20)
    assert len(table) == 4
    assert table["selected"].sum() == 1
    assert table.loc[table["selected"], "mdl"].item() == table["mdl"].min()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Activations of a tiny model on thirty samples of ten families."""
    place = Path(__file__).parents[1] / "activations" / "tiny_adapter.py"
    spec = importlib.util.spec_from_file_location("tiny_adapter_of_sweep", place)
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list(tiny.LETTERS), 40)) for _ in range(30)]
    table = pd.DataFrame({"family": [f"f{i // 3}" for i in range(30)]}, index=[f"s{i}" for i in range(30)])
    samples = si.Samples(list(table.index), sequences, table=table)
    out = tmp_path_factory.mktemp("store") / "acts"
    si.extract(tiny.TinyAdapter(), samples, site="layers.0", out=out)
    return out


def command(*words: str) -> tuple[int, str]:
    out = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
    ):
        patch.setattr("sys.argv", ["sciinterp", "train", *words])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_train_verb_trains_a_grid(store: Path, tmp_path: Path) -> None:
    words = [
        str(store),
        "--out",
        str(tmp_path / "grid"),
        "--steps",
        "10",
        "--grid",
        "features=12,16",
        "--grid",
        "k=2,3",
    ]
    code, text = command(*words, "--grid", "seed=0,1")
    assert code == 0, text
    table = pd.read_csv(tmp_path / "grid" / "sweep.tsv", sep="\t")
    assert sorted(zip(table["n_features"], table["k"], table["seed"])) == [
        (f, k, s) for f in (12, 16) for k in (2, 3) for s in (0, 1)
    ]
    assert all(name in text for name in table["name"])
    for measure in ("fve", "l0", "dead", "mdl", "gaussian", "pareto"):
        assert any({"n_features", measure} <= set(line.split()) for line in text.splitlines())
        assert f"{measure}, " in text or f"{measure}: " in text
    assert "train: step 5 of 10" in text
    words = [*words[:2], str(tmp_path / "quoted"), *words[3:5], "--grid", "k=2,3 features=12,16 seed=0,1"]
    assert command(*words)[0] == 0
    again = pd.read_csv(tmp_path / "quoted" / "sweep.tsv", sep="\t")
    assert sorted(again["name"]) == sorted(table["name"])
    assert info(tmp_path / "grid")["kind"] == "sweep of SAEs"
    assert set(table["name"]) < set(info(tmp_path / "grid"))


@pytest.mark.parametrize(
    ("words", "architecture"),
    [
        ("--k 3", si.Matryoshka(16, k=3)),
        ("--architecture topk --k 3", si.TopK(16, k=3)),
        ("--architecture batchtopk --k 3 --set aux_alpha=0", si.BatchTopK(16, k=3, aux_alpha=0.0)),
        (
            "--architecture matryoshka --set k=3 --set prefixes=4:8:16",
            si.Matryoshka(16, k=3, prefixes=(4, 8, 16)),
        ),
        (
            "--architecture jumprelu --set target_l0=3 --set bandwidth=0.5",
            si.JumpReLU(16, target_l0=3.0, bandwidth=0.5),
        ),
        ("--architecture gated --set l1=1.5", si.Gated(16, l1=1.5)),
        ("--architecture relu --set l1=1.5", si.ReLU(16, l1=1.5)),
    ],
)
def test_train_verb_reaches_every_architecture(store: Path, tmp_path: Path, words: str, architecture) -> None:
    out = tmp_path / "sae"
    code, text = command(str(store), "--out", str(out), "--features", "16", "--steps", "3", *words.split())
    assert code == 0, text
    assert si.load_sae(out).architecture == architecture


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--architecture relu --k 3", "no such parameter, --k"),
        ("--set k=three", "expected int, got three"),
        ("--set 3", "NAME=VALUE"),
        ("--set seed=x", "seed"),
        ("--architecture topc", "topk"),
        ("--k 99", "1 <= k <= n_features"),
    ],
)
def test_train_verb_refuses_in_one_line_and_writes_nothing(
    store: Path, tmp_path: Path, words: str, said: str
) -> None:
    code, text = command(str(store), "--out", str(tmp_path / "sae"), "--features", "16", *words.split())
    assert code == 2
    assert text.startswith("error: ")
    assert said in text
    assert len(text.splitlines()) == 1
    assert not (tmp_path / "sae").exists()
