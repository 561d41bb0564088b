"""From settings to what is trained: rows, tokenizer, model, trainer."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from toymodel._errors import refuse
from toymodel.llm import extra, pretrained
from toymodel.llm.alarms import Limits
from toymodel.llm.data import Row, read_pairs
from toymodel.llm.experiment.settings import Data, Experiment, Lora, Model, Watch


@dataclasses.dataclass(frozen=True)
class Rows:
    """Preference pairs, each with ``prompt``, ``chosen`` and ``rejected``.

    Args:
        train: to train on.
        evaluation: to evaluate on; none: empty.
        left_out: what is wrong with the rows that are no pairs.
    """

    train: Sequence[Row]
    evaluation: Sequence[Row] = ()
    left_out: Sequence[str] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the training pairs: another file under the same name shows."""
        state = hashlib.sha256()
        for row in self.train:
            state.update(json.dumps(row, sort_keys=True).encode())
        return state.hexdigest()


def rows(data: Data) -> Rows:
    """The pairs that ``[data]`` says, without rows that are none: public data have some.

    Raises:
        InputError: no such data, another schema, or no pair at all.
    """
    train, bad = _rows(data, data.split)
    if data.eval_split is None:
        return Rows(train, (), bad)
    evaluation, others = _rows(data, data.eval_split)
    return Rows(train, evaluation, bad + others)


def tokenizer(model: Model) -> Any:
    """The tokenizer of ``[model]``.

    Raises:
        InputError: there is none, or one without an end of the sequence.
    """
    found = pretrained.load_tokenizer(**_where(model))
    if found.eos_token is None:
        raise refuse("model.path", f"{model.path}, whose tokenizer has no end", "an eos_token")
    return found


def policy(model: Model) -> Any:
    """The model of ``[model]`` with its weights, which must be safetensors.

    Raises:
        InputError: it cannot be loaded.
    """
    return pretrained.load_causal(**_where(model), **_how(model))


def skeleton(model: Model) -> Any:
    """The same model without memory for weights, to count them.

    Raises:
        InputError: no such model, or a folder without weights.
    """
    import torch
    from transformers import AutoModelForCausalLM

    found = pretrained.load_config(**_where(model))
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(
                found, trust_remote_code=model.trust_remote_code, **_how(model)
            )
    except (ValueError, ImportError) as error:
        what = "a causal language model"
        raise pretrained.unloadable(model.path, "model.path", what, error) from None


def adapter(lora: Lora) -> Any:
    """PEFT's configuration of ``[lora]``."""
    extra.need("peft")
    from peft import LoraConfig

    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )


def trainer(experiment: Experiment, data: Rows, config: Any) -> Any:
    """The trainer of an experiment, with its callback.

    Args:
        experiment: its settings.
        data: of `rows`.
        config: of `arguments.config`.

    Raises:
        InputError: parts that cannot be loaded, or do not fit together.
    """
    from datasets import Dataset

    from toymodel.llm.callback import PropertiesCallback
    from toymodel.llm.trainer import DPOTrainer

    one_model = experiment.lora is not None or config.precompute_ref_log_probs
    made = DPOTrainer(
        policy(experiment.model),
        experiment.loss,
        ref_model=None if one_model else policy(experiment.model),
        args=config,
        train_dataset=Dataset.from_list(list(data.train)),
        eval_dataset=Dataset.from_list(list(data.evaluation)) if data.evaluation else None,
        processing_class=tokenizer(experiment.model),
        peft_config=None if experiment.lora is None else adapter(experiment.lora),
    )
    if experiment.watch.enabled:
        if made.is_fsdp_enabled or made.is_deepspeed_enabled:
            expected = "false where parameters are split over devices"
            raise refuse("watch.enabled", True, expected, "--set watch.enabled=false")
        made.add_callback(PropertiesCallback(made, **_watching(experiment.watch)))
    return made


def _watching(watch: Watch) -> dict[str, Any]:
    found = {name: value for name, value in vars(watch).items() if name != "enabled"}
    return {**found, "limits": Limits(**watch.limits)}


def _where(model: Model) -> dict[str, Any]:
    return {
        "name": model.path,
        "argument": "model.path",
        "revision": model.revision or "main",
        "local_files_only": model.local_files_only,
        "trust_remote_code": model.trust_remote_code,
    }


def _how(model: Model) -> dict[str, Any]:
    found = {"dtype": model.dtype}
    return found if model.attention is None else {**found, "attn_implementation": model.attention}


def _rows(data: Data, split: str) -> tuple[list[Row], list[str]]:
    good, bad = [], []
    for pair in read_pairs(
        data.path,
        data.schema,
        split,
        limit=data.limit,
        local_files_only=data.local_files_only,
    ):
        if pair.row is None:
            bad.append(f"{pair.place}: {pair.problem}")
        else:
            good.append(pair.row)
    if not good:
        given = f"{data.path}, split {split}, with no pair in it ({bad[0]})"
        raise refuse("data.path", given, f"rows of schema {data.schema}")
    return good, bad
