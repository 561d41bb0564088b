"""A preference pair from a record's columns, or what is wrong with it."""

from collections.abc import Mapping, Sequence
from typing import Any

from toymodel._errors import InputError

Row = dict[str, Any]
_HUMAN, _ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


class Unusable(InputError):
    """A record that is no pair; the message says why, for the line that it stands on."""


def explicit(fields: Mapping[str, Any]) -> Row:
    """A pair from ``prompt``, ``chosen``, ``rejected``: texts, or lists of messages.

    Without a prompt, or with a text beside responses that are messages, the prompt is what
    ``chosen`` and ``rejected`` begin with alike, as TRL has it.

    Args:
        fields: of the record.

    Returns:
        ``prompt``, ``chosen``, ``rejected``.

    Raises:
        Unusable: a column is missing, empty or of another kind, or both responses are equal.

    Example:
        >>> explicit({"chosen": "Is it? Yes.", "rejected": "Is it? No."})
        {'prompt': 'Is it?', 'chosen': ' Yes.', 'rejected': ' No.'}
    """
    _present(fields, "chosen", "rejected")
    chosen, rejected, prompt = fields["chosen"], fields["rejected"], fields.get("prompt")
    kinds = {name: _kind(name, fields[name]) for name in ("chosen", "rejected")}
    if len(set(kinds.values())) == 2:
        raise Unusable("chosen and rejected: one is a text, the other messages")
    if prompt is None or (kinds["chosen"] is list and isinstance(prompt, str)):
        prompt, chosen, rejected = _split(chosen, rejected)
        if not prompt:
            raise Unusable("no prompt: chosen and rejected have no common beginning")
        return _checked(prompt, chosen, rejected)
    if _kind("prompt", prompt) is not kinds["chosen"]:
        raise Unusable("prompt: messages, where chosen and rejected are texts")
    return _checked(prompt, chosen, rejected)


def dialogue(fields: Mapping[str, Any]) -> Row:
    r"""A pair of HH-RLHF: whole dialogues, whose turns begin with Human: and Assistant:

    The prompt ends with the last ``\n\nAssistant:`` before the two dialogues part.

    Args:
        fields: ``chosen`` and ``rejected``, texts.

    Returns:
        ``prompt``, ``chosen``, ``rejected``.

    Raises:
        Unusable: the dialogues part before the assistant speaks, and as in `explicit`.

    Example:
        >>> start = "\n\nHuman: Is it?\n\nAssistant:"
        >>> dialogue({"chosen": start + " Yes.", "rejected": start + " Yesterday."})["rejected"]
        ' Yesterday.'
    """
    _present(fields, "chosen", "rejected")
    chosen, rejected = fields["chosen"], fields["rejected"]
    if not (_kind("chosen", chosen) is _kind("rejected", rejected) is str):
        raise Unusable("chosen and rejected: messages, where HH-RLHF has texts")
    start = chosen[: common_start(chosen, rejected)].rfind(_ASSISTANT)
    if chosen == rejected:
        raise Unusable("chosen and rejected are equal")
    if start < 0 or not chosen.startswith(_HUMAN):
        turns = f"{_HUMAN!r} and {_ASSISTANT!r}"
        raise Unusable(f"chosen and rejected: no common beginning with turns {turns}")
    start += len(_ASSISTANT)
    return _checked(chosen[:start], chosen[start:], rejected[start:])


def _checked(prompt: Any, chosen: Any, rejected: Any) -> Row:
    if chosen == rejected:
        raise Unusable("chosen and rejected are equal")
    for name, response in (("chosen", chosen), ("rejected", rejected)):
        texts = [response] if isinstance(response, str) else [x["content"] for x in response]
        if not "".join(texts[-1:]).strip():
            raise Unusable(f"{name} is empty")
    if not prompt:
        raise Unusable("prompt is empty")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _present(fields: Mapping[str, Any], *names: str) -> None:
    missing = [name for name in names if fields.get(name) is None]
    if missing:
        there = ", ".join(map(str, fields)) or "none"
        raise Unusable(f"missing: {', '.join(missing)} (columns: {there})")


def _kind(name: str, value: Any) -> type:
    if isinstance(value, str):
        return str
    if isinstance(value, list) and value and all(map(_is_message, value)):
        return list
    raise Unusable(f"{name}: expected a text, or messages with role and content")


def _split(chosen: Any, rejected: Any) -> tuple[Any, Any, Any]:
    """Common beginning and rests; of texts, a space before the parting goes to the rests."""
    at = common_start(chosen, rejected)
    parts = at < min(len(chosen), len(rejected))
    if parts and isinstance(chosen, str) and chosen[:at].endswith(" "):
        at -= 1
    return chosen[:at], chosen[at:], rejected[at:]


def common_start(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many letters, messages or tokens two sequences begin with alike.

    Example:
        >>> common_start("Is it? Yes.", "Is it? No.")
        7
    """
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(value.get(key), str) for key in ("role", "content")
    )
