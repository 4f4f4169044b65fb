"""Detectors and captioners of transformers, on tiny models of each class made here and saved to disk."""

import shutil

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipProcessor,
    CLIPVisionConfig,
    DetrConfig,
    DetrForObjectDetection,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoProcessor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    LlavaProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2Processor,
    PreTrainedTokenizerFast,
    ResNetConfig,
    SwinConfig,
    YolosConfig,
    YolosForObjectDetection,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

from boig.verbalizer.settings import CaptionerSettings, DetectorSettings
from boig.verbalizer.transformers_captioner import TransformersCaptioner
from boig.verbalizer.transformers_detector import TransformersDetector, ZeroShotDetector
from boig.verbalizer.verbalizer import build_captioner, build_detector

CHAT = (
    "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}"
    "{% endif %}{% endfor %}{% endfor %}:"
)
ANSWER = '{"caption": "a cup"}'
SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 48, 80, 3), dtype=np.uint8)


def vision_and_text() -> dict:
    """The two halves of a tiny LLaVA."""
    text = LlamaConfig(
        vocab_size=110, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    vision = CLIPVisionConfig(**SIZES | {"num_hidden_layers": 2}, image_size=32, patch_size=16, projection_dim=16)
    return {"vision_config": vision, "text_config": text}


def characters(*special: str) -> PreTrainedTokenizerFast:
    """A tokenizer of printable ASCII, one token a character; the specials first: padding, start, end, …"""
    vocabulary = {token: i for i, token in enumerate([*special, *map(chr, range(32, 127))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=special[0], bos_token=special[1], eos_token=special[2],
        additional_special_tokens=list(special[3:]), model_max_length=64,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module")
def yolos(folder):
    names = {0: "cup", 1: "N/A", 2: "shoe"}
    config = YolosConfig(
        **SIZES, image_size=[64, 64], patch_size=16, num_detection_tokens=5, id2label=names, label2id={v: k for k, v in names.items()}
    )
    net = YolosForObjectDetection(config)
    with torch.no_grad():
        net.class_labels_classifier.layers[-1].bias.copy_(torch.tensor([2.0, 0.0, 0.0, 0.0]))  # sees cups
    net.save_pretrained(folder / "yolos")
    YolosImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder / "yolos")
    return folder / "yolos"


@pytest.fixture(scope="module")
def detr(folder):
    backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=["stage4"], layer_type="basic")
    config = DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=16, encoder_layers=1,
        decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=5,
        id2label={0: "cup", 1: "shoe"}, label2id={"cup": 0, "shoe": 1},
    )  # fmt: skip
    DetrForObjectDetection(config).save_pretrained(folder / "detr")
    DetrImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder / "detr")
    return folder / "detr"


@pytest.fixture(scope="module")
def owl(folder):
    text = {**SIZES, "vocab_size": 110, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = Owlv2Config(text_config=text, vision_config={**SIZES, "image_size": 64, "patch_size": 16}, projection_dim=16)
    Owlv2ForObjectDetection(config).save_pretrained(folder / "owl")
    tokenizer = characters("<pad>", "<s>", "</s>")
    tokenizer.model_max_length = 16
    Owlv2Processor(Owlv2ImageProcessorPil(size={"height": 64, "width": 64}), tokenizer).save_pretrained(folder / "owl")
    return folder / "owl"


@pytest.fixture(scope="module")
def dino(folder):
    backbone = SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = GroundingDinoConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone,
        text_config=BertConfig(**SIZES, vocab_size=9, max_position_embeddings=64), d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=5, max_text_len=32,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder / "dino")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "cup", "shoe", "?"]
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(words)})
    pictures = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(pictures, tokenizer).save_pretrained(folder / "dino")
    return folder / "dino"


@pytest.fixture(scope="module")
def llava(folder):
    """A tiny LLaVA that has learned by heart to give the one strict answer."""
    net = LlavaForConditionalGeneration(LlavaConfig(**vision_and_text(), image_token_id=3))
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        characters("<pad>", "<s>", "</s>", "<image>"),
        patch_size=16, vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=CHAT,
    )  # fmt: skip
    batch = processor(images=list(PICTURES), text=[f"<image>Say.:{ANSWER}</s>"] * 3, return_tensors="pt")
    labels = batch["input_ids"].clone()
    labels[:, : -len(ANSWER) - 1] = -100
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(150):
        loss = net(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.02:
            break
    net.save_pretrained(folder / "llava")
    processor.save_pretrained(folder / "llava")
    return folder / "llava"


@pytest.fixture(scope="module")
def llava_next(folder):
    grid = [[32, 64], [64, 32], [64, 64]]
    net = LlavaNextForConditionalGeneration(LlavaNextConfig(**vision_and_text(), image_token_id=3, image_grid_pinpoints=grid))
    net.save_pretrained(folder / "llava_next")
    LlavaNextProcessor(
        LlavaNextImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=grid),
        characters("<pad>", "<s>", "</s>", "<image>"),
        patch_size=16, vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=CHAT,
    ).save_pretrained(folder / "llava_next")  # fmt: skip
    return folder / "llava_next"


