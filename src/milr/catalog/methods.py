"""The methods that have a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from milr.catalog.parts import Part

if TYPE_CHECKING:
    from milr.base import Method
    from milr.methods.latent_reasoning import Settings as LatentSettings


def _redraw(visualise: str) -> Callable[..., Method]:
    def make(settings: Mapping[str, Any], visualisation: str | None) -> Method:
        from milr.latent.released import Quirks
        from milr.methods.redraw import redraw

        return redraw(visualise=visualise, guidance_scale=settings["guidance_scale"],  # type: ignore[arg-type]
                      temperature=settings["temperature"], visualisation=visualisation,
                      quirks=Quirks.of(settings))  # fmt: skip

    return make


def _latent_settings(settings: Mapping[str, Any], visualisation: str | None, **fixed: Any) -> LatentSettings:
    from milr.latent.released import Quirks
    from milr.latent.schedules import SCHEDULES
    from milr.methods.latent_reasoning import Settings

    names = ("steps", "text_ratio", "image_ratio", "learning_rate", "l2", "guidance_scale", "temperature", "credit",
             "epsilon", "dtype")  # fmt: skip
    values = {name: settings[name] for name in names} | fixed
    return Settings(SCHEDULES[settings["schedule"]], visualisation=visualisation, quirks=Quirks.of(settings), **values)


def _latent_reasoning(settings: Mapping[str, Any], visualisation: str | None) -> Method:
    from milr.methods.latent_reasoning import latent_reasoning

    return latent_reasoning(_latent_settings(settings, visualisation))


def _frozen(settings: Mapping[str, Any], visualisation: str | None) -> Method:
    from milr.methods.latent_reasoning import latent_reasoning

    return latent_reasoning(_latent_settings(settings, visualisation, learning_rate=0.0))


def _random_walk(settings: Mapping[str, Any], visualisation: str | None) -> Method:
    from milr.methods.random_walk import random_walk

    return random_walk(_latent_settings(settings, visualisation))


def _repair(how: str) -> Callable[..., Method]:
    def make(settings: Mapping[str, Any], visualisation: str | None) -> Method:
        from milr.latent.released import Quirks
        from milr.methods.repair import Repair, repair

        return repair(Repair(how, temperature=settings["temperature"],  # type: ignore[arg-type]
                             guidance_scale=settings["guidance_scale"], visualisation=visualisation,
                             quirks=Quirks.of(settings)))  # fmt: skip

    return make


def _revise(told: bool) -> Callable[..., Method]:
    def make(settings: Mapping[str, Any], visualisation: str | None) -> Method:
        from milr.latent.released import Quirks
        from milr.methods.revise import Revise, revise

        return revise(Revise(told, temperature=settings["temperature"], guidance_scale=settings["guidance_scale"],
                             visualisation=visualisation, quirks=Quirks.of(settings)))  # fmt: skip

    return make


def _partial(rule: str, *, looks: bool) -> Callable[..., Method]:
    def make(settings: Mapping[str, Any], visualisation: str | None) -> Method:
        from milr.latent.released import Quirks
        from milr.methods.partial_pictures import PARM, REJECT_EARLY, partial_pictures

        chosen = replace({"parm": PARM, "reject_early": REJECT_EARLY}[rule], looks=looks,
                         temperature=settings["temperature"], guidance_scale=settings["guidance_scale"],
                         visualisation=visualisation, quirks=Quirks.of(settings))  # fmt: skip
        return partial_pictures(chosen)

    return make


WRITES, SEES = ("write",), ("write", "answer")
FORCES, PARTIAL = ("write", "image_latents"), ("write", "image_latents", "partial")
METHODS = {
    # made by name alone, with no model or judge to choose by, it is the method for those of which nothing is known
    "auto": Part(_redraw("sampled"), "chooses one of these by the model and the judge; the default"),
    "latent_reasoning": Part(_latent_reasoning, "MILR: policy gradients on the first text and image latents"),
    "plain": Part(_redraw("none"), "one picture from the bare prompt"),
    "text_enhanced": Part(
        _redraw("greedy"), "one picture from the prompt and its greedy visualisation", abilities=WRITES
    ),
    "redraw_plain": Part(_redraw("none"), "again and again from the bare prompt: resample, or Best-of-N (--no-stop)"),
    "redraw_greedy": Part(_redraw("greedy"), "again and again from the greedy visualisation", abilities=WRITES),
    "redraw_sampled": Part(
        _redraw("sampled"), "again and again, from a newly sampled visualisation each time", abilities=WRITES
    ),
    "repair": Part(
        _repair("forced"),
        "new pictures first, then the likeliest other token forced into the best one",
        abilities=FORCES,
    ),
    "repair_unforced": Part(
        _repair("unforced"), "repair's control: draws on from the same positions, forces nothing", abilities=FORCES
    ),
    "repair_same_text": Part(
        _repair("same_text"), "repair's control: draws the best picture's visualisation again", abilities=WRITES
    ),
    "repair_new_text": Part(
        _repair("new_text"), "repair's control: only new pictures, the first ones cool", abilities=WRITES
    ),
    "revise": Part(
        _revise(True),
        "new pictures first, then texts written anew by what the best one lacks; not for nano",
        abilities=SEES,
    ),
    "revise_blind": Part(
        _revise(False), "revise's control: the text of the best picture written anew, not knowing it", abilities=WRITES
    ),
    "parm": Part(
        _partial("parm", looks=True), "groups of pictures half drawn, of which the best are finished", abilities=PARTIAL
    ),
    "parm_blind": Part(
        _partial("parm", looks=False), "parm's control: finishes as many without judging early", abilities=PARTIAL
    ),
    "reject_early": Part(
        _partial("reject_early", looks=True),
        "pictures judged at a quarter and a half, better ones in worse ones' place",
        abilities=PARTIAL,
    ),
    "reject_early_blind": Part(
        _partial("reject_early", looks=False),
        "reject_early's control: as many forks, without judging early",
        abilities=PARTIAL,
    ),
    "frozen": Part(_frozen, "latent_reasoning at learning rate 0: its redrawing without its updates"),
    "random_walk": Part(_random_walk, "latent_reasoning with random updates of the gradient's length"),
}
BARE = ("plain", "redraw_plain")  # methods that write no visualisation
STEPPED = ("latent_reasoning", "frozen", "random_walk")  # methods that end after their steps
SINGLE_DRAW = ("plain", "text_enhanced")


def method_abilities(name: str, schedule: str, visualisation: str | None) -> frozenset[str]:
    """What a method asks of the model (`Part.abilities`); of the latent ones the latents that the schedule moves.

    A visualisation that the user supplies need not be written. Nothing is known of a method of another package.
    """
    if name in STEPPED:
        from milr.latent.schedules import SCHEDULES

        return frozenset({"write", *(f"{modality}_latents" for modality in SCHEDULES[schedule].modalities)})
    needed = frozenset(METHODS[name].abilities) if name in METHODS else frozenset()
    return needed if visualisation is None or name.startswith("revise") else needed - {"write"}


def fixed_settings(name: str) -> dict[str, Any]:
    """The settings of a method of ours that no option changes, but a later version may: a run is known by them."""
    from milr.methods.repair import Repair
    from milr.methods.revise import Revise

    if name.startswith(("parm", "reject_early")):
        from milr.methods.partial_pictures import PARM, REJECT_EARLY

        settings = PARM if name.startswith("parm") else REJECT_EARLY
        return {"shares": list(settings.shares), "group": settings.group, "kept": settings.kept,
                "fill": settings.fill}  # fmt: skip
    if name.startswith("repair"):
        return {"first_text": "greedy", "draws": Repair.draws, "repairs": Repair.repairs}
    return {"draws": Revise.draws} if name.startswith("revise") else {}
