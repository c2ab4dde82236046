"""`milr serve`: one model behind a page, OpenAI's image and chat protocol, and Prometheus's metrics."""
