"""Why the three properties happen: one module a question, to compute, compare and draw.

The questions are those that the paper leaves open; ``docs/why`` has the answers.
"""

from toymodel.why import beta, chosen, epoch, flex, mass, overlap, sft  # noqa: F401  (each registers)
