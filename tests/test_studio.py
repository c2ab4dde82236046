"""The studio on a model that only echoes: what is gathered, who gets what, and that nobody ever hangs.

Where MAX_WAIT is an hour, no timer can save a miscounted batch: such a test fails by its timeout.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any, cast

import pytest
import torch

from milr.base import Reward, Services, UnifiedModel
from milr.engine import studio as studio_file
from milr.engine.studio import Studio
from milr.types import Answer, ImageTrace, JudgeError, MissingError, Prompt, Score, UsageError

PROMPT = Prompt("a red star")


class Echo:
    """Answers every request with its kind and itself; "boom" breaks a batch, and `gate` can hold one back."""

    name = "echo"

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[Any]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.error: Exception = ValueError("the model broke")
        self.seconds = 0.0

    def reason(self, requests: Sequence[Any]) -> list[Any]:
        return self._run("reason", requests)

    def draw(self, requests: Sequence[Any]) -> list[Any]:
        return self._run("draw", requests)

    def render(self, requests: Sequence[Any]) -> list[Any]:
        return self._run("render", requests)

    def answer(self, pictures: Sequence[Any], questions: Sequence[str]) -> list[Any]:
        pairs = self._run("answer", list(zip(pictures, questions, strict=True)))
        return [Answer(f"{picture} {question}", 0.75) for _, (picture, question) in pairs]

    def _run(self, kind: str, requests: Sequence[Any]) -> list[Any]:
        self.batches.append((kind, list(requests)))
        self.entered.set()
        time.sleep(self.seconds)
        assert self.gate.wait(10)
        if "boom" in requests:
            raise self.error
        return [(kind, request) for request in requests if request != "lost"]

    def sizes(self, kind: str) -> list[int]:
        return [len(requests) for name, requests in self.batches if name == kind]


class Judge:
    """A reward that does what the test says."""

    name = "scripted"

    def __init__(self, judging: Callable[[Any, Services], Awaitable[Score]]) -> None:
        self.judging = judging

    async def score(self, pictures: Sequence[Any], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        return [await self.judging(picture, services) for picture in pictures]


async def half(picture: Any, services: Services) -> Score:
    return Score(0.5)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A MAX_WAIT of an hour: only the counting of waiting methods starts a batch."""
    monkeypatch.setattr(studio_file, "MAX_WAIT", 3600.0)


@pytest.fixture
def make(echo: Echo) -> Iterator[Callable[..., Studio]]:
    studios: list[Studio] = []

    def studio(judging: Any = half, **settings: Any) -> Studio:
        studios.append(Studio(cast(UnifiedModel, echo), cast(Reward, Judge(judging)), **settings))
        return studios[-1]

    yield studio
    for open_studio in studios:
        open_studio.close()


Make = Callable[..., Studio]


