"""Colours by CLIP: the cut-out, the prompts' arithmetic, and the choice."""

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_geneval
from milr.rewards.vision.colours import COLOURS, ColourClassifier, cut_out
from milr.rules.geneval import Detection
from milr.types import JudgeError

RGB = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "black": (0, 0, 0), "white": (255, 255, 255)}


class RgbClip:
    """In CLIP's place: a picture is its mean colour but for the grey, a text the colour it names; it keeps both."""

    def __init__(self):
        self.prompts, self.pictures = [], []

    def embed_picture(self, picture):
        self.pictures.append(picture)
        pixels = np.asarray(picture).reshape(-1, 3)
        level = torch.tensor(pixels[(pixels != 153).any(1)].mean(0) / 255 - 0.5, dtype=torch.float32)
        return level / level.norm()

    def embed_texts(self, texts):
        self.prompts += texts
        words = [next((RGB[word] for word in text.replace("-", " ").split() if word in RGB), (128, 0, 128))
                 for text in texts]  # fmt: skip
        levels = torch.tensor(words) / 255 - 0.5
        return levels / levels.norm(dim=-1, keepdim=True)


def box_mask(size, box):
    mask = np.zeros(size[::-1], bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def test_pixels_outside_the_mask_are_grey_and_the_crop_is_the_box():
    picture = Image.new("RGB", (20, 10), (255, 0, 0))
    mask = box_mask((20, 10), (4, 2, 8, 6))
    mask[2, 4] = False
    crop = cut_out(picture, Detection((4, 2, 10, 6), 0.9, mask))
    pixels = np.asarray(crop)
    assert crop.size == (6, 4)
    assert pixels[0, 0].tolist() == [0x99] * 3 == [153] * 3
    assert (pixels[:, 4:] == 153).all() and (pixels[1:, :4] == (255, 0, 0)).all()
    assert picture.getpixel((4, 2)) == (255, 0, 0)  # the picture itself is left as it was


@pytest.mark.parametrize(
    ("box", "size", "first"),
    [((0.5, 1.5, 4.5, 7.5), (4, 6), (0, 2)), ((2.5, 0, 3.4, 2), (1, 2), (2, 0)), ((0.51, 0, 3, 1), (2, 1), (1, 0))],
)
def test_corners_are_rounded_half_to_even(box, size, first):
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(10)[None], np.arange(10)[:, None]
    crop = cut_out(Image.fromarray(pixels), Detection(box, 0.9))
    assert crop.size == size and crop.getpixel((0, 0))[:2] == first


def test_without_a_mask_nothing_is_grey():
    crop = cut_out(Image.new("RGB", (8, 8), "blue"), Detection((0, 0, 8, 8), 0.9))
    assert crop.getcolors() == [(64, (0, 0, 255))]


def test_each_object_is_judged_by_its_own_pixels():
    picture = Image.new("RGB", (40, 20), "blue")
    picture.paste((255, 0, 0), (5, 5, 15, 15))
    objects = [Detection(box, 0.9, box_mask(picture.size, box)) for box in ((5, 5, 15, 15), (20, 0, 40, 20))]
    assert ColourClassifier(RgbClip()).for_picture(picture)("car", objects) == ["red", "blue"]
    surrounded = Detection((0, 0, 40, 20), 0.9, box_mask(picture.size, (5, 5, 15, 15)))  # the box is mostly blue
    assert ColourClassifier(RgbClip()).for_picture(picture)("car", [surrounded]) == ["red"]


@pytest.mark.parametrize("colour", RGB)
def test_pictures_of_one_colour(colour):
    picture = Image.new("RGB", (64, 48), RGB[colour])
    assert ColourClassifier(RgbClip()).for_picture(picture)("bench", [Detection((0, 0, 64, 48), 1.0)]) == [colour]


def test_three_prompts_a_colour_and_they_are_read_once_per_class():
    clip = RgbClip()
    classify = ColourClassifier(clip).for_picture(Image.new("RGB", (8, 8), "red"))
    whole = Detection((0, 0, 8, 8), 0.9)
    classify("hot dog", [whole, whole])
    assert len(clip.prompts) == 30 and clip.prompts[:4] == [
        "a photo of a red hot dog", "a photo of a red-colored hot dog", "a photo of a red object",
        "a photo of a orange hot dog"]  # fmt: skip
    assert len(clip.pictures) == 2
    classify("hot dog", [whole])
    assert len(clip.prompts) == 30
    classify("car", [whole])
    assert len(clip.prompts) == 60


def test_meanings_are_normalised_averaged_and_normalised_again():
    clip = tiny_geneval.clip()
    embeddings = ColourClassifier(clip).text_embeddings("car")
    for index, colour in enumerate(COLOURS):
        total = np.zeros(8)
        for text in (
            f"a photo of a {colour} car",
            f"a photo of a {colour}-colored car",
            f"a photo of a {colour} object",
        ):
            read = clip.tokenizer(text, return_tensors="pt")
            with torch.no_grad():
                raw = clip.network.get_text_features(**read).pooler_output[0].double().numpy()
            total += raw / np.linalg.norm(raw)
        assert np.allclose(embeddings[index], total / np.linalg.norm(total), atol=1e-5)


def test_the_choice_is_the_largest_cosine_of_the_real_network():
    clip = tiny_geneval.clip()
    classifier = ColourClassifier(clip)
    picture = Image.linear_gradient("L").convert("RGB").resize((50, 30))
    pixels = clip.processor(images=picture, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        raw = clip.network.get_image_features(pixel_values=pixels).pooler_output[0]
    cosines = classifier.text_embeddings("car") @ (raw / raw.norm())
    assert cosines.topk(2).values.diff().abs() > 1e-5  # no near tie
    assert classifier.for_picture(picture)("car", [Detection((0, 0, 50, 30), 0.9)]) == [COLOURS[int(cosines.argmax())]]


def test_a_network_of_nonsense_names_no_colour():
    clip = tiny_geneval.clip()
    with torch.no_grad():
        clip.network.visual_projection.weight.fill_(float("nan"))
    with pytest.raises(JudgeError, match="not finite"):
        ColourClassifier(clip).for_picture(Image.new("RGB", (8, 8)))("car", [Detection((0, 0, 8, 8), 0.9)])


def test_the_same_weights_from_a_folder_name_the_same_colour(tmp_path):
    loaded = ColourClassifier.load(str(tiny_geneval.save_clip(tmp_path)), device="cpu")
    here = ColourClassifier(tiny_geneval.clip())
    assert torch.allclose(loaded.text_embeddings("cat"), here.text_embeddings("cat"), atol=1e-6)
    picture = Image.new("RGB", (20, 30), (10, 200, 90))
    assert torch.allclose(loaded.encoder.embed_picture(picture), here.encoder.embed_picture(picture), atol=1e-6)
