"""Reports of a run: statistics (summary), pictures of numbers (figures), one page (html). Loads no torch."""
