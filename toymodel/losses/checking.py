"""Check a loss against the contract: its slopes are its derivatives, everywhere it is used.

For people who write a loss of their own; the tests of this package run deeper versions of the same.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from toymodel._errors import InputError
from toymodel.losses.base import PairBatch, PreferenceLoss

_PAIRS, _STEP = 5, 1e-5


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Args:
        what: what was checked.
        passed: whether it held.
        detail: where and by how much it failed.
    """

    what: str
    passed: bool
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """All outcomes for one loss; prints as a list, and is true if everything passed."""

    loss: PreferenceLoss
    findings: tuple[Finding, ...]

    def __bool__(self) -> bool:
        return all(finding.passed for finding in self.findings)

    def __str__(self) -> str:
        lines = [f"{self.loss}:"]
        for finding in self.findings:
            mark = "ok  " if finding.passed else "FAIL"
            detail = f": {finding.detail}" if finding.detail else ""
            lines.append(f"  {mark} {finding.what}{detail}")
        return "\n".join(lines)

    __repr__ = __str__


def check(loss: PreferenceLoss, *, cases: int = 50, seed: int = 0) -> CheckReport:
    """Run the property suite on a loss, in float64, over random batches.

    Checked: shapes; the slopes against reverse and forward differentiation and central
    differences; the logarithmic slopes; finiteness at log-probabilities down to -1e4; that numbers
    are leaves, so that changing them does not recompile.

    Args:
        loss: an instance.
        cases: random batches.
        seed: for drawing them.

    Returns:
        The report. Print it.

    Raises:
        InputError: something that is not a `PreferenceLoss`.

    Example:
        >>> from toymodel.losses import DPO
        >>> bool(check(DPO(beta=0.3)))
        True
    """
    if not isinstance(loss, PreferenceLoss):
        raise InputError(
            f"loss: got {loss!r}, expected an instance of toymodel.losses.PreferenceLoss, such as "
            "DPO(beta=0.1)."
        )
    random = np.random.default_rng(seed)
    with jax.enable_x64(True):
        here = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), loss)
        batches = [_batch(random, -30.0) for _ in range(cases)]
        extremes = [_batch(random, -1e4) for _ in range(cases)]
        checks: list[tuple[str, Callable[[], str]]] = [
            ("value and slopes have one number a pair", lambda: _shapes(here, batches[0])),
            ("slopes = reverse-mode derivative", lambda: _derivative(here, batches, jax.grad)),
            ("slopes = forward-mode derivative", lambda: _derivative(here, batches, jax.jacfwd)),
            ("slopes = central differences", lambda: _differences(here, batches)),
            ("log_slopes = logarithms of the slopes", lambda: _logarithms(here, batches)),
            ("finite down to log-probabilities of -1e4", lambda: _finite(here, extremes)),
            ("numbers are leaves: changing one does not recompile", lambda: _leaves(here)),
        ]
        return CheckReport(loss, tuple(_outcome(what, run) for what, run in checks))


def _outcome(what: str, run: Callable[[], str]) -> Finding:
    """An exception inside the loss is a finding too: the user wants to read all of them."""
    try:
        detail = run()
    except Exception as error:
        first = str(error).strip().splitlines()[:1]
        detail = f"{type(error).__name__}: {''.join(first)}"
    return Finding(what, not detail, detail)


def _batch(random: np.random.Generator, lowest: float) -> PairBatch:
    sizes = random.uniform(0, np.log10(-lowest), (4, _PAIRS))
    lengths = random.integers(1, 9, (2, _PAIRS)).astype(float)
    return PairBatch(*jnp.asarray(-(10.0**sizes)), *jnp.asarray(lengths))


def _replaced(pairs: PairBatch, both: jax.Array) -> PairBatch:
    return dataclasses.replace(pairs, chosen=both[0], rejected=both[1])


def _both(pairs: PairBatch) -> jax.Array:
    return jnp.stack([pairs.chosen, pairs.rejected])


