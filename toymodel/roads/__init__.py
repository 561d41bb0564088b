"""The other road, reward model and policy optimisation, beside DPO: one module a finding.

As in `toymodel.why`, each computes, compares and draws; ``docs/roads`` has the answers.
"""

from toymodel.roads import accuracy, contest, overoptimisation  # noqa: F401  (each registers)
