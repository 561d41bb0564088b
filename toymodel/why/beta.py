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
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.scenarios import both_on_policy
from toymodel.studies.claims import DEGRADATION, claim, with_interval
from toymodel.studies.study import Claim, Study, register
from toymodel.sweeps import Sweep, geomspace
from toymodel.why.beta_picture import draw

BETAS = tuple(geomspace(0.01, 10, 13))
MULTIPLES = (0.3, 1.0, 3.0)
RATES = {"adam": float(CALIBRATED.learning_rate), "sgd": 0.3}
MARGINS = (5.0, 20.0, 60.0)  # nats, at which runs are compared; betas beyond 1 reach the first
#: Betas and rejected probabilities (natural logarithms) of the gradients in probability space.
SHOWN, LOG_REJECTED = (0.1, 0.5, 1.0, 2.0, 5.0), -np.log(10) * np.linspace(0, 12, 49)
_COMPARED = (BETAS[0], BETAS[3])  # 0.01 and 0.056, at an equal margin
_ACROSS = (BETAS[6], BETAS[9])  # 0.32 and 1.78, on the two sides of 1
_EQUAL = [(margin, multiple) for margin in MARGINS for multiple in (1.0, 3.0)]
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
    columns = {name: found[name].mean("prompt", skipna=False).values for name in names}
    columns |= _at_margins(found["log_probs"].values)
    dims = ("beta", "multiple", "seed")
    data: dict[str, Any] = {}
    for name, values in columns.items():
        interval, is_whole = estimate(values), np.isfinite(values).all(axis=-1)
        data[name] = (dims, values)
        for end in ("low", "high"):  # none where a seed blew up: the rest would be a selection
            ends = np.where(is_whole, getattr(interval, end), np.nan)
            data[f"{name}_{end}"] = (dims[:2], ends)
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
    """The properties over beta at each optimiser's own rate, and at equal margins, as Markdown."""
    names = ("drop", "peak", "drawdown", "dispersion", "final_chosen")
    lines = ["| optimiser | beta | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for optimiser in RATES:
        for beta in BETAS:
            one = found.sel(optimiser=optimiser, beta=beta, multiple=1.0)
            cells = " | ".join(with_interval(one[name]) for name in names)
            lines.append(f"| {optimiser} | {beta:.3g} | {cells} |")
    lines += ["", "Adam's degradation (nats) when the mean margin first reaches a size:", ""]
    lines += ["| beta | " + " | ".join(f"{m:g} nats, rate x{k:g}" for m, k in _EQUAL) + " |"]
    lines += ["|---" * (len(_EQUAL) + 1) + "|"]
    for beta in BETAS:
        adam = found.sel(optimiser="adam", beta=beta)
        cells = " | ".join(with_interval(adam[f"fall_at_{m:g}"].sel(multiple=k)) for m, k in _EQUAL)
        lines.append(f"| {beta:.3g} | {cells} |")
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
    above, below = {"above": DEGRADATION}, {"below": DEGRADATION}
    cells: list[tuple[float, float, dict[str, float]]] = [(m, 0.01, above) for m in (1.0, 3.0)]
    cells += [(m, beta, below) for m in MULTIPLES for beta in (1.78, 10.0)]
    adam = found.sel(optimiser="adam")
    for multiple, beta, ends in cells:
        fall = adam["drawdown"].sel(multiple=multiple).sel(beta=beta, method="nearest")
        where = f"adam, rate x{multiple:g}, beta {beta:g}"
        claims.append(claim(where, "drawdown", fall, **ends))
    worst = float(found["drawdown_high"].sel(optimiser="sgd").max(skipna=False))
    where, what = "sgd, every beta and rate", "largest upper end of drawdown"
    claims.append(Claim(where, what, worst, f"< {DEGRADATION:g}", worst < DEGRADATION))
    falls = {
        "long memory": adam["fall_at_60"].sel(multiple=1.0, beta=list(_COMPARED)).values,
        "short memory": found["short_fall_at_60"].values,
    }
    for name, fallen in falls.items():
        ends = above if name == "long memory" else below
        what = "drawdown at margin 60, over 0.01's"
        claims.append(claim(f"adam, {name}, beta 0.056", what, fallen[1] - fallen[0], **ends))
    small, large = (adam["fall_at_5"].sel(multiple=3.0, beta=beta) for beta in _ACROSS)
    where, what = "adam, rate x3, beta 1.78", "drawdown at margin 5, over 0.32's"
    claims.append(claim(where, what, large - small, above=0))
    for multiple in (1.0, 3.0):
        at_one = adam["fall_at_5"].sel(multiple=multiple, beta=BETAS[8])
        where = f"adam, rate x{multiple:g}, beta 1"
        claims.append(claim(where, "drawdown at margin 5", at_one, below=DEGRADATION))
    return claims


FIGURE = register(
    Study(
        name="why_beta",
        title="Beta from 0.01 to 10: nothing happens at 1",
        alt=("Drop, degradation and margin over beta from 0.01 to 10, smooth across 1."),
        caption=(
            "Top left: the paper's gradient in the rejected probability, whose power changes sign "
            "at beta = 1. The other panels, over beta: Adam (orange) and gradient descent (blue), "
            "each at three learning rates.\n"
            "The last two read each run when its mean margin first reaches 5 or 60 nats, "
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
