"""What the fields of a config.json may be, told before anything is built from them."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lisa.conversation import TEMPLATES

Rule = tuple[Callable[[Any], bool], str]
"""Whether a value is allowed, and what is, in words."""

MOST_LAYERS = 1000
"""No model has so many; to build more would only take memory."""


def is_whole(value: Any, least: int = 0) -> bool:
    """Whether a value from JSON is a whole number, `true` being none, and not below `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: Any) -> bool:
    """Whether a value from JSON is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def one_of(*allowed: str) -> Rule:
    """One of some words."""
    return lambda value: value in allowed, f"one of {', '.join(allowed)}"


INDEX: Rule = (is_whole, "a whole number of 0 or more")
COUNT: Rule = (lambda value: is_whole(value, 1), "a whole number of 1 or more")
FRACTION: Rule = (lambda value: isinstance(value, float) and math.isfinite(value) and value > 0, "a fraction above 0")
TEXT: Rule = (lambda value: isinstance(value, str), "a text")
_WEIGHT: Rule = (lambda value: is_number(value) and value >= 0, "a number of 0 or more")
SWITCH: Rule = (lambda value: isinstance(value, bool), "true or false")
RECORD: Rule = (lambda value: isinstance(value, dict), "a JSON object")
_TYPE: Rule = one_of("float32", "bfloat16", "float16", "float64")


def _is_origin(value: Any) -> bool:
    """What `LisaConfig.released` may be."""
    if value is None:
        return True
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
        return False
    rotary = value.get("inv_freq")
    return rotary is None or (isinstance(rotary, dict) and isinstance(rotary.get("values"), list))


TERMS = ("ce", "bce", "dice", "dense", "iou", "ground", "look")
_RULES: dict[str, Rule] = {
    "model_type": one_of("lisa"),
    "vlm_config": RECORD,
    "sam": (lambda value: isinstance(value, dict | str), "a JSON object, or the name of a preset"),
    "seg_token_id": INDEX,
    "seg_state": one_of("before", "at"),
    "template": one_of(*TEMPLATES),
    "leading_blank": one_of("every", "first"),
    "image_backend": one_of("torchvision", "pil"),
    "use_im_start_end": SWITCH,
    "model_max_length": (lambda value: is_whole(value, 1) and value <= 1 << 24, "a whole number from 1 to 16777216"),
    "mask_loss_size": one_of("original", "low_res"),
    "click_decoder": SWITCH,
    "heads": (
        lambda value: value is None or (isinstance(value, list) and all(head in TERMS for head in value)),
        "null, or a list of the loss terms that have a head",
    ),
    "released": (_is_origin, "null, or an object that holds the released config"),
    "tie_word_embeddings": SWITCH,
    "architectures": (lambda value: value is None or isinstance(value, list), "a list"),
    "dtype": (lambda value: value is None or _TYPE[0](value), _TYPE[1]),
    "torch_dtype": (lambda value: value is None or _TYPE[0](value), _TYPE[1]),
    **{f"{term}_loss_weight": _WEIGHT for term in TERMS},
}
_REQUIRED = ("model_type", "vlm_config", "sam", "seg_token_id")
_LANGUAGE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
_LAYERS = ("num_hidden_layers", "depth")


def check_fields(raw: dict[str, Any]) -> None:
    """A ValueError tells everything that is wrong with the fields of a LisaConfig, from its JSON; a field that no
    version knows is warned about."""
    problems = [f"it lacks {name}" for name in _REQUIRED if name not in raw]
    problems += broken_rules(raw, _RULES)
    problems += [
        f"{name} is {value!r}, no finite number"
        for name, value in _numbers(raw)
        if not math.isfinite(value) and name not in _RULES
    ]
    for name in raw.keys() - _RULES.keys():
        if near := difflib.get_close_matches(name, _RULES, n=1, cutoff=0.8):
            problems.append(f"there is no field {name}; {near[0]} may be meant")
        elif not name.startswith("_") and name not in _TRANSFORMERS:
            warnings.warn(f"config.json: nothing is known about the field {name}, and it is not read", stacklevel=2)
    if isinstance(raw.get("vlm_config"), dict):
        problems += _vlm_problems(raw["vlm_config"], raw.get("seg_token_id"))
    if problems:
        raise ValueError("; ".join(problems))


_TRANSFORMERS = {
    "chunk_size_feed_forward",
    "id2label",
    "is_encoder_decoder",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "problem_type",
    "return_dict",
    "transformers_version",
    "attn_implementation",
    "experts_implementation",
    "name_or_path",
    "num_labels",
}
"""Fields that transformers puts into every config."""


def broken_rules(raw: dict[str, Any], rules: dict[str, Rule]) -> list[str]:
    """A sentence for each field that is there and breaks its rule."""
    return [
        f"{name} is {_shown(raw[name])}; it must be {words}"
        for name, (allows, words) in rules.items()
        if name in raw and not allows(raw[name])
    ]


def _vlm_problems(raw: dict[str, Any], seg_token_id: Any) -> Iterator[str]:
    """What is wrong with the sizes of a vision-language model: a size left out would be a 7B's."""
    text, vision = raw.get("text_config"), raw.get("vision_config")
    if not isinstance(raw.get("model_type"), str):
        yield "vlm_config lacks model_type"
    for name, part in (("text_config", text), ("vision_config", vision)):
        if not isinstance(part, dict) or not part:
            yield f"vlm_config.{name} is {_shown(part)}; it must be a JSON object with the model's sizes"
            continue
        for field in _LAYERS:
            if field in part and not (is_whole(part[field], 1) and part[field] <= MOST_LAYERS):
                yield f"vlm_config.{name}.{field} is {_shown(part[field])}; it must be from 1 to {MOST_LAYERS}"
    if isinstance(text, dict) and text:
        yield from (f"vlm_config.text_config lacks {name}" for name in _LANGUAGE if name not in text)
        counts = {name: COUNT for name in _LANGUAGE if name not in _LAYERS}
        yield from (f"vlm_config.text_config.{problem}" for problem in broken_rules(text, counts))
        rows = text.get("vocab_size")
        if is_whole(rows) and is_whole(seg_token_id) and seg_token_id >= rows:
            yield f"seg_token_id is {seg_token_id}, but vlm_config.text_config.vocab_size is {rows}"
    if isinstance(vision, dict):
        yield from _feature_layer_problems(raw, vision.get("num_hidden_layers"))
    if isinstance(vision, dict) and vision and not {"num_attention_heads", "num_heads"} & vision.keys():
        yield "vlm_config.vision_config lacks the number of attention heads"


def is_layer(chosen: int, layers: int) -> bool:
    """Whether a vision tower of so many layers has a state of that number: 0 is before the first, -1 after the last."""
    return -layers - 1 <= chosen <= layers


def _feature_layer_problems(raw: dict[str, Any], layers: Any) -> Iterator[str]:
    """A LLaVA's image tokens are the states after one layer of its vision tower, or after several."""
    chosen = raw.get("vision_feature_layer", -1)
    for layer in chosen if isinstance(chosen, list) else [chosen]:
        if is_whole(layers, 1) and isinstance(layer, int) and not is_layer(layer, layers):
            yield f"vlm_config.vision_feature_layer is {layer}, but the vision tower has {layers} layers"


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number with a point in nested JSON, and where it stands."""
    if isinstance(value, float):
        yield name, value
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        yield from _numbers(item, f"{name}.{key}" if name else str(key))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
