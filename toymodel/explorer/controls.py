"""The explorer's controls: a slider with an exact number beside it, menus, and forms of them."""

import bisect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ipywidgets as widgets

from toymodel.explorer.fields import Field
from toymodel.explorer.words import heading

_LABEL = {"description_width": "96px"}
_WHOLE = widgets.Layout(width="302px")

Changed = Callable[[], None]


class Control:
    """One thing to set: `box` is shown, `value` is read, `put` sets it without telling anybody.

    Args:
        box: the widget.
        changed: called when the user has changed the value.
    """

    def __init__(self, box: widgets.Widget, changed: Changed) -> None:
        self.box, self._changed, self._is_quiet = box, changed, False

    @property
    def value(self) -> Any:
        """What is set."""
        return self.box.value

    def put(self, value: Any) -> None:
        """Set it, and call nobody."""
        self._is_quiet = True
        try:
            self._show(value)
        finally:
            self._is_quiet = False

    def _show(self, value: Any) -> None:
        self.box.value = value

    def _tell(self, _: Any = None) -> None:
        if not self._is_quiet:
            self._changed()


class Simple(Control):
    """A widget that holds the value itself."""

    def __init__(self, box: widgets.Widget, changed: Changed) -> None:
        super().__init__(box, changed)
        box.observe(self._tell, "value")


class Menu(Simple):
    """A menu; a value that it does not hold is added when put.

    Args:
        title: its label.
        choices: labels and values.
        changed: called when the user has chosen.
        doc: what it is, shown on hover.
    """

    def __init__(
        self, title: str, choices: Iterable[tuple[str, Any]], changed: Changed, doc: str = ""
    ) -> None:
        options = list(choices)
        box = widgets.Dropdown(
            options=options, description=title, tooltip=doc, style=_LABEL, layout=_WHOLE
        )
        super().__init__(box, changed)

    def _show(self, value: Any) -> None:
        if value not in [held for _, held in self.box.options]:
            self.box.options = (*self.box.options, (str(value), value))
        self.box.value = value


class Number(Control):
    """A slider over round numbers, and the exact number beside it, which can be typed.

    Args:
        title: its label.
        stops: where the slider may stand, increasing.
        value: at first.
        changed: called when the user has changed it.
        doc: what it is, shown on hover.
        whole: whether it is a whole number.
    """

    def __init__(
        self,
        title: str,
        stops: Iterable[float],
        value: float,
        changed: Changed,
        doc: str = "",
        *,
        whole: bool = False,
    ) -> None:
        self.stops = list(stops)
        self.slider = widgets.IntSlider(
            min=0, max=len(self.stops) - 1, description=title, readout=False, tooltip=doc,
            style=_LABEL, layout=widgets.Layout(width="226px"),
        )  # fmt: skip
        make = widgets.IntText if whole else widgets.FloatText
        # The label is for screen readers alone: the eye has the slider's.
        self.text = make(description=f"{title}, exactly", layout=widgets.Layout(width="74px"))
        self.text.add_class("tm-exact")
        super().__init__(widgets.HBox([self.slider, self.text], layout=_WHOLE), changed)
        self.put(value)
        self.slider.observe(self._slid, "value")
        self.text.observe(self._typed, "value")

    @property
    def value(self) -> Any:
        return self.text.value

    def _show(self, value: Any) -> None:
        self.text.value = value
        self.slider.value = self._nearest(value)

    def _nearest(self, value: float) -> int:
        """The stop at or below a value."""
        return max(0, bisect.bisect_right(self.stops, value * (1 + 1e-9)) - 1)

    def _slid(self, change: Any) -> None:
        if not self._is_quiet:
            self.put(self.stops[change["new"]])
            self._changed()

    def _typed(self, change: Any) -> None:
        if not self._is_quiet:
            self.put(change["new"])
            self._changed()


def control(field: Field, changed: Changed) -> Control:
    """The control that a field needs.

    Args:
        field: what to set.
        changed: called when the user has changed it.
    """
    if field.stops:
        return Number(field.title, field.stops, field.default, changed, field.doc)
    if field.choices:
        menu = Menu(field.title, field.choices, changed, field.doc)
        menu.put(field.default)
        return menu
    if field.least is not None:
        box = widgets.BoundedIntText(
            value=field.default, min=field.least, max=100_000, description=field.title,
            tooltip=field.doc, style=_LABEL, layout=_WHOLE,
        )  # fmt: skip
        return Simple(box, changed)
    box = widgets.Checkbox(
        value=field.default, description=field.title, tooltip=field.doc, indent=True,
        style=_LABEL, layout=_WHOLE,
    )  # fmt: skip
    return Simple(box, changed)


class Form:
    """Controls for some fields.

    Args:
        fields: what to set.
        changed: called when the user has changed one.
        aside: names of fields that stand in a fold, closed at first.
    """

    def __init__(
        self, fields: Iterable[Field], changed: Changed, aside: Iterable[str] = ()
    ) -> None:
        self.controls = {field.name: control(field, changed) for field in fields}
        hidden = {name: self.controls[name] for name in aside if name in self.controls}
        shown = [made.box for name, made in self.controls.items() if name not in hidden]
        if hidden:
            inside = widgets.VBox([made.box for made in hidden.values()])
            shown.append(widgets.Accordion([inside], titles=("more",), layout=_WHOLE))
        self.box = widgets.VBox(shown)

    def values(self) -> dict[str, Any]:
        """What is set, by name."""
        return {name: made.value for name, made in self.controls.items()}

    def put(self, values: Mapping[str, Any]) -> None:
        """Set some of them, and call nobody."""
        for name, made in self.controls.items():
            if name in values:
                made.put(values[name])


def group(title: str, *boxes: widgets.Widget) -> widgets.VBox:
    """Controls under a heading."""
    return widgets.VBox([widgets.HTML(heading(title)), *boxes])
