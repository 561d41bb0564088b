"""What is watched beside the pairs: sets of responses whose probability says where mass goes."""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toymodel._errors import InputError, refuse
from toymodel._files import whole_file
from toymodel.llm.batches import PairTokens, Tokens

#: Names of `standard_probes` beside the pairs' own halves.
STANDARD = ("other_chosen", "other_rejected", "permuted", "random", "greedy", "sampled")


@dataclasses.dataclass(frozen=True)
class Probe:
    """A set of responses to the same prompts.

    Args:
        name: for logs: ``greedy``, ``sampled`` and so on.
        prompts: tokens of each response's prompt.
        responses: tokens of each response.
        groups: which prompt each response belongs to, as a number: equal prompts are one.
    """

    name: str
    prompts: tuple[Tokens, ...]
    responses: tuple[Tokens, ...]
    groups: tuple[int, ...]

    def distinct(self) -> np.ndarray:
        """Whether a response is the first of its kind for its prompt, [response]."""
        seen: set[tuple[int, Tokens]] = set()
        first = []
        for key in zip(self.groups, self.responses, strict=True):
            first.append(key not in seen)
            seen.add(key)
        return np.asarray(first)


def standard_probes(
    model: Any,
    pairs: Sequence[PairTokens],
    *,
    vocabulary: int,
    pad_token: int,
    end_token: int | None,
    samples: int = 16,
    max_new_tokens: int | None = None,
    seed: int = 0,
) -> list[Probe]:
    """The usual probes of a model that is about to be trained on pairs.

    ``chosen`` and ``rejected`` are the pairs' own; ``greedy`` the model's likeliest answers and
    ``sampled`` its samples; ``other_chosen`` and ``other_rejected`` the responses of the next pair
    that has another prompt (none where all prompts are the same); ``permuted`` the chosen's tokens
    in another order; ``random`` random tokens of that length. Pairs of one prompt are one group.

    Args:
        model: before training.
        pairs: whose prompts are watched; two at least.
        vocabulary: how many tokens there are to draw random strings from.
        pad_token: the number of the padding token.
        end_token: that of the end of a response.
        samples: samples a prompt; together they are the support whose mass is followed.
        max_new_tokens: longest answer. Default: that of the longest response of the pairs.
        seed: of samples, permutations and random strings.

    References:
        Ren and Sutherland, "Learning dynamics of LLM finetuning" (2024), whose probes these extend.
    """
    if len(pairs) < 2:
        raise refuse("pairs", f"{len(pairs)} to watch", "two at least")
    random = np.random.default_rng(seed)
    prompts = [pair.prompt for pair in pairs]
    longest = max_new_tokens or max(len(r) for p in pairs for r in (p.chosen, p.rejected))
    groups = _groups(prompts)

    def each(name: str, responses: Sequence[Tokens]) -> Probe:
        return Probe(name, tuple(prompts), tuple(responses), groups)

    found = [
        each("chosen", [pair.chosen for pair in pairs]),
        each("rejected", [pair.rejected for pair in pairs]),
        each("permuted", [_permuted(pair.chosen, end_token, random) for pair in pairs]),
        each("random", [_random(pair.chosen, vocabulary, end_token, random) for pair in pairs]),
    ]
    if others := _of_other_prompts(pairs):
        found.append(each("other_chosen", [pair.chosen for pair in others]))
        found.append(each("other_rejected", [pair.rejected for pair in others]))
    answer = functools.partial(
        generate, model, pad_token=pad_token, end_token=end_token, max_new_tokens=longest
    )
    found.append(each("greedy", answer(prompts)))
    if samples:
        repeated = [prompt for prompt in prompts for _ in range(samples)]
        drawn = answer(repeated, seed=seed)
        of_samples = tuple(group for group in groups for _ in range(samples))
        found.append(Probe("sampled", tuple(repeated), tuple(drawn), of_samples))
    return found


def rephrased(
    tokenizer: Any, pairs: Sequence[PairTokens], texts: Sequence[str], name: str = "rephrased"
) -> Probe:
    """A probe of texts of the user's, one for each watched prompt, such as rephrased chosen ones.

    Args:
        tokenizer: of the model.
        pairs: whose prompts are watched.
        texts: a response for each.
        name: for logs.

    Raises:
        InputError: another number of texts, or an empty one.
    """
    if len(texts) != len(pairs):
        raise refuse(name, f"{len(texts)} texts", f"one for each of {len(pairs)} watched prompts")
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    tokens = [(*tokenizer(text, add_special_tokens=False)["input_ids"], *end) for text in texts]
    if not all(len(t) > len(end) for t in tokens):
        raise refuse(name, "an empty text", "responses of a token at least")
    prompts = tuple(pair.prompt for pair in pairs)
    return Probe(name, prompts, tuple(tokens), _groups(prompts))


