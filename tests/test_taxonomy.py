"""The kinds of losses: what probing says against what theory says; and the portraits' fields."""

import jax.numpy as jnp
import numpy as np
import pytest

from toymodel import losses, portraits
from toymodel.losses.taxonomy import Fate, Force

#: What theory says of some losses: a trait, and who has it among those listed.
KNOWN = {
    "balanced": ({"dpo", "ipo", "hinge", "cdpo", "aot"}, {"flex_dpo", "sft_dpo", "kto", "slic"}),
    "of_margin": ({"dpo", "ipo", "robust"}, {"flex_dpo", "sft_dpo", "bdpo", "nca_pair"}),
    "reference_free": ({"simpo", "slic", "cpo", "orpo", "alphapo"}, {"dpo", "kto", "hinge"}),
    "per_token": ({"simpo", "sigmoid_norm", "orpo", "rdpo"}, {"dpo", "ipo", "slic"}),
    "batch_coupled": ({"aot", "aot_unpaired", "kto", "beta_dpo", "sft"}, {"dpo", "simpo"}),
    "monotone": ({"dpo", "slic", "kto"}, {"ipo", "discopop", "nca_pair", "cdpo", "apo_down"}),
}
FORCES = {
    "dpo": Force.NONE,
    "ipo": Force.NONE,
    "flex_dpo": Force.CONCENTRATES,
    "sft_dpo": Force.CONCENTRATES,
    "bdpo": Force.CONCENTRATES,
    "apo_down": Force.DISPERSES,
    # of a shorter rejected the push is the larger, of a longer one the smaller
    **dict.fromkeys(("simpo", "sigmoid_norm", "rainbowpo"), Force.UNLIKE),
    "aot_unpaired": Force.UNLIKE,  # the halves of a pair have unlike ranks in their batch
    "aot": Force.NONE,
    # by the sign of c - r: of a rarer response the link is steeper (forward KL, alpha), or less so
    **dict.fromkeys(("f_dpo", "alphapo", "chi_po"), Force.BOTH),
}
FATES = {
    "dpo": (Fate.VANISHES, Fate.VANISHES),
    "ipo": (Fate.REVERSES, Fate.REVERSES),
    "hinge": (Fate.STOPS, Fate.STOPS),
    "discopop": (Fate.VANISHES, Fate.VANISHES),  # reversed at first only
    "slic": (Fate.STOPS, Fate.PERSISTS),
    "sft_dpo": (Fate.VANISHES, Fate.PERSISTS),
    "bdpo": (Fate.VANISHES, Fate.PERSISTS),
    "robust": (Fate.PERSISTS, Fate.PERSISTS),
    "sft": (Fate.ABSENT, Fate.PERSISTS),
}


def kind(name, **numbers):
    return losses.traits(losses.get(name, **numbers))


@pytest.mark.parametrize("trait", KNOWN)
def test_traits_are_those_of_theory(trait):
    have, lack = KNOWN[trait]
    assert {name for name in have | lack if getattr(kind(name), trait)} == have


def test_losses_that_declare_themselves_of_the_margin_are():
    declared = {name for name in losses.names() if losses.get(name).of_margin}
    assert {"dpo", "ipo", "cdpo", "hinge"} <= declared
    for name in declared:
        traits = kind(name)
        assert traits.of_margin, name
        assert not traits.batch_coupled, name


@pytest.mark.parametrize(("name", "force"), FORCES.items())
def test_force_on_unseen_responses(name, force):
    assert kind(name).force is force


def test_flex_disperses_where_the_rejected_is_the_stronger_half():
    assert kind("flex_dpo", beta_chosen=0.05, beta_rejected=0.1).force is Force.DISPERSES
    assert kind("flex_dpo", beta_chosen=0.1, beta_rejected=0.1).force is Force.NONE


@pytest.mark.parametrize(("name", "fates"), FATES.items())
def test_fate_of_the_slopes_as_the_rejected_vanishes(name, fates):
    found = kind(name)
    assert (found.rejected_fate, found.chosen_fate) == fates
    assert all((found.drop, found.degradation, found.dispersion))


