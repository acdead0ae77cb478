"""When so many records become dead letters that something else must be wrong, and how a worker comes back from it."""

from collections import deque
from collections.abc import Callable

from pipelines.streaming.settings import DeadLetterSettings
from protector_models.moderation.errors import WeirError


class RunawayDeadLettersError(WeirError):
    """So many records became dead letters that something else must be wrong."""


class RunawayLimit:
    """Notices when too large a share of the last records were dead letters.

    Where the settings say so it asks for a probe then: after a while a few records are read again, and looked at by
    themselves. A probe that is no better is not published either; one that is ends the matter.
    """

    def __init__(self, settings: DeadLetterSettings, *, clock: Callable[[], float]) -> None:
        """Start with an empty window.

        Args:
            settings: window, share, and what happens after.
            clock: seconds that never go back.
        """
        self._settings = settings
        self._clock = clock
        self._groups: deque[tuple[int, int]] = deque()
        self._records = 0
        self._dead = 0
        self._probe_at: float | None = None

    @property
    def is_probing(self) -> bool:
        """Whether the next group is a probe: nothing has been published since the limit was reached."""
        return self._probe_at is not None

    @property
    def is_waiting(self) -> bool:
        """Whether it is too early for a probe: nothing shall be read."""
        return self._probe_at is not None and self._clock() < self._probe_at

    def check(self, *, num_records: int, num_dead_letters: int) -> None:
        """Look at a group of records that is about to be published, after those observed before.

        Raises:
            RunawayDeadLettersError: the window is full, or this is a probe, and more than the share are dead letters.
        """
        records, dead = num_records, num_dead_letters
        if not self.is_probing:
            records, dead = self._records + num_records, self._dead + num_dead_letters
            if records < self._settings.runaway_window:
                return
        share = self._settings.runaway_share
        if share is not None and dead > share * records:
            raise RunawayDeadLettersError(
                f"{dead} of the last {records} records became dead letters; "
                f"expected at most {share:.0%} (stream.dead_letters.runaway_share)"
            )

    def observe(self, *, num_records: int, num_dead_letters: int) -> None:
        """Take note of a group that was published; groups that the window does not need any more are forgotten."""
        if self.is_probing:
            self._probe_at = None
            self._groups.clear()
            self._records = self._dead = 0
        self._groups.append((num_records, num_dead_letters))
        self._records += num_records
        self._dead += num_dead_letters
        while self._records - self._groups[0][0] >= self._settings.runaway_window:
            records, dead = self._groups.popleft()
            self._records -= records
            self._dead -= dead

    def sit_out(self, error: RunawayDeadLettersError) -> None:
        """Wait for the next probe.

        Raises:
            RunawayDeadLettersError: `error`, where the settings know of no probes.
        """
        if self._settings.after_runaway == "stay_stopped":
            raise error
        self._probe_at = self._clock() + self._settings.probe_interval_s
