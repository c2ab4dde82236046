"""Test-time latent reasoning for unified text-and-image models (MILR, arXiv 2509.22761)."""
