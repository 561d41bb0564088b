"""Numbers of a model while it is trained: likelihoods of pairs and probes, and where mass went."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from toymodel.llm.batches import Response, of_like_lengths
from toymodel.llm.probes import Probe
from toymodel.llm.sequences import score

_LOST = np.log(10.0)  # a sample of the reference's is lost when it is ten times less likely

Checker = Callable[[str, str], bool]


@dataclasses.dataclass(frozen=True)
class Measured:
    """Log-probabilities of the probes under one model.

    Args:
        by_probe: name -> log-probability of each response (nats), [response].
        lengths: name -> tokens of each, [response].
    """

    by_probe: dict[str, np.ndarray]
    lengths: dict[str, np.ndarray]


@torch.no_grad()
def measure(model: Any, probes: Sequence[Probe], pad_token: int) -> Measured:
    """Score all probes, without gradient; the model is left in the mode it was in.

    Args:
        model: a causal language model.
        probes: to score.
        pad_token: the number of the padding token.
    """
    was_training = model.training
    model.eval()
    rows = [row for probe in probes for row in zip(probe.prompts, probe.responses, strict=True)]
    found = response_log_probs(model, rows, pad_token)
    model.train(was_training)
    by_probe, lengths, start = {}, {}, 0
    for probe in probes:
        by_probe[probe.name] = found[start : start + len(probe.responses)]
        lengths[probe.name] = np.array([len(response) for response in probe.responses])
        start += len(probe.responses)
    return Measured(by_probe, lengths)


@torch.no_grad()
def response_log_probs(model: Any, rows: Sequence[Response], pad_token: int) -> np.ndarray:
    """Log-probabilities of responses, each after its prompt (nats), [row].

    Args:
        model: a causal language model.
        rows: prompt and response of each, as tokens.
        pad_token: the number of the padding token.
    """
    device = next(model.parameters()).device
    found = np.empty(len(rows))
    for at, batch in of_like_lengths(rows, pad_token, device):
        found[at] = score(model, batch).total.double().cpu().numpy()
    return found


def summary(probes: Sequence[Probe], now: Measured, before: Measured) -> dict[str, float]:
    """What a log says of the probes.

    Args:
        probes: as measured.
        now: under the policy.
        before: under the model that training began with.

    Returns:
        ``logps/chosen`` and ``logps/rejected``, means over responses (nats), and the same
        ``_per_token``; ``probes/NAME`` for the other probes; ``mass/NAME``, the total probability
        of a prompt's distinct responses, mean over prompts; where there are samples,
        ``support_mass``, ``outside`` (of pair and support), ``lost_share`` (samples that are ten
        times less likely than before) and ``kl``, an estimate of KL(pi0 || pi) from them (nats).
    """
    found = {}
    for probe in probes:
        values = now.by_probe[probe.name]
        own = probe.name in ("chosen", "rejected")
        found[f"logps/{probe.name}" if own else f"probes/{probe.name}"] = float(values.mean())
        if own:
            per_token = values.sum() / now.lengths[probe.name].sum()
            found[f"logps/{probe.name}_per_token"] = float(per_token)
        found[f"mass/{probe.name}"] = _mass([probe], now)
        if probe.name == "sampled":
            change = values - before.by_probe["sampled"]
            found["support_mass"] = found["mass/sampled"]
            found["kl"] = float(-change.mean())
            found["lost_share"] = float(np.mean(change < -_LOST))
    in_sight = [p for p in probes if p.name in ("chosen", "rejected", "greedy", "sampled")]
    found["outside"] = 1 - _mass(in_sight, now)
    return found


def _mass(probes: Sequence[Probe], now: Measured) -> float:
    """Total probability of a prompt's distinct responses in several probes, mean over prompts."""
    joined = Probe(
        "joined",
        tuple(p for probe in probes for p in probe.prompts),
        tuple(r for probe in probes for r in probe.responses),
        tuple(g for probe in probes for g in probe.groups),
    )
    values = np.concatenate([now.by_probe[probe.name] for probe in probes])
    total = np.bincount(joined.groups, weights=np.exp(values) * joined.distinct())
    return float(total[np.unique(joined.groups)].mean())
