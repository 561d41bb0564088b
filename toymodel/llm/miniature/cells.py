"""Run one cell: train a copy of the base policy, watch it, score it."""

import copy
import dataclasses
from typing import Any

from toymodel.llm.batches import PairTokens
from toymodel.llm.loop import train
from toymodel.llm.miniature.bench import Bench
from toymodel.llm.miniature.plan import Cell, Plan
from toymodel.llm.miniature.watch import Watch
from toymodel.llm.rl import rloo
from toymodel.llm.small.pairs import make_pairs

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
    found: Result = {}
    if cell.method == "rloo":
        found |= _rloo(cell, bench, plan, model)
    elif cell.rounds > 1:
        found |= _rounds(cell, bench, plan, model)
    elif cell.method != "base":
        found |= _preferences(cell, bench, plan, model)
    return found | bench.follow(cell.scenario).now(model) | bench.scores(model)


def _preferences(cell: Cell, bench: Bench, plan: Plan, model: Any) -> Result:
    """Training on the pairs that the base policy's bench has."""
    pairs = bench.pairs.scenarios[cell.scenario]
    watch = Watch(bench, cell, model, steps=cell.epochs * -(-len(pairs) // plan.batch_size))
    losses = _train(cell, bench, plan, model, pairs, bench.model, watch)
    watch.look(len(losses))
    return {"pairs": len(pairs), "steps": len(losses), "curves": {**watch.curves, "loss": losses}}


def _rounds(cell: Cell, bench: Bench, plan: Plan, model: Any) -> Result:
    """Training on pairs that are drawn anew from the policy for each share of the prompts."""
    pairs = steps = 0
    for at in range(cell.rounds):
        collected = make_pairs(
            model,
            bench.tokenizer,
            bench.task,
            bench.asked[at :: cell.rounds],
            samples=plan.samples,
            seed=cell.seed + at,
            longest=bench.longest,
        ).scenarios[cell.scenario]
        losses = _train(cell, bench, plan, model, collected, copy.deepcopy(model))
        pairs, steps = pairs + len(collected), steps + len(losses)
    return {"pairs": pairs, "steps": steps}


def _train(
    cell: Cell,
    bench: Bench,
    plan: Plan,
    model: Any,
    pairs: list[PairTokens],
    reference: Any,
    watch: Watch | None = None,
) -> list[float]:
    return train(
        model,
        pairs,
        cell.loss,
        pad_token=bench.tokenizer.pad_token_id,
        reference=reference,
        learning_rate=cell.learning_rate,
        epochs=cell.epochs,
        batch_size=plan.batch_size,
        seed=cell.seed,
        watch=watch,
        progress=False,
    )


def _reward_model(bench: Bench) -> Result:
    model, curve = bench.judge
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


def _rloo(cell: Cell, bench: Bench, plan: Plan, model: Any) -> Result:
    """Policy optimisation on the learned reward, from the prompts that the pairs were made of."""
    judge, _ = bench.judge
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
