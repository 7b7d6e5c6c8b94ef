"""Ways in which a folder of ours can be damaged or wrong, each with what must be said about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Damage = Callable[[Path], object]
WEIGHTS = "model.safetensors"
KEY = "text_hidden_fcs.0.2.bias"
TEXTS = ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")
MISSING = object()


def changed(name: str, *path: str, to: Any) -> Damage:
    """A field of a JSON file with another value, or none."""

    def damage(folder: Path) -> None:
        content = record = json.loads((folder / name).read_text())
        for key in path[:-1]:
            record = record[key]
        if to is MISSING:
            del record[path[-1]]
        else:
            record[path[-1]] = to
        (folder / name).write_text(json.dumps(content))

    return damage


def written(name: str, content: bytes | str) -> Damage:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def halved(name: str) -> Damage:
    return lambda folder: (folder / name).write_bytes(
        (folder / name).read_bytes()[: -(folder / name).stat().st_size // 2]
    )


def weights(**new: Any) -> Damage:
    """`KEY` with other values, or another weight more."""

    def damage(folder: Path) -> None:
        stored = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
        for name, change in new.items():
            name = KEY if name == "key" else name
            stored[name] = change(stored.pop(name)) if callable(change) else change
        save_file({n: t for n, t in stored.items() if t is not None}, folder / WEIGHTS, metadata={"format": "pt"})

    return damage


def header(at: int, new: bytes) -> Damage:
    """Bytes at the beginning of the weights' file, which say what is in it."""

    def damage(folder: Path) -> None:
        content = bytearray((folder / WEIGHTS).read_bytes())
        content[at : at + len(new)] = new
        (folder / WEIGHTS).write_bytes(content)

    return damage


