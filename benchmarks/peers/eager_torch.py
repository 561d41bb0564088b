"""(a) PyTorch, eager, one configuration at a time, as the paper's authors would run it."""

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from benchmarks.toy import BETA1, BETA2, EPSILON, PAIRS, Toy


def train(toy: Toy) -> np.ndarray:
    cells = zip(toy.betas, toy.rates, strict=True)
    return np.stack([_one(toy, float(beta), float(rate)) for beta, rate in cells])


def _one(toy: Toy, beta: float, rate: float) -> np.ndarray:
    prompts, units = toy.first[0].shape
    network = torch.nn.Sequential(
        torch.nn.Linear(prompts, units),
        torch.nn.ReLU(),
        torch.nn.Linear(units, toy.last[1].shape[0]),
    )
    with torch.no_grad():
        for layer, (weight, bias) in ((network[0], toy.first), (network[2], toy.last)):
            layer.weight.copy_(torch.tensor(weight.T.copy()))
            layer.bias.copy_(torch.tensor(bias))
    x, chosen, rejected = torch.tensor(PAIRS).T
    inputs = torch.eye(prompts)
    optimiser = torch.optim.Adam(network.parameters(), rate, (BETA1, BETA2), EPSILON)
    with torch.no_grad():
        reference = torch.log_softmax(network(inputs), -1)
    for _ in range(toy.steps):
        ratio = torch.log_softmax(network(inputs), -1) - reference
        loss = -logsigmoid(beta * (ratio[x, chosen] - ratio[x, rejected])).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return torch.log_softmax(network(inputs), -1).numpy()
