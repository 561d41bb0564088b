"""What is read while a cell trains: gradients of both halves, held-out accuracy, likelihoods."""

from typing import Any

import numpy as np
import torch

from toymodel.llm.batches import collate
from toymodel.llm.gradients import halves_in_parts
from toymodel.llm.loop import evaluate
from toymodel.llm.miniature.bench import Bench
from toymodel.llm.miniature.plan import RECORDS, Cell
from toymodel.llm.objective import Objective, needs
from toymodel.llm.overlap import by_kind
from toymodel.llm.sequences import Scored, score

_PAIRS = 64  # of the training set, the same at each record


class Watch:
    """Called before each update; looks at fixed pairs about ten times.

    Args:
        bench: of the cell.
        cell: which.
        model: that is trained.
        steps: updates to come.
    """

    def __init__(self, bench: Bench, cell: Cell, model: Any, steps: int) -> None:
        self._bench, self._model, self._loss = bench, model, cell.loss
        self._needs = needs(self._loss)
        self._pairs = bench.pairs.scenarios[cell.scenario][:_PAIRS]
        self._pad = bench.tokenizer.pad_token_id
        device = next(model.parameters()).device
        self._held_out = collate(bench.watched(cell.scenario), self._pad, device=device)
        self._batch = collate(self._pairs, self._pad, device=device)
        with torch.no_grad():
            self._before = score(bench.model, self._held_out)
            self._reference = score(bench.model, self._batch)
        self._at = set(np.linspace(0, steps, RECORDS + 1).astype(int).tolist())
        self.curves: dict[str, list[float]] = {}

    def __call__(self, step: int, objective: Objective, policy: Scored) -> None:
        """See `toymodel.llm.train`."""
        if step in self._at:
            self.look(step)

    def look(self, step: int) -> None:
        """Record everything after so many updates."""
        objective, policy = evaluate(
            self._model,
            self._bench.model,
            self._batch,
            self._loss,
            self._needs,
            self._pad,
            self._reference,
            graph=False,
        )
        both = halves_in_parts(objective, policy, self._model, self._batch, batch_size=_PAIRS)
        chosen, rejected = policy.total.detach().chunk(2)
        with torch.no_grad():
            held = score(self._model, self._held_out)
        found = {
            "step": step,
            "chosen": float(chosen.mean()),
            "rejected": float(rejected.mean()),
            "gradient_chosen": both.chosen,
            "gradient_rejected": both.rejected,
            "cosine": both.cosine,
            "log_ratio": both.log_ratio,
            "log_rejected": _log_gradient(objective.rejected, rejected),
            "accuracy": _accuracy(held, self._before),
            "train_loss": float(objective.value.detach()),
            **by_kind(policy, self._pairs),
        }
        for name, value in found.items():
            self.curves.setdefault(name, []).append(value)


def _log_gradient(slopes: np.ndarray, log_probs: torch.Tensor) -> float:
    """Mean of log |dL/dpi| = log |a| - log pi over the pairs with a slope; NaN without any."""
    there = np.not_equal(slopes, 0)
    logs = np.log(np.abs(slopes[there])) - log_probs.double().cpu().numpy()[there]
    return float(np.mean(logs)) if there.any() else float("nan")


def _accuracy(policy: Scored, reference: Scored) -> float:
    """Share of held-out pairs whose chosen log-ratio is the larger; ties count half."""
    chosen, rejected = (policy.total - reference.total).detach().chunk(2)
    return float(((chosen > rejected).double() + 0.5 * (chosen == rejected)).mean())
