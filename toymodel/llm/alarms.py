"""When each of the three properties sets in, told while a run goes on."""

import dataclasses
from collections.abc import Mapping

from toymodel._errors import refuse


@dataclasses.dataclass(frozen=True)
class Limits:
    """How large a change of the watched responses counts as an onset.

    Args:
        drop: fall of the rejected's mean log-probability since the start (nats a response).
        degradation: fall of the chosen's below its peak (nats a response).
        dispersion: rise of the probability outside pair and support above its minimum, or, where
            answers are too long for that to be seen, of the share of the reference's samples that
            have become ten times less likely.
    """

    drop: float = 2.302585
    degradation: float = 0.5
    dispersion: float = 0.1

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not value > 0:
                raise refuse(name, value, "a number > 0")


class Alarms:
    """Follows a run's numbers and says, once each, which property has set in.

    Args:
        limits: see `Limits`.

    Example:
        >>> alarms = Alarms()
        >>> alarms.heard({"step": 0, "logps/chosen": -9.0, "logps/rejected": -9.0})
        []
        >>> alarms.heard({"step": 5, "logps/chosen": -9.2, "logps/rejected": -12.0})
        ['drop']
        >>> alarms.onsets
        {'drop': 5}
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.onsets: dict[str, int] = {}
        self._first: dict[str, float] = {}
        self._extreme: dict[str, float] = {}

    def heard(self, numbers: Mapping[str, float]) -> list[str]:
        """The properties that set in with these numbers, which have a ``step``."""
        changes = {
            "drop": self._fall(numbers, "logps/rejected", from_start=True),
            "degradation": self._fall(numbers, "logps/chosen", from_start=False),
            "dispersion": max(self._rise(numbers, "outside"), self._rise(numbers, "lost_share")),
        }
        new = [
            name
            for name, change in changes.items()
            if name not in self.onsets and change >= getattr(self.limits, name)
        ]
        self.onsets |= {name: int(numbers["step"]) for name in new}
        return new

    def _fall(self, numbers: Mapping[str, float], key: str, *, from_start: bool) -> float:
        if key not in numbers:
            return 0.0
        first = self._first.setdefault(key, numbers[key])
        peak = self._extreme[key] = max(self._extreme.get(key, first), numbers[key])
        return (first if from_start else peak) - numbers[key]

    def _rise(self, numbers: Mapping[str, float], key: str) -> float:
        if key not in numbers:
            return 0.0
        low = self._extreme[key] = min(self._extreme.get(key, numbers[key]), numbers[key])
        return numbers[key] - low
