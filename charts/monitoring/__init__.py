"""What the chart's dashboards and recording rules are generated from.

`python -m charts.monitoring` writes them. Not part of the package. Alerts are kept by hand,
in the chart's `rules/`.
"""
