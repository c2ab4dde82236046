"""What a user asks for, each from options to results: prepare, generate, bench, experiments, scoring, agreement."""
