"""Searches on a Ray cluster: the same run as here, whoever searched for what, and whoever was lost on the way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import milr as milr_package
from milr.engine import ray_pool
from milr.engine.ray_pool import ActorPool, Resources, cluster
from milr.options import Options
from milr.runs.store import RunStore
from milr.types import JudgeError, MilrError, UsageError
from milr.workflows.ray_run import resources_of

TESTS = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])}
PROMPTS = ["a photo of two green squares", "a photo of three red hearts", "a photo of a blue circle"]
SEARCH = ["--prompts", "p.txt", "--samples", "2", "--steps", "2", "--method", "redraw_sampled"]
Call = Callable[..., tuple[int, str, str]]


# Without a cluster


def test_without_ray_a_sentence_says_what_to_install(milr: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "find_spec", lambda name: None)
    code, _, error = milr("generate", "a red star", "--engine", "ray")
    assert (code, error) == (3, "milr: --engine ray needs the package ray: pip install 'milr[ray]'.\n")


def test_a_mistyped_engine_is_refused_before_anything_is_loaded(milr: Call) -> None:
    code, _, error = milr("generate", "a red star", "--engine", "rey")
    assert code == 2 and "no engine is called 'rey'" in error


@pytest.mark.parametrize(("there", "options", "workers", "gpus"), [
    ({"CPU": 8.0}, {}, 8, 0), ({"CPU": 8.0}, {"threads": 3}, 2, 0), ({"CPU": 1.0}, {"threads": 4}, 1, 0),
    ({"CPU": 8.0, "GPU": 4.0}, {}, 4, 1), ({"CPU": 8.0, "GPU": 2.0}, {"gpus_per_worker": 0.5}, 4, 0.5),
    ({"CPU": 8.0, "GPU": 2.0}, {"workers": 16}, 16, 1), ({"CPU": 8.0, "GPU": 2.0}, {"gpus_per_worker": 0.0}, 8, 0),
])  # fmt: skip
def test_there_are_as_many_workers_as_there_is_room_for(
    there: dict[str, float], options: dict[str, Any], workers: int, gpus: float
) -> None:
    resolved = ray_pool._resolved(resources_of(Options(**options)), there)
    assert (resolved.workers, resolved.gpus) == (workers, gpus)


@pytest.mark.parametrize(("name", "value"), [("workers", 0), ("gpus_per_worker", -1.0), ("gpus_per_worker", 1e9)])
def test_impossible_numbers_of_workers_are_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name):
        Options(**{name: value})  # type: ignore[arg-type]


def test_on_another_engine_parts_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="on another engine than this process a reward is named"):
        milr_package.generate("a red star", engine="ray", reward=lambda picture, prompt: 1.0)
    with pytest.raises(UsageError, match="no option is called 'stepz'"):
        milr_package.generate("a red star", engine="ray", stepz=3)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="a session searches in this process"):
        milr_package.load("nano", engine="ray")


# The pool, on a cluster of this machine


@pytest.fixture(scope="module")
def small_cluster() -> Iterator[Resources]:
    """Ray with two cores."""
    pytest.importorskip("ray")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = ENVIRONMENT["PYTHONPATH"]  # which workers inherit
    kept = signal.getsignal(signal.SIGTERM)
    try:
        with cluster(Resources(workers=2)) as resources:
            assert signal.getsignal(signal.SIGTERM) is kept
            yield resources
    finally:
        os.environ.pop("PYTHONPATH")
        os.environ.update({"PYTHONPATH": before} if before else {})


def pool_of(resources: Resources, folder: Path, check: Callable[[Any], None] = lambda process: None) -> ActorPool:
    from ray_actors import Adder

    return ActorPool(Adder, (str(folder),), resources, 3, "describe", check)


def with_pool(pool: ActorPool, work: Callable[[], Awaitable[Any]]) -> Any:
    async def go() -> Any:
        try:
            pool.start_others()
            return await asyncio.wait_for(work(), 120)
        finally:
            await pool.close()

    pool.start_first()
    return asyncio.run(go())


def test_calls_are_shared_out_and_errors_come_back(small_cluster: Resources, tmp_path: Path) -> None:
    pool = pool_of(small_cluster, tmp_path)

    async def work() -> list[Any]:
        sums = await asyncio.gather(*(pool.call("add", number) for number in range(20)))
        with pytest.raises(JudgeError, match="the judge is gone"):
            await pool.call("fail")
        return sums

    assert with_pool(pool, work) == list(range(1, 21))


def test_the_most_urgent_call_that_waits_is_made_first(small_cluster: Resources, tmp_path: Path) -> None:
    pool = pool_of(Resources(workers=1, gpus=0), tmp_path)
    order: list[int] = []

    async def call(number: int, urgency: float) -> None:
        await pool.call("add", number, 0.05, urgency=urgency)
        order.append(number)

    async def work() -> None:
        busy = [asyncio.create_task(pool.call("add", 0, 0.5)) for _ in range(3)]  # as many as it has at once
        await asyncio.sleep(0)
        await asyncio.gather(*(call(number, number % 4) for number in range(8)), *busy)

    with_pool(pool, work)
    assert sorted(order[:2]) == [3, 7] and sorted(order[-2:]) == [0, 4]


def test_a_lost_worker_is_replaced_and_its_calls_are_made_again(small_cluster: Resources, tmp_path: Path) -> None:
    (tmp_path / "started").mkdir()
    pool = pool_of(small_cluster, tmp_path / "started")

    async def work() -> list[Any]:
        others = [pool.call("add", number, 0.5) for number in range(5)]
        return await asyncio.gather(*others, pool.call("end_once", str(tmp_path / "ended")))

    assert with_pool(pool, work) == [1, 2, 3, 4, 5, "done"]
    assert 2 <= len(list((tmp_path / "started").iterdir())) <= 3


def test_a_pool_that_only_loses_workers_gives_up(
    small_cluster: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_pool, "PATIENCE", 1)
    pool = pool_of(Resources(workers=1, gpus=0), tmp_path)
    with pytest.raises(MilrError, match="2 workers were lost one after the other"):
        with_pool(pool, lambda: pool.call("end"))


def test_a_worker_that_will_not_do_ends_the_run(small_cluster: Resources, tmp_path: Path) -> None:
    def refuse(process: Any) -> None:
        raise MilrError("a worker has another model.")

    pool = pool_of(small_cluster, tmp_path, refuse)
    with pytest.raises(MilrError, match="another model"):
        with_pool(pool, lambda: asyncio.gather(*(pool.call("add", 1, 1.0) for _ in range(200))))


# Runs


def command(out: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "milr.cli", "generate", *SEARCH, "--out", out, *more]


def same_runs(one: Path, other: Path) -> None:
    from test_shards import masked

    assert len(RunStore(one).records()) == 6 and masked(one) == masked(other)


def test_two_workers_make_the_run_that_one_process_makes(milr: Call, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS))
    on_ray = subprocess.Popen(command("ray", "--engine", "ray", "--workers", "2", "--json"), cwd=tmp_path,
                              env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert milr("generate", *SEARCH, "--out", "here", "--in-flight", "1")[0] == 0
    printed, _ = on_ray.communicate(timeout=300)
    assert on_ray.returncode == 0 and len(json.loads(printed)) == 6
    same_runs(tmp_path / "ray", tmp_path / "here")
    assert RunStore(tmp_path / "ray").run().sittings[-1].workers == 2


def workers_of(process: int) -> list[int]:
    """The processes of Ray that search for the command line `process`, or for nobody else's: oldest first."""
    import psutil

    below = psutil.Process(process).children(recursive=True)
    return [child.pid for child in below if child.name().startswith("ray::SearchWork")]