def _shapes(loss: PreferenceLoss, pairs: PairBatch) -> str:
    arrays = {
        "value": loss.value(pairs),
        **dict(zip(("a+", "a-"), loss.slopes(pairs), strict=True)),
    }
    wrong = {
        name: np.shape(array) for name, array in arrays.items() if np.shape(array) != (_PAIRS,)
    }
    return f"got {wrong}, expected ({_PAIRS},)" if wrong else ""


def _worst(name: str, ours: Any, theirs: Any, tolerance: float) -> str:
    """Empty where two arrays [2, pair] agree, else the worst disagreement."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    scale = np.maximum(np.abs(theirs), 1e-8 * max(float(np.abs(theirs).max()), 1e-8))
    error = np.abs(ours - theirs) / scale
    if np.all(error <= tolerance):
        return ""
    half, pair = np.unravel_index(np.argmax(np.nan_to_num(error, nan=np.inf)), error.shape)
    return (
        f"slope of the {('chosen', 'rejected')[half]} is {ours[half, pair]:.6g}, "
        f"{name} {theirs[half, pair]:.6g}"
    )


def _derivative(loss: PreferenceLoss, batches: list[PairBatch], mode: Callable[..., Any]) -> str:
    @jax.jit
    def both(pairs: PairBatch) -> tuple[jax.Array, jax.Array]:
        total = mode(lambda columns: jnp.sum(loss.value(_replaced(pairs, columns))))
        return jnp.stack(loss.slopes(pairs)), total(_both(pairs))

    for pairs in batches:
        slopes, derivatives = both(pairs)
        worst = _worst("derivative", slopes, derivatives, 1e-8)
        if worst:
            return worst
    return ""


def _differences(loss: PreferenceLoss, batches: list[PairBatch]) -> str:
    """What the loss detaches stays as it is at the point."""

    @jax.jit
    def both(pairs: PairBatch) -> tuple[jax.Array, jax.Array]:
        held, columns = loss.held(pairs), _both(pairs)

        def total(columns: jax.Array) -> jax.Array:
            return jnp.sum(loss.value_holding(_replaced(pairs, columns), held))

        steps = _STEP * jnp.eye(columns.size).reshape(-1, *columns.shape)
        rise = jax.vmap(lambda step: total(columns + step) - total(columns - step))(steps)
        return jnp.stack(loss.slopes(pairs)), (rise / (2 * _STEP)).reshape(columns.shape)

    for pairs in batches:
        slopes, differences = both(pairs)
        rounding = 1e-15 * float(jnp.max(jnp.abs(loss.value(pairs)))) / _STEP
        apart = jnp.abs(slopes - differences) > 1e-5 * jnp.abs(differences) + 100 * rounding
        if bool(jnp.any(apart)):
            return _worst("difference quotient", slopes, differences, 0.0)
    return ""


def _logarithms(loss: PreferenceLoss, batches: list[PairBatch]) -> str:
    for pairs in batches:
        values = jnp.stack([log.value for log in loss.log_slopes(pairs)])
        worst = _worst("log_slopes say", jnp.stack(loss.slopes(pairs)), values, 1e-8)
        if worst:
            return worst
    return ""


def _finite(loss: PreferenceLoss, batches: list[PairBatch]) -> str:
    for pairs in batches:
        for name, array in (("value", loss.value(pairs)), ("slopes", loss.slopes(pairs))):
            if not all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(array)):
                return f"{name} not finite at log pi+ {pairs.chosen}, log pi- {pairs.rejected}"
    return ""


def _leaves(loss: PreferenceLoss) -> str:
    traced = []

    @jax.jit
    def value(loss: PreferenceLoss, pairs: PairBatch) -> jax.Array:
        traced.append(1)
        return loss.value(pairs)

    pairs = _batch(np.random.default_rng(0), -30.0)
    for factor in (1.0, 0.9):
        value(jax.tree.map(lambda leaf: factor * leaf, loss), pairs)  # noqa: B023
    return "" if len(traced) == 1 else "a number is declared static: use number(...) for it"
