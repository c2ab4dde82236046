"""A ComfyUI node that asks `milr serve` for pictures: copy this folder into ComfyUI's `custom_nodes`.

It needs nothing that ComfyUI does not have; milr and its model stay in the server's process. Where the server is, and
its key, are in the environment of ComfyUI (MILR_SERVER, MILR_API_KEY), and never in a workflow: those are saved in
pictures and passed on.
"""

import base64
import http.client
import io
import json
import os
import socket
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from comfy.model_management import throw_exception_if_processing_interrupted
from PIL import Image

ADDRESS = "http://127.0.0.1:8000"
SERVER_CHOOSES = "server's choice"
PATIENCE = 600  # seconds without a byte from the server
LOOK = 0.2  # seconds between two looks at ComfyUI's cancel button


class MilrGenerate:
    """Searches for pictures that follow a prompt; cancelling the workflow gives the search up."""

    CATEGORY = "image/generate"
    DESCRIPTION = "Draws, judges and draws again until the picture follows the prompt. Needs a running milr serve."
    FUNCTION = "generate"
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("images", "found")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  # ComfyUI's name
        """What the node asks for."""
        return {
            "required": {
                "prompt": ("STRING", {"multiline": True, "default": "a photo of three red hearts"}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**53 - 1}),
                "samples": ("INT", {"default": 1, "min": 1, "max": 10, "tooltip": "Each is a search of its own."}),
                "complexity": (
                    [SERVER_CHOOSES, "low", "medium", "high"],
                    {"tooltip": "At most 4, 12, 21 pictures a search."},
                ),
            },
            "optional": {
                "method": ("STRING", {"default": "", "tooltip": "As milr list methods; empty: the server's."}),
                "reward": ("STRING", {"default": "", "tooltip": "As milr list rewards; empty: the server's."}),
            },
        }

    def generate(self, prompt: str, seed: int, samples: int, complexity: str, method: str = "",
                 reward: str = "") -> tuple[torch.Tensor, str]:  # fmt: skip
        """The returned pictures as one batch, and what was found of each: one JSON object a line."""
        own = {"seed": seed, "method": method.strip(), "reward": reward.strip()}
        body: dict[str, Any] = {"prompt": prompt, "n": samples, "milr": {k: v for k, v in own.items() if v != ""}}
        if complexity != SERVER_CHOOSES:
            body["complexity"] = complexity
        data = ask("/v1/images/generations", body)["data"]
        images = torch.stack([to_tensor(item["b64_json"]) for item in data])
        return images, "\n".join(json.dumps(item["milr"]) for item in data)


def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The server's answer. It gives its work up when the connection is closed, as it is when the user cancels."""
    address = os.environ.get("MILR_SERVER", ADDRESS)
    url = urlsplit(address)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    headers = {"content-type": "application/json"}
    if key := os.environ.get("MILR_API_KEY"):
        headers["authorization"] = f"Bearer {key}"
    connection = kind(url.netloc, timeout=PATIENCE)
    with ThreadPoolExecutor(1) as pool:
        try:
            connection.connect()
            connection.request("POST", url.path.rstrip("/") + path, json.dumps(body), headers)
            answer = pool.submit(_read, connection)
            _wait(answer)
            status, content = answer.result()
        except OSError as error:
            raise RuntimeError(f"milr serve does not answer at {address} ({error}): start it there, or set MILR_SERVER."
                               ) from error  # fmt: skip
        finally:
            _close(connection)
    try:
        found: dict[str, Any] = json.loads(content)
        if status == 200:
            return found
        message = found["error"]["message"]
    except (ValueError, KeyError, TypeError):
        raise RuntimeError(f"what answers at {address} is no milr serve (status {status}).") from None
    raise RuntimeError(f"milr serve: {message}")


def _read(connection: http.client.HTTPConnection) -> tuple[int, bytes]:
    answer = connection.getresponse()
    return answer.status, answer.read()


def _wait(answer: Future[Any]) -> None:
    """Until the answer is there; ComfyUI's exception where the user cancels."""
    while not wait([answer], timeout=LOOK).done:
        throw_exception_if_processing_interrupted()


def _close(connection: http.client.HTTPConnection) -> None:
    """Close at once, although another thread reads from it."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()


def to_tensor(content: str) -> torch.Tensor:
    """A picture as ComfyUI has it: height, width, colours, from 0 to 1."""
    picture = Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")
    return torch.from_numpy(np.array(picture)).to(torch.float32) / 255


NODE_CLASS_MAPPINGS = {"MilrGenerate": MilrGenerate}
NODE_DISPLAY_NAME_MAPPINGS = {"MilrGenerate": "milr: search for a picture"}
