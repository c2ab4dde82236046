"""The Python interface: a session keeps a model, its rewards and its engine for many calls.

Calls from any thread or event loop share one model: a thread of the session's own runs the loop in which all searches
go on, so that what is asked at the same time is decoded together. `milr.generate` is a session for one call.
"""

from __future__ import annotations

import asyncio
import dataclasses
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, cast, overload

from milr import catalog
from milr.catalog.objects import object_identity, object_name
from milr.engine.process_pool import is_pool_faster
from milr.engine.studio import OnBatch, Studio
from milr.engine.studio_with_reward import StudioWithReward
from milr.options import Options, OptionsDict
from milr.report.html import write_report
from milr.runs.events import Event, Listener, Listeners, StepFinished, all_listeners
from milr.types import Outcome, Outcomes, Prompt, Step, UsageError
from milr.workflows.background import BackgroundLoop, call_in
from milr.workflows.notebook import progress_bars
from milr.workflows.prepare import (
    MODEL_OPTIONS,
    MethodFactory,
    PreparedRun,
    check_loaded,
    check_names,
    load_model,
    prepare,
    role_tags,
)
from milr.workflows.prompts import Prompts, as_asked
from milr.workflows.reward_cache import CallRewards, RewardCache
from milr.workflows.running import default_folder, outcomes_of, run_into
from milr.workflows.searcher import InProcess, refuse_other_engines
from milr.workflows.stored import Run, load_run
from milr.workflows.unscored import reasons_in, reasons_of, warn, warn_unscored

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.base import Reward, UnifiedModel
    from milr.types import Score

RewardFunction = Callable[["Image", Prompt], "float | Score"]
NOT_OPTIONS = ("out", "listener", "on_batch")


class SearchOptions(OptionsDict, total=False):
    """The keywords of a search: `Options`, where judges and method may be objects, and who hears of its progress.

    `reward`, `choose` and `metric`: a name, `path/to/file.py:name`, an object that satisfies `milr.base.Reward`, or a
    function of (picture, prompt) that gives a score in [0, 1]. `method`: a name, `path/to/file.py:name`, or a function
    of (settings, visualisation) that gives a `milr.base.Method`. `out`: a run folder; what is finished there is not
    made again. `listener`: a function of each event of `milr.runs.events`, or several; one of the session hears of all
    its calls. `on_batch(kind, rows, seconds)`: the model did a batch of work.
    """

    reward: str | Reward | RewardFunction | None
    choose: str | Reward | RewardFunction | None
    metric: str | Reward | RewardFunction | None
    method: str | MethodFactory
    out: str | Path | None
    listener: Listener | Sequence[Listener]
    on_batch: Callable[[str, int, float], None] | None


@dataclasses.dataclass(frozen=True)
class _Choice:
    """What the keywords chose: options, and by their names in these the rewards and the method given as objects."""

    options: Options
    rewards: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    methods: Mapping[str, MethodFactory] = dataclasses.field(default_factory=dict)

    def over(self, keywords: Mapping[str, Any]) -> _Choice:
        """This choice with the keywords over it; UsageError for a misspelt one."""
        rewards, methods = dict(self.rewards), dict(self.methods)
        values: dict[str, Any] = {}
        for name, value in keywords.items():
            if name in NOT_OPTIONS:
                continue
            catalog.one_of("option", name, sorted({*Options.__dataclass_fields__, *NOT_OPTIONS}))
            if name in ("reward", "choose", "metric") and value is not None:
                value = _named(value, rewards, "rewards")
            elif name == "method":
                value = _named(value, methods, "methods")
            values[name] = value
        return _Choice(dataclasses.replace(self.options, **values), rewards, methods)


def _named(part: Any, objects: dict[str, Any], kind: str) -> str:
    """The name of a part, which is kept among `objects` if it is one; two objects never share a name."""
    if isinstance(part, str):
        return part
    name = object_name(part, catalog.menu(kind))
    if objects.setdefault(name, part) is not part and object_identity(objects[name]) != object_identity(part):
        name = f"{name.partition('#')[0]}#{object_identity(part)[:8]}"
    objects[name] = part
    return name


@dataclasses.dataclass(frozen=True)
class _Call:
    """One call, ready to run."""

    prepared: PreparedRun
    out: Path | None
    listeners: Listeners
    on_batch: OnBatch | None


