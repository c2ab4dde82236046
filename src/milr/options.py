"""Everything a user may choose for a run, with its defaults and its help. Plain data; loads nothing."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args, get_type_hints

from milr.inputs.shard import Shard
from milr.inputs.text import read_template
from milr.types import UsageError

OVERRIDES = ("schedule", "steps", "text_ratio", "image_ratio", "learning_rate", "l2", "guidance_scale", "temperature",
             "role_tags")  # fmt: skip
WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
MOST = {
    "samples": 1_000_000,
    "workers": 100_000,
    "in_flight": 10_000_000,
    "threads": 1024,
    "cache_bytes": 2**50,
    "steps": 1_000_000_000,
    "denoising_steps": 10_000,
}
MOST_GPUS = 64  # of a worker
LIMITS = ("pictures", "token_steps", "reward_calls")
WHERE = ("engine", "workers", "gpus_per_worker", "address", "shard")
"""The options that say where a run is made, and nothing of what it is."""


def _option(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Options:
    """Options of `milr.generate` and of the command line; None leaves the choice to the preset, model or reward.

    `threshold` is on the score: the search stops above it, unless `stop` is False. `in_flight` changes speed only.
    """

    model: str = _option("nano", "A name from `milr list models`, a folder or a hub name.")
    reward: str | None = _option(None, "What guides the search: a name from `milr list rewards`, noisy:P,Q, or "
                               "path/to/file.py:name. Default: held-out in nano's world, else self.")  # fmt: skip
    choose: str | None = _option(None, "A second judge, a reward's name: the search stops where both judges pass, and "
                               "among the pictures that the reward passes this one chooses.")  # fmt: skip
    metric: str | None = _option(None, "What judges the result, a reward's name. Default: detector in nano's world.")
    method: str = _option("auto", "A name from `milr list methods`.")
    preset: str = _option("default", "Settings to start from: default, paper, paper-scaled, released.")
    schedule: str | None = _option(None, "What moves when: joint, alt, t2v, text or image.")
    steps: int | None = _option(None, "Most updates for each picture.")
    pictures: int | None = _option(None, "Most pictures for each prompt and sample. Default: steps + 1.")
    token_steps: int | None = _option(None, "Most decoded tokens for each prompt and sample.")
    reward_calls: int | None = _option(None, "Most reward calls for each prompt and sample.")
    stop: bool = _option(True, "Stop above the threshold (without: Best-of-N).")
    threshold: float | None = _option(None, "Stop above this score, 0 to 1. Default: the reward's.")
    text_ratio: float | None = _option(None, "Share of the text latents that is free.")
    image_ratio: float | None = _option(None, "Share of the image latents that is free.")
    learning_rate: float | None = _option(None, "Size of an update of each coordinate.")
    l2: float | None = _option(None, "Pull towards the first latents.")
    guidance_scale: float | None = _option(None, "Classifier-free guidance.")
    temperature: float | None = _option(None, "Temperature of the image tokens.")
    visualisation: str | None = _option(None, "Use this text instead of the model's own.")
    reasoning_prompt: str | None = _option(None, "How to ask for it, or a file that says it; {prompt} is "
                                         "replaced; a system line may stand above a line ---.")  # fmt: skip
    role_tags: str | None = _option(None, "pipe (<|User|>) or plain (User).")
    dtype: str = _option("auto", "auto (a GPU: bfloat16), float32, bfloat16 or float16. In 16 bits other searches in a "
                         "batch may change a picture; only float32 gives the same one again.")  # fmt: skip
    device: str = _option("auto", "auto, cpu, cuda, or mps (untested).")
    quantise: str | None = _option(None, "8bit or 4bit: the language model's weights in fewer bits, for small cards "
                                 "(needs milr[quantised]). Default: as they are.")  # fmt: skip
    prompt_model: str | None = _option(None, "Of a model that only draws, such as diffusers:NAME: the model that "
                                     "writes its texts and answers questions about its pictures (a name, a folder or a "
                                     "hub name).")  # fmt: skip
    denoising_steps: int | None = _option(None, "Of diffusers:NAME: denoising steps of a picture. Default: the "
                                        "pipeline's.")  # fmt: skip
    graphs: bool = _option(True, "Decode by CUDA graphs on a GPU (without: slower, for cards where these fail).")
    threads: int | None = _option(None, "Threads of the CPU that the model decodes with. Default: every core.")
    cache_bytes: int | None = _option(None, "Most bytes of keys and values kept for sequences that begin alike. "
                                      "Default: 1 GiB.")  # fmt: skip
    seed: int = _option(0, "The same seed gives the same pictures (see --dtype).")
    samples: int = _option(1, "Independent pictures for each prompt (4 in GenEval's protocol, 1 in the paper).")
    in_flight: int = _option(16, "Searches at the same time (of ray: of each worker); changes speed only.")
    engine: str = _option(
        "local", "Where searches go on: local (this machine) or ray (a Ray cluster; needs milr[ray])."
    )
    workers: int | None = _option(None, "Of ray: how many models. Default: as many as there is room for.")
    gpus_per_worker: float | None = _option(None, "Of ray: GPUs of each, such as 0.5. Default: 1 where there are any; "
                                          "without, each has as many cores as --threads, or one.")  # fmt: skip
    address: str | None = _option(None, "Of ray: a cluster, such as auto or ray://HOST:10001. Default: that of "
                                  "RAY_ADDRESS, or one started on this machine.")  # fmt: skip
    shard: str | None = _option(None, "i/n: only the i-th of n parts of the samples, as in a Slurm array; into one "
                                "shared folder, or into folders that milr merge joins.")  # fmt: skip
    reward_seconds: float | None = _option(None, "Most seconds for a reward function's judgement; one that takes "
                                           "longer is unscored. Default: no limit.")  # fmt: skip
    judge_url: str | None = _option(None, "Where judges asked in words are: an OpenAI-compatible address, such as "
                                  "http://localhost:8000/v1; its key, if any, in JUDGE_API_KEY. Default: "
                                  "OpenAI's, with OPENAI_API_KEY.")  # fmt: skip
    judge_model: str | None = _option(None, "The model to ask there. Default: the paper's for the reward.")
    judge_template: str | None = _option(None, "Another wording: FILE, or wise=FILE,judge=FILE.")
    judge_calls: int | None = _option(None, "Most requests to a judge in one go.")
    judge_tokens: int | None = _option(None, "Most tokens of its answer, reasoning included. Default: 4096.")
    judge_tokens_field: str | None = _option(None, "Send that limit as max_tokens (default) or "
                                           "max_completion_tokens; learned where a server refuses one.")  # fmt: skip
    judge_temperature: float | None = _option(None, "Temperature of its answer. Default: 0, or the judge's where it "
                                            "takes none.")  # fmt: skip
    judge_extra: str | None = _option(None, "More fields of each request to a judge, as a JSON object; null leaves a "
                                    "field out. Part of the run's identity, so never a key.")  # fmt: skip
    judge_concurrency: int | None = _option(None, "Most requests to a judge at the same time; changes speed only. "
                                          "Default: 8.")  # fmt: skip
    calibration: str | None = _option(None, "A file of milr calibrate, by which own, seen and likelihood score. "
                                    "Default: that of the model's world, if it has one.")  # fmt: skip
    strict_unidet_nouns: bool = _option(False, "T2I-CompBench: never find the nouns that the official detector cannot.")

    def __post_init__(self) -> None:
        self._check_types()
        if self.reasoning_prompt is not None and "{prompt}" not in self.reasoning_prompt:
            object.__setattr__(self, "reasoning_prompt", read_reasoning_prompt(self.reasoning_prompt))
        if self.seed < 0:
            raise UsageError(f"the seed cannot be negative; it is {self.seed}.")
        if self.shard is not None:
            Shard.parse(self.shard)
        for name in ("samples", "in_flight", "threads", "cache_bytes", "judge_calls", "judge_tokens",
                     "judge_concurrency", "workers", "denoising_steps", *LIMITS):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1; it is {value}.")
        for name, most in MOST.items():
            if (value := getattr(self, name)) is not None and value > most:
                raise UsageError(f"{name} can be at most {most}; it is {f'{value:.3g}' if value < 1e300 else 'more'}.")
        if self.gpus_per_worker is not None and not 0 <= self.gpus_per_worker <= MOST_GPUS:
            raise UsageError(f"gpus_per_worker lies between 0 and {MOST_GPUS}; it is {self.gpus_per_worker}.")
        if self.reward_seconds is not None and not 0 < self.reward_seconds <= threading.TIMEOUT_MAX:
            raise UsageError(f"reward_seconds must be above 0; it is {self.reward_seconds}.")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UsageError(f"the threshold is on the score, between 0 and 1, not {self.threshold}.")
        if self.threshold is not None and not self.stop:
            raise UsageError("a threshold and no stop contradict each other; give one of them.")

    def _check_types(self) -> None:
        """Values from a file or a caller may be of any type; a whole number is a fraction, too."""
        for name, known in _kinds_of(type(self)).items():  # type: ignore[arg-type]
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if type(value) not in known and not (whole and float in known):
                wanted = " or ".join(WORDS[kind] for kind in known if kind in WORDS)
                raise UsageError(f"{name} must be {wanted}, not {value!r}.")

    def templates(self) -> dict[str, Path]:
        """The files with other wordings by the judge that they are for; "" stands for every other judge."""
        given = (part.rpartition("=") for part in (self.judge_template or "").split(",") if part)
        return {judge: Path(file) for judge, _, file in given}

    def overrides(self) -> dict[str, Any]:
        """What the user set over the preset (None: nothing). A budget of pictures alone also says how many steps."""
        chosen = {name: getattr(self, name) for name in OVERRIDES}
        if self.pictures is not None and self.steps is None:
            chosen["steps"] = self.pictures - 1
        return chosen


@cache  # reading the annotations takes longer than all checks
def _kinds_of(options: type) -> dict[str, tuple[type, ...]]:
    """The types that each option may have."""
    return {name: get_args(kinds) or (kinds,) for name, kinds in get_type_hints(options).items()}


def read_reasoning_prompt(name: str) -> str:
    """The reasoning prompt that the file `name` holds; UsageError where there is none."""
    text = read_template(Path(name)).strip("\n") if os.path.exists(name) else ""
    if "{prompt}" not in text:
        raise UsageError("the reasoning prompt needs the placeholder {prompt}, or is the name of a file of UTF-8 text "
                         f"that has it; {name[:80]!r} is neither.")  # fmt: skip
    return text


class OptionsDict(TypedDict, total=False):
    """`Options` as typed keywords, without model, reward, choose, metric, method and samples, which functions name.

    A test holds the keywords to the fields of `Options`.
    """

    preset: Literal["default", "paper", "paper-scaled", "released"]
    schedule: Literal["joint", "alt", "t2v", "text", "image"] | None
    steps: int | None
    pictures: int | None
    token_steps: int | None
    reward_calls: int | None
    stop: bool
    threshold: float | None
    text_ratio: float | None
    image_ratio: float | None
    learning_rate: float | None
    l2: float | None
    guidance_scale: float | None
    temperature: float | None
    visualisation: str | None
    reasoning_prompt: str | None
    role_tags: Literal["pipe", "plain"] | None
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    device: str
    quantise: Literal["8bit", "4bit"] | None
    prompt_model: str | None
    denoising_steps: int | None
    graphs: bool
    threads: int | None
    cache_bytes: int | None
    seed: int
    in_flight: int
    engine: Literal["local", "ray"]
    workers: int | None
    gpus_per_worker: float | None
    address: str | None
    shard: str | None
    reward_seconds: float | None
    judge_url: str | None
    judge_model: str | None
    judge_template: str | None
    judge_calls: int | None
    judge_tokens: int | None
    judge_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None
    judge_temperature: float | None
    judge_extra: str | None
    judge_concurrency: int | None
    calibration: str | None
    strict_unidet_nouns: bool
