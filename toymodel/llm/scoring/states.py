"""What a model holds where the tokens of responses are drawn: hidden states, next-token tables."""

import dataclasses
from typing import Any

import torch

from toymodel._errors import refuse
from toymodel.llm.sequences import Batch, Scored


@dataclasses.dataclass(frozen=True)
class States:
    """The tokens of some responses, one after the other, and where they were drawn from.

    Args:
        tokens: the tokens, [token].
        hidden: what the unembedding reads there, [token, unit].
        probs: the next-token probabilities there, [token, vocabulary].
        row: which row of the batch each is of, [token].
        has_bias: whether the unembedding has a bias, which is trained with it.
    """

    tokens: torch.Tensor
    hidden: torch.Tensor
    probs: torch.Tensor
    row: torch.Tensor
    has_bias: bool = False

    def where(self, kept: torch.Tensor | slice) -> "States":
        """Some of the tokens, by a mask, numbers or a slice."""
        tokens, row = self.tokens[kept], self.row[kept]
        return States(tokens, self.hidden[kept], self.probs[kept], row, self.has_bias)

    def sums(self, rows: int, *, mean: bool = False) -> torch.Tensor:
        """Sums, or means, of hidden states over each response, [row, unit]."""
        zero = self.hidden.new_zeros(rows, self.hidden.shape[1])
        total = zero.index_add(0, self.row, self.hidden)
        return total / torch.bincount(self.row, minlength=rows)[:, None] if mean else total


class Reader:
    """Reads responses under a model: next-token tables are made at their tokens alone.

    Args:
        model: a causal language model of transformers.

    Raises:
        InputError: it has no linear unembedding.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.head = model.get_output_embeddings()
        #: Whether logits are the unembedding of hidden states and nothing more; known once read.
        self.is_linear: bool | None = None
        if not isinstance(self.head, torch.nn.Linear):
            expected = "a causal language model with a linear unembedding"
            raise refuse("model", type(model).__name__, expected)

    @torch.no_grad()
    def read(self, batch: Batch) -> tuple[Scored, States]:
        """Responses of a batch of `toymodel.llm.collate`: their log-probabilities, their states."""
        ids, inside = batch["input_ids"], batch["attention_mask"]
        mask = batch["completion_mask"][:, 1:].bool()
        inputs = {"input_ids": ids, "attention_mask": inside, "use_cache": False}
        hidden = self.model.base_model(**inputs)[0][:, :-1][mask]
        logits = _precise(self.head(hidden))
        if not self.is_linear:  # capped or scaled after the unembedding: take the model's own
            whole = _precise(self.model(**inputs).logits[:, :-1][mask])
            if self.is_linear is None:
                self.is_linear = torch.allclose(whole, logits, rtol=1e-2, atol=1e-2)
            logits = logits if self.is_linear else whole
        tokens = ids[:, 1:][mask]
        table = torch.log_softmax(logits, dim=-1)
        log_probs, squares = torch.zeros(2, *mask.shape, dtype=table.dtype, device=table.device)
        log_probs[mask] = table.gather(-1, tokens[:, None]).squeeze(-1)
        squares[mask] = torch.logsumexp(2 * table, dim=-1)
        row = mask.nonzero()[:, 0]
        bias = self.head.bias is not None
        return (
            Scored(log_probs, mask, squares),
            States(tokens, _precise(hidden), table.exp(), row, bias),
        )


def _precise(values: torch.Tensor) -> torch.Tensor:
    """Half precision is for models, not for sums over vocabularies."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
