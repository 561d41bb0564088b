r"""Ways to read a reward off the hidden states of a language model; each begins at reward zero.

:math:`h_t` is the last hidden state at token t of the response, which has seen y up to there.
"""

import dataclasses
from collections.abc import Callable

import torch
from torch import nn


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a trunk makes of a batch of `toymodel.llm.collate`.

    Args:
        hidden: last hidden states, [row, token, width].
        tokens: [row, token].
        mask: whether a token is of the response, [row, token].
        output: the trunk's own output layer, from hidden states to logits.
    """

    hidden: torch.Tensor
    tokens: torch.Tensor
    mask: torch.Tensor
    output: Callable[[torch.Tensor], torch.Tensor]

    def at_tokens(self, table: torch.Tensor) -> torch.Tensor:
        """What a table of the whole vocabulary says of each token that came next, [row, token]."""
        return table[:, :-1].gather(-1, self.tokens[:, 1:, None]).squeeze(-1) * self.mask[:, 1:]

    def log_probs(self) -> torch.Tensor:
        """Log-probabilities of tokens under the trunk, 0 outside responses (nats), [row, token]."""
        return self.at_tokens(self.output(self.hidden).log_softmax(dim=-1))

    def at_last(self, each: torch.Tensor) -> torch.Tensor:
        """A value at the last token of each response, [row]."""
        places = torch.arange(self.mask.shape[1], device=each.device)
        return each.gather(1, (places * self.mask).argmax(dim=1, keepdim=True)).squeeze(1)


class Last(nn.Module):
    r"""The usual scalar head: :math:`r = v \cdot h_{|y|}`."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.worth = _zero(width, 1)

    def each(self, seen: Seen) -> torch.Tensor:
        """:math:`v \\cdot h_t`, [row, token]."""
        found: torch.Tensor = self.worth(seen.hidden).squeeze(-1)
        return found

    def forward(self, seen: Seen) -> torch.Tensor:
        return seen.at_last(self.each(seen))


class Mean(Last):
    r"""Pooled by the mean over the response: :math:`r = \frac{1}{|y|} \sum_t v \cdot h_t`."""

    def forward(self, seen: Seen) -> torch.Tensor:
        return (self.each(seen) * seen.mask).sum(dim=1) / seen.mask.sum(dim=1)


class Sum(Last):
    r"""A reward at every state of the response: :math:`r = \sum_t v \cdot h_t`."""

    def forward(self, seen: Seen) -> torch.Tensor:
        return (self.each(seen) * seen.mask).sum(dim=1)


class Attention(Last):
    r"""Pooled by attention: :math:`r = \sum_t \alpha_t\,v \cdot h_t`.

    Alpha is the softmax over the response of :math:`q \cdot h_t`.
    """

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__(width, vocabulary)
        self.query = _zero(width, 1)

    def forward(self, seen: Seen) -> torch.Tensor:
        scores = self.query(seen.hidden).squeeze(-1).masked_fill(~seen.mask, -torch.inf)
        share: torch.Tensor = scores.softmax(dim=1)
        return (share * self.each(seen)).sum(dim=1)


class Token(nn.Module):
    r"""A reward for each token, by what stands before it: :math:`r = \sum_t u_{y_t} \cdot h_{t-1}`.

    u has the shape of the trunk's output layer, so what is said meets what the trunk expects there,
    as in a likelihood. But u begins at zero and nothing is normalised: no response has a reward for
    being likely before pairs say so, and what one gains no other loses.
    """

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.worth = _zero(width, vocabulary)

    def forward(self, seen: Seen) -> torch.Tensor:
        return seen.at_tokens(self.worth(seen.hidden)).sum(dim=1)


class Likelihood(Last):
    r"""With the trunk's own likelihood: :math:`r = v \cdot h_{|y|} + w \log \pi(y|x)`.

    It serves itself: among equally good responses it prefers what the trunk finds likely.
    """

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__(width, vocabulary)
        self.share = nn.Parameter(torch.zeros(()))

    def forward(self, seen: Seen) -> torch.Tensor:
        return seen.at_last(self.each(seen)) + self.share * seen.log_probs().sum(dim=1)


#: By name; each is made from the width of the hidden states and the size of the vocabulary.
FORMS: dict[str, Callable[[int, int], nn.Module]] = {
    "token": Token,
    "last": Last,
    "mean": Mean,
    "attention": Attention,
    "sum": Sum,
    "likelihood": Likelihood,
}


def _zero(width: int, size: int) -> nn.Linear:
    layer = nn.Linear(width, size, bias=False)  # no pair sees a constant
    nn.init.zeros_(layer.weight)
    return layer
