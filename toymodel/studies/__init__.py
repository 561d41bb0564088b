"""What figures and findings have in common: data, a picture, and claims with their verdicts.

A `Study` says how to compute, draw and compare one picture; `toymodel.paper`, `toymodel.why` and
`toymodel.roads` register theirs, and `reproduce` makes pictures with their captions.
"""

from toymodel.studies.claims import claim, least_claim, share, with_interval
from toymodel.studies.reproduce import reproduce
from toymodel.studies.study import STUDIES, Claim, Reproduced, Study, register

__all__ = [
    "STUDIES",
    "Claim",
    "Reproduced",
    "Study",
    "claim",
    "least_claim",
    "register",
    "reproduce",
    "share",
    "with_interval",
]
