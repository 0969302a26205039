"""Reports of measurements: Markdown tables, and pages with tables and pictures."""

from __future__ import annotations

from cmid.reporting.report import Report, Section, write_report
from cmid.reporting.table import Row, Table, markdown_table

__all__ = ["Report", "Row", "Section", "Table", "markdown_table", "write_report"]
