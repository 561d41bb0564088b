"""The seeded generator of larger worlds."""

import jax
import jax.numpy as jnp
import numpy as np

from toymodel._errors import refuse, whole
from toymodel.scenarios import Scenario, build
from toymodel.worlds.draws import draw_pairs
from toymodel.worlds.world import Split, World


def generate(
    key: jax.Array,
    *,
    prompts: int = 200,
    responses: int = 40,
    features: int = 8,
    pairs: int = 1,
    heldout_prompts: int = 50,
    shifted_prompts: int = 50,
    heldout_responses: int = 8,
    shift: float = 2.0,
    base_scale: float = 1.0,
    temperature: float = 0.0,
    on_policy: bool = True,
) -> World:
    r"""A world whose initial policy and whose preferences are both functions of features.

    Prompt features p and response features r are standard normal; out-of-distribution prompts are
    shifted along one random direction. With two independent standard normal matrices A and S,

    .. math::
        \log\pi_0(y|x) = \mathrm{const}_x + \frac{b}{d}\, p_x^\top A\, r_y, \qquad
        s(x, y) = \frac{1}{d}\, p_x^\top S\, r_y,

    so unshifted logits have standard deviation b and scores 1, and `loglinear` represents the
    initial table exactly.

    Args:
        key: everything follows from it.
        prompts: prompts with training pairs, at least 1.
        responses: responses in all, held-out ones among them.
        features: d, of a prompt and of a response, at least 1.
        pairs: of each prompt, at least 1; a prompt may get one pair twice.
        heldout_prompts: prompts from the same distribution, with evaluation pairs only.
        shifted_prompts: out-of-distribution prompts, with evaluation pairs only.
        heldout_responses: in no pair of any prompt; at least two others must be left.
        shift: distance of the shifted prompts' mean from 0, in standard deviations of a feature.
        base_scale: b, at least 0; 0 makes the initial policy uniform.
        temperature: of the Bradley-Terry preferences; 0 always prefers the better response.
        on_policy: draw pairs from the initial policy; otherwise all responses alike.

    Returns:
        The `World`; its scenarios carry the score as their true rewards. Training prompts come
        first, then held-out, then shifted ones; held-out responses come last.

    Raises:
        InputError: a size or a number out of its range, named.

    Example:
        >>> import toymodel as tm
        >>> world = generate(jax.random.key(0), prompts=20, responses=10)
        >>> run = tm.simulate(world.scenario, "tabular", "dpo", "sgd", learning_rate=1.0,
        ...                   batch_size=4, steps=5)
        >>> run.log_probs.shape
        (6, 120, 10)
    """
    _check(
        prompts=(prompts, 1),
        features=(features, 1),
        pairs=(pairs, 1),
        heldout_prompts=(heldout_prompts, 1),
        shifted_prompts=(shifted_prompts, 0),
        heldout_responses=(heldout_responses, 0),
        responses=(responses, 2),
    )
    if responses < heldout_responses + 2:
        expected = f"at least {heldout_responses + 2}"
        raise refuse("responses", responses, expected, "two must be left beside the held-out ones")
    for name, value in (("shift", shift), ("base_scale", base_scale), ("temperature", temperature)):
        if not (np.isfinite(value) and value >= 0):
            raise refuse(name, value, "a finite number >= 0")
    kept, away, direction, two, base, truth, draws, tests = jax.random.split(key, 8)
    sizes = (prompts, heldout_prompts, shifted_prompts)
    split = jnp.repeat(jnp.asarray(list(Split)), jnp.asarray(sizes), total_repeat_length=sum(sizes))
    usual = jax.random.normal(kept, (prompts + heldout_prompts, features))
    moved = jax.random.normal(away, (shifted_prompts, features))
    aim = jax.random.normal(direction, (1, features))
    moved = moved + shift * aim / jnp.linalg.norm(aim)
    prompt_features = jnp.concatenate([usual, moved])
    response_features = jax.random.normal(two, (responses, features))

    def bilinear(key: jax.Array) -> jax.Array:
        mixing = jax.random.normal(key, (features, features)) / features
        return prompt_features @ mixing @ response_features.T

    log_table = jax.nn.log_softmax(base_scale * bilinear(base), axis=-1)
    score = bilinear(truth)
    is_heldout = jnp.arange(responses) >= responses - heldout_responses
    weights = log_table if on_policy else jnp.zeros_like(log_table)
    weights = jnp.where(is_heldout[None], -jnp.inf, weights)

    def scenario(key: jax.Array, name: str, is_in: jax.Array) -> Scenario:
        rows = np.asarray(draw_pairs(key, weights, score, pairs, temperature))
        rows = rows[np.asarray(is_in)[rows[:, 0]]]
        return build(log_table=log_table, pairs=rows, rewards=score, name=name)

    return World(
        scenario=scenario(draws, "features", split == Split.TRAINING),
        evaluation=scenario(tests, "features, evaluation", split != Split.TRAINING),
        prompt_features=prompt_features,
        response_features=response_features,
        split=split,
        is_heldout=is_heldout,
        score=score,
    )


def _check(**sizes: tuple[int, int]) -> None:
    """Refuse sizes that are no whole numbers or below their least."""
    for name, (value, least) in sizes.items():
        whole(name, value, least)
