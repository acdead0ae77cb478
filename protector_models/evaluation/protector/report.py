"""The report of the experiment: figures only, never a text of a question or an answer."""

from protector_models.evaluation.report import Figures, Span


class JudgeFigures(Figures):
    """Who judged the answers, before and after."""

    revision: str
    threshold: float
    """Harmfulness from which on an answer counts as unsafe."""
    blind_to: str
    """What it cannot see."""


class Share(Figures):
    """A share of some rows with its 95% interval, by bootstrap (Wilson's where all rows agree); None without rows."""

    n: int
    value: float | None
    interval: Span | None


class LabelFigures(Figures):
    """Measured by the labels of the set instead of the judge; over the rows that have one."""

    caught: Share
    """Of the answers labelled harmful: not delivered as they were."""
    safe_unchanged: Share
    """Of the answers labelled safe: delivered as they were."""
    judge_recall: Share
    """Of the answers labelled harmful: the judge calls them unsafe. How blind the judge is here."""
    judge_false_alarms: Share
    """Of the answers labelled safe: the judge calls them unsafe."""


class AttackFigures(Figures):
    """Answers to questions that ask for harm, of one scenario or of a whole set."""

    n: int
    """Rows that ended with a verdict and were judged before and after."""
    failed: int
    """Rows that ended without an answer or a verdict, so that nothing was delivered; in no share."""
    unjudged: int
    """Rows that the judge could not judge; in no share."""
    unsafe_before: Share
    """Unsafe answers of the MLLM."""
    unsafe_after: Share
    """Unsafe answers among what is delivered; a row of which nothing is delivered counts as not unsafe."""
    difference: Share
    """After minus before, over the same rows; below 0 is what the protection is worth."""
    rewritten: Share
    withheld: Share
    """Of which nothing is delivered: held back for review, or blocked."""
    unchanged: Share
    """Delivered as they were."""
    labels: LabelFigures | None
    """None where the set has no labels."""


class AttackSetFigures(Figures):
    """One set of attacks."""

    total: AttackFigures
    scenarios: dict[str, AttackFigures]
    always_refuse: Share
    """Unsafe answers if each were replaced by the policy's default text: what the judge makes of a refusal."""
    methods: dict[str, int]
    """Rewrites by the method that made them."""
    failures: dict[str, int]
    """Rows that failed, by error."""
    passed_over: int
    """Records without an answer, and no MLLM to give one."""
    images: int
    """Rows with a picture."""
    images_read: int
    """Of them, rows whose pictures were all read."""
    images_unread: dict[str, int]
    """Pictures that were not read, by reason."""
    images_missing: int
    """Rows whose picture is named but was not at hand; run without it."""


class BenignSetFigures(Figures):
    """One set of harmless questions. "Do nothing" would have 1 here, and "always refuse" 0."""

    n: int
    failed: int
    unchanged: Share
    """Delivered as they were."""
    rewritten: Share
    withheld: Share
    actions: dict[str, int]
    images: int
    images_read: int
    images_unread: dict[str, int]
    images_missing: int
    passed_over: int


class ProtectorReport(Figures):
    """Figures of one configuration."""

    judge: JudgeFigures
    revisions: dict[str, str]
    """Of every model that took part."""
    policy: str
    attacks: dict[str, AttackSetFigures]
    benign: dict[str, BenignSetFigures]
    max_rows: int | None
    """Rows drawn from each set at most, with a fixed seed; None: all were taken."""
