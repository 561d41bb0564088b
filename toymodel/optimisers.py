"""Optimisers by name, with their numbers as leaves so that a sweep never recompiles.

They are optax's own and those of `toymodel.preconditioners`, which change one thing of Adam.

`simulate` also takes any optax ``GradientTransformation``. Such an object hides its numbers inside
closures, so each new one compiles anew; an `Optimiser` does not.
"""

import inspect
from typing import Any

import jax
import numpy as np
import optax

from toymodel import preconditioners
from toymodel._errors import InputError, refuse, unknown
from toymodel._registry import plain
from toymodel._struct import number, static, struct
from toymodel._typing import Scalar

#: optax's optimisers that need nothing but the gradient and a learning rate.
_NAMES = (
    *("adabelief", "adadelta", "adagrad", "adam", "adamax", "adamaxw", "adamw", "adan", "amsgrad"),
    *("fromage", "lamb", "lars", "lion", "novograd", "optimistic_adam", "radam", "rmsprop"),
    *("rprop", "sgd", "sign_sgd", "signum", "sm3", "yogi"),
)
_FACTORIES: dict[str, Any] = {
    **{name: getattr(optax, name) for name in _NAMES if hasattr(optax, name)},
    **preconditioners.FACTORIES,
}


@struct
class Optimiser:
    """An optimiser, by name.

    Example:
        >>> sorted(get("adam", 4e-4, b2=0.9).options)
        ['b2']
    """

    name: str = static(doc="its name, such as adam, sgd, rmsprop, lion, adam_layer")
    learning_rate: Scalar = number(doc="the size of a step", above=0)
    options: dict[str, Scalar] = number(doc="further numbers by name, such as b1, eps")
    flags: tuple[tuple[str, bool], ...] = static(default=(), doc="options that are switches")

    def __post_init__(self) -> None:
        if self.name in preconditioners.FACTORIES:
            self.build()  # refuses numbers that do not go together

    def build(self) -> optax.GradientTransformation:
        """The optax object."""
        made: optax.GradientTransformation = _FACTORIES[self.name](
            self.learning_rate, **self.options, **dict(self.flags)
        )
        return made


@struct
class Custom:
    """An optax object that the user built."""

    transformation: optax.GradientTransformation = static(doc="the optax object")

    def build(self) -> optax.GradientTransformation:
        """The optax object."""
        return self.transformation


def names() -> list[str]:
    """The names that `get` knows."""
    return sorted(_FACTORIES)


def factory(name: str) -> Any:
    """The function that makes the optax object of the optimiser called `name`."""
    return _FACTORIES[name]


def defaults(name: str) -> dict[str, Any]:
    """The options of an optimiser and what they are where they are not given.

    Example:
        >>> defaults("adam_layer")
        {'b1': 0.9, 'b2': 0.999, 'eps': 1e-08}
    """
    parameters = list(inspect.signature(_FACTORIES[name]).parameters.values())[1:]
    return {parameter.name: parameter.default for parameter in parameters}


def get(
    optimiser: str | Optimiser | Custom | optax.GradientTransformation,
    learning_rate: Scalar | None = None,
    **options: Scalar | bool,
) -> Optimiser | Custom:
    """An optimiser by name, or around an optax object.

    Args:
        optimiser: a name such as "adam", an `Optimiser`, or an optax object.
        learning_rate: for a name: the size of a step.
        options: for a name: further arguments of the optax function, such as ``b2=0.9``.

    Raises:
        InputError: an unknown name or option, or a learning rate that is not positive.

    Example:
        >>> get("adam", 4e-4).learning_rate
        0.0004
        >>> get(optax.adam(4e-4)).build().init is not None
        True
    """
    if isinstance(optimiser, Optimiser | Custom | optax.GradientTransformation):
        if learning_rate is not None:
            expected = "none beside an optimiser that has its own"
            raise refuse("learning_rate", learning_rate, expected, "pass the optimiser's name")
        built = isinstance(optimiser, optax.GradientTransformation)
        return Custom(optimiser) if built else optimiser
    if not isinstance(optimiser, str):
        raise InputError(
            f"optimiser: got {optimiser!r}, expected an optax optimiser such as optax.adam(4e-4), "
            "or a name such as 'adam' with a learning rate."
        )
    if optimiser not in _FACTORIES:
        raise unknown("optimiser", optimiser, _FACTORIES)
    if learning_rate is None:
        raise refuse("learning_rate", None, f"the size of a step for {optimiser!r}", "such as 4e-4")
    known = defaults(optimiser)
    for option, value in options.items():
        if option not in known:
            raise unknown(f"option of optimiser {optimiser!r}", option, known)
        if not isinstance(value, int | float | np.number | jax.Array):
            mend = f"build it yourself, as optax.{optimiser}(...)"
            raise refuse(f"{optimiser}.{option}", value, "a number or a switch", mend)
    flags = {key: value for key, value in options.items() if isinstance(value, bool)}
    leaves = {key: value for key, value in options.items() if key not in flags}
    return Optimiser(optimiser, learning_rate, leaves, tuple(sorted(flags.items())))


def describe(optimiser: Optimiser | Custom) -> dict[str, Any]:
    """The optimiser as plain data, for saved runs."""
    if isinstance(optimiser, Custom):
        return {"name": "custom optax object"}
    options = {**plain(optimiser.options), **dict(optimiser.flags)}
    return {"name": optimiser.name, "learning_rate": plain(optimiser.learning_rate), **options}
