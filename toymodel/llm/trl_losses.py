"""Which loss of this library a trainer of TRL lowers."""

from collections.abc import Callable
from typing import Any

from toymodel import losses
from toymodel._errors import unknown
from toymodel.losses import PreferenceLoss

#: TRL's ``loss_type`` -> ours, from beta and label smoothing; ``docs/trl.md`` has the differences.
EQUIVALENTS: dict[str, Callable[[float, float], PreferenceLoss]] = {
    "sigmoid": lambda beta, _: losses.DPO(beta),
    "hinge": lambda beta, _: losses.Hinge(beta),
    "ipo": lambda beta, _: losses.IPO(beta, per_token=True),
    "exo_pair": lambda beta, smoothing: losses.EXO(beta, smoothing),
    "nca_pair": lambda beta, _: losses.NCA(beta),
    "robust": lambda beta, smoothing: losses.Robust(beta, smoothing),
    "bco_pair": lambda beta, _: losses.BCO(beta),
    "sppo_hard": lambda beta, _: losses.SPPO(beta),
    "aot": lambda beta, smoothing: losses.AOT(beta, smoothing),
    "aot_unpaired": lambda beta, smoothing: losses.AOTUnpaired(beta, smoothing),
    "apo_zero": lambda beta, _: losses.APOZero(beta),
    "apo_down": lambda beta, _: losses.APODown(beta),
    "sft": lambda _, __: losses.SFT(per_token=True),
    "sigmoid_norm": lambda beta, _: losses.SigmoidNorm(beta),
}


def loss_of(trainer: Any) -> PreferenceLoss:
    """The loss that a trainer lowers, in this library's terms.

    Args:
        trainer: ours, or TRL's ``DPOTrainer``.

    Raises:
        InputError: a loss type that has no counterpart here.
    """
    own = getattr(trainer, "loss", None)
    if isinstance(own, PreferenceLoss):
        return own
    parts: list[PreferenceLoss] = []
    for name in trainer.loss_types:
        if name == "discopop":
            parts.append(losses.DiscoPOP(trainer.beta, trainer.args.discopop_tau))
            continue
        if name not in EQUIVALENTS:
            raise unknown("loss_type", name, (*EQUIVALENTS, "discopop"))
        parts.append(EQUIVALENTS[name](trainer.beta, trainer.label_smoothing))
    weights = tuple(float(weight) for weight in trainer.loss_weights)
    loss: PreferenceLoss = losses.WeightedSum(tuple(parts), weights)
    if weights == (1.0,):
        loss = parts[0]
    if trainer.ld_alpha is not None:
        loss = losses.LengthDesensitised(loss, trainer.ld_alpha)
    return losses.WPO(loss, largest=1e9) if trainer.use_weighting else loss
