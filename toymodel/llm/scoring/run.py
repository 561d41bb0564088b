"""Score pairs in batches, keep what is done, and go on after an interruption."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from tqdm import tqdm

from toymodel._errors import refuse
from toymodel.llm.batches import PairTokens, collate, pad_token_of
from toymodel.llm.journal import Journal
from toymodel.llm.loop import no_bar
from toymodel.llm.scoring.first_step import first_step
from toymodel.llm.scoring.likeness import likeness
from toymodel.llm.scoring.own_answers import OwnAnswers, own_answers
from toymodel.llm.scoring.preparing import Prepared, digest, longest_of
from toymodel.llm.scoring.settings import Settings
from toymodel.llm.scoring.states import Reader
from toymodel.sequences import ches

_NOT_FINITE = "the model gives it a log-probability that is not finite"

Scores = dict[str, float | int]


@dataclasses.dataclass(frozen=True)
class ScoredRow:
    """A row with its scores, or without.

    Args:
        prepared: the row.
        scores: by name; empty where it is skipped.
        skipped: why it is.
    """

    prepared: Prepared
    scores: Mapping[str, float | int]
    skipped: str | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """All rows of the data, in its order.

    Args:
        rows: each with scores or a reason.
        own: of the model's own answers; None where nobody asked.
        is_linear: whether logits are the unembedding of hidden states and nothing more, so that
            predicted steps are exact for the unembedding.
        settings: that were asked for.
    """

    rows: list[ScoredRow]
    own: OwnAnswers | None
    is_linear: bool
    settings: Settings


def score_pairs(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Prepared],
    settings: Settings | None = None,
    *,
    journal: Path | None = None,
    stamp: str = "",
    progress: bool | None = True,
) -> Result:
    """Score every pair under a model that has not been trained on them.

    Args:
        model: a causal language model of transformers, on its device.
        tokenizer: its own.
        rows: of `prepare`.
        settings: what is asked for.
        journal: a file that keeps what is done; where it is of the same data, model and settings,
            the work goes on from it.
        stamp: says which model it is.
        progress: show a progress bar with the time left; None: only on a terminal.

    Raises:
        InputError: no row that can be scored (the reason of the first is named), or tokens that
            the model does not have.
    """
    settings = settings or Settings()
    kept = [at for at, row in enumerate(rows) if row.tokens is not None]
    if not kept:
        first = f"{rows[0].read.place}: {rows[0].skipped}" if rows else "there are no rows"
        raise refuse("data", "no pair that can be scored", "one at least", f"the first: {first}")
    _check_vocabulary(model, rows)
    model.eval()
    pad_token = pad_token_of(tokenizer)
    reader = Reader(model)
    parts = [kept[i : i + settings.batch_size] for i in range(0, len(kept), settings.batch_size)]
    done = _begin(journal, {**settings.as_data(), "data": digest(rows), "model": stamp})
    found = [batch["scores"] for batch in done]
    linear = all(batch["linear"] for batch in done)
    with tqdm(
        total=len(kept), initial=sum(map(len, found)), unit="pair", desc="scoring", delay=2,
        disable=no_bar(progress),
    ) as bar:  # fmt: skip
        for number in range(len(found), len(parts)):
            pairs = [_tokens(rows[at]) for at in parts[number]]
            found.append(_batch(reader, pairs, pad_token, tokenizer.eos_token_id, settings))
            linear = linear and reader.is_linear is not False
            if journal is not None:
                record = {"step": number, "linear": linear, "scores": found[-1]}
                Journal(journal).add(record)
            bar.update(len(pairs))
    by_row = dict(zip(kept, (scores for batch in found for scores in batch), strict=True))
    scored = [_scored(row, by_row.get(at)) for at, row in enumerate(rows)]
    if all(row.skipped for row in scored):
        raise refuse("model", "no finite log-probability", "weights that are whole", "try float32")
    own = _own(model, tokenizer, scored, settings, pad_token)
    return Result([_with_gaps(row, own) for row in scored], own, linear, settings)


def _begin(journal: Path | None, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The batches that a journal of the same work has; any other is begun anew."""
    if journal is None:
        return []
    if journal.exists() and journal.stat().st_size:
        first, *batches = Journal(journal).go_on(2**63) or [{}]
        if first == header:
            return batches
    Journal(journal).begin(header)
    return []


