"""What the explorer says: the three properties of a run, its troubles, its code, as small HTML."""

import html

import numpy as np
import xarray as xr

from toymodel._typing import Scalar
from toymodel.explorer.presets import Preset
from toymodel.explorer.view import View
from toymodel.plots.style import CHOSEN, OUTSIDE, REJECTED
from toymodel.properties import Thresholds
from toymodel.trajectory import FIT_TOLERANCE


def cards(view: View) -> str:
    """The three properties, each with its size and what it means here; means over prompts.

    The chosen's peak and end are of the mean likelihood, the curve that the first picture shows.
    """
    found, limits = view.properties, Thresholds()
    drop, fall, gain = (_mean(found[name]) for name in ("drop", "drawdown", "dispersion"))
    likelihood = view.likelihoods["chosen_mean"].values
    peak, final = float(likelihood.max()), float(likelihood[-1])
    receivers = [str(role) for role in found["receiving_role"].values if role != "none"]
    receiver = max(set(receivers), key=receivers.count) if receivers else "nobody"
    peaks = f"the chosen peaks at {peak:.2f} and ends at {final:.2f}"
    gained = f"gained by {receiver}" if gain > limits.dispersion else "none gained outside the pair"
    rows = (
        ("Drop", REJECTED, drop, limits.drop, "nats", "fall of the rejected"),
        ("Degradation", CHOSEN, fall, limits.degradation, "nats", peaks),
        ("Dispersion", OUTSIDE, gain, limits.dispersion, "of the mass", gained),
    )
    return "".join(_card(*row) for row in rows)


def _mean(values: xr.DataArray) -> float:
    """Over the prompts that have a number; NaN where none has."""
    there = values.values[np.isfinite(values.values)]
    return float(there.mean()) if there.size else float("nan")


def _card(name: str, colour: str, size: float, limit: Scalar, unit: str, told: str) -> str:
    is_there = size > float(limit)
    mark, state = ("●", "yes") if is_there else ("○", "no")
    number = f"{size:.0f}" if size >= 100 else f"{size:.2g}" if np.isfinite(size) else "–"
    number = "0" if abs(size) < 5e-4 else number
    return (
        f'<div class="tm-card" style="border-left-color:{colour}">'
        f'<div class="tm-name">{name} <span class="tm-state">{mark} {state}</span></div>'
        f'<div class="tm-size">{number} <span class="tm-unit">{unit}</span></div>'
        f'<div class="tm-told">{html.escape(told)}</div></div>'
    )


def troubles(view: View) -> str:
    """What a reader must know before believing the pictures; empty where all is well."""
    if (step := view.lost_at) is not None:
        return (
            f"The run is not finite from step {step:,} on: its numbers overflowed. To mend it: a "
            "smaller learning rate, or fewer steps."
        )
    error = float(view.run.fit.error)
    if error > FIT_TOLERANCE:
        return (
            f"The policy does not start from the scenario's table: it misses it by {error:.2f} in "
            "probability. To mend it: more fit steps, or a policy that can express it."
        )
    return ""


def message(text: str, *, bad: bool) -> str:
    """A line under the properties: an error, or how long the last change took."""
    if bad:
        return f'<div class="tm-message tm-bad" role="alert">⚠ {html.escape(text)}</div>'
    return f'<div class="tm-message" role="status">{html.escape(text)}</div>'


def look(preset: Preset) -> str:
    """What to look for in a preset."""
    return (
        f'<div class="tm-look">{html.escape(preset.look)} '
        f'<span class="tm-page">More: {html.escape(preset.page)}</span></div>'
    )


def formula(text: str) -> str:
    """A loss's formula, under its menu."""
    return f'<div class="tm-formula">L = {html.escape(text)}</div>'


def heading(text: str) -> str:
    """The name of a group of controls."""
    return f'<div class="tm-heading" role="heading" aria-level="3">{html.escape(text)}</div>'


def code_box(code: str) -> str:
    """The code of the run, with a button that copies it."""
    copy = (
        "const code = this.parentElement.querySelector('pre');"
        "const range = document.createRange(); range.selectNodeContents(code);"
        "const chosen = getSelection(); chosen.removeAllRanges(); chosen.addRange(range);"
        "if (navigator.clipboard) navigator.clipboard.writeText(code.innerText);"
        "else document.execCommand('copy'); this.innerText = 'Copied';"
        "setTimeout(() => this.innerText = 'Copy as code', 1500)"
    )
    return (
        f'<div class="tm-code"><button type="button" onclick="{html.escape(copy)}">'
        f"Copy as code</button><pre>{html.escape(code)}</pre></div>"
    )


#: The explorer's looks; colours of text follow the notebook's theme.
STYLE = """<style>
.tm-explorer { width: 100%; }
.tm-explorer .widget-label { min-width: 0; }
.tm-controls { flex: 0 0 318px; max-width: 318px; padding-right: 14px; overflow: visible; }
.tm-main { flex: 1 1 0; min-width: 0; overflow: visible; }
.tm-heading { font-size: 11px; font-weight: 600; letter-spacing: .06em; line-height: 1.3;
  text-transform: uppercase; opacity: .62; margin-top: 6px; }
.tm-pictures { display: grid !important; grid-gap: 2px 10px; overflow: visible;
  grid-template-columns: repeat(auto-fit, minmax(max(280px, 40%), 1fr)); transition: opacity .15s; }
.tm-pictures img { width: 100%; height: auto; border-radius: 3px; margin: 0; }
.tm-pictures .tm-wide { grid-column: 1 / -1; }
.tm-stale { opacity: .35; }
.tm-exact .widget-label { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); margin: 0; }
.tm-cards { display: grid; grid-template-columns: repeat(3, 1fr); grid-gap: 10px; }
.tm-card { border-left: 4px solid; padding: 1px 0 1px 10px; line-height: 1.3; }
.tm-name { font-size: 13px; font-weight: 600; }
.tm-state { font-weight: 400; opacity: .75; padding-left: 4px; }
.tm-size { font-size: 23px; font-weight: 600; font-variant-numeric: tabular-nums; }
.tm-unit { font-size: 12px; font-weight: 400; opacity: .75; }
.tm-told { font-size: 12px; opacity: .8; }
.tm-look { font-size: 12.5px; line-height: 1.4; white-space: normal; }
.tm-page { opacity: .6; }
.tm-formula { font-family: var(--jp-code-font-family, monospace); font-size: 11.5px;
  line-height: 1.35; white-space: normal; opacity: .8; }
.tm-message { font-size: 12px; line-height: 1.4; opacity: .62; white-space: normal;
  min-height: 17px; font-variant-numeric: tabular-nums; }
.tm-bad { opacity: 1; padding: 6px 10px; border-left: 4px solid #D55E00; font-size: 13px; }
.tm-code { position: relative; }
.tm-code pre { font-family: var(--jp-code-font-family, monospace); font-size: 11.5px;
  line-height: 1.4; margin: 0; padding: 8px 10px; white-space: pre; overflow-x: auto;
  border: 1px solid rgba(128, 128, 128, .35); border-radius: 3px; }
.tm-code button { position: absolute; right: 5px; top: 5px; font-size: 12px; padding: 2px 10px;
  cursor: pointer; color: inherit; background: rgba(128, 128, 128, .14); border-radius: 3px;
  border: 1px solid rgba(128, 128, 128, .4); }
.tm-controls .jupyter-widget-Collapse-header {
  padding: 2px 8px; font-size: 12px; background: transparent; border-color: transparent; }
.tm-controls .jupyter-widget-Collapse-contents { padding: 2px 0; background: transparent;
  border-color: transparent; }
</style>"""
