"""Tasks made here from scratch: prompts, right answers, and a verifier that scores any answer."""

from toymodel.llm.tasks.arithmetic import Arithmetic
from toymodel.llm.tasks.base import Score, Task

__all__ = ["Arithmetic", "Score", "Task"]
