"""``[training]``: fields of TRL's ``DPOConfig``, checked by name and kind."""

import difflib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toymodel._errors import InputError, refuse
from toymodel.llm import extra
from toymodel.llm.experiment.kinds import fits, words

#: Fields that are said elsewhere in the file -> where.
ELSEWHERE = {
    "output_dir": "output.folder",
    "beta": "loss.beta",
    "loss_type": "loss.name",
    "loss_weights": 'loss.name = "sum"',
    "label_smoothing": "loss",
    "ld_alpha": 'loss.name = "ld_dpo"',
    "use_weighting": 'loss.name = "wpo"',
    "discopop_tau": 'loss.name = "discopop"',
    "f_divergence_type": 'loss.name = "f_dpo"',
    "f_alpha_divergence_coef": 'loss.name = "f_dpo"',
    "model_init_kwargs": "model",
    "trust_remote_code": "model.trust_remote_code",
    "resume_from_checkpoint": "the same command, which goes on by itself",
}
#: Where a file leaves them out; the other defaults are TRL's.
DEFAULTS: Mapping[str, Any] = {"report_to": "none", "save_steps": 0.1, "save_total_limit": 2}


def check(table: Mapping[str, Any]) -> None:
    """Refuse what is no field of ``DPOConfig``, or not of its kind.

    Args:
        table: the section.

    Raises:
        InputError: TRL is missing or untested, or a key or value that does not fit.
    """
    extra.check_trl()
    from trl import DPOConfig

    kinds = typing.get_type_hints(DPOConfig)
    known = [name for name, field in DPOConfig.__dataclass_fields__.items() if field.init]
    for key, value in table.items():
        if key in ELSEWHERE:
            raise refuse(f"training.{key}", value, f"it to be said by {ELSEWHERE[key]}")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
            mend = f"did you mean {near[0]!r}?" if near else ""
            raise refuse("key in [training]", key, "a field of TRL's DPOConfig", mend)
        if not fits(value, kinds[key]):
            raise refuse(f"training.{key}", value, words(kinds[key]))


def config(
    training: Mapping[str, Any], folder: str | Path, *, elsewhere: bool = False, **more: Any
) -> Any:
    """The ``DPOConfig`` of an experiment.

    Args:
        training: the section.
        folder: for everything that training writes.
        elsewhere: the run will be on another machine: a GPU is not asked for.
        more: fields that no file says.

    Raises:
        InputError: values that do not fit together, or not this machine.
    """
    from trl import DPOConfig

    given = {**DEFAULTS, **training, **more, **({"use_cpu": True} if elsewhere else {})}
    try:
        return DPOConfig(output_dir=str(folder), **given)
    except (ValueError, TypeError, ImportError, NotImplementedError) as error:
        mend = ""
        if "bf16" in str(error) or "use_cpu" in str(error):
            mend = " To mend it: run on a GPU, or set training.bf16 = false and use_cpu = true."
        raise InputError(f"[training] {error}{mend}") from None
