"""The explorer without a browser: its settings, presets, code, pictures and controls."""

import asyncio
import dataclasses
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import toymodel as tm
from toymodel.explorer import fields, presets, scales, words, worlds
from toymodel.explorer.app import Explorer, Soon
from toymodel.explorer.controls import Number
from toymodel.explorer.maps import PolicyMap, SlopeMaps
from toymodel.explorer.pictures import Likelihoods, LogLikelihoods, Masses
from toymodel.explorer.settings import Settings, loss_code, named, policy_code
from toymodel.explorer.view import View
from toymodel.losses import PairBatch
from toymodel.properties import Thresholds
from toymodel.simulation import _record_steps

SMALL = tm.MLP(hidden=(16,))
PANELS = (Likelihoods, LogLikelihoods, PolicyMap, Masses, SlopeMaps)


@pytest.fixture(scope="module")
def explorer():
    """One of small networks, with every control of the optimiser shown."""
    adam = named("adam", 1e-3, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0)
    return Explorer(Settings(policy=SMALL, loss=tm.losses.FlexSFTDPO(), optimiser=adam, steps=200))


@pytest.fixture
def compilations():
    """A list that grows by one with every program that JAX compiles."""
    made = []

    def listen(event, duration, **_):
        if event.endswith("backend_compile_duration"):
            made.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield made
    jax.monitoring.unregister_event_duration_listener(listen)


def numbers_of(explorer):
    """Every slider of a number that is a leaf: not of structure."""
    optimiser = explorer.optimiser
    forms = (explorer.policy.form, explorer.loss.form, optimiser.form)
    found = {name: made for form in forms for name, made in form.controls.items()}
    found |= {"rate": optimiser.rate, "steps": explorer.steps, "seed": explorer.seed}
    return {name: made for name, made in found.items() if isinstance(made, Number)}


# What can be set


def test_every_loss_and_policy_has_its_place_in_a_menu():
    assert set(tm.losses.names()) - set(fields.loss_names()) == {"sum"}  # its parts are losses
    assert set(fields.policy_names()) == {"tabular", "mlp", "autoregressive", "prefix_tabular"}
    assert set(fields.optimiser_names()) == set(tm.optimisers.names())


@pytest.mark.parametrize("name", fields.loss_names())
def test_every_number_of_a_loss_has_a_slider_within_its_range(name):
    kind = tm.losses.REGISTRY[name]
    shown = {field.name: field for field in fields.of(kind)}
    for field in dataclasses.fields(kind):
        if isinstance(field.default, float):
            stops = shown[field.name].stops
            assert len(stops) > 10
            assert min(stops) <= field.default <= max(stops)
            for stop in (stops[0], stops[-1]):
                tm.losses.get(name, **{field.name: stop})  # refused if out of range


LIMIT = st.one_of(st.none(), st.floats(0.01, 100))


@given(st.floats(0, 10), st.sampled_from(["above", "at_least"]), LIMIT)
def test_stops_are_in_order_and_within_their_bounds(default, lower, high):
    bounds = {"above": None, "at_least": None, "at_most": high, "below": None, lower: 0.0}
    stops = scales.stops(default, bounds)
    assert stops == tuple(sorted(set(stops)))
    assert stops[0] >= 0
    assert (stops[0] == 0) == (lower == "at_least")
    assert high is None or stops[-1] <= high


@given(st.floats(1e-12, 1e12))
def test_an_axis_ends_beyond_its_data_and_not_far(size):
    assert size * (1 - 1e-6) <= scales.ceiling(size) <= 1.6 * size


def test_steps_of_the_slider_have_as_many_records_each():
    """Another number of records would compile anew."""
    assert {len(_record_steps(None, steps)) for steps in scales.STEPS} == {201}


# Code


@pytest.mark.parametrize("name", fields.loss_names())
def test_code_of_a_loss_makes_it(name):
    loss = tm.losses.get(name)
    assert eval(loss_code(loss), {"tm": tm}) == loss


@pytest.mark.parametrize(
    "policy", [tm.Tabular(), tm.Autoregressive(width=3), tm.MLP(hidden=(3, 2), activation="tanh")]
)
def test_code_of_a_policy_makes_it(policy):
    assert eval(policy_code(policy), {"tm": tm}) == policy


def run_of_code(settings):
    space = {}
    exec(settings.code(), space)
    return space["run"]


def own_world():
    table = np.random.default_rng(0).dirichlet(np.ones(5), size=3)
    pairs = [(0, 1, 2), (1, 0, 3, 0.5), (2, 4, 1)]
    return tm.scenarios.build(table, pairs, name="mine", rewards=np.log(table))


