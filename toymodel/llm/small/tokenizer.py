"""A tokenizer of whole words, made in memory from a task's vocabulary."""

from collections.abc import Sequence
from typing import Any

PAD, END, UNKNOWN = "<pad>", "<eos>", "<unk>"


def word_tokenizer(vocabulary: Sequence[str]) -> Any:
    """A fast tokenizer of transformers whose tokens are words between spaces.

    Args:
        vocabulary: every word; three special tokens come before them.

    Returns:
        ``PreTrainedTokenizerFast``, with padding, end and unknown tokens.

    Example:
        >>> tokenizer = word_tokenizer(["a", "b"])
        >>> tokenizer("b a z")["input_ids"], tokenizer.decode([4, 3])
        ([4, 3, 2], 'b a')
    """
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    numbers = {word: at for at, word in enumerate((PAD, END, UNKNOWN, *vocabulary))}
    made = Tokenizer(WordLevel(numbers, unk_token=UNKNOWN))
    made.pre_tokenizer = WhitespaceSplit()
    made.decoder = decoders.WordPiece(prefix="##", cleanup=False)  # words with spaces between
    names = {"pad_token": PAD, "eos_token": END, "unk_token": UNKNOWN}
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)
