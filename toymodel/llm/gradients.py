"""The two halves of a loss's gradient in parameters: their sizes, and the angle between them."""

import dataclasses
import math
from collections.abc import Iterable

import torch

from toymodel.llm.objective import Objective
from toymodel.llm.sequences import Scored


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
    count = len(objective.chosen)
    chosen, rejected = policy.total.chunk(2)
    found: list[list[torch.Tensor | None]] = []
    for slopes, rows in ((objective.chosen, chosen), (objective.rejected, rejected)):
        weights = torch.as_tensor(slopes, dtype=rows.dtype, device=rows.device)
        half = (weights * rows).sum() / count
        parts = torch.autograd.grad(half, leaves, retain_graph=True, allow_unused=True)
        found.append(list(parts))
    plus, minus = (_dot(half, half) ** 0.5 for half in found)
    product = _dot(*found)
    return Halves(
        plus,
        minus,
        product / (plus * minus) if plus * minus else math.nan,
        objective.log_ratio(policy),
    )


def _dot(one: list[torch.Tensor | None], other: list[torch.Tensor | None]) -> float:
    terms = [
        torch.sum(a.double() * b.double())
        for a, b in zip(one, other, strict=True)
        if a is not None and b is not None
    ]
    return float(torch.stack(terms).sum()) if terms else 0.0
