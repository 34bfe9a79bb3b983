"""HEAR's second stage: guess the tokens that were hidden (section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.batch import AudioBatch
from distill.data.errors import UserError, require_one_of
from distill.frozen import Frozen
from distill.objectives.objective import Objective
from distill.objectives.parts.masking import KINDS, draw_mask, official_mask
from distill.students.hear.students import Hear, HearTokenizer, Tokens
from distill.students.student import Student


class MaskedTokenPrediction(Objective):
    """The student hears a clip with tokens hidden, and names them as a frozen tokenizer does (HEAR, stage 2).

    Args:
        student: A `hear`.
        tokenizer: Trained `hear_tokenizer`: a run, a student folder or a hub id; in Python the student itself too.
        share: Of the tokens that is hidden.
        mask: How they are drawn: "random" (the paper's), "spans" or "inverse_blocks" of `span` tokens.
        span: Tokens of 20 ms in a run.
        learned_mask: Put a learned vector in the place of a hidden token, and not zeros.
        official: Do as the published code does: hide by normal noise (65.5 % at a share of 0.4), score padding, take
            the second half of each clip for padding, and give no gradient to the convolution.

    Raises:
        UserError: another student, no tokenizer, a share that hides nothing or everything.
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
        require_one_of("--objective.mask", mask, KINDS)
        if not 0 < share < 1 or span < 1:
            raise UserError(f"--objective.share {share} and .span {span}: between 0 and 1, and at least 1, are wanted")
        frozen = Frozen(tokenizer)
        if not isinstance(frozen.student, HearTokenizer):
            raise UserError(f"--objective.tokenizer {tokenizer}: the student in it is no `hear_tokenizer`")
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
        """{"masked_tokens": cross entropy over the hidden tokens}."""
        tokens = self.student.tokens(batch)
        time = tokens.features.shape[1]
        if self.official:
            tokens = tokens._replace(lengths=tokens.lengths // 2)
            noise = torch.randn(len(batch), time, device=batch.waveform.device)
            return self.score(batch, tokens, official_mask(noise, tokens.lengths, self.share))
        return self.score(batch, tokens, draw_mask(self.mask, tokens.lengths, time, self.share, self.span))

    def _labels(self, batch: AudioBatch, tokens: Tokens) -> Tensor:
        """What the tokenizer makes of the whole clips. Shape (batch, time)."""
        same = self.tokenizer.front_end.official == self.student.front_end.official and not self.official
        return self.tokenizer.tokenize(batch, heard=tokens if same else None)[0]

    def score(self, batch: AudioBatch, tokens: Tokens, hidden: Tensor) -> dict[str, Tensor]:
        """The loss with the mask `hidden` (batch, time)."""
        features = tokens.features.detach() if self.official else tokens.features
        empty = features.new_zeros(()) if self.mask_vector is None else self.mask_vector
        seen = torch.where(hidden.unsqueeze(2), empty.to(features.dtype), features)
        encoded = self.student.contextual(seen, tokens.lengths)
        logits = self.to_codes(encoded[hidden])
        if len(logits) == 0:  # clips so short that nothing was hidden
            return {"masked_tokens": encoded.sum() * 0}
        labels = self._labels(batch, tokens)[hidden]
        self.observed = {"masked_token_accuracy": float((logits.argmax(1) == labels).float().mean())}
        return {"masked_tokens": F.cross_entropy(logits.float(), labels)}
