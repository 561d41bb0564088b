"""The explorer itself: controls beside live pictures, wired so that a change shows at once."""

import asyncio
import time
from collections.abc import Callable, Hashable

import ipywidgets as widgets
import traitlets

from toymodel._errors import InputError
from toymodel.explorer import presets, scales, words, worlds
from toymodel.explorer.choosers import OptimiserChooser, loss_chooser, policy_chooser
from toymodel.explorer.controls import Menu, Number, group
from toymodel.explorer.maps import PolicyMap, SlopeMaps
from toymodel.explorer.panels import Panel
from toymodel.explorer.pictures import Likelihoods, LogLikelihoods, Masses
from toymodel.explorer.settings import Settings
from toymodel.explorer.view import View
from toymodel.explorer.worlds import World

_WAIT = 0.02  # seconds without a further change before a run begins


class Soon:
    """Call something once, soon after the last of many requests; at once where no loop runs.

    Args:
        action: what to call.
    """

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._waiting: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        """Ask for it."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._action()
            return
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = loop.call_later(_WAIT, self._action)


class Picture(widgets.Image):
    """A PNG with its numbers in words: what a screen reader says of it, and a pointer shows.

    The page puts `tooltip` on the image only where the model has a description, and an empty one;
    the library's own image has none at all.
    """

    description = traitlets.Unicode("", read_only=True).tag(sync=True)


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


class Explorer(widgets.VBox):
    """Controls beside live pictures of one run; a notebook shows it.

    Args:
        settings: what to begin with.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.run = settings, settings.run()
        self._view = View.of(self.run)
        self._compiled: set[Hashable] = {settings.structure}
        self._worlds: dict[str, World] = {}
        self._refresh, self._move = Soon(self.refresh), Soon(self._mark)
        self._make_controls()
        self._make_pictures()
        self.show(settings)
        self._name(settings)
        self._draw()
        columns = widgets.HBox([self._controls, self._main])
        super().__init__([widgets.HTML(words.STYLE), columns])
        self.add_class("tm-explorer")

    def _make_controls(self) -> None:
        findings = [("settings of your own", ""), *((name, name) for name in presets.ALL)]
        self.finding = Menu("show me", findings, self._preset_chosen)
        self.look = widgets.HTML()
        names = [(name.replace("_", " "), name) for name in worlds.names()]
        self.world = Menu("scenario", names, self._refresh)
        self.policy, self.loss = policy_chooser(self._refresh), loss_chooser(self._refresh)
        self.optimiser = OptimiserChooser(self._refresh)
        self.steps = Number("steps", scales.STEPS, 2000, self._refresh, "updates", whole=True)
        self.seed = Number("seed", range(32), 0, self._refresh, "of the network", whole=True)
        self.code_box = widgets.HTML()
        self._controls = widgets.VBox(
            [
                group("A finding", self.finding.box, self.look),
                group("World and policy", self.world.box, self.policy.box),
                group("Objective", self.loss.box),
                group("Training", self.optimiser.box, self.steps.box, self.seed.box),
                group("This run", self.code_box),
            ]
        ).add_class("tm-controls")

    def _make_pictures(self) -> None:
        self.panels: dict[str, Panel] = {
            "likelihoods": Likelihoods(),
            "log_likelihoods": LogLikelihoods(),
            "policy": PolicyMap(),
            "masses": Masses(),
            "slopes": SlopeMaps(),
        }
        self.images = {name: Picture(format="png") for name in self.panels}
        self.images["slopes"].add_class("tm-wide")
        self.cards, self.message = widgets.HTML(), widgets.HTML()
        last = len(self.run.steps) - 1
        self.step = widgets.IntSlider(
            value=last, max=last, description="step shown", readout=False,
            style={"description_width": "80px"}, layout=widgets.Layout(flex="1 1 0"),
        )  # fmt: skip
        self.step_number = widgets.Label(
            layout=widgets.Layout(width="118px", margin="2px 2px 2px 10px")
        )
        self._play = widgets.Play(value=last, max=last, interval=120, show_repeat=False)
        widgets.jslink((self._play, "value"), (self.step, "value"))
        self.step.observe(lambda _: self._move(), "value")
        self._pictures = widgets.Box([*self.images.values()]).add_class("tm-pictures")
        self._main = widgets.VBox(
            [
                self.cards,
                self.message,
                widgets.HBox([self._play, self.step, self.step_number]),
                self._pictures,
            ]
        ).add_class("tm-main")

    @property
    def code(self) -> str:
        """Python that makes the run shown."""
        return self.settings.code()

    def show(self, settings: Settings) -> None:
        """Set all controls, without running anything.

        Args:
            settings: what to set them to.
        """
        self._worlds[settings.world.name] = settings.world
        self.world.put(settings.world.name)
        self.policy.put(settings.policy)
        self.loss.put(settings.loss)
        self.optimiser.put(settings.optimiser)
        self.steps.put(settings.steps)
        self.seed.put(settings.seed)

    def chosen(self) -> Settings:
        """What the controls say.

        Raises:
            InputError: a number out of its range.
        """
        name = self.world.value
        if name not in self._worlds:
            self._worlds[name] = worlds.get(name)
        return Settings(
            self._worlds[name],
            self.policy.value,
            self.loss.value,
            self.optimiser.value,
            self.steps.value,
            self.seed.value,
        )

    def _preset_chosen(self) -> None:
        if self.finding.value:
            self.show(presets.ALL[self.finding.value].settings)
            self._refresh()

    def refresh(self) -> None:
        """Run what the controls say and draw it; settings that do not fit are told in a line."""
        begun = time.perf_counter()
        try:
            settings = self.chosen()
            self._name(settings)
            if compiles := settings.structure not in self._compiled:
                self._say("Compiling this combination: a few seconds, once.")
            self.run = settings.run()
        except Exception as error:  # a loss of the user's own may fail in any way
            told = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            self._say(f"{told}{error}", bad=True)
            self._pictures.add_class("tm-stale")
            return
        self.settings, self._view = settings, View.of(self.run)
        self._compiled.add(settings.structure)
        self._pictures.remove_class("tm-stale")
        simulated = time.perf_counter()
        self._draw()
        if trouble := words.troubles(self._view):
            self._say(trouble, bad=True)
        else:
            run, drawing = simulated - begun, time.perf_counter() - simulated
            first = "Compiled, run" if compiles else "Run"
            self._say(f"{first} and read in {_time(run)}, drawn in {_time(drawing)}.")

    def _name(self, settings: Settings) -> None:
        """Say which finding these settings show, if one."""
        code = settings.code()
        found = [item for item in presets.ALL.values() if item.settings.code() == code]
        self.finding.put(found[0].name if found else "")
        self.look.value = words.look(found[0]) if found else ""

    def _say(self, text: str, *, bad: bool = False) -> None:
        self.message.value = words.message(text, bad=bad)

    def _draw(self) -> None:
        """All pictures of the present run."""
        self._keep_step()
        self.cards.value = f'<div class="tm-cards">{words.cards(self._view)}</div>'
        self.code_box.value = words.code_box(self.code)
        self._tell_step()
        for name, panel in self.panels.items():
            self.images[name].value = panel.draw(self._view, self.step.value)

    def _keep_step(self) -> None:
        """The step slider spans the run, and stays at its end where it was there."""
        last, was_last = len(self._view.run.steps) - 1, self.step.value == self.step.max
        if last != self.step.max:
            self.step.max = self._play.max = last
            if was_last:
                self.step.value = last

    def _mark(self) -> None:
        """Another step of the same run."""
        for name, panel in self.panels.items():
            self.images[name].value = panel.mark(self._view, self.step.value)
        self._tell_step()

    def _tell_step(self) -> None:
        at = self.step.value
        self.step_number.value = f"{self._view.run.steps[at]:,} of {self._view.run.steps[-1]:,}"
        for name, panel in self.panels.items():
            self.images[name].tooltip = panel.words(self._view, at)
