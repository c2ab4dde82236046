"""Runs one batch of like requests on the model, in parts where memory does not hold all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from milr.base import UnifiedModel
from milr.outside.logs import logger
from milr.outside.memory import is_out_of_memory
from milr.types import JudgeError


class BatchExecutor:
    """Calls a model with batches. Called on the studio's worker threads.

    A batch that does not fit into memory is halved, and so are later batches of its kind. A single request that does
    not fit is run once more when the model's caches are freed.
    """

    def __init__(self, model: UnifiedModel) -> None:
        self._model = model
        self._limits: dict[str, int] = {}  # the batch size of each kind, where a larger one did not fit

    def __call__(self, kind: str, requests: Sequence[Any]) -> list[Any]:
        """A result for each request, or the error to raise in its method."""
        if kind == "compute":
            return [_result_or_error(function) for function in requests]
        results: list[Any] = []
        while len(results) < len(requests):
            limit = self._limits.get(kind, len(requests))
            part = requests[len(results) : len(results) + limit]
            part_results = self._execute(kind, part)
            if part_results is None:
                self._halve_limit(kind, len(part))
            else:
                results += part_results
        return results

    def _halve_limit(self, kind: str, size: int) -> None:
        """Note that `size` requests do not fit into memory, log a warning, and free the model's caches."""
        limit = self._limits[kind] = min(size // 2, self._limits.get(kind, size))
        logger(__name__).warning("%s: memory does not hold %d requests at once (%s); from now on at most %d",
                                            self._model.name, size, kind, limit)  # fmt: skip
        self._free_memory()

    def _free_memory(self) -> None:
        if callable(free_memory := getattr(self._model, "free_memory", None)):
            _result_or_error(free_memory)  # an error here would be raised by the next attempt, too

    def _execute(self, kind: str, requests: Sequence[Any]) -> list[Any] | None:
        """A result or an error for each request; None where memory may hold half as many."""
        results = self._attempt(kind, requests)
        if results is None and len(requests) > 1:
            return None
        if results is None:
            self._free_memory()
            results = self._attempt(kind, requests)
        if results is None:
            results = JudgeError(f"{self._model.name} ran out of memory with one request ({kind}); a smaller model, or "
                                 "--quantise, needs less, and the same command goes on from here.")  # fmt: skip
        if isinstance(results, list) and len(results) != len(requests):
            results = JudgeError(f"{self._model.name} gave {len(results)} results for {len(requests)} requests: {kind}."
                                 )  # fmt: skip
        return results if isinstance(results, list) else [results] * len(requests)

    def _attempt(self, kind: str, requests: Sequence[Any]) -> Any:
        """The results, or the error that all requests raise; None where memory does not hold them."""
        results = _result_or_error(lambda: self._call_model(kind, requests))
        if isinstance(results, Exception) and is_out_of_memory(results):
            results.__traceback__ = results.__context__ = None  # their frames hold the tensors of the failed batch
            return None
        return results

    def _call_model(self, kind: str, requests: Sequence[Any]) -> list[Any]:
        if kind == "answer":
            return self._answer(requests)
        return list(getattr(self._model, kind)(requests))

    def _answer(self, requests: Sequence[Any]) -> list[Any]:
        """Questions with the same `max_new_tokens` are one call."""
        answers: dict[int, Any] = {}
        for max_new_tokens in dict.fromkeys(request[2] for request in requests):
            indices = [index for index, request in enumerate(requests) if request[2] == max_new_tokens]
            pictures, questions, _ = zip(*(requests[index] for index in indices), strict=True)
            settings = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
            answers |= zip(indices, self._model.answer(pictures, questions, **settings), strict=True)
        return [answers[index] for index in range(len(requests))]


def _result_or_error(function: Callable[[], Any]) -> Any:
    """The result, or the error, which is raised again in the method that asked."""
    try:
        return function()
    except StopIteration as error:  # no future can hold one
        return RuntimeError(f"StopIteration: {error}")
    except Exception as error:
        return error
