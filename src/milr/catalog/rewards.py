"""The rewards that have a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from milr.catalog.names import one_of
from milr.catalog.parts import Part, Wanted
from milr.rewards.vision import pinned
from milr.types import UsageError

if TYPE_CHECKING:
    from milr.base import Reward
    from milr.rewards.endpoint.question_reward import AskedReward, Asker
    from milr.rewards.endpoint.wording import Wording

OPENAI = "https://api.openai.com/v1"
ENDPOINT = ("openai", "tenacity")  # packages
ASKED = "an endpoint: --judge-url, --judge-model"


def _detector(wanted: Wanted) -> Reward:
    from milr.rewards.detector import shapes_detector

    return shapes_detector()


def _held_out(wanted: Wanted) -> Reward:
    from milr.rewards.detector import held_out_judge

    return held_out_judge()


def _self(wanted: Wanted) -> Reward:
    if wanted.model is None:
        raise UsageError("the reward self asks the model that drew, and a folder of pictures has none: choose another.")
    if wanted.argument == "json":
        from milr.rewards.self_json import SelfVerdict

        return SelfVerdict(_wording("self", wanted))
    if wanted.argument:
        raise UsageError(f"there is no self:{wanted.argument}; write self, or self:json.")
    from milr.rewards.self import SelfJudge

    return SelfJudge(wanted.model.question)


def _noisy(wanted: Wanted) -> Reward:
    from milr.rewards.noisy import NoisyJudge, parse

    return NoisyJudge(_detector(wanted), *parse(wanted.argument), wanted.options.seed)


def _weighted(wanted: Wanted) -> Reward:
    from milr.rewards.weighted import WeightedReward, parse

    weights = parse(wanted.argument)
    return WeightedReward({name: wanted.make(name) for name in weights}, weights)


def _geneval(wanted: Wanted) -> Reward:
    from milr.rewards.geneval import GenEvalReward

    return GenEvalReward.load(device=wanted.options.device)


def _compbench(wanted: Wanted) -> Reward:
    from milr.rewards.t2i_compbench import CompBenchReward

    return CompBenchReward.load(strict_unidet_nouns=wanted.options.strict_unidet_nouns, device=wanted.options.device)


def _clip(wanted: Wanted) -> Reward:
    from milr.rewards.clip import ClipReward

    return ClipReward.load(device=wanted.options.device)


def _pickscore(wanted: Wanted) -> Reward:
    from milr.rewards.clip import PickScoreReward

    return PickScoreReward.load(device=wanted.options.device)


def _judge(wanted: Wanted) -> Reward:
    from milr.rewards.judge import JudgeReward

    return _asked(JudgeReward, wanted)


def _wise(wanted: Wanted) -> Reward:
    from milr.rewards.wise import WiseReward

    return _asked(WiseReward, wanted)


def _unified(wanted: Wanted) -> Reward:
    """Through an endpoint where one is named, else the model on this machine."""
    from milr.rewards.unified import UnifiedReward

    if wanted.options.judge_url:
        return _asked(UnifiedReward, wanted)
    from milr.rewards.vision.qwen import LocalQwen

    name = wanted.options.judge_model or UnifiedReward.paper_model
    return _worded(UnifiedReward, LocalQwen.load(name, device=wanted.options.device), wanted)


def _mixed(wanted: Wanted) -> Reward:
    from milr.rewards.mixed import MixedReward

    return MixedReward.load(_unified(wanted), device=wanted.options.device)


def _asked(kind: Any, wanted: Wanted) -> AskedReward:
    from milr.benchmarks.download import cache_folder
    from milr.rewards.endpoint.client import Endpoint, EndpointSettings

    options, url = wanted.options, wanted.options.judge_url or OPENAI
    settings = EndpointSettings(
        url, options.judge_model or kind.paper_model, most_calls=options.judge_calls,
        key_variable="OPENAI_API_KEY" if url.startswith(OPENAI) else "JUDGE_API_KEY",  # no key to a stranger
        cache=cache_folder() / "answers", **({"max_tokens": options.judge_tokens} if options.judge_tokens else {}),
    )  # fmt: skip
    return _worded(kind, Endpoint(settings), wanted)


def _worded(kind: Any, asker: Asker, wanted: Wanted) -> AskedReward:
    made: AskedReward = kind(asker, _wording(kind.name, wanted))
    return made


def _wording(name: str, wanted: Wanted) -> Wording:
    """Ours, or the user's for this judge; UsageError for a template of a judge that there is not."""
    from milr.rewards.endpoint.wording import NEEDED, Wording

    given = wanted.options.templates()
    for judge in filter(None, given):
        one_of("judge with a template", judge, list(NEEDED))
    return Wording.load(name, given.get(name) or given.get(""))


