"""Train a language model on preference pairs without TRL: a plain loop of torch."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from toymodel import losses
from toymodel._errors import refuse, whole
from toymodel.llm.batches import PairTokens, collate, mismatched
from toymodel.llm.objective import Objective, needs, surrogate
from toymodel.llm.sequences import Scored, mismatched_log_ratio, score, score_leaves
from toymodel.losses import PreferenceLoss

Watch = Callable[[int, Objective, Scored], None]


def train(
    model: Any,
    pairs: Sequence[PairTokens],
    loss: PreferenceLoss | str = "dpo",
    *,
    pad_token: int,
    reference: Any = None,
    optimiser: torch.optim.Optimizer | None = None,
    learning_rate: float = 1e-5,
    epochs: int = 1,
    batch_size: int = 8,
    max_grad_norm: float | None = 1.0,
    seed: int = 0,
    watch: Watch | None = None,
    progress: bool | None = True,
) -> list[float]:
    """Lower a preference loss on pairs, in shuffled mini-batches; the model is trained in place.

    Args:
        model: a causal language model of transformers, on the device where it is to be trained;
            it is left in the mode it was in.
        pairs: of `tokenise`.
        loss: a `PreferenceLoss`, or the name of one.
        pad_token: the number of the padding token.
        reference: the model of pi0, whose dropout is switched off; default: a copy of the model
            as it is given.
        optimiser: of torch, over the model's parameters. Default: AdamW without weight decay.
        learning_rate: constant; of the default optimiser.
        epochs: passes over the pairs.
        batch_size: pairs a step; the last batch of an epoch may be smaller.
        max_grad_norm: gradients are clipped to it; None: never.
        seed: of the order of pairs.
        watch: called with the number of the step (from 0), the objective and the scored batch,
            before each update.
        progress: show a progress bar; None: only on a terminal.

    Returns:
        The loss of each step.

    Raises:
        InputError: no pairs, or log-probabilities that are not finite.
    """
    loss = losses.get(loss)
    if not pairs:
        raise refuse("pairs", "none", "at least one pair")
    whole("epochs", epochs, 1)
    whole("batch_size", batch_size, 1)
    wanted = needs(loss)
    if reference is None and wanted & {"reference", "mismatched"}:
        reference = copy.deepcopy(model)
    if reference is not None:
        reference.eval()
    optimiser = optimiser or torch.optim.AdamW(
        model.parameters(), lr=learning_rate, weight_decay=0.0
    )
    was_training = model.training
    model.train()
    batches = list(shuffled(len(pairs), batch_size, epochs, seed))
    if "mismatched" in wanted and min(map(len, batches)) < 2:
        given = f"{batch_size}, which leaves one of {len(pairs)} pairs alone"
        raise refuse("batch_size", given, "two pairs or more, for a loss that estimates KL")
    device = next(model.parameters()).device
    found = []
    for step, rows in enumerate(
        tqdm(batches, desc="training", unit="step", delay=2, disable=no_bar(progress))
    ):
        batch = collate([pairs[i] for i in rows], pad_token, device=device)
        objective, policy = evaluate(model, reference, batch, loss, wanted, pad_token)
        if watch is not None:
            watch(step, objective, policy)
        optimiser.zero_grad()
        objective.value.backward()
        if max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimiser.step()
        found.append(float(objective.value.detach()))
    model.train(was_training)
    return found


def evaluate(
    model: Any,
    reference: Any,
    batch: dict[str, torch.Tensor],
    loss: PreferenceLoss,
    wanted: frozenset[str],
    pad_token: int,
    theirs: Scored | None = None,
    *,
    graph: bool = True,
) -> tuple[Objective, Scored]:
    """A loss on one batch, with all that it reads.

    Args:
        model: the policy.
        reference: pi0, or None where the loss reads none.
        batch: of `collate`.
        loss: a preference loss.
        wanted: what it `needs`.
        pad_token: the number of the padding token.
        theirs: the responses under the reference, where they are known already.
        graph: keep the policy's graph; else log-probabilities are leaves, for `halves_in_parts`.

    Returns:
        The objective, with its graph, and the responses under the policy.
    """
    scored = score if graph else score_leaves
    policy = scored(model, batch, concentration="concentration" in wanted)
    if reference is None:
        return surrogate(loss, policy), policy
    log_ratio = None
    with torch.no_grad():
        if "mismatched" in wanted:
            other = mismatched(batch, pad_token)
            log_ratio = mismatched_log_ratio(score(model, other), score(reference, other))
        theirs = score(reference, batch) if theirs is None else theirs
    return surrogate(loss, policy, theirs, log_ratio), policy


def shuffled(count: int, batch_size: int, epochs: int, seed: int) -> Iterator[np.ndarray]:
    """Rows of each mini-batch, [row]; every row once an epoch, in a new order."""
    random = np.random.default_rng(seed)
    for _ in range(epochs):
        order = random.permutation(count)
        yield from np.split(order, range(batch_size, count, batch_size))


def no_bar(progress: bool | None) -> bool | None:
    """What tqdm calls ``disable``, from what users call ``progress``."""
    return None if progress is None else not progress
