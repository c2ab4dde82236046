"""The network of nano: a Janus of transformers' own classes with a word-level tokenizer, small enough for a laptop."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusProcessor,
    JanusVisionConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

from milr import templates
from milr.shapes import grammar, riddles, scenes
from milr.shapes.training.patches import TOKENS, codebook, empty_tokens
from milr.shapes.training.vq import first_codes, vq_config

WIDTH = 192
BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
BOI, EOI, IMAGE, UNKNOWN = "<begin_of_image>", "<end_of_image>", "<image_placeholder>", "<unk>"
SPECIALS = (PAD, UNKNOWN, BOS, EOS, BOI, EOI, IMAGE, "<|User|>", "<|Assistant|>")
ROLES = ("User", "Assistant", "System")
PLAN_WORDS = "the is are and object objects in all plain grey ground . , ; : ?"
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}<|User|>: {% else %}<|Assistant|>: {% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image_placeholder>\n"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n\n{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|>:{% endif %}"
)


def vocabulary() -> list[str]:
    """Every word that nano can read or write, sorted."""
    tables = (grammar.INTRODUCTIONS, grammar.NUMBERS, grammar.RELATIONS, grammar.PLURALS, grammar.SINGULARS,
              scenes.COLOURS, scenes.SIZES, scenes.FILLS, scenes.CELL_NAMES, riddles.SHAPE_ANSWERS,
              riddles.COLOUR_ANSWERS, riddles.NUMBER_ANSWERS)  # fmt: skip
    sentences = [sentence for table in tables for sentence in table]
    sentences += [PLAN_WORDS, "a an as many no yes nothing what picture in the colour of"]
    sentences += [templates.NANO.reasoning, templates.NANO.question]
    words = {word for sentence in sentences for word in re.findall(r"\w+|[^\w\s{}]", sentence.replace("{prompt}", ""))}
    return sorted(words)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer, lower case, with punctuation as words; an unknown word becomes <unk>."""
    words = [*SPECIALS, *ROLES, *vocabulary()]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNKNOWN))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=BOS, eos_token=EOS, pad_token=PAD, unk_token=UNKNOWN, padding_side="left",
        extra_special_tokens={"boi_token": BOI, "eoi_token": EOI, "image_token": IMAGE},
        model_max_length=512, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.add_tokens(["<|User|>", "<|Assistant|>", *ROLES])
    return tokenizer


def make_network(tokenizer: PreTrainedTokenizerFast, seed: int) -> JanusForConditionalGeneration:
    """An untrained nano."""
    torch.manual_seed(seed)
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=512, num_hidden_layers=6,
        num_attention_heads=6, num_key_value_heads=6, max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=None,
        tie_word_embeddings=False,
    )  # fmt: skip
    vision = JanusVisionConfig(
        hidden_size=128, num_hidden_layers=4, num_attention_heads=4, image_size=scenes.PIXELS, patch_size=8,
        mlp_ratio=2.0, projection_dim=WIDTH, num_image_tokens=64, depth=2,
    )  # fmt: skip
    vq = vq_config()
    vq.projection_dim = vq.image_token_embed_dim = WIDTH
    config = JanusConfig(text_config=text, vision_config=vision, vq_config=vq, tie_word_embeddings=False,
                         image_token_id=tokenizer.convert_tokens_to_ids(IMAGE))  # fmt: skip
    network = JanusForConditionalGeneration(config)
    initialise_from_patches(network)
    return network


@torch.no_grad()
def initialise_from_patches(network: JanusForConditionalGeneration) -> None:
    """Initialise image embeddings from the patches, and rows of the image head from what the codes stand for.

    So similar codes start alike. There are over two thousand, each rare; from random rows each would be learned alone.
    """
    size = network.config.vq_config.embed_dim
    network.model.generation_embeddings.weight.copy_(first_codes(size))
    positions = torch.nn.functional.normalize(torch.randn(TOKENS, size), dim=-1)
    network.model.generation_embeddings.weight[torch.from_numpy(empty_tokens())] = positions
    head = network.model.generation_head.vision_head.weight
    rows, initialised = attribute_rows(head.shape[1])
    head[initialised] = 0.5 * rows[initialised] / rows[initialised].norm(dim=-1).mean()
    head[torch.from_numpy(empty_tokens())] = 0.5 * torch.randn(TOKENS, head.shape[1]) / head.shape[1] ** 0.5


def attribute_rows(size: int) -> tuple[Tensor, Tensor]:
    """Rows (V, size), each a sum of random vectors for the code's attributes and quarter; which codes have one (V,).

    A code that several appearances share has the mean of their rows.
    """
    tables = [{name: torch.randn(size) for name in names} for names in (scenes.SHAPES, scenes.COLOURS, scenes.SIZES,
                                                                       scenes.FILLS)]  # fmt: skip
    quarters = torch.randn(4, size)
    patches, codes = codebook()
    rows, counts = torch.zeros(len(patches), size), torch.zeros(len(patches))
    for appearance, ids in codes.items():
        names = (appearance.shape, appearance.colour, appearance.size, appearance.fill)
        attributes = torch.stack([table[name] for table, name in zip(tables, names, strict=True)]).sum(0)
        for quarter, code in zip(quarters, ids, strict=True):
            if code:
                rows[code] += attributes + quarter
                counts[code] += 1
    present = counts > 0
    rows[present] /= counts[present, None]
    return rows, present


def save_network(network: JanusForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write weights (fp16 safetensors), tokenizer, processor and generation settings for `from_pretrained`."""
    folder.mkdir(parents=True, exist_ok=True)
    generation = network.generation_config
    generation.bos_token_id, generation.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    generation.pad_token_id = tokenizer.pad_token_id
    generation.generation_kwargs = {"boi_token_id": tokenizer.convert_tokens_to_ids(BOI)}
    generation._from_model_config = False
    state = {name: tensor.detach().half().contiguous() for name, tensor in network.state_dict().items()}
    network.save_pretrained(folder, state_dict=state)
    images = JanusImageProcessorPil(size={"height": scenes.PIXELS, "width": scenes.PIXELS}, min_size=8,
                                    image_mean=[0.5] * 3, image_std=[0.5] * 3)  # fmt: skip
    JanusProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE, num_image_tokens=64).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
