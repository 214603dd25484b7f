"""What a sparse autoencoder is: codes ``f = act((x - b_dec) W_enc + b_enc)`` and ``xhat = f W_dec + b_dec``.

Whatever it was trained as, an SAE at inference is one of two things: a :class:`TopKSAE` keeps the ``k``
largest positive pre-activations of each row, a :class:`ThresholdSAE` keeps those strictly above a threshold
per feature (ReLU: zero; JumpReLU; BatchTopK, Matryoshka and Gated after training fold into it). Both treat
each row alone: the codes of a row never depend on the rows beside it.
"""

from __future__ import annotations

import abc
import hashlib
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from sciinterp.errors import InputError, ShapeError, require_kinds
from sciinterp.frames import html_card
from sciinterp.provenance import UNKNOWN, HasOrigin, Origin, check, origin_of
from sciinterp.sae import sparse
from sciinterp.sae.architecture import Architecture
from sciinterp.sae.exports import export
from sciinterp.sae.weights import ARRAYS, CONFIG, METRICS, Weights
from sciinterp.store.arrays import as_rows
from sciinterp.store.atomic import atomic_write, make_folder, sha256_file
from sciinterp.store.origins import save_origin
from sciinterp.store.sealed import write_sealed

# The field is how SAELens tells its own folders from others; without it the metadata is dropped on loading.
SAELENS_VERSION = "6.0.0"


