"""How the rewards of the catalogue get the judge models that they ask, at an endpoint or on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from milr.catalog.names import one_of
from milr.catalog.parts import RewardRequest
from milr.rewards.vision import pinned
from milr.types import UsageError

if TYPE_CHECKING:
    from milr.rewards.endpoint.client import EndpointClient
    from milr.rewards.endpoint.question_reward import JudgeClient, QuestionReward
    from milr.rewards.endpoint.wording import Wording
    from milr.rewards.first_token import FirstTokenJudge
    from milr.rewards.vision.qwen3 import LocalQwen3

OPENAI_URL = "https://api.openai.com/v1"


def at_endpoint(reward_class: Any, request: RewardRequest) -> QuestionReward:
    """A reward that asks the endpoint and the model of the options, by default the paper's model at OpenAI."""
    return with_wording(reward_class, endpoint_client(reward_class.paper_model, request), request)


def endpoint_client(paper_model: str, request: RewardRequest, *, extra: Mapping[str, Any] = MappingProxyType({}),
                     **settled: Any) -> EndpointClient:  # fmt: skip
    """The client of the options; `extra` fields and `settled` settings hold where the user says nothing else."""
    from milr.benchmarks.download import cache_folder
    from milr.rewards.endpoint.client import EndpointClient
    from milr.rewards.endpoint.settings import EndpointSettings, parse_extra

    options, url = request.options, request.options.judge_url or OPENAI_URL
    chosen: dict[str, Any] = {"max_tokens": options.judge_tokens, "temperature": options.judge_temperature,
                              "tokens_field": options.judge_tokens_field,
                              "concurrency": options.judge_concurrency}  # fmt: skip
    settings = EndpointSettings(
        url, options.judge_model or paper_model, max_calls=options.judge_calls,
        key_variable="OPENAI_API_KEY" if url.startswith(OPENAI_URL) else "JUDGE_API_KEY",  # no key to a stranger
        cache_folder=cache_folder() / "answers", extra={**extra, **parse_extra(options.judge_extra)},
        **settled | {name: value for name, value in chosen.items() if value is not None},
    )  # fmt: skip
    return EndpointClient(settings)


def with_wording(reward_class: Any, client: JudgeClient, request: RewardRequest) -> QuestionReward:
    """A reward that asks `client` in our own wording, or in that of the options."""
    reward: QuestionReward = reward_class(client, wording(reward_class.name, request))
    return reward


def wording(name: str, request: RewardRequest) -> Wording:
    """Our own wording, or the user's template for this judge; UsageError for a template of an unknown judge."""
    from milr.rewards.endpoint.wording import PLACEHOLDERS, Wording

    templates = request.options.templates()
    for judge in filter(None, templates):
        one_of("judge with a template", judge, list(PLACEHOLDERS))
    return Wording.load(name, templates.get(name) or templates.get(""))


def require_endpoint(name: str, model: str, request: RewardRequest) -> None:
    """UsageError where the options name no endpoint, and OpenAI's, which is the default, does not have the model."""
    if not (request.options.judge_url or request.options.judge_model):
        raise UsageError(f"the reward {name} asks {model}, which OpenAI does not have: name an endpoint with "
                         "--judge-url, or another model with --judge-model.")  # fmt: skip


def first_token_judge(request: RewardRequest) -> FirstTokenJudge:
    """At an endpoint that gives log-probabilities where one is named, else on this machine: Qwen3-VL, or another."""
    if request.options.judge_url:
        from milr.rewards.endpoint.first_token import FIELDS, EndpointFirstToken

        client = endpoint_client(pinned.QWEN3_VL, request, max_tokens=1, first_token=True, extra=FIELDS)
        return EndpointFirstToken(client)
    from milr.rewards.vision.checkpoints import image_text_class
    from milr.rewards.vision.image_text import LocalImageText
    from milr.rewards.vision.qwen3 import LocalQwen3

    name = request.options.judge_model
    if name and image_text_class(name).__name__ != LocalQwen3.network_class:
        return LocalImageText.load(name, device=request.options.device)
    return local_qwen3(request)


def local_qwen3(request: RewardRequest) -> LocalQwen3:
    """Qwen3-VL on this machine."""
    from milr.rewards.vision.qwen3 import LocalQwen3

    return LocalQwen3.load(request.options.judge_model or pinned.QWEN3_VL, device=request.options.device)
