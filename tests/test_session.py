"""Sessions on a small random Janus: one model for many calls, streams, interrupts, objects as parts, runs read back."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from PIL.Image import Image

import milr
from milr.base import Method, StudioFace
from milr.engine.batch_executor import BatchExecutor
from milr.latent.schedules import SCHEDULES
from milr.methods.redraw import redraw
from milr.models.janus import JanusModel
from milr.options import Options, OptionsDict
from milr.presets import PRESETS
from milr.runs.events import Event, StepFinished
from milr.types import Key, MilrWarning, Outcome, Outcomes, Prompt, Score, Step, UsageError
from milr.workflows.session import Session
from same_tokens import assert_same
from scripted import Brightness, brightness

SETTINGS: dict[str, Any] = {
    "reward": Brightness(), "steps": 3, "image_ratio": 0.2, "learning_rate": 0.3, "guidance_scale": 2.0,
    "threshold": 1.0, "device": "cpu", "reasoning_prompt": "plan the picture : {prompt}",
}  # fmt: skip


@pytest.fixture
def session(tiny_folder: Path) -> Iterator[Session]:
    with milr.load(tiny_folder, **SETTINGS) as one:
        yield one


def steps_in(event: Event) -> list[int]:
    return [event.step.index] if isinstance(event, StepFinished) else []


def darkness(picture: Image, prompt: Prompt) -> float:
    return 1.0 - brightness(picture)


# One model, many calls


def test_a_session_gives_what_single_calls_give(session: Session, tiny_folder: Path) -> None:
    for prompt, seed in (("a red star", 0), ("a star", 1)):
        alone = milr.generate(prompt, model=tiny_folder, seed=seed, **SETTINGS)
        assert assert_same(session.generate(prompt, seed=seed), alone)


def test_the_model_is_loaded_once(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Any] = []
    load = JanusModel.load
    monkeypatch.setattr(JanusModel, "load", lambda *given, **settings: loads.append(given) or load(*given, **settings))
    with milr.load(tiny_folder, **SETTINGS) as session:
        session.generate("a red star")
        session.generate(["a star", "two green star"], steps=1)
    assert len(loads) == 1


def test_one_prompt_is_an_outcome_and_samples_or_lists_are_outcomes(session: Session) -> None:
    assert isinstance(session.generate("a star", steps=0), Outcome)
    assert isinstance(session.generate(Prompt("a star"), steps=0), Outcome)
    several = session.generate("a star", samples=2, steps=0)
    assert isinstance(several, Outcomes) and [outcome.key.sample for outcome in several] == [0, 1]
    assert isinstance(session.generate("a star", samples=1, steps=0), Outcomes)
    assert [outcome.prompt.text for outcome in session.generate(["a star", "a red star"], steps=0)] == [
        "a star", "a red star"]  # fmt: skip


def test_calls_at_the_same_time_are_decoded_together_each_with_its_own_judge(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = {"bright": session.generate("a star"), "dark": session.generate("a star", reward=darkness)}
    rows: list[int] = []
    execute = BatchExecutor.__call__
    monkeypatch.setattr(BatchExecutor, "__call__", lambda self, kind, requests: (
        rows.append(len(requests)) if kind == "draw" else None, execute(self, kind, requests))[1])  # fmt: skip

    async def both() -> list[Outcome]:
        return list(await asyncio.gather(session.agenerate("a star"), session.agenerate("a star", reward=darkness)))

    bright, dark = asyncio.run(both())
    assert max(rows) == 2
    assert_same(bright, alone["bright"])
    assert_same(dark, alone["dark"])
    assert [step.score.value for step in bright.steps] != [step.score.value for step in dark.steps]


def test_calls_from_several_threads(session: Session) -> None:
    outcomes: dict[str, Outcome] = {}

    def call(prompt: str) -> None:
        outcomes[prompt] = session.generate(prompt)

    threads = [threading.Thread(target=call, args=(prompt,)) for prompt in ("a star", "a red star", "two green star")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for prompt, outcome in outcomes.items():
        assert_same(outcome, session.generate(prompt))
    assert len(outcomes) == 3


def test_a_session_that_is_dropped_without_close_keeps_no_thread(tiny_folder: Path) -> None:
    def milr_threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith(("milr-session", "milr-model"))}

    before = milr_threads()
    session = milr.load(tiny_folder, reward=brightness_of, pictures=1)
    assert len(session.generate("a red star").steps) == 1
    assert milr_threads() - before
    del session
    gc.collect()
    deadline = time.monotonic() + 10
    while milr_threads() - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not milr_threads() - before


def brightness_of(picture: Image, prompt: Prompt) -> float:
    return brightness(picture)


def test_a_closed_session_says_so(tiny_folder: Path) -> None:
    session = milr.load(tiny_folder, **SETTINGS)
    session.generate("a star", steps=0)
    session.close()
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.generate("a star")
    assert not [thread for thread in threading.enumerate() if thread.name == "milr-session"]
    milr.load(tiny_folder, **SETTINGS).close()  # never used


# Streams and interrupts


def test_a_stream_gives_each_step_when_it_is_there(session: Session) -> None:
    async def watch() -> list[Step]:
        return [step async for step in session.stream("a red star")]

    steps, outcome = asyncio.run(watch()), session.generate("a red star")
    assert [step.index for step in steps] == [0, 1, 2, 3]
    assert [step.rollout.image.ids for step in steps] == [step.rollout.image.ids for step in outcome.steps]


def test_leaving_a_stream_stops_the_search(session: Session) -> None:
    seen: list[int] = []

    async def watch() -> None:
        stream = session.stream("a red star", steps=50, listener=lambda event: seen.extend(steps_in(event)))
        async for step in stream:
            if step.index == 1:
                break
        await stream.aclose()

    asyncio.run(watch())
    count = len(seen)
    time.sleep(0.3)
    assert len(seen) == count < 50


@pytest.mark.filterwarnings("error")  # also what is raised where nobody can catch it
def test_a_stream_whose_loop_was_closed_ends_its_search_in_silence(session: Session, caplog: pytest.LogCaptureFixture
                                                                   ) -> None:  # fmt: skip
    seen: list[int] = []

    async def first_step() -> object:
        stream = session.stream("a red star", steps=500, listener=lambda event: seen.extend(steps_in(event)))
        await anext(stream)
        return stream

    loop = asyncio.new_event_loop()
    stream = loop.run_until_complete(first_step())
    loop.close()
    del stream
    gc.collect()
    count = -1
    while count != len(seen):
        count = len(seen)
        time.sleep(0.3)
    assert count < 500 and not caplog.records


def test_a_stream_of_a_finished_run_shows_it_again(session: Session, tmp_path: Path) -> None:
    async def watch() -> list[int]:
        return [step.index async for step in session.stream("a red star", out=tmp_path / "run")]

    assert asyncio.run(watch()) == asyncio.run(watch()) == [0, 1, 2, 3]


def test_an_error_of_a_streams_search_is_raised(session: Session) -> None:
    async def watch() -> None:
        async for _ in session.stream("a purple dog"):
            pass

    with pytest.raises(UsageError, match="does not know"):
        asyncio.run(watch())


def test_an_interrupt_stops_the_work_and_the_session_goes_on(session: Session, tmp_path: Path) -> None:
    seen: list[int] = []

    def interrupt(event: Event) -> None:
        seen.extend(steps_in(event))
        if 1 in steps_in(event):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        session.generate("a red star", steps=200, listener=interrupt, out=tmp_path / "run")
    count = len(seen)
    time.sleep(0.3)
    assert len(seen) == count < 200
    assert len(session.generate("a red star", steps=200, out=tmp_path / "run").steps) == 201


def test_a_cancelled_call_has_ended_when_its_caller_goes_on(session: Session, tmp_path: Path) -> None:
    async def go() -> None:
        task = asyncio.create_task(session.agenerate("a red star", steps=200, out=tmp_path / "run"))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await session.agenerate("a red star", steps=200, pictures=1, out=tmp_path / "other")

    asyncio.run(go())
    with milr.load(
        session.model, **SETTINGS | {"reasoning_prompt": None}
    ) as other:  # the folder is not locked any more
        assert len(other.generate("a star", steps=1, out=tmp_path / "third").steps) == 2


# Objects as parts


def test_a_function_an_object_and_a_name_are_rewards(session: Session) -> None:
    assert session.generate("a star", steps=0).score.value == pytest.approx(
        1.0 - (session.generate("a star", steps=0, reward=darkness).score.value or 0.0)
    )
    assert session.generate("a star", steps=0, reward="self").score.value is not None


def test_a_runs_identity_says_which_function_judged(session: Session, tmp_path: Path) -> None:
    session.generate("a star", steps=0, reward=darkness, out=tmp_path / "run")
    config = milr.load_run(tmp_path / "run").config
    assert config.reward == "test_session.darkness" and len(str(config.reward_identity["sources"])) == 64
    with pytest.raises(UsageError, match="test_session.darkness there, brightness here"):
        session.generate("a star", steps=0, out=tmp_path / "run")


def test_a_reward_that_calls_itself_as_one_of_ours_is_not_taken_for_it(session: Session, tmp_path: Path) -> None:
    class Detector(Brightness):
        name = "detector"

    session.generate("a star", steps=0, reward=Detector(), out=tmp_path / "run")
    assert milr.load_run(tmp_path / "run").config.reward == "test_session.detector"


def test_an_object_with_a_loaded_model(tiny: JanusModel) -> None:
    with milr.load(tiny, reward=darkness, steps=1, device="cpu") as session:
        assert session.model is tiny and len(session.generate("a star").steps) == 2
    assert milr.generate("a star", model=tiny, reward=darkness, steps=0).stop in ("budget", "threshold")


def test_a_method_as_an_object(session: Session, tmp_path: Path) -> None:
    def mine(settings: Mapping[str, Any], visualisation: str | None) -> Method:
        inner = redraw(visualise="none", guidance_scale=settings["guidance_scale"], temperature=1.0)

        async def method(studio: StudioFace, prompt: Prompt, key: Key) -> AsyncIterator[Step]:
            async for step in inner(studio, prompt, key):
                yield step

        return method

    outcome = session.generate("a star", method=mine, pictures=2, out=tmp_path / "run")
    assert len(outcome.steps) == 2 and outcome.steps[0].rollout.visualisation is None
    assert milr.load_run(tmp_path / "run").config.method.startswith(
        "test_session.test_a_method_as_an_object.<locals>.mine#"
    )
    assert session.generate("a star", steps=0).steps[0].rollout.visualisation is not None


def constant(value: float) -> Any:
    def score(picture: Image, prompt: Prompt) -> float:
        return value

    return score


class Fixed:
    """All of these have one name."""

    range, threshold, needs, licence = (0.0, 1.0), 0.9, (), ""

    def __init__(self, value: float) -> None:
        self.value, self.name = value, "fixed"

    async def score(self, pictures: Any, prompts: Any, services: Any) -> list[Score]:
        return [Score(self.value) for _ in pictures]


PAIRS = [
    (lambda picture, prompt: 0.25, lambda picture, prompt: 0.75),
    (constant(0.25), constant(0.75)),
    (partial(lambda value, picture, prompt: value, 0.25), partial(lambda value, picture, prompt: value, 0.75)),
    (Fixed(0.25), Fixed(0.75)),
]


@pytest.mark.parametrize(("low", "high"), PAIRS, ids=["lambdas", "closures", "partials", "instances"])
def test_two_rewards_that_are_called_alike_are_two(tiny_folder: Path, tmp_path: Path, low: Any, high: Any) -> None:
    with milr.load(tiny_folder, **SETTINGS | {"reward": low, "steps": 0}) as session:
        assert session.generate("a star").score.value == 0.25
        assert session.generate("a star", reward=high).score.value == 0.75
        assert session.generate("a star", out=tmp_path / "run").score.value == 0.25
        judged = session.generate("a star", metric=high)
        assert judged.score.value == 0.25 and judged.judged[0].value == 0.75
        with pytest.raises(UsageError, match="reward"):
            session.generate("a star", reward=high, out=tmp_path / "run")


def test_calls_with_rewards_called_alike_at_the_same_time(session: Session) -> None:
    values = [index / 16 for index in range(8)]

    async def go() -> list[Outcome]:
        return list(await asyncio.gather(*(
            session.agenerate("a star", steps=0, reward=constant(value)) for value in values)))  # fmt: skip

    assert [outcome.score.value for outcome in asyncio.run(go())] == values


def test_two_methods_of_one_name_are_two(session: Session, tmp_path: Path) -> None:
    def factory(visualise: str) -> Any:
        def method(settings: Mapping[str, Any], visualisation: str | None) -> Method:
            return redraw(visualise=visualise, guidance_scale=1.0, temperature=1.0)  # type: ignore[arg-type]

        return method

    session.generate("a star", method=factory("none"), pictures=1, out=tmp_path / "run")
    with pytest.raises(UsageError, match="method"):
        session.generate("a star", method=factory("greedy"), pictures=1, out=tmp_path / "run")


def test_an_edited_reward_file_is_read_again(session: Session, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    for value in (0.25, 0.75):
        file.write_text(f"def score(picture, prompt):\n    return {value}\n")
        assert session.generate("a star", steps=0, reward=f"{file}:score").score.value == value


@pytest.mark.parametrize("change", [{"dtype": "bfloat16"}, {"device": "cuda:7"}, {"preset": "released"}, {"threads": 1},
                                    {"reasoning_prompt": "draw {prompt}"}])  # fmt: skip
def test_options_that_contradict_a_given_model_are_refused(tiny: JanusModel, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="given"):
        milr.generate("a star", model=tiny, reward=darkness, **change)


def test_a_session_takes_no_samples_and_a_call_no_threads(session: Session, tiny_folder: Path) -> None:
    with pytest.raises(UsageError, match="samples belongs to a call"):
        milr.load(tiny_folder, samples=2)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="threads"):
        session.generate("a star", threads=1)
    assert session.generate("a star", preset="paper", steps=0).stop  # with the same role tags


def test_a_callback_that_ends_the_program_does_not_hang_it(tiny_folder: Path) -> None:
    def leave(event: Event) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        milr.generate("a star", model=tiny_folder, listener=leave, **SETTINGS)


def test_a_callback_that_calls_or_closes_its_own_session_is_refused(session: Session) -> None:
    for call in (lambda: session.close(), lambda: session.generate("a star")):
        with pytest.warns(MilrWarning, match="its own callbacks"):
            session.generate("a red star", listener=lambda event, call=call: call())  # type: ignore[misc]
    assert session.generate("a star", steps=0).steps


def test_a_call_that_a_close_cuts_off_says_so(tiny_folder: Path) -> None:
    session = milr.load(tiny_folder, **SETTINGS)
    threading.Timer(0.3, session.close).start()
    with pytest.raises(UsageError, match="closed"):
        session.generate("a red star", steps=100_000)


def test_a_slow_function_does_not_hold_up_the_others(session: Session) -> None:
    def slow(picture: Image, prompt: Prompt) -> float:
        time.sleep(1.5)
        return 0.5

    async def go() -> list[str]:
        order: list[str] = []

        async def call(name: str, **options: Any) -> None:
            await session.agenerate("a star", steps=0, **options)
            order.append(name)

        await asyncio.gather(call("slow", reward=slow), call("quick", reward="self"))
        return order

    assert asyncio.run(go()) == ["quick", "slow"]


def test_a_run_folder_is_a_path(session: Session) -> None:
    with pytest.raises(UsageError, match="out is the path of a run folder, not 3"):
        session.generate("a star", out=3)  # type: ignore[call-overload]


def test_a_prompt_outside_the_models_world_is_warned_of_in_python_and_in_the_report(tmp_path: Path) -> None:
    with pytest.warns(MilrWarning, match="'a tree' is not about it"):
        milr.generate("a tree", steps=0, reward=darkness, out=tmp_path / "run")
    assert "is not about it" in (tmp_path / "run" / "report.html").read_text()


def test_an_awaited_call_warns_where_some_pictures_have_no_score(session: Session) -> None:
    def sometimes(picture: Image, prompt: Prompt) -> float:
        return 0.5 if prompt.text == "a star" else float("nan")

    async def call() -> Outcomes:
        return await session.agenerate(["a star", "a red star"], reward=sometimes, steps=0)

    with pytest.warns(MilrWarning, match="1 of 2 pictures are unscored"):
        assert len(asyncio.run(call())) == 2


@pytest.mark.parametrize("part", [3, None, {"a": 1}])
def test_what_is_no_part_is_refused(tiny_folder: Path, part: Any) -> None:
    with pytest.raises(UsageError):
        milr.generate("a star", model=tiny_folder, **SETTINGS | {"method": part})


# Options


def test_the_typed_keywords_are_the_options() -> None:
    named = {"model", "reward", "choose", "metric", "method", "samples"}
    assert set(dataclasses.asdict(Options())) == {*OptionsDict.__annotations__, *named}
    hints, options = get_type_hints(OptionsDict), get_type_hints(Options)
    closed = {name for name, hint in hints.items() if hint != options[name]}
    assert closed == {"preset", "schedule", "role_tags", "dtype", "quantise", "judge_tokens_field", "engine"}
    for name in closed:  # a Literal of what the program takes
        literal = next((part for part in get_args(hints[name]) if get_args(part)), hints[name])
        assert all(isinstance(value, str) and Options(**{name: value}) for value in get_args(literal))
    assert set(get_args(hints["preset"])) == set(PRESETS)
    assert set(get_args(get_args(hints["schedule"])[0])) == set(SCHEDULES)


def test_a_misspelt_option_names_the_nearest(session: Session) -> None:
    with pytest.raises(UsageError, match=r"no option is called 'learning_rat'; did you mean 'learning_rate'\?"):
        session.generate("a star", learning_rat=0.1)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="did you mean 'in_flight'"):
        milr.generate("a star", inflight=3)  # type: ignore[call-overload]


def test_what_the_model_was_loaded_with_stays(session: Session) -> None:
    with pytest.raises(UsageError, match="role_tags='pipe'"):
        session.generate("a star", role_tags="plain")
    with pytest.raises(UsageError, match="belongs to a call"):
        milr.load("nano", out="runs")


def test_bad_names_are_told_before_the_model_is_loaded() -> None:
    for wrong in ({"reward": "detctor"}, {"method": "milr"}, {"preset": "papr"}):
        with pytest.raises(UsageError, match="did you mean|there are"):
            milr.load("/nowhere/at/all", **wrong)  # type: ignore[arg-type]


# Runs and what is shown


def test_a_benchmark_gives_a_run(tmp_path: Path) -> None:
    with milr.load("nano", steps=1, in_flight=4) as session:
        run = session.bench("shapes", split="development", limit=3, out=tmp_path / "run", method="redraw_plain")
        again = session.bench("shapes", split="development", limit=3, out=tmp_path / "run", method="redraw_plain")
    assert run.config.benchmark == "shapes" and run.config.report_metric == "detector"
    assert [outcome.score.value for outcome in run.outcomes] == [outcome.score.value for outcome in again.outcomes]
    table = run.to_pandas()
    assert len(table) == sum(len(outcome.steps) for outcome in run.outcomes)
    assert table["returned"].sum() == len(run.outcomes) == 3
    assert all(Path(path).is_file() for path in table["picture"])
    assert list(table["prompt"].drop_duplicates()) == [outcome.prompt.text for outcome in run.outcomes]
    with pytest.raises(UsageError, match="no run"):
        milr.load_run(tmp_path / "nothing")


def test_outcomes_are_short_in_words_and_show_pictures_in_a_notebook(session: Session) -> None:
    outcome = session.generate("a red star", out=None)
    assert len(repr(outcome)) < 200 and "a red star" in repr(outcome) and len(repr(outcome.steps[1])) < 80
    page = outcome._repr_html_()
    assert page.count("<img") == (1 if outcome.returned == 0 else 2) and "data:image/png;base64," in page
    many = Outcomes([outcome] * 30)
    assert many._repr_html_().count("<p>a red star") == 24 and "6 more" in many._repr_html_()
    assert len(repr(many)) < 100


def test_a_prompt_is_escaped_in_a_page(session: Session) -> None:
    outcome = dataclasses.replace(session.generate("a star", steps=0), prompt=Prompt("<b>a star</b>"))
    assert "<b>" not in outcome._repr_html_()


def test_scores_of_a_function_may_be_scores(session: Session) -> None:
    def words(picture: Image, prompt: Prompt) -> Score:
        return Score(0.5, {"part": 0.25}, "because")

    assert session.generate("a star", steps=0, reward=words).score.parts == {"part": 0.25}
