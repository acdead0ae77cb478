"""How far the rewriting of one response is: what was found in it, what may be tried, and what became of each try."""

from dataclasses import dataclass, field

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.harmful_spans import HarmfulSpan, join_spans
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.omission import omit, share_of
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import RewriteRequest, Span
from protector_models.moderation.release_check import Candidate, Checked, Opinion
from protector_models.moderation.rewrite_plan import Try, is_editable
from protector_models.moderation.stages import StageStatus
from protector_models.moderation.verdict import RewriteMethod

_NOT_EDITABLE = "NotEditable"
"""The harm is of a kind that no other wording takes away."""
_DOUBTFUL_NEIGHBOUR = "DoubtfulNeighbour"
"""Of another sentence the detector is not sure; it may be left out, but not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewritingTask:
    """A response that shall be rewritten."""

    exchange: Exchange
    assessment: Assessment
    """Of the exchange; what the rules make of it is a rewrite."""
    category: str | None
    rules: TenantRules
    language: str | None
    """Of the policy's texts, an ISO 639 code; None where it is not known."""
    has_response: bool = True
    """False where the MLLM was not asked; the assessment is then the request's."""
    completion: str | None = None
    """The policy's text to end with, where what the person needs chose it; None: the category's."""
    only_completes: bool = False
    """Whether that text alone may stand in for the response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewriting:
    """How a rewriting ended."""

    text: str | None = None
    """What may be delivered; None where nothing was to be rewritten, or no text passed."""
    assessment: Assessment | None = None
    """Of that text; the rules allow it."""
    method: RewriteMethod | None = None
    refused_reason: str | None = None
    """Why the last text before was not released."""
    status: StageStatus
    verification: StageStatus
    detoxifier: str | None = None
    """The detoxifier that was asked last on the way, "name@revision"."""
    second_opinion: str | None = None
    """The second opinion that was asked, "name@revision"."""
    cached: bool
    """True if every model output on the way came from the cache."""


NOT_REWRITTEN = Rewriting(status=StageStatus.SKIPPED, verification=StageStatus.SKIPPED, cached=True)
"""Stands for a response that was not to be rewritten."""


@dataclass(slots=True, kw_only=True)
class RewriteProgress:
    """How far the rewriting of one task is."""

    task: RewritingTask
    tries: list[Try]
    """Those that are left, the next one first."""
    spans: tuple[HarmfulSpan, ...] | ItemFailure | None = None
    """The harmful ones; None until some try needs them."""
    doubtful: tuple[HarmfulSpan, ...] = ()
    """Sentences beside them of which the detector is not sure."""
    refusals: list[tuple[RewriteMethod, str]] = field(default_factory=list)
    opinions: list[Opinion] = field(default_factory=list)
    """What the second opinion said of texts that the detector lets pass."""
    detoxifier: str | None = None
    """The one that was asked last."""
    second_opinion: str | None = None
    """The one that was asked last."""
    cached: bool = True
    met_outage: bool = False
    """Whether the detoxifier was away."""
    released: Rewriting | None = None

    def may_keep_some(self) -> bool:
        """Tell whether a text that keeps sentences can come of it: else nobody needs to know which."""
        spans, rules = self.spans, self.task.rules
        if not isinstance(spans, tuple):
            return False
        methods = rules.methods(self.task.category)
        can_omit = RewriteMethod.OMIT in methods and share_of(spans, self.task.exchange.response) <= rules.omit_share(
            self.task.category
        )
        return can_omit or (RewriteMethod.EDIT in methods and is_editable(spans, rules))

    def write(self, trial: Try) -> str | ItemFailure | RewriteRequest:
        """Return the text of a try that needs no model, else what to ask the detoxifier for."""
        task, rules = self.task, self.task.rules
        if trial.method is RewriteMethod.COMPLETE:
            text = task.completion or self._text_category()
            return rules.safe_completion(None if trial.attempt else text, task.language)
        if trial.method is RewriteMethod.GENERATE:
            return RewriteRequest(
                exchange=task.exchange, method=RewriteMethod.GENERATE, category=task.category, attempt=trial.attempt
            )
        spans = self.spans
        assert spans is not None  # they were looked for
        if isinstance(spans, ItemFailure):
            return spans
        if trial.method is RewriteMethod.OMIT:
            omission = rules.omission(self._text_category(), task.language)
            return omit(
                task.exchange.response, self._left_out(), omission=omission, up_to=rules.omit_share(task.category)
            )
        return self._ask_to_edit(spans)

    def as_candidate(self, trial: Try, text: str) -> Candidate:
        """Return the text of a try as one that is to be checked."""
        exchange, rules = self.task.exchange, self.task.rules
        if trial.method is RewriteMethod.COMPLETE:
            return Candidate.of_policy(exchange, text, rules)
        if trial.method is RewriteMethod.OMIT:
            return Candidate.of_remainder(exchange, text, rules, self._left_out())
        return Candidate.of_model(exchange, text, rules)

    def conclude(self, trial: Try, text: str, checked: Checked) -> None:
        """Take the text of a try as the rewriting, if it passed the check."""
        self.cached = self.cached and checked.cached
        if checked.opinion is not None:
            self.opinions.append(checked.opinion)
            self.second_opinion = checked.second_opinion
        if checked.refused_reason is not None:
            self.refusals.append((trial.method, checked.refused_reason))
            return
        assert checked.assessment is not None  # nothing passes that was not read
        self.released = Rewriting(
            text=text,
            assessment=checked.assessment,
            method=trial.method,
            refused_reason=self._last_reason(),
            status=StageStatus.COMPLETE,
            verification=checked.assessment.status(),
            detoxifier=self.detoxifier,
            second_opinion=self.second_opinion,
            cached=self.cached,
        )

    def end(self) -> Rewriting:
        """Return how the rewriting ended; where no text was released, that none was."""
        return self.released or Rewriting(
            refused_reason=self._last_reason(),
            status=StageStatus.FAILED,
            verification=StageStatus.FAILED,
            detoxifier=self.detoxifier,
            second_opinion=self.second_opinion,
            cached=self.cached,
        )

    def _ask_to_edit(self, spans: tuple[HarmfulSpan, ...]) -> ItemFailure | RewriteRequest:
        if not is_editable(spans, self.task.rules):
            return ItemFailure(error=_NOT_EDITABLE, message="expected harm that lies in the wording alone")
        if self.doubtful:
            message = f"expected the other sentences to be harmless, {len(self.doubtful)} may not be"
            return ItemFailure(error=_DOUBTFUL_NEIGHBOUR, message=message)
        return RewriteRequest(
            exchange=self.task.exchange,
            method=RewriteMethod.EDIT,
            spans=tuple(Span(start=span.start, end=span.end) for span in spans),
            category=self.task.category,
        )

    def _left_out(self) -> tuple[HarmfulSpan, ...]:
        """Return what a partial answer leaves out: harmful sentences, and those that may be."""
        spans = self.spans if isinstance(self.spans, tuple) else ()
        return join_spans(self.task.exchange.response, (*spans, *self.doubtful))

    def _text_category(self) -> str | None:
        return self.task.rules.text_category(self.task.category, self.task.assessment)

    def _last_reason(self) -> str | None:
        return self.refusals[-1][1] if self.refusals else None
