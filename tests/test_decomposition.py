"""Parts of a step add up to it, and each is what its name says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import toymodel as tm
from toymodel import InputError

NETWORK = tm.MLP(hidden=(8,), fit_steps=200)
RUNS = {
    "sgd": ("sgd", 0.5, {}),
    "momentum": ("sgd", 0.1, {"momentum": 0.9}),
    "adam": ("adam", 1e-2, {}),
    "adam without memory of gradients": ("adam", 1e-2, {"b1": 0.0}),
    "lion": ("lion", 1e-3, {}),
}


HALVINGS = 0.5 ** np.arange(2, 6)


@functools.cache
def trained(name, batch_size=None, policy=NETWORK):
    optimiser, rate, options = RUNS[name]
    method = tm.optimisers.get(optimiser, rate, **options)
    return tm.simulate(
        "both_on_policy", policy, "dpo", method, steps=40, seed=[0, 3], batch_size=batch_size
    )


@pytest.mark.parametrize(
    ("name", "batch_size"), [*((name, None) for name in RUNS), ("sgd", 2), ("adam", 2)]
)
def test_parts_add_up_to_the_change(name, batch_size):
    run = trained(name, batch_size)
    parts = run.decompose(at=[0, 1, 7, 39])
    curve = np.asarray(run.log_probs)
    at = parts["step"].values
    np.testing.assert_allclose(parts["change"], curve[:, at + 1] - curve[:, at], atol=1e-12)
    total = (parts["chosen"] + parts["rejected"]).sum("pair") + sum(
        parts[name] for name in ("preconditioning", "memory", "residual")
    )
    np.testing.assert_allclose(total, parts["change"], atol=1e-12)
    assert (abs(parts["residual"]) <= parts["bound"] + 1e-14).all()
    assert (parts["bound"] < 0.2).all(), "a bound that says something"


def test_what_each_optimiser_adds():
    found = {name: trained(name).decompose(at=[0, 5, 20]) for name in RUNS}

    def size(name, part):
        return float(abs(found[name][part]).max() / abs(found[name]["change"]).max())

    assert size("sgd", "preconditioning") < 1e-12
    assert size("sgd", "memory") < 1e-12
    assert size("momentum", "preconditioning") < 1e-12
    assert size("momentum", "memory") > 0.1
    assert size("adam without memory of gradients", "memory") < 1e-12
    assert size("adam without memory of gradients", "preconditioning") > 0.1
    assert size("adam", "memory") > 0.1
    assert size("lion", "preconditioning") < 1e-12  # all beyond the plain step counts as memory


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_residual_is_of_second_order(name):
    """Steps of half the size leave a quarter of the residual."""
    optimiser, rate, _ = RUNS[name]
    sizes = []
    for factor in HALVINGS:
        run = tm.simulate(
            "both_on_policy", tm.MLP(hidden=(8,), activation="tanh", fit_steps=200), "dpo",
            optimiser, learning_rate=rate * factor, steps=1, seed=0,
        )  # fmt: skip
        sizes.append(float(abs(run.decompose(at=[0])["residual"]).max()))
    slope = np.polyfit(np.log(HALVINGS), np.log(sizes), 1)[0]
    assert slope == pytest.approx(2, abs=0.1)


def test_gradient_flow_has_no_other_parts():
    """The pushes alone are the flow's velocity, to 1e-8 of it."""
    world, policy, loss = tm.scenarios.both_on_policy(), NETWORK, tm.losses.DPO(0.3)
    params, _ = policy.fit(world.log_table, jax.random.key(1))
    reference = policy.log_probs(params)
    slope = tm.gradients.parameters(loss, policy, params, reference, world.pairs)
    step = 1e-5

    def at(multiple):
        moved = jax.tree.map(lambda p, g: p - multiple * step * g, params, slope)
        return policy.log_probs(moved)

    speed = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)
    chosen, rejected = tm.kernels.pushes(loss, policy, params, reference, world.pairs)
    residual = jnp.abs(speed - (chosen + rejected).sum(-1)).max()
    assert residual < 1e-8 * jnp.abs(speed).max()


def test_bad_requests_are_refused():
    run = trained("sgd", policy=tm.Tabular())
    for at in (0, -1, [40], [-1], [3, 3], []):
        with pytest.raises(InputError, match=r"^at: got"):
            run.decompose(at=at)
    custom = tm.simulate("both_on_policy", "tabular", "dpo", optax.sgd(0.1), steps=3)
    with pytest.raises(InputError, match=r"^optimiser: got 'custom optax object'"):
        custom.decompose()
