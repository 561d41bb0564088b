"""What the callback costs a run of TRL's trainer: with and without it, in turn."""

import copy
import dataclasses
import os
import statistics
import tempfile
import time
from pathlib import Path

WORDS = 100  # of the vocabulary, without special tokens
PAIRS = 256


@dataclasses.dataclass(frozen=True)
class Size:
    """What is trained: a GPT-2 with random weights, on pairs of random words."""

    width: int
    layers: int
    heads: int
    words: int  # of a response
    steps: int
    batch: int  # pairs
    on_gpu: bool

    @property
    def text(self) -> str:
        where = "in bfloat16 on a GPU" if self.on_gpu else "on the CPU"
        return (
            f"a GPT-2 of {self.layers} layers of {self.width} units {where}, {self.steps} steps of "
            f"{self.batch} pairs with {self.words} tokens a response"
        )


SMALL = Size(64, 2, 4, 16, 400, 16, on_gpu=False)
LARGE = Size(2048, 24, 16, 256, 200, 8, on_gpu=True)  # 1.2 B parameters


def _seconds(size: Size, watch: bool) -> tuple[float, float]:
    """Of all steps, and of what comes before the first one (probes are drawn there)."""
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    import toymodel as tm
    from toymodel.llm.small import gpt2, word_tokenizer

    class Clock(TrainerCallback):
        first = 0.0

        def on_step_begin(self, args, state, control, **more):
            if not self.first:
                self.first = time.perf_counter()

    random = np.random.default_rng(0)

    def words(count: int) -> str:
        return " ".join(f"w{i}" for i in random.integers(0, WORDS, count))

    rows = [
        {"prompt": words(8) + " ", "chosen": words(size.words), "rejected": words(size.words)}
        for _ in range(PAIRS)
    ]
    tokenizer = word_tokenizer([f"w{i}" for i in range(WORDS)])
    shape = {"width": size.width, "layers": size.layers, "heads": size.heads}
    model = gpt2(len(tokenizer), positions=4 * size.words, **shape)
    if size.on_gpu:
        model = model.to(device="cuda", dtype=torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=str(Path(folder)),
            max_steps=size.steps,
            per_device_train_batch_size=size.batch,
            learning_rate=1e-5 if not size.on_gpu else 1e-6,
            report_to=[],
            use_cpu=not size.on_gpu,
            bf16=size.on_gpu,
            gradient_checkpointing=False,
            save_strategy="no",
            disable_tqdm=True,
            logging_steps=50,
        )
        trainer = DPOTrainer(
            model,
            ref_model=copy.deepcopy(model),
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        if watch:
            trainer.add_callback(tm.llm.PropertiesCallback(trainer))
        clock = Clock()
        trainer.add_callback(clock)
        start = time.perf_counter()
        trainer.train()
        return time.perf_counter() - clock.first, clock.first - start


def run(repeats: int) -> tuple[str, dict]:
    """Seconds of all steps with the callback at its default interval, over seconds without."""
    return _compare(SMALL, repeats, warm=1)


def run_on_gpu(repeats: int) -> tuple[str, dict]:
    """The same of a model of 1.2 B parameters; needs a GPU."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("watching-gpu: no GPU here, expected one that torch sees.")
    text, raw = _compare(LARGE, repeats, warm=0)
    return f"{text}\n\n{torch.cuda.get_device_name()}.", raw


def _compare(size: Size, repeats: int, warm: int) -> tuple[str, dict]:
    import numpy as np

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    raw: dict[str, list[float]] = {"without": [], "with": [], "probes": []}
    for turn in range(repeats + warm):
        (alone, nothing), (watched, probes) = _seconds(size, False), _seconds(size, True)
        print(f"{alone:.1f} s alone, {watched:.1f} s watched, {probes:.1f} s of probes", flush=True)
        if turn >= warm:  # what comes before warms caches
            raw["without"].append(alone)
            raw["with"].append(watched)
            raw["probes"].append(probes - nothing)
    ratios = [w / a for a, w in zip(raw["without"], raw["with"], strict=True)]
    low, high = np.quantile(ratios, [0.25, 0.75])
    probes = statistics.median(raw["probes"])
    return (
        f"# What watching costs\n\nTRL's DPOTrainer, {size.text}, with `PropertiesCallback` as it "
        "comes (32 pairs, 16 samples a prompt, its own interval) and without it.\n\n"
        f"With it all steps take {statistics.median(ratios):.3f} times as long (quartiles "
        f"{low:.3f} to {high:.3f}, {repeats} rounds in turn; aim: 1.1 at most). Before the first "
        f"step, drawing probes takes {probes:.1f} s once.",
        raw,
    )
