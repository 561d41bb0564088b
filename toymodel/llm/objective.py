"""Any loss of this library as an objective of torch: its slopes, detached, times log pi."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from toymodel.llm.sequences import Scored, pair_batch
from toymodel.losses import PairBatch, PreferenceLoss, traits

_EXCESS = ("chosen_excess", "rejected_excess")
#: Fields of a batch that a loss may read, which cost something to compute for a language model.
_COSTLY = {
    "mismatched": ("mismatched_log_ratio",),
    "concentration": ("chosen_concentration", "rejected_concentration"),
    "excess": (*_EXCESS, "reference_chosen_excess", "reference_rejected_excess"),
    "reference": ("reference_chosen", "reference_rejected"),
}
_PROBES = 4


class Objective(NamedTuple):
    """A loss on one batch.

    Args:
        value: the mean loss; its gradient is that of the loss.
        chosen: a+ of each pair, [pair].
        rejected: a- of each pair, [pair].
        per_pair: the loss of each pair, [pair].
    """

    value: torch.Tensor
    chosen: np.ndarray
    rejected: np.ndarray
    per_pair: np.ndarray

    def log_ratio(self, policy: Scored) -> float:
        """Mean of log |dL/dpi(y-)| - log |dL/dpi(y+)|; NaN where a slope is zero (float)."""
        if not (np.all(self.chosen) and np.all(self.rejected)):
            return math.nan
        chosen, rejected = policy.total.detach().double().cpu().numpy().reshape(2, -1)
        sizes = np.log(np.abs(self.rejected)) - np.log(np.abs(self.chosen))
        return float(np.mean(sizes + chosen - rejected))


def surrogate(
    loss: PreferenceLoss,
    policy: Scored,
    reference: Scored | None = None,
    mismatched: torch.Tensor | None = None,
) -> Objective:
    r"""The mean loss of a batch, whose gradient torch takes through the log-probabilities alone.

    .. math:: \frac1n \sum_i a_{+,i} \log \pi(y_{+,i}) + a_{-,i} \log \pi(y_{-,i})

    with the slopes detached has exactly the loss's gradient, so no loss is written a second time.
    Where a loss weighs tokens beyond the shorter response's length apart, those have slopes of
    their own.

    Args:
        loss: any preference loss.
        policy: responses under the policy, with their graph.
        reference: the same under the reference.
        mismatched: log-ratios of other prompts' responses, [pair], for KTO.

    Returns:
        The objective, whose value is the loss itself.

    Raises:
        InputError: a log-probability that is not finite.

    References:
        ``docs/llm/README.md`` derives it; it is the chain rule.
    """
    with _on_the_host():
        pairs = pair_batch(policy, reference, mismatched)
        values, chosen, rejected, *beyond = [np.array(part) for part in _evaluate(loss, pairs)]
    weighted = _dot(chosen, rejected, policy.total)
    if any(np.any(slope) for slope in beyond):
        weighted = weighted + _dot(beyond[0], beyond[1], policy.excess)
    weighted = weighted / len(values)
    exact = torch.as_tensor(np.mean(values), dtype=weighted.dtype, device=weighted.device)
    return Objective(weighted - weighted.detach() + exact, chosen, rejected, values)


def needs(loss: PreferenceLoss) -> frozenset[str]:
    """Which costly parts of a batch a loss reads, found by changing them.

    Args:
        loss: any preference loss.

    Returns:
        Some of ``reference``, ``mismatched``, ``concentration`` and ``excess``.

    Example:
        >>> from toymodel.losses import DPO, SimPO
        >>> sorted(needs(DPO())), sorted(needs(SimPO()))
        (['reference'], [])
    """
    random = np.random.default_rng(0)
    lengths = [random.uniform(3, 9, _PROBES) for _ in range(2)]
    plain = PairBatch(*random.uniform(-9, -1, (4, _PROBES)), *lengths)
    before = jax.tree.leaves(_evaluate(loss, plain))
    found = set()
    for what, fields in _COSTLY.items():
        for sign in (-1, 1):
            moved = {f: getattr(plain, f) + sign * random.uniform(0.1, 1, _PROBES) for f in fields}
            after = jax.tree.leaves(_evaluate(loss, dataclasses.replace(plain, **moved)))
            if any(np.any(b != a) for b, a in zip(before, after, strict=True)):
                found.add(what)
    return frozenset(found)


def force(loss: PreferenceLoss) -> str:
    """What a loss does to responses outside the pair, in the words of `toymodel.losses.traits`."""
    with _on_the_host():
        return traits(loss).force.value


@jax.jit
def _evaluate(loss: PreferenceLoss, pairs: PairBatch) -> tuple[Any, ...]:
    """Values, both slopes, and the slopes of both excesses, which the contract leaves to AD."""
    held = loss.held(pairs)

    def total(excess: dict[str, jax.Array]) -> jax.Array:
        return jnp.sum(loss.value_holding(dataclasses.replace(pairs, **excess), held))

    zero = jnp.zeros_like(pairs.chosen)
    excess = {name: getattr(pairs, name) + zero for name in _EXCESS}
    beyond = jax.grad(total)(excess)
    return loss.value(pairs), *loss.slopes(pairs), *(beyond[name] for name in _EXCESS)


def _dot(chosen: np.ndarray, rejected: np.ndarray, rows: torch.Tensor) -> torch.Tensor:
    """The sum of slopes times rows, which are the chosen ones above the rejected ones."""
    slopes = np.concatenate([chosen, rejected])
    return (torch.as_tensor(slopes, dtype=rows.dtype, device=rows.device) * rows).sum()


@contextlib.contextmanager
def _on_the_host() -> Iterator[None]:
    """Slopes are a few numbers: on the CPU, and in float64, so that they add no rounding."""
    host = jax.devices("cpu")[0]
    with jax.enable_x64(True), jax.default_device(host):
        yield
