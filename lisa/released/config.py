"""The config.json of a released LISA (or LLaVA) <-> LisaConfig."""

from __future__ import annotations

from pathlib import Path

from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, PreTrainedTokenizerBase

from lisa.config import LisaConfig
from lisa.config_check import (
    COUNT,
    FRACTION,
    INDEX,
    MOST_LAYERS,
    RECORD,
    SWITCH,
    TEXT,
    Rule,
    broken_rules,
    is_layer,
    is_number,
)
from lisa.conversation import SEG
from lisa.json_files import read_json
from sam_bridge import SAM_PRESETS, SamSize, as_size

SELECTED = {"patch": "default", "cls_patch": "full"}
"""LLaVA's name for which of CLIP's tokens are used, and transformers'."""

_TEXT_KEYS = [
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
]
_RARE_TEXT_KEYS = ["rope_theta", "rope_scaling", "attention_bias", "mlp_bias", "head_dim"]
_TOKEN_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id")

_RELEASED = {
    "architectures": ["LISAForCausalLM"],
    "freeze_mm_mlp_adapter": True,
    "image_aspect_ratio": "square",
    "image_grid_pinpoints": None,
    "mm_use_im_patch_token": False,
    "model_type": "llava",
    "pretrain_mm_mlp_adapter": None,
    "pretraining_tp": 1,
    "tie_word_embeddings": False,
    "train_mask_decoder": True,
    "tune_mm_mlp_adapter": False,
    "use_cache": False,
    "use_mm_proj": True,
}
"""What every released LISA says, beside its sizes."""

_USUAL_ROPE = ({"rope_theta": 10000.0, "rope_type": "default"},)

# Our name and that of sam_config.json.
_SAM_KEYS = {
    "image_size": "image_size",
    "patch_size": "patch_size",
    "width": "encoder_embed_dim",
    "depth": "encoder_depth",
    "heads": "encoder_num_heads",
    "global_blocks": "encoder_global_attn_indexes",
    "window": "window_size",
    "prompt_width": "prompt_embed_dim",
    "decoder_depth": "decoder_depth",
    "decoder_heads": "decoder_num_heads",
    "decoder_mlp": "decoder_mlp_dim",
    "iou_width": "iou_head_hidden_dim",
    "mlp_ratio": "mlp_ratio",
    "mask_width": "mask_in_chans",
    "iou_depth": "iou_head_depth",
}


_ALL = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_OPTIONAL: dict[str, Rule] = {
    **dict.fromkeys(("num_key_value_heads", "max_position_embeddings", "vocab_size", "head_dim"), COUNT),
    **dict.fromkeys(_TOKEN_KEYS, INDEX),
    **dict.fromkeys(("rms_norm_eps", "initializer_range"), FRACTION),
    **dict.fromkeys(("attention_bias", "mlp_bias", "mm_use_im_start_end"), SWITCH),
    **dict.fromkeys(("hidden_act", "vision_tower", "mm_vision_tower", "mm_vision_select_feature"), TEXT),
    "mm_vision_select_layer": (lambda value: isinstance(value, int), "a whole number"),
    "rope_scaling": RECORD,
    "rope_theta": (lambda value: is_number(value) and value > 0, "a number above 0"),
}


_NEVER_NULL = ("mm_use_im_start_end", "mm_vision_select_feature", "mm_vision_select_layer")


def check_raw(path: Path, raw: dict) -> None:
    """ValueError tells everything in a released config.json that cannot be; `vocab_size` may be missing.

    What the others are cannot be seen in the weights, or not without a guess.
    """
    # Where nothing is said transformers' own value holds; LLaVA's fields are read as they are.
    given = {name: value for name, value in raw.items() if value is not None or name in _NEVER_NULL}
    problems = [f"it lacks {name}" for name in _ALL if name not in given]
    problems += broken_rules(given, dict.fromkeys(_ALL, COUNT) | _OPTIONAL)
    layers = given.get("num_hidden_layers")
    if isinstance(layers, int) and layers > MOST_LAYERS:
        problems.append(f"num_hidden_layers is {layers}; it must be {MOST_LAYERS} at most")
    if not problems and given.get("num_key_value_heads", 1) > given["num_attention_heads"]:
        problems.append(
            f"num_key_value_heads is {given['num_key_value_heads']}, which is more than num_attention_heads"
        )
    if problems:
        raise ValueError(f"{path}: {'; '.join(problems)}; copy it again, or mend it by hand")


def is_lisa(raw: dict) -> bool:
    """Whether a config.json is a released LISA's."""
    named = raw.get("architectures")
    return "text_config" not in raw and (
        "train_mask_decoder" in raw or (isinstance(named, list) and "LISAForCausalLM" in named)
    )


def is_llava(raw: dict) -> bool:
    """Whether a config.json is that of a LLaVA in its authors' format, which is not transformers' own."""
    return "text_config" not in raw and "mm_vision_tower" in raw and not is_lisa(raw)


def tower_of(raw: dict) -> str:
    """Name of the vision tower; the later of LLaVA's keys counts, as in the reference."""
    name = raw.get("vision_tower") or raw.get("mm_vision_tower")
    if not name:
        raise ValueError("the config.json names no vision_tower; give its folder or hub id with --vision-tower")
    return name


