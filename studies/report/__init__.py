"""The report of a study: fits, table, figures and page."""
