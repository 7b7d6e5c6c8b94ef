"""Released checkpoints, and training checkpoints of the reference: opened, checked, read shard by shard.

What is opened is checked whole against the model that its config describes, from the names and shapes in its files,
before any weight is used: no part of a model is ever left random unless it is new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import CLIPVisionConfig

from lisa.config import LisaConfig
from lisa.config_check import COUNT, broken_rules
from lisa.foreign_errors import refused
from lisa.image_processor import check_pixels, open_image_processor
from lisa.json_files import read_json
from lisa.modeling import LisaModel
from lisa.processing import LisaProcessor
from lisa.released.config import check_raw, is_lisa, is_llava, read_sam_size, seg_id, tower_of, vlm_config
from lisa.released.files import weight_files
from lisa.released.hub import find_tower
from lisa.released.names import LANGUAGE, PROJECTOR, TOWER, our_name, tower_name
from lisa.released.survey import Source, Survey
from lisa.released.tokenizer import ReleasedTokenizer, read_tokenizer
from lisa.tokenization import IM_START, add_lisa_tokens
from lisa.weights import POSITIONS, check_finite
from sam_bridge import SAM_PRESETS, AnySize, check_fit, measure_sam, read_sam_weights

NEW = ("text_hidden_fcs", "dense_prompt", "dense_image", "name_image", "look_state", "look_token")
"""Modules that a LLaVA which becomes a LISA has no weights for."""


@dataclass(frozen=True, kw_only=True)
class ReleasedOptions:
    """What the released format does not say."""

    vision_tower: str = ""
    """Folder or hub id of the vision tower; "" is the one that config.json names."""
    sam: str = ""
    """Size of the SAM: a preset's name, or a file like sam_config.json; "" reads it off the weights."""
    base: str = ""
    """Folder with config and tokenizer, for training checkpoints of the reference, which have neither."""
    lora_alpha: float = 16.0
    """LoRA's scale is lora_alpha over its rank."""
    template: str = "llava_v1"
    """Template of the conversations; every released LISA was trained with llava_v1."""
    model_max_length: int = 512
    """Longest conversation in tokens, image tokens included."""
    sam_weights: str = ""
    """SAM weights, for a LLaVA that is to become a LISA; [SEG] and `text_hidden_fcs` are new then."""
    use_im_start_end: bool = True
    """Whether that LISA puts <im_start> and <im_end> around the image tokens."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """More fields of that LISA's config: the weights of its loss terms."""