class Session:
    """A model with its rewards and its engine, loaded once. Use it as a context manager, or `close` it.

    `options` hold for every call and can be overridden in each, but for what the model was loaded with. Any thread may
    call, but not the callbacks of a call; calls that run at the same time are decoded together, but for those that
    listen to their batches (`on_batch`). Make one with `milr.load`.
    """

    _warn = staticmethod(warn)

    def __init__(self, model: str | Path | UnifiedModel = "nano", **options: Unpack[SearchOptions]) -> None:
        self._listeners = all_listeners(options.get("listener"))
        for name in ("out", "on_batch", "samples"):
            if name in options:
                raise UsageError(f"{name} belongs to a call, not to the session: give it to generate, stream or bench.")
        by_name = isinstance(model, (str, Path))
        name = str(model) if by_name else object_name(model, catalog.menu("models"))
        self._choice = choice = _Choice(Options(model=name)).over(options)
        refuse_other_engines(choice.options)
        check_names(choice.options, rewards=False, method=choice.options.method not in choice.methods)
        for reward in filter(None, (choice.options.reward, choice.options.choose, choice.options.metric)):
            if reward not in choice.rewards:
                catalog.check_part("rewards", reward)
        if not isinstance(model, (str, Path)):
            check_loaded(model, choice.options)
        self.model = load_model(choice.options) if isinstance(model, (str, Path)) else model
        self._rewards = RewardCache()
        self._loop = BackgroundLoop("milr-session")
        self._studios: dict[bool, Studio] = {}  # by whether processes work for it
        weakref.finalize(self, _let_go, self._loop, self._studios).atexit = False

    @property
    def options(self) -> Options:
        """What holds for every call that does not say otherwise."""
        return self._choice.options

    # Calls

    @overload
    def generate(self, prompts: str | Prompt, **options: Unpack[SearchOptions]) -> Outcome: ...  # type: ignore[overload-overlap]

    @overload
    def generate(self, prompts: Prompts, *, samples: int, **options: Unpack[SearchOptions]) -> Outcomes: ...

    @overload
    def generate(self, prompts: Sequence[str | Prompt], **options: Unpack[SearchOptions]) -> Outcomes: ...

    def generate(self, prompts: Prompts, *, samples: int | None = None,
                 **options: Unpack[SearchOptions]) -> Outcome | Outcomes:  # fmt: skip
        """Search for pictures of one prompt (an Outcome) or of several (Outcomes, as where `samples` is given).

        Outcomes are sample 0 of every prompt, then sample 1, and so on. An interrupt stops the work. MilrError, in one
        sentence, for what cannot be run.
        """
        call = self._call(prompts, samples, options)
        outcomes = self._loop.submit(self._run(call)).wait()
        self._warn(call.listeners.failures)
        warn_unscored(reasons_of(outcomes), call.prepared.reward_name, call.prepared.metric_name)
        return as_asked(outcomes, prompts, samples)

    @overload
    async def agenerate(self, prompts: str | Prompt, **options: Unpack[SearchOptions]) -> Outcome: ...  # type: ignore[overload-overlap]

    @overload
    async def agenerate(self, prompts: Prompts, *, samples: int, **options: Unpack[SearchOptions]) -> Outcomes: ...

    @overload
    async def agenerate(self, prompts: Sequence[str | Prompt], **options: Unpack[SearchOptions]) -> Outcomes: ...

    async def agenerate(self, prompts: Prompts, *, samples: int | None = None,
                        **options: Unpack[SearchOptions]) -> Outcome | Outcomes:  # fmt: skip
        """`generate` to be awaited in any event loop; cancelling it stops the work."""
        call = await asyncio.to_thread(self._call, prompts, samples, options)
        outcomes = await self._loop.submit(self._run(call)).awaited()
        self._warn(call.listeners.failures)
        warn_unscored(reasons_of(outcomes), call.prepared.reward_name, call.prepared.metric_name)
        return as_asked(outcomes, prompts, samples)

    async def stream(self, prompt: str | Prompt, **options: Unpack[SearchOptions]) -> AsyncGenerator[Step, None]:
        """The steps of one search, each as soon as its picture is judged; leaving the loop stops the work.

        Steps of a sample that `out` holds finished already come at once.
        """
        loop, steps = asyncio.get_running_loop(), asyncio.Queue[Step | None]()
        seen: list[Step] = []

        def tell(step: Step | None) -> None:
            if not call_in(loop, steps.put_nowait, step):  # nobody is left to read
                work.cancel()

        def listen(event: Event) -> None:
            if isinstance(event, StepFinished):
                seen.append(event.step)
                tell(event.step)

        keywords = {**options, "listener": (*all_listeners(options.get("listener")), listen)}
        call = await asyncio.to_thread(self._call, prompt, None, keywords)
        work = self._loop.submit(self._run(call))
        work.add_done_callback(lambda: tell(None))
        try:
            while (step := await steps.get()) is not None:
                yield step
            for step in (await work.awaited())[0].steps[len(seen) :]:  # those of a finished sample come from its folder
                yield step
        finally:
            await work.given_up()
            self._warn(call.listeners.failures)

    def bench(self, benchmark: str, *, split: str | None = None, prompts: Path | str | None = None,
              categories: Sequence[str] = (), limit: int | None = None, samples: int | None = None,
              **options: Unpack[SearchOptions]) -> Run:  # fmt: skip
        """Run a method on a benchmark into a run folder (`out`; default runs/WORDS-DIGEST), and give the run.

        `split`, `prompts` (a local copy of the benchmark's prompt files), `categories` and `limit` choose its prompts.
        The report metric is the benchmark's unless `metric` names another.
        """
        from milr.benchmarks.selection import select_prompts

        settings = {"split": split, "prompts": Path(prompts) if prompts is not None else None}
        part = catalog.make_benchmark(benchmark, **{key: value for key, value in settings.items() if value is not None})
        options.setdefault("metric", self.options.metric or part.metric)
        call = self._call(select_prompts(part.prompts(), categories, limit), samples, options, benchmark=part)
        out = call.out or default_folder(call.prepared)
        self._loop.submit(self._run_into(call, out)).wait()
        self._warn(call.listeners.failures)
        warn_unscored(reasons_in(out), call.prepared.reward_name, call.prepared.metric_name)
        return load_run(out)

    def close(self) -> None:
        """Stop what is running and let go of the engine; the session cannot be used any more."""
        self._loop.close(self._close_studios)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.close()

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:  # fmt: skip
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        return f"<Session of {self.model.name}{', closed' if self._loop.closed else ''}>"

    # From keywords to a call

    def _call(self, prompts: Prompts, samples: int | None, keywords: Mapping[str, Any], **more: Any) -> _Call:
        texts = [prompts] if isinstance(prompts, (str, Prompt)) else list(prompts)
        choice = self._choice.over({name: value for name, value in keywords.items() if name != "samples"})
        options = choice.options if samples is None else dataclasses.replace(choice.options, samples=samples)
        for name in MODEL_OPTIONS:
            if getattr(options, name) != getattr(self.options, name):
                raise UsageError(f"this session's model was loaded with {name}={getattr(self.options, name)!r}: for "
                                 "another, load another session.")  # fmt: skip
        if role_tags(options) != role_tags(self.options):
            raise UsageError(f"this session's model was loaded with role_tags={role_tags(self.options)!r}: for others, "
                             "which a preset may bring, load another session.")  # fmt: skip
        prepared = prepare(texts, options, model=self.model, make_reward=CallRewards(self._rewards, choice.rewards),
                           method=choice.methods.get(options.method), **more)  # fmt: skip
        out = keywords.get("out")
        if out is not None and not isinstance(out, (str, Path)):
            raise UsageError(f"out is the path of a run folder, not {out!r}.")
        self._warn(prepared.warnings)
        listeners = Listeners(*self._listeners, *all_listeners(keywords.get("listener")), *progress_bars(prepared))
        return _Call(prepared, None if out is None else Path(out), listeners, keywords.get("on_batch"))

    # The loop in which all searches go on

    async def _run(self, call: _Call) -> list[Outcome]:
        async with self._engine(call) as studio:
            return await outcomes_of(call.prepared, InProcess(call.prepared, studio), call.out, call.listeners)

    async def _run_into(self, call: _Call, out: Path) -> None:
        async with self._engine(call) as studio:
            await run_into(out, call.prepared, InProcess(call.prepared, studio), call.listeners)
        if call.prepared.jobs:
            write_report(out)

    @asynccontextmanager
    async def _engine(self, call: _Call) -> AsyncIterator[Studio]:
        """The session's studio for calls of this size, with the call's reward; a studio of its own for a call that
        listens to its batches."""
        prepared = call.prepared
        if call.on_batch:
            async with prepared.open_studio(call.on_batch) as studio:
                yield studio
            return
        large = is_pool_faster(self.model, prepared.searches, prepared.pictures)
        if large not in self._studios:
            searches, pictures = (prepared.searches, prepared.pictures) if large else (1, 0)
            self._studios[large] = Studio(self.model, prepared.reward, searches=searches, pictures=pictures)
        yield cast(Studio, StudioWithReward(self._studios[large], prepared.reward))

    def _close_studios(self) -> None:
        for studio in self._studios.values():
            studio.close()


def _let_go(loop: BackgroundLoop, studios: dict[bool, Studio]) -> None:
    """End the threads and processes of a session that was dropped without `close`."""
    loop.abandon()
    for studio in studios.values():
        studio.close()


def load(model: str | Path | UnifiedModel = "nano", **options: Unpack[SearchOptions]) -> Session:
    """A session that keeps `model` with its rewards and its engine for many calls; use it as a context manager.

    `model`: a name from `milr list models`, a folder, a hub name, `path/to/file.py:name`, or an object that satisfies
    `milr.base.UnifiedModel`. `options` (see `SearchOptions`) hold for every call and can be overridden in each.
    MilrError, in one sentence, where something cannot be loaded.
    """
    return Session(model, **options)
