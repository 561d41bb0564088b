"""(b) PyTorch with torch.func.vmap over configurations, eager or compiled."""

import numpy as np
import torch
from torch.func import grad, vmap
from torch.nn.functional import logsigmoid

from benchmarks.toy import BETA1, BETA2, EPSILON, PAIRS, Toy

CHUNK = 256  # the fastest of 64, 128, 256 and 512 on two cores


def _table(params: tuple) -> torch.Tensor:
    first, first_bias, last, last_bias = params
    return torch.log_softmax(torch.relu(first + first_bias) @ last + last_bias, -1)


def _loss(params: tuple, reference: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    x, chosen, rejected = torch.tensor(PAIRS).T
    ratio = _table(params) - reference
    return -logsigmoid(beta * (ratio[x, chosen] - ratio[x, rejected])).mean()


_gradients = vmap(grad(_loss))


def _step(params, first, second, reference, betas, rates, scale, second_scale):
    found = _gradients(params, reference, betas)
    first = tuple(BETA1 * m + (1 - BETA1) * g for m, g in zip(first, found, strict=True))
    second = tuple(BETA2 * v + (1 - BETA2) * g * g for v, g in zip(second, found, strict=True))
    rate = [rates.reshape(-1, *(1,) * (p.ndim - 1)) for p in params]
    params = tuple(
        p - r * (m * scale) / (torch.sqrt(v * second_scale) + EPSILON)
        for p, m, v, r in zip(params, first, second, rate, strict=True)
    )
    return params, first, second


def train(toy: Toy, step=_step) -> np.ndarray:
    found = []
    for start in range(0, toy.cells, CHUNK):
        betas = torch.tensor(toy.betas[start : start + CHUNK])
        rates = torch.tensor(toy.rates[start : start + CHUNK])
        params = tuple(
            torch.tensor(np.broadcast_to(leaf, (len(betas), *leaf.shape)).copy())
            for leaf in (*toy.first, *toy.last)
        )
        first = second = tuple(map(torch.zeros_like, params))
        with torch.no_grad():
            reference = vmap(_table)(params)
            for number in range(1, toy.steps + 1):
                scales = (torch.tensor(1 / (1 - b**number)) for b in (BETA1, BETA2))
                params, first, second = step(
                    params, first, second, reference, betas, rates, *scales
                )
            found.append(vmap(_table)(params).numpy())
    return np.concatenate(found)


_compiled = None


def train_compiled(toy: Toy) -> np.ndarray:
    global _compiled
    torch.set_num_threads(1)  # with two, torch 2.13's compiled kernels corrupt memory and crash
    if _compiled is None:
        _compiled = torch.compile(_step)
    return train(toy, _compiled)
