"""The problem's transformer in PyTorch: what `mass_jax.models.decoder` computes, written for double backward.

Of several ways to write each part, one of the fastest under ``create_graph=True`` is here. On a CPU they differed by
less than 5 %: scaled_dot_product_attention's math path, ``addmm``, stacked adapters and a hand-written RMSNorm among
them. The fused attention kernel has no second derivative.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LoraLinear(nn.Module):
    """y = x W + (x A) B; W is a constant, A and B are parameters."""

    def __init__(self, kernel: Tensor, a: Tensor, b: Tensor) -> None:
        """Takes W [D_in, D_out], A [D_in, R] and B [R, D_out]."""
        super().__init__()
        self.register_buffer("kernel", kernel)
        self.a, self.b = nn.Parameter(a), nn.Parameter(b)

    def forward(self, x: Tensor) -> Tensor:
        """[N, D_in] to [N, D_out]."""
        return torch.addmm(x @ self.kernel, x @ self.a, self.b)


class RMSNorm(nn.Module):
    """x / √(mean x² + eps), times a constant scale."""

    def __init__(self, scale: Tensor, eps: float) -> None:
        """Takes the scale [D]."""
        super().__init__()
        self.eps = eps
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last axis."""
        return F.rms_norm(x, (x.shape[-1],), self.scale, self.eps)


class Layer(nn.Module):
    """One pre-norm layer."""

    def __init__(
        self, params: dict[str, Tensor], adapter: dict[str, dict[str, Tensor]], heads: int, eps: float
    ) -> None:
        """Takes one layer's slices of the parameters and of the adapter."""
        super().__init__()
        self.heads = heads
        self.attention_norm = RMSNorm(params["attention_norm"], eps)
        self.mlp_norm = RMSNorm(params["mlp_norm"], eps)
        self.projections = nn.ModuleDict({name: LoraLinear(params[name], **ab) for name, ab in adapter.items()})

    def forward(self, x: Tensor, batch: int, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """[B · T, D] to [B · T, D]."""
        project = self.projections
        h = self.attention_norm(x)
        q, k, v = (
            project[name](h).view(batch, -1, self.heads, x.shape[-1] // self.heads).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        scores = (rotate(q, cos, sin) * q.shape[-1] ** -0.5) @ rotate(k, cos, sin).transpose(-1, -2) + mask
        mixed = (torch.softmax(scores, dim=-1) @ v).transpose(1, 2).reshape(x.shape)
        x = x + project["o_proj"](mixed)
        h = self.mlp_norm(x)
        return x + project["down_proj"](F.silu(project["gate_proj"](h)) * project["up_proj"](h))


class Decoder(nn.Module):
    """Its parameters are the adapter; all else are buffers. ``forward`` gives the loss of every example."""

    def __init__(
        self, params: dict[str, Any], adapter: dict[str, Any], *, length: int, heads: int, rope_theta: float, eps: float
    ) -> None:
        """Takes what `benchmarks.problems.arrays` returns, as tensors; ``length`` is that of the sequences."""
        super().__init__()
        self.register_buffer("embed", params["embed"])
        self.final_norm = RMSNorm(params["final_norm"], eps)
        layers = []
        for i in range(len(params["layers"]["attention_norm"]["scale"])):
            constants = {name: next(iter(leaf.values()))[i] for name, leaf in params["layers"].items()}
            lora = {name: {part: leaf[i].clone() for part, leaf in ab.items()} for name, ab in adapter.items()}
            layers.append(Layer(constants, lora, heads, eps))
        self.layers = nn.ModuleList(layers)
        dtype, half = params["embed"].dtype, params["embed"].shape[1] // heads // 2
        angles = torch.arange(length - 1)[:, None] * rope_theta ** (-torch.arange(half, dtype=dtype) / half)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.register_buffer("mask", torch.full((length - 1, length - 1), float("-inf"), dtype=dtype).triu(1))

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 [B, T] to [B]: the mean of -log p(token_t | tokens before t) over t = 1 .. T - 1."""
        batch = tokens.shape[0]
        x = self.embed[tokens[:, :-1].flatten()]
        for layer in self.layers:
            x = layer(x, batch, self.cos, self.sin, self.mask)
        losses = F.cross_entropy(self.final_norm(x) @ self.embed.T, tokens[:, 1:].flatten(), reduction="none")
        return losses.view(batch, -1).mean(1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of [B, H, T, C] in the half-split layout."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
