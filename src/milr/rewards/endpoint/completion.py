"""What an endpoint answered: the text of a chat completion, or why there is none that could be a verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from milr.inputs.json_text import JsonError, parse_json
from milr.outside.text import clean
from milr.rewards.endpoint.failures import MAX_QUOTE, EndpointFailure, failure_in

MAX_ANSWER = 200_000  # characters that are read for a verdict
COMPLETE = ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "end", "complete", "completed", "done", "finished")
CUT = ("length", "max_tokens", "max_output_tokens", "max_completion_tokens", "model_length", "token_limit",
       "model_context_window_exceeded")  # fmt: skip
FILTERED = ("content_filter", "safety", "recitation", "prohibited_content", "blocklist", "spii", "sensitive",
            "image_safety")  # fmt: skip
CALLED_A_TOOL = ("tool_calls", "tool_use", "function_call")
_THINKING = ("thinking", "reasoning", "redacted_thinking", "reasoning_content")
_REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_details")


@dataclass(frozen=True)
class ChatAnswer:
    """A text, or in `problem` why no verdict may be read from it: the judge was cut, refused, or did something else."""

    text: str
    problem: str = ""


def read_completion(body: bytes, headers: Mapping[str, str], *, max_tokens: int, secret: str,
                    first_token: bool = False) -> ChatAnswer:  # fmt: skip
    """The answer in the body of a response of status 200; EndpointFailure where it is an error or no completion.

    With `first_token` the answer is `first_tokens` in place of the text.
    """
    try:
        completion = parse_json(body)
    except JsonError:
        raise _no_completion() from None
    choices = completion.get("choices") if isinstance(completion, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    for holder in (completion, choice):
        if isinstance(holder, dict) and holder.get("error"):
            raise _told(failure_in(holder["error"], headers, secret=secret))
    if choices == []:
        return ChatAnswer("")
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict) or "content" not in message and not _says_otherwise(message):
        raise _no_completion()
    if first_token and isinstance(choice, dict):
        answer = first_tokens(choice)
        return ChatAnswer(clean(answer.text, MAX_ANSWER, secrets=(secret,)), answer.problem)
    finish = choice.get("finish_reason") if isinstance(choice, dict) else ""
    answer = _read_message(message, str(finish or ""), max_tokens)
    return ChatAnswer(clean(answer.text, MAX_ANSWER, secrets=(secret,)), answer.problem)


def first_tokens(choice: dict[str, Any]) -> ChatAnswer:
    """The tokens that the answer could have begun with, as a JSON array of [text, log-probability].

    A single token is always cut, so that how the answer ended does not matter here.
    """
    try:
        top = choice["logprobs"]["content"][0]["top_logprobs"]
        tokens = [[token["token"], token["logprob"]] for token in top]
    except (KeyError, IndexError, TypeError):
        tokens = []
    known = [pair for pair in tokens if isinstance(pair[0], str) and isinstance(pair[1], int | float) and pair[1] <= 0]
    if not known or len(known) < len(tokens):
        return ChatAnswer("", "it gives no log-probabilities: name an endpoint that does, such as vLLM's")
    return ChatAnswer(json.dumps(known))


def _read_message(message: dict[str, Any], finish: str, max_tokens: int) -> ChatAnswer:
    text, ending = text_of(message.get("content")), finish.lower()
    reasoned = any(message.get(name) for name in _REASONING_FIELDS)
    if ending in CUT:
        what = "while it reasoned, before it answered" if reasoned and not text.strip() else "before its answer ended"
        return ChatAnswer(text, f"it was cut at its limit of tokens {what}: raise --judge-tokens ({max_tokens} now)")
    if refusal := message.get("refusal"):
        return ChatAnswer(text, f"it refused: {_quote(refusal)}")
    if ending in FILTERED:
        return ChatAnswer(text, f"its provider's content filter stopped the answer{_said(text)}")
    if ending in CALLED_A_TOOL or (message.get("tool_calls") and not text.strip()):
        return ChatAnswer(text, "it called a tool instead of answering")
    if ending and ending not in COMPLETE:
        return ChatAnswer(text, f"its answer ended before it was complete ({_quote(finish)}){_said(text)}")
    if reasoned and not text.strip():
        return ChatAnswer(text, "it reasoned, and gave no answer: raise --judge-tokens, or switch its reasoning off "
                          "with --judge-extra")  # fmt: skip
    if len(text) > MAX_ANSWER:
        return ChatAnswer(text, f"its answer has {len(text)} characters, and {MAX_ANSWER} are read")
    return ChatAnswer(text)


def text_of(content: Any) -> str:
    """The text of a message's content: of all its parts, without those that hold reasoning; "" for null.

    A number or another object is its JSON. EndpointFailure for a list of something else than texts and parts.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list):
        if not all(isinstance(part, str | dict) for part in content):
            raise _no_completion()
        return "".join(map(text_of, content))
    if isinstance(content, dict) and (content.get("type") in _THINKING or isinstance(content.get("text"), str)):
        return "" if content.get("type") in _THINKING else content["text"]
    if isinstance(content, dict) and content.get("type") not in (None, "text", "output_text"):
        return ""  # a picture, a citation
    return json.dumps(content)


def _says_otherwise(message: dict[str, Any]) -> bool:
    return any(message.get(name) for name in ("refusal", "tool_calls", *_REASONING_FIELDS))


def _no_completion() -> EndpointFailure:
    return EndpointFailure("what it sent is not a chat completion")


def _told(failure: EndpointFailure) -> EndpointFailure:
    """The failure, which says of an error without a status what it stands in place of."""
    if failure.status is None:
        failure.args = (f"what it sent is not a chat completion but an error: {failure.message}".rstrip(": "),)
    return failure


def _quote(words: Any) -> str:
    return repr(clean(words if isinstance(words, str) else json.dumps(words), MAX_QUOTE))


def _said(text: str) -> str:
    return f": {_quote(text)}" if text.strip() else ""
