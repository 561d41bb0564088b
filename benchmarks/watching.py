"""What the callback costs a run of TRL's trainer: with and without it, in turn."""

import copy
import os
import statistics
import tempfile
import time
from pathlib import Path

STEPS = 400


def _seconds(watch: bool) -> float:
    """Of training alone: probes are drawn once, before the first step."""
    import numpy as np
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    import toymodel as tm
    from toymodel.llm.small import gpt2, word_tokenizer

    random = np.random.default_rng(0)

    def words(count: int) -> str:
        return " ".join(f"w{i}" for i in random.integers(0, 100, count))

    rows = [
        {"prompt": words(8) + " ", "chosen": words(16), "rejected": words(16)} for _ in range(256)
    ]
    tokenizer = word_tokenizer([f"w{i}" for i in range(100)])
    model = gpt2(len(tokenizer), positions=64)
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=str(Path(folder)),
            max_steps=STEPS,
            per_device_train_batch_size=16,
            learning_rate=1e-5,
            report_to=[],
            use_cpu=True,
            bf16=False,
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
        start = time.perf_counter()
        trainer.train()
        return time.perf_counter() - start


def run(repeats: int) -> tuple[str, dict]:
    """Seconds of a run with the callback at its default interval, over seconds without."""
    import numpy as np

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    raw: dict[str, list[float]] = {"without": [], "with": []}
    for turn in range(repeats + 1):
        alone, watched = _seconds(False), _seconds(True)
        if turn:  # the first warms caches
            raw["without"].append(alone)
            raw["with"].append(watched)
    ratios = [w / a for a, w in zip(raw["without"], raw["with"], strict=True)]
    low, high = np.quantile(ratios, [0.25, 0.75])
    return (
        "# What watching costs\n\nTRL's DPOTrainer on a GPT-2 of two layers of 64 units, "
        f"{STEPS} steps of 16 pairs of 25 tokens, with `PropertiesCallback` as it comes (32 pairs, "
        "16 samples a prompt, its own interval) and without it; the probes' making included.\n\n"
        f"With it a run takes {statistics.median(ratios):.3f} times as long (quartiles {low:.3f} "
        f"to {high:.3f}, {repeats} rounds in turn; aim: 1.1 at most).",
        raw,
    )
