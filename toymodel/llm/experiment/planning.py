"""What an experiment is going to do, checked and counted before anything is trained."""

import dataclasses
import math
from typing import Any

import numpy as np
import torch

from toymodel import losses
from toymodel._errors import InputError, refuse
from toymodel.llm.batches import pair_tokens
from toymodel.llm.experiment import arguments, building
from toymodel.llm.experiment.building import Rows
from toymodel.llm.experiment.settings import Experiment
from toymodel.llm.objective import needs

_LOOKED = 1000  # pairs whose tokens are counted
_LARGE = 10**9
_LOST = 1e-4  # a smaller learning rate moves no weight of 16 bits: they are 0.4 % apart


@dataclasses.dataclass(frozen=True)
class Plan:
    """An experiment in numbers.

    Args:
        experiment: its settings.
        rows: the pairs.
        parameters: of the model.
        trained: how many of them, or of the adapter.
        bytes_each: of a weight.
        lengths: tokens of the longer half of the first pairs, with prompt, [pair].
        processes: that train together.
        pairs_a_step: over all devices, and accumulated.
        steps: updates.
        seed: of training.
        notes: what to think about first.
    """

    experiment: Experiment
    rows: Rows
    parameters: int
    trained: int
    bytes_each: int
    lengths: np.ndarray
    processes: int
    pairs_a_step: int
    steps: int
    seed: int
    notes: tuple[str, ...]

    @property
    def memory(self) -> float:
        """Estimate of weights, reference, gradients and Adam, without activations (GB)."""
        training = self.experiment.training
        one = self.experiment.lora is not None or training.get("precompute_ref_log_probs", False)
        copies = 1 if one else 2
        each = 4 if self.experiment.lora is not None else self.bytes_each  # adapters are float32
        return (copies * self.parameters * self.bytes_each + 3 * self.trained * each) / 1e9

    @property
    def cut(self) -> float:
        """Share of pairs whose longer half is cut at ``max_length``."""
        most = self.experiment.training.get("max_length", 1024)
        return float(np.mean(self.lengths > most))

    def as_data(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "folder": self.experiment.output.folder,
            "seed": self.seed,
            "parameters": self.parameters,
            "trained": self.trained,
            "pairs": len(self.rows.train),
            "evaluation_pairs": len(self.rows.evaluation),
            "median_tokens": float(np.median(self.lengths)),
            "longest_tokens": int(self.lengths.max()),
            "share_cut": self.cut,
            "processes": self.processes,
            "pairs_a_step": self.pairs_a_step,
            "steps": self.steps,
            "rows_left_out": len(self.rows.left_out),
            "memory_gb": self.memory,
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """The same for people."""
        made, dtype = self.experiment, self.experiment.model.dtype
        what = "all of them" if made.lora is None else f"LoRA of rank {made.lora.r}"
        loss = losses.REGISTRY.name_of(made.loss)
        lines = {
            "model": f"{made.model.path}, {_count(self.parameters)} parameters, {dtype}",
            "trained": f"{_count(self.trained)} parameters, {what}",
            "loss": f"{loss}: {made.loss}",
            "data": f"{made.data.path}, {len(self.rows.train):,} pairs, "
            f"{len(self.rows.evaluation):,} for evaluation",
            "tokens": f"median {np.median(self.lengths):.0f}, longest {self.lengths.max()}, "
            f"{self.cut:.1%} cut (of the first {len(self.lengths):,} pairs)",
            "a step": f"{self.pairs_a_step} pairs over {self.processes} "
            f"process{'es' if self.processes > 1 else ''}",
            "steps": f"{self.steps:,}",
            "memory": f"{self.memory:.2g} GB and activations, if a device holds all (estimate)",
            "folder": made.output.folder,
        }
        notes = [f"note     {note}" for note in self.notes]
        return "\n".join([*(f"{name:<8} {line}" for name, line in lines.items()), *notes])


def plan(experiment: Experiment, *, elsewhere: bool = False) -> Plan:
    """Check all of an experiment but the weights themselves, and count.

    Args:
        experiment: its settings.
        elsewhere: it will run on another machine: no GPU is asked for.

    Raises:
        InputError: settings that do not fit together, or this data, or this model.
    """
    config = arguments.config(experiment.training, experiment.output.folder, elsewhere=elsewhere)
    rows = building.rows(experiment.data)
    tokenizer = building.tokenizer(experiment.model)
    empty = building.skeleton(experiment.model)
    pairs = [pair_tokens(tokenizer, row) for row in rows.train[:_LOOKED]]
    lengths = np.array([len(p.prompt) + max(len(p.chosen), len(p.rejected)) for p in pairs])
    _check_sizes(empty, tokenizer, lengths, config.max_length)
    _check_reference(experiment, config)
    each = config.per_device_train_batch_size * config.world_size
    batches = math.ceil(len(rows.train) / each)
    steps = math.ceil(batches / config.gradient_accumulation_steps)
    steps = math.ceil(steps * config.num_train_epochs)
    parameters, trained = _counted(empty, experiment)
    return Plan(
        experiment,
        rows,
        parameters,
        trained,
        next(empty.parameters()).element_size(),
        lengths,
        config.world_size,
        each * config.gradient_accumulation_steps,
        config.max_steps if config.max_steps > 0 else steps,
        config.seed,
        tuple(_notes(experiment, config, rows, parameters, empty.dtype)),
    )


def _counted(model: Any, experiment: Experiment) -> tuple[int, int]:
    """Parameters of the model, and those that are trained."""
    total = sum(p.numel() for p in model.parameters())
    if experiment.lora is None:
        return total, total
    adapter = building.adapter(experiment.lora)
    from peft import get_peft_model

    try:
        with torch.device("meta"):
            model = get_peft_model(model, adapter)
    except ValueError as error:
        raise InputError(f"lora.target_modules: {error}") from None
    return total, sum(p.numel() for p in model.parameters() if p.requires_grad)


def _check_sizes(model: Any, tokenizer: Any, lengths: np.ndarray, longest: int | None) -> None:
    vocabulary = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > vocabulary:
        given = f"a tokenizer of {len(tokenizer)} tokens"
        raise refuse("model.path", given, f"at most the model's {vocabulary}")
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    most = int(lengths.max()) if longest is None else min(int(lengths.max()), longest)
    if positions is not None and most > positions:
        expected = f"sequences of at most {positions} tokens, the model's positions"
        raise refuse("training.max_length", longest, expected, f"set it to {positions}")


def _check_reference(experiment: Experiment, config: Any) -> None:
    """Watching needs the reference's answer to new questions, not only those that were stored."""
    reads = needs(experiment.loss) & {"reference", "excess", "mismatched"}
    alone = config.precompute_ref_log_probs and experiment.lora is None
    if experiment.watch.enabled and alone and reads:
        expected = "false where the properties are watched without LoRA"
        mend = "set watch.enabled = false, or keep the reference model"
        raise refuse("training.precompute_ref_log_probs", True, expected, mend)


def _notes(
    experiment: Experiment, config: Any, rows: Rows, parameters: int, dtype: torch.dtype
) -> list[str]:
    found = []
    if rows.left_out:
        found.append(f"{len(rows.left_out):,} rows are no pairs, such as {rows.left_out[0]}")
    if experiment.lora is None and dtype.itemsize == 2 and config.learning_rate < _LOST:
        found.append(
            f"model.dtype = {str(dtype).removeprefix('torch.')} without LoRA: steps of "
            f"{config.learning_rate:g} are lost in rounding; float32 with training.bf16 keeps them"
        )
    if experiment.watch.enabled and experiment.watch.gradients_every and parameters > _LARGE:
        at_once = experiment.watch.batch_size or config.per_device_train_batch_size
        found.append(
            f"watch.gradients_every keeps the graph of {at_once} responses (watch.batch_size) and "
            "two more gradients in memory; 0 leaves them out"
        )
    return found


def _count(number: int) -> str:
    for size, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {name}"
    return str(number)
