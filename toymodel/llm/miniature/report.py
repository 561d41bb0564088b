"""The miniature's report: what was run, tables, pictures, verdicts, and the toy's score."""

from collections.abc import Mapping

from toymodel._version import __version__
from toymodel.llm.miniature import tables, toy
from toymodel.llm.miniature.plan import LOSSES, Plan
from toymodel.llm.miniature.records import Records
from toymodel.llm.miniature.verdicts import Row, Verdict, tally
from toymodel.paper.setting import EPOCHS

_TABLES = {
    "Table 1: shares of points by scenario, both sets together (DPO)": tables.table_1,
    "Table 2: verses and slogans by aspect": tables.table_2,
    "Table 7: log-probability a token before and after DPO (nats)": tables.table_7,
    "Table 8: shares of points by scenario and set (DPO)": tables.table_8,
    "Table 9: shares of points by loss and set, on-policy pairs": tables.table_9,
    "Every run: share of 5 points on the test set": tables.all_runs,
}


def text(
    plan: Plan,
    records: Records,
    rows: list[Row],
    predicted: Mapping[int, toy.Effects],
    models: Mapping[str, toy.Effects],
    pictures: Mapping[str, str],
    name: str,
) -> str:
    """The whole report, as Markdown.

    Args:
        plan: what was run.
        records: what it left.
        rows: of `toymodel.llm.miniature.comparisons.compare`.
        predicted: of `toymodel.llm.miniature.toy.predict`.
        models: learning rate, as text -> what the language models did.
        pictures: file name -> what it shows.
        name: of the report.
    """
    parts = [f"# {name}: the paper's LLM experiments in miniature", _setting(plan)]
    for title, make in _TABLES.items():
        body = make(records)
        if body:
            parts += [f"## {title}", body]
    parts.append("## Pictures")
    parts += [f"![{shows}]({file})\n\n*{shows}.*" for file, shows in pictures.items()]
    parts += ["## The paper's comparisons", _verdicts(rows)]
    parts += ["## The toy's predictions", _toy(predicted, models)]
    return "\n\n".join(parts) + "\n"


def _setting(plan: Plan) -> str:
    seeds = f"seeds {plan.seeds[0]} to {plan.seeds[-1]}"
    rates = ", ".join(f"{rate:g}" for rate in plan.learning_rates)
    rl_rates = ", ".join(f"{rate:g}" for rate in plan.rl_learning_rates)
    losses = "; ".join(f"`{key}` is {LOSSES[key]!r}" for key in plan.methods)
    return (
        f"GPT-2 of width {plan.width} with {plan.layers} layers, pretrained here from scratch, a "
        f"base policy a seed ({seeds}); tasks: {', '.join(('arithmetic', *plan.others))}. "
        f"{plan.prompts:,} prompts with {plan.samples} samples each give the pairs; {plan.tests} "
        "prompts a set are scored, one answer each at temperature 1. Learning rates, stated in "
        f"advance and all shown: {rates}; of RLOO {rl_rates} ({plan.rl_steps} updates). Where a "
        "table shows one, it is the one with the most points on validation prompts, by one rule "
        f"for every method. {losses}. Intervals are Student's 95 % over seeds. "
        f"toymodel {__version__}."
    )


def _verdicts(rows: list[Row]) -> str:
    counts = tally(rows)
    found = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict)
    header = "| table | difference | ours | paper | verdict |\n| --- | --- | --- | --- | --- |"
    body = "\n".join(row.markdown() for row in rows)
    return (
        f'Of {len(rows)} comparisons: {found}. Shares of "5" and of "4 or 5" points hardly differ '
        "here, so rows of both are nearly one piece of evidence. A row agrees or differs by sign, "
        "where our interval leaves out 0 and the paper's models have one sign; the paper has no "
        "intervals. Where the paper's column is +1 or -1 it shows a sign without a number.\n\n"
        f"{header}\n{body}"
    )


def _toy(predicted: Mapping[int, toy.Effects], models: Mapping[str, toy.Effects]) -> str:
    lines = [
        "Signs of changes for each loss and scenario, and orders (between each two losses in one "
        "scenario, and each two scenarios for one loss), in the calibrated toy with the same "
        f"losses. The prediction, stated in advance, is the toy after {EPOCHS:,} epochs; "
        "earlier readings are shown beside it. Shares are of comparisons that both decide, with "
        "Wilson's interval, which takes comparisons for independent and so is too narrow. "
        "`by a guess`: of signs what one guess everywhere, the models' own commonest sign, would "
        "get; of orders, whose direction is a matter of listing, what a coin would.",
        "",
        "| model | toy read at | comparison | quantity | toy right | by a guess |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for title, model in models.items():
        for epoch, effects in sorted(predicted.items(), reverse=True):
            for kind, quantity, score in toy.scores(effects, model):
                cells = (title, f"{epoch:,}", kind, quantity, score.text, f"{score.guessed:g}")
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