# Portraits --------------------------------------------------------------------------------------


def test_starts_are_the_papers():
    np.testing.assert_allclose(portraits.starts()["both_on_policy"], [0.12, 0.12, 0.76], atol=1e-6)
    assert len(portraits.starts()) == 4


def test_phase_field_is_the_softmax_image_of_the_logits_flow():
    """DPO by hand: dz = (v, -v, 0), dpi = pi (dz - pi . dz)."""
    reference = np.array([0.2, 0.3, 0.5])
    field = portraits.phase_field(losses.DPO(0.5), reference, points=5)
    p, q = field.chosen.values, field.rejected.values
    margin = np.log(p / q) - np.log(0.2 / 0.3)
    v = 0.5 / (1 + np.exp(0.5 * margin))
    np.testing.assert_allclose(field.chosen_velocity, p * (v - (p - q) * v), rtol=1e-10)
    np.testing.assert_allclose(field.rejected_velocity, q * (-v - (p - q) * v), rtol=1e-10)


def test_paths_follow_the_field_and_rest_where_slopes_do():
    reference = portraits.starts()["both_on_policy"]
    dpo = portraits.phase_paths(losses.DPO(), reference)
    assert dpo.moves.all()
    assert (dpo.chosen.diff("step") > -1e-12).all()  # log pi+ never falls
    assert (dpo.chosen.isel(step=-1) > 0.99).all()
    hinge = portraits.phase_paths(losses.Hinge(beta=0.5), reference)
    assert not hinge.moves.any()


def test_margin_losses_conserve_the_ratio_of_unseen_to_geometric_mean():
    """Under a margin loss z+ + z- stands still: pi+ pi- / pi_rest^2 is conserved along a path."""
    paths = portraits.phase_paths(losses.IPO(), portraits.starts()["both_on_policy"])
    rest = 1 - paths.chosen - paths.rejected
    conserved = (np.log(paths.chosen) + np.log(paths.rejected) - 2 * np.log(rest)).isel(
        step=slice(0, 100)
    )
    np.testing.assert_allclose(conserved, conserved.isel(step=[0] * 100), atol=1e-9)


# Checking one's own loss ------------------------------------------------------------------------


@losses.struct
class Broken(losses.PreferenceLoss):
    """A squared margin whose rejected slope has the wrong sign."""

    scale: float = losses.number(default=1.0, above=0, doc="size")

    def value(self, pairs):
        return self.scale * (pairs.margin - 1) ** 2

    def slopes(self, pairs):
        slope = 2 * self.scale * (pairs.margin - 1)
        return slope, slope


@losses.struct
class Static(Broken):
    """A right loss that declares its number as structure."""

    scale: float = losses.static(default=1.0, doc="size")

    def slopes(self, pairs):
        slope = 2 * self.scale * (pairs.margin - 1)
        return slope, -slope


@losses.struct
class Explosive(losses.PreferenceLoss):
    """Overflows at unlikely responses."""

    beta: float = losses.number(default=1.0, above=0, doc="strength")

    def value(self, pairs):
        return jnp.exp(-self.beta * pairs.margin)

    def slopes(self, pairs):
        slope = -self.beta * jnp.exp(-self.beta * pairs.margin)
        return slope, -slope


def failures(loss):
    return [f.what for f in losses.check(loss, cases=10).findings if not f.passed]


def test_check_finds_a_wrong_slope():
    report = losses.check(Broken(), cases=10)
    assert not report
    assert "FAIL slopes = reverse-mode derivative: slope of the rejected is" in str(report)
    assert len(failures(Broken())) == 3


def test_check_finds_overflow():
    assert "finite down to log-probabilities of -1e4" in failures(Explosive())


def test_check_passes_every_loss_here():
    for name in ("dpo", "kto", "beta_dpo", "orpo", "f_dpo"):
        assert losses.check(losses.get(name), cases=5), name
