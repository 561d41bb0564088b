"""Log-probabilities of responses under a language model, by token and as the losses read them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from toymodel._errors import refuse
from toymodel.losses import PairBatch

Batch = Mapping[str, torch.Tensor]
_LOGITS = 2**28  # 1 GB in float32


@dataclasses.dataclass(frozen=True)
class Scored:
    """Responses under one model; rows are the chosen ones, then the rejected ones.

    Args:
        log_probs: of each token of a response, 0 elsewhere (nats), [row, token].
        mask: whether a token is of the response, [row, token].
        log_sum_squares: log sum over the vocabulary of pi^2 where each token stands,
            [row, token]; None where nobody asked.
    """

    log_probs: torch.Tensor
    mask: torch.Tensor
    log_sum_squares: torch.Tensor | None = None

    @property
    def total(self) -> torch.Tensor:
        """Log-probability of each response (nats), [row]."""
        return self.log_probs.sum(dim=1)

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens of each response, [row]."""
        return self.mask.sum(dim=1)

    @property
    def concentration(self) -> torch.Tensor | None:
        """Sum over the tokens of a response of log sum pi^2, [row]."""
        if self.log_sum_squares is None:
            return None
        return (self.log_sum_squares * self.mask).sum(dim=1)

    @property
    def excess(self) -> torch.Tensor:
        """The part of `total` beyond the length of the pair's shorter response, [row]."""
        shorter = torch.minimum(*self.lengths.chunk(2)).repeat(2)
        beyond = self.mask & (self.mask.cumsum(dim=1) > shorter[:, None])
        return (self.log_probs * beyond).sum(dim=1)


def score(model: Any, batch: Batch, *, concentration: bool = False) -> Scored:
    r"""Score the responses of a batch in one forward pass.

    .. math:: \log \pi(y | x) = \sum_t \log \pi(y_t | x, y_{<t})

    Args:
        model: a causal language model of transformers, or one that answers as they do.
        batch: of `collate`: ``input_ids``, ``attention_mask``, ``completion_mask``, [row, token].
        concentration: compute `Scored.log_sum_squares` as well, which some losses read.

    Returns:
        Differentiable, in float32 at least, whatever the model computes in. Where no gradient is
        taken, rows are scored a few at a time if their logits would need more than 1 GB.
    """
    rows = len(batch["input_ids"])
    most = rows if torch.is_grad_enabled() else _rows_at_once(model, batch)
    if most >= rows:
        return _score(model, batch, concentration)
    parts = [
        _score(model, {k: v[start : start + most] for k, v in batch.items()}, concentration)
        for start in range(0, rows, most)
    ]
    squares = [part.log_sum_squares for part in parts if part.log_sum_squares is not None]
    return Scored(
        torch.cat([part.log_probs for part in parts]),
        torch.cat([part.mask for part in parts]),
        torch.cat(squares) if squares else None,
    )


def score_leaves(model: Any, batch: Batch, *, concentration: bool = False) -> Scored:
    """The same without the model's graph: log-probabilities are leaves, for `halves_in_parts`.

    Args:
        model: as in `score`.
        batch: as in `score`.
        concentration: as in `score`.
    """
    with torch.no_grad():
        found = score(model, batch, concentration=concentration)
    found.log_probs.requires_grad_()
    return found


def _rows_at_once(model: Any, batch: Batch) -> int:
    """How many rows' logits fit into `_LOGITS` numbers; all where the vocabulary is not known."""
    rows, width = batch["input_ids"].shape
    config = getattr(model, "config", None)
    if config is None:
        return rows
    return max(1, _LOGITS // (width * int(config.get_text_config().vocab_size)))


def _score(model: Any, batch: Batch, concentration: bool) -> Scored:
    logits = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    ).logits[:, :-1]
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    mask = batch["completion_mask"][:, 1:].bool()
    table = torch.log_softmax(logits, dim=-1)
    log_probs = table.gather(-1, batch["input_ids"][:, 1:, None]).squeeze(-1)
    squares = torch.logsumexp(2 * table, dim=-1) if concentration else None
    return Scored(log_probs.masked_fill(~mask, 0.0), mask, squares)


def mismatched_log_ratio(policy: Scored, reference: Scored) -> torch.Tensor:
    """Mean log-ratio of a pair's two responses, each after another prompt: KTO's KL, [pair].

    Args:
        policy: a batch of `toymodel.llm.batches.mismatched`.
        reference: the same under the reference.
    """
    return torch.stack((policy.total - reference.total).chunk(2)).mean(dim=0)


def pair_batch(
    policy: Scored, reference: Scored | None, mismatched: torch.Tensor | None = None
) -> PairBatch:
    """What losses see of a batch of pairs, as arrays of JAX.

    Args:
        policy: chosen rows above rejected ones.
        reference: the same responses under the reference; None: log-ratios are those to a
            reference that gives every response probability one.
        mismatched: log pi - log pi0 of other prompts' responses, [pair]; only KTO reads it.

    Raises:
        InputError: a log-probability that is not finite.
    """
    policy = _precise(policy)
    reference = None if reference is None else _precise(reference)
    theirs = torch.zeros_like(policy.total) if reference is None else reference.total
    values = {
        **_sides("", policy.total),
        **_sides("reference_", theirs),
        **{f"{k}_length": v for k, v in _sides("", policy.lengths).items()},
        **{f"{k}_excess": v for k, v in _sides("", policy.excess).items()},
    }
    if reference is not None:
        values |= {f"{k}_excess": v for k, v in _sides("reference_", reference.excess).items()}
    if policy.concentration is not None:
        values |= {f"{k}_concentration": v for k, v in _sides("", policy.concentration).items()}
    if mismatched is not None:
        values["mismatched_log_ratio"] = mismatched
    return PairBatch(**{name: _as_array(name, value) for name, value in values.items()})


def _sides(prefix: str, rows: torch.Tensor) -> dict[str, torch.Tensor]:
    chosen, rejected = rows.chunk(2)
    return {f"{prefix}chosen": chosen, f"{prefix}rejected": rejected}


def _precise(scored: Scored) -> Scored:
    """The same on the host in float64, so that sums over tokens add no rounding."""
    squares = scored.log_sum_squares
    return Scored(
        scored.log_probs.detach().cpu().double(),
        scored.mask.cpu(),
        None if squares is None else squares.detach().cpu().double(),
    )


def _as_array(name: str, value: torch.Tensor) -> jax.Array:
    array = value.detach().cpu().double().numpy()
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise refuse(
            name,
            f"{array[at]} for pair {at} of the batch",
            "finite log-probabilities",
            "look for a learning rate that is too high, half precision that overflows, or a "
            "response with a token that the model rules out",
        )
    return jnp.asarray(array)
