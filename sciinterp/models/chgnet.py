"""CHGNet (Deng and others 2023, doi 10.1038/s42256-023-00716-3): crystals, atoms as positions.

Atoms carry a vector v, bonds within 6 angstrom a vector e, angles between bonds within 3 angstrom a vector a;
with phi a gated network and w(r) a smooth weight that vanishes at the cutoff, each of four blocks does

    v_i += W sum_j  w_ij phi(v_i, e_ij, v_j)
    e_ij += W sum_jk w'_ij w'_ik phi(e_ij, e_ik, a_jik, v_i)        (not in the last block)
    a_jik += phi(e_ij, e_ik, a_jik, v_i)                            (not in the last block)

and the energy is a sum over atoms of a network of v. ``layers.i`` is v after block i. The weights are read from
the wheel of ``chgnet==0.4.2`` (modified BSD): version 0.3.0, and the one transferred to r2SCAN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sciinterp.errors import InputError

from .adapter import Adapter
from .crystal_graph import NUMBER, Crystal, build_graph, check_crystal, edges
from .site import Batch, Site, block_sites, unit_spans
from .weight_files import built, fit, read_tensors, renamed, wheel_file

FILES = {
    "chgnet": (
        "chgnet/pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
        "d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1",
    ),
    "chgnet-r2scan": (
        "chgnet/pretrained/r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
        "8eba3db0f35a2788bb3ae22885ad340591e27996f213c6643af522a633b50dad",
    ),
}
INSTALL = "--no-deps chgnet==0.4.2"
CUTOFF, ANGLE_CUTOFF = 6.0, 3.0
# Exponent of the polynomial that takes weights to zero at the cutoff.
SMOOTHNESS = 8
# The checkpoint's names and ours.
NAMES = (
    (r"composition_model\.fc\.weight", "atom_energies"),
    (r"atom_embedding\.embedding", "atom_embedding"),
    (r"bond_basis_expansion\.rbf_expansion_ag\.frequencies", "radial.frequencies"),
    (r"bond_basis_expansion\.rbf_expansion_bg\.frequencies", "short.frequencies"),
    (r"angle_basis_expansion\.fourier_expansion\.frequencies", "angle_frequencies"),
    (r"bond_weights_ag", "radial_weight"),
    (r"bond_weights_bg", "short_weight"),
    (r"^(atom|bond)_conv_layers", r"\1_layers"),
    (r"twoBody_(atom|bond)", "phi"),
    (r"mlp_(core|gate)\.layers\.([01])\.", r"\1.0."),
    (r"mlp_(core|gate)\.layers\.3\.", r"\1.2."),
    (r"bn1", "core_norm"),
    (r"bn2", "gate_norm"),
    (r"mlp_out\.layers\.1", "out"),
    (r"^mlp\.layers\.7", "head.6"),
    (r"^mlp\.layers", "head"),
    (r"^site_wise", "moment"),
    (r"^readout_norm", "norm"),
)


class Radial(nn.Module):
    """Waves of the distance, which vanish smoothly at a cutoff: sqrt(2/c) sin(f r/c) / r u(r/c)."""

    frequencies: Tensor

    def __init__(self, n: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("frequencies", torch.pi * torch.arange(1, n + 1, dtype=torch.float32))

    def forward(self, r: Float[Tensor, " b"]) -> Float[Tensor, "b n"]:
        p, x = SMOOTHNESS, (r / self.cutoff)[:, None]
        smooth = (
            1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
        )
        waves = (2 / self.cutoff) ** 0.5 * torch.sin(self.frequencies * x) / r[:, None]
        return torch.where(x < 1, smooth * waves, 0.0)


class Gated(nn.Module):
    """silu(norm(core(x))) * sigmoid(norm(gate(x))), each a network of one or two layers."""

    def __init__(self, width_in: int, width: int, *, deep: bool) -> None:
        super().__init__()
        self.core, self.gate = (
            nn.Sequential(nn.Linear(width_in, width), *((nn.SiLU(), nn.Linear(width, width)) if deep else ()))
            for _ in range(2)
        )
        self.core_norm, self.gate_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n d"]:
        return F.silu(self.core_norm(self.core(x))) * torch.sigmoid(self.gate_norm(self.gate(x)))


class Convolution(nn.Module):
    """What a node's neighbours send it, weighted, summed, mixed and added to what it holds."""

    def __init__(self, n_parts: int, width: int) -> None:
        super().__init__()
        self.phi = Gated(n_parts * width, width, deep=True)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, x: Float[Tensor, "n d"], parts: Float[Tensor, "m i"], weight: Tensor, owner: Int[Tensor, " m"]
    ) -> Float[Tensor, "n d"]:
        messages = self.phi(parts) * weight
        total = torch.zeros(x.shape, dtype=messages.dtype, device=x.device).index_add(0, owner, messages)
        return x + self.out(total)


