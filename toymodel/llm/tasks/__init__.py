"""Tasks made here from scratch: prompts, right answers, and a verifier that scores any answer."""

from toymodel.llm.tasks.arithmetic import Arithmetic
from toymodel.llm.tasks.base import Score, Task
from toymodel.llm.tasks.slogans import Slogans
from toymodel.llm.tasks.verses import Verses

__all__ = ["BY_NAME", "Arithmetic", "Score", "Slogans", "Task", "Verses"]

#: All tasks, by name.
BY_NAME: dict[str, type[Task]] = {task.name: task for task in (Arithmetic, Slogans, Verses)}
