"""Tiny language models and tokenizers made from a config, for tests."""

import functools

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from toymodel.llm.small.tokenizer import word_tokenizer

WORDS = [f"w{i}" for i in range(20)]


@functools.cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Words separated by spaces."""
    return word_tokenizer(WORDS)


def model(seed: int = 0, dtype: torch.dtype = torch.float32, width: int = 16) -> GPT2LMHeadModel:
    """A GPT-2 of one layer, without dropout, far from uniform."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(WORDS) + 3,
        n_positions=32,
        n_embd=width,
        n_layer=1,
        n_head=2,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
        initializer_range=0.3,
        eos_token_id=1,
        bos_token_id=1,
        pad_token_id=0,
    )
    return GPT2LMHeadModel(config).to(dtype)


ROWS = [
    {"prompt": "w1 w2 ", "chosen": "w3 w4 w5", "rejected": "w6"},
    {"prompt": "w2 w5 w7 ", "chosen": "w3", "rejected": "w3 w8 w9 w2"},
    {"prompt": "w9 ", "chosen": "w1 w1", "rejected": "w1 w2"},
    {"prompt": "w4 w4 ", "chosen": "w10 w11 w12 w13", "rejected": "w14 w15"},
]
