"""What is followed from the base policy to a trained one: watched pairs, and where mass goes."""

from typing import Any

from toymodel.llm.batches import PairTokens
from toymodel.llm.measuring import measure, summary
from toymodel.llm.probes import standard_probes

_SUPPORT = 64  # samples a prompt whose mass is followed


class Follow:
    """Likelihoods of watched pairs and probes, before and after.

    Args:
        model: the base policy.
        tokenizer: its own.
        pairs: watched.
        longest: tokens of an answer.
        seed: of samples and random strings.
    """

    def __init__(
        self, model: Any, tokenizer: Any, pairs: list[PairTokens], *, longest: int, seed: int
    ) -> None:
        self._pad = int(tokenizer.pad_token_id)
        self._probes = standard_probes(
            model,
            pairs,
            vocabulary=len(tokenizer),
            pad_token=self._pad,
            end_token=tokenizer.eos_token_id,
            samples=_SUPPORT,
            max_new_tokens=longest,
            seed=seed,
        )
        self._before = measure(model, self._probes, self._pad)

    def now(self, model: Any) -> dict[str, float]:
        """``before/...`` and ``after/...`` of every number of `toymodel.llm.measuring.summary`."""
        after = measure(model, self._probes, self._pad)
        both = {"before": self._before, "after": after}
        return {
            f"{when}/{name}": value
            for when, measured in both.items()
            for name, value in summary(self._probes, measured, self._before).items()
        }
