"""The zoo: an entry is what a run leaves of its SAE, with card, licences and checksums; recipes are configurations of runs."""

import hashlib
import runpy
import time
from pathlib import Path

import pytest

import sciinterp as si
from sciinterp import project, zoo
from sciinterp.activations import extraction
from sciinterp.config import RunConfig
from sciinterp.errors import InputError, SciinterpError
from sciinterp.models.encodings import reverse_complement
from sciinterp.project import load_run, run
from sciinterp.report.prose import found_so

RECIPE = """
[zoo]
sites = ["layers.3", "layers.4"]
[data]
samples = "a.fasta"
annotations = "a.tsv"
[model]
name = "antiberty"
"""


def test_every_recipe_is_the_configuration_of_runs(root: Path) -> None:
    """Six models; where the data are not here, the message says where they come from."""
    names = {path.stem: path for path in (root / "data" / "zoo").glob("*.toml")}
    assert set(names) == {"antiberty", "unirep-64", "spliceai-1", "chgnet", "sceptr", "rxnmapper"}
    runs = list(zoo.recipe(names["antiberty"]))
    assert [site for site, _ in runs] == [f"layers.{i}" for i in range(8)]
    for site, config in [*runs, *zoo.recipe(names["unirep-64"])]:
        assert isinstance(config, RunConfig) and config.model.site == site and config.licences["model"]
    for name in ("spliceai-1", "chgnet", "sceptr", "rxnmapper"):
        with pytest.raises(InputError, match="data of the recipe are not here"):
            list(zoo.recipe(names[name]))


def test_an_entry_has_what_a_stranger_needs(small_run: Path, tmp_path: Path, monkeypatch) -> None:
    recipe = tmp_path / "antiberty.toml"
    recipe.write_text(RECIPE)
    made = load_run(small_run)
    entry = zoo._entry(made, tmp_path / "zoo" / "antiberty" / "layers.4", recipe)
    names = {path.name for path in entry.iterdir()}
    assert names == {
        "cfg.json", "sae_weights.safetensors", "training.safetensors", "metrics.json", "hits.tsv", "hits.baselines.tsv", "recipe.toml",
        "README.md", "SHA256SUMS",
    }  # fmt: skip
    sums = dict(line.split("  ")[::-1] for line in (entry / "SHA256SUMS").read_text().splitlines())
    assert sums == {
        name: hashlib.sha256((entry / name).read_bytes()).hexdigest() for name in names - {"SHA256SUMS"}
    }
    card, results = (entry / "README.md").read_text(), made.manifest["results"]
    for value in (
        f"{results['sae']['fve']:.3f}",
        f"{results['concepts_f1_half']}{found_so(results)}",
        "Licences",
        "MIT",
    ):
        assert value in card
    assert made.hits is not None and made.sae is not None
    best = made.hits[made.hits["selected"]].sort_values("f1", ascending=False).iloc[0]
    assert f"| {best['concept']} | {best['feature']} | {best['folds_agree']} | {best['f1']:.2f} |" in card
    sae = si.load_sae(entry)
    assert sae.origin.model == "antiberty" and sae.metrics == made.sae.metrics
    before = {path.name: path.read_bytes() for path in entry.iterdir()}
    zoo._entry(made, entry, recipe)
    assert {path.name: path.read_bytes() for path in entry.iterdir()} == before
    monkeypatch.setattr(zoo, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="too large for the zoo"):
        zoo._entry(made, tmp_path / "other", recipe)


