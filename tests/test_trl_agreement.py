"""Our losses against TRL's own code on the same log-probabilities, where TRL is installed.

Install it with ``pip install -e '.[dev]' -c constraints.txt``. `tests.trl_probe` drives it.
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import os
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from toymodel import losses
from toymodel.losses import WPO, FDivergence, LengthDesensitised, PairBatch, WeightedSum

HOW = "install it with: pip install -e '.[dev]' -c constraints.txt"
NEEDED = "1.16"  # its internals are what the probe drives


def why_not() -> str:
    """Why the comparison cannot be made here; empty where it can."""
    for package in ("torch", "trl"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed; {HOW}"
    version = importlib.metadata.version("trl")
    if not version.startswith(f"{NEEDED}."):
        return f"TRL {version} is installed, the probe drives {NEEDED}; {HOW}"
    return ""


pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.filterwarnings("ignore"),  # those of TRL and of what it imports
]

PAIRS = 5


@functools.cache
def trl():
    """The probe; importing it imports torch, so that collecting this file does not."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tests import trl_probe

        for trainer in ("dpo", "kto", "cpo", "orpo"):
            where = "trl.trainer" if trainer in ("dpo", "kto") else f"trl.experimental.{trainer}"
            importlib.import_module(f"{where}.{trainer}_trainer")
    return trl_probe


class Batch:
    """Random responses of 1 to 7 tokens, as TRL takes them (by token) and as our losses do."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        lengths = generator.integers(1, 8, (2, PAIRS))
        lengths[0, 0], lengths[1, 1] = 7, 7
        within = np.arange(7) < lengths[..., None]
        tokens = -generator.exponential(size=(2, 2, PAIRS, 7)) - 0.01  # by model and role
        self.tokens = tokens * within
        self.lengths = lengths
        self.log_sum_squares = -generator.exponential(size=(2, PAIRS, 7)) * within
        shorter = np.arange(7) < lengths.min(axis=0)[:, None]
        totals, excess = self.tokens.sum(-1), (self.tokens * ~shorter).sum(-1)
        self.mismatched = generator.normal(size=2 * PAIRS) + 0.5
        self.pairs = PairBatch(
            *map(jnp.asarray, totals.reshape(4, PAIRS)),
            *map(jnp.asarray, lengths.astype(float)),
            jnp.asarray(self.mismatched.reshape(2, PAIRS).mean(axis=0)),
            *map(jnp.asarray, self.log_sum_squares.sum(-1)),
            *map(jnp.asarray, excess.reshape(4, PAIRS)),
        )

    def responses(self, model: int) -> list:
        of_roles = zip(self.tokens[model], self.lengths, strict=True)
        return [trl().Responses(tokens, lengths) for tokens, lengths in of_roles]

    @property
    def both(self) -> tuple[list, list]:
        """Responses under the policy and under the reference."""
        return self.responses(0), self.responses(1)


def assert_agree(loss: losses.PreferenceLoss, batch: Batch, theirs, tolerance: float) -> None:
    chosen, rejected = loss.slopes(batch.pairs)
    ours = jnp.mean(loss.value(batch.pairs)), chosen / PAIRS, rejected / PAIRS
    for mine, other, what in zip(ours, theirs, theirs._fields, strict=True):
        np.testing.assert_allclose(
            mine, other, rtol=tolerance, atol=tolerance, err_msg=f"{what} of {loss}"
        )


seeds = pytest.mark.parametrize("seed", [0, 1])

#: TRL's loss types with their settings, and ours.
LOSS_TYPES = {
    ("sigmoid", ""): losses.DPO(0.3),
    ("sigmoid", "label_smoothing"): losses.DPO(0.3),  # TRL ignores it here
    ("hinge", ""): losses.Hinge(0.3),
    ("ipo", ""): losses.IPO(0.3, per_token=True),
    ("exo_pair", "label_smoothing"): losses.EXO(0.3, 0.1),
    ("nca_pair", ""): losses.NCA(0.3),
    ("robust", "label_smoothing"): losses.Robust(0.3, 0.1),
    ("robust", ""): losses.Robust(0.3, 0.0),
    ("bco_pair", ""): losses.BCO(0.3),
    ("sppo_hard", ""): losses.SPPO(0.3),
    ("aot", ""): losses.AOT(0.3),
    ("aot", "label_smoothing"): losses.AOT(0.3, 0.1),
    ("aot_unpaired", ""): losses.AOTUnpaired(0.3),
    ("aot_unpaired", "label_smoothing"): losses.AOTUnpaired(0.3, 0.1),
    ("apo_zero", ""): losses.APOZero(0.3),
    ("apo_down", ""): losses.APODown(0.3),
    ("discopop", ""): losses.DiscoPOP(0.3, 0.05),
    ("sft", ""): losses.SFT(),
    ("sigmoid_norm", ""): losses.SigmoidNorm(0.3),
}
OF_LOG_RATIOS = {kind: loss for (kind, _), loss in LOSS_TYPES.items()}
UNDER_DIVERGENCES = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop")
DIVERGENCES = {"forward_kl": "forward_kl", "js_divergence": "js", "alpha_divergence": "alpha"}


def settings(kind: str) -> dict:
    """Beta, and the label smoothing of the losses in OF_LOG_RATIOS."""
    smoothing = getattr(OF_LOG_RATIOS[kind], "label_smoothing", 0.0)
    return {"beta": 0.3, "label_smoothing": smoothing}


@seeds
@pytest.mark.parametrize(("kind", "setting"), LOSS_TYPES)
def test_dpo_trainer(kind, setting, seed):
    batch, loss = Batch(seed), LOSS_TYPES[kind, setting]
    smoothing = 0.1 if setting else 0.0
    theirs = trl().dpo(*batch.both, kind, beta=0.3, label_smoothing=smoothing)
    assert_agree(loss, batch, theirs, 1e-10)


@seeds
@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("kind", UNDER_DIVERGENCES)
def test_f_divergences(kind, divergence, seed):
    batch = Batch(seed)
    loss = FDivergence(OF_LOG_RATIOS[kind], DIVERGENCES[divergence], 0.7)
    theirs = trl().dpo(*batch.both, kind, f_divergence=divergence, f_alpha=0.7, **settings(kind))
    assert_agree(loss, batch, theirs, 1e-5 if divergence == "alpha_divergence" else 1e-10)


@seeds
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["sigmoid", "ipo", "aot", "bco_pair", "sigmoid_norm"])
def test_length_desensitised(kind, alpha, seed):
    """Also that our slopes are those of the tokens within the shorter length: TRL's first."""
    batch, loss = Batch(seed), LengthDesensitised(OF_LOG_RATIOS[kind], alpha)
    theirs = trl().dpo(*batch.both, kind, ld_alpha=alpha, **settings(kind))
    assert_agree(loss, batch, theirs, 1e-10)