def _csr(start: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Sparse CSR tensor support is in beta state", once a process
        return torch.sparse_csr_tensor(start, columns, values, size, check_invariants=False)


class SAE(HasOrigin, abc.ABC):
    """A trained sparse autoencoder; make one with :func:`sciinterp.train` or :func:`sciinterp.load_sae`.

    Parameters
    ----------
    W_enc : Tensor [d_in, n_features]
    b_enc : Tensor [n_features]
    W_dec : Tensor [n_features, d_in]
    b_dec : Tensor [d_in]
    architecture : Architecture, optional
        What it was trained as.
    origin : Origin
        Model, weights, site and fingerprint of the activations it belongs to, and what trained it.
    metrics, recipe : mapping, optional
        Held-out measures; steps, batch size and seed of the training.
    centred : bool
        Whether ``b_dec`` is taken from the input before encoding.
    input_norm : {"none", "layer_norm", "constant_norm_rescale", "standardised", "unit_norm"}
        Each row is standardised, or scaled to norm ``sqrt(d_in)``, before encoding, and a reconstruction is scaled back;
        or centred and scaled to norm 1, and none is.

    Raises
    ------
    ShapeError
        When the arrays do not fit together.
    """

    kind: ClassVar[str]
    threshold: Tensor | None = None
    k: int | None = None

    def __init__(self, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor) -> None:
        d_in, n_features = W_enc.shape if W_enc.ndim == 2 else (-1, -1)
        for name, tensor, shape in (
            ("b_enc", b_enc, (n_features,)),
            ("W_dec", W_dec, (n_features, d_in)),
            ("b_dec", b_dec, (d_in,)),
        ):
            if tuple(tensor.shape) != shape:
                raise ShapeError(
                    f"{name} does not fit W_enc {tuple(W_enc.shape)}",
                    expected=str(shape),
                    got=str(tuple(tensor.shape)),
                )
        # Copies, so that the rows are aligned whatever file they came from.
        self._encoder = torch.empty(n_features, d_in).copy_(W_enc.detach().T)
        self.b_enc, self.W_dec, self.b_dec = (
            t.detach().float().clone().contiguous() for t in (b_enc, W_dec, b_dec)
        )
        self.architecture: Architecture | None = None
        self.origin = Origin()
        self.metrics: dict[str, Any] = {}
        self.recipe: dict[str, Any] = {}
        self.folder: Path | None = None
        self.centred, self.input_norm = True, "none"
        self._work = sparse.Workspace()

    @property
    def W_enc(self) -> Float[Tensor, "d_in n_features"]:
        """Encoder weights."""
        return self._encoder.T

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return self._encoder.shape[1]

    @property
    def n_features(self) -> int:
        """Size of the dictionary."""
        return self._encoder.shape[0]

    def __repr__(self) -> str:
        made = f"{self.architecture}" if self.architecture else self.kind
        if made == ThresholdSAE.kind and self.threshold is not None and not self.threshold.any():
            made = "relu"  # thresholds of zero
        return f"<SAE {self.d_in} -> {self.n_features}, {made}, {self.origin}>"

    def _repr_html_(self) -> str:
        measured = {name: self.metrics.get(name) for name in ("fve", "l0", "dead", "seed")}
        return html_card(repr(self), {**measured, "folder": self.folder})

    @final
    @torch.no_grad()
    def encode(self, x: Float[Tensor, "n d_in"] | np.ndarray) -> Tensor:
        """Codes of activations.

        Parameters
        ----------
        x : Tensor or array [n, d_in]

        Returns
        -------
        torch sparse CSR tensor [n, n_features]
            Float32, positive entries, columns ascending within a row.

        Raises
        ------
        ShapeError, InputError
            A width other than ``d_in``; a NaN or an infinity, with its row.
        """
        rows = self._rows(x)
        rows, _, _ = _normalise(rows, self.input_norm, self.b_dec)
        # As in its training: twins, and architectures that say so.
        self._work.quick = bool(self.recipe.get("frozen") or (self.architecture and self.architecture.quick))
        codes = self._codes(rows - self.b_dec if self.centred else rows)
        return _csr(codes.start, codes.columns, codes.values, (len(rows), self.n_features))

    @final
    def encode_scipy(self, x: Float[Tensor, "n d_in"] | np.ndarray) -> sp.csr_array:
        """:meth:`encode` as a SciPy array: csr float32 [n, n_features]."""
        codes = self.encode(x)
        parts = (codes.values(), codes.col_indices().int(), codes.crow_indices())
        return sp.csr_array(tuple(part.cpu().numpy() for part in parts), shape=tuple(codes.shape))

    @final
    @torch.no_grad()
    def decode(self, codes: Tensor) -> Float[Tensor, "n d_in"]:
        """Reconstruction ``codes W_dec + b_dec`` from sparse (CSR) or dense codes [n, n_features]."""
        require_kinds(codes=(codes, Tensor))
        if codes.ndim != 2 or codes.shape[1] != self.n_features:
            raise ShapeError(
                "these are not codes of this SAE",
                expected=f"[n, {self.n_features}]",
                got=str(tuple(codes.shape)),
            )
        if codes.layout == torch.strided:
            return codes.to(self.W_dec) @ self.W_dec + self.b_dec
        if codes.layout != torch.sparse_csr:
            codes = codes.to_sparse_csr()
        entries = sparse.Codes(codes.crow_indices().int(), codes.col_indices().int(), codes.values().float())
        return sparse.decode(entries, self.W_dec) + self.b_dec

    @final
    @torch.no_grad()
    def reconstruct(self, x: Float[Tensor, "n d_in"] | np.ndarray) -> Float[Tensor, "n d_in"]:
        """``decode(encode(x))``, scaled back where the input is standardised row by row."""
        shift, scale = self.units(x)
        return self.decode(self.encode(x)) * scale + shift

    @final
    @torch.no_grad()
    def units(self, x: Float[Tensor, "n d_in"] | np.ndarray) -> tuple[Tensor | float, Tensor | float]:
        """Shift and scale [n, 1] of each row, which take the units of :meth:`decode` to those of ``x``: 0 and 1 unless
        the input is standardised row by row. What is taken from an activation, or put there, has these units.
        """
        return _normalise(self._rows(x), self.input_norm, self.b_dec)[1:]

    def signed(self) -> Origin:
        """The origin of codes of this SAE: its own, and what tells this SAE from another of the same model."""
        digest = hashlib.sha256(f"{self.kind} {self.k} {self.centred} {self.input_norm}".encode())
        for tensor in (self._encoder, self.b_enc, self.W_dec, self.b_dec, self.threshold):
            if tensor is not None:
                digest.update(tensor.detach().cpu().contiguous().numpy().data)
        recipe = hashlib.sha256(json.dumps(self.recipe, sort_keys=True, default=str).encode()).hexdigest()
        return replace(
            self.origin,
            sae_sha256=digest.hexdigest(),
            architecture=str(self.architecture) if self.architecture else UNKNOWN,
            recipe_sha256=recipe if self.recipe else UNKNOWN,
        )

    def check(self, other: object) -> None:
        """Raise :class:`MismatchError` when ``other`` (a model adapter or Activations) is not what this SAE
        is of, or when that is not known; see :func:`sciinterp.provenance.check`.
        """
        mine = replace(self.origin, d_in=self.d_in)
        theirs, width = origin_of(other, mine.site), getattr(other, "d_in", None)
        theirs = replace(theirs, d_in=width) if isinstance(width, int) else theirs
        check(mine, theirs, name=f"SAE '{self.folder}'" if self.folder else "the SAE")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._encoder.device

    def to(self, device: torch.device | str) -> SAE:
        """Move the weights to a device, in place."""
        for name in ("_encoder", "b_enc", "W_dec", "b_dec", "threshold"):
            value = getattr(self, name)
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        return self

    @property
    def weights(self) -> Weights:
        """The arrays, ``k`` or thresholds, and what is done to the input."""
        return Weights(
            self.W_enc,
            self.b_enc,
            self.W_dec,
            self.b_dec,
            k=self.k,
            threshold=self.threshold,
            centred=self.centred,
            input_norm=self.input_norm,
        )

    @property
    def config(self) -> dict[str, Any]:
        """SAELens's configuration of this SAE; ``metadata.sciinterp`` says how and on what it was trained."""
        return {
            "architecture": self.kind,
            "d_in": self.d_in,
            "d_sae": self.n_features,
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": self.centred,
            "normalize_activations": self.input_norm,
            "reshape_activations": "none",
            **({"k": self.k, "rescale_acts_by_decoder_norm": False} if self.k is not None else {}),
            "metadata": {
                "sae_lens_version": SAELENS_VERSION,
                "model_name": str(self.origin.model or ""),
                "hook_name": str(self.origin.site or ""),
                "sciinterp": {
                    "architecture": self.architecture.as_dict() if self.architecture else None,
                    "identity": self.origin.to_record(),
                    "recipe": self.recipe,
                },
            },
        }

    def save(self, folder: str | Path) -> Path:
        """Write the weights, ``cfg.json`` with their sha256, and last ``metrics.json`` where there are metrics.

        Both JSON files carry their own checksum.
        """
        require_kinds(folder=(folder, Path))
        path = make_folder(folder)
        atomic_write(path / ARRAYS, save(self.weights.named))
        config = self.config
        ours = config["metadata"]["sciinterp"]
        ours["identity"] = save_origin(path, self.origin)
        ours["weights_sha256"], ours["measured"] = sha256_file(path / ARRAYS), bool(self.metrics)
        write_sealed(path / CONFIG, config)
        self.folder = path
        if self.metrics:
            write_sealed(path / METRICS, self.metrics)
        return path

    def export(self, folder: str | Path, *, format: str = "saelens") -> Path:
        """Write the files of another package: "saelens", "dictionary_learning" or "sparsify".

        Raises
        ------
        InputError
            An unknown format, or one that cannot express this SAE.
        """
        require_kinds(folder=(folder, Path))
        return export(self.weights, self.config, folder, format)

    @abc.abstractmethod
    def _codes(self, xin: Tensor) -> sparse.Codes:
        """Codes of centred rows."""

    def _rows(self, x: Tensor | np.ndarray) -> Tensor:
        if not isinstance(x, Tensor) or x.is_complex():
            with np.errstate(over="ignore"):  # what is too large is found not to be finite
                x = torch.from_numpy(np.array(as_rows(x), np.float32))
        rows = x
        if rows.ndim != 2 or rows.shape[1] != self.d_in:
            where = f"SAE '{self.folder}'" if self.folder else "this SAE"
            raise ShapeError(
                "activations do not fit the SAE",
                where=where,
                expected=f"[n, {self.d_in}]",
                got=str(list(rows.shape)),
                do="Load the model and site it was trained on.",
            )
        rows = rows.to(self._encoder.device, torch.float32).contiguous()
        if not torch.isfinite(rows.sum()) and not (good := torch.isfinite(rows).all(1)).all():
            raise InputError(
                "activations hold a value that is not finite", where=f"row {int((~good).nonzero()[0])}"
            )
        return rows


@final
class TopKSAE(SAE):
    """Keeps the ``k`` largest positive pre-activations of each row; ties go to the lowest feature number."""

    kind = "topk"

    def __init__(self, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor, *, k: int) -> None:
        super().__init__(W_enc, b_enc, W_dec, b_dec)
        if not 1 <= k <= self.n_features:
            raise InputError("k does not fit the dictionary", expected=f"1 to {self.n_features}", got=str(k))
        self.k = int(k)

    def _codes(self, xin: Tensor) -> sparse.Codes:
        values, columns = sparse.encode_topk(xin, self._encoder, self.b_enc, int(self.k or 1), self._work)
        return sparse.drop_zeros(values, columns)


@final
class ThresholdSAE(SAE):
    """Keeps pre-activations strictly above ``threshold [n_features]`` (and above zero)."""

    kind = "jumprelu"

    def __init__(
        self, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor, *, threshold: Tensor
    ) -> None:
        super().__init__(W_enc, b_enc, W_dec, b_dec)
        if tuple(threshold.shape) != (self.n_features,):
            raise ShapeError(
                "threshold does not fit the dictionary",
                expected=str((self.n_features,)),
                got=str(tuple(threshold.shape)),
            )
        self.threshold: Tensor = threshold.detach().float().clone().clamp_(min=0)

    def _codes(self, xin: Tensor) -> sparse.Codes:
        return sparse.encode_above(xin, self._encoder, self.b_enc, self.threshold, self._work)


def sae_of(weights: Weights) -> SAE:
    """The SAE that some arrays describe; errors as of :class:`SAE`."""
    if weights.k is not None:
        sae: SAE = TopKSAE(*weights.parts, k=weights.k)
    else:
        threshold = torch.zeros_like(weights.b_enc) if weights.threshold is None else weights.threshold
        sae = ThresholdSAE(*weights.parts, threshold=threshold)
    sae.centred, sae.input_norm = weights.centred, weights.input_norm
    return sae


def _normalise(rows: Tensor, kind: str, centre: Tensor) -> tuple[Tensor, Tensor | float, Tensor | float]:
    """Rows as the encoder wants them, with the shift and the scale that take a reconstruction back."""
    if kind == "layer_norm":
        mean, deviation = rows.mean(1, keepdim=True), rows.std(1, keepdim=True)
        return (rows - mean) / (deviation + 1e-5), mean, deviation  # the way back without, as published
    if kind == "standardised":
        mean, deviation = rows.mean(1, keepdim=True), rows.std(1, keepdim=True) + 1e-8
        return (rows - mean) / deviation, mean, deviation
    if kind == "unit_norm":
        return torch.nn.functional.normalize(rows - centre, dim=1), 0.0, 1.0
    if kind == "constant_norm_rescale":
        scale = rows.norm(dim=1, keepdim=True).clamp_min(1e-8) / rows.shape[1] ** 0.5
        return rows / scale, 0.0, scale
    return rows, 0.0, 1.0
