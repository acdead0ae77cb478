"""The report of behaviour tests: it is printed, written as JSON, and drawn as HTML."""

from protector_models.evaluation.report import Figures, Span


class Share(Figures):
    """A share of rows."""

    n: int
    """Rows it is of."""
    value: float | None
    """In [0, 1]; None without rows."""
    interval: Span | None
    """Over resampled templates; Wilson's where all rows agree."""


class GroupReport(Figures):
    """Rows that have one value of a facet."""

    right: Share
    by_wanted: dict[str, Share]
    """Share right among the rows that want `allow`, and among those that want `act`; those alone that there are."""
    retention: Share | None
    """None where no row is compared with one that is alone."""


class PairsReport(Figures):
    """Rows that differ in what must not matter."""

    n: int
    """Groups of at least two rows of one pair that want one verdict."""
    mean_spread: float
    """Of the highest and the lowest harmfulness in a group."""
    max_spread: float
    split: Share
    """Groups in which some rows are flagged and others not."""
    widest: dict[str, float]
    """Spread of the widest groups, by "pair (wanted)"."""


class WorstRow(Figures):
    """A row on the wrong side of the threshold."""

    id: str
    wanted: str
    score: float
    prompt: str
    text: str
    """The answer, or what of it the test is about and a little before and after."""


class KindReport(GroupReport):
    """Figures of one kind."""

    about: str
    n: int
    """Rows that were scored."""
    failed: int
    """Rows without a score; in no figure."""
    partly_read: int
    """Scored rows of which the detector says that it did not read all."""
    harmless_retention: Share | None
    """Of harmless pieces left alone by themselves, the share left alone in company."""
    named: Share | None
    """Of rows acted on that have a category, the share whose category the detector puts first."""
    auroc: float | None
    auroc_interval: Span | None
    ece: float | None
    """Of rows as they are mixed here: figures of kinds compare only with themselves."""
    by: dict[str, dict[str, GroupReport]]
    """By facet, then by value."""
    pairs: PairsReport | None
    worst: list[WorstRow]
    """As many as were asked for, worst first."""


class BehavioursReport(Figures):
    """Figures of one detector at one threshold."""

    detector: str
    threshold: float
    half: str
    """`development`, `test` or `all`."""
    n: int
    """Rows that were scored, of all kinds."""
    mean_right: float | None
    """Mean of the kinds' shares right."""
    kinds: dict[str, KindReport]