@seeds
@pytest.mark.parametrize("kind", ["sigmoid", "ipo", "nca_pair", "apo_down", "sppo_hard"])
def test_wpo(kind, seed):
    """TRL does not limit the weight."""
    batch, loss = Batch(seed), WPO(OF_LOG_RATIOS[kind], largest=1e6)
    squares = batch.log_sum_squares.reshape(2 * PAIRS, -1)
    theirs = trl().dpo(
        *batch.both, kind, use_weighting=True, log_sum_squares=squares, **settings(kind)
    )
    assert_agree(loss, batch, theirs, 1e-10)


@seeds
def test_sums(seed):
    """MPO's mix."""
    batch, kinds, weights = Batch(seed), ["sigmoid", "bco_pair", "sft"], [0.8, 0.2, 1.0]
    loss = WeightedSum(tuple(OF_LOG_RATIOS[kind] for kind in kinds), tuple(weights))
    theirs = trl().dpo(*batch.both, kinds, beta=0.3, loss_weights=weights)
    assert_agree(loss, batch, theirs, 1e-10)


@pytest.mark.parametrize("shift", [0.0, -5.0], ids=["KL positive", "KL held at zero"])
@seeds
def test_kto(seed, shift):
    batch = Batch(seed)
    batch.mismatched = batch.mismatched + shift
    mean = jnp.full(PAIRS, batch.mismatched.mean())
    batch.pairs = dataclasses.replace(batch.pairs, mismatched_log_ratio=mean)
    theirs = trl().kto(
        *batch.both, batch.mismatched, beta=0.3, desirable_weight=1.3, undesirable_weight=0.7
    )
    assert_agree(losses.KTO(0.3, 1.3, 0.7), batch, theirs, 1e-10)


@seeds
def test_kto_trainer_has_half_of_apo_zero(seed):
    batch, half = Batch(seed), WeightedSum((losses.APOZero(0.3),), (0.5,))
    theirs = trl().kto(*batch.both, batch.mismatched, "apo_zero_unpaired", beta=0.3)
    assert_agree(half, batch, theirs, 1e-10)


#: Settings of TRL's CPO trainer, and ours.
CPO_CASES = {
    "sigmoid": ({"label_smoothing": 0.1, "cpo_alpha": 0.7}, losses.CPO(0.3, 0.7, 0.1)),
    "sigmoid, no cross-entropy": ({}, losses.CPO(0.3, 0.0)),
    "simpo": ({"simpo_gamma": 0.4}, losses.SimPO(0.3, 0.4)),
    "simpo, alpha 0.25": ({"alpha": 0.25}, losses.AlphaPO(0.3, 0.5, 0.25)),
    "simpo, alpha -0.5": ({"alpha": -0.5}, losses.AlphaPO(0.3, 0.5, -0.5)),
    "simpo, cross-entropy": (
        {"cpo_alpha": 1.0},
        WeightedSum((losses.SimPO(0.3, 0.5), losses.SFT()), (1.0, 1.0)),
    ),
}


@seeds
@pytest.mark.parametrize("case", CPO_CASES)
def test_cpo_trainer(case, seed):
    given, loss = CPO_CASES[case]
    batch = Batch(seed)
    theirs = trl().cpo(batch.responses(0), case.split(",")[0], beta=0.3, **given)
    assert_agree(loss, batch, theirs, 1e-10)


@seeds
@pytest.mark.parametrize("kind", ["hinge", "ipo"])
def test_cpo_trainer_has_losses_of_a_uniform_reference(kind, seed):
    batch = Batch(seed)
    zeros = jnp.zeros(PAIRS)
    batch.pairs = dataclasses.replace(batch.pairs, reference_chosen=zeros, reference_rejected=zeros)
    theirs = trl().cpo(batch.responses(0), kind, beta=0.3)
    assert_agree(OF_LOG_RATIOS[kind], batch, theirs, 1e-10)


@seeds
def test_orpo(seed):
    """TRL's cross-entropy is a mean over tokens, ours over each response's: `SFT` is TRL's."""
    batch = Batch(seed)
    loss = WeightedSum((losses.ORPO(0.3, alpha=0.0), losses.SFT()), (1.0, 1.0))
    assert_agree(loss, batch, trl().orpo(batch.responses(0), beta=0.3), 1e-6)
