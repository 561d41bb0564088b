"""What an attribution found: effects with intervals, and what is necessary and sufficient."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import xarray as xr

from toymodel.attribution.ingredients import Switches

#: What counts as showing a phenomenon, in the measure's unit: the onsets' own thresholds.
LIMITS: Mapping[str, float] = {"drop": 2.302585, "drawdown": 0.05, "dispersion": 0.01}
#: The measures' names for people.
TITLES = {"drop": "drop (nats)", "drawdown": "degradation (nats)", "dispersion": "dispersion"}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Attribution:
    """Which ingredient does what.

    Args:
        data: everything measured; see `to_xarray`.
        switches: how each ingredient was taken out.
        limits: measure -> above which a run shows it.
    """

    data: xr.Dataset
    switches: Switches
    limits: Mapping[str, float]

    def __repr__(self) -> str:
        return f"Attribution of {', '.join(self.limits)} to {', '.join(self.switches)}"

    def __str__(self) -> str:
        return self.table()

    def to_xarray(self) -> xr.Dataset:
        """Everything measured, labelled.

        - ``outcome`` (measure, run, seed), mean over prompts; ``present`` (run, ingredient) and
          ``learning_rate`` (run) say what a run was. With ``_mean``, ``_low`` and ``_high``:
          ``level`` (measure, run).
        - ``reached`` (run), the matched measure over the base's, and ``is_matched`` (run), where
          runs were matched.
        - ``removing``: base minus the base without an ingredient; ``adding``: the control with one
          alone minus the control; ``main`` and ``interaction``, of all combinations, where they
          were run. Each (measure, ingredient) with ``_low`` and ``_high``.
        - ``without`` and ``only``: the levels themselves, for `necessary` and `sufficient`.
        """
        return self.data

    def shows(self, measure: str) -> bool:
        """Whether the base shows a phenomenon: its whole interval is above the limit."""
        return bool(self.data["base_low"].sel(measure=measure) > self.limits[measure])

    @property
    def necessary(self) -> dict[str, list[str]]:
        """Measure -> ingredients whose removal alone ends it.

        The base shows it, and the interval without the ingredient is below the limit.
        """
        return {m: self._named("without_high", m, below=True) for m in self.limits}

    @property
    def sufficient(self) -> dict[str, list[str]]:
        """Measure -> ingredients that alone bring it about.

        The base shows it, the interval of the control (everything switched off) is below the limit,
        and that with the ingredient alone is above.
        """
        control = self.data["control_high"]
        return {
            m: self._named("only_low", m, below=False)
            if bool(control.sel(measure=m) <= self.limits[m])
            else []
            for m in self.limits
        }

    @property
    def sufficient_together(self) -> dict[str, list[tuple[str, ...]]]:
        """Measure -> the smallest sets of ingredients that bring it about without the others.

        Of the combinations that were run: those whose interval is above the limit while none of
        their subsets' is.
        """
        found: dict[str, list[tuple[str, ...]]] = {}
        names, present = self.data["ingredient"].values, self.data["present"].values
        for measure, limit in self.limits.items():
            shown = present[(self.data["level_low"].sel(measure=measure) > limit).values]
            smallest: list[np.ndarray] = []
            for row in sorted(shown, key=lambda row: (row.sum(), *~row)):
                if not any((row >= small).all() for small in smallest):
                    smallest.append(row)
            found[measure] = [tuple(map(str, names[row])) for row in smallest]
        return found

    def _named(self, variable: str, measure: str, *, below: bool) -> list[str]:
        if not self.shows(measure):
            return []
        values = self.data[variable].sel(measure=measure)
        passes = values <= self.limits[measure] if below else values > self.limits[measure]
        return [str(name) for name in self.data["ingredient"].values[passes.values]]

    def table(self) -> str:
        """All of it as text: a block a measure, a line an ingredient."""
        data, confidence = self.data, self.data.attrs["confidence"]
        width = max(len(name) for name in self.switches) + 2
        has_main = "main" in data
        columns = [
            "without it",
            "alone",
            "removing it costs",
            *(["main effect"] if has_main else []),
        ]
        lines = []
        for measure, limit in self.limits.items():
            one = data.sel(measure=measure)
            base, control = (_with_interval(one, name) for name in ("base", "control"))
            lines += [
                f"{TITLES.get(measure, measure)}: base {base}, all switched off {control}",
                f"{'':{width}}" + "".join(f"{column:>28}" for column in columns),
            ]
            for name in self.switches:
                row = one.sel(ingredient=name)
                kinds = ["without", "only", "removing", *(["main"] if has_main else [])]
                cells = "".join(f"{_with_interval(row, kind):>28}" for kind in kinds)
                marks = [
                    word
                    for word, found in (
                        ("necessary", self.necessary),
                        ("sufficient", self.sufficient),
                    )
                    if name in found[measure]
                ]
                lines.append(f"{name:{width}}{cells}  {', '.join(marks)}".rstrip())
            sets = [" + ".join(one) or "nothing" for one in self.sufficient_together[measure]]
            lines.append(f"Shown (above {limit:g}) by: {' or by '.join(sets) or 'none'}.\n")
        if "is_matched" in data and not bool(data["is_matched"].all()):
            missed = data["reached"].where(~data["is_matched"], drop=True)
            named = [f"{of['run'].item()} ({of.item():.2g})" for of in missed]
            lines.append(
                f"NOT MATCHED (times the base's {data.attrs['match']}): {', '.join(named)}.\n"
            )
        seeds = data.sizes["seed"]
        lines.append(
            f"Means over {seeds} seeds with {confidence:.0%} intervals, paired over seeds.\n"
            "Necessary: the interval without it is below the limit. Sufficient: the control's "
            "interval is below and that with it alone above."
        )
        return "\n".join(lines)


def _with_interval(row: xr.Dataset, kind: str) -> str:
    mean, low, high = (float(row[name]) for name in (kind, f"{kind}_low", f"{kind}_high"))
    if not np.isfinite(low):
        return f"{mean:.3g}"
    return f"{mean:.3g} [{low:.3g}, {high:.3g}]"
