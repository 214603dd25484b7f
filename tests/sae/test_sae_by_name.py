"""Published SAEs by name: their layouts read as their definitions say, offline and from the hub, refused in one line."""

import json
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import sciinterp as si
from sciinterp.errors import SciinterpError
from sciinterp.sae.foreign import FORMATS
from sciinterp.sae.hub import CHECKED, NEWEST, PUBLISHED

D, N, K = 6, 16, 3
G = torch.Generator().manual_seed(1)
W_ENC, W_DEC = torch.randn(D, N, generator=G), torch.randn(N, D, generator=G)
B_ENC, B_DEC = torch.randn(N, generator=G) * 0.1, torch.randn(D, generator=G) * 0.1
X = torch.randn(40, D, generator=G) * 2 + 1


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Where checksums of published files are kept."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "sciinterp" / "published-saes.json"


def top(acts, k):
    best = acts.relu().topk(k)
    return torch.zeros_like(acts).scatter(1, best.indices, best.values)


def interprot(folder: Path, name: str = "esm2_plm6_l4_sae16.safetensors") -> Path:
    held = {"w_enc": W_ENC, "w_dec": W_DEC, "b_enc": B_ENC, "b_pre": B_DEC}
    held["stats_last_nonzero"] = torch.arange(N)  # their module counts when a feature fired
    save_file({k: v.contiguous() for k, v in held.items()}, folder / name)
    return folder / name


def tied(folder: Path, name: str = "sae-layer26-mixed-expansion_8-k_3.pt") -> Path:
    torch.save({"_orig_mod.W": W_ENC, "_orig_mod.b_enc": B_ENC, "_orig_mod.b_dec": B_DEC}, folder / name)
    return folder / name


def test_interprot_is_its_definition(tmp_path):
    path = interprot(tmp_path)
    with pytest.raises(SciinterpError, match=r"k is not given once.*sciinterp saes"):
        si.load_sae(path)
    (tmp_path / "config.json").write_text(json.dumps({"k": K}))
    sae = si.load_sae(path)
    mean, std = X.mean(-1, keepdim=True), X.std(-1, keepdim=True)
    codes = top(((X - mean) / (std + 1e-5) - B_DEC) @ W_ENC + B_ENC, K)
    assert torch.allclose(sae.encode(X).to_dense(), codes, atol=1e-5)
    assert torch.allclose(sae.reconstruct(X), (codes @ W_DEC + B_DEC) * std + mean, atol=1e-5)
    again = si.load_sae(sae.save(tmp_path / "ours"))
    assert torch.allclose(again.reconstruct(X), sae.reconstruct(X), atol=1e-6)


def test_goodfires_tied_matrix_is_its_definition_token_by_token(tmp_path):
    sae = si.load_sae(tied(tmp_path))
    for x in X[:8, None]:  # their selection is over all tokens given at once
        f = F.relu(x @ W_ENC + B_ENC)
        best = f.flatten().topk(K * len(x))
        codes = torch.zeros_like(f.flatten()).scatter(0, best.indices, best.values).reshape(f.shape)
        assert torch.allclose(sae.encode(x).to_dense(), codes, atol=1e-5)
        assert torch.allclose(sae.reconstruct(x), codes @ W_ENC.T + B_DEC, atol=1e-5)
    (tmp_path / "config.json").write_text(json.dumps({"k": K + 1}))
    with pytest.raises(SciinterpError, match="k is not given once"):
        si.load_sae(tied(tmp_path))