def within(seconds: float, work: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end, or fail."""
    return asyncio.run(asyncio.wait_for(work, seconds))


async def all_of(studio: Studio, *methods: Callable[[Studio], Awaitable[Any]]) -> list[Any]:
    """Run methods side by side, each announced; errors are results."""

    async def one(method: Callable[[Studio], Awaitable[Any]]) -> Any:
        async with studio.method():
            return await method(studio)

    return list(await asyncio.gather(*(one(method) for method in methods), return_exceptions=True))


def asks(request: Any) -> Callable[[Studio], Awaitable[Any]]:
    async def method(studio: Studio) -> Any:
        return await studio.reason(request)

    return method


async def nothing_is_left(studio: Studio) -> None:
    """After everything: nothing counted as waiting, nothing queued, and the studio still works without a timer."""
    assert (studio._num_waiting, studio._num_methods) == (0, 0)
    assert not any(studio._queues.values())
    assert await all_of(studio, asks("after"), asks("all")) == [("reason", "after"), ("reason", "all")]


# Gathering


def test_like_requests_of_all_methods_are_one_batch(make: Make, echo: Echo, no_timer: None) -> None:
    results = within(5, all_of(make(), *(asks(number) for number in range(7))))
    assert results == [("reason", number) for number in range(7)]
    assert echo.batches == [("reason", [0, 1, 2, 3, 4, 5, 6])]


def test_methods_in_several_stages_get_their_own_results(make: Make, echo: Echo, no_timer: None) -> None:
    async def method(studio: Studio, name: int) -> list[Any]:
        results: list[Any] = []
        for turn in range(4):
            if (name + turn) % 3:
                results.append(await studio.reason(cast(Any, (name, turn, "text"))))
            results.append(await studio.draw(cast(Any, (name, turn))))
            results.append(await studio.compute(partial(tuple, (name, turn))))
            results.append(await studio.render(ImageTrace((name, turn))))
            results.append((await studio.answer(cast(Any, name), str(turn))).text)
            results.append((await studio.score(cast(Any, name), PROMPT)).value)
        return results

    def expected(name: int) -> list[Any]:
        results: list[Any] = []
        for turn in range(4):
            if (name + turn) % 3:
                results.append(("reason", (name, turn, "text")))
            results += [("draw", (name, turn)), (name, turn), ("render", (name, turn)), f"{name} {turn}", 0.5]
        return results

    for seed in range(3):
        names = list(range(6))
        random.Random(seed).shuffle(names)
        methods = [lambda studio, name=name: method(studio, name) for name in names]
        assert within(5, all_of(make(), *methods)) == [expected(name) for name in names]
    assert max(echo.sizes("draw")) > 1


def test_a_late_starter_joins_the_others(make: Make, echo: Echo, no_timer: None) -> None:
    async def method(studio: Studio, first: float) -> Any:
        await asyncio.sleep(first)
        await studio.reason(cast(Any, first))
        return await studio.reason(cast(Any, first))

    within(5, all_of(make(), *(lambda studio, s=s: method(studio, s) for s in (0.0, 0.02, 0.04))))
    assert echo.sizes("reason") == [3, 3]


def test_no_batch_is_larger_than_the_largest(make: Make, echo: Echo, no_timer: None) -> None:
    results = within(5, all_of(make(max_batch_size=4), *(asks(number) for number in range(10))))
    assert results == [("reason", number) for number in range(10)]
    assert echo.sizes("reason") == [4, 4, 2]


def test_a_full_queue_does_not_wait_for_the_others(make: Make, echo: Echo, no_timer: None) -> None:
    async def go() -> None:
        studio = make(max_batch_size=2)
        async with studio.method():  # somebody who never asks
            assert await all_of(studio, asks(1), asks(2)) == [("reason", 1), ("reason", 2)]

    within(5, go())


def test_nobody_waits_for_a_method_that_has_ended(make: Make, echo: Echo, no_timer: None) -> None:
    async def short(studio: Studio) -> None:
        await asyncio.sleep(0.02)

    assert within(5, all_of(make(), asks("one"), short))[0] == ("reason", "one")


def test_a_dawdling_method_holds_nobody_up_for_long(make: Make, echo: Echo) -> None:
    async def go() -> float:
        studio = make()
        began = time.perf_counter()
        async with studio.method():  # dawdles all the time
            await all_of(studio, asks(1), asks(2))
        return time.perf_counter() - began

    assert within(5, go()) < 10 * studio_file.MAX_WAIT
    assert echo.sizes("reason") == [2]


def test_the_wait_is_counted_anew_for_every_batch(make: Make, echo: Echo, monkeypatch: Any) -> None:
    """A timer left over from the first batch must not cut the second one short."""
    monkeypatch.setattr(studio_file, "MAX_WAIT", 0.3)
    echo.seconds = 0.25

    async def method(studio: Studio, dawdle: float) -> None:
        await asyncio.sleep(dawdle / 10)
        await studio.reason(cast(Any, dawdle))
        await asyncio.sleep(dawdle)
        await studio.reason(cast(Any, dawdle))

    within(5, all_of(make(), lambda studio: method(studio, 0.0), lambda studio: method(studio, 0.15)))
    assert echo.sizes("reason") == [2, 2]


def test_a_request_without_company_is_not_starved(make: Make, echo: Echo, no_timer: None) -> None:
    """One method needs a text while two others draw without end: it gets its text, and then draws with them."""

    async def draws(studio: Studio) -> None:
        for turn in range(20):
            await studio.draw(cast(Any, turn))

    async def writes_first(studio: Studio) -> int:
        await studio.reason(cast(Any, "text"))
        return len(echo.sizes("draw"))

    results = within(5, all_of(make(), draws, draws, writes_first))
    assert results[2] <= 2


def test_on_batch_is_called_for_every_batch(make: Make, echo: Echo, no_timer: None) -> None:
    batches: list[tuple[str, int, float]] = []
    echo.seconds = 0.01
    studio = make(on_batch=lambda kind, size, seconds: batches.append((kind, size, seconds)))
    within(5, all_of(studio, asks(1), asks(2)))
    assert [(kind, size) for kind, size, _ in batches] == [("reason", 2)]
    assert 0.01 <= batches[0][2] < 1


def test_a_listener_that_raises_hangs_nobody(make: Make, echo: Echo, no_timer: None) -> None:
    def broken(kind: str, size: int, seconds: float) -> None:
        raise RuntimeError("the page is gone")

    async def go() -> list[Any]:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        return await all_of(make(max_batch_size=1, on_batch=broken), asks(1), asks(2), asks(3))

    assert within(5, go()) == [("reason", 1), ("reason", 2), ("reason", 3)]


# Errors


@pytest.mark.parametrize("error", [ValueError("broke"), JudgeError("broke"), StopIteration("broke")])
def test_a_broken_batch_reaches_every_waiter(make: Make, echo: Echo, no_timer: None, error: Exception) -> None:
    echo.error = error

    async def go() -> list[Any]:
        studio = make()
        results = await all_of(studio, asks(1), asks("boom"), asks(3))
        await nothing_is_left(studio)
        return results

    results = within(5, go())
    assert all(isinstance(one, Exception) and "broke" in str(one) for one in results)
    if not isinstance(error, StopIteration):  # which no future can hold
        assert {type(one) for one in results} == {type(error)}


def test_a_model_that_loses_a_request_hangs_nobody(make: Make, echo: Echo, no_timer: None) -> None:
    async def go() -> list[Any]:
        studio = make()
        results = await all_of(studio, asks(1), asks("lost"), asks(3))
        await nothing_is_left(studio)
        return results

    assert all(isinstance(one, Exception) for one in within(5, go()))


def test_a_full_memory_is_one_sentence(make: Make, echo: Echo, no_timer: None) -> None:
    echo.error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\n2 GiB")

    async def go() -> list[Any]:
        return await all_of(make(), asks("boom"), asks(2))

    error, result = within(5, go())
    assert result == ("reason", 2), "what fits alone is not lost with what does not"
    assert isinstance(error, JudgeError) and "one request (reason)" in str(error)
    assert "--quantise" in str(error) and "\n" not in str(error)


def test_a_request_that_fits_once_the_caches_are_freed_is_run_again(make: Make, echo: Echo, no_timer: None) -> None:
    echo.error, freed = torch.OutOfMemoryError("CUDA out of memory"), []
    run = echo._run

    def full_of_caches(kind: str, requests: Sequence[Any]) -> list[Any]:
        return run(kind, requests if freed else ["boom"])

    echo._run = full_of_caches  # type: ignore[method-assign]
    echo.free_memory = lambda: freed.append(1)  # type: ignore[attr-defined]
    assert within(5, all_of(make(), asks(1))) == [("reason", 1)] and freed == [1]


def test_a_limit_is_learned_once_and_what_failed_holds_no_memory(make: Make, echo: Echo, no_timer: None) -> None:
    class Held:
        """What a failed batch had allocated."""

    alive: list[weakref.ref[Held]] = []
    tried: list[int] = []
    run = echo._run

    def small(kind: str, requests: Sequence[Any]) -> list[Any]:
        assert not any(one() for one in alive)
        tried.append(len(requests))
        if len(requests) > 1:
            held = Held()
            alive.append(weakref.ref(held))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(kind, requests)

    echo._run = small  # type: ignore[method-assign]
    assert within(5, all_of(make(), *map(asks, range(8)))) == [("reason", number) for number in range(8)]
    assert tried == [8, 4, 2, *[1] * 8]


FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    MemoryError(),
    RuntimeError("std::bad_alloc"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 331776"),
]


@pytest.mark.parametrize("full", FULL, ids=lambda full: type(full).__name__)
def test_a_batch_that_does_not_fit_is_halved_and_a_warning_logged(
    full: Exception, make: Make, echo: Echo, no_timer: None, caplog: pytest.LogCaptureFixture
) -> None:
    freed: list[int] = []
    run = echo._run

    def small(kind: str, requests: Sequence[Any]) -> list[Any]:
        if len(requests) > 2:
            raise full
        return run(kind, requests)

    echo._run = small  # type: ignore[method-assign]
    echo.free_memory = lambda: freed.append(1)  # type: ignore[attr-defined]

    async def go() -> list[Any]:
        studio = make()
        first = await all_of(studio, *map(asks, range(5)))
        assert echo.sizes("reason") == [2, 2, 1]
        echo.batches.clear()
        freed.append(0)
        return [first, await all_of(studio, *map(asks, range(4)))]

    results = within(5, go())
    assert results == [[("reason", number) for number in range(5)], [("reason", number) for number in range(4)]]
    assert echo.sizes("reason") == [2, 2] and freed[-1] == 0 and 1 in freed, "it is not tried again"
    assert "does not hold 5 requests at once (reason); from now on at most 2" in caplog.text


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), StopIteration("mine")])
def test_one_failing_computation_fails_only_its_method(make: Make, no_timer: None, error: Exception) -> None:
    def fails() -> None:
        raise error

    async def go() -> list[Any]:
        studio = make()
        results = await all_of(
            studio,
            lambda studio: studio.compute(lambda: 1),
            lambda studio: studio.compute(fails),
            lambda studio: studio.compute(lambda: 3),
        )
        await nothing_is_left(studio)
        return results

    one, broken, three = within(5, go())
    assert (one, three) == (1, 3) and "mine" in str(broken) and isinstance(broken, Exception)


def test_a_computation_may_return_nothing(make: Make, no_timer: None) -> None:
    results = within(5, all_of(make(), lambda studio: studio.compute(lambda: None)))
    assert results == [None]


def test_computations_run_on_the_models_thread(make: Make, no_timer: None) -> None:
    (name,) = within(5, all_of(make(), lambda studio: studio.compute(lambda: threading.current_thread().name)))
    assert name.startswith("milr-model")


# Cancelling


def test_a_cancelled_waiter_is_taken_out_of_the_queue(make: Make, echo: Echo, no_timer: None) -> None:
    async def go() -> None:
        studio = make()
        async with studio.method():  # keeps the others waiting for now
            tasks = [asyncio.create_task(all_of(studio, asks(name))) for name in ("one", "gone", "three")]
            await asyncio.sleep(0.02)
            tasks[1].cancel()
            await asyncio.sleep(0.02)
            assert not echo.batches
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[0] == [("reason", "one")] and results[2] == [("reason", "three")]
        assert isinstance(results[1], asyncio.CancelledError)
        assert echo.batches == [("reason", ["one", "three"])]
        await nothing_is_left(studio)

    within(5, go())


def test_a_cancel_lets_the_others_go_on_at_once(make: Make, echo: Echo, no_timer: None) -> None:
    """Two wait for a third that is outside the studio; it is cancelled there."""

    async def outside(studio: Studio) -> None:
        await asyncio.sleep(3600)

    async def go() -> None:
        studio = make()
        dawdler = asyncio.create_task(all_of(studio, outside))
        waiting = asyncio.create_task(all_of(studio, asks(1), asks(2)))
        await asyncio.sleep(0.02)
        dawdler.cancel()
        assert await waiting == [("reason", 1), ("reason", 2)]
        await nothing_is_left(studio)

    within(5, go())


def test_a_cancel_during_the_batch(make: Make, echo: Echo, no_timer: None) -> None:
    async def go() -> None:
        studio = make()
        echo.gate.clear()
        tasks = [asyncio.create_task(all_of(studio, asks(name))) for name in ("one", "gone", "three")]
        await asyncio.to_thread(echo.entered.wait, 5)
        tasks[1].cancel()
        await asyncio.sleep(0.02)
        echo.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[0] == [("reason", "one")] and results[2] == [("reason", "three")]
        assert isinstance(results[1], asyncio.CancelledError)
        await nothing_is_left(studio)

    within(5, go())


def test_a_cancel_after_the_batch_came_back_and_before_its_method_woke(make: Make, echo: Echo, no_timer: None) -> None:
    async def go() -> None:
        tasks: list[asyncio.Task[Any]] = []
        studio = make(on_batch=lambda kind, size, seconds: tasks and tasks.pop().cancel())
        tasks.append(asyncio.create_task(all_of(studio, asks("gone"))))
        task = tasks[0]
        other = asyncio.create_task(all_of(studio, asks("one")))
        assert await other == [("reason", "one")]
        await asyncio.wait([task])
        await nothing_is_left(studio)

    within(5, go())


def test_a_cancelled_judgement(make: Make, echo: Echo, no_timer: None) -> None:
    async def never(picture: Any, services: Services) -> Score:
        await asyncio.sleep(3600)
        raise AssertionError

    async def go() -> None:
        studio = make(never)
        judged = asyncio.create_task(all_of(studio, lambda studio: studio.score(cast(Any, "p"), PROMPT)))
        await asyncio.sleep(0.02)
        judged.cancel()
        await asyncio.wait([judged])
        await nothing_is_left(studio)

    within(5, go())


# Judging


def test_a_judge_is_awaited_while_others_decode(make: Make, echo: Echo, no_timer: None) -> None:
    drawn = asyncio.Event()

    async def slow(picture: Any, services: Services) -> Score:
        await drawn.wait()
        return Score(0.25)

    async def draws(studio: Studio) -> None:
        for turn in range(3):
            await studio.draw(cast(Any, turn))
        drawn.set()

    judged, _ = within(5, all_of(make(slow), lambda studio: studio.score(cast(Any, "p"), PROMPT), draws))
    assert judged.value == 0.25


def scores(name: Any) -> Callable[[Studio], Awaitable[Any]]:
    return lambda studio: studio.score(name, PROMPT)


async def asks_once(picture: Any, services: Services) -> Score:
    return Score((await services.answer(picture, "well?")).yes)


async def asks_three_times(picture: Any, services: Services) -> Score:
    answers = await asyncio.gather(*(services.answer(picture, question) for question in "abc"))
    assert [answer.text for answer in answers] == [f"{picture} {question}" for question in "abc"]
    return Score(answers[0].yes)


async def asks_in_turn(picture: Any, services: Services) -> Score:
    for question in "abc":
        answer = await services.answer(picture, question)
    return Score(answer.yes)


async def asks_and_breaks(picture: Any, services: Services) -> Score:
    await services.answer(picture, "well?")
    raise JudgeError("no word")


@pytest.mark.parametrize("judging", [asks_once, asks_three_times, asks_in_turn])
@pytest.mark.parametrize("largest", [1, 2, 64])
def test_a_judge_that_asks_the_model_does_not_deadlock(
    make: Make, echo: Echo, no_timer: None, judging: Any, largest: int
) -> None:
    async def go() -> None:
        studio = make(judging, max_batch_size=largest)
        results = await all_of(studio, *(scores(name) for name in range(5)))
        assert [score.value for score in results] == [0.75] * 5
        await nothing_is_left(studio)

    within(5, go())


def test_the_questions_of_several_judgements_are_one_batch(make: Make, echo: Echo, no_timer: None) -> None:
    within(5, all_of(make(asks_once), *(scores(name) for name in range(5))))
    assert echo.sizes("answer") == [5]


def test_questions_are_gathered_beside_drawing(make: Make, echo: Echo, no_timer: None) -> None:
    async def draws(studio: Studio) -> Any:
        return await studio.draw(cast(Any, "x"))

    async def go() -> None:
        studio = make(asks_three_times)
        results = await all_of(studio, scores(0), draws, scores(1), draws)
        assert [results[0].value, results[2].value] == [0.75, 0.75] and results[1] == results[3] == ("draw", "x")
        await nothing_is_left(studio)

    within(5, go())


def test_a_judge_that_breaks_leaves_the_picture_unscored_and_nobody_hanging(make: Make, no_timer: None) -> None:
    async def go() -> list[Any]:
        studio = make(asks_and_breaks)
        results = await all_of(studio, *(scores(name) for name in range(3)))
        await nothing_is_left(studio)
        return results

    results = within(5, go())
    assert [(score.value, score.reason) for score in results] == [(None, "no word")] * 3
    assert all(score.calls == 1 for score in results)


def test_a_broken_model_reaches_the_judge_that_asked(make: Make, echo: Echo, no_timer: None) -> None:
    def broken(*arguments: Any) -> list[Any]:
        raise ValueError("the model broke")

    echo.answer = broken  # type: ignore[assignment,method-assign]

    async def careful(picture: Any, services: Services) -> Score:
        try:
            return await asks_three_times(picture, services)
        except ValueError as error:
            return Score.unscored(str(error))

    async def go() -> list[Any]:
        studio = make(careful)
        results = await all_of(studio, scores(1), scores(2))
        await asyncio.sleep(0)
        await nothing_is_left(studio)
        return results

    assert [score.reason for score in within(5, go())] == ["the model broke"] * 2


@pytest.mark.parametrize(
    ("error", "raised"), [(UsageError, UsageError), (MissingError, MissingError), (KeyError, JudgeError)]
)
def test_other_errors_of_a_judge_are_raised(
    make: Make, no_timer: None, error: type[Exception], raised: type[Exception]
) -> None:
    async def wrong(picture: Any, services: Services) -> Score:
        raise error("use another judge")

    async def go() -> None:
        studio = make(wrong)
        (error,) = await all_of(studio, scores(1))
        assert isinstance(error, raised) and "use another judge" in str(error)
        await nothing_is_left(studio)

    within(5, go())


@pytest.mark.parametrize("value", [float("nan"), -0.5, 1.5])
def test_a_score_outside_its_range_is_unscored(make: Make, no_timer: None, value: float) -> None:
    async def odd(picture: Any, services: Services) -> Score:
        return Score(value)

    (score,) = within(5, all_of(make(odd), scores(1)))
    assert score.value is None and str(value) in score.reason


def test_a_judgement_is_timed_unless_it_timed_itself(make: Make, no_timer: None) -> None:
    async def slow(picture: Any, services: Services) -> Score:
        await asyncio.sleep(0.03)
        return Score(0.5, {"part": 0.25}, "why", calls=2, seconds=picture)

    (timed,) = within(5, all_of(make(slow), scores(0.0)))
    assert 0.02 < timed.seconds < 1
    assert (timed.value, timed.parts, timed.reason, timed.calls) == (0.5, {"part": 0.25}, "why", 2)
    (own,) = within(5, all_of(make(slow), scores(7.0)))
    assert own.seconds == 7.0


def test_the_studio_works_without_announced_methods(make: Make, echo: Echo, no_timer: None) -> None:
    async def go() -> Any:
        studio = make()
        return await asyncio.gather(studio.reason(cast(Any, 1)), studio.draw(cast(Any, 2)))

    assert within(5, go()) == [("reason", 1), ("draw", 2)]


def test_a_closed_studio_fails_and_does_not_hang(make: Make, echo: Echo, no_timer: None) -> None:
    async def go() -> None:
        studio = make()
        echo.gate.clear()
        running = asyncio.create_task(all_of(studio, asks(1)))
        await asyncio.to_thread(echo.entered.wait, 5)
        studio.close()
        late = asyncio.create_task(all_of(studio, asks(2)))
        await asyncio.sleep(0.02)
        echo.gate.set()
        assert await running == [("reason", 1)]
        assert isinstance((await late)[0], Exception)

    within(5, go())


def test_several_workers_share_the_methods(make: Make, echo: Echo, no_timer: None) -> None:
    echo.num_workers = 2  # type: ignore[attr-defined]
    echo.gate.clear()
    threads: set[str] = set()

    async def go() -> list[Any]:
        studio = make()

        async def method(number: int) -> Any:
            async with studio.method():
                return await studio.draw(cast(Any, number))

        waiting = asyncio.ensure_future(asyncio.gather(*map(method, range(5))))
        while len(echo.batches) < 2:
            await asyncio.sleep(0.001)
        threads.update(one.name for one in threading.enumerate() if one.name.startswith("milr-model"))
        echo.gate.set()
        return await waiting

    assert asyncio.run(go()) == [("draw", number) for number in range(5)]
    assert sorted(echo.sizes("draw")) == [2, 3] and len(threads) == 2


def test_each_worker_is_prepared_once(make: Make, echo: Echo, no_timer: None) -> None:
    seen: list[str] = []
    echo.init_worker_thread = lambda: seen.append(threading.current_thread().name)  # type: ignore[attr-defined]

    async def go() -> None:
        studio = make()
        for number in range(3):
            await studio.draw(cast(Any, number))

    asyncio.run(go())
    assert len(seen) == 1 and seen[0].startswith("milr-model")