def _check_vocabulary(model: Any, rows: Sequence[Prepared]) -> None:
    """Refuse the tokenizer of another model, before torch fails without saying why."""
    count = model.get_input_embeddings().num_embeddings
    pairs = [row.tokens for row in rows if row.tokens is not None]
    most = max(max((*pair.prompt, *pair.chosen, *pair.rejected)) for pair in pairs)
    if most >= count:
        expected = f"numbers below {count}, of which the model has embeddings"
        raise refuse("tokenizer", f"token {most}", expected, "give the model's own tokenizer")


def _tokens(row: Prepared) -> PairTokens:
    assert row.tokens is not None
    return row.tokens


def _batch(
    reader: Reader,
    pairs: Sequence[PairTokens],
    pad_token: int,
    end_token: int | None,
    settings: Settings,
) -> list[Scores | None]:
    """Scores of each pair; None where the model's log-probability is not finite."""
    device = next(reader.model.parameters()).device
    batch = collate(pairs, pad_token, device=device)
    scored, states = reader.read(batch)
    finite = torch.isfinite(scored.total).reshape(2, -1).all(dim=0).tolist()
    if not all(finite):
        usable = [pair for pair, is_usable in zip(pairs, finite, strict=True) if is_usable]
        rest = iter(_batch(reader, usable, pad_token, end_token, settings) if usable else [])
        return [next(rest) if is_usable else None for is_usable in finite]
    steps = first_step(settings.loss, scored, states, batch=settings.batch)
    totals, lengths = scored.total.double().cpu().numpy(), scored.lengths.cpu().numpy()
    columns = {
        **_halves("log_prob", totals),
        **_halves("per_token", totals / lengths),
        **_halves("length", lengths),
        "ches": _ches(states.sums(len(totals))),
        "ches_per_token": _ches(states.sums(len(totals), mean=True)),
        "kernel_chosen": steps.chosen.cpu().numpy(),
        "kernel_across": steps.across.cpu().numpy(),
        "first_step": steps.own.cpu().numpy(),
        "first_step_per_token": steps.own.cpu().numpy() / lengths[: len(pairs)],
    }
    if steps.batch is not None:
        columns["first_step_batch"] = steps.batch.cpu().numpy()
    return [
        {name: values[i].item() for name, values in columns.items()}
        | likeness(pair, end_token)._asdict()
        for i, pair in enumerate(pairs)
    ]


def _halves(name: str, rows: np.ndarray) -> dict[str, np.ndarray]:
    chosen, rejected = rows.reshape(2, -1)
    return {f"chosen_{name}": chosen, f"rejected_{name}": rejected}


def _ches(summed: torch.Tensor) -> np.ndarray:
    """CHES of the toy, whose sum over positions is over one that is the sum already."""
    with jax.enable_x64(True):
        chosen, rejected = jnp.asarray(summed.double().cpu().numpy()).reshape(
            2, -1, 1, summed.shape[1]
        )
        return np.asarray(ches(chosen, rejected))


def _scored(row: Prepared, scores: Mapping[str, float | int] | None) -> ScoredRow:
    if row.tokens is None:
        return ScoredRow(row, {}, row.skipped)
    if scores is None or not all(map(math.isfinite, scores.values())):
        return ScoredRow(row, {}, _NOT_FINITE)
    return ScoredRow(row, scores)


def _own(
    model: Any, tokenizer: Any, scored: Sequence[ScoredRow], settings: Settings, pad_token: int
) -> OwnAnswers | None:
    usable = [_tokens(row.prepared) for row in scored if row.skipped is None]
    count = min(settings.own_prompts, len(usable))
    if not count:
        return None
    drawn = np.random.default_rng(settings.seed).choice(len(usable), count, replace=False)
    pairs = [usable[at] for at in drawn]
    longest = max(len(response) for pair in pairs for response in (pair.chosen, pair.rejected))
    asked = max(len(pair.prompt) for pair in pairs)
    positions = longest_of(model, None)
    room = settings.own_tokens if positions is None else max(1, positions - asked)
    return own_answers(
        model,
        [pair.prompt for pair in pairs],
        pad_token=pad_token,
        end_token=tokenizer.eos_token_id,
        max_new_tokens=min(longest, settings.own_tokens, room),
        batch_size=settings.batch_size,
        seed=None if settings.greedy else settings.seed,
    )


def _with_gaps(row: ScoredRow, own: OwnAnswers | None) -> ScoredRow:
    if own is None or row.skipped is not None:
        return row
    gaps = {
        f"{half}_gap": row.scores[f"{half}_per_token"] - own.mean for half in ("chosen", "rejected")
    }
    return dataclasses.replace(row, scores={**row.scores, **gaps})
