"""The kinds of panel there are, and a dashboard made of rows of them. Knows no metric.

Built with Grafana's own library, which checks that what is set exists in Grafana's schema, not that
an expression finds anything: `make verify-dashboards` does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models import prometheus as queries

WIDTH = 24  # of Grafana's grid
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_HEIGHTS = {"stat": 4, "lines": 8, "heatmap": 8, "table": 8}

Kind = Literal["stat", "lines", "heatmap", "table"]
Builder: TypeAlias = timeseries.Panel | stat.Panel | heatmap.Panel | tables.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and what its series are called: `{{label}}` is a label's value."""

    expr: str
    legend: str = "{{device_class}}"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `unit` is Grafana's name of one; `warn` and `alarm` are the values from which it
    turns orange and red, falling ones where `warn` is above `alarm`."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "lines"
    width: int = 12
    warn: float | None = None
    alarm: float | None = None
    least: float | None = 0.0
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


def lines(title: str, unit: str, description: str, *queries: Query | str, **more: float) -> Panel:
    """Values over time; a query without a name is named for its device class."""
    return _panel("lines", title, unit, description, queries, more)


def number(title: str, unit: str, description: str, query: str, **more: float) -> Panel:
    """The last value, large."""
    return _panel("stat", title, unit, description, (Query(query, ""),), {"width": 4, **more})


def heat(title: str, unit: str, description: str, query: str, **more: float) -> Panel:
    """A histogram over time."""
    return _panel("heatmap", title, unit, description, (Query(query, "{{le}}"),), more)


def rows_of(title: str, unit: str, description: str, query: str, **more: float) -> Panel:
    """A table of labels and the value they have now."""
    return _panel("table", title, unit, description, (Query(query, ""),), more)


def _panel(
    kind: Kind,
    title: str,
    unit: str,
    description: str,
    given: Sequence[Query | str],
    more: dict[str, float],
) -> Panel:
    made = tuple(query if isinstance(query, Query) else Query(query) for query in given)
    return Panel(title, description, unit, made, kind, **more)  # type: ignore[arg-type]


def build(
    uid: str, title: str, description: str, rows: Sequence[Row], variables: Sequence[Variable]
) -> models.Dashboard:
    """The dashboard as Grafana imports it; every panel's `id` is its place."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["compofa"])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(_siblings())
        .with_variable(_source())
    )
    for variable in variables:
        made.with_variable(variable.build())
    number = 0
    for row in rows:
        number += 1
        made.with_row(dashboard.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            made.with_panel(_build(panel).id(number))
    return made.build()


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice of a label's values among the series of `of`; all of them at first."""

    name: str
    label: str
    of: str

    def build(self) -> dashboard.QueryVariable:
        return (
            dashboard.QueryVariable(self.name)
            .label(self.label)
            .datasource(SOURCE)
            .query(f"label_values({self.of}, {self.name})")
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
            .multi(True)
            .include_all(True)
            .all_value(".*")  # also where nothing has the label: a namespace outside Kubernetes
            .current(models.VariableOption(text="All", value="$__all", selected=True))
        )


def _source() -> dashboard.DatasourceVariable:
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _siblings() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("compofa")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags(["compofa"])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )


def _build(panel: Panel) -> Builder:
    made = _of_kind(panel)
    made.title(panel.title).description(panel.description).unit(panel.unit)
    made.datasource(SOURCE).span(panel.width).height(_HEIGHTS[panel.kind])
    if panel.least is not None:
        made.min(panel.least)
    if panel.most is not None:
        made.max(panel.most)
    if panel.warn is not None and panel.alarm is not None:
        made.thresholds(_thresholds(panel.warn, panel.alarm))
    for place, query in enumerate(panel.queries):
        made.with_target(_target(panel, query, chr(ord("A") + place)))
    return made


def _of_kind(panel: Panel) -> Builder:
    if panel.kind == "stat":
        last = common.ReduceDataOptions().calcs(["lastNotNull"])
        return stat.Panel().reduce_options(last).graph_mode(kinds.BigValueGraphMode.AREA)
    if panel.kind == "heatmap":
        colour = (
            heatmap.HeatmapColorOptions().scheme("Blues").mode(heatmaps.HeatmapColorMode.SCHEME)
        )
        axis = heatmap.YAxisConfig().unit(panel.unit)
        return heatmap.Panel().calculate(False).color(colour).y_axis(axis)
    if panel.kind == "table":
        return tables.Panel()
    legend = common.VizLegendOptions().show_legend(True)
    legend.display_mode(kinds.LegendDisplayMode.TABLE).placement(kinds.LegendPlacement.BOTTOM)
    tooltip = common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI)
    made = (
        timeseries.Panel()
        .fill_opacity(8)
        .line_width(1)
        .tooltip(tooltip.sort(kinds.SortOrder.DESCENDING))
    )
    if panel.warn is not None:
        style = common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED)
        made.thresholds_style(style)
    return made.legend(legend.calcs(["lastNotNull", "max"]))


def _thresholds(warn: float, alarm: float) -> dashboard.ThresholdsConfig:
    """Green, then orange, then red: upwards, or downwards where `warn` is above `alarm`."""
    steps = [(None, "green"), (warn, "orange"), (alarm, "red")]
    if warn > alarm:
        steps = [(None, "red"), (alarm, "orange"), (warn, "green")]
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=colour) for value, colour in steps])
    )


def _target(panel: Panel, query: Query, ref_id: str) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(query.expr).ref_id(ref_id).datasource(SOURCE)
    if panel.kind == "table":
        return made.instant().format(queries.PromQueryFormat.TABLE)
    if panel.kind == "heatmap":
        made.format(queries.PromQueryFormat.HEATMAP)
    if panel.kind != "stat" and "_bucket{" in query.expr:
        made.exemplar(True)
    return made.range().legend_format(query.legend)
