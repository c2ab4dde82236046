"""`milr bundle`: runs and their comparisons as a folder of static pages for any web server."""
