"""The paper's figures and tables: one module each, to compute, compare and draw; and its data.

Yan et al., "3D-Properties: Identifying Challenges in DPO and Charting a Path Forward", ICLR 2025,
arXiv:2406.07327.
"""

from toymodel.paper import (  # noqa: F401  (each registers)
    figure1,
    figure2,
    figure3,
    phases,
    race,
    unseen,
)
from toymodel.paper.compare import Agreement, agreement
from toymodel.paper.data import digitised, tables
from toymodel.paper.figure3 import figure3_curves
from toymodel.paper.setting import CALIBRATED, FAST, Setting

__all__ = [
    "CALIBRATED",
    "FAST",
    "Agreement",
    "Setting",
    "agreement",
    "digitised",
    "figure3_curves",
    "tables",
]
