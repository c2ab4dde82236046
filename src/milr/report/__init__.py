"""The report of a run: its numbers (summary), figures and page (html). Nothing here loads torch."""
