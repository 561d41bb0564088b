"""A tiny model and tiny data for examples/dpo-tiny.toml, made here in a second.

python examples/dpo_tiny.py runs/tiny
"""

import json
import sys
from pathlib import Path

import numpy as np

from toymodel.llm.small.models import gpt2
from toymodel.llm.small.tokenizer import word_tokenizer

WORDS = [f"w{number}" for number in range(20)]


def make(folder: str | Path, *, pairs: int = 64, evaluation: int = 16, seed: int = 0) -> None:
    """Write ``model/`` (weights, tokenizer) and ``data/`` (train.jsonl, test.jsonl).

    The chosen counts on from the prompt's last word, the rejected counts back.
    """
    base, random = Path(folder), np.random.default_rng(seed)
    tokenizer = word_tokenizer(WORDS)
    gpt2(len(tokenizer), positions=32, width=32, seed=seed).save_pretrained(base / "model")
    tokenizer.save_pretrained(base / "model")
    (base / "data").mkdir(parents=True, exist_ok=True)
    for split, count in (("train", pairs), ("test", evaluation)):
        rows = [
            _pair(int(start), 2 + int(random.integers(4)))
            for start in random.integers(20, size=count)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (base / "data" / f"{split}.jsonl").write_text(lines)


def _pair(start: int, length: int) -> dict[str, str]:
    def counted(step: int) -> str:
        return " ".join(WORDS[(start + step * at) % len(WORDS)] for at in range(1, length + 1))

    return {"prompt": f"{WORDS[start]} ", "chosen": counted(1), "rejected": counted(-1)}


if __name__ == "__main__":
    make(sys.argv[1] if len(sys.argv) > 1 else "runs/tiny")
