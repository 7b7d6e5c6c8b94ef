"""Where training starts: a small model from nothing, a LLaVA base with SAM weights, or a LISA."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lisa.arguments import TrainArgs
from lisa.backbones import family_of
from lisa.backbones.loading import load_image_processor, load_tokenizer, load_vlm
from lisa.checkpoint import find_model
from lisa.config import LisaConfig
from lisa.conversation import SEG
from lisa.mimetic import mimetic_start
from lisa.model_settings import HEADS, TEXT_ROOM
from lisa.modeling import LisaModel
from lisa.presets import TINY_FAMILIES, tiny_config, tiny_image_processor, tiny_tokenizer
from lisa.processing import LisaProcessor
from lisa.released import Released, ReleasedOptions, holds_llava, holds_released, resolve
from lisa.released.checkpoint import find_sam_size
from lisa.released.files import read_json
from lisa.tokenization import add_lisa_tokens
from sam_bridge import describe, load_sam_weights, read_sam_weights

SMALL_IMAGE = (56, 56)
"""Rows and columns of an image that has about the fewest tokens, where images differ."""

LOSS_TERMS = ("ce", "bce", "dice", "dense", "iou", "ground", "look")


def start_model(args: TrainArgs, texts: Callable[[], Iterable[str]]) -> tuple[LisaModel, LisaProcessor]:
    """The model and processor that `args` ask for; `texts` gives sentences to train a tokenizer on."""
    torch.manual_seed(args.seed)
    model, processor = _start(args, texts)
    _refuse_no_room(args, processor)
    return model, processor


def _start(args: TrainArgs, texts: Callable[[], Iterable[str]]) -> tuple[LisaModel, LisaProcessor]:
    if args.version in TINY_FAMILIES:
        return _from_nothing(args, texts())
    folder = _find(args.version)
    if holds_released(folder):
        return _from_released(args, folder)
    if holds_llava(folder):
        return _from_old_llava(args, folder)
    if read_json(folder / "config.json").get("model_type") == LisaConfig.model_type:
        return _from_lisa(args)
    return _from_llava(args)


def _refuse_no_room(args: TrainArgs, processor: LisaProcessor) -> None:
    """Refuse conversations that are longer than the language model's positions, or filled by an image alone."""
    length = processor.config.model_max_length
    positions = getattr(processor.config.vlm_config.get_text_config(), "max_position_embeddings", None)
    if positions and length > positions:
        raise ValueError(
            f"--model_max_length {length}: the language model of --version {args.version} can tell {positions} places "
            "apart; give at most that"
        )
    fewest = processor.pictures.tokens_per_image
    if not fewest:
        _, (shape,) = processor.pictures.pixels([np.zeros((*SMALL_IMAGE, 3), np.uint8)])
        fewest = processor.pictures.text(shape).num_tokens
    if fewest >= length:
        raise ValueError(
            f"--model_max_length {length}: an image alone has {fewest} tokens or more in --version {args.version}; "
            f"give more than that with room for words, as in --model_max_length {fewest + TEXT_ROOM}"
        )


def _find(version: str) -> Path:
    """Folder of a model, fetched from the hub if need be; what looks like a path is not looked for on the network."""
    folder = resolve(version)
    if not folder.is_dir():
        raise FileNotFoundError(f"--version {version}: there is no such folder")
    return folder


def _from_nothing(args: TrainArgs, texts: Iterable[str]) -> tuple[LisaModel, LisaProcessor]:
    tokenizer = tiny_tokenizer(texts, args.version)
    config = tiny_config(tokenizer, args.version)
    if args.sam != "auto":
        config.sam = describe(find_sam_size(args.sam, Path(), {}))
    _apply(args, config)
    model = LisaModel(config)
    if args.vision_pretrained:
        load_sam_weights(model.sam, args.vision_pretrained)
    model.vlm.set_attn_implementation(args.attention)
    mimetic_start(model.backbone.parts()["vision_tower"])
    return model, LisaProcessor(config, tokenizer, tiny_image_processor(args.version), packing=args.packing)


def _from_lisa(args: TrainArgs) -> tuple[LisaModel, LisaProcessor]:
    """Fine-tuning keeps everything that was learned, `text_hidden_fcs` and mask decoder included.

    Template, [SEG] state, sizes and auxiliary heads are the model's own; the flags decide about the losses and the
    longest conversation.
    """
    folder = find_model(args.version)
    _note_unread(args, sam="auto", vision_tower="", vision_pretrained="")
    trained = LisaProcessor.from_pretrained(folder)
    config = trained.config
    config.model_max_length = args.model_max_length
    _choose_losses(args, config)
    processor = LisaProcessor(
        config, trained.tokenizer, trained.image_processor, packing=args.packing, sentencepiece=trained.sentencepiece
    )
    model = LisaModel.from_pretrained(folder, config=config, dtype=torch.float32)
    # What it knows of clicks goes with the embeddings that it had; train_clicks.py teaches it anew.
    model.click_decoder = None
    model.describe_modules()
    processor.config = model.config
    model.vlm.set_attn_implementation(args.attention)
    return model, processor


