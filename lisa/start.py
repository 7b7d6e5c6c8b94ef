"""Where training starts: a small model from nothing, a LLaVA base with SAM weights, or a LISA."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from tokenizers import AddedToken
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from lisa.arguments import TrainArgs
from lisa.checkpoint import find_model
from lisa.config import LisaConfig
from lisa.conversation import SEG
from lisa.mimetic import mimetic_start
from lisa.modeling import Lisa
from lisa.presets import tiny_config, tiny_image_processor, train_tokenizer
from lisa.processing import LisaProcessor
from lisa.tokenization import IM_END, IM_START
from sam_bridge import load_sam_weights


def start_model(args: TrainArgs, texts: Callable[[], Iterable[str]]) -> tuple[Lisa, LisaProcessor]:
    """The model and processor that `args` ask for; `texts` gives sentences to train a tokenizer on."""
    torch.manual_seed(args.seed)
    if args.version == "tiny":
        return _from_nothing(args, texts())
    if _model_type(args.version) == LisaConfig.model_type:
        return _from_lisa(args)
    return _from_llava(args)


def _model_type(version: str) -> str:
    """Of a folder, or of a model on the hub; what looks like a path is not looked for on the network."""
    looks_like_path = version.startswith((".", "/", "~")) or version.count("/") > 1
    if looks_like_path and not Path(version).is_dir():
        raise FileNotFoundError(f"--version {version}: there is no such folder")
    try:
        return AutoConfig.from_pretrained(version).model_type
    except OSError as error:
        raise FileNotFoundError(
            f"--version {version} is neither a model's folder nor one that the hub gives: {str(error).splitlines()[0]}"
        ) from error


def _from_nothing(args: TrainArgs, texts: Iterable[str]) -> tuple[Lisa, LisaProcessor]:
    tokenizer = train_tokenizer(texts)
    config = tiny_config(tokenizer)
    _apply(args, config)
    model = Lisa(config)
    model.vlm.set_attn_implementation(args.attention)
    mimetic_start(model.vlm.model.vision_tower)
    return model, LisaProcessor(config, tokenizer, tiny_image_processor(), packing=args.packing)


def _from_lisa(args: TrainArgs) -> tuple[Lisa, LisaProcessor]:
    """Fine-tuning keeps everything that was learned, `text_hidden_fcs` and mask decoder included.

    Template, [SEG] state, sizes and auxiliary heads are the model's own; the flags decide about the losses.
    """
    folder = find_model(args.version)
    processor = LisaProcessor.from_pretrained(folder)
    processor.packing = args.packing
    config = processor.config
    if (args.vision_steps or args.grounding_steps) and not config.ground_loss_weight:
        raise ValueError(
            f"--version {args.version} was built without the grounding loss, which --vision_steps and "
            "--grounding_steps learn from: leave them out"
        )
    config.mask_loss_size = args.mask_loss_size
    for term in ("ce", "bce", "dice"):
        setattr(config, f"{term}_loss_weight", getattr(args, f"{term}_loss_weight"))
    model = Lisa.from_pretrained(folder, config=config, dtype=torch.float32)
    model.vlm.set_attn_implementation(args.attention)
    return model, processor


def _from_llava(args: TrainArgs) -> tuple[Lisa, LisaProcessor]:
    """A LLaVA-type model gains [SEG] and a SAM; the new rows start as the mean of the old ones."""
    if not args.vision_pretrained:
        raise ValueError(
            f"--version {args.version} is a vision-language model: give SAM weights with --vision_pretrained"
        )
    vlm = AutoModelForImageTextToText.from_pretrained(
        args.version, dtype=torch.float32, attn_implementation=args.attention
    )
    tokenizer = AutoTokenizer.from_pretrained(args.version)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token
    tokenizer.add_tokens([AddedToken(SEG, special=False, normalized=False)])
    if args.use_mm_start_end:
        tokenizer.add_tokens([IM_START, IM_END], special_tokens=True)
    vlm.resize_token_embeddings(max(len(tokenizer), vlm.get_input_embeddings().num_embeddings))
    config = LisaConfig(vlm_config=vlm.config, sam=args.sam, seg_token_id=tokenizer.get_vocab()[SEG])
    _apply(args, config)
    model = Lisa(config)
    model.vlm = vlm
    load_sam_weights(model.sam, args.vision_pretrained)
    return model, LisaProcessor(
        config, tokenizer, AutoImageProcessor.from_pretrained(args.version), packing=args.packing
    )


def _apply(args: TrainArgs, config: LisaConfig) -> None:
    """What the flags decide about a model that is new."""
    config.seg_state = args.seg_state
    config.template = args.conv_type
    config.use_im_start_end = args.use_mm_start_end
    config.model_max_length = args.model_max_length
    config.mask_loss_size = args.mask_loss_size
    for term in ("ce", "bce", "dice", "dense", "iou", "ground", "look"):
        setattr(config, f"{term}_loss_weight", getattr(args, f"{term}_loss_weight"))
