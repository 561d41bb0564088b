"""Models and tokenizers that `save_pretrained` wrote: loaded whole, or refused with a reason."""

from pathlib import Path
from typing import Any

from toymodel._errors import InputError, refuse
from toymodel.llm.extra import need

DTYPES = ("float32", "bfloat16", "float16", "auto")  # of weights; auto: as they are stored
_WRITTEN = "a folder that save_pretrained wrote"


def load_config(name: str, *, argument: str = "model", **options: Any) -> Any:
    """The configuration of a model.

    Args:
        name: a folder, or a name on the hub.
        argument: what errors call it.
        options: of transformers' ``from_pretrained``.

    Raises:
        InputError: there is none, or a folder without weights.
    """
    need("transformers")
    from transformers import AutoConfig

    return _loaded(AutoConfig, name, argument, "config.json", options)


def load_tokenizer(name: str, *, argument: str = "model", **options: Any) -> Any:
    """The tokenizer of a model.

    Args:
        name: as in `load_config`.
        argument: as in `load_config`.
        options: as in `load_config`.

    Raises:
        InputError: there is none; transformers makes one without words, which helps nobody.
    """
    need("transformers")
    from transformers import AutoTokenizer

    found = _loaded(AutoTokenizer, name, argument, "a tokenizer", options)
    if not found.vocab_size:
        raise refuse(argument, f"{name} without a tokenizer", _WRITTEN, "save the tokenizer there")
    return found


def load_causal(name: str, *, argument: str = "model", **options: Any) -> Any:
    """A causal language model with all its weights, which must be safetensors.

    Args:
        name: as in `load_config`.
        argument: as in `load_config`.
        options: as in `load_config`.

    Raises:
        InputError: it cannot be loaded, or a part of its weights is not there, which transformers
            would draw at random.
    """
    need("transformers")
    from transformers import AutoModelForCausalLM

    wanted = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    what = "safetensors weights of a causal language model"
    model, told = _loaded(AutoModelForCausalLM, name, argument, what, {**options, **wanted})
    missing = [*told["missing_keys"], *(key for key, *_ in told["mismatched_keys"])]
    if missing:
        given = f"{name} without {len(missing)} of its tensors, such as {min(missing)}"
        expected = "all weights of the causal language model that config.json says, in its sizes"
        raise refuse(argument, given, expected, "save the whole model with save_pretrained")
    return model


def check_folder(folder: Path, argument: str = "model") -> None:
    """Refuse a folder without a model, before anything is loaded.

    Args:
        folder: which exists.
        argument: what errors call it.

    Raises:
        InputError: no config.json, or no weights in safetensors.
    """
    if not (folder / "config.json").is_file():
        lora = (folder / "adapter_config.json").is_file()
        mend = "merge the adapter: PeftModel.merge_and_unload(), then save_pretrained"
        given = f"{folder} without config.json" + (", an adapter alone" if lora else "")
        raise refuse(argument, given, _WRITTEN, mend if lora else "")
    if not any(folder.glob("*.safetensors")):
        others = [x.name for x in (*folder.glob("*.bin"), *folder.glob("*.pt"))]
        there = f" ({', '.join(others)} may run code when opened)" if others else ""
        given = f"{folder} without weights in safetensors{there}"
        mend = "save the model with save_pretrained, which writes model.safetensors"
        raise refuse(argument, given, _WRITTEN, mend)


def unloadable(name: str, argument: str, what: str, error: Exception) -> InputError:
    """The error for a model that transformers cannot load, with its reason."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return InputError(
        f"{argument}: {name!r} cannot be loaded ({reason}), expected {what}, in a folder or under "
        f"a name on the hub. To mend it: give {_WRITTEN}, or check the name, the network and "
        "whether only local files may be read."
    )


def _loaded(cls: Any, name: str, argument: str, what: str, options: dict[str, Any]) -> Any:
    from safetensors import SafetensorError

    if Path(name).is_dir():
        check_folder(Path(name), argument)
    try:
        return cls.from_pretrained(name, **options)
    except (OSError, ValueError, ImportError, KeyError, SafetensorError) as error:
        raise unloadable(name, argument, what, error) from None
