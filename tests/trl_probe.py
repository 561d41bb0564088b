"""Given log-probabilities, through the installed TRL's own loss code: its loss and its gradient.

There is no model, tokenizer, data set or network. A trainer is made without its ``__init__``, and
its "model" is a function that returns the wanted log-probabilities of tokens. TRL 1.16 asks DPO's
and KTO's model for log-probabilities (the fused head), CPO's and ORPO's for logits.

Going round ``__init__`` goes round its checks: ask only for what TRL accepts. TRL computes alpha
divergences and ORPO's odds in float32; everything else here is float64.
"""

import contextlib
import importlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch

IGNORED = -100  # the label of a token that is not of the response


class Result(NamedTuple):
    """TRL's loss, a mean over pairs (KTO: over responses), and its gradient in log pi, [pair]."""

    loss: float
    chosen: np.ndarray
    rejected: np.ndarray


class Responses(NamedTuple):
    """The responses of one kind: log-probabilities by token, [pair, token], and their lengths."""

    tokens: np.ndarray
    lengths: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """Whether a token is of the response, [pair, token]."""
        return np.arange(self.tokens.shape[1]) < self.lengths[:, None]


class OneProcess:
    """What the loss code uses of an accelerator."""

    device = torch.device("cpu")
    num_processes = 1

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    gather_for_metrics = gather