def test_one_pass_of_the_model_serves_all_sites(tmp_path: Path, monkeypatch) -> None:
    """A model of two sites is read once and its twin once, resumes, and each entry is that of a run of its own."""
    names = [f"s{i}" for i in range(12)]
    chains = ["EVQLVESGGGLVQPGGSLRLSCAASGFTFS" + "ACDEFGHIKLMN"[i] * 3 for i in range(12)]
    (tmp_path / "a.fasta").write_text("".join(f">{n}\n{c}\n" for n, c in zip(names, chains)))
    rows = "".join(f"{n}\t21\t22\tCys\n{n}\t25\t30\tCDR1\n" for n in names)
    (tmp_path / "a.tsv").write_text("sample\tstart\tend\tconcept\n" + rows)
    (tmp_path / "f.tsv").write_text("sample\tfamily\n" + "".join(f"{n}\t{n}\n" for n in names))
    small = """
[sae]
n_features = 16
k = 2
[train]
steps = 5
batch_size = 64
[associate]
sets = []
[split]
by = "family"
"""
    recipe = tmp_path / "antiberty.toml"
    recipe.write_text(
        "seed = 0\ntwins = []\ncandidates = false\n"
        + RECIPE.replace("annotations", 'table = "f.tsv"\nannotations')
        + small
    )
    passes: list[tuple[str, ...]] = []

    def counted(model, sites, batch, _capture=extraction.capture):
        passes.append(tuple(sites))
        return _capture(model, sites, batch)

    monkeypatch.setattr(extraction, "capture", counted)
    entries = zoo.build_zoo(tmp_path, out=tmp_path / "zoo")
    both = ("layers.3", "layers.4")
    assert [entry.name for entry in entries] == list(both)
    # samples and fingerprint, of the model and of its twin
    assert passes == [both] * 4
    made = tmp_path / "zoo" / "runs" / "antiberty" / "layers.3"
    alone = run(dict(zoo.recipe(recipe))["layers.3"], tmp_path / "alone", with_report=False)
    for name in ("hits.tsv", "hits.baselines.tsv", "sae/sae_weights.safetensors"):
        assert (made / name).read_bytes() == (alone.folder / name).read_bytes()
    assert not (made / "report.html").exists()
    passes.clear()
    told = {path: path.stat().st_mtime_ns for path in (tmp_path / "zoo").rglob("*")}
    assert zoo.build_zoo(tmp_path, out=tmp_path / "zoo") == entries and not passes
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "zoo").rglob("*")} == told
    (entries[1] / "hits.tsv").write_text("damaged")
    assert zoo.build_zoo(tmp_path, out=tmp_path / "zoo", only=["antiberty/layers.4"]) == entries[1:]
    assert not passes and zoo._is_whole(entries[1], recipe)


def test_runs_are_made_by_the_run_and_what_is_not_here_is_passed_over(
    tmp_path: Path, monkeypatch, caplog
) -> None:
    asked: list[tuple[str, Path]] = []
    monkeypatch.setattr(zoo, "_made", lambda runs, out: asked.extend((s, out / s) for s in runs) or ())
    for name in ("antiberty.toml", "absent.toml"):
        (tmp_path / name).write_text(
            RECIPE.replace("a.fasta", "none.fasta" if "absent" in name else "a.fasta")
        )
    (tmp_path / "a.fasta").write_text(">a\nACD\n")
    (tmp_path / "a.tsv").write_text("sample\tstart\tend\tconcept\na\t0\t1\tx\n")
    entries = zoo.build_zoo(tmp_path, out=tmp_path / "zoo")
    assert entries == [tmp_path / "zoo" / "antiberty" / site for site in ("layers.3", "layers.4")]
    assert asked == [
        (site, tmp_path / "zoo" / "runs" / "antiberty" / site) for site in ("layers.3", "layers.4")
    ]
    assert "absent is passed over" in caplog.text
    asked.clear()
    assert zoo.build_zoo(tmp_path, out=tmp_path / "zoo", only=["antiberty/layers.4"]) == entries[1:]
    assert [site for site, _ in asked] == ["layers.4"]
    for only, words in (
        ("absent", "are not here"),
        ("antibody", "antiberty"),
        ("antiberty/layers.5", "no such site.*layers.3"),
    ):
        with pytest.raises(InputError, match=words):
            zoo.build_zoo(tmp_path, out=tmp_path / "zoo", only=[only])
    (tmp_path / "absent.toml").write_text(RECIPE.replace("sites", "site"))
    with pytest.raises(InputError, match="sites"):
        zoo.build_zoo(tmp_path, out=tmp_path / "zoo", only=["absent"])