Make = Callable[[Wanted], "Reward"]
SHAPES, CLAUSES = "a prompt of the shapes grammar, and nano's pictures", "GenEval's metadata"
REWARDS = {
    "detector": Part(_detector, "the shapes world's detector under GenEval's rules; for nano an oracle",
                     SHAPES, "Apache-2.0", 0.9),
    "held-out": Part(_held_out, "a small network's eye on the shapes world, under GenEval's rules; independent of nano",
                     SHAPES, "Apache-2.0", 0.9),
    "noisy": Part(_noisy, "noisy:P,Q: the detector, but right pictures fail with P and wrong ones pass with Q",
                  SHAPES, "Apache-2.0", 0.9, seeded=True),
    "self": Part(_self, "the generating model's own yes or no; self:json asks for a reasoned verdict, as the paper",
                 "nothing", "that of the generating model", 0.9),
    "judge": Part(_judge, "a strict judge (GPT-4o in the paper) says whether the picture fulfils the prompt",
                  ASKED, "that of the judge asked", 0.9, packages=ENDPOINT),
    "unified": Part(_unified, "UnifiedReward's 1 to 5, from an endpoint or on this machine",
                    "17 GB of weights, or an endpoint", "MIT (UnifiedReward's weights)", 0.75,
                    (pinned.UNIFIED,)),
    "mixed": Part(_mixed, "MILR's MixedReward: boxes, questions and UnifiedReward; reads the benchmark's metadata",
                  f"{CLAUSES}; 2 GB of weights, and unified's",
                  "Apache-2.0 (GroundingDINO); MIT (GIT); MIT (UnifiedReward's weights)", 0.8,
                  (pinned.GROUNDING_DINO, pinned.GIT, pinned.UNIFIED)),
    "geneval": Part(_geneval, "GenEval's rules on Mask2Former's objects and CLIP's colours; for GenEval an oracle",
                    f"{CLAUSES}; 2 GB of weights", "CC BY-NC 4.0 (detector), MIT (CLIP)", 0.9,
                    (pinned.MASK2FORMER, pinned.CLIP_L14)),
    "t2i-compbench": Part(_compbench, "each category's own score; for T2I-CompBench an oracle",
                          "T2I-CompBench's prompts; 3 GB of weights, spaCy's model",
                          "BSD-3-Clause (BLIP), Apache-2.0 (GroundingDINO), MIT (CLIP, spaCy)", 0.9,
                          (pinned.BLIP, pinned.GROUNDING_DINO, pinned.CLIP_B32), ("spacy", pinned.SPACY_MODEL)),
    "wise": Part(_wise, "WISE's judge and WiScore; for WISE an oracle", f"WISE's prompts; {ASKED}",
                 "that of the judge asked", 0.5, packages=ENDPOINT),
    "clip": Part(_clip, "CLIP's cosine of picture and prompt", "0.6 GB of weights", "MIT", 0.35, (pinned.CLIP_B32,)),
    "pickscore": Part(_pickscore, "PickScore, people's choice between pictures of a prompt", "4 GB of weights",
                      "not stated (its hub page names none)", 0.9, (pinned.PICKSCORE, pinned.PICKSCORE_INPUTS)),
    "weighted": Part(_weighted, "weighted:a=0.5,b=0.5: the weighted mean of any of these, and of their thresholds",
                     "what they need", "theirs"),
}  # fmt: skip
