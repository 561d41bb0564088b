"""What a callback looks at: fixed pairs and probes of a trainer, and the numbers read from them."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toymodel._errors import refuse, whole
from toymodel.llm import probes as probing
from toymodel.llm.batches import PairTokens, collate, mismatched
from toymodel.llm.gradients import halves_in_parts
from toymodel.llm.measuring import Checker, Measured, measure, response_log_probs, summary
from toymodel.llm.objective import needs, surrogate
from toymodel.llm.overlap import by_kind
from toymodel.llm.probes import Probe
from toymodel.llm.sequences import Scored, mismatched_log_ratio, score, score_leaves
from toymodel.llm.trl_losses import loss_of

_HALVES = ("chosen", "rejected")
_STANDARD = (*_HALVES, *probing.STANDARD)


class Watcher:
    """Watched pairs and probes of a trainer.

    Args:
        trainer: TRL's ``DPOTrainer``, or ours.
        probes: the user's own.
        watch: how many pairs, or which.
        samples: samples a prompt before training.
        checker: whether an answer is well-formed.
        max_new_tokens: longest answer.
        batch_size: responses whose graph is kept at once; None: the trainer's pairs a device.
        seed: of everything random.
    """

    def __init__(
        self,
        trainer: Any,
        probes: Sequence[Probe],
        *,
        watch: int | Sequence[int],
        samples: int,
        checker: Checker | None,
        max_new_tokens: int | None,
        batch_size: int | None,
        seed: int,
    ) -> None:
        self._trainer, self._own = trainer, list(probes)
        taken = {*_STANDARD} & {probe.name for probe in self._own}
        if taken or len({probe.name for probe in self._own}) < len(self._own):
            expected = f"names of their own, each another; not {', '.join(_STANDARD)}"
            raise refuse("probes", [probe.name for probe in self._own], expected)
        self.loss = loss_of(trainer)
        self._needs = needs(self.loss)
        args = trainer.args
        self._pairs = _watched(trainer.train_dataset, watch, args.max_length, args.truncation_mode)
        self._samples, self._checker, self._seed = samples, checker, seed
        self._longest = max_new_tokens
        self._batch_size = batch_size or int(args.per_device_train_batch_size)
        self._pad = int(trainer.data_collator.pad_token_id)
        self._end = trainer._tokenizer.eos_token_id
        self._looks = 0

    @property
    def count(self) -> int:
        """How many pairs are watched."""
        return len(self._pairs)

    @property
    def model(self) -> Any:
        """The policy, without what distributed training wraps it in."""
        return self._trainer.accelerator.unwrap_model(self._trainer.model)

    def look(self, folder: Path) -> None:
        """Draw the probes from the model as it is before training."""
        folder.mkdir(parents=True, exist_ok=True)
        standard = probing.standard_probes(
            self.model,
            self._pairs,
            vocabulary=len(self._trainer._tokenizer),
            pad_token=self._pad,
            end_token=self._end,
            samples=self._samples,
            max_new_tokens=self._longest,
            seed=self._seed,
        )
        self._begin(
            [*standard, *self._own], measure(self.model, [*standard, *self._own], self._pad)
        )

    def save(self, path: Path) -> None:
        """Keep probes and their first log-probabilities, for a run that goes on."""
        probing.save(self._probes, path)
        arrays: dict[str, Any] = dict(self._before.by_probe)
        np.savez(path.with_suffix(".npz"), **arrays)

    def load(self, path: Path) -> None:
        """What `save` kept.

        Raises:
            InputError: it is missing, damaged, or of other pairs.
        """
        loaded = probing.load(path)
        watched = [tuple(getattr(pair, half) for pair in self._pairs) for half in _HALVES]
        if watched != [probe.responses for probe in loaded if probe.name in _HALVES]:
            expected = "the pairs that were watched before"
            raise refuse(str(path), "other pairs than the trainer's", expected, "start anew")
        try:
            with np.load(path.with_suffix(".npz")) as kept:
                by_probe = {probe.name: kept[probe.name] for probe in loaded}
        except (OSError, KeyError, ValueError) as error:
            expected = "the log-probabilities that the run began with"
            raise refuse(
                str(path.with_suffix(".npz")), str(error), expected, "start anew"
            ) from None
        lengths = {p.name: np.array([len(r) for r in p.responses]) for p in loaded}
        self._begin(loaded, Measured(by_probe, lengths))

    def _begin(self, probes: list[Probe], before: Measured) -> None:
        self._probes, self._before = probes, before
        device = next(self.model.parameters()).device
        self._batch = collate(self._pairs, self._pad, device=device)
        self._reference = self._other = None
        if self._needs & {"reference", "excess", "mismatched"}:
            with torch.no_grad(), self._as_reference() as model:
                self._reference = score(model, self._batch)
                if "mismatched" in self._needs:
                    self._other = score(model, mismatched(self._batch, self._pad))

    def numbers(self, *, gradients: bool) -> dict[str, float]:
        """Everything that is logged of the model as it is now.

        Args:
            gradients: also in parameters, by two more backward passes.
        """
        model = self.model
        was_training = model.training
        model.eval()
        policy = score_leaves(model, self._batch, concentration="concentration" in self._needs)
        objective = surrogate(self.loss, policy, self._reference, self._log_ratio(model))
        found = summary(self._probes, self._measured(model, policy), self._before)
        found |= by_kind(policy, self._pairs)
        found["slopes/chosen"] = float(np.mean(objective.chosen))
        found["slopes/rejected"] = float(np.mean(objective.rejected))
        found["slopes/log_ratio"] = objective.log_ratio(policy)
        if gradients:
            size = self._batch_size
            both = halves_in_parts(objective, policy, model, self._batch, batch_size=size)
            found["gradients/chosen"], found["gradients/rejected"] = both.chosen, both.rejected
            found["gradients/cosine"] = both.cosine
        if self._checker is not None:
            found |= self._fresh(model, self._checker)
        model.train(was_training)
        self._looks += 1
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def _measured(self, model: Any, policy: Scored) -> Measured:
        """All probes; of the pairs themselves what is known already."""
        found = measure(model, [p for p in self._probes if p.name not in _HALVES], self._pad)
        totals, lengths = policy.total.detach().double(), policy.lengths
        return Measured(
            found.by_probe | dict(zip(_HALVES, totals.cpu().numpy().reshape(2, -1), strict=True)),
            found.lengths | dict(zip(_HALVES, lengths.cpu().numpy().reshape(2, -1), strict=True)),
        )

    def _log_ratio(self, model: Any) -> torch.Tensor | None:
        if self._other is None:
            return None
        with torch.no_grad():
            now = score(model, mismatched(self._batch, self._pad))
        return mismatched_log_ratio(now, self._other)

    def _fresh(self, model: Any, checker: Checker) -> dict[str, float]:
        """From answers of the present policy: malformed ones, and KL(pi || pi0)."""
        prompts = [pair.prompt for pair in self._pairs]
        longest = self._longest or max(len(pair.chosen) for pair in self._pairs)
        answers = probing.generate(
            model,
            prompts,
            pad_token=self._pad,
            end_token=self._end,
            max_new_tokens=longest,
            seed=self._seed + self._looks,
        )
        decode = self._trainer._tokenizer.decode
        good = [
            bool(checker(decode(p, skip_special_tokens=True), decode(a, skip_special_tokens=True)))
            for p, a in zip(prompts, answers, strict=True)
        ]
        rows = list(zip(prompts, answers, strict=True))
        with self._as_reference() as reference:
            theirs = response_log_probs(reference, rows, self._pad)
        gap = response_log_probs(model, rows, self._pad) - theirs
        return {"malformed_share": 1 - float(np.mean(good)), "kl_policy": float(gap.mean())}

    @contextlib.contextmanager
    def _as_reference(self) -> Iterator[Any]:
        """The model of pi0: TRL's reference, or the policy with another adapter, or with none."""
        trainer = self._trainer
        if trainer.ref_model is not None:
            yield trainer.accelerator.unwrap_model(trainer.ref_model)
            return
        if not hasattr(self.model, "disable_adapter"):
            expected = "a reference model, or an adapter that can be switched off"
            raise refuse("trainer", "precomputed references only", expected, "pass ref_model")
        from trl.trainer.utils import use_adapter

        there = "ref" if "ref" in self.model.peft_config else None  # TRL's copy of a trained one
        with use_adapter(self.model, there):
            yield self.model


def _watched(
    data: Any, watch: int | Sequence[int], longest: int | None, keep: str
) -> list[PairTokens]:
    if not hasattr(data, "__len__"):
        expected = "training data of known length"
        raise refuse("trainer", "a stream of data", expected, "pass a Dataset")
    if not isinstance(watch, int | Sequence):
        raise refuse("watch", watch, "how many pairs, or a list of their numbers")
    rows = range(min(watch, len(data))) if isinstance(watch, int) else watch
    if len(rows) < 2:
        raise refuse("watch", watch, "two pairs of the training data at least")
    keys = ("prompt_ids", "chosen_ids", "rejected_ids")
    pairs = []
    for row in rows:
        at = whole("watch", row, 0, len(data) - 1)
        prompt, chosen, rejected = (tuple(data[at][key]) for key in keys)
        room = None if longest is None else max(longest - len(prompt), 1)
        if keep == "keep_end" and room is not None and max(map(len, (chosen, rejected))) > room:
            expected = "keep_start, or watched pairs that are not cut"
            raise refuse("truncation_mode", keep, expected, "raise max_length")
        pairs.append(PairTokens(prompt, chosen[:room], rejected[:room]))
    return pairs