class Released:
    """An opened checkpoint: `model` loads it, `parts` gives its weights under our names, file by file."""

    def __init__(self, path: Path, options: ReleasedOptions) -> None:
        self.path, self.options = path, options
        self.home = Path(options.base) if options.base else path
        self.raw = read_json(self.home / "config.json")
        if not is_lisa(self.raw) and not is_llava(self.raw):
            raise ValueError(f"{self.home}/config.json is neither a released LISA's nor a LLaVA's")
        check_raw(self.home / "config.json", self.raw)
        self.sources = [Source(path=file, rename=our_name) for file in weight_files(path)]
        if options.sam_weights:
            self.sources.append(Source(path=Path(options.sam_weights), rename=_sam_name, read=read_sam_weights))
        self.survey = Survey()
        self.survey.add(self.sources)
        self.survey.check_lora(path)
        tower = self._open_tower()
        text = read_tokenizer(self.home)
        self.config = self._config(read_tower_config(tower), text)
        with refused(f"{self.home / 'config.json'} describes a model that cannot be built"):
            wanted = skeleton(self.config).state_dict()
        if options.sam_weights:
            wanted = {name: tensor for name, tensor in wanted.items() if name.split(".")[0] not in NEW}
        check_fit(path, self.survey.weights, wanted, "the model of its config", "copy the whole checkpoint again")
        self.processor = LisaProcessor(
            self.config,
            text.tokenizer,
            open_image_processor(tower, backend="pil"),
            sentencepiece=text.sentencepiece.read_bytes(),
        )
        check_pixels(tower, self.processor)

    def model(self, dtype: torch.dtype | None = None) -> LisaModel:
        """The model with all of its weights; None takes the type of the language model's.

        With `sam_weights`, the rows of added tokens start as the mean of the others, and `NEW` at random.
        """
        model = skeleton(self.config)
        dtype = dtype or self.survey.weights["vlm.lm_head.weight"].dtype
        for part in self.parts(dtype):
            fill(model, part, dtype)
        if self.options.sam_weights:
            for name, module in model.named_children():
                if name in NEW:
                    start_anew(module, dtype)
            rows = max(len(self.processor.tokenizer), self.config.vlm_config.text_config.vocab_size)
            model.vlm.resize_token_embeddings(rows)
        return model.eval()

    def parts(self, dtype: torch.dtype | str | None = None) -> Iterator[dict[str, Tensor]]:
        """For each file its weights by our names, LoRA merged; let go of one part before the next is asked for.

        ValueError names weights that are not finite, or not in `dtype`, which is what they are for; the type itself
        stays.
        """
        for source in self.sources:
            part = {
                name: self._merged(name, tensor)
                for stored, tensor in source.read(source.path).items()
                if isinstance(name := source.rename(stored), str)
            }
            check_finite(source.path, part, dtype)
            yield part
            del part

    def _merged(self, name: str, weight: Tensor) -> Tensor:
        """The weight plus what its adapter adds, summed in fp32, in the weight's own type."""
        if name not in self.survey.lora:
            return weight
        a, b = (self.survey.lora[name][matrix].float() for matrix in "AB")
        return (weight.float() + self.options.lora_alpha / len(a) * b @ a).to(weight.dtype)

    def _open_tower(self) -> Path:
        """Find the vision tower; its weights are read from there unless the checkpoint has them."""
        inside = bool(self.survey.part(TOWER))
        name = self.options.vision_tower or tower_of(self.raw)
        folder = find_tower(name, self.home.resolve(), weights=not inside)
        if not inside:
            sources = [Source(path=file, rename=tower_name) for file in weight_files(folder)]
            self.survey.add(sources)
            self.sources += sources
        return folder

    def _config(self, vision: CLIPVisionConfig, text: ReleasedTokenizer) -> LisaConfig:
        tokenizer = text.tokenizer
        layers = 2 if any(name.startswith(f"{PROJECTOR}linear_2.") for name in self.survey.weights) else 1
        im_start_end = self.raw.get("mm_use_im_start_end", True)
        embeddings = self.survey.weights.get(f"{LANGUAGE}embed_tokens.weight", torch.empty(0, 0))
        rows = embeddings.shape[0] if embeddings.dim() == 2 else 0
        vocabulary = self.raw.get("vocab_size") or rows
        if self.options.sam_weights:
            im_start_end = self.options.use_im_start_end
            add_lisa_tokens(tokenizer, im_start_end)
        elif self.options.base:
            # The reference's flag is not in the checkpoint, but its two tokens have rows of their own.
            im_start_end = IM_START in tokenizer.get_vocab() or rows != len(tokenizer) + 1
            add_lisa_tokens(tokenizer, im_start_end)
            vocabulary = len(tokenizer)
        if not self.options.sam_weights and len(tokenizer) > vocabulary:
            raise ValueError(
                f"the tokenizer in {self.home} has {len(tokenizer)} tokens, but the model has embeddings for "
                f"{vocabulary}: the files do not belong together; copy the whole checkpoint again"
            )
        with refused(f"{self.home / 'config.json'} cannot be used", "copy it again, or mend it by hand"):
            vlm = vlm_config(self.raw, vision, layers, vocabulary, tokenizer.pad_token_id)
        return LisaConfig(
            vlm_config=vlm,
            sam=find_sam_size(self.options.sam, self.path, self.survey.part("sam.")),
            seg_token_id=seg_id(tokenizer, self.home),
            seg_state="before",
            template=self.options.template,
            leading_blank="every" if text.legacy else "first",
            image_backend="pil",
            use_im_start_end=im_start_end,
            model_max_length=self.options.model_max_length,
            released={"config": self.raw, "inv_freq": self.survey.inv_freq},
            **self.options.settings,
        )


def find_sam_size(wanted: str, folder: Path, weights: dict[str, Tensor]) -> AnySize:
    """The preset or the file that is wanted, else the folder's sam_config.json, else what the weights' shapes say."""
    if wanted in SAM_PRESETS:
        return SAM_PRESETS[wanted]
    if wanted:
        return read_sam_size(Path(wanted))
    if (folder / "sam_config.json").is_file():
        return read_sam_size(folder / "sam_config.json")
    return measure_sam({name: tensor.shape for name, tensor in weights.items()})


def _sam_name(name: str) -> str:
    return f"sam.{name}"


def read_tower_config(folder: Path) -> CLIPVisionConfig:
    """The config of a vision tower; ValueError names the folder when it is no CLIP's."""
    raw = read_json(folder / "config.json")
    with refused(f"{folder / 'config.json'} cannot be used as that of a CLIP vision tower", "copy it again"):
        if raw.get("model_type") not in ("clip", "clip_vision_model"):
            raise ValueError(f"its model_type is {raw.get('model_type')!r}")
        config = CLIPVisionConfig.from_pretrained(folder)
        counts = ("image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
        if problems := broken_rules(vars(config), dict.fromkeys(counts, COUNT)):
            raise ValueError("; ".join(problems))
        return config


def skeleton(config: LisaConfig) -> LisaModel:
    """The model without weights: parameters on the meta device, constants in place."""
    with init_empty_weights(include_buffers=False):
        return LisaModel(config)


def fill(model: nn.Module, weights: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Put copies of the weights into a `skeleton`, in `dtype` (SAM's positions in fp32)."""
    for name, tensor in weights.items():
        parent, _, leaf = name.rpartition(".")
        module = model.get_submodule(parent)
        value = tensor.to(torch.float32 if leaf == POSITIONS else dtype, copy=True).contiguous()
        if leaf in module._buffers:
            module._buffers[leaf] = value
        else:
            module._parameters[leaf] = nn.Parameter(value)


def start_anew(module: nn.Module, dtype: torch.dtype) -> None:
    """Random weights, as torch starts them, for a module of a `skeleton`."""
    for layer in module.to_empty(device="cpu").to(dtype).modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