def _from_released(args: TrainArgs, folder: Path) -> tuple[LisaModel, LisaProcessor]:
    """As `_from_lisa`, from a released LISA; template and length of the conversations are not in it, the flags tell."""
    _note_unread(args, vision_pretrained="")
    released = Released(folder, _released_options(args))
    return _ready(args, released)


def _from_old_llava(args: TrainArgs, folder: Path) -> tuple[LisaModel, LisaProcessor]:
    """As `_from_llava`, from a LLaVA in its authors' format, which names its vision tower instead of holding it."""
    _require_sam(args)
    options = _released_options(args)
    options = replace(
        options,
        sam_weights=args.vision_pretrained,
        use_im_start_end=args.use_mm_start_end,
        settings={f"{term}_loss_weight": getattr(args, f"{term}_loss_weight") for term in LOSS_TERMS},
    )
    return _ready(args, Released(folder, options))


def _note_unread(args: TrainArgs, **defaults: str) -> None:
    """Tell which flags say nothing about a LISA, which has a SAM (and, in our format, a vision tower) of its own."""
    unread = [f"--{name}" for name, default in defaults.items() if getattr(args, name) != default]
    if unread:
        are = "is" if len(unread) == 1 else "are"
        print(
            f"note: --version {args.version} is a LISA with a SAM of its own; {', '.join(unread)} {are} not read",
            flush=True,
        )


def _released_options(args: TrainArgs) -> ReleasedOptions:
    return ReleasedOptions(
        vision_tower=args.vision_tower,
        sam="" if args.sam == "auto" else args.sam,
        template=args.conv_type,
        model_max_length=args.model_max_length,
    )


def _ready(args: TrainArgs, released: Released) -> tuple[LisaModel, LisaProcessor]:
    """Load in full precision, with the losses and settings of the flags."""
    config, processor = released.config, released.processor
    if released.options.sam_weights:
        config.seg_state = args.seg_state
    elif args.seg_state != config.seg_state:
        raise ValueError(f"--seg_state {args.seg_state}: released weights need the state before [SEG]; leave it out")
    _choose_losses(args, config)
    processor.packing = args.packing
    model = released.model(torch.float32)
    model.vlm.set_attn_implementation(args.attention)
    return model, processor


def _choose_losses(args: TrainArgs, config: LisaConfig) -> None:
    """The losses of the flags, for a model that is there already, with the heads that it has."""
    if (args.vision_steps or args.grounding_steps) and not config.ground_loss_weight:
        raise ValueError(
            f"--version {args.version} was built without the grounding loss, which --vision_steps and "
            "--grounding_steps learn from: leave them out"
        )
    config.mask_loss_size = args.mask_loss_size
    for name in (f"{term}_loss_weight" for term in LOSS_TERMS):
        # A head is there or not: its loss is weighed anew, but neither switched on nor off.
        if name not in HEADS or (getattr(args, name) and getattr(config, name)):
            setattr(config, name, getattr(args, name))


def _require_sam(args: TrainArgs) -> None:
    if not args.vision_pretrained:
        raise ValueError(
            f"--version {args.version} is a vision-language model: give SAM weights with --vision_pretrained"
        )


def _from_llava(args: TrainArgs) -> tuple[LisaModel, LisaProcessor]:
    """A vision-language model gains [SEG] and a SAM; the new rows start as the mean of the old ones."""
    _require_sam(args)
    vlm = load_vlm(args.version, args.attention)
    tokenizer = load_tokenizer(args.version)
    marks = args.use_mm_start_end and not family_of(vlm.config).reader.marks_pictures
    add_lisa_tokens(tokenizer, marks)
    vlm.resize_token_embeddings(max(len(tokenizer), vlm.get_input_embeddings().num_embeddings))
    wanted = "" if args.sam == "auto" else args.sam
    sam = find_sam_size(wanted, Path(args.version), read_sam_weights(args.vision_pretrained))
    config = LisaConfig(vlm_config=vlm.config, sam=sam, seg_token_id=tokenizer.get_vocab()[SEG])
    _apply(args, config)
    model = LisaModel(config)
    model.vlm = vlm
    load_sam_weights(model.sam, args.vision_pretrained)
    return model, LisaProcessor(config, tokenizer, load_image_processor(args.version), packing=args.packing)


def _apply(args: TrainArgs, config: LisaConfig) -> None:
    """What the flags decide about a model that is new."""
    config.seg_state = args.seg_state
    config.template = args.conv_type
    config.use_im_start_end = args.use_mm_start_end and not family_of(config.vlm_config).reader.marks_pictures
    config.model_max_length = args.model_max_length
    config.mask_loss_size = args.mask_loss_size
    for term in LOSS_TERMS:
        setattr(config, f"{term}_loss_weight", getattr(args, f"{term}_loss_weight"))
