"""Which loss of this library a trainer of TRL lowers."""

from collections.abc import Callable
from typing import Any

from toymodel import losses
from toymodel._errors import unknown
from toymodel.losses import PreferenceLoss

#: TRL's ``loss_type`` -> ours, from the trainer's numbers; ``docs/trl.md`` has the differences.
EQUIVALENTS: dict[str, Callable[[Any], PreferenceLoss]] = {
    "sigmoid": lambda of: losses.DPO(of.beta),
    "hinge": lambda of: losses.Hinge(of.beta),
    "ipo": lambda of: losses.IPO(of.beta, per_token=True),
    "exo_pair": lambda of: losses.EXO(of.beta, of.label_smoothing),
    "nca_pair": lambda of: losses.NCA(of.beta),
    "robust": lambda of: losses.Robust(of.beta, of.label_smoothing),
    "bco_pair": lambda of: losses.BCO(of.beta),
    "sppo_hard": lambda of: losses.SPPO(of.beta),
    "aot": lambda of: losses.AOT(of.beta, of.label_smoothing),
    "aot_unpaired": lambda of: losses.AOTUnpaired(of.beta, of.label_smoothing),
    "apo_zero": lambda of: losses.APOZero(of.beta),
    "apo_down": lambda of: losses.APODown(of.beta),
    "discopop": lambda of: losses.DiscoPOP(of.beta, of.args.discopop_tau),
    "sft": lambda _: losses.SFT(per_token=True),
    "sigmoid_norm": lambda of: losses.SigmoidNorm(of.beta),
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
        if name not in EQUIVALENTS:
            raise unknown("loss_type", name, EQUIVALENTS)
        part = EQUIVALENTS[name](trainer)
        if trainer.f_divergence_type != "reverse_kl" and name != "sft":  # which has no log-ratio
            divergence = trainer.f_divergence_type.removesuffix("_divergence")
            part = losses.FDivergence(part, divergence, trainer.f_alpha_divergence_coef)
        parts.append(part)
    weights = tuple(float(weight) for weight in trainer.loss_weights)
    loss: PreferenceLoss = losses.WeightedSum(tuple(parts), weights)
    if weights == (1.0,):
        loss = parts[0]
    if trainer.ld_alpha is not None:
        loss = losses.LengthDesensitised(loss, trainer.ld_alpha)
    return losses.WPO(loss, largest=1e9) if trainer.use_weighting else loss
