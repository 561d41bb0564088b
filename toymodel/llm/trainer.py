"""TRL's `DPOTrainer` with any loss of this library: its data, loop and metrics, our objective."""

import contextlib
import math
from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
import torch

from toymodel import losses
from toymodel._errors import refuse
from toymodel.llm import extra
from toymodel.llm.batches import mismatched
from toymodel.llm.objective import Objective, needs, surrogate
from toymodel.llm.sequences import Scored, mismatched_log_ratio
from toymodel.losses import PreferenceLoss

extra.check_trl()

from trl import DPOConfig  # noqa: E402
from trl import DPOTrainer as TRLTrainer  # noqa: E402


class DPOTrainer(TRLTrainer):
    """TRL's trainer of preference pairs, with a loss of this library instead of TRL's own.

    Everything else is TRL's: data, reference model, PEFT, precision, metrics (whose rewards use the
    loss's ``beta`` where it has one, and the config's elsewhere). Beside them it logs the mean
    slopes ``slopes/chosen`` and ``slopes/rejected``, and ``slopes/log_ratio``, the mean of
    log |dL/dpi-| - log |dL/dpi+|. A loss that couples pairs sees the pairs of one device.

    Args:
        model: as TRL takes it.
        loss: a `PreferenceLoss`, or the name of one.
        options: as TRL takes them: ``args``, ``ref_model``, ``train_dataset`` and so on. A model
            in memory needs a ``ref_model``: a copy (``copy.deepcopy(model)``).

    Raises:
        InputError: an untested version of TRL, or a loss that needs more of the reference than
            precomputed log-probabilities hold.
    """

    def __init__(self, model: Any, loss: PreferenceLoss | str = "dpo", **options: Any) -> None:
        self.loss = losses.get(loss)
        self._needs = needs(self.loss)
        args = options.get("args")
        more = sorted(self._needs & {"excess", "mismatched"})
        if more and args is not None and args.precompute_ref_log_probs:
            expected = "a loss of the reference's log-probabilities alone"
            mend = "leave precompute_ref_log_probs out"
            raise refuse("loss", f"one that reads {', '.join(more)}", expected, mend)
        if "concentration" in self._needs:
            args = options["args"] = args or DPOConfig("toymodel-dpo")
            args.use_weighting = True  # then TRL's fused head computes what the loss reads
        super().__init__(model, **options)
        if "mismatched" in self._needs:
            self._check_partners()
        beta = getattr(self.loss, "beta", None)
        if beta is not None:
            self.beta = float(beta)

    def _check_partners(self) -> None:
        """Refuse batches of one pair before training: there is no other prompt in them."""
        args = self.args
        full = args.dataloader_drop_last or args.world_size > 1  # accelerate fills the last batches
        for name, data in (("train", self.train_dataset), ("eval", self.eval_dataset)):
            size = getattr(args, f"per_device_{name}_batch_size")
            count = len(data) if isinstance(data, Sized) and not isinstance(data, dict) else 0
            if data is not None and 1 in (size, 0 if full else count % size):
                expected = "two pairs or more in every batch, for a loss that estimates KL"
                mend = "choose another size, or dataloader_drop_last = true"
                given = f"{size} with {count} pairs"
                raise refuse(f"per_device_{name}_batch_size", given, expected, mend)

    def _compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool
    ) -> Any:
        """TRL's own loss, for its metrics, and then ours, from the same forward passes."""
        with _recorded(self.model, self.ref_model) as outputs:
            theirs = super()._compute_loss(model, inputs, return_outputs)
        mask = inputs["completion_mask"][:, 1:].bool()
        policy = _scored(outputs[0], mask)
        reference = self._reference(outputs, inputs, policy)
        log_ratio = None
        if "mismatched" in self._needs:
            log_ratio = self._mismatched(model, inputs)
        objective = surrogate(self.loss, policy, reference, log_ratio)
        self._log_slopes(objective, policy)
        value = objective.value
        if self.aux_loss_enabled:
            value = value + self.router_aux_loss_coef * outputs[0].aux_loss
        return (value, theirs[1]) if return_outputs else value

    def _reference(self, outputs: list[Any], inputs: dict[str, Any], policy: Scored) -> Scored:
        if not self.precompute_ref_logps:
            return _scored(outputs[1], policy.mask)
        known = torch.cat([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])
        first = policy.mask & (policy.mask.cumsum(dim=1) == 1)  # all of it at the first token
        return Scored(known[:, None] * first, policy.mask)

    def _mismatched(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Log-ratios of responses after other pairs' prompts, which no gradient sees, [pair]."""
        collator: Any = self.data_collator
        batch = mismatched(inputs, collator.pad_token_id)
        with torch.no_grad(), _recorded(self.model, self.ref_model) as outputs:
            metrics, self._metrics = self._metrics, _scratch(self._metrics)
            tokens = self._total_train_tokens
            super()._compute_loss(model, batch, False)
            self._metrics, self._total_train_tokens = metrics, tokens
        mask = batch["completion_mask"][:, 1:].bool()
        policy, reference = (_scored(output, mask) for output in outputs)
        return mismatched_log_ratio(policy, reference)

    def _log_slopes(self, objective: Objective, policy: Scored) -> None:
        model: Any = self.model
        metrics = self._metrics["train" if model.training else "eval"]
        metrics["slopes/chosen"].append(float(np.mean(objective.chosen)))
        metrics["slopes/rejected"].append(float(np.mean(objective.rejected)))
        ratio = objective.log_ratio(policy)
        if math.isfinite(ratio):
            metrics["slopes/log_ratio"].append(ratio)


def _scratch(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics that nobody reads."""
    return {mode: type(found)(list) for mode, found in metrics.items()}


def _scored(output: Any, mask: torch.Tensor) -> Scored:
    """What TRL's fused head answers, as ours."""
    count = mask.shape[1]
    squares = getattr(output, "log_sum_sq_probs", None)
    return Scored(
        output.log_probs[:, -count:].masked_fill(~mask, 0.0),
        mask,
        None if squares is None else squares[:, -count:].detach(),
    )


@contextlib.contextmanager
def _recorded(*models: Any) -> Iterator[list[Any]]:
    """The outputs of all forward passes of the models, in their order."""
    outputs: list[Any] = []
    hooks = [
        model.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        for model in models
        if model is not None
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
