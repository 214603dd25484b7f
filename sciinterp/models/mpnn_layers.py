"""The network of ProteinMPNN and its kin: messages along the edges to the nearest residues.

With h_i a node, e_ij an edge to one of the k residues whose CA is nearest, phi a network of three layers, and
m_ij = 1 where both residues have a whole backbone, a layer of the encoder does

    h_i  = norm(h_i + 1/30 sum_j m_ij phi(h_i, e_ij, h_j));  h_i = norm(h_i + dense(h_i))
    e_ij = norm(e_ij + phi'(h_i, e_ij, h_j))

and a layer of the decoder the first line alone, with a neighbour's letter and state beside e_ij where its letter
may be seen, and the encoder's state where not. The first linear map of phi is applied to its parts before they
are brought to the edges and the last after the sum: the same numbers at half the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sciinterp.devices import using_threads
from sciinterp.products import as_here

# Messages of a residue are divided by this, whatever their number.
SCALE = 30.0
# Bins of distances: centres from 2 to 22 angstrom.
N_RBF, NEAREST, FARTHEST = 16, 2.0, 22.0
# Nothing is nearer to 0 than exp(-60).
LEAST = 60.0
# Offsets along the chain beyond this are alike; the last number is another chain.
MAX_OFFSET = 32
# Under a root, so that its gradient is finite.
TINY = 1e-6
# From N, CA and C to where CB would be.
VIRTUAL_CB = (-0.58273431, 0.56802827, -0.54067466)
# Pairs of atoms whose distances an edge knows, as letters of `atoms_of`: the residue's, its neighbour's.
PAIRS: Sequence[str] = (
    "AA NN CC OO BB AN AC AO AB NC NO NB BC BO OC NA CA OA BA CN ON BN CB OB CO"
).split()  # fmt: skip
ATOM_NAMES = "ANCOB"
# Residues whose edges are worked on at a time on a processor: what [32, 48, 128] numbers need stays in its cache.
BLOCK = 32
# Threads that blocks are dealt to.
THREADS = ContextVar("THREADS", default=1)
# Letters of an element's place in the periodic system: 120 numbers, 19 groups, 8 periods.
N_NUMBERS, N_GROUPS, N_PERIODS = 120, 19, 8
NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Distances in angstrom, never 0."""
    return ((a - b) ** 2).sum(-1).add(TINY).sqrt()


def bins(d: Tensor) -> Tensor:
    """A distance as its nearness to each centre."""
    centres = torch.linspace(NEAREST, FARTHEST, N_RBF, device=d.device)
    scale = N_RBF / (FARTHEST - NEAREST)
    x = (d * scale)[..., None] - centres * scale
    # No copies, unless a gradient asks for them. Numbers near 0 would be denormal, at six times the cost.
    if x.requires_grad:
        return torch.exp(-(x**2).clamp(max=LEAST))
    return x.square_().clamp_(max=LEAST).neg_().exp_()


@contextmanager
def one_thread_a_block() -> Iterator[None]:
    """While open torch computes by one thread, and blocks are dealt to as many as it may use: the same bits whatever their number.

    Nor do threads of torch's own, which wait busily between its products, take processors from those that work.
    """
    threads = THREADS.set(max(THREADS.get(), torch.get_num_threads()))
    try:
        with using_threads(1):
            yield
    finally:
        THREADS.reset(threads)


