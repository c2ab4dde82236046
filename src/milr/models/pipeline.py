"""Any text-to-image pipeline of diffusers as a model that draws, with another model beside it that writes and answers.

A picture has no tokens whose latents could be moved or forced, and nothing of it can be judged before it is finished:
methods that only draw, write and judge work, the others are refused (`abilities`). One picture is made at a time, so
that it does not depend on what else is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from milr.base import UnifiedModel, abilities
from milr.models.pipeline_loading import LoadedPipeline, load_pipeline
from milr.models.pipeline_recipe import Recipe
from milr.randomness import seed_of
from milr.types import Answer, DrawRequest, ImageTrace, ReasonRequest, TextTrace, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

PREFIX = "diffusers:"  # of the names of such models
LENT = frozenset({"write", "answer", "text_latents"})  # what a pipeline has from the model beside it
STEPS = "num_inference_steps"
DEFAULT_STEPS = 50  # denoising steps, of a pipeline that does not say


class PipelineModel:
    """A `UnifiedModel` of a pipeline and, if there is one, a `prompt_model` of which it has texts and answers.

    `denoising_steps` of each picture count as its token-steps (None: as many as the pipeline does by itself).
    """

    image_tokens = 0

    def __init__(self, loaded: LoadedPipeline, prompt_model: UnifiedModel | None = None,
                 denoising_steps: int | None = None) -> None:  # fmt: skip
        self.name = PREFIX + loaded.name
        self._loaded, self.prompt_model = loaded, prompt_model
        takes = loaded.takes
        if denoising_steps and STEPS not in takes:
            raise UsageError(f"{self.name} takes no number of denoising steps: leave --denoising-steps out.")
        self.denoising_steps = denoising_steps or _whole(takes.get(STEPS)) or DEFAULT_STEPS
        scale = takes.get("guidance_scale")
        self.guidance_scale = float(scale) if isinstance(scale, (int, float)) else 1.0
        self.abilities = abilities(prompt_model) & LENT if prompt_model else frozenset()
        self.follows_instructions = bool(getattr(prompt_model, "follows_instructions", False))

    @classmethod
    def load(cls, name: str, *, dtype: str = "auto", device: str = "auto", prompt_model: UnifiedModel | None = None,
             denoising_steps: int | None = None) -> PipelineModel:  # fmt: skip
        """Load a folder or hub name; errors as `load_pipeline`."""
        return cls(load_pipeline(name, dtype=dtype, device=device), prompt_model, denoising_steps)

    # Identity and memory

    @cached_property
    def _identity(self) -> dict[str, Any]:
        beside = self.prompt_model.identity() if self.prompt_model else {}
        return {"name": self.name, **self._loaded.identity(), "dtype": self._loaded.dtype,
                "device": self._loaded.device, "denoising_steps": self.denoising_steps,
                **{f"prompt_model_{name}": value for name, value in beside.items()}}  # fmt: skip

    def identity(self) -> Mapping[str, Any]:
        """Pipeline, weights and denoising steps, and the identity of the prompt model."""
        return self._identity

    def set_num_threads(self, num_threads: int) -> None:
        """Draw with this many threads of a CPU."""
        torch.set_num_threads(num_threads)

    def free_memory(self) -> None:
        """Free what only serves the prompt model's speed."""
        if callable(free := getattr(self.prompt_model, "free_memory", None)):
            free()

    # Drawing

    def draw(self, requests: Sequence[DrawRequest]) -> list[ImageTrace]:
        """The recipe of each picture; UsageError where tokens are to be forced, or latents kept."""
        for request in requests:
            if request.prefix or request.num_latents or request.max_new_tokens is not None:
                raise UsageError(f"{self.name} draws whole pictures, which have no tokens: choose redraw_sampled, "
                                 "redraw_plain or revise as the method.")  # fmt: skip
        recipes = [Recipe(request.text, seed_of(request.key, PREFIX), request.guidance_scale) for request in requests]
        return [ImageTrace(ids=recipe.ids(), num_decoded=self.denoising_steps) for recipe in recipes]

    def render(self, image_ids: Sequence[Sequence[int]]) -> list[Image]:
        """Run the pipeline for each recipe, one after the other."""
        return [self._picture(Recipe.of(ids)) for ids in image_ids]

    def _picture(self, recipe: Recipe) -> Image:
        takes = self._loaded.takes
        settings = {"generator": torch.Generator().manual_seed(recipe.seed), STEPS: self.denoising_steps,
                    "guidance_scale": recipe.guidance_scale, "output_type": "pil"}  # fmt: skip
        with torch.inference_mode():
            made = self._loaded.pipeline(
                prompt=recipe.text, **{name: value for name, value in settings.items() if name in takes}
            )
        picture: Image = made.images[0].convert("RGB")
        return picture

    # What the prompt model does

    def _beside(self, what: str) -> UnifiedModel:
        if self.prompt_model is None:
            raise UsageError(f"{self.name} only draws, and {what}: name a model that does with --prompt-model, or "
                             "choose redraw_plain and a judge of its own.")  # fmt: skip
        return self.prompt_model

    def question(self, prompt: str) -> str:
        """As of the prompt model."""
        return self._beside("asks nothing about its pictures").question(prompt)

    def check(self, text: str) -> None:
        """Raise UsageError where the prompt model cannot read `text`."""
        if self.prompt_model:
            self.prompt_model.check(text)

    def reason(self, requests: Sequence[ReasonRequest]) -> list[TextTrace]:
        """As the prompt model does."""
        return self._beside("writes no visualisation").reason(requests)

    def answer(self, pictures: Sequence[Image], questions: Sequence[str], max_new_tokens: int | None = None
               ) -> list[Answer]:  # fmt: skip
        """As the prompt model does."""
        return self._beside("answers no questions").answer(pictures, questions, max_new_tokens)

    def decode_text(self, ids: Sequence[int]) -> str:
        """As the prompt model does."""
        return self._beside("has no text tokens").decode_text(ids)

    def encode_text(self, text: str) -> tuple[int, ...]:
        """As the prompt model does."""
        return self._beside("has no text tokens").encode_text(text)

    def text_logits(self, trace: TextTrace, latents: Tensor) -> Tensor:
        """As of the prompt model."""
        return self._beside("has no text latents").text_logits(trace, latents)

    def image_logits(self, trace: ImageTrace, latents: Tensor, guidance_scale: float) -> Tensor:
        """UsageError: there are no image latents."""
        raise UsageError(f"{self.name} has no image latents: move text only (--schedule text), or draw again.")

    @property
    def end_of_text(self) -> int:
        """As of the prompt model; -1 without one."""
        return self.prompt_model.end_of_text if self.prompt_model else -1


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
