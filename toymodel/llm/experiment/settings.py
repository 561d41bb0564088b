"""An experiment as a TOML file: frozen settings, read with errors that name the key."""

import dataclasses
import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from toymodel import losses
from toymodel._errors import InputError, refuse, unknown, whole
from toymodel._files import read_toml
from toymodel.llm.data import PAIRS
from toymodel.llm.experiment import arguments
from toymodel.llm.experiment.kinds import fits, words
from toymodel.llm.pretrained import DTYPES
from toymodel.losses import PreferenceLoss


@dataclasses.dataclass(frozen=True)
class Model:
    """``[model]``: the policy that training begins with, which is the reference too.

    Args:
        path: a folder, or a name on the hub.
        dtype: of the weights; ``auto`` takes that of the file. Without LoRA leave float32: a
            step of learning rate 1e-6 is lost in the rounding of bfloat16.
        attention: such as ``sdpa`` or ``flash_attention_2``. Default: what transformers chooses.
        revision: a commit of the hub, which makes a run repeatable.
        local_files_only: never ask the hub.
        trust_remote_code: run code that comes with the model, which you should have read.
    """

    path: str
    dtype: str = "float32"
    attention: str | None = None
    revision: str | None = None
    local_files_only: bool = False
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise unknown("model.dtype", self.dtype, DTYPES)


@dataclasses.dataclass(frozen=True)
class Lora:
    """``[lora]``, where it is there: adapters are trained instead of the weights.

    Args:
        r: rank.
        alpha: updates are scaled by alpha / r.
        dropout: of the adapters' input.
        target_modules: names of linear layers, or ``all-linear``.
    """

    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: str | list[str] = "all-linear"

    def __post_init__(self) -> None:
        whole("lora.r", self.r, 1)
        whole("lora.alpha", self.alpha, 1)
        if not 0 <= self.dropout < 1:
            raise refuse("lora.dropout", self.dropout, "a number from 0 to below 1")


@dataclasses.dataclass(frozen=True)
class Data:
    """``[data]``: preference pairs.

    Args:
        path: a file, a folder, or a name on the hub (``owner/name:configuration``).
        schema: how rows are written: ``pairs``, ``hh_rlhf`` or ``ultrafeedback``.
        split: of a folder or a set of the hub, to train on.
        limit: rows at most, of each split.
        eval_split: the part to evaluate on at the end; none: no evaluation.
        local_files_only: never ask the hub.
    """

    path: str
    schema: str = "pairs"
    split: str = "train"
    limit: int | None = None
    eval_split: str | None = None
    local_files_only: bool = False

    def __post_init__(self) -> None:
        if self.schema not in PAIRS:
            raise unknown("data.schema", self.schema, PAIRS)
        if self.limit is not None:
            whole("data.limit", self.limit, 1)


@dataclasses.dataclass(frozen=True)
class Watch:
    """``[watch]``: settings of `toymodel.llm.PropertiesCallback`, by its names.

    Args:
        enabled: false for parameters that are split over devices (FSDP, DeepSpeed).
        watch: pairs of the training data.
        every: steps between records.
        gradients_every: records between those with gradients; 0: never.
        samples: a prompt, before training.
        max_new_tokens: longest sampled answer.
        batch_size: responses whose graph is in memory at once; default: the pairs of a device.
        seed: of samples and random strings.
        limits: ``drop``, ``degradation`` and ``dispersion`` from which a property counts.
    """

    enabled: bool = True
    watch: int = 32
    every: int | None = None
    gradients_every: int = 4
    samples: int = 16
    max_new_tokens: int | None = None
    batch_size: int | None = None
    seed: int = 0
    limits: dict[str, float] = dataclasses.field(default_factory=dict)

    LIMITS: ClassVar = ("drop", "degradation", "dispersion")

    def __post_init__(self) -> None:
        least = {"watch": 2, "every": 1, "gradients_every": 0, "samples": 0}
        least |= {"max_new_tokens": 1, "batch_size": 1}
        for name, smallest in least.items():
            if getattr(self, name) is not None:
                whole(f"watch.{name}", getattr(self, name), smallest)
        for name, value in self.limits.items():
            if name not in self.LIMITS:
                raise unknown("key in [watch.limits]", name, self.LIMITS)
            if not fits(value, float) or not value > 0:
                raise refuse(f"watch.limits.{name}", value, "a number > 0")


