"""A preset for each finding of the project: the settings, what to look for, where it is told."""

import dataclasses
from collections.abc import Mapping

from toymodel import optimisers, policies
from toymodel.explorer import worlds
from toymodel.explorer.settings import Settings
from toymodel.losses import DPO, KTO, SFTDPO, FlexDPO

_SGD = optimisers.get("sgd", 0.3)


@dataclasses.dataclass(frozen=True, eq=False)
class Preset:
    """A finding to look at.

    Args:
        name: in the menu.
        settings: the run that shows it.
        look: what to look for, in a sentence or two.
        page: the page that tells more.
        shows: properties of the run (drop, degradation, dispersion): whether each is there.
    """

    name: str
    settings: Settings
    look: str
    page: str
    shows: Mapping[str, bool]


def _preset(
    name: str, look: str, page: str, settings: Settings, *, gone: str = "", there: str = "drop"
) -> Preset:
    shows = {**dict.fromkeys(there.split(), True), **dict.fromkeys(gone.split(), False)}
    return Preset(name, settings, look, page, shows)


def _with(world: str = "both_on_policy", **parts: object) -> Settings:
    settings: Settings = dataclasses.replace(Settings(), world=worlds.get(world), **parts)  # type: ignore[arg-type]
    return settings


_PRESETS = (
    _preset(
        "Drop: the rejected falls without end",
        "The rejected's log-likelihood falls by tens of nats while the chosen still rises. On the "
        "maps of slopes the path runs to the left, where both slopes fade together.",
        "figures/fig2.md",
        _with(steps=600),
        gone="degradation",
    ),
    _preset(
        "Degradation: the chosen rises, peaks and falls",
        "The same run for longer: the chosen's likelihood peaks and then falls, although its own "
        "pair never stops pulling it up.",
        "docs/why/chosen.md",
        _with(),
        there="drop degradation dispersion",
    ),
    _preset(
        "Dispersion: where the mass goes",
        "What the chosen loses goes to other prompts' chosen responses, none of it to responses "
        "that are in no pair. Play the steps and watch the heat map's columns.",
        "docs/why/mass.md",
        _with("chosen_off_policy"),
        there="drop dispersion",
    ),
    _preset(
        "Tabular: no degradation",
        "Without shared weights the rejected falls all the same, and the chosen never does.",
        "docs/why/chosen.md",
        _with(policy=policies.Tabular(), optimiser=optimisers.get("adam", 0.03)),
        gone="degradation dispersion",
    ),
    _preset(
        "One prompt alone: no degradation",
        "The same network and optimiser, but no other prompt whose pair could interfere.",
        "docs/why/chosen.md",
        _with("one prompt alone"),
        gone="degradation dispersion",
    ),
    _preset(
        "SGD, one hidden layer: no degradation",
        "The gradients are the same, the rejected falls further, and the chosen goes to one.",
        "docs/why/chosen.md",
        _with(optimiser=_SGD),
        gone="degradation dispersion",
    ),
    _preset(
        "SGD, two hidden layers: degradation is back",
        "With a second hidden layer prompts share more, and no Adam is needed.",
        "docs/why/chosen.md",
        _with(policy=policies.MLP(hidden=(100, 100)), optimiser=_SGD, seed=2),
        there="drop degradation",
    ),
    _preset(
        "Adam with one second moment an array",
        "One number in place of one a weight, and the degradation is gone: adaptive steps as such "
        "are harmless.",
        "docs/why/chosen.md",
        _with(optimiser=optimisers.get("adam_layer", 3e-4)),
        gone="degradation dispersion",
    ),
    _preset(
        "Adam with a short memory: b2 = 0.9",
        "A second moment that remembers ten steps in place of a thousand takes nearly all of the "
        "degradation away. Move b2 and watch it return.",
        "docs/why/chosen.md",
        _with(optimiser=optimisers.get("adam", 3e-4, b1=0.9, b2=0.9, eps=1e-8, eps_root=0.0)),
        gone="degradation",
    ),
    _preset(
        "SFT weight: a trace is enough here",
        "gamma = 1e-5, a two-thousandth of beta, stops degradation and dispersion in this network. "
        "Elsewhere more is needed: beta/10 is the first thing to try.",
        "docs/why/sft.md",
        _with(loss=SFTDPO(beta=0.02, gamma=1e-5)),
        gone="degradation dispersion",
    ),
    _preset(
        "Flex-DPO: a weaker push on the rejected",
        "With beta_rejected below beta_chosen the loss itself pushes everything outside the pair "
        "down. A fifth is a good choice under Adam.",
        "docs/why/flex.md",
        _with(loss=FlexDPO(beta_chosen=0.1, beta_rejected=0.02)),
        gone="degradation dispersion",
    ),
    _preset(
        "Flex-DPO the wrong way: a cliff",
        "A hundredth too much on the rejected, and the mass flies apart. Move beta_rejected across "
        "beta_chosen.",
        "docs/why/flex.md",
        _with(loss=FlexDPO(beta_chosen=0.1, beta_rejected=0.101)),
        there="drop degradation dispersion",
    ),
    _preset(
        "A large beta: little of anything",
        "The margin satisfies the loss early: on the maps the path ends where both slopes are "
        "nearly zero.",
        "docs/why/beta.md",
        _with(loss=DPO(beta=10.0)),
        there="",
        gone="drop degradation dispersion",
    ),
    _preset(
        "Off policy: the rejected unlikely from the start",
        "It starts at 0.02 and falls as far, and the chosen degrades like that of on-policy pairs.",
        "figures/fig3.md",
        _with("rejected_off_policy"),
        there="drop degradation dispersion",
    ),
    _preset(
        "Off policy: both unlikely from the start",
        "Chosen and rejected start at 0.02. Compare with on-policy pairs by the scenario's menu.",
        "figures/fig3.md",
        _with("both_off_policy"),
        there="drop degradation",
    ),
    _preset(
        "KTO keeps the chosen",
        "Its push on the rejected dies before its pull on the chosen: compare the two maps of "
        "slopes with DPO's.",
        "docs/race.md",
        _with(loss=KTO(beta=0.1)),
        gone="degradation dispersion",
    ),
    _preset(
        "Token sequences: a common prefix drags the chosen down",
        "Responses are 256 sequences of four tokens whose embeddings are shared. Chosen and "
        "rejected have their first three tokens in common.",
        "docs/why/overlap.md",
        _with(
            "tokens, a prefix shared",
            policy=policies.Autoregressive(),
            loss=DPO(beta=0.1),
            optimiser=optimisers.get("adam", 1e-2),
            steps=600,
        ),
        there="drop degradation",
    ),
    _preset(
        "Token sequences with free logits: no fall",
        "The same pairs, but no weights in common between prefixes: the chosen does not fall.",
        "docs/why/overlap.md",
        _with(
            "tokens, a prefix shared",
            policy=policies.PrefixTabular(),
            loss=DPO(beta=0.1),
            optimiser=optimisers.get("adam", 1e-2),
            steps=600,
        ),
        gone="degradation dispersion",
    ),
)

#: All presets, by name.
ALL: Mapping[str, Preset] = {preset.name: preset for preset in _PRESETS}