def test_a_layer_of_esm_c_by_name_from_its_folder(tmp_path):
    """The published folder: config.json and a file a layer; the name picks the layer, the row states its origin."""
    config = {"d_model": D, "codebook_dim": N, "k": K, "available_layers": [3, 7], "model_type": "esmc_sae"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    held = {"W_enc": W_ENC, "W_dec": W_DEC, "b_dec": B_DEC, "idf": torch.ones(N), "max": torch.ones(N)}
    for layer in (3, 7):
        scaled = {**held, "W_enc": W_ENC * layer}
        save_file({k: v.contiguous() for k, v in scaled.items()}, tmp_path / f"layer_{layer}.safetensors")
    with pytest.raises(SciinterpError, match=r"several SAEs are here.*layer_3.*layer_7"):
        si.load_sae(tmp_path)
    sae = si.load_sae("esmc/600m/layer-7", weights=tmp_path)
    assert (sae.origin.model, sae.origin.site, sae.k) == ("esmc", "layers.6", K)
    mean, std = X.mean(-1, keepdim=True), X.std(-1, keepdim=True)
    codes = top(((X - mean) / (std + 1e-5) - B_DEC) @ (W_ENC * 7), K)
    assert torch.allclose(sae.encode(X).to_dense(), codes, atol=1e-5)
    for key, value in (("d_model", 7), ("codebook_dim", 7), ("use_residual_update_instead_of_states", True)):
        (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
        with pytest.raises(SciinterpError, match=key):
            si.load_sae("esmc/600m/layer-7", weights=tmp_path)


@pytest.mark.parametrize("harm", ["w_enc", "b_pre", "extra"])
def test_damaged_files_are_named(tmp_path, harm):
    held = {"w_enc": W_ENC, "w_dec": W_DEC, "b_enc": B_ENC, "b_pre": B_DEC}
    held[harm] = held.get(harm, B_ENC)[1:] if harm != "extra" else B_ENC * 1
    save_file({k: v.contiguous() for k, v in held.items()}, tmp_path / "x.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"k": K}))
    with pytest.raises(SciinterpError, match=harm if harm != "w_enc" else "shape"):
        si.load_sae(tmp_path / "x.safetensors", format="interprot")


def test_by_name_from_a_folder_with_its_origin(tmp_path):
    row = PUBLISHED["interprot/esm2-650m/layer-4"]
    interprot(tmp_path, row.file)
    assert row.k == 64
    with pytest.raises(SciinterpError, match=r"k is not given once.*1 to 16"):
        si.load_sae(row.name, weights=tmp_path)  # our file has 16 features, theirs 4,096
    held = {"bias": B_DEC, "encoder.weight": W_ENC.T, "encoder.bias": B_ENC, "decoder.weight": W_DEC.T}
    (tmp_path / "layer_4").mkdir()
    torch.save({k: v.contiguous() for k, v in held.items()}, tmp_path / "layer_4/ae_normalized.pt")
    sae = si.load_sae("interplm/esm2-8m/layer-4", weights=tmp_path)
    assert (sae.origin.model, sae.origin.site, sae.origin.how) == ("esm2-8m", "layers.3", "stated")
    codes = F.relu((X - B_DEC) @ W_ENC + B_ENC)
    assert torch.allclose(sae.encode(X).to_dense(), codes, atol=1e-5)
    assert torch.allclose(sae.reconstruct(X), codes @ W_DEC + B_DEC, atol=1e-5)


def test_what_cannot_be_fetched_is_one_line(tmp_path, monkeypatch):
    class Hub:
        @staticmethod
        def hf_hub_download(**_):
            raise OSError("connection refused\nand more")

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub)
    cases = {
        "interplm/esm2-8m/layer-4": r"cannot be fetched.*connection refused\..*weights=FOLDER",
        "interplm/esm2-8m/layer-9": r"no such published SAE.*layer-",
        "nobody/of/this": "there is no SAE",
    }
    for name, words in cases.items():
        with pytest.raises(SciinterpError, match=words) as caught:
            si.load_sae(name)
        assert "\n" not in str(caught.value)
    with pytest.raises(SciinterpError, match="no such file"):
        si.load_sae("interplm/esm2-8m/layer-4", weights=tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SciinterpError, match=r"sciinterp\[hf\]"):
        si.load_sae("interplm/esm2-8m/layer-4")


def test_the_list_says_what_is_known_and_what_is_not():
    found = si.list_saes()
    assert len(found) == len(PUBLISHED) and found.index.is_unique and set(CHECKED) == set(FORMATS)
    assert set(found["verified"]) == {"against the authors' code"}
    counts = found.index.str.split("/").str[0].value_counts().to_dict()
    assert counts == {"interplm": 12, "interprot": 10, "esmc": 31 + 37 + 2 * 81 + 3 * 30, "goodfire": 1}
    known = set(si.list_models().index) | {"evo2-7b-262k"}
    assert set(found["model"]) <= known
    pinned = found[found["revision"] != NEWEST]
    assert pinned["revision"].str.fullmatch("[0-9a-f]{40}").all() and len(pinned) == 6 + 9
    cases = {
        "interplm/esm2-650m/layer-33": ("norm", "after", "as they are", 10_240),
        "interplm/esm2-8m/layer-6": ("norm", "after", "as they are", 10_240),
        "interprot/esm2-650m/layer-24-100k": ("layers.23", "before", "standardised", 4_096),
        "esmc/600m/layer-0": ("embedding", "before", "standardised", 16_384),
        "esmc/600m/layer-36": ("norm", "after", "standardised", 16_384),
        "esmc/6b/layer-60/k-64/codebook-65536": ("layers.59", "before", "standardised", 65_536),
        "goodfire/evo2-7b-262k/layer-26": ("layers.26", "before", "as they are", 32_768),
    }
    for name, expected in cases.items():
        assert tuple(found.loc[name, ["site", "norm", "rows", "width"]]) == expected
    assert (
        found.loc["esmc/6b/layer-60/k-64/codebook-65536", "repo"]
        == "biohub/ESMC-6B-sae-layer60-k64-codebook65536"
    )
    assert found.loc["interprot/esm2-650m/layer-24-100k", "k"] == 128
    assert len(si.list_saes("esmc/300m/")) == 31 + 30
    with pytest.raises(SciinterpError, match="no such published SAE"):
        si.list_saes("esm-c")


class Hub:
    """A hub of one repository: what was asked for, and the file at each commit."""

    def __init__(self, root: Path, commits: dict[str, float], newest: str) -> None:
        self.root, self.commits, self.newest, self.asked = root, commits, newest, list[str | None]()

    def hf_hub_download(self, repo_id: str, filename: str, revision: str | None) -> str:
        self.asked.append(revision)
        commit = revision or self.newest
        folder = self.root / "models--a--b" / "snapshots" / commit
        folder.mkdir(parents=True, exist_ok=True)
        linear(folder, self.commits[commit])
        return str(folder / filename)


def test_the_first_use_records_commit_and_checksum_and_later_ones_ask_for_it(tmp_path, cache, monkeypatch):
    hub = Hub(tmp_path, {"a" * 40: 1.0, "b" * 40: 2.0}, "a" * 40)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    name = "interplm/esm2-8m/layer-4"
    si.load_sae(name)
    assert json.loads(cache.read_text())[name]["commit"] == "a" * 40
    hub.newest = "b" * 40  # its authors replace the file: this name goes on meaning the first
    first = si.load_sae(name)
    assert hub.asked == [None, "a" * 40]
    second = si.load_sae(name, revision="b" * 40)
    assert torch.allclose(second.weights.W_enc, 2 * first.weights.W_enc)
    assert set(json.loads(cache.read_text())) == {name, f"{name}@{'b' * 40}"}
    hub.commits["a" * 40] = 3.0  # a commit that holds something else is no commit
    with pytest.raises(SciinterpError, match="not the file that was used before"):
        si.load_sae(name)
    pinned = PUBLISHED["interplm/esm2-650m/layer-9"]
    hub.commits |= {pinned.revision: 1.0, "c" * 40: 1.0}
    for revision in (None, "c" * 40):
        with pytest.raises(
            SciinterpError, match="cannot read"
        ):  # the hub here holds layer 4 alone; what is asked for counts
            si.load_sae(pinned.name, revision=revision)
    assert hub.asked[-2:] == [pinned.revision, "c" * 40]
    with pytest.raises(SciinterpError, match="only a published SAE has a revision"):
        si.load_sae(tmp_path, revision="main")


def test_a_file_in_shards_is_one_file(tmp_path):
    held = {"encoder.weight": W_ENC.T, "encoder.bias": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
    (tmp_path / "cfg.json").write_text(json.dumps({"activation": "topk", "k": K, "d_in": D}))
    for number, names in enumerate((["encoder.weight", "b_dec"], ["W_dec", "encoder.bias"]), start=1):
        save_file(
            {n: held[n].contiguous() for n in names}, tmp_path / f"sae-0000{number}-of-00002.safetensors"
        )
    codes = top((X - B_DEC) @ W_ENC + B_ENC, K)
    for path in (tmp_path, tmp_path / "sae-00002-of-00002.safetensors"):
        assert torch.allclose(si.load_sae(path).reconstruct(X), codes @ W_DEC + B_DEC, atol=1e-5)
    save_file({"b_dec": B_DEC, "W_dec": W_DEC}, tmp_path / "sae-00002-of-00002.safetensors")
    with pytest.raises(SciinterpError, match="two shards hold one array.*b_dec".replace(".*", r"[\s\S]*")):
        si.load_sae(tmp_path)
    (tmp_path / "sae-00002-of-00002.safetensors").unlink()
    with pytest.raises(SciinterpError, match="00002-of-00002"):
        si.load_sae(tmp_path)


def test_a_folder_of_many_layers_names_them(tmp_path):
    for layer in ("layers.3", "layers.9"):
        (tmp_path / layer).mkdir()
        interprot(tmp_path / layer, "m.safetensors")
        (tmp_path / layer / "config.json").write_text(json.dumps({"k": K}))
    with pytest.raises(SciinterpError, match=r"several SAEs are here, one a site.*layers\.3, layers\.9"):
        si.load_sae(tmp_path)
    assert si.load_sae(tmp_path / "layers.9").k == K


def linear(folder: Path, scale: float) -> None:
    held = {
        "bias": B_DEC,
        "encoder.weight": W_ENC.T * scale,
        "encoder.bias": B_ENC,
        "decoder.weight": W_DEC.T,
    }
    (folder / "layer_4").mkdir(exist_ok=True)
    torch.save({k: v.contiguous() for k, v in held.items()}, folder / "layer_4/ae_normalized.pt")


def test_a_name_means_the_file_it_meant_before(tmp_path, cache, caplog):
    """The checksum is kept at first use: another file under the same name is refused."""
    name = "interplm/esm2-8m/layer-4"
    linear(tmp_path, 1.0)
    for _ in range(2):
        si.load_sae(name, weights=tmp_path)
    kept = json.loads(cache.read_text())
    assert list(kept) == [name] and len(kept[name]["sha256"]) == 64 and kept[name]["commit"] == ""
    linear(tmp_path, 2.0)
    with pytest.raises(
        SciinterpError, match=r"not the file that was used before.*published-saes\.json"
    ) as error:
        si.load_sae(name, weights=tmp_path)
    assert "\n" not in str(error.value)
    cache.unlink()
    cache.mkdir()  # nothing can be kept there: said, and the SAE is read all the same
    si.load_sae(name, weights=tmp_path)
    assert "could not be kept" in caplog.text
    cache.rmdir()
    cache.write_text("[]")
    with pytest.raises(SciinterpError, match="kept of published SAEs cannot be read"):
        si.load_sae(name, weights=tmp_path)
