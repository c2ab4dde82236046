"""A judge's own thread: nobody else waits for it, one failure is one failure, and giving up is no lock."""

import asyncio
import threading
import time

from PIL import Image

from milr.rewards.clip import ClipReward
from milr.rewards.vision.judge_thread import JudgeThread
from milr.types import JudgeError, Prompt, Score


def finished(work):
    return asyncio.run(asyncio.wait_for(work, 20))


def test_two_hundred_waiting_pictures_leave_the_threads_of_others_alone():
    gate = threading.Event()

    def cosine(picture, text):
        assert gate.wait(10)
        return 0.25

    async def go():
        judge, picture = ClipReward(cosine), Image.new("RGB", (4, 4))
        judge.check = lambda prompt: None  # a function in CLIP's place counts no tokens
        waiting = [asyncio.ensure_future(judge.score([picture], [Prompt("a cat")], None)) for _ in range(200)]
        await asyncio.sleep(0.05)
        await asyncio.wait_for(asyncio.gather(*(asyncio.to_thread(time.sleep, 0.001) for _ in range(50))), 5)
        assert not any(one.done() for one in waiting)
        gate.set()
        return [score for one in waiting for score in await one]

    scores = finished(go())
    assert [score.value for score in scores] == [0.25] * 200
    assert 0 < sum(score.seconds for score in scores[1:]) < 5, "waiting (0.05 s each and more) is not judging"


def test_an_error_is_unscored_and_the_next_is_judged():
    def judge(number):
        if number == 1:
            raise RuntimeError("out of memory")
        if number == 2:
            raise JudgeError("the text is too long; shorten it.")
        time.sleep(0.02)
        return Score(number / 10, {"part": 1.0}, "why")

    async def go():
        thread = JudgeThread("the eye")
        return await asyncio.gather(*(thread.score(judge, number) for number in range(4)))

    first, broken, refused, last = finished(go())
    assert (first.value, last.value, last.parts, last.reason) == (0.0, 0.3, {"part": 1.0}, "why")
    assert (broken.value, broken.reason) == (None, "the eye failed: RuntimeError: out of memory")
    assert (refused.value, refused.reason) == (None, "the eye failed: the text is too long; shorten it.")
    assert last.seconds >= 0.02 and broken.seconds > 0


def test_what_is_given_up_is_never_begun_and_the_thread_goes_on():
    begun, gate = [], threading.Event()

    def judge(number):
        begun.append(number)
        assert gate.wait(10)
        return Score(1.0)

    async def go():
        thread = JudgeThread("the eye")
        tasks = [asyncio.ensure_future(thread.score(judge, number)) for number in range(5)]
        await asyncio.sleep(0.05)
        for given_up in tasks[:4]:  # the one that runs, too
            given_up.cancel()
        outcomes = await asyncio.gather(*tasks[:4], return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in outcomes)
        gate.set()
        return [await tasks[4], await thread.score(judge, 5)]

    assert [score.value for score in finished(go())] == [1.0, 1.0] and begun == [0, 4, 5]


def test_a_judge_has_no_thread_before_it_judges_and_outlives_an_event_loop():
    def judges():
        return {one for one in threading.enumerate() if one.name.startswith("milr-judge")}

    before, thread = judges(), JudgeThread("the eye")
    assert judges() == before
    assert [finished(thread.score(Score, number)).value for number in (0.25, 0.5)] == [0.25, 0.5]
    assert len(judges() - before) == 1