class FusedHead(torch.nn.Module):
    """A model that answers with given log-probabilities; the first token says which."""

    is_gradient_checkpointing = False

    def __init__(self, answers: dict[int, torch.Tensor], log_sum_squares: Any = None) -> None:
        super().__init__()  # where PEFT is installed, TRL looks at what modules a model has
        self.answers, self.log_sum_squares = answers, log_sum_squares

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, **_: Any) -> SimpleNamespace:
        log_probs = self.answers[int(input_ids[0, 0])]
        log_probs = log_probs.masked_fill(labels[:, 1:] == IGNORED, 0.0)
        zeros = torch.zeros_like(log_probs).detach()
        squares = zeros if self.log_sum_squares is None else self.log_sum_squares
        return SimpleNamespace(
            log_probs=log_probs,
            entropy=zeros,
            mean_logits=zeros,
            log_sum_sq_probs=squares,
            is_top1=zeros.bool(),
            aux_loss=None,
        )


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """TRL makes some constants in torch's default."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def trainer(path: str, **attributes: Any) -> Any:
    """A trainer of TRL by its path, without its ``__init__``."""
    module, name = path.rsplit(".", 1)
    cls = getattr(importlib.import_module(module), name)
    made = object.__new__(cls)
    common = {
        "accelerator": OneProcess(),
        "aux_loss_enabled": False,
        "precompute_ref_logps": False,
        "is_encoder_decoder": False,
        "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    for key, value in {**common, **attributes}.items():
        setattr(made, key, value)
    return made


def inputs(mask: np.ndarray, first_token: int, prefix: str = "") -> dict[str, torch.Tensor]:
    """A batch of one prompt token and a response a row."""
    completion = torch.as_tensor(np.pad(mask, ((0, 0), (1, 0)))).long()
    tokens, attention = torch.full_like(completion, 3), completion.clone()
    tokens[:, 0], attention[:, 0] = first_token, 1
    names = ("input_ids", "attention_mask", "completion_mask")
    values = (tokens, attention, completion)
    return {prefix + name: value for name, value in zip(names, values, strict=True)}


def both(*kinds: Responses) -> tuple[np.ndarray, np.ndarray]:
    """Chosen above rejected, as TRL stacks them: tokens and mask, [2 pair, token]."""
    return np.concatenate([k.tokens for k in kinds]), np.concatenate([k.mask for k in kinds])


def differentiated(
    compute: Callable[[torch.Tensor], torch.Tensor],
    tokens: np.ndarray,
    mask: np.ndarray,
    dtype: Any,
) -> Result:
    """The loss, and its gradient in each response's log-probability: that of its first token.

    (The first token counts in full in every loss, also where LD-DPO discounts later ones.)
    """
    leaf = torch.tensor(tokens * mask, dtype=dtype, requires_grad=True)
    loss = compute(leaf)
    loss.backward()
    chosen, rejected = np.split(leaf.grad.numpy()[:, 0].astype(float), 2)
    return Result(float(loss), chosen, rejected)


def dpo(
    policy: Sequence[Responses],
    reference: Sequence[Responses],
    loss_type: str | list[str] = "sigmoid",
    *,
    beta: float = 0.1,
    f_divergence: str = "reverse_kl",
    f_alpha: float = 0.5,
    label_smoothing: float = 0.0,
    ld_alpha: float | None = None,
    use_weighting: bool = False,
    log_sum_squares: np.ndarray | None = None,
    loss_weights: list[float] | None = None,
    discopop_tau: float = 0.05,
) -> Result:
    """``DPOTrainer``. Policy and reference are chosen and rejected responses."""
    dtype = torch.float32 if f_divergence == "alpha_divergence" else torch.float64
    kinds = [loss_type] if isinstance(loss_type, str) else loss_type
    tokens, mask = both(*policy)
    reference_tokens = torch.tensor(both(*reference)[0], dtype=dtype)
    squares = None if log_sum_squares is None else torch.tensor(log_sum_squares, dtype=dtype)
    made = trainer(
        "trl.trainer.dpo_trainer.DPOTrainer",
        ref_model=FusedHead({1: reference_tokens}),
        args=SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=discopop_tau),
        beta=beta,
        loss_types=kinds,
        loss_weights=loss_weights or [1.0] * len(kinds),
        ld_alpha=ld_alpha,
        f_divergence_type=f_divergence,
        f_alpha_divergence_coef=f_alpha,
        label_smoothing=label_smoothing,
        use_weighting=use_weighting,
    )

    def compute(leaf: torch.Tensor) -> torch.Tensor:
        made.model = FusedHead({1: leaf}, squares)
        return made._compute_loss(made.model, inputs(mask, 1), False)

    with default_dtype(dtype):
        return differentiated(compute, tokens, mask, dtype)


def kto(
    policy: Sequence[Responses],
    reference: Sequence[Responses],
    mismatched_log_ratio: np.ndarray,
    loss_type: str = "kto",
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Result:
    """``KTOTrainer``, whose KL comes from mismatched prompts and responses, [2 pair]."""
    dtype = torch.float64
    tokens, mask = both(*policy)
    mismatched = torch.tensor(mismatched_log_ratio[:, None], dtype=dtype)
    reference_tokens = torch.tensor(both(*reference)[0], dtype=dtype)
    made = trainer(
        "trl.trainer.kto_trainer.KTOTrainer",
        ref_model=FusedHead({1: reference_tokens, 2: torch.zeros_like(mismatched) - 40}),
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        beta=beta,
        loss_type=loss_type,
        calculate_KL=loss_type == "kto",
        desirable_weight=desirable_weight,
        undesirable_weight=undesirable_weight,
    )
    half = len(tokens) // 2
    batch = {
        **inputs(mask, 1),
        **inputs(np.ones((len(tokens), 1), bool), 2, "KL_"),
        "label": torch.tensor([1] * half + [0] * half),
    }

    def compute(leaf: torch.Tensor) -> torch.Tensor:
        made.model = FusedHead({1: leaf, 2: mismatched - 40})
        return made._compute_loss(made.model, batch, False)

    with default_dtype(dtype):
        return differentiated(compute, tokens, mask, dtype)


def _without_reference(path: str, policy: Sequence[Responses], **attributes: Any) -> Result:
    """CPO and ORPO read logits: a vocabulary of two, and every label its first token."""
    dtype = torch.float64
    tokens, mask = both(*policy)
    made = trainer(path, pad_token_id=0, padding_value=0, **attributes)
    batch = {}
    for name, responses in zip(("chosen", "rejected"), policy, strict=True):
        read = inputs(responses.mask, 0, f"{name}_")
        read[f"{name}_input_ids"] = torch.zeros_like(read[f"{name}_input_ids"])
        completion = read.pop(f"{name}_completion_mask").bool()
        read[f"{name}_labels"] = torch.where(completion, 0, IGNORED)
        batch |= read

    def compute(leaf: torch.Tensor) -> torch.Tensor:
        log_probs = torch.where(torch.tensor(mask), leaf, -1.0)  # beyond the response: any number
        logits = torch.stack([log_probs, torch.log(-torch.expm1(log_probs))], -1)
        logits = torch.cat([logits, torch.zeros_like(logits[:, :1])], 1)  # the last predicts none
        return made.get_batch_loss_metrics(lambda *_, **__: SimpleNamespace(logits=logits), batch)[
            0
        ]

    with default_dtype(dtype):
        return differentiated(compute, tokens, mask, dtype)


def cpo(
    policy: Sequence[Responses],
    loss_type: str = "sigmoid",
    *,
    beta: float = 0.1,
    cpo_alpha: float = 0.0,
    simpo_gamma: float = 0.5,
    alpha: float = 0.0,
    label_smoothing: float = 0.0,
) -> Result:
    """``CPOTrainer``; alpha is AlphaPO's."""
    return _without_reference(
        "trl.experimental.cpo.cpo_trainer.CPOTrainer",
        policy,
        loss_type=loss_type,
        beta=beta,
        cpo_alpha=cpo_alpha,
        simpo_gamma=simpo_gamma,
        alpha=alpha,
        label_smoothing=label_smoothing,
    )


def orpo(policy: Sequence[Responses], *, beta: float = 0.1) -> Result:
    """``ORPOTrainer``, with its cross-entropy: a mean over the chosen tokens of the batch."""
    path = "trl.experimental.orpo.orpo_trainer.ORPOTrainer"
    return _without_reference(path, policy, beta=beta)
