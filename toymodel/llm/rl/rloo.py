"""REINFORCE leave-one-out: raise any reward of a language model's own samples, at a stated cost."""

import copy
import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from toymodel._errors import refuse, whole
from toymodel.llm.batches import Tokens, collate_responses
from toymodel.llm.loop import no_bar, shuffled
from toymodel.llm.measuring import response_log_probs
from toymodel.llm.probes import generate
from toymodel.llm.sequences import score

Reward = Callable[[Sequence[tuple[Tokens, Tokens]]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class RLOOStep:
    """One update, and what training has taken up to it; `dataclasses.asdict` gives a row of a log.

    Args:
        step: its number, from 0.
        reward: mean over the samples, before the update, without the price of divergence.
        kl: mean of log pi - log pi0 over the samples: an unbiased estimate of KL(pi || pi0) (nats).
        without_end: share of samples that reached the longest length without an end.
        length: mean tokens of a sample.
        grad_norm: of the gradient before it was clipped.
        prompts: answered up to now; one that comes again counts again.
        samples: drawn up to now.
        tokens_generated: tokens of samples up to now.
        tokens_trained: tokens of prompts and samples that went through an update up to now.
        seconds: up to now.
    """

    step: int
    reward: float
    kl: float
    without_end: float
    length: float
    grad_norm: float
    prompts: int
    samples: int
    tokens_generated: int
    tokens_trained: int
    seconds: float


def leave_one_out(worth: torch.Tensor) -> torch.Tensor:
    r"""How much better each sample is than the mean of its prompt's other samples.

    .. math:: A_s = q_s - \frac{1}{k - 1} \sum_{t \ne s} q_t = \frac{k}{k - 1} (q_s - \bar q)

    Args:
        worth: q, [prompt, sample].

    Returns:
        The same shape; a constant added to a prompt's q changes nothing.

    Example:
        >>> leave_one_out(torch.tensor([[3.0, 0.0, 0.0]])).tolist()
        [[3.0, -1.5, -1.5]]

    References:
        Kool et al., "Buy 4 REINFORCE Samples, Get a Baseline for Free!" (2019), equation 8.
    """
    count = worth.shape[1]
    return (worth - worth.mean(dim=1, keepdim=True)) * count / (count - 1)


def rloo_loss(
    log_probs: torch.Tensor, reference: torch.Tensor, rewards: torch.Tensor, beta: float
) -> torch.Tensor:
    r"""Minus a surrogate whose gradient is the estimate of the objective's, averaged over prompts.

    .. math:: \hat g = \frac1k \sum_s A_s \nabla \log\pi(y_s|x), \qquad
        q_s = r(x, y_s) - \beta \log\frac{\pi(y_s|x)}{\pi_0(y_s|x)}

    with q held. Over samples of the policy as it is, its mean is exactly the gradient of
    :math:`E_\pi[r] - \beta\,KL(\pi\|\pi_0)`: the baseline is independent of its sample, and what
    holding q leaves out, :math:`-\beta E_\pi[\nabla\log\pi]`, is zero.

    Args:
        log_probs: of the samples under the policy, with their graph (nats), [prompt, sample].
        reference: the same under the reference, [prompt, sample].
        rewards: r, [prompt, sample].
        beta: the price of a nat of divergence.

    Returns:
        A scalar; only its gradient means anything.

    References:
        Ahmadian et al., "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from
        Human Feedback in LLMs" (2024), equation 7.
    """
    worth = rewards - beta * (log_probs.detach() - reference)
    return -(leave_one_out(worth) * log_probs).mean()


def rloo(
    model: Any,
    prompts: Sequence[Tokens],
    reward: Reward,
    *,
    pad_token: int,
    end_token: int | None,
    max_new_tokens: int,
    reference: Any = None,
    beta: float = 0.1,
    samples: int = 4,
    steps: int = 100,
    batch_size: int = 32,
    optimiser: torch.optim.Optimizer | None = None,
    learning_rate: float = 1e-5,
    max_grad_norm: float | None = 1.0,
    seed: int = 0,
    watch: Callable[[RLOOStep], None] | None = None,
    progress: bool | None = True,
) -> list[RLOOStep]:
    """Raise the reward of a model's samples less the price of divergence; it is trained in place.

    Every update has fresh samples at temperature 1 of the policy as it is, so no ratio is needed.
    Dropout is off. With a Bradley-Terry reward, beta is that of DPO. A sample without an end counts
    as the text that it is; `reward` says what that is worth.

    Args:
        model: a causal language model of transformers, on the device where it is to be trained.
        prompts: tokens of each; in shuffled order, again and again.
        reward: of prompt and response of each sample, as tokens: -> [row].
            `RewardModel.rewards` is one, a verifier another.
        pad_token: the number of the padding token.
        end_token: that of the end of a response; None: every sample has the longest length.
        max_new_tokens: longest sample.
        reference: the model of pi0; default: a copy of the model as it is given.
        beta: the price of a nat of divergence.
        samples: samples a prompt, k; two at least.
        steps: updates.
        batch_size: prompts an update; fewer where an epoch ends.
        optimiser: of torch, over the model's parameters. Default: AdamW without weight decay.
        learning_rate: constant; of the default optimiser.
        max_grad_norm: gradients are clipped to it; None: never.
        seed: of the order of prompts and of samples.
        watch: called after each update.
        progress: show a progress bar; None: only on a terminal.

    Returns:
        A record of each update.

    Raises:
        InputError: no prompts, or rewards of another shape or that are not finite.
    """
    if not prompts:
        raise refuse("prompts", "none", "at least one prompt")
    for name, value, least in (("samples", samples, 2), ("steps", steps, 1)):
        whole(name, value, least)
    whole("batch_size", batch_size, 1)
    was_training = model.training
    model.eval()
    reference = copy.deepcopy(model) if reference is None else reference.eval()
    optimiser = optimiser or torch.optim.AdamW(
        model.parameters(), lr=learning_rate, weight_decay=0.0
    )
    limit = float("inf") if max_grad_norm is None else max_grad_norm
    random = np.random.default_rng([seed, 1])  # not the stream of the prompts' order
    batches = itertools.islice(shuffled(len(prompts), batch_size, steps, seed), steps)
    bar = tqdm(batches, desc="rloo", unit="step", total=steps, delay=2, disable=no_bar(progress))
    found: list[RLOOStep] = []
    generated = trained = asked = 0
    begun = time.perf_counter()
    for step, at in enumerate(bar):
        repeated = [prompts[i] for i in at for _ in range(samples)]
        said = generate(
            model,
            repeated,
            pad_token=pad_token,
            end_token=end_token,
            max_new_tokens=max_new_tokens,
            seed=int(random.integers(2**31)),
        )
        rows = list(zip(repeated, said, strict=True))
        rewards = _checked(reward(rows), len(rows))
        theirs = response_log_probs(reference, rows, pad_token)
        log_probs = _log_probs(model, rows, pad_token)
        ours, pi0, worth = (
            part.to(log_probs).reshape(len(at), samples)
            for part in (log_probs, torch.from_numpy(theirs), torch.from_numpy(rewards))
        )
        loss = rloo_loss(ours, pi0, worth, beta)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
        optimiser.step()
        asked += len(at)
        generated += sum(map(len, said))
        trained += sum(len(prompt) + len(response) for prompt, response in rows)
        found.append(
            RLOOStep(
                step=step,
                reward=float(rewards.mean()),
                kl=float((log_probs.detach().double().cpu().numpy() - theirs).mean()),
                without_end=float(np.mean([response[-1] != end_token for response in said])),
                length=float(np.mean([len(response) for response in said])),
                grad_norm=float(norm),
                prompts=asked,
                samples=asked * samples,
                tokens_generated=generated,
                tokens_trained=trained,
                seconds=time.perf_counter() - begun,
            )
        )
        if watch is not None:
            watch(found[-1])
    model.train(was_training)
    return found


def _log_probs(model: Any, rows: Sequence[tuple[Tokens, Tokens]], pad_token: int) -> torch.Tensor:
    """Log-probabilities of responses with their graph (nats), [row]."""
    device = next(model.parameters()).device
    return score(model, collate_responses(rows, pad_token, device=device)).total


def _checked(rewards: np.ndarray, count: int) -> np.ndarray:
    rewards = np.asarray(rewards, float)
    if rewards.shape != (count,):
        raise refuse("reward", f"rewards of shape {rewards.shape}", f"one for each row, ({count},)")
    if not np.isfinite(rewards).all():
        at = int(np.flatnonzero(~np.isfinite(rewards))[0])
        raise refuse("reward", f"{rewards[at]} for row {at}", "finite rewards")
    return rewards