class AngleUpdate(nn.Module):
    """What an angle learns from its two bonds and its atom."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.phi = Gated(4 * width, width, deep=False)

    def forward(self, x: Float[Tensor, "a d"], parts: Float[Tensor, "a i"]) -> Float[Tensor, "a d"]:
        return x + self.phi(parts)


class ChgnetModule(nn.Module):
    """The network, on a graph of several crystals."""

    atom_energies: Tensor
    angle_frequencies: Tensor

    def __init__(
        self, *, width: int = 64, n_blocks: int = 4, n_radial: int = 31, n_angular: int = 31
    ) -> None:
        super().__init__()
        self.register_buffer("atom_energies", torch.zeros(len(NUMBER)))
        self.register_buffer("angle_frequencies", torch.arange(1, n_angular // 2 + 1, dtype=torch.float32))
        self.atom_embedding = nn.Embedding(len(NUMBER), width)
        self.radial, self.short = Radial(n_radial, CUTOFF), Radial(n_radial, ANGLE_CUTOFF)
        self.bond_embedding, self.radial_weight, self.short_weight = (
            nn.Linear(n_radial, width, bias=False) for _ in range(3)
        )
        self.angle_embedding = nn.Linear(n_angular, width, bias=False)
        self.atom_layers = nn.ModuleList(Convolution(3, width) for _ in range(n_blocks))
        self.bond_layers = nn.ModuleList(Convolution(4, width) for _ in range(n_blocks - 1))
        self.angle_layers = nn.ModuleList(AngleUpdate(width) for _ in range(n_blocks - 1))
        self.norm, self.moment = nn.LayerNorm(width), nn.Linear(width, 1)
        hidden = [part for _ in range(3) for part in (nn.Linear(width, width), nn.SiLU())]
        self.head = nn.Sequential(*hidden, nn.Linear(width, 1))

    def forward(self, **g: Tensor) -> dict[str, Tensor]:
        """Energies (eV per atom), each atom's share (eV) and magnetic moments (Bohr magnetons)."""
        waves = self.radial(g["length"])
        bond, weight = self.bond_embedding(waves), self.radial_weight(waves)[g["bond"]]
        short = self.short_weight(self.short(g["length"]))
        angle_weight = short[g["angle_bond"]] * short[g["angle_other"]]
        angle = self.angle_embedding(self._fourier(g["angle"]))
        atom = self.atom_embedding(g["numbers"] - 1)
        moments = atom.new_zeros(len(atom))
        last = len(self.atom_layers) - 1
        for i, layer in enumerate(self.atom_layers):
            parts = torch.cat([atom[g["center"]], bond[g["bond"]], atom[g["neighbour"]]], 1)
            atom = layer(atom, parts, weight, g["center"])
            if i == last:
                break
            bond = self.bond_layers[i](
                bond, self._around(g, bond, angle, atom), angle_weight, g["angle_bond"]
            )
            angle = self.angle_layers[i](angle, self._around(g, bond, angle, atom))
            if i == last - 1:
                moments = self.moment(atom)[:, 0].abs()
        own = self.head(self.norm(atom))[:, 0]
        counts = torch.bincount(g["crystal"]).to(own)
        share = own + self.atom_energies[g["numbers"] - 1]
        energy = torch.zeros_like(counts).index_add(0, g["crystal"], share) / counts
        return {"energy": energy, "site_energies": share, "moments": moments}

    def _fourier(self, angle: Float[Tensor, " a"]) -> Float[Tensor, "a n"]:
        turned = angle[:, None] * self.angle_frequencies
        constant = torch.full_like(turned[:, :1], 0.5**0.5)
        return torch.cat([constant, turned.sin(), turned.cos()], 1) / torch.pi**0.5

    def _around(self, g: Mapping[str, Tensor], bond: Tensor, angle: Tensor, atom: Tensor) -> Tensor:
        return torch.cat([bond[g["angle_bond"]], bond[g["angle_other"]], angle, atom[g["angle_center"]]], 1)


