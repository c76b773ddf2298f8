"""The report as one HTML file: a chart, a finding and a table for each answer."""

from reports.page.facts import Facts, Level, TableFacts
from reports.page.render import render

__all__ = ["Facts", "Level", "TableFacts", "render"]
