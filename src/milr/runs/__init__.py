"""Runs on disk: configuration (config), folder (store), records, execution of jobs (runner), official layouts."""