@final
class Chgnet(Adapter):
    """CHGNet; samples are records of lattice, species and fractional coordinates, as read from CIF."""

    module: ChgnetModule
    name = "chgnet"
    kind = "crystal"
    licence = "modified BSD"
    # Edges of a dense crystal: some seventy an atom, and as many again angles.
    max_tokens = 1024

    def _sites(self) -> Iterable[Site]:
        width, n = self.module.atom_embedding.embedding_dim, len(self.module.atom_layers)
        yield Site("embedding", "atom_embedding", width, axes="PD", kind="embed", norm="pre")
        yield from block_sites("atom_layers", n, width, axes="PD", norm="pre")
        yield Site("norm", "norm", width, axes="PD", kind="norm", norm="post", depth=1.0)

    def count_positions(self, data: object) -> int:
        """Atoms of the cell."""
        return len(data["species"]) if isinstance(data, Mapping) and "species" in data else 0

    def _check(self, data: Crystal, who: str) -> None:
        """Refuse what is no crystal, elements beyond plutonium, and atoms without a neighbour."""
        check_crystal(data, who)
        super()._check(data, who)
        alone = set(range(self.count_positions(data))) - set(edges(data, CUTOFF)[0].tolist())
        if alone:
            raise InputError(
                "an atom without a neighbour",
                where=f"{who} position {min(alone)} (counted from 0)",
                expected=f"another atom within {CUTOFF:g} angstrom",
            )

    def _encode(self, data: Sequence[Crystal]) -> Batch:
        graph = build_graph(data, cutoff=CUTOFF, angle_cutoff=ANGLE_CUTOFF)
        lengths = torch.tensor([len(d["species"]) for d in data])
        inputs = {key: torch.from_numpy(value) for key, value in vars(graph).items()}
        inputs["numbers"] = torch.tensor([NUMBER[s] for d in data for s in d["species"]])
        inputs["crystal"] = torch.repeat_interleave(torch.arange(len(data)), lengths)
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        return Batch(inputs=inputs, mask=mask, spans=unit_spans(mask), lengths=lengths)

    def _forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.module(**batch.inputs)

    @property
    def probe(self) -> Crystal:
        """Rock salt, for the model's fingerprint."""
        places = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]
        lattice = 2.82 * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
        return {"lattice": lattice.tolist(), "species": ["Na", "Cl"], "frac_coords": places}


def load(name: str, weights: object) -> Chgnet:
    """``chgnet`` or ``chgnet-r2scan`` from the installed wheel, a copy of the file, or around a module."""
    module = built(name, weights, ChgnetModule)
    if module is None:
        path = wheel_file("chgnet", *FILES[name], install=INSTALL, weights=weights)
        state = renamed(read_tensors(name, path)["model"]["state_dict"], NAMES)
        state["atom_energies"] = state["atom_energies"].flatten()
        module = fit(name, ChgnetModule(), state, where=path)
    return Chgnet(module, name=name)
