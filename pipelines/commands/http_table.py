"""How `weir bench http` shows what it measured: front, Moderator in process and bare route, for each ingress."""

from collections.abc import Mapping

from rich.table import Table

from pipelines.bench.report import Comparison


def make_http_table(comparisons: Mapping[str, Comparison]) -> Table:
    """Return a table of comparisons that `weir bench http` makes, at least one of a front with the Moderator."""
    caption = next(iter(comparisons.values())).hardware
    table = Table("", "requests/s", "p50 ms", "p99 ms", "ratio", caption=caption)
    for name, texts in comparisons.items():
        if f"{name}_echo" not in comparisons:
            continue
        ingress, _, batch_size = name.rpartition("_")
        echo, p50, p99 = (comparisons[f"{name}_{part}"] for part in ("echo", "p50", "p99"))
        echo_p50, echo_p99 = (comparisons[f"{name}_echo_{part}"] for part in ("p50", "p99"))
        table.add_row(f"{ingress}, {batch_size} a request", *map(_figure, (echo.value, p50.value, p99.value)), "")
        # The comparison itself is in texts.
        in_process = (texts.against / int(batch_size), p50.against, p99.against)
        table.add_row("  in process", *map(_figure, in_process), _ratio(texts))
        bare = (echo.against, echo_p50.against, echo_p99.against)
        table.add_row("  a bare route", *map(_figure, bare), _ratio(echo), end_section=True)
    return table


def _ratio(row: Comparison) -> str:
    return f"{row.ratio:.2f} ({row.ratio_lowest:.2f} to {row.ratio_highest:.2f})"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
