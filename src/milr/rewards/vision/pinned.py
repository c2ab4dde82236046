"""The checkpoints of the judges: their names, which revision, under which licence, how large. Loads nothing."""

from __future__ import annotations

from dataclasses import dataclass

MASK2FORMER = "facebook/mask2former-swin-small-coco-instance"
CLIP_L14 = "openai/clip-vit-large-patch14"
CLIP_B32 = "openai/clip-vit-base-patch32"
BLIP = "Salesforce/blip-vqa-capfilt-large"
GROUNDING_DINO = "IDEA-Research/grounding-dino-tiny"
DPT = "Intel/dpt-hybrid-midas"
GIT = "microsoft/git-large-vqav2"
UNIFIED = "CodeGoat24/UnifiedReward-qwen-7b"
QWEN3_VL = "Qwen/Qwen3-VL-8B-Instruct"
PICKSCORE = "yuvalkirstain/PickScore_v1"
PICKSCORE_INPUTS = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
SPACY_MODEL = "en_core_web_sm"  # a Python package, not a repository of the hub


@dataclass(frozen=True)
class PinnedCheckpoint:
    """A hub repository at one revision, the licence of its weights, about how much is fetched, and what it is for.

    `weights` False: only its tokenizer and image processor are used.
    """

    revision: str
    licence: str
    size: str
    purpose: str
    weights: bool = True


# A commit hash below was found in several unrelated public repositories that pin or cache the same checkpoint (there is
# no network here to ask the hub itself). "main" stands where none could be found, and whether that holds safetensors is
# then unknown, too: put the hash there when it is known.
CHECKPOINTS = {
    MASK2FORMER: PinnedCheckpoint("main", "CC BY-NC 4.0", "0.3 GB", "objects and masks for GenEval"),
    CLIP_L14: PinnedCheckpoint("32bd64288804d66eefd0ccbe215aa642df71cc41", "MIT", "1.7 GB", "colours for GenEval"),
    # main (3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268) holds a pickle only: this is the commit of refs/pr/66, the hub's
    # own conversion of it to safetensors
    CLIP_B32: PinnedCheckpoint("c237dc49a33fc61debc9276459120b7eac67e7ef", "MIT", "0.6 GB", "CLIPScore"),
    BLIP: PinnedCheckpoint("main", "BSD-3-Clause", "1.5 GB", "BLIP-VQA for T2I-CompBench"),
    GROUNDING_DINO: PinnedCheckpoint(
        "a2bb814dd30d776dcf7e30523b00659f4f141c71", "Apache-2.0", "0.7 GB", "boxes of named objects"),
    DPT: PinnedCheckpoint("main", "Apache-2.0", "0.5 GB", "depth for T2I-CompBench++"),
    GIT: PinnedCheckpoint("main", "MIT", "1.6 GB", "yes/no questions of MixedReward"),
    UNIFIED: PinnedCheckpoint("main", "MIT", "17 GB", "UnifiedReward"),
    QWEN3_VL: PinnedCheckpoint("main", "Apache-2.0", "18 GB", "questions of GenEval 2 and DPG-Bench"),
    PICKSCORE: PinnedCheckpoint("a4e4367c6dfa7288a00c550414478f865b875800", "not stated", "3.9 GB", "PickScore"),
    PICKSCORE_INPUTS: PinnedCheckpoint(
        "1c2b8495b28150b8a4922ee1c8edee224c284c0c", "MIT", "5 MB", "PickScore's inputs", weights=False),
}  # fmt: skip
