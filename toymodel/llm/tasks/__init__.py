"""Tasks made here from scratch: prompts, right answers, and a verifier that scores any answer."""

from toymodel.llm.tasks.arithmetic import Arithmetic
from toymodel.llm.tasks.base import Score, Task
from toymodel.llm.tasks.slogans import Slogans
from toymodel.llm.tasks.verses import Verses

__all__ = ["Arithmetic", "Score", "Slogans", "Task", "Verses"]
