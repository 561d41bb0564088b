"""The command that scores preference data under a model, before it is trained on them."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from toymodel import losses
from toymodel._errors import whole
from toymodel.cli.options import OK, Json, Quiet, as_json, settings_of
from toymodel.storage import writable_folder

Flag = Annotated[bool, Parameter(negative="")]


def score(
    *,
    model: str,
    data: str,
    schema: str = "pairs",
    split: str = "train",
    loss: str = "dpo",
    settings: Annotated[tuple[str, ...], Parameter(name=["--set", "-s"], negative="")] = (),
    rank_by: str = "first_step",
    keep: float | None = None,
    drop_worst: int | None = None,
    batch: Flag = False,
    own_prompts: int = 64,
    greedy: Flag = False,
    seed: int = 0,
    batch_size: int = 8,
    max_length: int | None = None,
    limit: int | None = None,
    device: str = "auto",
    dtype: str = "float32",
    trust_remote_code: Flag = False,
    show: int = 10,
    out: Path = Path("runs/score"),
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Say which preference pairs are likely to push their chosen response down, before training.

    Each pair is scored under the model that training would begin with: log-probabilities, token
    overlap, edit distance, CHES, the change of log pi(chosen) that the first step on the
    unembedding makes, and how far both responses are from what the model says itself. Rows that
    cannot be scored (empty, equal, over-long, broken) are skipped with their reason. Stopped by
    Ctrl-C, the same command goes on where it was.

    Examples:

    `toymodel llm score --model runs/sft --data pairs.jsonl` prints the ten pairs likeliest to
    displace, and writes all scores to runs/score/scores.jsonl.

    `toymodel llm score --model runs/sft --data pairs.jsonl --keep 0.9` also writes a filtered
    set, runs/score/kept.jsonl, without the worst tenth.

    `toymodel llm score --model runs/sft --data hh-rlhf/ --schema hh_rlhf --split test --limit 500`

    `toymodel llm score --model runs/sft --data pairs.csv --loss flex_dpo --set
    loss.beta_rejected=0.05 --rank-by ches_per_token --drop-worst 100`

    Parameters
    ----------
    model
        Folder of a model and its tokenizer (safetensors), or a name on the hub, owner/name; the
        network is used for the latter only.
    data
        JSONL, JSON, CSV or parquet (gzipped as well), a folder of such files, or a name on the
        hub, owner/name or owner/name:configuration. Columns prompt, chosen, rejected: texts or
        messages; without prompt it is what chosen and rejected begin with alike.
    schema
        How rows are written: pairs, hh_rlhf or ultrafeedback.
    split
        Of a folder or a set of the hub.
    loss
        Whose first step is predicted: a name that `toymodel losses` lists.
    settings
        A number of the loss, as often as needed: loss.beta=0.05.
    rank_by
        first_step, first_step_per_token, first_step_batch, ches, ches_per_token, edit_share or
        chosen_gap.
    keep
        Share of the scored pairs to keep in kept.jsonl.
    drop_worst
        How many pairs to leave out of kept.jsonl instead.
    batch
        Also predict what all pairs of a batch, taken in the order of the file, do together.
    own_prompts
        Prompts that the model answers itself, for comparison; 0 for none.
    greedy
        Take its likeliest answers rather than samples.
    seed
        Of prompts and samples.
    batch_size
        Pairs at once: lower it where memory runs out.
    max_length
        Tokens of prompt and response together; by default what the model has room for.
    limit
        Rows at most, the first ones.
    device
        Such as cpu or cuda:0; auto takes an accelerator where there is one.
    dtype
        Of the weights: float32, bfloat16, float16, or auto, as they are stored.
    trust_remote_code
        Run code that comes with the model; read it first.
    show
        Rows of the table.
    out
        Folder for scores.jsonl, summary.json and kept.jsonl.
    """
    from toymodel.llm.extra import need

    for package in ("torch", "transformers"):
        need(package)
    from toymodel.llm import scoring as tool
    from toymodel.llm.data import read_pairs
    from toymodel.llm.scoring import loading, output, ranking

    whole("show", show, 0)
    ranking.check_filter(keep, drop_worst)
    wanted = tool.Settings(
        losses.get(loss, **settings_of(settings, ("loss",))["loss"]),
        batch_size=batch_size,
        max_length=max_length,
        rank_by=rank_by,
        batch=batch,
        own_prompts=own_prompts,
        greedy=greedy,
        seed=seed,
    )
    folder = writable_folder(out)
    rows = list(read_pairs(data, schema, split, limit=limit))
    policy, tokenizer = tool.load_model(
        model, device=device, dtype=dtype, trust_remote_code=trust_remote_code
    )
    prepared = tool.prepare(tokenizer, rows, tool.longest_of(policy, max_length))
    journal = folder / "scores.partial.jsonl"
    stamp = f"{loading.stamp_of(model)} {dtype}"
    try:
        found = tool.score_pairs(
            policy, tokenizer, prepared, wanted, journal=journal, stamp=stamp, progress=not quiet
        )
    except KeyboardInterrupt:
        print("\ntoymodel: the same command goes on from here.", file=sys.stderr)
        raise
    written = [output.write_lines(folder / "scores.jsonl", ranking.records(found))]
    written.append(output.write_text(folder / "summary.json", as_json(ranking.summary(found))))
    if keep is not None or drop_worst is not None:
        left = ranking.as_rows(ranking.kept(found, keep, drop_worst))
        written.append(output.write_lines(folder / "kept.jsonl", left))
    journal.unlink()
    print(as_json(ranking.summary(found)) if json else ranking.as_text(found, show))
    skipped = ranking.skipped_text(found)
    if skipped:
        print(f"\n{skipped}", file=sys.stderr)
    print(f"\nSaved {', '.join(map(str, written))}", file=sys.stderr)
    return OK
