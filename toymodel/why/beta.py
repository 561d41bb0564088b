"""What beta does, from 0.01 to 10: Corollary 2 assumes beta < 1. The answer: ``docs/why/beta.md``.

The whole range is trained with Adam and with gradient descent at three rates each, and read twice:
at the end, and at the moment the margin first reaches a given size.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel import gradients, optimisers, sweeps
from toymodel.attribution import estimate
from toymodel.losses import DPO, PairBatch
from toymodel.paper.report import Claim, PaperFigure, register
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.scenarios import both_on_policy
from toymodel.sweeps import Sweep, geomspace
from toymodel.why.beta_picture import draw

BETAS = tuple(geomspace(0.01, 10, 13))
MULTIPLES = (0.3, 1.0, 3.0)
RATES = {"adam": float(CALIBRATED.learning_rate), "sgd": 0.3}
MARGINS = (20.0, 60.0)  # nats, at which runs are compared
LIMIT = 0.05  # nats: the onset of degradation
#: Betas and rejected probabilities (natural logarithms) of the gradients in probability space.
SHOWN, LOG_REJECTED = (0.1, 0.5, 1.0, 2.0, 5.0), -np.log(10) * np.linspace(0, 12, 49)
_COMPARED = (BETAS[0], BETAS[3])  # 0.01 and 0.056, at an equal margin
_EVERY = 20


def compute(seeds: int) -> xr.Dataset:
    """Properties at the end and at an equal margin; the paper's gradients over pi(y-)."""
    runs = [_runs(optimiser, seeds) for optimiser in RATES]
    joined: xr.Dataset = xr.concat(runs, xr.DataArray(list(RATES), dims="optimiser"))
    named = joined.assign_coords(optimiser=list(RATES))
    return named.merge(_gradients()).merge(_with_short_memory(seeds))


def _with_short_memory(seeds: int) -> xr.Dataset:
    """What `_at_margins` gives at two betas where Adam's second moments remember 10 steps."""
    method = optimisers.get("adam", RATES["adam"], b2=0.9)
    base = Sweep(policy=CALIBRATED.policy, loss="dpo", optimiser=method, steps=EPOCHS)
    over = {"loss.beta": _COMPARED, "seed": range(seeds)}
    found = sweeps.sweep(base, over, record=f"log_probs@{_EVERY}", progress=None)
    fall = _at_margins(found["log_probs"].values)["fall_at_60"]
    return xr.Dataset(
        {"short_fall_at_60": (("compared", "seed"), fall)}, {"compared": list(_COMPARED)}
    )


def _runs(optimiser: str, seeds: int) -> xr.Dataset:
    base = Sweep(policy=CALIBRATED.policy, loss="dpo", optimiser=optimiser, steps=EPOCHS)
    over: dict[str, Any] = {
        "loss.beta": BETAS,
        "learning_rate": [RATES[optimiser] * multiple for multiple in MULTIPLES],
        "seed": range(seeds),
    }
    record = [f"properties@{_EVERY}", f"log_probs@{_EVERY}"]
    found = sweeps.sweep(base, over, record=record, progress=None)
    names = ("drop", "drawdown", "dispersion", "peak")
    columns = {name: found[name].mean("prompt").values for name in names}
    columns |= _at_margins(found["log_probs"].values)
    dims = ("beta", "multiple", "seed")
    data: dict[str, Any] = {}
    for name, values in columns.items():
        interval = estimate(values)
        data[name] = (dims, values)
        data[f"{name}_low"], data[f"{name}_high"] = (
            (dims[:2], interval.low),
            (dims[:2], interval.high),
        )
    places = {"beta": list(BETAS), "multiple": list(MULTIPLES), "seed": range(seeds)}
    return xr.Dataset(data, places)


def _at_margins(log_probs: np.ndarray) -> dict[str, np.ndarray]:
    """Where runs end, and how far the chosen had fallen when the mean margin reached `MARGINS`.

    Args:
        log_probs: [beta, multiple, seed, step, prompt, response].

    Returns:
        Numbers of `compute`, [beta, multiple, seed]; NaN where not all seeds reach the margin.
    """
    pairs = both_on_policy().pairs
    prompts = np.asarray(pairs.prompt)
    chosen = log_probs[..., prompts, np.asarray(pairs.chosen)]
    gap = chosen - log_probs[..., prompts, np.asarray(pairs.rejected)]
    margin = (gap - gap[..., :1, :]).mean(axis=-1)
    fall = (np.maximum.accumulate(chosen, axis=-2) - chosen).mean(axis=-1)
    found = {"margin": margin[..., -1], "final_chosen": np.exp(chosen[..., -1, :]).mean(axis=-1)}
    for size in MARGINS:
        came = margin >= size
        first = np.argmax(came, axis=-1)[..., None]
        then = np.take_along_axis(fall, first, axis=-1)[..., 0]
        all_came = came.any(axis=-1).all(axis=-1, keepdims=True)  # else the mean is of a selection
        found[f"fall_at_{size:g}"] = np.where(all_came, then, np.nan)
    return found