@dataclasses.dataclass(frozen=True)
class Output:
    """``[output]``: where everything goes.

    Args:
        folder: made if need be; a run that was stopped goes on in it.
    """

    folder: str


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A training run, as its settings file says it.

    Args:
        model: see `Model`.
        data: see `Data`.
        loss: any of the library's, by name and numbers; losses of losses as nested tables.
        output: see `Output`.
        lora: see `Lora`.
        training: fields of TRL's ``DPOConfig``.
        watch: see `Watch`.
    """

    model: Model
    data: Data
    loss: PreferenceLoss
    output: Output
    lora: Lora | None = None
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    watch: Watch = dataclasses.field(default_factory=Watch)

    def as_data(self) -> dict[str, Any]:
        """The settings as plain data, without the folder: what makes two experiments the same."""
        parts = {name: getattr(self, name) for name in ("model", "data", "watch", "lora")}
        found = {name: dataclasses.asdict(part) for name, part in parts.items() if part is not None}
        return {**found, "loss": losses.REGISTRY.describe(self.loss), "training": self.training}


_SECTIONS = {"model": Model, "data": Data, "lora": Lora, "watch": Watch, "output": Output}
_REQUIRED = ("model", "data", "loss", "output")


def read(path: str | Path, changes: Sequence[str] = ()) -> Experiment:
    """An experiment from a TOML file.

    Args:
        path: of the file.
        changes: settings instead of the file's, such as ``training.learning_rate=1e-5``.

    Raises:
        InputError: no such file, not TOML, or a key or value that does not fit.
    """
    tables = read_toml(path)
    for change in changes:
        _change(tables, change)
    return experiment_of(tables)


def experiment_of(tables: Mapping[str, Any]) -> Experiment:
    """An experiment from tables, as a TOML file holds them.

    Args:
        tables: section -> its keys.

    Raises:
        InputError: a key or value that does not fit.

    Example:
        >>> experiment_of({"model": {"pth": "gpt2"}})
        Traceback (most recent call last):
        toymodel._errors.InputError: key in [model]: got 'pth', expected one of attention, dtype, \
local_files_only, path, revision, trust_remote_code. To mend it: did you mean 'path'?
    """
    sections = (*_SECTIONS, "loss", "training")
    for name, table in tables.items():
        if name not in sections:
            raise unknown("section", name, sections)
        if not isinstance(table, Mapping):
            raise refuse(name, table, f"a section [{name}] with keys below it")
    found = {name: _section(name, tables[name]) for name in _SECTIONS if name in tables}
    for name in _REQUIRED:
        if name not in tables:
            raise refuse("settings", f"no [{name}]", f"sections {', '.join(_REQUIRED)}")
    loss = _loss(tables["loss"])
    training = dict(tables.get("training", {}))
    arguments.check(training)
    return Experiment(loss=loss, training=training, **found)


def _section(name: str, table: Mapping[str, Any]) -> Any:
    cls: Any = _SECTIONS[name]
    kinds = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key, value in table.items():
        if key not in fields:
            raise unknown(f"key in [{name}]", key, fields)
        if not fits(value, kinds[key]):
            raise refuse(f"{name}.{key}", value, words(kinds[key]))
    for key, field in fields.items():
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and not table.get(key):
            raise refuse(f"{name}.{key}", table.get(key, "nothing"), words(kinds[key]))
    return cls(**table)


def _loss(table: Mapping[str, Any]) -> PreferenceLoss:
    if "name" not in table:
        expected = "a name, which `toymodel losses` lists, and numbers beside it"
        raise refuse("loss.name", "nothing", expected, 'such as name = "dpo"')
    try:
        found: PreferenceLoss = losses.REGISTRY.rebuild(table)
    except (InputError, TypeError) as error:
        raise InputError(f"[loss] {error}") from None
    return found


def _change(tables: dict[str, Any], change: str) -> None:
    """Put ``section.key=value`` into tables; a value is as in TOML, or else a text."""
    name, equals, text = change.partition("=")
    *sections, key = name.strip().split(".")
    if not equals or not sections or not all((*sections, key)):
        expected = "section.key=value"
        raise refuse("--set", change, expected, "such as training.learning_rate=1e-5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = tables
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise refuse("--set", change, f"a key below a section; {section} is a value")
    table[key] = value