@pytest.fixture(scope="module")
def blip(folder):
    text = {**SIZES, "vocab_size": 110, "encoder_hidden_size": 16, "max_position_embeddings": 64}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "sep_token_id": 2}
    config = BlipConfig(text_config=text | ids, vision_config={**SIZES, "image_size": 32, "patch_size": 16})
    BlipForConditionalGeneration(config).save_pretrained(folder / "blip")
    BlipProcessor(BlipImageProcessorPil(size={"height": 32, "width": 32}), characters("<pad>", "<s>", "</s>")).save_pretrained(
        folder / "blip"
    )
    return folder / "blip"


def inside(objects):
    return all(0 <= o.box[0] < o.box[2] <= 1 and 0 <= o.box[1] < o.box[3] <= 1 and 0 <= o.score <= 1 for o in objects)


@pytest.mark.parametrize("name", ["yolos", "detr"])
def test_object_detection_models_answer_in_shares_of_the_picture(name, request):
    path = request.getfixturevalue(name)
    settings = DetectorSettings(kind="transformers", model=str(path), revision="", threshold=0.05, labels=())
    detector = build_detector(settings, batch_size=4, device="cpu")
    assert isinstance(detector, TransformersDetector)
    assert detector.labels == ("cup", "shoe")
    found = detector.detect(PICTURES)
    assert len(found) == 3
    assert any(found)
    assert all(inside(objects) and all(o.label in ("cup", "shoe") for o in objects) for objects in found)
    assert TransformersDetector.load(str(path), "", 1.0).detect(PICTURES) == [(), (), ()]


@pytest.mark.parametrize("name", ["owl", "dino"])
def test_zero_shot_models_are_asked_for_the_labels(name, request):
    path = request.getfixturevalue(name)
    detector = ZeroShotDetector.load(str(path), "", 1e-4, ("cup", "shoe"))
    found = detector.detect(PICTURES)
    assert len(found) == 3
    assert any(found)
    assert all(inside(objects) and all(o.label in ("cup", "shoe") for o in objects) for objects in found)
    with pytest.raises(ValueError, match="labels"):
        ZeroShotDetector.load(str(path), "", 0.1, ())


def test_a_model_that_answers_strictly_gives_captions(llava):
    settings = CaptionerSettings(kind="transformers", model=str(llava), revision="", prompt="Say.", max_tokens=24, tries=2)
    captioner = build_captioner(settings, device="cpu")
    assert captioner.caption(PICTURES, [()] * 3, [()] * 3) == ["a cup"] * 3


def test_a_model_that_does_not_is_asked_again_and_then_refused(llava, monkeypatch):
    captioner = TransformersCaptioner.load(str(llava), "", "Say.", max_tokens=24, tries=3)
    answers = iter(["a cup", '{"caption": ""}', ANSWER])
    asked = []

    def answer(pictures, *, sampled, seed):
        asked.append((len(pictures), sampled, seed))
        return [next(answers)]

    monkeypatch.setattr(captioner, "_answers", answer)
    assert captioner.caption(PICTURES[:1], [()], [()]) == ["a cup"]
    assert asked == [(1, False, 0), (1, True, 1), (1, True, 2)]
    monkeypatch.undo()
    short = TransformersCaptioner.load(str(llava), "", "Say.", max_tokens=4, tries=2)
    with pytest.raises(ValueError, match="not JSON"):
        short.caption(PICTURES[:1], [()], [()])


def test_sampled_answers_are_repeatable_and_leave_the_global_generator_alone(llava):
    captioner = TransformersCaptioner.load(str(llava), "", "What?", max_tokens=8, tries=2)
    state = torch.random.get_rng_state()
    first, again = (captioner._answers(PICTURES[:1], sampled=True, seed=1) for _ in range(2))
    assert first == again
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_model_that_cuts_pictures_into_tiles_is_a_captioner_too(llava_next):
    with pytest.raises(ValueError, match="JSON"):
        TransformersCaptioner.load(str(llava_next), "", "Say.", max_tokens=6, tries=1).caption(PICTURES, [()] * 3, [()] * 3)


def test_a_captioner_without_a_chat_form_takes_the_prompt_as_it_is(blip):
    captioner = TransformersCaptioner.load(str(blip), "", "Say.", max_tokens=6, tries=1)
    assert captioner.backend.processor.chat_template is None
    with pytest.raises(ValueError, match="JSON"):
        captioner.caption(PICTURES, [()] * 3, [()] * 3)


def test_wrong_models_are_refused_in_one_line(yolos, llava, folder):
    with pytest.raises(ValueError, match="AutoModelForImageTextToText"):
        TransformersCaptioner.load(str(yolos), "", "Say.", 8, 1)
    with pytest.raises(ValueError, match="AutoModelForObjectDetection"):
        TransformersDetector.load(str(llava), "", 0.5)
    with pytest.raises(ValueError, match="prompt"):
        TransformersCaptioner.load(str(llava), "", "", 8, 1)
    broken = folder / "broken"
    shutil.copytree(yolos, broken)
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")  # pickles are not loaded
    with pytest.raises(FileNotFoundError, match="broken"):
        TransformersDetector.load(str(broken), "", 0.5)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        TransformersDetector.load(str(folder / "nowhere"), "", 0.5)
