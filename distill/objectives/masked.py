"""HEAR's second stage: predict the codes of masked tokens (section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.batch import AudioBatch
from distill.data.errors import UserError, require_one_of
from distill.frozen import Frozen
from distill.objectives.objective import Objective
from distill.objectives.parts.masking import TOKEN_MASKS, draw_mask, official_mask, rows_where
from distill.objectives.parts.observed import observe
from distill.students.hear.students import Hear, HearTokenizer, Tokens
from distill.students.student import Student


class MaskedTokenPrediction(Objective):
    """Prediction of the codes that a frozen tokenizer gives to masked tokens (HEAR, stage 2).

    Args:
        student: A `hear`.
        tokenizer: Trained `hear_tokenizer`: a run, a student folder or a hub id; in Python also the student itself.
        share: Share of the tokens that is masked, between 0 and 1.
        mask: How masked tokens are drawn: "random" (the paper), "spans" or "inverse_blocks" of `span` tokens.
        span: Length of a span, in tokens of 20 ms.
        learned_mask: Whether a learned vector replaces a masked token. Otherwise zeros do.
        official: Whether to reproduce the published code. It masks by normal noise (65.5 % at a share of 0.4) and
            scores padding. It treats the second half of each clip as padding. The convolution has no gradient.

    Raises:
        UserError: the student is not a `hear`, the tokenizer is not a `hear_tokenizer`, or a number is out of range.
    """

    def __init__(
        self,
        student: Student,
        tokenizer: str | HearTokenizer,
        share: float = 0.4,
        mask: str = "random",
        span: int = 10,
        learned_mask: bool = False,
        official: bool = False,
    ) -> None:
        if not isinstance(student, Hear):
            raise UserError("the objective `masked_prediction` trains --student hear")
        require_one_of("--objective.mask", mask, TOKEN_MASKS)
        if not 0 < share < 1 or span < 1:
            raise UserError(f"--objective.share {share} must be between 0 and 1, --objective.span {span} at least 1")
        frozen = Frozen(tokenizer)
        if not isinstance(frozen.student, HearTokenizer):
            raise UserError(f"--objective.tokenizer {tokenizer}: its student is not a `hear_tokenizer`")
        super().__init__(student, {"masked_tokens": 1.0}, teachers={"tokenizer": frozen})
        self.student: Hear = student
        self.share, self.mask, self.span, self.official = share, mask, span, official
        hidden = student.sizes["hidden"]
        self.to_codes = nn.Linear(hidden, self.tokenizer.codes)
        self.mask_vector = nn.Parameter(torch.zeros(hidden)) if learned_mask else None

    @property
    def tokenizer(self) -> HearTokenizer:
        """The frozen tokenizer, which is not a child module."""
        frozen = self.teachers["tokenizer"]
        assert isinstance(frozen, Frozen)
        assert isinstance(frozen.student, HearTokenizer)
        return frozen.student

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        """Return {"masked_tokens": cross entropy over the masked tokens}."""
        tokens = self.student.tokens(batch)
        time = tokens.features.shape[1]
        if self.official:
            tokens = tokens._replace(lengths=tokens.lengths // 2, host_lengths=tokens.host_lengths // 2)
            noise = torch.randn(len(batch), time)
            return self.score(batch, tokens, official_mask(noise, tokens.host_lengths, self.share))
        return self.score(batch, tokens, draw_mask(self.mask, tokens.host_lengths, time, self.share, self.span))

    def score(self, batch: AudioBatch, tokens: Tokens, hidden: Tensor) -> dict[str, Tensor]:
        """Return the loss of one batch with a given mask.

        Args:
            batch: The clips.
            tokens: Tokens of the student.
            hidden: True where a token is masked. Shape (batch, time), bool, on the CPU.
        """
        rows = rows_where(hidden, tokens.features.device)
        hidden = hidden.to(tokens.features.device, non_blocking=True)
        features = tokens.features.detach() if self.official else tokens.features
        mask_vector = features.new_zeros(()) if self.mask_vector is None else self.mask_vector
        masked = torch.where(hidden.unsqueeze(2), mask_vector.to(features.dtype), features)
        # The published code masks padding too.
        encoded = self.student.contextual(masked, tokens.lengths, tokens.host_lengths, encode_padding=self.official)
        logits = self.to_codes(encoded.flatten(0, 1)[rows])
        if len(rows) == 0:  # clips so short that no token was masked
            return {"masked_tokens": encoded.sum() * 0}
        codes = self._codes(batch, tokens).flatten()[rows]
        self.observed = {"masked_token_accuracy": observe(float, (logits.argmax(1) == codes).float().mean())}
        return {"masked_tokens": F.cross_entropy(logits.float(), codes)}

    def _codes(self, batch: AudioBatch, tokens: Tokens) -> Tensor:
        """Return the tokenizer's codes of the unmasked clips. Shape (batch, time)."""
        same_front_end = self.tokenizer.front_end.official == self.student.front_end.official and not self.official
        return self.tokenizer.tokenize(batch, tokens if same_front_end else None, encode_padding=self.official)[0]
