"""Which score of a pair ranks as the whole model's first step does, once a model is trained."""

import tempfile

SEEDS = 2
PAIRS = 100
SCENARIOS = ("both_on_policy", "chosen_off_policy")
SCORES = ("first_step", "first_step_per_token", "ches", "ches_per_token", "edit_share")


def _steps(model, pairs, loss, pad_token: int) -> list[float]:
    """Change of log pi(chosen) by a step of SGD of all weights on the pair alone, over the rate."""
    import torch

    from toymodel.llm.batches import collate
    from toymodel.llm.loop import evaluate
    from toymodel.llm.objective import needs

    found = []
    for pair in pairs:
        batch = collate([pair], pad_token)
        objective, scored = evaluate(model, model, batch, loss, needs(loss), pad_token)
        leaves = list(model.parameters())
        down, up = (
            torch.autograd.grad(value, leaves, retain_graph=True)
            for value in (objective.value, scored.total[0])
        )
        found.append(-sum(float((a * b).sum()) for a, b in zip(down, up, strict=True)))
    return found


def _ranked(seed: int, folder: str) -> dict[str, dict[str, float]]:
    """Scenario -> score -> its rank correlation with the measured steps, 1: the same order."""
    import numpy as np
    from scipy.stats import spearmanr

    from toymodel import losses
    from toymodel.llm.data import ReadPair
    from toymodel.llm.scoring import RANKINGS, Settings, score_pairs
    from toymodel.llm.scoring.preparing import Prepared
    from toymodel.llm.small import base_policy, make_pairs
    from toymodel.llm.small.answering import longest_answer
    from toymodel.llm.tasks import Arithmetic

    task = Arithmetic()
    model, tokenizer = base_policy(task, seed, folder, progress=False)
    prompts = task.prompts(np.random.default_rng([seed, 3]), 4 * PAIRS, "train")
    longest = longest_answer(tokenizer, task)
    made = make_pairs(model, tokenizer, task, prompts, seed=seed, longest=longest)
    found = {}
    for name in SCENARIOS:
        pairs = made.scenarios[name][:PAIRS]
        steps = _steps(model, pairs, losses.DPO(), tokenizer.pad_token_id)
        rows = [Prepared(ReadPair(str(at), {}, {}), pair) for at, pair in enumerate(pairs)]
        scored = score_pairs(model, tokenizer, rows, Settings(own_prompts=0), progress=False)
        found[name] = {"share that falls": float(np.mean(np.array(steps) < 0))}
        for score in SCORES:
            values = [row.scores[score] for row in scored.rows]
            is_high, _ = RANKINGS[score]  # whether high values speak for a fall
            found[name][score] = float(spearmanr(values, steps).statistic) * (-1) ** is_high
    return found


def run(repeats: int) -> tuple[str, dict]:
    """Rank correlations of scores with the whole model's first step; nothing to repeat is timed."""
    with tempfile.TemporaryDirectory() as folder:
        raw = {f"seed {seed}": _ranked(seed, folder) for seed in range(SEEDS)}
    rows = []
    for score in SCORES:
        cells = (", ".join(f"{raw[at][name][score]:.2f}" for at in raw) for name in SCENARIOS)
        rows.append(f"| `{score}` | {' | '.join(cells)} |")
    falls = (
        ", ".join(f"{raw[at][name]['share that falls']:.0%}" for at in raw) for name in SCENARIOS
    )
    return (
        "# Which score ranks as the whole model's first step does\n\n"
        f"A GPT-2 of 0.1 M weights that has learnt arithmetic, {PAIRS} pairs a scenario, DPO. Rank "
        "correlation of each score with the change of log pi(chosen) by a small step of SGD of all "
        f"weights on the pair alone (1: the same order), for each of {SEEDS} seeds.\n\n"
        f"| score | {' | '.join(SCENARIOS)} |\n|---|{'---|' * len(SCENARIOS)}\n"
        + "\n".join(rows)
        + "\n\nShare of pairs whose chosen falls in that step, by scenario and seed: "
        + "; ".join(falls)
        + ".",
        raw,
    )
