"""What runs here: packages, devices, the embedded weights, and which rewards."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

from milr import catalog
from milr.catalog import REWARDS
from milr.catalog.judge_clients import OPENAI_URL
from milr.catalog.rewards import ENDPOINT_PACKAGES
from milr.options import Options
from milr.rewards.vision.pinned import QWEN3_VL, SPACY_MODEL, UNIFIED
from milr.types import MilrError, MissingError


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report; `needed` findings decide the exit code."""

    what: str
    ok: bool
    needed: bool = True


EXTRAS = {"openai": "judge", "tenacity": "judge", "spacy": "bench"}  # of the install command
ELSEWHERE = "name an endpoint with --judge-url (its key, if it wants one, in JUDGE_API_KEY)"
PACKAGES = ("torch", "transformers", "safetensors", "pydantic", "typer", "jinja2", "matplotlib")


def check_machine() -> list[Finding]:
    """Every check, the necessary ones first; only packages, where one is missing."""
    packages = [_package(name) for name in PACKAGES]
    if not all(package.ok for package in packages):
        return packages
    return [*packages, _default_model(), _cuda(), *(_reward(name) for name in REWARDS)]


def fetch_for(reward: str, report: Callable[[str], None]) -> None:
    """Fetch the weights that a reward needs, and spaCy's model; MissingError where one is not to be had.

    `report` gets a line about each before it is fetched.
    """
    part = REWARDS[reward]
    for name in part.packages:
        if name in EXTRAS and importlib.util.find_spec(name) is None:
            raise MissingError(f"the package {name} is missing: pip install 'milr[{EXTRAS[name]}]'.")
    for name in part.checkpoints:
        from milr.rewards.vision.checkpoints import fetch

        report(f"fetching {name}")
        fetch(name)
    if SPACY_MODEL in part.packages and importlib.util.find_spec(SPACY_MODEL) is None:
        report(f"fetching {SPACY_MODEL}")
        _fetch_spacy_model()


def _fetch_spacy_model() -> None:
    from spacy.cli import download

    try:
        download(SPACY_MODEL)  # runs pip, and exits where that fails
    except (SystemExit, OSError) as error:
        raise MissingError(f"spaCy's model {SPACY_MODEL} could not be fetched ({error}); install it where there is a "
                           f"network: python -m spacy download {SPACY_MODEL}.") from error  # fmt: skip


def _reward(name: str) -> Finding:
    """Whether what a reward needs is here; an endpoint is not called."""
    from milr.rewards.vision.checkpoints import is_here

    part = REWARDS[name]
    packages = [f"the package {package}" for package in part.packages if importlib.util.find_spec(package) is None]
    lacking = [*packages, *(checkpoint for checkpoint in part.checkpoints if not is_here(checkpoint))]
    needs = f" (needs {part.needs})" if part.needs not in ("", "nothing") else ""
    if lacking:
        served = next((model for model in (UNIFIED, QWEN3_VL) if model in lacking), "")
        instead = f", or for {served} {ELSEWHERE}" if served else ""
        what = f"reward {name}: lacks {', '.join(lacking)}; milr doctor --fetch {name}{instead}"
        return Finding(what, False, needed=False)
    if part.packages == ENDPOINT_PACKAGES and (why := _no_endpoint()):
        return Finding(f"reward {name}: {why}, or {ELSEWHERE}", False, needed=False)
    return Finding(f"reward {name}{needs}", True, needed=False)


def _no_endpoint() -> str:
    """Why OpenAI's endpoint, which judges ask by default, cannot be asked; "" where nothing is known against it."""
    from milr.rewards.endpoint.client import EndpointClient
    from milr.rewards.endpoint.settings import EndpointSettings

    try:
        EndpointClient(EndpointSettings(OPENAI_URL, "any"))
    except MilrError as error:
        return str(error).rstrip(".")
    return ""


def _package(name: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(f"package {name}: install milr again", False)
    return Finding(f"package {name} {version(name)}", True)


def _default_model() -> Finding:
    name = Options().model
    try:
        identity = catalog.make_model(name).identity()
    except MilrError as error:
        return Finding(str(error), False)
    return Finding(f"model {name} loads ({identity['weights'][:12]}); it runs on any CPU", True)


def _cuda() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding(
            "a CUDA GPU: Janus-Pro-1B and -7B are slow without one; the embedded model needs none", False, needed=False
        )
    name, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory / 2**30
    return Finding(f"CUDA GPU {name}, {memory:.0f} GiB", True, needed=False)
