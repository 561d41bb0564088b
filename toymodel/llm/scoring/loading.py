"""Load a model and its tokenizer to score with: safetensors, and no code of the model's unasked."""

from pathlib import Path
from typing import Any

import torch

from toymodel._errors import refuse, unknown
from toymodel.llm.data.hub import is_hub_name
from toymodel.llm.pretrained import DTYPES, load_causal, load_tokenizer


def load_model(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "float32",
    trust_remote_code: bool = False,
) -> tuple[Any, Any]:
    """A causal language model on its device, and its tokenizer.

    Args:
        name: a folder that ``save_pretrained`` wrote, read without any network; or, where there is
            no such folder, a name on the hub, ``owner/name``.
        device: such as ``cpu``, ``cuda:0``; auto: an accelerator where there is one.
        dtype: of the weights: float32, bfloat16, float16, or auto: as they are stored.
        trust_remote_code: run code that comes with the model, which you should have read.

    Returns:
        Model and tokenizer.

    Raises:
        InputError: no such model, no weights in safetensors, no tokenizer, no such device.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    place = device_of(device)
    local = not is_hub_name(name)
    if local and not Path(name).is_dir():
        expected = "a folder that save_pretrained wrote, or a name on the hub, owner/name"
        raise refuse("model", name, f"{expected}; no such folder is there")
    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": trust_remote_code}
    tokenizer = load_tokenizer(name, **options)
    model: Any = load_causal(name, dtype=dtype, **options)
    return model.to(place).eval(), tokenizer


def device_of(name: str) -> torch.device:
    """A device by name; ``auto`` is an accelerator where there is one.

    Args:
        name: as torch calls it.

    Raises:
        InputError: no such device.

    Example:
        >>> device_of("cpu")
        device(type='cpu')
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator()
        return torch.device("cpu") if found is None else found
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise refuse("device", name, f"a device that torch has here ({reason})") from None
    return device


def stamp_of(name: str) -> str:
    """Says which weights a folder holds: names, sizes and times; a name on the hub as it is."""
    files = sorted(Path(name).glob("*.safetensors"))
    states = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return f"{name} {states}" if states else name
