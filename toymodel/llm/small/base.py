"""A base policy for a task: pretrained and fine-tuned here once, then kept in a folder."""

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from toymodel._errors import refuse
from toymodel.llm.small.answering import answers, longest_answer, shares
from toymodel.llm.small.models import gpt2
from toymodel.llm.small.supervised import Teaching, teach
from toymodel.llm.small.tokenizer import word_tokenizer
from toymodel.llm.tasks import Task
from toymodel.storage import writable_folder

_FORMAT = 1  # raised when what is kept in a folder changes
_MADE = "made.json"  # the last file to be written
_DEV = 200  # prompts on which the share of right answers is watched
_PRETRAINING = Teaching(
    "pretraining",
    (0.6, 0.2, 0.2),
    steps=900,
    enough=0.35,
    look_from=300,
)
_TUNING = Teaching(
    "train",
    (1.0,),
    steps=200,
    enough=0.55,
    learning_rate=1e-3,
    look_every=10,
    look_from=10,
)


@dataclasses.dataclass(frozen=True)
class BaseSettings:
    """How a base policy is made.

    Args:
        width: units of the GPT-2.
        layers: its blocks.
        heads: of attention.
        pretraining: on answers in all styles, so that none is impossible; stops early, so that
            there is something left to learn from preferences.
        tuning: on answers in the policy's own style (SFT).
    """

    width: int = 64
    layers: int = 2
    heads: int = 4
    pretraining: Teaching = _PRETRAINING
    tuning: Teaching = _TUNING


def base_policy(
    task: Task,
    seed: int,
    folder: str | Path,
    settings: BaseSettings | None = None,
    *,
    device: str = "cpu",
    progress: bool | None = True,
) -> tuple[Any, Any]:
    """The base policy of a task and seed: trained where the folder has none, loaded where it has.

    Args:
        task: to learn.
        seed: of weights, data and samples.
        folder: that holds base policies; each has a folder of its own in it, written whole.
        settings: see `BaseSettings`.
        device: where it is trained and put.
        progress: show progress bars; None: only on a terminal.

    Returns:
        Model and tokenizer of transformers.

    Raises:
        InputError: the folder cannot be written, or holds a damaged base policy.
    """
    settings = settings or BaseSettings()
    place = writable_folder(folder) / _name(task, seed, settings)
    with _without_bars():
        if not place.exists():
            _make(task, seed, place, settings, device, progress)
        model, tokenizer = _load(place)
    return model.to(device), tokenizer


def _name(task: Task, seed: int, settings: BaseSettings) -> str:
    described = repr((_FORMAT, task, settings))
    return f"{task.name}-{seed}-{hashlib.sha256(described.encode()).hexdigest()[:10]}"


def _make(
    task: Task, seed: int, place: Path, settings: BaseSettings, device: str, progress: bool | None
) -> None:
    tokenizer = word_tokenizer(task.vocabulary)
    longest = longest_answer(tokenizer, task)
    model = gpt2(
        len(tokenizer),
        width=settings.width,
        layers=settings.layers,
        heads=settings.heads,
        pad_token=tokenizer.pad_token_id,
        end_token=tokenizer.eos_token_id,
        seed=seed,
    ).to(device)
    random = np.random.default_rng(seed)
    dev = task.prompts(np.random.default_rng([seed, 1]), _DEV, "train")

    def right() -> float:
        return shares(answers(model, tokenizer, task, dev, longest=longest))["five"]

    looks = {}
    for name in ("pretraining", "tuning"):
        stage: Teaching = getattr(settings, name)
        if stage.split not in task.splits:
            stage = dataclasses.replace(stage, split="train")
        title = f"{task.name}, {name}"
        looks[name] = teach(
            model, tokenizer, task, stage, random, right=right, progress=progress, title=title
        )
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".making-") as temporary:
        partial = Path(temporary) / place.name
        model.save_pretrained(partial)  # safetensors
        tokenizer.save_pretrained(partial)
        made = {"settings": repr(settings), "looks": looks, "files": _digests(partial)}
        (partial / _MADE).write_text(json.dumps(made))
        try:
            partial.rename(place)
        except OSError:
            if not place.exists():  # else another process has made the same one
                raise


def _load(place: Path) -> tuple[Any, Any]:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

    if not _is_whole(place):
        mend = "delete that folder, and it is trained again"
        raise refuse("folder", str(place), "a whole base policy; this one is damaged", mend)
    model = GPT2LMHeadModel.from_pretrained(place, local_files_only=True)
    return model, PreTrainedTokenizerFast.from_pretrained(place, local_files_only=True)


def _is_whole(place: Path) -> bool:
    try:
        made = json.loads((place / _MADE).read_text())
    except (OSError, ValueError):
        return False
    return bool(made.get("files") == _digests(place))


def _digests(place: Path) -> dict[str, str]:
    """SHA-256 of each file but the one that keeps them."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(place.iterdir())
        if path.name != _MADE
    }


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Without transformers' own bars, which would show for an instant."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