def _groups(prompts: Sequence[Tokens]) -> tuple[int, ...]:
    """A number for each prompt, the same for equal ones."""
    first: dict[Tokens, int] = {}
    return tuple(first.setdefault(prompt, len(first)) for prompt in prompts)


def _of_other_prompts(pairs: Sequence[PairTokens]) -> list[PairTokens]:
    """For each pair the next one, round about, that has another prompt; empty: there is none."""
    if len({pair.prompt for pair in pairs}) < 2:
        return []
    twice = [*pairs, *pairs]
    return [
        next(other for other in twice[at + 1 :] if other.prompt != pair.prompt)
        for at, pair in enumerate(pairs)
    ]


@torch.no_grad()
def generate(
    model: Any,
    prompts: Sequence[Tokens],
    *,
    pad_token: int,
    end_token: int | None,
    max_new_tokens: int,
    seed: int | None = None,
    batch_size: int = 256,
) -> list[Tokens]:
    """Answers of a model, with their end: the likeliest, or samples at temperature 1.

    The model's own settings of generation, such as a repetition penalty, are left aside: samples
    are of the distribution that it is trained and scored by.

    Args:
        model: a causal language model of transformers; it is left in the mode it was in.
        prompts: tokens of each.
        pad_token: the number of the padding token.
        end_token: that of the end of a response.
        max_new_tokens: longest answer; one that is longer has no end.
        seed: of the samples; None: greedy.
        batch_size: prompts at once.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    answers: list[Tokens] = []
    fork = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    with fork, _plain_generation(model):
        if seed is not None:
            torch.manual_seed(seed)
        for start in range(0, len(prompts), batch_size):
            part = prompts[start : start + batch_size]
            width = max(map(len, part))
            ids = torch.full((len(part), width), pad_token, device=device)
            inside = torch.zeros_like(ids)
            for row, prompt in enumerate(part):  # on the left, so that answers begin together
                ids[row, width - len(prompt) :] = torch.tensor(prompt, device=device)
                inside[row, width - len(prompt) :] = 1
            sampling = {"do_sample": True, "top_k": 0, "top_p": 1.0, "temperature": 1.0}
            found = model.generate(
                input_ids=ids,
                attention_mask=inside,
                max_new_tokens=max_new_tokens,
                pad_token_id=pad_token,
                eos_token_id=end_token,
                **({"do_sample": False} if seed is None else sampling),
            )
            answers += [_until(row, end_token) for row in found[:, width:].tolist()]
    model.train(was_training)
    return answers


def save(probes: Sequence[Probe], path: Path) -> None:
    """Keep probes beside a log, so that a run that goes on watches the same ones."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps([dataclasses.asdict(probe) for probe in probes]))


def load(path: Path) -> list[Probe]:
    """The probes that `save` wrote.

    Raises:
        InputError: not such a file.
    """
    try:
        return [_probe(fields) for fields in json.loads(path.read_text())]
    except (OSError, ValueError, KeyError, TypeError) as error:
        mend = "delete the log and its probes, and start anew"
        raise InputError(
            f"probes: {str(path)!r} cannot be read ({error}), expected the probes that the run "
            f"began with. To mend it: {mend}."
        ) from None


def _probe(fields: Mapping[str, Any]) -> Probe:
    prompts, responses = (tuple(map(tuple, fields[name])) for name in ("prompts", "responses"))
    return Probe(fields["name"], prompts, responses, tuple(fields["groups"]))


@contextlib.contextmanager
def _plain_generation(model: Any) -> Iterator[None]:
    """Without the model's own settings, which transformers takes wherever a call says nothing."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # of PEFT
    own = inner.generation_config
    inner.generation_config = type(own)()
    try:
        yield
    finally:
        inner.generation_config = own


def _until(row: Sequence[int], end_token: int | None) -> Tokens:
    """A generated row up to its end, which counts; what follows is padding."""
    if end_token is not None and end_token in row:
        return tuple(row[: list(row).index(end_token) + 1])
    return tuple(row)


def _permuted(response: Tokens, end_token: int | None, random: np.random.Generator) -> Tokens:
    body = response[:-1] if response and response[-1] == end_token else response
    return (*(int(token) for token in random.permutation(body)), *response[len(body) :])


def _random(
    response: Tokens, vocabulary: int, end_token: int | None, random: np.random.Generator
) -> Tokens:
    body = response[:-1] if response and response[-1] == end_token else response
    return (*map(int, random.integers(0, vocabulary, len(body))), *response[len(body) :])
