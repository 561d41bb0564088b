r"""What one step of SGD on the unembedding does to log pi(chosen): the kernel in its last layer.

With residuals :math:`r_t = e_{y_t} - \pi(\cdot|y_{<t})` and slopes :math:`a_s` of tokens,

.. math::
    \Delta\log\pi(y_+) = -\eta \sum_s a_s \sum_{t \in y_+} k_{ts} + O(\eta^2), \qquad
    k_{ts} = (r_t \cdot r_s)\,(h_t \cdot h_s)

exactly where only the unembedding is trained, and not the embedding with it. `toymodel.sequences`
has the same kernel for the toy, `toymodel.kernels` for all weights of its policies.
"""

import dataclasses
from typing import NamedTuple

import torch

from toymodel.llm.objective import surrogate
from toymodel.llm.scoring.states import States
from toymodel.llm.sequences import Scored
from toymodel.losses import PreferenceLoss


class FirstStep(NamedTuple):
    """Predictions for each pair, [pair].

    Args:
        own: change of log pi(chosen) by a step on the pair alone (nats per unit of learning rate).
        batch: the same by a step on the mean loss of the batch; None where nobody asked.
        chosen: K of the chosen with itself.
        across: K of the chosen with the rejected.
    """

    own: torch.Tensor
    batch: torch.Tensor | None
    chosen: torch.Tensor
    across: torch.Tensor


def token_kernel(one: States, other: States) -> torch.Tensor:
    r"""How a push on a token moves another, by the unembedding: [token, token].

    .. math::
        k_{ts} = (1[y_t = y_s] - \pi_t(y_s) - \pi_s(y_t) + \pi_t \cdot \pi_s)\,(h_t \cdot h_s)

    A bias of the unembedding adds 1 to the second factor. Nothing larger than a token by
    vocabulary table is made.

    Args:
        one: the tokens moved.
        other: the tokens pushed.
    """
    same = (one.tokens[:, None] == other.tokens).to(one.probs.dtype)
    residuals = same - one.probs[:, other.tokens] - other.probs[:, one.tokens].T
    residuals = residuals + one.probs @ other.probs.T
    return residuals * (one.hidden @ other.hidden.T + float(one.has_bias))


def token_slopes(loss: PreferenceLoss, scored: Scored) -> torch.Tensor:
    """dL/dlog pi of each token where training begins: the policy is the reference, [token].

    Args:
        loss: any preference loss; L is its sum over the pairs.
        scored: the pairs; chosen rows above rejected ones.
    """
    with torch.enable_grad():
        leaf = scored.log_probs.detach().requires_grad_()
        objective = surrogate(loss, dataclasses.replace(scored, log_probs=leaf), scored)
        total = objective.value * len(objective.chosen)
        return torch.autograd.grad(total, leaf)[0][scored.mask]


def first_step(
    loss: PreferenceLoss, scored: Scored, states: States, *, batch: bool = False
) -> FirstStep:
    """Predict what the first step does to the chosen of each pair.

    Args:
        loss: any preference loss.
        scored: the pairs; chosen rows above rejected ones.
        states: their tokens.
        batch: also add up the pushes of all pairs of the batch.
    """
    slopes = token_slopes(loss, scored).double()
    count = len(scored.mask) // 2
    found = []
    for pair in range(count):
        chosen = states.row == pair
        own = chosen | (states.row == pair + count)
        pushed = slice(None) if batch else own  # a mask copies next-token tables
        kernel = token_kernel(states.where(chosen), states.where(pushed)).double().sum(dim=0)
        push = -slopes[pushed] * kernel
        ours, of_chosen = own[pushed], chosen[pushed]
        parts = (
            push[ours].sum(),
            push.sum() / count,
            kernel[of_chosen].sum(),
            kernel[ours & ~of_chosen].sum(),
        )
        found.append(torch.stack(parts))
    own_step, batch_step, itself, across = torch.stack(found).T
    return FirstStep(own_step, batch_step if batch else None, itself, across)
