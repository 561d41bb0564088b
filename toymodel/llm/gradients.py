"""The two halves of a loss's gradient in parameters: their sizes, and the angle between them."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from toymodel.llm.objective import Objective
from toymodel.llm.sequences import Batch, Scored, score

Gradient = Sequence[torch.Tensor | None]


@dataclasses.dataclass(frozen=True)
class Halves:
    """Sizes of the chosen and of the rejected half, in both spaces.

    Args:
        chosen: norm in parameters of the mean over pairs of a+ grad log pi(y+).
        rejected: the same of a- grad log pi(y-).
        cosine: of the angle between the two; near -1 they cancel.
        log_ratio: mean over pairs of log |dL/dpi(y-)| - log |dL/dpi(y+)|, in probability space;
            NaN where a slope is zero.
    """

    chosen: float
    rejected: float
    cosine: float
    log_ratio: float


def halves(
    objective: Objective, policy: Scored, parameters: Iterable[torch.nn.Parameter]
) -> Halves:
    r"""Split the gradient of a batch's loss into its two halves.

    .. math:: g_\pm = \frac1n \sum_i a_{\pm,i} \nabla \log \pi(y_{\pm,i}),
        \qquad \frac{\partial L}{\partial \pi(y_\pm)} = \frac{a_\pm}{\pi(y_\pm)}

    Where a loss weighs tokens beyond the shorter response's length apart, their slopes are in it.

    Args:
        objective: of `surrogate`.
        policy: the responses it was computed from, with their graph, which is kept.
        parameters: of the model; those that need no gradient are left out.

    Returns:
        The sizes; two more backward passes.

    References:
        Yan et al. (2024) look at probability space alone; in parameters the halves differ far less.
    """
    leaves = [p for p in parameters if p.requires_grad]
    weighted = token_slopes(objective, policy) * policy.log_probs
    found = [
        torch.autograd.grad(half.sum(), leaves, retain_graph=True, allow_unused=True)
        for half in weighted.chunk(2)
    ]
    return _sizes(found[0], found[1], objective.log_ratio(policy))


def halves_in_parts(
    objective: Objective, policy: Scored, model: Any, batch: Batch, *, batch_size: int
) -> Halves:
    """The same, from a few responses' graphs at a time.

    The slopes are those of the whole batch and held fixed, so the parts add up to the halves
    exactly, whatever joins the pairs in the loss.

    Args:
        objective: of `surrogate`.
        policy: the responses it was computed from; their log-probabilities are a leaf.
        model: which they were scored by.
        batch: of them.
        batch_size: responses at a time.
    """
    leaves = [p for p in model.parameters() if p.requires_grad]
    slopes = token_slopes(objective, policy)
    found = []
    for rows in torch.arange(len(slopes), device=slopes.device).chunk(2):
        half: list[torch.Tensor | None] = [None] * len(leaves)
        for part in rows.split(batch_size):
            width = int(batch["attention_mask"][part].sum(dim=1).max())
            with torch.enable_grad():
                scored = score(model, {k: v[part, :width] for k, v in batch.items()})
                weighted = (slopes[part, : width - 1] * scored.log_probs).sum()
            more = torch.autograd.grad(weighted, leaves, allow_unused=True)
            half = [_added(one, other) for one, other in zip(half, more, strict=True)]
        found.append(half)
    return _sizes(found[0], found[1], objective.log_ratio(policy))


def token_slopes(objective: Objective, policy: Scored) -> torch.Tensor:
    """Slopes of the mean loss in the log-probability of each token, [row, token].

    Args:
        objective: of `surrogate`.
        policy: the responses it was computed from, with a graph or as a leaf.
    """
    return torch.autograd.grad(objective.value, policy.log_probs, retain_graph=True)[0]


def _sizes(chosen: Gradient, rejected: Gradient, log_ratio: float) -> Halves:
    plus, minus = _dot(chosen, chosen) ** 0.5, _dot(rejected, rejected) ** 0.5
    cosine = _dot(chosen, rejected) / (plus * minus) if plus * minus else math.nan
    return Halves(plus, minus, cosine, log_ratio)


def _added(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    return other if one is None else one if other is None else one.add_(other)


def _dot(one: Gradient, other: Gradient) -> float:
    terms = [
        torch.sum(a.double() * b.double())
        for a, b in zip(one, other, strict=True)
        if a is not None and b is not None
    ]
    return float(torch.stack(terms).sum()) if terms else 0.0
