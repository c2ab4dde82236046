"""A judge asked in words over HTTP. The server below stands in for vLLM, Ollama or OpenAI, and never looks."""

import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import milr

ANSWERS = itertools.cycle(["-1", "-1", "0"])  # -1 for a wrong picture, 0 for a right one


class BlindJudge(BaseHTTPRequestHandler):
    """Speaks OpenAI's chat protocol."""

    def do_POST(self) -> None:
        """One chat completion."""
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": next(ANSWERS)}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        body = json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing on the terminal."""


server = ThreadingHTTPServer(("127.0.0.1", 0), BlindJudge)
threading.Thread(target=server.serve_forever, daemon=True).start()

outcome = milr.generate(
    "a photo of a yellow moon",
    reward="judge",
    judge_url=f"http://127.0.0.1:{server.server_port}/v1",
    judge_model="blind",
    judge_calls=20,  # a cap, in case a judge costs money
    pictures=4,
)
print("verdicts:", [step.score.value for step in outcome.steps], "stopped because of:", outcome.stop)
server.shutdown()