QUICK = {
    "as it begins": Settings(steps=20),
    "own world": Settings(worlds.get(own_world()), SMALL, steps=20),
    "options": Settings(policy=SMALL, optimiser=named("sgd", 0.3, momentum=0.9), steps=20),
    "loss in a loss": Settings(policy=SMALL, loss=tm.losses.WPO(), steps=20),
    "tokens": Settings(worlds.get("tokens, a prefix shared"), tm.PrefixTabular(), steps=20),
}


@pytest.mark.parametrize("settings", QUICK.values(), ids=QUICK)
def test_code_makes_the_same_run(settings):
    ours, theirs = settings.run(), run_of_code(settings)
    np.testing.assert_array_equal(ours.log_probs, theirs.log_probs)
    np.testing.assert_array_equal(ours.steps, theirs.steps)


@pytest.mark.slow
@pytest.mark.parametrize("preset", presets.ALL.values(), ids=presets.ALL)
def test_a_preset_shows_its_finding_and_its_code_makes_it(preset, float32):
    world = worlds.get(preset.settings.world.name)  # in this test's precision
    run = dataclasses.replace(preset.settings, world=world).run()
    np.testing.assert_array_equal(run.log_probs, run_of_code(preset.settings).log_probs)
    found, limits = run.properties(), Thresholds()
    sizes = {
        "drop": float(found["drop"].mean()) > limits.drop,
        "degradation": float(found["drawdown"].mean()) > limits.degradation,
        "dispersion": float(found["dispersion"].mean()) > limits.dispersion,
    }
    assert {name: sizes[name] for name in preset.shows} == dict(preset.shows)
    assert words.troubles(View.of(run)) == ""


def test_pages_of_presets_exist():
    root = Path(__file__).parent.parent
    assert [item.page for item in presets.ALL.values() if not (root / item.page).is_file()] == []


# What is drawn


def test_a_view_holds_what_the_run_holds(explorer):
    run, view = explorer.run, View.of(explorer.run)
    np.testing.assert_allclose(view.mass.sum(axis=1), 1)
    np.testing.assert_allclose(view.table, np.exp(np.asarray(run.log_probs)))
    plane = view.plane
    assert plane.r[0] < plane.path_r.min() <= plane.path_r.max() < plane.r[-1]
    assert plane.c[0] < plane.path_c.min() <= plane.path_c.max() < plane.c[-1]


def test_slopes_of_the_map_are_those_of_the_loss(explorer):
    view = View.of(explorer.run)
    start = [float(view.pairs[half][0].mean()) for half in ("chosen", "rejected")]
    at_c, at_r = 3, 20
    pair = (start[0] + view.plane.c[at_c], start[1] + view.plane.r[at_r], *start)
    chosen, rejected = explorer.run.loss.slopes(PairBatch(*(jnp.asarray([n]) for n in pair)))
    np.testing.assert_allclose(view.plane.chosen[at_c, at_r], chosen[0])
    np.testing.assert_allclose(view.plane.rejected[at_c, at_r], rejected[0])


def test_long_tables_show_pairs_and_the_likeliest():
    settings = QUICK["tokens"]
    view = View.of(settings.run())
    pairs = settings.world.scenario.pairs
    assert len(view.shown) == 16
    assert set(np.asarray(pairs.chosen)) | set(np.asarray(pairs.rejected)) <= set(view.shown)


@pytest.mark.parametrize("panel", PANELS)
def test_a_picture_moved_is_the_picture_drawn_afresh(panel, explorer):
    """Kept layers must not show: after other runs and steps, as a new panel draws it."""
    settings = dataclasses.replace(explorer.settings, policy=tm.Tabular(), steps=400)
    first, second = View.of(explorer.run), View.of(settings.run())
    moved = panel()
    seen = [moved.draw(first, 3), moved.mark(first, 9), moved.draw(second, 9)]
    assert len(set(seen)) == 3
    assert moved.mark(second, 5) == panel().draw(second, 5)
    assert "step" in moved.words(second, 5)


def test_a_picture_is_drawn_where_nothing_is_finite():
    settings = Settings(policy=tm.Tabular(), optimiser=named("sgd", 0.3), steps=20)
    run = settings.run()
    broken = dataclasses.replace(run, log_probs=run.log_probs.at[5:].set(jnp.nan))
    view = View.of(broken)
    assert view.lost_at == 5
    assert "not finite from step 5 on" in words.troubles(view)
    for panel in PANELS:
        assert panel().draw(view, 20).startswith(b"\x89PNG")
    assert "–" in words.cards(view)


# What happens


