"""Pairs from a model's answers to questions that can be checked: a right one and a wrong one."""

from collections.abc import Sequence

from toymodel.llm.data.pairs import Row
from toymodel.llm.data.schemas import Question


def pair_of(question: Question, answers: Sequence[str]) -> Row | None:
    """The first right and the first wrong answer as chosen and rejected.

    Args:
        question: of `load_questions`.
        answers: samples of a policy, or answers from anywhere.

    Returns:
        ``prompt``, ``chosen``, ``rejected``; None where all answers are right, or all wrong.

    Example:
        >>> question = Question("2 + 16?", "", "18", lambda text: text.endswith("18"))
        >>> pair_of(question, ["It is 17", "It is 18", "18"])["chosen"]
        'It is 18'

    References:
        Yan et al. (2024), section 4, drops prompts whose samples are uniformly good or bad.
    """
    right = [answer for answer in answers if question.matches(answer)]
    wrong = [answer for answer in answers if not question.matches(answer)]
    if not (right and wrong):
        return None
    return {"prompt": question.prompt, "chosen": right[0], "rejected": wrong[0]}