def tokens(change: Callable[[list[dict]], list[dict]]) -> Damage:
    """Other added tokens."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text())
        content["added_tokens"] = change(content["added_tokens"])
        (folder / "tokenizer.json").write_text(json.dumps(content))

    return damage


def index(weight_map: Any, *, whole: bool = False) -> Damage:
    """An index of shards in the place of the whole file, or beside it."""

    def damage(folder: Path) -> None:
        content = json.dumps({"metadata": {}, "weight_map": weight_map})
        (folder / f"{WEIGHTS}.index.json").write_text(content)
        if not whole:
            (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")

    return damage


def _full(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda tensor: torch.full_like(tensor, value)


# By what is damaged: what is done, and a pattern of what is said.
FILES: dict[str, tuple[Damage, str]] = {
    **{f"{name} missing": (lambda folder, name=name: (folder / name).unlink(), name) for name in TEXTS},
    **{f"{name} empty": (written(name, b""), rf"{name} is no JSON \(it is empty\)") for name in TEXTS},
    **{f"{name} truncated": (halved(name), f"{name} is no JSON") for name in TEXTS},
    **{f"{name} bytes": (written(name, bytes(range(256))), f"{name} is no JSON") for name in TEXTS},
    **{f"{name} deep": (written(name, "[" * 100_000), f"{name} is no JSON") for name in TEXTS},
    **{f"{name} list": (written(name, "[1]"), f"{name} holds no JSON object") for name in TEXTS},
    "config.json {}": (written("config.json", "{}"), "config.json has no model_type"),
    "tokenizer.json {}": (written("tokenizer.json", "{}"), "tokenizer of .* cannot be used"),
    "tokenizer_config.json {}": (written("tokenizer_config.json", "{}"), "it has no pad_token; it has no eos_token"),
    "preprocessor_config.json {}": (written("preprocessor_config.json", "{}"), "image processor of .* cannot be used"),
}
VALUES: dict[str, tuple[Damage, str]] = {
    "weights missing": (lambda folder: (folder / WEIGHTS).unlink(), "holds no weights .*copy the whole folder"),
    "weights empty": (written(WEIGHTS, b""), "model.safetensors is no file of weights: it is empty"),
    "weights truncated": (halved(WEIGHTS), "model.safetensors is no file of weights, or only a part of one"),
    "weights bytes": (written(WEIGHTS, bytes(range(256))), "model.safetensors is no file of weights"),
    "weights header": (header(40, b"\xff\x00"), "model.safetensors is no file of weights"),
    "weights header's length": (header(0, b"\xff" * 8), "model.safetensors is no file of weights"),
    "weights shape": (weights(key=torch.ones(7)), rf"1 of another shape \['{KEY} \(7,\) instead of \(32,\)'\]"),
    "weights type": (weights(key=lambda t: t.to(torch.int8)), rf"1 of a type that cannot be used \['{KEY} int8'\]"),
    "weights lack one": (weights(key=None), rf"1 keys missing \['{KEY}'\]"),
    "weights have more": (weights(extra=torch.ones(1)), r"1 unexpected \['extra'\]"),
    "weights nan": (weights(key=_full(float("nan"))), rf"1 of its weights are not finite .*\['{KEY}'\]"),
    "weights inf": (weights(key=_full(float("-inf"))), rf"1 of its weights are not finite .*\['{KEY}'\]"),
    "index lists a lost shard": (index({KEY: "model-00007-of-00009.safetensors"}), "lacks model-00007-of-00009"),
    "index leaves its folder": (index({KEY: "../good/model.safetensors"}), r"names '\.\./good/model.safetensors'"),
    "index without a map": (index([1]), "has no weight_map"),
}
CONFIG: dict[str, tuple[Damage, str]] = {
    f"{'.'.join(path)} = {'nothing' if to is MISSING else to}": (changed("config.json", *path, to=to), said)
    for path, to, said in [
        (("seg_token_id",), "5", "seg_token_id is '5'; it must be a whole number"),
        (("seg_token_id",), None, "seg_token_id is None; it must be a whole number"),
        (("seg_token_id",), 2.5, "seg_token_id is 2.5"),
        (("seg_token_id",), -1, "seg_token_id is -1"),
        (("seg_token_id",), 3, r"its \[SEG\] is token \d+, but seg_token_id is 3"),
        (("seg_token_id",), 10**9, r"seg_token_id is 1000000000, but vlm_config.text_config.vocab_size is \d+"),
        (("seg_token_id",), MISSING, "it lacks seg_token_id"),
        (("sam",), MISSING, "it lacks sam"),
        (("sam",), "foo", "'foo' is no size of a SAM; choose from vit_h"),
        (("sam",), {}, "the size of the SAM cannot be read: it lacks image_size; it lacks patch_size"),
        (("sam", "width"), MISSING, "it lacks width"),
        (("sam", "width"), "a", "width is 'a'; it must be a whole number"),
        (("sam", "width"), 10**9, "width is 1000000000; it must be a whole number from 0 to 65536"),
        (("sam", "heads"), 3, "a SAM of width 32 cannot have 3 heads"),
        (("sam", "patch_size"), 0, "patch_size is 0, and must be 1 or more"),
        (("sam", "zzz"), 1, "it has no field zzz"),
        (("vlm_config",), MISSING, "it lacks vlm_config"),
        (("vlm_config",), {}, "vlm_config lacks model_type; vlm_config.text_config is None"),
        (("vlm_config",), {"model_type": "llava"}, "vlm_config.text_config is None; .*vision_config is None"),
        (("vlm_config", "model_type"), "bert", "no backbone for models of type 'bert'"),
        (("vlm_config", "vision_config"), None, "vlm_config.vision_config is None"),
        (("vlm_config", "vision_feature_layer"), 99, "vision_feature_layer is 99, but the vision tower has 2 layers"),
        (("vlm_config", "text_config", "num_attention_heads"), MISSING, "text_config lacks num_attention_heads"),
        (("vlm_config", "text_config", "num_attention_heads"), 0, "num_attention_heads is 0"),
        (("vlm_config", "text_config", "num_attention_heads"), 3, "not a multiple of the number of attention heads"),
        (("vlm_config", "text_config", "num_hidden_layers"), 10**6, "num_hidden_layers is 1000000; .* from 1 to 1000"),
        (("vlm_config", "text_config", "num_hidden_layers"), 3, "9 keys missing"),
        (("vlm_config", "text_config", "hidden_act"), "foo", "describes a model that cannot be built"),
        (("vlm_config", "text_config", "vocab_size"), 9, "vocab_size is 9"),
        (("vlm_config", "text_config", "rms_norm_eps"), float("nan"), "rms_norm_eps is nan, no finite number"),
        (("template",), "foo", "template is 'foo'; it must be one of llava_v1"),
        (("model_max_length",), "a", "model_max_length is 'a'"),
        (("use_im_start_end",), "no", "use_im_start_end is 'no'; it must be true or false"),
        (("click_decoder",), True, "120 keys missing"),
        (("bce_loss_weight",), float("nan"), "bce_loss_weight is nan"),
        (("dtype",), "foo", "dtype is 'foo'"),
        (("released",), 3, "released is 3"),
        (("architectures",), 3, "architectures is 3"),
        (("seg_stat",), "at", "there is no field seg_stat; seg_state may be meant"),
        (("model_type",), "bert", "is a 'bert' model, not a LISA model"),
    ]
}
READERS: dict[str, tuple[Damage, str]] = {
    "tokenizer without [SEG]": (
        tokens(lambda known: [token for token in known if token["content"] != "[SEG]"]),
        r"it has no \[SEG\]",
    ),
    "tokenizer without <im_start>": (
        tokens(lambda known: [token for token in known if token["content"] != "<im_start>"]),
        "it has no <im_start>, but use_im_start_end is true",
    ),
    "tokenizer with more tokens than embeddings": (
        tokens(lambda known: [*known, known[-1] | {"id": known[-1]["id"] + 1, "content": "<more>"}]),
        r"its tokens go up to (\d+), but the model has embeddings for 0 to",
    ),
    "tokenizer without a model": (changed("tokenizer.json", "model", to=MISSING), "tokenizer of .* cannot be used"),
    "tokenizer of half a vocabulary": (
        changed("tokenizer.json", "model", "vocab", to={"a": 0}),
        "tokenizer of .* cannot be used",
    ),
    "pad_token null": (changed("tokenizer_config.json", "pad_token", to=None), "it has no pad_token"),
    "model_max_length text": (changed("tokenizer_config.json", "model_max_length", to="a"), "model_max_length is 'a'"),
    "another kind of images": (
        changed("preprocessor_config.json", "image_processor_type", to="Foo"),
        "image processor of .* cannot be used",
    ),
    "images of another size": (
        changed("preprocessor_config.json", "size", to={"height": 64, "width": 64}),
        r"makes images of \(64, 64\) pixels, but the vision tower .* takes \(32, 32\)",
    ),
    "pixels divided by 0": (
        changed("preprocessor_config.json", "image_std", to=[0, 0, 0]),
        "makes pixels that are not finite: look at image_std",
    ),
    "image_mean text": (
        changed("preprocessor_config.json", "image_mean", to=["a"]),
        "image processor .* cannot be used",
    ),
}
ALL = FILES | VALUES | CONFIG | READERS
HARMLESS: dict[str, Damage] = {
    "a stale index beside the whole file": index({KEY: "model-00001-of-00002.safetensors"}, whole=True),
    "an index that is no JSON beside the whole file": written(f"{WEIGHTS}.index.json", "{"),
    "other weights beside the whole file": lambda folder: save_file({"x": torch.ones(1)}, folder / "x.safetensors"),
    "what a Mac leaves beside the whole file": written(f"._{WEIGHTS}", "Mac OS X"),
    "a projector beside the whole file": lambda folder: torch.save({"x": torch.ones(1)}, folder / "mm_projector.bin"),
    "a broken generation_config.json": written("generation_config.json", "{"),
}
"""What changes nothing about the model that is in the folder."""