DATA = '[data]\nsamples = "a.fasta"\nannotations = "a.tsv"\n[model]\nname = "antiberty"\n'
HOSTILE: dict[str, str | bytes] = {
    "empty": "",
    "text": "hello",
    "a list": "[1, 2]",
    "not UTF-8": b"\xff\xfe\x00",
    "a program": b"\x7fELF" + bytes(range(256)),
    "nulls": bytes(1000),
    "arrays 100,000 deep": "a = " + "[" * 100_000 + "]" * 100_000,
    "tables 100,000 deep": "a = " + "{a=" * 100_000 + "1" + "}" * 100_000,
    "a name of 100,000 parts": " . ".join("a" * 100_000) + " = 1",
    "a header of 100,000 parts": "[" + ".".join("a" * 100_000) + "]",
    "long headers": "\n".join("[" + ".".join(["a"] * 60) + f".b{i}]" for i in range(3000)),
    "many keys": "\n".join(f"k{i} = 1" for i in range(200_000)),
    "20 MB of comments": b"#" * (20 << 20),
    "a number of 100,000 digits": DATA + "[train]\nsteps = " + "9" * 100_000,
    "a section twice": DATA + "[data]\nsamples = 'b'\n",
    "cut": DATA + "[zoo",
    "zoo is a number": "zoo = 3\n" + DATA,
    "zoo is a list": "[[zoo]]\nsites = ['layers.1']\n" + DATA,
    "sites is a number": DATA + "[zoo]\nsites = 3\n",
    "a site is a number": DATA + "[zoo]\nsites = [1]\n",
    "no site": DATA + "[zoo]\nsites = []\n",
    "a site outside": DATA + "[zoo]\nsites = ['../../../out']\n",
    "a site that is a place": DATA + "[zoo]\nsites = ['/out']\n",
    "needs is a list": DATA + "[zoo]\nneeds = ['x']\n",
    "a key of no use": DATA + "[zoo]\nrun = 'rm'\n",
    "data is a number": "data = 3\n[model]\nname = 'antiberty'\n",
    "samples is a number": DATA.replace('"a.fasta"', "3"),
    "no model": DATA.partition("[model]")[0],
    "infinite": DATA + "[train]\nsteps = inf\n",
    "a date": DATA + "[train]\nsteps = 1979-05-27\n",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_recipe_is_refused(kind: str, tmp_path: Path, tiny: tuple, monkeypatch) -> None:
    """In one line, within seconds, and no folder is made."""
    monkeypatch.setattr(project, "load_model", lambda *_, **__: tiny[0])
    recipes, content = tmp_path / "recipes", HOSTILE[kind]
    recipes.mkdir()
    (recipes / "evil.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    (recipes / "a.fasta").write_text(">a\nEVQLVESGG\n>b\nEVQLVE\n>c\nEVQLV\n")
    (recipes / "a.tsv").write_text("sample\tstart\tend\tconcept\na\t0\t1\tx\n")
    start = time.process_time()
    with pytest.raises(SciinterpError) as error:
        zoo.build_zoo(recipes, out=tmp_path / "zoo", only=["evil"])
    assert time.process_time() - start < 5
    assert "\n" not in str(error.value) and len(str(error.value)) < 2000
    assert [path.name for path in tmp_path.iterdir()] == ["recipes"]


def test_splice_sites_of_both_strands(root: Path, tmp_path: Path) -> None:
    """Two transcripts of one layout, one a strand: donors stand before GT and acceptors behind AG, as each strand reads."""
    place = tmp_path / "tutorial-cgp" / "data"
    (place / "genomes").mkdir(parents=True)
    (place / "refseq").mkdir()
    gene = "CCCCAAAGTCCCCCCCCAGAAACCCC"  # an exon, an intron from GT to AG, an exon
    text = gene + reverse_complement(gene)
    (place / "genomes" / "hg38.fa").write_text(f">chr16\n{text}\n")
    exons = [("+", 5, 7, "a"), ("+", 20, 22, "a"), ("-", 46, 48, "b"), ("-", 31, 33, "b")]
    exons += [("+", 5, 7, "c"), ("+", 20, 22, "c"), ("+", 24, 25, "c")]  # shares two of its three
    rows = "".join(
        f'chr16\tx\texon\t{lo}\t{hi}\t.\t{s}\t.\tgene_id "g{t}"; transcript_id "{t}";\n'
        for s, lo, hi, t in exons
    )
    (place / "refseq" / "refseq.hg38.gtf").write_text(rows)
    make = runpy.run_path(str(root / "data" / "build_zoo.py"))
    make["genes"](tmp_path, tmp_path, size=len(gene))
    samples = si.read_samples(tmp_path / "genes.fasta", table=tmp_path / "genes.tsv")
    marks = si.read_annotations(tmp_path / "genes.annotations.tsv").frame
    assert len(samples) == 4 and samples.table["block"].nunique() == 2
    found = {
        (m.concept, samples[samples.index(m.sample)].sequence[m.start - 2 : m.end + 2], m.sample[-2])
        for m in marks.itertuples()
        if m.concept in ("donor", "acceptor")
    }
    both = {(c, s, strand) for strand in "+-" for c, s in (("donor", "AAAGT"), ("acceptor", "AGAAA"))}
    assert found == both | {("donor", "AAACC", "+"), ("acceptor", "ACCCC", "+")}
    introns = marks[marks["concept"] == "intron"][["start", "end"]]
    assert set(introns.itertuples(index=False, name=None)) == {(7, 19), (22, 23)}
