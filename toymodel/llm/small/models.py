"""A small GPT-2 from a config, with random weights."""

from typing import Any

import torch


def gpt2(
    vocabulary: int,
    *,
    positions: int = 96,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    pad_token: int = 0,
    end_token: int = 1,
    seed: int = 0,
) -> Any:
    """A GPT-2 without dropout, with learned positions: about 0.1 M parameters as it comes.

    Args:
        vocabulary: tokens.
        positions: longest sequence.
        width: units.
        layers: blocks.
        heads: of attention.
        pad_token: the number of the padding token.
        end_token: that of the end.
        seed: of the weights.

    Example:
        >>> sum(p.numel() for p in gpt2(40).parameters())
        108800
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocabulary,
                n_positions=positions,
                n_embd=width,
                n_layer=layers,
                n_head=heads,
                activation_function="gelu_pytorch_tanh",  # GPT-2's own, in one kernel
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                pad_token_id=pad_token,
                bos_token_id=end_token,
                eos_token_id=end_token,
            )
        )
