"""A causal language model that writes verdicts, with the probabilities of all verdicts beside them.

Prompts are computed together up to a number of tokens; the device may round differently in batches of another shape, so
only where `tokens_per_run` is 1 (the default on a CPU) is a score the same to the last bit whatever its neighbours are.

Importing this module takes seconds.

Shapes: B prompts of a run, T tokens of the longest of them, V vocabulary, L verdicts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from protector_models.guards.thoughts import is_mark_of_thought
from protector_models.guards.verdicts import AnswerToken, VerdictGrammar
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.running.split_runs import TRANSFORMERS_ERRORS, run_or_split
from protector_models.transformer_models.exchange_encoding import plan_token_runs

TokenIds = Sequence[int]


class GuardWriter:
    """Lets a model go on from prompts. Several threads may call it at once."""

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        *,
        generation: GenerationConfig,
        grammar: VerdictGrammar,
        revision: str,
        tokens_per_run: int,
    ) -> None:
        """Put a writer together.

        Args:
            model: a causal model of transformers, or a peft model around one, in evaluation mode on its device.
            tokenizer: the model's.
            generation: greedy; decides when an answer ends, and pads.
            grammar: says which tokens begin which verdict.
            revision: of the whole, for messages.
            tokens_per_run: tokens computed together, padding and those to be written included.
        """
        self._model = model
        self._tokenizer = tokenizer
        self._generation = generation
        self._revision = revision
        self._tokens_per_run = tokens_per_run
        self._ids_by_verdict = _find_beginnings(tokenizer, grammar)
        self._textless = _find_textless(tokenizer)

    def write(self, prompts: Sequence[TokenIds]) -> list[list[AnswerToken] | ItemFailure]:
        """Write an answer to each prompt, the token that ends it left out.

        Raises:
            ModelUnavailableError: the GPU failed or is out of memory.
        """
        answers: dict[int, list[AnswerToken] | ItemFailure] = {}
        runs = plan_token_runs(
            [len(ids) for ids in prompts],
            tokens_per_run=self._tokens_per_run,
            new_tokens=int(self._generation.max_new_tokens),
        )
        for run in runs:
            written = run_or_split(
                [prompts[place] for place in run],
                self._generate,
                revision=self._revision,
                num_tokens=len(prompts[run[-1]]),
                also=TRANSFORMERS_ERRORS,
            )
            answers |= zip(run, written, strict=True)
        return [answers[place] for place in range(len(prompts))]

    def _generate(self, prompts: Sequence[TokenIds]) -> list[list[AnswerToken]]:
        length = max(len(ids) for ids in prompts)
        ids_BT = torch.full((len(prompts), length), int(self._generation.pad_token_id), dtype=torch.int64)
        mask_BT = torch.zeros_like(ids_BT)
        for row, ids in enumerate(prompts):
            # The model goes on from the last column, so what is missing is filled up on the left.
            ids_BT[row, length - len(ids) :] = torch.tensor(ids)
            mask_BT[row, length - len(ids) :] = 1
        recorder = _VerdictRecorder(self._ids_by_verdict, self._model.device)
        with torch.inference_mode():
            written = self._model.generate(
                input_ids=ids_BT.to(self._model.device),
                attention_mask=mask_BT.to(self._model.device),
                generation_config=self._generation,
                logits_processor=LogitsProcessorList([recorder]),
            )
        scores_BSL = torch.stack(recorder.scores_BL, dim=1).cpu()
        return [
            self._to_tokens(ids, scores_SL)
            for ids, scores_SL in zip(written[:, length:].tolist(), scores_BSL.tolist(), strict=True)
        ]

    def _to_tokens(self, ids: Sequence[int], scores_SL: Sequence[Sequence[float]]) -> list[AnswerToken]:
        ends = set(self._generation.eos_token_id)
        end = next((place for place, token in enumerate(ids) if token in ends), len(ids))
        # Pieces of what the tokens make together: by itself a token may have no text, or another one.
        texts = [self._decode(ids[:num]) for num in range(end + 1)]
        return [
            AnswerToken(
                text=after[len(before) :], log_probabilities=dict(zip(self._ids_by_verdict, scores, strict=True))
            )
            for before, after, scores in zip(texts[:-1], texts[1:], scores_SL[:end], strict=True)
        ]

    def _decode(self, ids: Sequence[int]) -> str:
        ids = [token for token in ids if token not in self._textless]
        text = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text


class _VerdictRecorder(LogitsProcessor):
    """Keeps the logarithms of the verdicts' probabilities at every step, up to a summand, and changes nothing."""

    def __init__(self, ids_by_verdict: Mapping[str, Sequence[int]], device: torch.device) -> None:
        self._ids = [torch.tensor(ids, device=device) for ids in ids_by_verdict.values()]
        self.scores_BL: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002  # transformers' signature
        self.scores_BL.append(torch.stack([scores[:, ids].double().logsumexp(dim=1) for ids in self._ids], dim=1))
        return scores


def _find_textless(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the special tokens, which have no text in an answer; marks of a thought have some, special or not."""
    return frozenset(
        token
        for token, added in tokenizer.added_tokens_decoder.items()
        if added.special and not is_mark_of_thought(added.content)
    )


def _find_beginnings(tokenizer: Any, grammar: VerdictGrammar) -> dict[str, list[int]]:
    """Return for each verdict the tokens that begin it and no other.

    Args:
        tokenizer: a fast one. What is below it is thirty times as fast, which is seconds for a large vocabulary.
        grammar: of the guard.
    """
    found: dict[str, list[int]] = {label: [] for label in grammar.labels}
    texts: list[str] = tokenizer.backend_tokenizer.decode_batch([[token] for token in range(len(tokenizer))])
    # Special tokens have no text here, and begin nothing.
    for token, text in enumerate(texts):
        if (label := grammar.label_of_token(text)) is not None:
            found[label].append(token)
    return {label: tokens for label, tokens in found.items() if tokens}
