"""The fields of a request that some servers refuse: they are left out or renamed once a server has said so."""

from __future__ import annotations

import re
from typing import Any

from milr.rewards.endpoint.failures import EndpointFailure
from milr.rewards.endpoint.settings import TOKENS_FIELDS, EndpointSettings

_UNSUPPORTED = re.compile(r"support|deprecat|unknown|unrecogni[sz]ed|unexpected|not (?:allowed|permitted|valid)"
                          r"|accepted|invalid|extra|instead|only", re.IGNORECASE)  # fmt: skip


class RequestFields:
    """The limit of tokens and the temperature, under the names that the server takes; `refused` names the others.

    A refused `max_tokens` becomes `max_completion_tokens` and the other way round. A refused temperature is left out,
    unless the user chose one (other than 0).
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self.refused: set[str] = set()

    def current(self) -> dict[str, Any]:
        """The fields to send now, with the user's own."""
        settings, extra = self.settings, self.settings.extra
        names = sorted(TOKENS_FIELDS, key=lambda name: name != settings.tokens_field)
        left_out = self.refused | {name for name, value in extra.items() if value is None}
        tokens = [name for name in names if name not in left_out]
        fields: dict[str, Any] = {name: settings.max_tokens for name in tokens[:1]}
        if "temperature" not in left_out:
            fields["temperature"] = settings.temperature
        return fields | {name: value for name, value in extra.items() if value is not None}

    @property
    def greedy(self) -> bool:
        """Whether the same question is likely to get the same answer: temperature 0 is asked for."""
        return self.current().get("temperature") == 0

    def learn(self, failure: EndpointFailure, sent: dict[str, Any]) -> bool:
        """Whether the server refused one of our fields in `sent`, so that the request is to be sent again without."""
        if failure.status not in (400, 422) or failure.too_long:
            return False
        names = [name for name in (*TOKENS_FIELDS, "temperature")
                 if name in sent and name not in self.settings.extra and self._refuses(failure, name)]  # fmt: skip
        self.refused.update(names)
        return bool(names)

    def _refuses(self, failure: EndpointFailure, name: str) -> bool:
        named = failure.param == name or re.search(rf"(?<![a-z_]){name}(?![a-z_])", failure.message)
        if name == "temperature":
            return bool(named) and self.settings.temperature == 0
        return bool(named and (failure.code.startswith("unsupported") or _UNSUPPORTED.search(failure.message)))
