"""The explorer's choosers: a menu of policies, losses or optimisers with the form of the chosen."""

import dataclasses
from typing import Any

import ipywidgets as widgets

from toymodel import losses, policies
from toymodel._errors import refuse
from toymodel._registry import Registry
from toymodel.explorer import fields, scales, words
from toymodel.explorer.controls import Changed, Form, Menu, Number, Simple
from toymodel.explorer.settings import named
from toymodel.optimisers import Optimiser

_ASIDE = ("initialisation", "scale", "trained", "fit_learning_rate", "fit_steps")
#: Where an optimiser's learning rate begins; gradient descent needs a thousand times as much.
_RATES = {"sgd": 0.3}
_RATE = 3e-4


class Chooser:
    """A menu of registered parts, with the settings of the chosen one below it.

    Args:
        kind: what it is, for its label and errors.
        registry: where the parts are.
        names: which of them.
        changed: called when the user has changed anything.
    """

    def __init__(
        self, kind: str, registry: Registry[Any], names: list[str], changed: Changed
    ) -> None:
        self._kind, self._registry, self._names, self._changed = kind, registry, names, changed
        self.menu = Menu(kind, [(name.replace("_", " "), name) for name in names], self._chosen)
        self.form = Form((), changed)
        self.note = widgets.HTML()
        self.box = widgets.VBox([])
        self._open()

    @property
    def value(self) -> Any:
        """The part, made of what is set."""
        return self._registry.get(self.menu.value, **self.form.values())

    def put(self, part: Any) -> None:
        """Show a part, and call nobody.

        Raises:
            InputError: a part that the menu does not hold.
        """
        name = self._registry.name_of(part)
        if name not in self._names:
            expected = f"one of {', '.join(self._names)}"
            raise refuse(self._kind, type(part).__name__, expected)
        self.menu.put(name)
        self._open()
        self.form.put({field.name: getattr(part, field.name) for field in dataclasses.fields(part)})

    def _chosen(self) -> None:
        self._open()
        self._changed()

    def _open(self) -> None:
        """The form of the part that is chosen, at its defaults."""
        kind = self._registry[self.menu.value]
        self.form = Form(fields.of(kind), self._changed, aside=_ASIDE)
        self.note.value = (
            words.formula(formula) if (formula := getattr(kind, "formula", "")) else ""
        )
        self.box.children = [
            self.menu.box,
            *([self.note] if self.note.value else []),
            self.form.box,
        ]


def policy_chooser(changed: Changed) -> Chooser:
    """The menu of policies."""
    return Chooser("policy", policies.REGISTRY, fields.policy_names(), changed)


def loss_chooser(changed: Changed) -> Chooser:
    """The menu of losses."""
    return Chooser("loss", losses.REGISTRY, fields.loss_names(), changed)


class OptimiserChooser:
    """The menu of optimisers, the learning rate, and its further numbers where they are wanted.

    Args:
        changed: called when the user has changed anything.
    """

    def __init__(self, changed: Changed) -> None:
        self._changed = changed
        names = fields.optimiser_names()
        self.menu = Menu(
            "optimiser", [(name.replace("_", " "), name) for name in names], self._chosen
        )
        self.rate = Number("learning rate", scales.RATES, _RATE, changed, "the size of a step")
        box = widgets.Checkbox(
            description="set its other numbers",
            style={"description_width": "96px"},
            layout=widgets.Layout(width="302px"),
        )
        self.more = Simple(box, self._opened)
        self.form = Form((), changed)
        self.box = widgets.VBox([])
        self._open()

    @property
    def value(self) -> Optimiser:
        """The optimiser, made of what is set."""
        return named(self.menu.value, self.rate.value, **self.form.values())

    def put(self, optimiser: Optimiser) -> None:
        """Show an optimiser, and call nobody.

        Raises:
            InputError: an option without a control.
        """
        known = {field.name: field.default for field in fields.of_optimiser(optimiser.name)}
        options = {**optimiser.options, **dict(optimiser.flags)}
        for option in options:
            if option not in known:
                raise refuse("optimiser", option, f"options among {', '.join(known)}")
        self.menu.put(optimiser.name)
        self.rate.put(float(optimiser.learning_rate))
        self.more.put(bool(options))
        self._open()
        self.form.put({**known, **options})

    def _chosen(self) -> None:
        self.rate.put(_RATES.get(self.menu.value, _RATE))
        self._opened()

    def _opened(self) -> None:
        self._open()
        self._changed()

    def _open(self) -> None:
        wanted = fields.of_optimiser(self.menu.value) if self.more.value else ()
        self.form = Form(wanted, self._changed)
        self.box.children = [self.menu.box, self.rate.box, self.more.box, self.form.box]