@pytest.mark.long
def test_a_run_whose_workers_are_killed_is_the_same_run(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS))
    subprocess.run(command("here", "--in-flight", "1"), cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    on_ray = subprocess.Popen(command("ray", "--engine", "ray", "--workers", "2"), cwd=tmp_path, env=ENVIRONMENT)
    killed: set[int] = set()
    while on_ray.poll() is None and len(killed) < 4:
        time.sleep(0.2)
        if (tmp_path / "ray" / "records").exists():
            for pid in workers_of(on_ray.pid)[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                time.sleep(3)
    assert on_ray.wait(timeout=600) == 0 and killed
    same_runs(tmp_path / "ray", tmp_path / "here")


@pytest.mark.long
def test_python_and_experiments_search_there_too(milr: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    asked: dict[str, Any] = {"samples": 2, "steps": 1, "method": "redraw_sampled"}
    there = milr_package.generate(PROMPTS, engine="ray", workers=1, **asked)
    here = milr_package.generate(PROMPTS, **asked)
    assert [each.steps[-1].rollout.image.ids for each in there] == [each.steps[-1].rollout.image.ids for each in here]
    assert [each.picture.tobytes() for each in there] == [each.picture.tobytes() for each in here]  # type: ignore[union-attr]
    (tmp_path / "e.toml").write_text(
        'title = "two"\nbenchmark = "shapes"\nlimit = 2\nseeds = [0, 1]\n'
        '[rows.a]\nmethod = "redraw_greedy"\npictures = 2\n'
        '[rows.b]\nmethod = "redraw_sampled"\nstop = false\npictures = 3\nreward = "detector"\n'
    )
    code, printed, error = milr("experiment", "e.toml", "--out", "e", "--engine", "ray", "--workers", "2")
    assert code == 0 and "compare.html" in printed, error
    assert milr("experiment", "e.toml", "--out", "here", "--in-flight", "1")[0] == 0
    from test_shards import masked

    for folder in ("a/seed-0", "a/seed-1", "b/seed-0", "b/seed-1"):
        assert masked(tmp_path / "e" / folder) == masked(tmp_path / "here" / folder), folder


@pytest.mark.long
def test_a_killed_command_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS))
    on_ray = subprocess.Popen(command("ray", "--engine", "ray", "--workers", "2"), cwd=tmp_path, env=ENVIRONMENT)
    while on_ray.poll() is None and not list((tmp_path / "ray" / "records").glob("*.json")):
        time.sleep(0.05)
    on_ray.kill()
    on_ray.wait()
    subprocess.run(command("ray"), cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    subprocess.run(command("here", "--in-flight", "1"), cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    same_runs(tmp_path / "ray", tmp_path / "here")
