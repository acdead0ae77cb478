"""The report of a detoxifier's evaluation: figures, and never a text of a record."""

from protector_models.evaluation.detoxification.behaviours.report import BehaviourTable
from protector_models.evaluation.report import Figures, Span


class RewriteRow(Figures):
    """One way to rewrite the toxic texts of a set; means over its texts, None where the set has none."""

    sta: float | None
    """Share of texts that the judge of toxicity calls harmless."""
    sim: float | None
    """Similarity of source and rewrite, in [0, 1]."""
    chrf: float | None
    """ChrF against all references of the source, case ignored, in [0, 1]."""
    chrf_cased: float | None
    """The same with regard to case, as sacrebleu does by default; not in J."""
    fluency: float | None
    """How surely the rewrite was written by a person, in [0, 1]."""
    j: float | None
    """Mean of the product of STA (0 or 1), SIM and ChrF of each text."""
    j_fluency: float | None
    """The same with fluency as a further factor."""
    edit_rate: float | None
    """Words put in, taken out or replaced, per word of the source."""
    changed: float | None
    """Share of texts that differ from their source."""
    chrf_other_references: float | None
    """Of the row `reference`: ChrF against the others, where a source has several; None in other rows."""
    intervals: dict[str, Span | None]
    """95% bootstrap interval of each figure, over texts."""


class PairSetReport(Figures):
    """Toxic texts with human rewrites."""

    n: int
    """Distinct toxic texts."""
    pairs: int
    """Texts and references; a text has one or several."""
    with_several_references: int
    rows: dict[str, RewriteRow]
    """`duplicate`: nothing done; `delete`: listed words out; `reference`: a person; `weir`: the edit model."""
    j_ratio_to_delete: float | None
    """J of `weir` over J of `delete`."""
    j_ratio_interval: Span | None
    """95% interval over paired resamples of the texts."""
    failed: int
    """Texts that the edit model gave back as a failure; they count as unchanged."""
    ms_per_text: float | None
    """Of the edit model, texts one after the other in batches."""


class SafeSetReport(Figures):
    """Harmless answers: what is changed here is changed for nothing."""

    n: int
    safe_changed: float | None
    """Share that the edit model alone changes in any character."""
    safe_changed_interval: Span | None
    safe_changed_by_moderator: float | None
    """Share that is not delivered as it was."""
    detector_flagged: float | None
    """Share that the rules do not allow: the most that a Moderator may change."""
    failed: int
    """Rows that ended without edit or verdict; in none of the shares."""
    ms_per_text: float | None
    """Of the edit model."""


class MadeRewrites(Figures):
    """Delivered rewrites that one method made; means over them."""

    n: int
    similarity: float
    """Of answer and rewrite, in [0, 1]: how much of what the answer is about was kept."""
    fluency: float
    """How surely the rewrite was written by a person, in [0, 1]."""
    harm_before: float
    """Share of their answers that the judge of harm calls harmful."""
    harm_after: float
    """The same of the rewrites."""
    refusals: float
    """Share of the rewrites that open as a refusal does."""


class HarmfulSetReport(Figures):
    """Harmful answers through the whole Moderator."""

    n: int
    harm_before: float | None
    """Share of the answers that the judge of harm calls harmful."""
    residual_harm: float | None
    """Share of the delivered texts that it calls harmful: rewritten ones, and those that the detector let through."""
    residual_harm_interval: Span | None
    delivered: int
    """Rows of which a text was delivered."""
    actions: dict[str, int]
    """Rows by action; a rewrite that could not be released ends as a review."""
    methods: dict[str, int]
    """Rewrites by the method that made them."""
    made_by: dict[str, MadeRewrites]
    """Figures of the rewrites by the method that made them."""
    rewritten_harm_before: float | None
    """Share of the answers that were rewritten that the judge called harmful before."""
    rewritten_harm_after: float | None
    """The same after."""
    refusals_among_rewrites: float | None
    """Share of the rewrites that open as a refusal does."""
    refused_reasons: dict[str, int]
    """Why the last try before the delivered one was not released, by reason."""
    released_above_threshold: int
    """Delivered rewrites that the detector, asked anew with their prompt, would not let through: expected 0."""
    failed: int
    """Rows that ended without a verdict; in no other figure."""
    ms_per_text: float | None
    """Of the whole Moderator, in batches."""


class DetoxifierReport(Figures):
    """Every figure of one detoxifier."""

    sets: dict[str, PairSetReport]
    safe_changed: dict[str, float | None]
    safe_changed_by_moderator: dict[str, float | None]
    detector_flagged: dict[str, float | None]
    residual_harm: dict[str, float | None]
    harm_before: dict[str, float | None]
    released_above_threshold: int
    safe_sets: dict[str, SafeSetReport]
    harmful_sets: dict[str, HarmfulSetReport]
    behaviours: BehaviourTable
    """On rows that were written for the project, whose texts alone may be shown."""
    revisions: dict[str, str]
    """Of edit model, detector, judges and policy."""
    judges: dict[str, float | int | None]
    """How good the judges are on texts held out of their training, as their card says."""
    max_rows: int | None
    """Rows drawn from each set at most, with a fixed seed; None: all were taken."""