def _gradients() -> xr.Dataset:
    """log10 |dL/dpi(y-)| as pi(y-) falls from 0.12 and pi(y+) stays there, [shown, fallen]."""
    start = float(np.log(0.12))
    rejected = jnp.asarray(start + LOG_REJECTED)
    same, one = jnp.full_like(rejected, start), jnp.ones_like(rejected)
    batch = PairBatch(same, rejected, same, same, chosen_length=one, rejected_length=one)
    rows = [gradients.probabilities(DPO(beta=beta), batch)[1].log_abs for beta in SHOWN]
    return xr.Dataset(
        {"rejected_gradient": (("shown", "fallen"), np.asarray(rows) / np.log(10))},
        {"shown": list(SHOWN), "fallen": (start + LOG_REJECTED) / np.log(10)},
    )


def table(found: xr.Dataset) -> str:
    """The properties over beta at each optimiser's own rate, as Markdown."""
    names = ("drop", "peak", "drawdown", "dispersion", "final_chosen")
    lines = ["| optimiser | beta | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for optimiser in RATES:
        for beta in BETAS:
            one = found.sel(optimiser=optimiser, beta=beta, multiple=1.0)
            cells = " | ".join(
                f"{float(one[n].mean()):.3g} [{float(one[f'{n}_low']):.3g}, "
                f"{float(one[f'{n}_high']):.3g}]"
                for n in names
            )
            lines.append(f"| {optimiser} | {beta:.3g} | {cells} |")
    return "\n".join(lines) + "\n"


# Claims -----------------------------------------------------------------------------------------


def compare(found: xr.Dataset) -> list[Claim]:
    """Each statement of the write-up, with its interval over seeds."""
    claims = []
    gradient = found["rejected_gradient"].isel(fallen=[-9, -1])
    slopes = np.diff(gradient.values, axis=-1)[:, 0] / np.diff(gradient["fallen"].values)
    for beta, slope in zip(found["shown"].values, slopes, strict=True):
        ok = abs(slope - (beta - 1)) < 0.01
        claims.append(
            Claim(f"beta {beta:g}", "power of pi- in dL/dpi-", slope, f"{beta - 1:g}", ok)
        )
    cells = [("adam", m, 0.01, True) for m in (1.0, 3.0)]
    cells += [("adam", m, beta, False) for m in MULTIPLES for beta in (1.78, 10.0)]
    for optimiser, multiple, beta, above in cells:
        cell = found.sel(optimiser=optimiser, multiple=multiple).sel(beta=beta, method="nearest")
        claims.append(_claim(cell, f"{optimiser}, rate x{multiple:g}, beta {beta:g}", above))
    worst = found["drawdown_high"].sel(optimiser="sgd").max()
    where, what = "sgd, every beta and rate", "largest upper end of drawdown"
    claims.append(Claim(where, what, float(worst), f"< {LIMIT:g}", bool(worst < LIMIT)))
    falls = {
        "long memory": found["fall_at_60"].sel(
            optimiser="adam", multiple=1.0, beta=list(_COMPARED)
        ),
        "short memory": found["short_fall_at_60"],
    }
    for name, fall in falls.items():
        more = estimate(fall.values[1] - fall.values[0])
        what = f"drawdown at margin 60, over 0.01's [{float(more.low):.3g}, {float(more.high):.3g}]"
        is_long = name == "long memory"
        reached = more.low > LIMIT if is_long else more.high < LIMIT
        aim = f"{'>' if is_long else '<'} {LIMIT:g}"
        claims.append(
            Claim(f"adam, {name}, beta 0.056", what, float(more.mean), aim, bool(reached))
        )
    return claims


def _claim(cell: xr.Dataset, where: str, above: bool) -> Claim:
    low, high = float(cell["drawdown_low"]), float(cell["drawdown_high"])
    what = f"drawdown [{low:.3g}, {high:.3g}]"
    ours = float(cell["drawdown"].mean("seed"))
    reached = low > LIMIT if above else high < LIMIT
    return Claim(where, what, ours, f"{'>' if above else '<'} {LIMIT:g}", reached)


FIGURE = register(
    PaperFigure(
        name="why_beta",
        title="Beta from 0.01 to 10: nothing happens at 1",
        caption=(
            "Top left: the paper's gradient in the rejected probability, whose power changes sign "
            "at beta = 1. The other panels, over beta: Adam (orange) and gradient descent (blue), "
            "each at three learning rates.\n"
            "The last two read each run when its mean margin first reaches 20 or 60 nats, "
            "where all seeds do. Bands are 95 % intervals of the mean over seeds."
        ),
        compute=compute,
        draw=draw,
        compare=compare,
        table=table,
        on_request=True,
        group="why",
        seeds=32,
    )
)