def in_blocks(fn: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """A function of residues [B T, ...], each for itself, on [B, T, ...]: on a processor a block at a time."""
    size, flat = rows[0].shape[:2], [x.flatten(0, 1) for x in rows]
    if rows[0].device.type != "cpu":
        return fn(*flat).unflatten(0, size)
    blocks = list(zip(*(x.split(BLOCK) for x in flat)))
    threads = min(THREADS.get(), len(blocks))
    # Gradients and a lower precision are asked for in the thread that asks.
    if threads < 2 or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return torch.cat([fn(*block) for block in blocks]).unflatten(0, size)
    # A new thread begins with as many of its own as the environment says.
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        found = list(pool.map(torch.no_grad()(as_here(lambda block: fn(*block))), blocks))
    return torch.cat(found).unflatten(0, size)


def atoms_of(backbone: Float[Tensor, "B T 4 3"]) -> dict[str, Float[Tensor, "B T 3"]]:
    """N, A (the alpha carbon), C, O and a virtual B (the beta carbon)."""
    n, a, c, o = backbone.unbind(2)
    b, d = a - n, c - a
    x, y, z = VIRTUAL_CB
    return {"N": n, "A": a, "C": c, "O": o, "B": x * torch.cross(b, d, dim=-1) + y * b + z * d + a}


def take(nodes: Float[Tensor, "B T *d"], index: Int[Tensor, "*n k"]) -> Float[Tensor, "*n k *d"]:
    """What residues' neighbours hold; these are numbered through the batch."""
    # Several times quicker than an index in brackets.
    return nodes.flatten(0, 1).index_select(0, index.flatten()).unflatten(0, index.shape)


def nearest(
    alpha: Float[Tensor, "B T 3"], whole: Bool[Tensor, "B T"], real: Bool[Tensor, "B T"], k: int
) -> tuple[Float[Tensor, "B T k"], Int[Tensor, "B T k"], Bool[Tensor, "B T k"]]:
    """Distances and numbers of the (at most k) nearest residues, itself first, and which of them there are.

    Numbers run through the batch.

    A residue without a whole backbone is as far as the farthest; padding is never reached.
    """
    both = whole[:, :, None] & whole[:, None]
    d = distance(alpha[:, :, None], alpha[:, None]) * both
    d = torch.where(both, d, d.amax(-1, keepdim=True))
    d = d.masked_fill(~real[:, None], torch.inf)
    found, index = d.topk(min(k, d.shape[-1]), dim=-1, largest=False)
    seen = found.isfinite() & real[..., None]
    first = torch.arange(len(d), device=d.device)[:, None, None] * d.shape[-1]
    return found.masked_fill(~seen, FARTHEST), index + first, seen


def element_columns(number: Tensor) -> Tensor:
    """Where elements [...] stand among number, group and period [..., 3]; 0 is no element.

    Lanthanides and actinides all count as group 3.
    """
    noble = torch.tensor(NOBLE, device=number.device)
    period = torch.bucketize(number, noble)
    into, size = number - noble[(period - 1).clamp(min=0)], noble[period] - noble[(period - 1).clamp(min=0)]
    group = torch.where(into <= 2, into, torch.where(size - into < 16, 18 - (size - into), 3))
    group = torch.where(number == 2, 18, group) * (number > 0)
    return torch.stack([number, N_NUMBERS + group, N_NUMBERS + N_GROUPS + period], -1)


class Dense(nn.Module):
    """Two linear maps, wider inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.W_in, self.W_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.W_out(F.gelu(self.W_in(x)))


class Nodes(nn.Module):
    """What residues hear from their neighbours, added to what they hold."""

    def __init__(self, width: int, n_parts: int) -> None:
        super().__init__()
        self.W1 = nn.Linear(n_parts * width, width)
        self.W2, self.W3 = nn.Linear(width, width), nn.Linear(width, width)
        self.norm1, self.norm2, self.dense = nn.LayerNorm(width), nn.LayerNorm(width), Dense(width)

    def parts(self) -> Sequence[Tensor]:
        """The first map's weights for the residue, the edge, and what stands beside it."""
        return self.W1.weight.split(self.W2.in_features, 1)

    def forward(
        self, h: Tensor, weight: Tensor, mask: Tensor, along: Callable[..., Tensor], *rows: Tensor
    ) -> Tensor:
        """Nodes [B, T, ..., d] and weights [B, T, ..., k] of their edges.

        `along` makes of `rows` [B, T, ...], flattened and in blocks, what comes along each edge before the first bend.
        """

        def heard(h: Tensor, weight: Tensor, *rows: Tensor) -> Tensor:
            own = F.linear(h, self.parts()[0], self.W1.bias)
            sent = F.gelu(self.W2(F.gelu(own[..., None, :] + along(*rows))))
            total = F.linear((weight[..., None, :] @ sent).squeeze(-2), self.W3.weight)
            h = self.norm1(h + (total + weight.sum(-1, keepdim=True) * self.W3.bias) / SCALE)
            return self.norm2(h + self.dense(h))

        return in_blocks(heard, h, weight, *rows) * mask[..., None]


class Edges(nn.Module):
    """What an edge learns from its two residues."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.W11 = nn.Linear(3 * width, width)
        self.W12, self.W13, self.norm3 = nn.Linear(width, width), nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, h: Tensor, e: Tensor, index: Tensor) -> Tensor:
        one, edge, other = self.W11.weight.split(h.shape[-1], 1)
        mine, theirs = F.linear(h, one, self.W11.bias), F.linear(h, other)

        def learnt(mine: Tensor, e: Tensor, index: Tensor) -> Tensor:
            x = mine[:, None] + F.linear(e, edge) + take(theirs, index)
            return self.norm3(e + self.W13(F.gelu(self.W12(F.gelu(x)))))

        return in_blocks(learnt, mine, e, index)


class EdgeEmbedding(nn.Module):
    """Distances of 25 pairs of atoms and the offset along the chain; a residue's edges laid end to end.

    Edges to residues that are not there are zero.
    """

    def __init__(self, width: int, k: int, n_offset: int = 16) -> None:
        super().__init__()
        self.n_edges = k * width
        self.offset = nn.Linear(2 * MAX_OFFSET + 2, n_offset)
        self.project = nn.Linear(n_offset + N_RBF * len(PAIRS), width, bias=False)
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(
        self, atoms: dict[str, Tensor], number: Tensor, chain: Tensor, d: Tensor, index: Tensor, seen: Tensor
    ) -> Float[Tensor, "B T kd"]:
        step = (number[..., None] - take(number, index) + MAX_OFFSET).clamp(0, 2 * MAX_OFFSET)
        step = torch.where(chain[..., None] == take(chain, index), step, 2 * MAX_OFFSET + 1)
        of_step, of_bins = self.project.weight.split([self.offset.out_features, N_RBF * len(PAIRS)], 1)
        along = F.linear(self.offset.weight.T + self.offset.bias, of_step)
        places = torch.stack([atoms[name] for name in ATOM_NAMES], 2)
        # Weights in the order in which distances come: that of `places`, alpha carbons first.
        order = [PAIRS.index(a + b) for a in ATOM_NAMES for b in ATOM_NAMES]
        of_bins = of_bins.unflatten(1, (len(PAIRS), N_RBF))[:, order].flatten(1)

        def edges(own: Tensor, d: Tensor, step: Tensor, index: Tensor, seen: Tensor) -> Tensor:
            near = distance(own[:, None, :, None], take(places, index)[:, :, None]).flatten(-2)
            near = torch.cat([d[..., None], near[..., 1:]], -1)
            x = along[step] + F.linear(bins(near).flatten(-2), of_bins)
            flat = (self.out(self.norm(x)) * seen[..., None]).flatten(-2)
            return F.pad(flat, (0, self.n_edges - flat.shape[-1]))

        return in_blocks(edges, places, d, step, index, seen)


class LigandContext(nn.Module):
    """The atoms of ligands around each residue: a graph of their own whose messages reach the residue."""

    def __init__(self, width: int, n_types: int = 64, n_layers: int = 2) -> None:
        super().__init__()
        n = N_NUMBERS + N_GROUPS + N_PERIODS
        self.type_linear = nn.Linear(n, n_types)
        self.node_project_down = nn.Linear(5 * N_RBF + n_types + 4, width)
        self.y_nodes, self.y_edges = nn.Linear(n, width, bias=False), nn.Linear(N_RBF, width, bias=False)
        self.norm_nodes, self.norm_y_edges, self.norm_y_nodes = (nn.LayerNorm(width) for _ in range(3))
        self.W_v, self.W_c, self.W_nodes_y, self.W_edges_y = (nn.Linear(width, width) for _ in range(4))
        self.V_C, self.V_C_norm = nn.Linear(width, width, bias=False), nn.LayerNorm(width)
        self.context_encoder_layers = nn.ModuleList(Nodes(width, 3) for _ in range(n_layers))
        self.y_context_encoder_layers = nn.ModuleList(Nodes(width, 2) for _ in range(n_layers))

    def forward(
        self, h: Tensor, atoms: dict[str, Tensor], place: Tensor, element: Tensor, known: Tensor, mask: Tensor
    ) -> Float[Tensor, "B T d"]:
        columns = element_columns(element)
        kind = F.embedding(columns, self.type_linear.weight.T).sum(-2) + self.type_linear.bias
        near = torch.cat([bins(distance(atoms[a][:, :, None], place)) for a in "NACOB"], -1)
        edge = self.W_v(
            self.norm_nodes(self.node_project_down(torch.cat([near, kind, _angles(atoms, place)], -1)))
        )
        node = self.W_nodes_y(self.norm_y_nodes(F.embedding(columns, self.y_nodes.weight.T).sum(-2)))
        apart = bins(distance(place[..., None, :], place[..., None, :, :]))
        between = self.W_edges_y(self.norm_y_edges(self.y_edges(apart)))
        pairs, out = known[..., None] * known[..., None, :], self.W_c(h)
        for of_atoms, of_residues in zip(self.y_context_encoder_layers, self.context_encoder_layers):
            assert isinstance(of_atoms, Nodes) and isinstance(of_residues, Nodes)
            node = of_atoms(node, pairs, known, partial(F.linear, weight=of_atoms.parts()[1]), between)
            _, to_edge, to_node = of_residues.parts()
            out = of_residues(out, known, mask, partial(_plus, to_edge), edge, F.linear(node, to_node))
        return h + self.V_C_norm(self.V_C(out))


def _angles(atoms: dict[str, Tensor], place: Float[Tensor, "B T m 3"]) -> Float[Tensor, "B T m 4"]:
    """Directions to atoms in the frame of N, CA and C: around its third axis, and along it."""
    one, two = atoms["N"] - atoms["A"], atoms["C"] - atoms["A"]
    first = F.normalize(one, dim=-1)
    second = F.normalize(two - first * (first * two).sum(-1, keepdim=True), dim=-1)
    frame = torch.stack([first, second, torch.cross(first, second, dim=-1)], -1)
    x, y, z = ((place - atoms["A"][:, :, None]) @ frame).unbind(-1)
    flat, far = (x**2 + y**2 + 1e-8).sqrt(), (x**2 + y**2 + z**2).sqrt() + 1e-8
    return torch.stack([x / flat, y / flat, flat / far, z / far], -1)


class MpnnModule(nn.Module):
    """Encoder and decoder, on a padded batch of structures.

    A residue has `k` neighbours, itself among them, and sees `n_atoms` ligand atoms around it; of `n_labels`
    classes a model of membrane proteins is told.
    """

    def __init__(
        self, *, width: int = 128, k: int = 48, n_layers: int = 3, n_letters: int = 21, n_atoms: int = 0,
        n_labels: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.k, self.width, self.n_atoms, self.n_labels = k, width, n_atoms, n_labels
        self.edge_embedding = EdgeEmbedding(width, k)
        if n_labels:
            self.node_embedding = nn.Sequential(
                nn.Linear(n_labels, width, bias=False), nn.LayerNorm(width), nn.Linear(width, width)
            )
        if n_atoms:
            self.ligand = LigandContext(width)
        self.letters = nn.Embedding(n_letters, width)
        self.encoder_layers = nn.ModuleList(Nodes(width, 3) for _ in range(n_layers))
        self.edge_layers = nn.ModuleList(Edges(width) for _ in range(n_layers))
        self.decoder_layers = nn.ModuleList(Nodes(width, 4) for _ in range(n_layers))
        self.head = nn.Linear(width, n_letters)

    @one_thread_a_block()
    def forward(self, **g: Tensor) -> dict[str, Tensor]:
        """Scores of the letters [B, T, V], each given the backbone and the letters decoded before."""
        return {"logits": self.decode(*self.encode(**g), **g)}

    @one_thread_a_block()
    def encode(self, **g: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Nodes [B, T, d], edges [B, T, k, d], who the neighbours are and which there are [B, T, k]."""
        atoms, whole = atoms_of(g["backbone"]), g["whole"]
        d, index, seen = nearest(atoms["A"], whole, g["real"], self.k)
        flat = self.edge_embedding(atoms, g["number"], g["chain"], d, index, seen)
        e, mask = flat.unflatten(-1, (self.k, self.width))[:, :, : index.shape[-1]], whole.to(flat)
        weight = (seen & take(whole, index) & whole[..., None]).to(flat)
        h = e.new_zeros(e.shape[:2] + e.shape[-1:])
        if self.n_labels:
            h = self.node_embedding(F.one_hot(g["membrane"], self.n_labels).float())
        for layer, edges in zip(self.encoder_layers, self.edge_layers):
            _, to_edge, to_node = layer.parts()  # type: ignore[operator]
            h = layer(h, weight, mask, _along(to_edge, F.linear(h, to_node)), e, index)
            e = edges(h, e, index)
        if self.n_atoms:
            h = self.ligand(h, atoms, g["place"], g["element"], g["known"].to(e), mask)
        return h, e, index, seen

    @one_thread_a_block()
    def decode(self, h: Tensor, e: Tensor, index: Tensor, seen: Tensor, **g: Tensor) -> Tensor:
        """Scores, from what the encoder found; a letter is seen by those of a larger rank."""
        letter, mask, first = self.letters(g["letters"]), g["whole"].to(e), h
        before = (take(g["rank"], index) < g["rank"][..., None])[..., None]
        for layer in self.decoder_layers:
            _, to_edge, to_letter, to_node = layer.parts()  # type: ignore[operator]
            shown, hidden = F.linear(letter, to_letter) + F.linear(h, to_node), F.linear(first, to_node)
            h = layer(h, seen.to(e), mask, _along(to_edge, shown, hidden), e, index, before)
        return self.head(h).float()


def _plus(weight: Tensor, x: Tensor, other: Tensor) -> Tensor:
    return F.linear(x, weight) + other


def _along(to_edge: Tensor, shown: Tensor, hidden: Tensor | None = None) -> Callable[..., Tensor]:
    """What edges and neighbours say; where `before` is False, what neighbours say while their letter is hidden."""

    def along(e: Tensor, index: Tensor, before: Tensor | None = None) -> Tensor:
        theirs = take(shown, index)
        if before is not None and hidden is not None:
            theirs = torch.where(before, theirs, take(hidden, index))
        return F.linear(e, to_edge) + theirs

    return along
