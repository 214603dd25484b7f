"""The losses of every architecture written densely, for autograd: what the sparse steps are held against."""

import torch
from torch import Tensor

from sciinterp.sae import auxk, jumprelu


def by_batch(pre: Tensor, k: int) -> Tensor:
    """Mask of the n k largest positive entries of the whole batch."""
    positive = pre.detach().relu()
    cut = positive.flatten().topk(len(pre) * k).values[-1]
    return (positive >= cut) & (positive > 0)


def aux_loss(p: dict, xin: Tensor, residual: Tensor, dead: Tensor, alpha: float) -> Tensor:
    if not len(dead):
        return 0 * p["b_dec"].sum()
    n = min(len(xin), max(auxk.MIN_ROWS, len(xin) // auxk.PART))
    xin, residual = xin[:n].detach(), residual[:n].detach()
    pre = (xin @ p["W_enc"][dead].T + p["b_enc"][dead]).relu()
    k = min(max(1, xin.shape[1] // 2), len(dead))
    mask = torch.zeros_like(pre).scatter_(1, pre.topk(k).indices, 1.0)
    return alpha * (residual - (pre * mask) @ p["W_dec"][dead]).square().sum() / n


def pre_of(p: dict, x: Tensor) -> tuple[Tensor, Tensor]:
    xin = x - p["b_dec"]
    return xin, xin @ p["W_enc"].T + p["b_enc"]


def topk(a, p, x, t, dead) -> Tensor:
    xin, pre = pre_of(p, x)
    mask = torch.zeros_like(pre).scatter_(1, pre.topk(a.k).indices, 1.0)
    back = (pre.relu() * mask) @ p["W_dec"] + p["b_dec"]
    return (t - back).square().sum() / len(x) + aux_loss(p, xin, t - back, dead, a.aux_alpha)


def batchtopk(a, p, x, t, dead) -> Tensor:
    xin, pre = pre_of(p, x)
    back = (pre.relu() * by_batch(pre, a.k)) @ p["W_dec"] + p["b_dec"]
    return (t - back).square().sum() / len(x) + aux_loss(p, xin, t - back, dead, a.aux_alpha)


def matryoshka(a, p, x, t, dead) -> Tensor:
    xin, pre = pre_of(p, x)
    f = pre.relu() * by_batch(pre, a.k)
    backs = [f[:, :m] @ p["W_dec"][:m] + p["b_dec"] for m in a.prefixes]
    loss = sum((t - b).square().sum() for b in backs) / (len(x) * len(backs))
    return loss + aux_loss(p, xin, t - backs[-1], dead, a.aux_alpha)


def relu(a, p, x, t, dead) -> Tensor:
    f = pre_of(p, x)[1].relu()
    penalty = a.l1 * (f * p["W_dec"].norm(dim=1)).sum()
    return ((t - f @ p["W_dec"] - p["b_dec"]).square().sum() + penalty) / len(x)


def gated(a, p, x, t, dead) -> Tensor:
    xin = x - p["b_dec"]
    shared = xin @ p["W_enc"].T
    gate, mag = shared + p["b_enc"], p["r"].exp() * shared + p["b_mag"]
    f = (gate > 0) * mag.relu()
    frozen = gate.relu() @ p["W_dec"].detach() + p["b_dec"].detach()
    loss = (
        (t - f @ p["W_dec"] - p["b_dec"]).square().sum()
        + (t - frozen).square().sum()
        + a.l1 * gate.relu().sum()
    )
    return loss / len(x)


class Jump(torch.autograd.Function):
    """z H(z - theta) with the written straight-through estimator."""

    @staticmethod
    def forward(ctx, z, theta, eps):
        ctx.save_for_backward(z, theta)
        ctx.eps = eps
        return z * (z > theta)

    @staticmethod
    def backward(ctx, grad):
        z, theta = ctx.saved_tensors
        window = ((z - theta) / ctx.eps).abs() < 0.5
        return (z > theta) * grad, (-(theta / ctx.eps) * window * grad).sum(0), None


class Heaviside(torch.autograd.Function):
    """H(z - theta) with the written straight-through estimator."""

    @staticmethod
    def forward(ctx, z, theta, eps):
        ctx.save_for_backward(z, theta)
        ctx.eps = eps
        return (z > theta).to(z)

    @staticmethod
    def backward(ctx, grad):
        z, theta = ctx.saved_tensors
        window = ((z - theta) / ctx.eps).abs() < 0.5
        return None, (-(1 / ctx.eps) * window * grad).sum(0), None


def jump(a, p, x, t, dead) -> Tensor:
    z, theta = pre_of(p, x)[1], p["theta"].clamp(min=0) * jumprelu.RATE
    f = Jump.apply(z, theta, a.bandwidth)
    l0 = Heaviside.apply(z, theta, a.bandwidth).sum() / len(x)
    mse = (t - f @ p["W_dec"] - p["b_dec"]).square().sum() / len(x)
    return mse + a.weight * x.shape[1] * (l0 / a.target_l0 - 1) ** 2


LOSSES = {
    "topk": topk,
    "batchtopk": batchtopk,
    "matryoshka": matryoshka,
    "relu": relu,
    "gated": gated,
    "jumprelu": jump,
}
