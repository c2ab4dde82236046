"""`milr serve` over a small random Janus: OpenAI's images and chat API, errors, limits, and what stays on disk."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("starlette", reason="milr serve needs the extra: pip install 'milr[web]'")
pytest.importorskip("prometheus_client", reason="milr serve needs the extra: pip install 'milr[web]'")

from starlette.testclient import TestClient  # noqa: E402

import milr  # noqa: E402
from milr.runs.store import read_run
from milr.web.app import make_app  # noqa: E402
from milr.web.limits import Limits, ServerSettings  # noqa: E402
from milr.workflows.serving import ServingSession  # noqa: E402
from same_tokens import assert_same  # noqa: E402
from scripted import Brightness  # noqa: E402

LIMITS = Limits(prompt=200, pictures=8, samples=3, body=100_000, pixels=10_000)
SETTINGS: dict[str, Any] = {
    "reward": Brightness(), "pictures": 3, "image_ratio": 0.2, "learning_rate": 0.3, "guidance_scale": 2.0,
    "threshold": 1.0, "device": "cpu", "reasoning_prompt": "plan the picture : {prompt}",
}  # fmt: skip
GENERATE, CHAT = "/v1/images/generations", "/v1/chat/completions"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve") / "runs"


@pytest.fixture(scope="module")
def session(tiny_folder: Path) -> Iterator[ServingSession]:
    with ServingSession(tiny_folder, processes=False, **SETTINGS) as one:
        yield one


@pytest.fixture(scope="module")
def client(session: ServingSession, out: Path) -> Iterator[TestClient]:
    with TestClient(make_app(session, ServerSettings(out, limits=LIMITS)), base_url="http://localhost") as one:
        yield one


def ask(client: TestClient, path: str = GENERATE, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    content: dict[str, Any] = answer.json()
    return content


def picture_in(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def events(client: TestClient, path: str, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    answer = client.post(path, json=body)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream"), answer.text
    blocks = [block.split("\n") for block in answer.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def test_a_search_does_not_count_the_memory_of_all_others_as_its_own(client: TestClient, out: Path) -> None:
    run = ask(client, prompt="a star", milr={"pictures": 1})["milr"]["run"]
    (period,) = read_run(out / run).sittings
    assert period.peak_memory == 0 and period.versions["torch"]


def test_health_models_and_metrics(client: TestClient, session: ServingSession) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    (model,) = client.get("/v1/models").json()["data"]
    assert model["id"] == Path(session.model.name).name and model["object"] == "model"
    ask(client, prompt="a star", milr={"pictures": 2, "threshold": 1.0})
    text = client.get("/metrics").text
    numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(numbers["milr_pictures_total"]) >= 2 and numbers["milr_active"] == "0.0"
    assert float(numbers['milr_requests_total{path="/v1/images/generations",status="200"}']) >= 1


# Pictures


def test_pictures_are_those_of_the_command_line(client: TestClient, tiny_folder: Path, out: Path) -> None:
    answer = ask(client, prompt="a red star", n=2, milr={"seed": 5})
    alone = milr.generate("a red star", model=tiny_folder, samples=2, seed=5, **SETTINGS)
    for data, outcome in zip(answer["data"], alone, strict=True):
        assert picture_in(data["b64_json"]).tobytes() == outcome.picture.tobytes()
        assert data["milr"]["score"] == outcome.score.value and data["milr"]["first_score"] == outcome.first_score.value
        assert data["milr"]["sample"] == outcome.key.sample and data["milr"]["stop"] == outcome.stop
    stored = milr.load_run(out / answer["milr"]["run"]).outcomes
    assert all(assert_same(one, other) for one, other in zip(stored, alone, strict=True))
    usage = answer["usage"]
    assert usage["output_tokens"] == sum(outcome.cost.token_steps for outcome in alone)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] and usage["input_tokens"] > 0
    assert answer["size"] == "x".join(map(str, alone[0].picture.size))


def test_complexity_is_the_budget(client: TestClient) -> None:
    found = [ask(client, prompt="a star", complexity=level, milr=extra)["data"][0]["milr"]["pictures"]
             for level, extra in (("low", {}), (None, {"pictures": 2}), ("low", {"pictures": 1}))]  # fmt: skip
    assert found == [4, 2, 1]


@pytest.mark.parametrize("form", ["png", "webp", "jpeg"])
def test_formats(client: TestClient, form: str) -> None:
    answer = ask(client, prompt="a star", output_format=form, milr={"pictures": 1})
    picture = picture_in(answer["data"][0]["b64_json"])
    assert picture.format == form.upper() and answer["output_format"] == form


def test_a_stream_shows_better_pictures_and_then_the_result(client: TestClient) -> None:
    body = {"prompt": "a red star", "stream": True, "partial_images": 3}
    *partial, (name, completed) = events(client, GENERATE, body)
    assert name == completed["type"] == "image_generation.completed" and completed["usage"]["output_tokens"] > 0
    whole = ask(client, prompt="a red star")["data"][0]
    assert completed["b64_json"] == whole["b64_json"]
    assert [kind for kind, _ in partial] == ["image_generation.partial_image"] * len(partial) and partial
    assert [content["partial_image_index"] for _, content in partial] == list(range(len(partial)))
    assert len(events(client, GENERATE, {"prompt": "a red star", "stream": True})) == 1


def test_a_single_picture_streams_its_rows(client: TestClient) -> None:
    body = {"prompt": "a red star", "stream": True, "partial_images": 2, "milr": {"pictures": 1}}
    first, second, (_, completed) = events(client, GENERATE, body)
    whole = ask(client, prompt="a red star", milr={"pictures": 1})["data"][0]
    assert completed["b64_json"] == whole["b64_json"]  # drawn in parts, it is the same picture
    picture = picture_in(second[1]["b64_json"]).convert("RGB")
    assert picture.getpixel((0, picture.height - 1)) == (128, 128, 128) != picture.getpixel((0, 0))
    assert first[1]["b64_json"] != second[1]["b64_json"]


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"size": "1024x1024"}, "size", "unsupported_value"),
    ({"quality": "high"}, "quality", "unsupported_value"),
    ({"background": "transparent"}, "background", "unsupported_value"),
    ({"response_format": "url"}, "response_format", "unsupported_value"),
    ({"partial_images": 2}, "partial_images", "unsupported_value"),
    ({"partial_images": 4, "stream": True}, "partial_images", "invalid_value"),
    ({"stream": True, "n": 2}, "n", "unsupported_value"),
    ({"n": 4}, "n", "invalid_value"), ({"n": 0}, "n", "invalid_value"), ({"n": "2"}, "n", "invalid_value"),
    ({"complexity": "extreme"}, "complexity", "invalid_value"),
    ({"steps": 3}, "steps", "unknown_parameter"),
    ({"prompt": "x" * 201}, "prompt", "string_above_max_length"),
    ({"milr": {"pictures": 9}}, "milr.pictures", "invalid_value"),
    ({"milr": {"steps": 8}}, "milr.steps", "invalid_value"),
    ({"milr": {"method": "milr"}}, "milr.method", "invalid_value"),
    ({"milr": {"method": "/etc/mine.py:method"}}, "milr.method", "invalid_value"),
    ({"milr": {"reward": "mine.py:score"}}, "milr.reward", "invalid_value"),
    ({"milr": {"reward": "weighted:mine.py:score=1,self=1"}}, "milr.reward", "invalid_value"),
    ({"milr": {"reward": "clip"}}, "milr.reward", "invalid_value"),
    ({"milr": {"reward": "judge"}}, "milr.reward", "invalid_value"),
    ({"milr": {"out": "/tmp/x"}}, "milr.out", "unknown_parameter"),
    ({"milr": {"reasoning_prompt": "/etc/passwd"}}, "milr.reasoning_prompt", "unknown_parameter"),
    ({"milr": {"judge_url": "http://169.254.169.254/"}}, "milr.judge_url", "unknown_parameter"),
    ({"milr": {"seed": -1}}, "milr.seed", "invalid_value"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "param", "code"), BAD, ids=lambda value: str(value)[:40])
def test_what_is_not_served_is_said(
    client: TestClient, out: Path, change: dict[str, Any], param: str, code: str
) -> None:
    before = set(out.iterdir()) if out.exists() else set()
    error = ask(client, status=400, **{"prompt": "a star"} | change)["error"]
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert param in error["message"] and (set(out.iterdir()) if out.exists() else set()) == before


@pytest.mark.parametrize("prompt", ["", "   ", "a \x07 star"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_says_nothing_is_an_error_before_any_stream(client: TestClient, prompt: str, stream: bool
                                                                  ) -> None:  # fmt: skip
    error = ask(client, status=400, prompt=prompt, stream=stream)["error"]
    assert "prompt" in error["message"]


def test_errors_have_openais_form(client: TestClient) -> None:
    answer = client.post(GENERATE, content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 400 and set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"].startswith("req_")
    assert client.post(GENERATE, content=b"[" * 50_000, headers={"content-type": "application/json"}).status_code == 400
    assert ask(client, status=404, prompt="a star", model="gpt-image-1")["error"]["code"] == "model_not_found"
    assert client.get("/v1/nothing").json()["error"]["code"] == "not_served"
    assert client.get(GENERATE).status_code == 405


# Answers about pictures


def chat(client: TestClient, question: str, picture: Image.Image, status: int = 200, **fields: Any) -> dict[str, Any]:
    content = io.BytesIO()
    picture.save(content, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    return ask(client, CHAT, status, messages=[{"role": "user", "content": parts}], **fields)


def test_the_model_answers_about_a_picture(client: TestClient, session: ServingSession) -> None:
    picture = Image.new("RGB", (32, 32), "red")
    question = "a red star"
    answer = chat(client, question, picture, logprobs=True, top_logprobs=2, max_tokens=4, temperature=0)
    (expected,) = session.model.answer([picture], [question], 4)
    (choice,) = answer["choices"]
    assert choice["message"]["content"] == expected.text and answer["milr"]["yes"] == expected.yes is not None
    (entry,) = choice["logprobs"]["content"]
    chances = {top["token"]: math.exp(top["logprob"]) for top in entry["top_logprobs"]}
    assert chances["yes"] == pytest.approx(expected.yes) and sum(chances.values()) == pytest.approx(1)
    assert entry["logprob"] == max(top["logprob"] for top in entry["top_logprobs"])
    assert chat(client, question, picture)["choices"][0]["logprobs"] is None


def test_a_verdict_is_what_the_reward_judge_reads(client: TestClient, session: ServingSession) -> None:
    picture = Image.new("RGB", (32, 32), "red")
    (expected,) = session.model.answer([picture], [session.model.question("a star")])
    answer = chat(client, "a star", picture, milr={"answer": "verdict"})
    assert answer["choices"][0]["message"]["content"] == ("0" if (expected.yes or 0) > 0.5 else "-1")


@pytest.mark.parametrize("url", ["http://127.0.0.1/x.png", "file:///etc/passwd", "/etc/passwd", "data:text/html,x",
                                 "data:image/png;base64,AAAA", "data:image/png;base64,***",
                                 "data:image/svg+xml;base64,AAAA"])  # fmt: skip
def test_only_pictures_in_data_urls_are_read(client: TestClient, url: str) -> None:
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what is this"}]
    error = ask(client, CHAT, 400, messages=[{"role": "user", "content": parts}])["error"]
    assert error["param"] == "messages.0.content.0.image_url.url" and error["code"].startswith("invalid_image")


def test_what_cannot_be_answered_is_said(client: TestClient) -> None:
    picture = Image.new("RGB", (32, 32))
    assert chat(client, "a star", Image.new("RGB", (101, 100)), 400)["error"]["code"] == "image_too_large"
    for fields, param in (({"temperature": 0.7}, "temperature"), ({"n": 2}, "n"), ({"stream": True}, "stream"),
                          ({"top_logprobs": 2}, "top_logprobs"), ({"tools": []}, "tools")):  # fmt: skip
        assert chat(client, "a star", picture, 400, **fields)["error"]["param"] == param
    assert "zebra" in chat(client, "a zebra", picture, 400)["error"]["message"]
    assert ask(client, CHAT, 400, messages=[{"role": "user", "content": "hello"}])["error"]["param"] == "messages"
    assert ask(client, CHAT, 400, messages=[])["error"]["param"] == "messages"