def vlm_config(raw: dict, vision: CLIPVisionConfig, projector_layers: int, vocabulary: int, pad_id: int) -> LlavaConfig:
    """The vision-language model of a released checkpoint; `vocabulary` is the number of embeddings in its weights."""
    selected = raw.get("mm_vision_select_feature", "patch")
    if selected not in SELECTED:
        raise ValueError(f"mm_vision_select_feature is {selected!r}; known are {', '.join(SELECTED)}")
    layer = raw.get("mm_vision_select_layer", -2)
    if not is_layer(layer, vision.num_hidden_layers):
        raise ValueError(
            f"mm_vision_select_layer is {layer}, but the vision tower has {vision.num_hidden_layers} layers"
        )
    keys = (*_TEXT_KEYS, *_RARE_TEXT_KEYS, *_TOKEN_KEYS)
    text = {key: raw[key] for key in keys if raw.get(key) is not None} | {"vocab_size": vocabulary}
    return LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**text, tie_word_embeddings=False),
        image_token_index=pad_id,
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        vision_feature_layer=layer,
        vision_feature_select_strategy=SELECTED[selected],
        projector_layers=projector_layers,
        tie_word_embeddings=False,
    )


def released_config(config: LisaConfig, tokenizer: PreTrainedTokenizerBase, vision_tower: str) -> dict:
    """The config.json of the released format.

    Keys that the model came with are kept; `vision_tower` names the tower, unless it is "" and they do. ValueError when
    the format cannot say what the model does.
    """
    _refuse_what_the_format_lacks(config)
    vlm, text = config.vlm_config, config.vlm_config.text_config
    before = dict((config.released or {}).get("config", {}))
    tower = vision_tower or before.get("vision_tower") or before.get("mm_vision_tower")
    if not tower:
        raise ValueError(
            "the released format leaves the vision tower out and names it instead: give the name of the one this model "
            "has with --vision-tower, as in openai/clip-vit-large-patch14"
        )
    facts = {key: getattr(text, key) for key in _TEXT_KEYS}
    facts |= {key: getattr(tokenizer, key) for key in _TOKEN_KEYS}
    facts |= {
        "mm_hidden_size": vlm.vision_config.hidden_size,
        "mm_use_im_start_end": config.use_im_start_end,
        "mm_vision_select_feature": {ours: name for name, ours in SELECTED.items()}[vlm.vision_feature_select_strategy],
        "mm_vision_select_layer": vlm.vision_feature_layer,
        "mm_vision_tower": tower,
        "out_dim": config.sam_size.prompt_width,
        "vision_tower": tower,
        "vocab_size": text.vocab_size,
    }
    if projector_layers(vlm) == 2:
        facts["mm_projector_type"] = "mlp2x_gelu"
    usual = {"rope_scaling": None, "torch_dtype": "bfloat16", "transformers_version": "4.31.0"}
    kept = before if is_lisa(before) else before | _RELEASED
    return dict(sorted((usual | kept | facts).items()))


def projector_layers(vlm: LlavaConfig) -> int:
    """1 for a linear projector, 2 for LLaVA-1.5's."""
    return getattr(vlm, "projector_layers", 2)


def read_sam_size(path: Path) -> SamSize:
    """A SAM's size from sam_config.json; ValueError names a key that is missing."""
    raw = read_json(path)
    missing = [name for name in _SAM_KEYS.values() if name not in raw]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    try:
        return as_size({ours: raw[name] for ours, name in _SAM_KEYS.items()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def sam_config(size: SamSize) -> dict:
    """What `read_sam_size` reads."""
    return {name: getattr(size, ours) for ours, name in _SAM_KEYS.items()}


def needs_sam_config(size: SamSize) -> bool:
    """Whether the size has to be written down, since it is none of the released ones."""
    return size not in SAM_PRESETS.values()


def seg_id(tokenizer: PreTrainedTokenizerBase, folder: Path) -> int:
    """Vocabulary id of [SEG]; ValueError when the tokenizer has none."""
    vocabulary = tokenizer.get_vocab()
    if SEG not in vocabulary:
        raise ValueError(f"the tokenizer in {folder} has no {SEG}; is added_tokens.json there, and is it a LISA's?")
    return vocabulary[SEG]


def _refuse_what_the_format_lacks(config: LisaConfig) -> None:
    vlm = config.vlm_config
    for reason, wrong in {
        "a mask decoder that is not SAM's": config.sam_size.family != "sam",
        "a backbone that is no LLaVA": vlm.model_type != "llava",
        "a language model that is no Llama": getattr(vlm.text_config, "model_type", "") != "llama",
        "a vision tower that is no CLIP": vlm.vision_config.model_type != "clip_vision_model",
        "a projector that merges patches": getattr(vlm, "merge_patches", 1) > 1,
        "a convolutional stem": bool(getattr(vlm, "stem_widths", ()) or config.sam_size.stem_widths),
        "word embeddings tied to the output": config.tie_word_embeddings,
        "rotary positions of another kind": not config.released and vlm.text_config.rope_parameters not in _USUAL_ROPE,
        "a state read at [SEG]": config.seg_state != "before",
    }.items():
        if wrong:
            raise ValueError(f"the released format cannot hold this model: it has {reason}")
