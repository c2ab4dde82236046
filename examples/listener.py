"""A session with two listeners: one shows each search as it goes, one ends a search whose score stays the same."""

import milr
from milr.runs.events import Event, SearchFinished, SearchStarted, StepFinished, StopSearch

PROMPTS = ["a photo of two green squares", "a photo of four small outlined blue circles"]
PATIENCE = 3  # pictures without a better one, after which a search ends


def show(event: Event) -> None:
    """Print each picture's score when it is judged, and how each search ended."""
    match event:
        case StepFinished(prompt=prompt, step=step, cost=cost):
            print(f"{prompt.text}: step {step.index}, score {step.score.value}, {cost.token_steps} token-steps so far")
        case SearchFinished(outcome=outcome, done=done, total=total):
            print(f"{done} of {total}: {outcome.prompt.text!r} ended by {outcome.stop}, score {outcome.score.value}")


class Impatience:
    """Ends a search that has not become better for a while; it keeps the best picture."""

    def __init__(self) -> None:
        self.scores: dict[tuple[str, int], list[float]] = {}

    def __call__(self, event: Event) -> None:
        """Note a score, and end the search where the last ones are no better than those before."""
        match event:
            case SearchStarted(prompt=prompt, sample=sample):
                self.scores[prompt.text, sample] = []
            case StepFinished(prompt=prompt, key=key, step=step):
                scores = self.scores[prompt.text, key.sample]
                scores.append(step.score.value or 0)
                if len(scores) > PATIENCE and max(scores[-PATIENCE:]) <= max(scores[:-PATIENCE]):
                    raise StopSearch


with milr.load("nano", method="redraw_sampled", listener=show) as session:  # hears of all calls
    for prompt in PROMPTS:
        session.generate(prompt, pictures=12, seed=1, listener=Impatience())  # and this one of one call
