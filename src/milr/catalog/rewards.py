"""The rewards that have a name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from milr.catalog.judge_clients import (
    at_endpoint,
    endpoint_client,
    first_token_judge,
    local_qwen3,
    require_endpoint,
    with_wording,
    wording,
)
from milr.catalog.parts import Part, RewardRequest
from milr.rewards.vision import pinned
from milr.types import UsageError

if TYPE_CHECKING:
    from milr.base import Reward, UnifiedModel
    from milr.rules.calibration import Calibration

ENDPOINT_PACKAGES = ("openai", "tenacity")
NEEDS_ENDPOINT = "an endpoint: --judge-url, --judge-model"


def _detector(request: RewardRequest) -> Reward:
    from milr.rewards.detector import DetectorReward

    return DetectorReward()


def _held_out(request: RewardRequest) -> Reward:
    from milr.rewards.held_out import HeldOutReward

    return HeldOutReward()


def _self(request: RewardRequest) -> Reward:
    model = _generating_model("self", request)
    if request.argument == "json":
        from milr.rewards.self_json import SelfJsonReward

        return SelfJsonReward(wording("self", request))
    if request.argument:
        raise UsageError(f"there is no self:{request.argument}; write self, or self:json.")
    from milr.rewards.self import SelfReward

    return SelfReward(model.question)


def _likelihood(request: RewardRequest) -> Reward:
    from milr.rewards.likelihood import LikelihoodReward

    if request.argument not in ("", "contrast"):
        raise UsageError(f"there is no likelihood:{request.argument}; write likelihood, or likelihood:contrast.")
    name = f"likelihood{':contrast' if request.argument else ''}"
    calibration = _calibration(name, _generating_model("likelihood", request), request)
    return LikelihoodReward(calibration, contrast=bool(request.argument))


def _calibration(name: str, model: UnifiedModel, request: RewardRequest) -> Calibration | None:
    from milr.rewards.calibration_file import calibration_for

    return calibration_for(name, model, request.options.calibration)


def _seen(request: RewardRequest) -> Reward:
    from milr.rewards.seen import SeenReward

    model = _generating_model("seen", request)
    return SeenReward(model, _calibration("seen", model, request))


def _own(request: RewardRequest) -> Reward:
    from milr.rewards.own import OwnReward

    model = _generating_model("own", request)
    return OwnReward(model, _calibration("own", model, request))


def _checklist(request: RewardRequest) -> Reward:
    from milr.rewards.checklist import ChecklistReward, EndpointWriter, writer_of
    from milr.rewards.judge import JudgeReward

    if request.argument not in ("", "judge"):
        raise UsageError(f"there is no checklist:{request.argument}; write checklist, or checklist:judge.")
    model = _generating_model("checklist", request)
    if not request.argument:
        return ChecklistReward(writer_of(model))
    return ChecklistReward(EndpointWriter(endpoint_client(JudgeReward.paper_model, request)), at_endpoint=True)


def _generating_model(name: str, request: RewardRequest) -> UnifiedModel:
    """The model that draws; UsageError where there is none."""
    if request.model is None:
        raise UsageError(
            f"the reward {name} asks the model that drew, and a folder of pictures has none: choose another."
        )
    return request.model


def _noisy(request: RewardRequest) -> Reward:
    from milr.rewards.noisy import NoisyReward, parse

    return NoisyReward(_detector(request), *parse(request.argument), seed=request.options.seed)


def _weighted(request: RewardRequest) -> Reward:
    from milr.rewards.weighted import WeightedReward, parse

    weights = parse(request.argument)
    return WeightedReward({name: request.make(name) for name in weights}, weights)


def _rank(request: RewardRequest) -> Reward:
    from milr.rewards.rank import RankReward

    return RankReward({name: request.make(name) for name in judges_in(f"rank:{request.argument}")})


def judges_in(name: str) -> list[str]:
    """The judges of a mixture by name; UsageError where the name is no mixture, or compares pictures inside one."""
    kind, _, argument = name.partition(":")
    if kind == "weighted":
        from milr.rewards.weighted import parse as parse_weights

        judges = list(parse_weights(argument))
    else:
        from milr.rewards.rank import parse as parse_names

        judges = parse_names(argument)
    refuse_rank_inside(name, judges)
    return judges


def refuse_rank_inside(name: str, judges: Iterable[str]) -> None:
    """UsageError where one of the judges that `name` is made of compares pictures."""
    if any(judge.startswith("rank:") for judge in judges):
        raise UsageError(f"'{name}' has a rank inside, which says nothing about a picture alone: use it as --reward or "
                         "--choose, such as --choose rank:own,self.")  # fmt: skip


def _geneval(request: RewardRequest) -> Reward:
    from milr.rewards.geneval import GenEvalReward

    return GenEvalReward.load(device=request.options.device)


def _t2i_compbench(request: RewardRequest) -> Reward:
    from milr.rewards.t2i_compbench import CompBenchReward

    options = request.options
    return CompBenchReward.load(strict_unidet_nouns=options.strict_unidet_nouns, device=options.device)


def _t2i_compbench_plus(request: RewardRequest) -> Reward:
    from milr.rewards.t2i_compbench_plus import CompBenchPlusReward

    return CompBenchPlusReward.load(device=request.options.device)


def _clip(request: RewardRequest) -> Reward:
    from milr.rewards.clip import ClipReward

    return ClipReward.load(device=request.options.device)


def _pickscore(request: RewardRequest) -> Reward:
    from milr.rewards.pickscore import PickScoreReward

    return PickScoreReward.load(device=request.options.device)


def _vqa(request: RewardRequest) -> Reward:
    from milr.rewards.vqa import VqaReward

    return VqaReward(first_token_judge(request))


def _ocr(request: RewardRequest) -> Reward:
    from milr.rewards.ocr import OcrReward
    from milr.rewards.vision.text_reader import TextReader

    reader = TextReader.load()
    return OcrReward(reader, reader.identity())


def _judge(request: RewardRequest) -> Reward:
    from milr.rewards.judge import JudgeReward

    return at_endpoint(JudgeReward, request)


def _wise(request: RewardRequest) -> Reward:
    from milr.rewards.wise import WiseReward

    return at_endpoint(WiseReward, request)


def _wise_verified(request: RewardRequest) -> Reward:
    """Its wording may have a system turn, and its judge is told not to think."""
    from milr.rewards.wise_verified import NO_THINKING, WiseVerifiedReward

    require_endpoint(WiseVerifiedReward.name, WiseVerifiedReward.paper_model, request)
    system, question = wording(WiseVerifiedReward.name, request).with_system()
    client = endpoint_client(WiseVerifiedReward.paper_model, request, extra=NO_THINKING, system=system)
    return WiseVerifiedReward(client, question)


def _unigenbench(request: RewardRequest) -> Reward:
    from milr.rewards.unigenbench import UniGenBenchReward

    require_endpoint(UniGenBenchReward.name, UniGenBenchReward.paper_model, request)
    return at_endpoint(UniGenBenchReward, request)


def _geneval2(request: RewardRequest) -> Reward:
    from milr.rewards.geneval2 import GenEval2Reward

    return GenEval2Reward(first_token_judge(request))


def _dpg_bench(request: RewardRequest) -> Reward:
    """At an endpoint where one is named, else with Qwen3-VL on this machine."""
    from milr.rewards.dpg_bench import DpgBenchReward

    if request.options.judge_url:
        return DpgBenchReward(endpoint_client(pinned.QWEN3_VL, request))
    return DpgBenchReward(local_qwen3(request))


def _unified(request: RewardRequest) -> Reward:
    """At an endpoint where one is named, else with the model on this machine."""
    from milr.rewards.unified import UnifiedReward

    if request.options.judge_url:
        return at_endpoint(UnifiedReward, request)
    from milr.rewards.vision.qwen import LocalQwen

    name = request.options.judge_model or UnifiedReward.paper_model
    return with_wording(UnifiedReward, LocalQwen.load(name, device=request.options.device), request)


def _mixed(request: RewardRequest) -> Reward:
    from milr.rewards.mixed import MixedReward

    return MixedReward.load(_unified(request), device=request.options.device)


MIXTURES = ("weighted:", "rank:")
SHAPES, CLAUSES = "a prompt of the shapes grammar, and nano's pictures", "GenEval's metadata"
REWARDS = {
    "detector": Part(_detector, "the shapes world's detector under GenEval's rules; for nano an oracle",
                     SHAPES, "Apache-2.0", 0.9),
    "held-out": Part(_held_out, "a small network's eye on the shapes world, under GenEval's rules; independent of nano",
                     SHAPES, "Apache-2.0", 0.9),
    "noisy": Part(_noisy, "noisy:P,Q: the detector, but right pictures fail with P and wrong ones pass with Q",
                  SHAPES, "Apache-2.0", 0.9, seeded=True),
    "self": Part(_self, "the generating model's own yes or no; self:json asks for a reasoned verdict, as the paper",
                 "nothing", "that of the generating model", 0.9, abilities=("answer",)),
    "seen": Part(_seen, "what the generating model sees in its picture, and whether that is a plan for the prompt",
                 "nothing", "that of the generating model", 0.9, abilities=("answer",)),
    "likelihood": Part(_likelihood, "how likely the generating model finds its picture; likelihood:contrast",
                       "nothing", "that of the generating model", 0.9,
                       abilities=("write", "image_latents")),
    "own": Part(_own, "the generating model's own verdict: seen, self and likelihood in one",
                "nothing", "that of the generating model", 0.95,
                abilities=("write", "answer", "image_latents")),
    "checklist": Part(_checklist, "yes/no questions made of the prompt, which the generating model answers; "
                      "checklist:judge has an endpoint write them", "nothing", "that of the generating model", 0.9,
                      abilities=("answer",)),
    "judge": Part(_judge, "a strict judge (GPT-4o in the paper) says whether the picture fulfils the prompt",
                  NEEDS_ENDPOINT, "that of the judge asked", 0.9, packages=ENDPOINT_PACKAGES),
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
    "t2i-compbench": Part(_t2i_compbench, "each category's own score; for T2I-CompBench an oracle",
                          "T2I-CompBench's prompts; 3 GB of weights, spaCy's model",
                          "BSD-3-Clause (BLIP), Apache-2.0 (GroundingDINO), MIT (CLIP, spaCy)", 0.9,
                          (pinned.BLIP, pinned.GROUNDING_DINO, pinned.CLIP_B32), ("spacy", pinned.SPACY_MODEL)),
    "t2i-compbench-plus": Part(_t2i_compbench_plus, "how many, and which is in front; for T2I-CompBench++ an oracle",
                               "T2I-CompBench++'s prompts; 1.2 GB of weights, spaCy's model",
                               "Apache-2.0 (GroundingDINO, DPT), MIT (spaCy)", 0.9,
                               (pinned.GROUNDING_DINO, pinned.DPT), ("spacy", pinned.SPACY_MODEL)),
    "wise": Part(_wise, "WISE's judge and WiScore; for WISE an oracle", f"WISE's prompts; {NEEDS_ENDPOINT}",
                 "that of the judge asked", 0.5, packages=ENDPOINT_PACKAGES),
    "wise-verified": Part(_wise_verified, "WISE_Verified's judge, who says 0 or 1; for WISE_Verified an oracle",
                          f"WISE's prompts; {NEEDS_ENDPOINT}", "that of the judge asked", 0.9,
                          packages=ENDPOINT_PACKAGES),
    "geneval2": Part(_geneval2, "GenEval 2's Soft-TIFA (GM), with AM, TIFA and VQAScore; for GenEval 2 an oracle",
                     "GenEval 2's prompts; 18 GB of weights, or an endpoint that gives log-probabilities",
                     "Apache-2.0 (Qwen3-VL), or that of the judge asked", 0.9, (pinned.QWEN3_VL,)),
    "dpg-bench": Part(_dpg_bench, "the share of DPG-Bench's dependent questions answered yes; for DPG-Bench an oracle",
                      "DPG-Bench's prompts; 18 GB of weights, or an endpoint",
                      "Apache-2.0 (Qwen3-VL), or that of the judge asked", 0.9, (pinned.QWEN3_VL,)),
    "unigenbench": Part(_unigenbench, "the share of a prompt's test points that UniGenBench++'s judge passes; for "
                        "UniGenBench++ an oracle", f"UniGenBench++'s prompts; {NEEDS_ENDPOINT}",
                        "that of the judge asked", 0.9, packages=ENDPOINT_PACKAGES),
    "clip": Part(_clip, "CLIP's cosine of picture and prompt", "0.6 GB of weights", "MIT", 0.35, (pinned.CLIP_B32,)),
    "pickscore": Part(_pickscore, "PickScore, people's choice between pictures of a prompt", "4 GB of weights",
                      "not stated (its hub page names none)", 0.9, (pinned.PICKSCORE, pinned.PICKSCORE_INPUTS)),
    "vqa": Part(_vqa, "VQAScore: P(yes) of any vision-language model, whether the picture shows the prompt",
                "18 GB of weights (another model: --judge-model), or an endpoint that gives log-probabilities",
                "Apache-2.0 (Qwen3-VL), or that of the judge asked", 0.9, (pinned.QWEN3_VL,)),
    "ocr": Part(_ocr, "whether the picture shows the text that the prompt quotes, read by RapidOCR",
                "the extra milr[ocr], which brings its weights", "Apache-2.0 (RapidOCR, PaddleOCR)", 0.95,
                packages=("rapidocr", "onnxruntime", "rapidfuzz")),
    "weighted": Part(_weighted, "weighted:a=0.5,b=0.5: the weighted mean of any of these, and of their thresholds",
                     "what they need", "theirs"),
    "rank": Part(_rank, "rank:a,b: of a search's pictures the one with the best mean rank by any of these",
                 "what they need", "theirs"),
}  # fmt: skip


def reward_abilities(name: str) -> frozenset[str]:
    """What a reward asks of the generating model (`Part.abilities`), each part of a mixture and of "A or B"."""
    words = re.split(r"[:=,+ ]", name)
    return frozenset(ability for word in words if word in REWARDS for ability in REWARDS[word].abilities)
