"""Schemas of public data sets: preference pairs, and questions with a final answer to check."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from toymodel.llm.data import verifiers
from toymodel.llm.data.pairs import Row, Unusable, dialogue, explicit


@dataclasses.dataclass(frozen=True)
class Question:
    """A question of a data set with verifiable answers.

    Args:
        prompt: the text.
        solution: the data set's, with working.
        answer: the final answer, normalised.
        matches: whether a text ends in that answer.
    """

    prompt: str
    solution: str
    answer: str
    matches: Callable[[str], bool] = dataclasses.field(compare=False, repr=False)


@dataclasses.dataclass(frozen=True)
class PairSchema:
    """How a data set writes preference pairs.

    Args:
        pair: record -> pair; raises `Unusable`.
        about: where it is used, with its columns.
        splits: ``train`` and ``test`` as the set calls them, where that is something else.
    """

    pair: Callable[[Mapping[str, Any]], Row]
    about: str
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class QuestionSchema:
    """How a data set writes questions.

    Args:
        question: record -> question; raises `Unusable`.
        about: where it is used, with its columns.
    """

    question: Callable[[Mapping[str, Any]], Question]
    about: str


def gsm8k(fields: Mapping[str, Any]) -> Question:
    """A question of GSM8K, whose ``answer`` ends in ``#### 18``.

    Args:
        fields: ``question`` and ``answer``.

    Raises:
        Unusable: a column is missing, or no final answer.

    Example:
        >>> found = gsm8k({"question": "2 + 16?", "answer": "2+16=<<2+16=18>>18\\n#### 18"})
        >>> found.answer, found.matches("So it is 18."), found.matches("It is 81.")
        ('18', True, False)
    """
    prompt, solution = _texts(fields, "question", "answer")
    answer = verifiers.marked_number(solution)
    if answer is None:
        raise Unusable("answer: no final answer after ####")
    return Question(prompt, solution, answer, lambda text: verifiers.final_number(text) == answer)


def math(fields: Mapping[str, Any]) -> Question:
    r"""A question of MATH, whose ``solution`` has its answer in a \boxed{}.

    Args:
        fields: ``problem`` and ``solution``; ``level`` and ``type`` are not read.

    Raises:
        Unusable: a column is missing, or nothing is boxed.

    Example:
        >>> found = math({"problem": "Half?", "solution": r"It is $\boxed{\frac12}$."})
        >>> found.answer, found.matches(r"\boxed{\dfrac{1}{2}}")
        ('\\frac{1}{2}', True)
    """
    prompt, solution = _texts(fields, "problem", "solution")
    inside = verifiers.boxed(solution)
    if inside is None:
        raise Unusable(r"solution: nothing in \boxed{}")
    answer = verifiers.normalised(inside)

    def matches(text: str) -> bool:
        given = verifiers.boxed(text)
        return given is not None and verifiers.normalised(given) == answer

    return Question(prompt, solution, answer, matches)


def _texts(fields: Mapping[str, Any], *names: str) -> list[str]:
    for name in names:
        if not isinstance(fields.get(name), str) or not fields[name].strip():
            raise Unusable(f"{name}: expected a text (columns: {', '.join(map(str, fields))})")
    return [fields[name] for name in names]


#: Schemas of pairs by name.
PAIRS: dict[str, PairSchema] = {
    "pairs": PairSchema(explicit, "prompt, chosen, rejected; or chosen, rejected"),
    "hh_rlhf": PairSchema(dialogue, "Anthropic/hh-rlhf: chosen, rejected, as dialogues"),
    "ultrafeedback": PairSchema(
        explicit,
        "HuggingFaceH4/ultrafeedback_binarized: prompt, chosen, rejected (messages), scores",
        {"train": "train_prefs", "test": "test_prefs"},
    ),
}

#: Schemas of questions by name.
QUESTIONS: dict[str, QuestionSchema] = {
    "gsm8k": QuestionSchema(gsm8k, "openai/gsm8k:main: question, answer with ####"),
    "math": QuestionSchema(math, r"MATH: problem, level, type, solution with \boxed{}"),
}
