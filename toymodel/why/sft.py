"""What the SFT weight gamma does, and how much is enough. The answer: ``docs/why/sft.md``.

The dose is swept under Adam and gradient descent and its threshold set beside closed forms
(`sft_doses`, `sft_thresholds`). Then the term is let into some weights only (`sft_quiet`), and
rules are judged on other settings (`sft_rules`).
"""

import jax.numpy as jnp
import numpy as np
import xarray as xr

from toymodel import optimisers
from toymodel.attribution import estimate
from toymodel.paper.setting import CALIBRATED, EPOCHS
from toymodel.scenarios import both_on_policy
from toymodel.studies.claims import claim
from toymodel.studies.study import Claim, Study, register
from toymodel.why import sft_doses, sft_rules
from toymodel.why.sft_doses import CONDITIONS, EPSILONS, RATES
from toymodel.why.sft_picture import draw
from toymodel.why.sft_quiet import train_split

SPLIT_BETA, SPLIT_GAMMAS = 0.02, (1e-6, 1e-5, 1e-4)
#: Shares of the SFT term that enter quiet weights and all others.
SPLITS = {
    "neither": (0.0, 0.0),
    "quiet only": (1.0, 0.0),
    "all others only": (0.0, 1.0),
    "all": (1.0, 1.0),
}
_EVERY = 50


