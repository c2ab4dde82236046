"""What is served: the session with its model, the searches, the gallery, the limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from milr.options import Options
from milr.types import DrawRequest, Key
from milr.web.errors import ApiError
from milr.web.gallery import Gallery
from milr.web.limits import ServerSettings
from milr.web.metrics import Metrics
from milr.web.searches import Searches
from milr.workflows.serving import ServingSession

if TYPE_CHECKING:
    from milr.base import UnifiedModel


class Served:
    """Everything that the handlers of one server share. `size` is that of a picture, such as "64x64"."""

    def __init__(self, session: ServingSession, settings: ServerSettings) -> None:
        self.session, self.settings, self.limits = session, settings, settings.limits
        self.metrics = Metrics()
        self.searches = Searches(session, settings, self.metrics)
        self.gallery = Gallery(settings.out, self.searches.is_going)
        model = session.model
        (picture,) = model.render([[0] * model.image_tokens or _any_ids(model)])
        self.size = f"{picture.width}x{picture.height}"

    @property
    def name(self) -> str:
        """The model's name, as `GET /v1/models` gives it: of a folder the last part, since clients see it."""
        name = self.session.model.name
        return Path(name).name if Path(name).is_dir() else name

    @property
    def options(self) -> Options:
        """What holds for every search that does not say otherwise."""
        return self.session.options

    def check_model(self, name: str | None) -> None:
        """ApiError 404 for another model than the one that is served; None is any."""
        if name not in (None, self.name):
            raise ApiError(f"model: this server has {self.name} and no {name[:80]!r}.", status=404, param="model",  # type: ignore[index]
                           code="model_not_found")  # fmt: skip


def _any_ids(model: UnifiedModel) -> Sequence[int]:
    """What some picture is made from, of a model without image tokens."""
    (image,) = model.draw([DrawRequest("a picture", Key(0, "a picture"), model.guidance_scale)])
    return image.ids
