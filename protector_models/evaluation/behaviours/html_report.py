"""The report of behaviour tests as one HTML file that needs nothing from outside. It holds texts of the worst rows."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from protector_models.evaluation.behaviours.report import BehavioursReport

_TEMPLATE = "behaviours.html.j2"


def render_html(report: BehavioursReport) -> str:
    """Write the page."""
    here = Path(__file__).parent
    environment = Environment(
        # The style is that of all pages of figures.
        loader=FileSystemLoader([here, here.parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _format, "percent": _format_percent}
    return environment.get_template(_TEMPLATE).render(report=report)


def _format(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _format_percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