def compute(seeds: int) -> xr.Dataset:
    """Dose curves with thresholds measured and predicted, costs, the split, and the rules."""
    parts = [sft_doses.curves(optimiser, seeds) for optimiser in RATES]
    costs, rules = sft_doses.costs(seeds), sft_rules.judge(max(2, seeds // 4))
    return xr.merge([*parts, costs, _split(seeds), rules])


def _split(seeds: int) -> xr.Dataset:
    """Degradation with the SFT term in some weights only, [gamma, which, seed]."""
    method = optimisers.get("adam", RATES["adam"])
    parts = (both_on_policy(), CALIBRATED.policy, SPLIT_BETA)
    falls = []
    for gamma in SPLIT_GAMMAS:
        for quiet, loud in SPLITS.values():
            run = (*parts, gamma, quiet, loud, method, jnp.arange(seeds))
            chosen = np.asarray(train_split(*run, records=EPOCHS // _EVERY, every=_EVERY))
            falls.append((chosen.max(axis=1) - chosen[:, -1]).mean(axis=-1))
    values = np.reshape(falls, (len(SPLIT_GAMMAS), len(SPLITS), seeds))
    places = {"split_gamma": list(SPLIT_GAMMAS), "which": list(SPLITS)}
    return xr.Dataset({"split": (("split_gamma", "which", "seed"), values)}, places)


def table(found: xr.Dataset) -> str:
    """The rules, and the drop that Adam is left with at each dose, as Markdown."""
    heads = [f"Adam's drop, beta {beta:g}" for beta in found["wide_beta"].values]
    lines = ["| gamma | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    drop = estimate(found["drop"].transpose("wide", "wide_beta", "seed").values)
    for at, gamma in enumerate(found["wide"].values):
        columns = zip(drop.mean[at], drop.low[at], drop.high[at], strict=True)
        cells = " | ".join(f"{mean:.1f} [{low:.1f}, {high:.1f}]" for mean, low, high in columns)
        lines.append(f"| {gamma:g} | {cells} |")
    return sft_rules.table(found) + "\n" + "\n".join(lines) + "\n"


# Claims -----------------------------------------------------------------------------------------

_FAR, _NEAR, _CLOSE = 10.0, 5.0, 2.0  # factors


def compare(found: xr.Dataset) -> list[Claim]:
    """Each statement of the write-up, with its interval over seeds."""
    return [*_of_thresholds(found), *_of_split(found), *_of_rules(found)]


def _of_thresholds(found: xr.Dataset) -> list[Claim]:
    """Half doses beside theory and beside DPO's slope at the end, as factors."""
    claims = []
    for optimiser, conditions in CONDITIONS.items():
        half, expected, slope = (
            found[f"{optimiser}_{name}"].values for name in ("half", "expected", "slope")
        )
        for at, condition in enumerate(conditions):
            factor, low, high = half[at] / expected[at]
            where = f"{optimiser}, beta {condition.beta:g}, rate x{condition.multiple:g}"
            where += f", eps {condition.epsilon:g}" if optimiser == "adam" else ""
            what = f"half dose {half[at, 0]:.2g}, over theory [{low:.3g}, {high:.3g}]"
            reached = low > 1 / _NEAR and high < _NEAR
            claims.append(Claim(where, what, float(factor), "1/5 to 5", bool(reached)))
        claims.append(_beside_slope(optimiser, half, expected, slope))
    epsilon = [condition.epsilon for condition in CONDITIONS["adam"][:EPSILONS]]
    half = found["adam_half"].values[:EPSILONS, 0]
    powers = np.diff(np.log(half)) / np.diff(np.log(epsilon))
    for at, (power, below) in enumerate(zip(powers, epsilon, strict=False)):
        where = f"adam, eps {below:g} to {epsilon[at + 1]:g}"
        reached = abs(power - 1) < 0.2
        claims.append(Claim(where, "power of eps in half dose", float(power), "1 +- 0.2", reached))
    return claims


def _beside_slope(
    optimiser: str, half: np.ndarray, expected: np.ndarray, slope: np.ndarray
) -> Claim:
    """How far DPO's slope at the end is from the half dose: always far (Adam), or further (SGD)."""
    away = half[:, 0] / slope
    if not (np.isfinite(away).all() and (away > 0).all()):
        return Claim(optimiser, "half dose over DPO's last slope: out of range", 0.0, "-", False)
    size = np.exp(np.abs(np.log(away)))
    text = f"[{away.min():.2g}, {away.max():.2g}]"
    if optimiser == "adam":
        what, least = f"half dose over DPO's last slope {text}, least factor", float(size.min())
        return Claim(optimiser, what, least, f"> {_FAR:g}", least > _FAR)
    theory = float(np.exp(np.abs(np.log(half / expected[:, None])).max()))
    what = f"largest factor off theory, interval ends included; off DPO's last slope {text}"
    return Claim(optimiser, what, theory, f"< {_CLOSE:g}", theory < _CLOSE < size.max())


def _of_split(found: xr.Dataset) -> list[Claim]:
    claims = []
    for gamma in SPLIT_GAMMAS:
        one = found["split"].sel(split_gamma=gamma)
        none = one.sel(which="neither").values
        left = one.sel(which="quiet only").values / none.mean()
        saved = (none - one.sel(which="all others only").values) / none.mean()
        where = f"gamma {gamma:g}"
        claims += [
            claim(f"{where}, quiet only", "share of the fall left", left, below=0.1),
            claim(f"{where}, all others only", "share of the fall saved", saved, below=0.1),
        ]
    return claims


def _of_rules(found: xr.Dataset) -> list[Claim]:
    claims = []
    for rule in ("1e-6", "beta / 100", "beta / 10", "beta"):
        p, low, high = sft_rules.success(found, rule)
        what = f"share of falls that it stops [{low:.2f}, {high:.2f}]"
        claims.append(Claim(f"other settings, gamma {rule}", what, p, "low > 0.7", low > 0.7))
    return claims


FIGURE = register(
    Study(
        name="why_sft",
        title="The SFT weight: under Adam it acts in weights that DPO leaves alone",
        alt=(
            "Degradation over SFT weight for four epsilons of Adam; half doses against theory; "
            "quiet weights against all others."
        ),
        caption=(
            "Top: degradation over the SFT weight gamma under Adam, for four values of Adam's "
            "epsilon (left); the dose that halves it (Adam), or halves 1 - pi(y+) (gradient "
            "descent), against theory (middle); the fall with the SFT term let into quiet weights "
            "only, in which DPO's gradient has never exceeded gamma, or into all others only "
            "(right).\n"
            "Bottom: the dose under gradient descent (left), what it costs of the drop (middle), "
            "and rules in settings they were not found on, of which those count that degrade "
            "without the term (right). Bands and bars are 95 % intervals over seeds, those of "
            "rules Wilson's."
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
