"""What a run's method and model are, in phrases for the readers of reports; pages show their own names, too."""

from __future__ import annotations

from milr.runs.config import RunConfig

EXPLANATIONS = {
    "latent_reasoning": "MILR, which moves the free latents by policy-gradient updates and draws again",
    "frozen": "latent_reasoning with learning rate 0: it draws again from the same latents, and nothing moves",
    "random_walk": "latent_reasoning with updates in random directions, each as long as the gradient's",
    "plain": "one picture from the bare prompt",
    "text_enhanced": "one picture from the prompt and its greedily decoded visualisation",
    "redraw_plain": "draws again and again from the bare prompt",
    "redraw_greedy": "draws again and again from one greedily decoded visualisation",
    "redraw_sampled": "draws again and again, each time from a newly sampled visualisation",
    "repair": "draws pictures of new visualisations, then forces the likeliest other token into the best of them",
    "repair_unforced": "repair's control: draws on from the same positions of the best picture, and forces nothing",
    "repair_same_text": "repair's control: draws the best picture's visualisation again",
    "repair_new_text": "repair's control: draws pictures of new visualisations only, the first ones cool",
    "revise": "draws pictures of new visualisations, then has the best one's written anew by what the picture lacks",
    "parm": "draws groups of pictures by half, and finishes those whose half the judge likes best",
    "parm_blind": "parm's control: draws as much and finishes as many, without judging partial pictures",
    "reject_early": "draws groups of pictures, and overwrites those whose quarter or half the judge likes least",
    "reject_early_blind": "reject_early's control: forks as many pictures, without judging partial ones",
    "revise_blind": "revise's control: has the best picture's visualisation written anew without what it shows",
    "pictures": "a folder of pictures, made by any tool",
}
PAPER_MODELS = ("deepseek-community/Janus-Pro-7B", "deepseek-community/Janus-Pro-1B")  # as the catalogue names them
BEST_OF_N, RESAMPLE = "keeps the best (Best-of-N)", "stops above the threshold (resample)"


def explain_method(config: RunConfig) -> str:
    """What the run's method does; "" for a method from outside the package."""
    phrase = EXPLANATIONS.get(config.method, "")
    if not config.method.startswith("redraw_") or not phrase:
        return phrase
    return f"{phrase}, and {BEST_OF_N if config.settings.get('threshold') is None else RESAMPLE}"


def other_model(config: RunConfig) -> str:
    """A sentence where the run's model is not known to be one of the paper's; "" elsewhere, and for scored pictures.

    A folder or another name may hold other weights, so that only the names of the catalogue count.
    """
    if config.command == "score" or config.model in PAPER_MODELS:
        return ""
    names = ", ".join(name.rpartition("/")[2] for name in PAPER_MODELS)
    return (
        f"{config.model} is not known to be one of the paper's models ({names}): do not set its numbers beside theirs."
    )
