"""Whether a tabular policy has a finite minimiser on given pairs, and which margins diverge."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from toymodel._errors import refuse
from toymodel.losses import CDPO, DPO, IPO, ODPO, SFTDPO, Hinge, PreferenceLoss
from toymodel.scenarios import Scenario


def margin_converges(loss: PreferenceLoss, scenario: Scenario) -> np.ndarray:
    r"""For each pair, whether its margin stays finite under gradient flow on a tabular policy.

    The losses below are convex in the logits, and a prompt's objective has a minimiser unless it
    falls, or stays, along some direction v for ever without being constant there.

    - *DPO and other strictly decreasing losses.* Along v no term rises iff
      :math:`v_+ \ge v_-` for every pair, and one falls iff some inequality is strict. Draw an edge
      from chosen to rejected for each pair. Around a directed cycle the inequalities close, so
      all are equalities. The edges on no cycle join strongly connected components, which can be
      sorted: let v fall by one from each component to the next, and all of them are strict. So a
      minimiser exists iff **every edge lies on a directed cycle**. Since the flow of a convex
      function leads to its infimum, which is 0 for the other edges, an edge's margin diverges
      (like log t) iff it lies on none. Preferences without contradiction have no cycle.
    - *IPO and cDPO (0 < eps < 1)* grow at both ends of the margin: always.
    - *The hinge* is bounded below and piecewise linear: always.
    - *SFT-DPO (gamma > 0)*: the term :math:`-\gamma\log\pi_+` falls for ever along every v that is
      largest at all of the prompt's chosen responses. So a minimiser exists iff every response
      of the prompt is chosen in some pair, and a margin diverges iff its rejected one never is.

    Args:
        loss: `DPO`, `ODPO`, `IPO`, `CDPO`, `Hinge` or `SFTDPO`.
        scenario: the world; pairs of weight zero do not count, and their entries mean nothing.

    Returns:
        [pair], True where the margin converges.

    Raises:
        InputError: a loss of another kind, or numbers that differ by pair.

    Example:
        >>> import toymodel as tm
        >>> from toymodel.losses import DPO, IPO
        >>> cycle = [(0, 0, 1), (0, 1, 2), (0, 2, 0), (0, 0, 3)]
        >>> world = tm.scenarios.build([[0.25] * 4], cycle)
        >>> margin_converges(DPO(), world).tolist()
        [True, True, True, False]
        >>> margin_converges(IPO(), world).tolist()
        [True, True, True, True]
    """
    pairs = scenario.pairs
    always = np.ones(len(pairs), bool)
    match loss:
        case IPO() | Hinge():
            return always
        case CDPO() if _between(loss.label_smoothing):
            return always
        case DPO() | ODPO():
            return _on_a_cycle(scenario)
        case CDPO() if np.all(np.asarray(loss.label_smoothing) == 0):
            return _on_a_cycle(scenario)
        case SFTDPO():
            if np.all(np.asarray(loss.gamma) == 0):
                return _on_a_cycle(scenario)
            chosen = _is_chosen(scenario)
            return np.asarray(chosen[np.asarray(pairs.prompt), np.asarray(pairs.rejected)])
    known = "one of DPO, ODPO, IPO, CDPO, Hinge, SFTDPO, with plain numbers"
    raise refuse("loss", loss, known)


def has_minimiser(loss: PreferenceLoss, scenario: Scenario) -> bool:
    """Whether the objective of a tabular policy has a finite minimiser on a scenario's pairs.

    That is, whether all margins converge (see `margin_converges`); with an SFT term, also all
    other logits, which it pushes down without end unless they are chosen somewhere.

    Args:
        loss: the preference loss, of a kind that `margin_converges` knows.
        scenario: the world; pairs of weight 0 do not count.

    Example:
        >>> import toymodel as tm
        >>> has_minimiser(tm.losses.DPO(), tm.scenarios.both_on_policy())
        False
    """
    pairs = scenario.pairs
    counts = np.asarray(pairs.weight) > 0
    converges = margin_converges(loss, scenario)[counts]
    if isinstance(loss, SFTDPO) and np.any(np.asarray(loss.gamma) > 0):
        converges = _is_chosen(scenario)[np.asarray(pairs.prompt)[counts]]
    return bool(np.all(converges))


def _between(share: object) -> bool:
    values = np.asarray(share)
    return bool(np.all((values > 0) & (values < 1)))


def _on_a_cycle(scenario: Scenario) -> np.ndarray:
    """Whether a pair's two responses are strongly connected, [pair]."""
    pairs, (prompts, responses) = scenario.pairs, scenario.shape
    start, end = (
        np.asarray(pairs.prompt) * responses + np.asarray(half)
        for half in (pairs.chosen, pairs.rejected)
    )
    counts = np.asarray(pairs.weight) > 0
    nodes = prompts * responses
    edges = coo_array((counts[counts], (start[counts], end[counts])), shape=(nodes, nodes))
    _, component = connected_components(edges, directed=True, connection="strong")
    return np.asarray(component[start] == component[end])


def _is_chosen(scenario: Scenario) -> np.ndarray:
    """Whether a response is chosen in some pair of the prompt, [prompt, response]."""
    pairs = scenario.pairs
    counts = np.asarray(pairs.weight) > 0
    result = np.zeros(scenario.shape, bool)
    result[np.asarray(pairs.prompt)[counts], np.asarray(pairs.chosen)[counts]] = True
    return result
