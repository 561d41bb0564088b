"""Run one cell: train a copy of the base policy, watch it, score it."""

import dataclasses
from typing import Any

from toymodel.llm.batches import PairTokens
from toymodel.llm.loop import train
from toymodel.llm.measuring import measure, summary
from toymodel.llm.miniature.bench import Bench
from toymodel.llm.miniature.plan import Cell, Plan
from toymodel.llm.miniature.watch import Watch
from toymodel.llm.probes import standard_probes
from toymodel.llm.rl import fit_reward_model, rloo

_WATCHED = 64  # pairs that are followed
_SUPPORT = 64  # samples a prompt whose mass is followed

Result = dict[str, Any]


def run_cell(cell: Cell, bench: Bench, plan: Plan) -> Result:
    """What a cell found: scores, likelihoods before and after, curves.

    Args:
        cell: which.
        bench: of its task and seed.
        plan: how much.
    """
    if cell.method == "reward_model":
        return _reward_model(bench)
    model = bench.policy()
    watched = bench.pairs.scenarios[cell.scenario][:_WATCHED]
    follow = Follow(bench, watched)
    found: Result = {}
    if cell.method == "rloo":
        found |= _rloo(cell, bench, plan, model)
    elif cell.method != "base":
        found |= _preferences(cell, bench, plan, model)
    return found | follow.now(model) | bench.scores(model)


class Follow:
    """Likelihoods of watched pairs and probes, before and after.

    Args:
        bench: of the cell.
        pairs: watched.
    """

    def __init__(self, bench: Bench, pairs: list[PairTokens]) -> None:
        self._pad = int(bench.tokenizer.pad_token_id)
        self._probes = standard_probes(
            bench.model,
            pairs,
            vocabulary=len(bench.tokenizer),
            pad_token=self._pad,
            end_token=bench.tokenizer.eos_token_id,
            samples=_SUPPORT,
            max_new_tokens=bench.longest,
            seed=bench.seed,
        )
        self._before = measure(bench.model, self._probes, self._pad)

    def now(self, model: Any) -> Result:
        """``before/...`` and ``after/...`` of every number of `toymodel.llm.measuring.summary`."""
        after = measure(model, self._probes, self._pad)
        both = {"before": self._before, "after": after}
        return {
            f"{when}/{name}": value
            for when, measured in both.items()
            for name, value in summary(self._probes, measured, self._before).items()
        }


def _preferences(cell: Cell, bench: Bench, plan: Plan, model: Any) -> Result:
    pairs = bench.pairs.scenarios[cell.scenario]
    watch = Watch(bench, cell, model, steps=cell.epochs * -(-len(pairs) // plan.batch_size))
    losses = train(
        model,
        pairs,
        cell.loss,
        pad_token=bench.tokenizer.pad_token_id,
        reference=bench.model,
        learning_rate=cell.learning_rate,
        epochs=cell.epochs,
        batch_size=plan.batch_size,
        seed=cell.seed,
        watch=watch,
        progress=False,
    )
    watch.look(len(losses))
    return {"pairs": len(pairs), "steps": len(losses), "curves": {**watch.curves, "loss": losses}}


def _reward_model(bench: Bench) -> Result:
    """A reward model of the on-policy pairs, which `rloo` cells fit again from the same seed."""
    model, curve = _fitted(bench)
    curves = {
        "step": curve.steps.tolist(),
        "accuracy": curve.held_out_accuracy.tolist(),
        "loss": curve.loss.tolist(),
    }
    return {
        "accuracy": model.accuracy(bench.held_out["both_on_policy"]),
        "tokens": curve.tokens,
        "seconds": curve.seconds,
        "curves": curves,
    }


def _fitted(bench: Bench) -> Any:
    return fit_reward_model(
        bench.model,
        bench.pairs.scenarios["both_on_policy"],
        bench.held_out["both_on_policy"],
        pad_token=bench.tokenizer.pad_token_id,
        seed=bench.seed,
        progress=False,
    )


def _rloo(cell: Cell, bench: Bench, plan: Plan, model: Any) -> Result:
    """Policy optimisation on the learned reward, from the prompts that the pairs were made of."""
    judge, _ = _fitted(bench)
    prompts = [tuple(row) for row in bench.tokenizer(bench.pairs.prompts)["input_ids"]]
    steps = rloo(
        model,
        prompts,
        judge.rewards,
        pad_token=bench.tokenizer.pad_token_id,
        end_token=bench.tokenizer.eos_token_id,
        max_new_tokens=bench.longest,
        reference=bench.model,
        steps=plan.rl_steps,
        learning_rate=cell.learning_rate,
        seed=cell.seed,
        progress=False,
    )
    rows = [dataclasses.asdict(step) for step in steps]
    names = ("step", "reward", "kl")
    curves = {name: [row[name] for row in rows] for name in names}
    last = {f"budget/{name}": rows[-1][name] for name in ("samples", "tokens_trained", "seconds")}
    return {"curves": curves, **last}