def test_no_slider_of_a_number_recompiles(explorer, compilations):
    numbers = numbers_of(explorer)
    assert set(numbers) >= {"beta_chosen", "gamma", "rate", "b2", "scale", "steps", "seed"}
    shown = explorer.images["likelihoods"].value
    for made in numbers.values():
        for move in (1, -2):
            made.slider.value = min(max(made.slider.value + move, 0), made.slider.max)
    assert explorer.images["likelihoods"].value != shown
    assert "drawn in" in explorer.message.value
    assert compilations == []


@pytest.mark.slow
@pytest.mark.parametrize("name", fields.loss_names())
def test_no_number_of_any_loss_recompiles(name, explorer, compilations):
    explorer.loss.menu.box.value = name
    compilations.clear()
    for made in explorer.loss.form.controls.values():
        if isinstance(made, Number):
            made.slider.value += 1 if made.slider.value < made.slider.max else -1
    assert compilations == []


def test_settings_that_do_not_fit_are_told_in_a_sentence(explorer):
    shown = explorer.images["policy"].value
    explorer.policy.menu.box.value = "autoregressive"
    assert "expected" in explorer.message.value
    assert "To mend it" in explorer.message.value
    assert "Traceback" not in explorer.message.value
    assert explorer.images["policy"].value == shown
    explorer.policy.menu.box.value = "tabular"
    assert "drawn in" in explorer.message.value


def test_an_error_of_a_loss_of_ones_own_is_told(explorer, monkeypatch):
    def broken(self):
        raise ZeroDivisionError("by my loss")

    with monkeypatch.context() as patched:
        patched.setattr(type(explorer.settings), "run", broken)
        explorer.seed.slider.value += 1
        assert "ZeroDivisionError: by my loss" in explorer.message.value
        assert "tm-stale" in explorer._pictures._dom_classes
    explorer.seed.slider.value -= 1
    assert "drawn in" in explorer.message.value


def test_the_cards_say_what_the_first_picture_shows(explorer):
    view = explorer._view
    curve = view.likelihoods["chosen_mean"].values
    said = f"the chosen peaks at {curve.max():.2f} and ends at {curve[-1]:.2f}"
    assert said in words.cards(view)


def test_a_number_out_of_range_is_told_and_can_be_mended(explorer):
    beta = next(iter(explorer.loss.form.controls.values()))
    old = beta.value
    beta.text.value = -1.0
    assert "expected a finite number" in explorer.message.value
    beta.text.value = old
    assert "drawn in" in explorer.message.value


@pytest.mark.parametrize("preset", presets.ALL.values(), ids=presets.ALL)
def test_a_preset_sets_every_control(preset, explorer):
    before = explorer.chosen()
    explorer.show(preset.settings)
    assert explorer.chosen().code() == preset.settings.code()
    explorer.show(before)
    assert explorer.chosen().code() == before.code()


def test_a_finding_is_known_by_its_settings():
    explorer = tm.explore(policy="tabular", learning_rate=0.03)
    assert explorer.finding.value == "Tabular: no degradation"
    explorer.seed.slider.value = 3
    assert explorer.finding.value == ""
    explorer.seed.text.value = 0
    assert explorer.finding.value == "Tabular: no degradation"
    assert "rejected falls all the same" in explorer.look.value


def test_steps_shown_move_without_a_run(explorer):
    run, shown = explorer.run, explorer.images["masses"].value
    explorer.step.value = 7
    assert explorer.images["masses"].value != shown
    assert explorer.run is run
    assert f"step {run.steps[7]}:" in explorer.images["masses"].tooltip


def test_many_changes_are_one_run():
    async def change(count):
        calls = []
        soon = Soon(lambda: calls.append(1))
        for _ in range(count):
            soon()
        assert calls == []
        await asyncio.sleep(0.1)
        return len(calls)

    assert asyncio.run(change(20)) == 1


def test_an_optax_object_is_refused():
    import optax

    with pytest.raises(tm.InputError, match="expected one by name"):
        tm.explore(optimiser=optax.sgd(0.1), learning_rate=None, policy="tabular")


def test_a_policy_that_no_menu_holds_is_refused():
    policy = tm.LogLinear(features=np.zeros((4, 10, 2)))
    with pytest.raises(tm.InputError, match="expected one of autoregressive"):
        tm.explore(policy=policy, steps=20)


def test_without_ipywidgets_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(tm.InputError, match=r'pip install "toymodel\[notebook\]"'):
        tm.explore()


def test_importing_toymodel_loads_no_widgets():
    script = "import sys, toymodel as tm; assert callable(tm.explore); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.returncode == 0
    assert not {"ipywidgets", "IPython"} & set(found.stdout.split())
