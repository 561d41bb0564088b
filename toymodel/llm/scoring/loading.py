"""Load a model and its tokenizer to score with: safetensors, and no code of the model's unasked."""

from pathlib import Path
from typing import Any

import torch

from toymodel._errors import InputError, refuse, unknown
from toymodel.llm.data.hub import is_hub_name
from toymodel.llm.extra import need

DTYPES = ("float32", "bfloat16", "float16", "auto")
_TOKENIZER = ("tokenizer", "vocab", "spiece", "sentencepiece")


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
    need("transformers")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    place = device_of(device)
    local = not is_hub_name(name)
    if local:
        _check_folder(Path(name))
    options = {"local_files_only": local, "trust_remote_code": trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
        model: Any = AutoModelForCausalLM.from_pretrained(
            name, dtype=dtype, use_safetensors=True, **options
        )
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"model: {name!r} cannot be loaded ({reason}), expected a folder with a causal "
            "language model and its tokenizer, or a name on the hub. To mend it: give the folder "
            "that save_pretrained of both wrote, or check the name and the network."
        ) from None
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


def _check_folder(folder: Path) -> None:
    written = "a folder that save_pretrained wrote"
    if not folder.is_dir():
        expected = f"{written}, or a name on the hub, owner/name"
        raise refuse("model", str(folder), f"{expected}; no such folder is there")
    if not (folder / "config.json").is_file():
        raise refuse("model", f"{folder} without config.json", written)
    if not any(any(folder.glob(f"{name}*")) for name in _TOKENIZER):  # one without words is made
        raise refuse("model", f"{folder} without a tokenizer", written, "save the tokenizer there")
    if not any(folder.glob("*.safetensors")):
        others = [x.name for x in (*folder.glob("*.bin"), *folder.glob("*.pt"))]
        there = f" ({', '.join(others)} may run code when opened)" if others else ""
        raise refuse(
            "model",
            f"{folder} without weights in safetensors{there}",
            written,
            "save the model with save_pretrained, which writes model.safetensors",
        )
