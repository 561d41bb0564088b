"""What of a dataclass can be set by hand: its numbers, switches, words and inner losses."""

import dataclasses
import re
from typing import Any

from toymodel import losses, optimisers, policies
from toymodel.explorer import scales
from toymodel.losses import PreferenceLoss

#: Widths of hidden layers in the menu.
_SHAPES = ((8,), (16,), (32,), (64,), (100,), (128,), (256,), (32, 32), (64, 64), (100, 100))


@dataclasses.dataclass(frozen=True)
class Field:
    """One thing to set.

    Args:
        name: of the dataclass's field, or of the optimiser's option.
        doc: what it is, in a line.
        default: its value where nobody sets it.
        stops: where its slider may stand; empty for what is no real number.
        choices: labels and values of its menu; empty for what is no menu.
        least: the smallest whole number; None for what is none.
    """

    name: str
    doc: str
    default: Any
    stops: tuple[float, ...] = ()
    choices: tuple[tuple[str, Any], ...] = ()
    least: int | None = None

    @property
    def title(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ")


def of(kind: type) -> tuple[Field, ...]:
    """What can be set of a registered loss or policy; other fields keep their defaults.

    Args:
        kind: the dataclass.

    Example:
        >>> [field.name for field in of(losses.FlexDPO)]
        ['beta_chosen', 'beta_rejected']
        >>> of(policies.MLP)[1].choices[:2]
        (('relu', 'relu'), ('tanh', 'tanh'))
    """
    found = [_field(field) for field in _declared(kind)]
    return tuple(field for field in found if field is not None)


def _declared(kind: Any) -> tuple[dataclasses.Field, ...]:
    """Its fields: what is registered is a dataclass."""
    return dataclasses.fields(kind)


def _field(field: dataclasses.Field) -> Field | None:
    default, doc = field.default, str(field.metadata.get("doc", ""))
    given = (field.name, doc, default)
    if isinstance(default, bool):
        return Field(*given)
    if isinstance(default, int) and field.metadata.get("static"):
        return Field(*given, least=1)
    if isinstance(default, int | float):
        return Field(
            field.name,
            doc,
            float(default),
            stops=scales.stops(float(default), field.metadata["bounds"]),
        )
    if (names := field.metadata.get("choices")) is not None:
        return Field(*given, choices=tuple((name, name) for name in names))
    if isinstance(default, PreferenceLoss):
        return Field(*given, choices=tuple((name, losses.get(name)) for name in _simple_losses()))
    if field.name == "hidden":
        return Field(*given, choices=tuple((shape_title(shape), shape) for shape in _SHAPES))
    return None


def shape_title(shape: tuple[int, ...]) -> str:
    """Widths of hidden layers in words.

    Example:
        >>> shape_title((100, 100))
        '100 and 100'
    """
    return " and ".join(map(str, shape)) or "none"


def _simple_losses() -> list[str]:
    """Losses that another can hold: those that hold none themselves."""
    return [
        name
        for name in losses.names()
        if not any(
            isinstance(field.default, PreferenceLoss | tuple)
            for field in _declared(losses.REGISTRY[name])
        )
    ]


def loss_names() -> list[str]:
    """Losses of the menu: all that are registered and whose settings can be shown."""
    kinds = {name: losses.REGISTRY[name] for name in losses.names()}
    return [name for name, kind in kinds.items() if of(kind) or not _declared(kind)]


def policy_names() -> list[str]:
    """Policies of the menu: all that are registered and need nothing to be made."""
    kinds = {name: policies.REGISTRY[name] for name in policies.REGISTRY}
    missing = dataclasses.MISSING
    return [
        name
        for name, kind in kinds.items()
        if all(field.default is not missing for field in _declared(kind))
    ]


def optimiser_names() -> list[str]:
    """Optimisers of the menu: the two best known first."""
    first = ["adam", "sgd"]
    return first + [name for name in optimisers.names() if name not in first]


def of_optimiser(name: str) -> tuple[Field, ...]:
    """Numbers of an optimiser besides its learning rate; a momentum that is off counts as zero.

    Args:
        name: as `toymodel.optimisers.names` has it.

    Example:
        >>> [(field.name, field.default) for field in of_optimiser("sgd")]
        [('momentum', 0.0)]
    """
    found = []
    for option, default in optimisers.defaults(name).items():
        value = 0.0 if option == "momentum" and default is None else default
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        is_memory = option == "momentum" or re.fullmatch(r"b\d|.*decay|.*_rate|rho", option)
        stops = scales.MEMORY if is_memory else (0.0, *scales.by_ratio(1e-12, 10))
        if option == "weight_decay":
            stops = (0.0, *scales.by_ratio(1e-6, 1))
        found.append(Field(option, f"{option} of optax", float(value), stops=stops))
    return tuple(found)
