"""Several runs beside each other: their numbers, tables, page and exports."""
