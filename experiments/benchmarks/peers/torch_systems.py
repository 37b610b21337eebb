"""The peers: three ways to the same exact meta-gradient by PyTorch's double backward. No JAX in these processes."""

from collections.abc import Callable
from typing import Any

import higher
import numpy as np
import torch
import torchopt
from torch import Tensor
from torch.func import functional_call

from experiments.benchmarks.peers.torch_model import Decoder
from experiments.benchmarks.peers.worker import System

Losses = Callable[[Tensor], Tensor]
"""Token ids, int64 [B, T], to the loss of each example [B], with some adapter."""


class Problem:
    """What all three are given."""

    def __init__(self, data: tuple, model: dict[str, Any], rate: float, dtype: torch.dtype) -> None:
        """Takes what `experiments.benchmarks.problems.arrays` returns, and the options of the `Decoder`."""
        params, adapter, tokens, outer, weights = data
        self.model = Decoder(_to_tensors(params, dtype), _to_tensors(adapter, dtype), length=tokens.shape[-1], **model)
        self.tokens_KxNxT, self.outer_1xT = torch.tensor(tokens).long(), torch.tensor(outer).long()
        self.weights_KxN = torch.tensor(weights, dtype=dtype, requires_grad=True)
        self.rate = rate

    def losses(self, params: dict[str, Tensor]) -> Losses:
        """Those of the model with ``params`` as its adapter."""
        return lambda tokens: functional_call(self.model, params, (tokens,))

    def inner_loss(self, losses: Losses, step: int) -> Tensor:
        """The weighted mean of the losses of a step's examples."""
        return (self.weights_KxN[step] * losses(self.tokens_KxNxT[step])).sum() / self.weights_KxN.shape[1]

    def meta_gradient(self, losses: Losses) -> Tensor:
        """[K, N], given the losses of the adapted model: what every system ends with."""
        return torch.autograd.grad(losses(self.outer_1xT)[0], self.weights_KxN)[0]


def by_hand(problem: Problem) -> Tensor:
    """Inner gradients with ``create_graph=True``, new parameters from old, and one gradient through all of it."""
    params = dict(problem.model.named_parameters())
    for step in range(len(problem.tokens_KxNxT)):
        loss = problem.inner_loss(problem.losses(params), step)
        grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        params = {name: p - problem.rate * g for (name, p), g in zip(params.items(), grads, strict=True)}
    return problem.meta_gradient(problem.losses(params))


def by_higher(problem: Problem) -> Tensor:
    """The library higher (Grefenstette et al. 2019, arXiv 1910.01727): patched module, differentiable optimiser."""
    optimizer = torch.optim.SGD(problem.model.parameters(), lr=problem.rate)
    with higher.innerloop_ctx(problem.model, optimizer) as (model, differentiable_optimizer):
        for step in range(len(problem.tokens_KxNxT)):
            differentiable_optimizer.step(problem.inner_loss(model, step))
        return problem.meta_gradient(model)


def by_torchopt(problem: Problem) -> Tensor:
    """The library TorchOpt (Ren et al. 2022, arXiv 2211.06934): its functional differentiable optimiser."""
    names, values = zip(*problem.model.named_parameters(), strict=True)
    optimizer = torchopt.FuncOptimizer(torchopt.sgd(problem.rate))
    for step in range(len(problem.tokens_KxNxT)):
        loss = problem.inner_loss(problem.losses(dict(zip(names, values, strict=True))), step)
        values = optimizer.step(loss, values)
    return problem.meta_gradient(problem.losses(dict(zip(names, values, strict=True))))


WAYS: dict[str, Callable[[Problem], Tensor]] = {"torch.autograd": by_hand, "higher": by_higher, "torchopt": by_torchopt}


def make(way: str, data: tuple, model: dict[str, Any], rate: float, threads: int, dtype: str) -> System:
    """One of ``WAYS``, ready to be called; see `Problem`."""
    torch.set_num_threads(threads)
    problem = Problem(data, model, rate, getattr(torch, dtype))
    return System(lambda: WAYS[way](problem).numpy(), {})


def _to_tensors(tree: Any, dtype: torch.dtype) -> Any:
    if isinstance(tree, dict):
        return {name: _to_tensors(leaf, dtype) for name, leaf in tree.items()}
    return torch.tensor(np.asarray(tree), dtype=dtype)
