"""Make a small run, read it again as a table with one row for each step, and ask the table questions (needs pandas)."""

import milr

PROMPTS = [
    "a photo of a large striped blue star left of a small outlined red heart",
    "a photo of three small striped red hearts",
    "a photo of four large outlined green squares",
]

milr.generate(PROMPTS, out="runs/example", samples=2, pictures=3, stop=False, seed=5)  # the same call resumes

run = milr.load_run("runs/example")
steps = run.to_pandas()
print(f"{run.config.model}, {run.config.method}, reward {run.config.reward}: {len(steps)} pictures")
print(steps.groupby("step")["score"].mean().rename("mean score by step"))
print(steps.groupby("prompt")["score"].max().rename("best score by prompt"))
