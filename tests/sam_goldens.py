"""What the authors' packages `sam2` and `segment-anything-hq` give, kept so that tests run without them.

    PYTHONPATH=FOLDER python tests/sam_goldens.py

makes tests/goldens/sam.* anew, where FOLDER holds sam2 1.1.0, segment-anything-hq 0.3 and what they import: hydra-core,
omegaconf 2.3, antlr4-python3-runtime 4.9.3, iopath, portalocker and timm. Weights are drawn by name, on both sides.
"""

from __future__ import annotations

import json
import lzma
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

FOLDER = Path(__file__).parent / "goldens"
OUTPUTS, NAMES = FOLDER / "sam.safetensors", FOLDER / "sam.json.xz"

SAM2_FILES = {"t": "tiny", "s": "small", "b+": "base_plus", "l": "large"}
SIDE, WIDTH = 64, 32
"""Of the small models: pixels of the square, and channels of a prompt."""
IMAGE_OF = (0, 0, 1)
PICTURES = ((37, 50), (20, 9))
"""Heights and widths of the pictures that become squares of `SQUARE` pixels."""
SQUARE = 24


def draw(name: str, shape: tuple[int, ...]) -> Tensor:
    """A weight (or an input) by its name: the same on every machine."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    tensor = torch.from_numpy(values)
    if len(shape) > 1:
        return tensor / max(1, int(np.prod(shape[1:]))) ** 0.5
    return 1 + tensor / 10 if name.endswith("weight") else tensor / 10


def draw_all(shapes: dict[str, Any]) -> dict[str, Tensor]:
    """All weights of a model."""
    return {name: draw(name, tuple(shape)) for name, shape in shapes.items()}


def inputs() -> tuple[Tensor, Tensor]:
    """Pixels (2, 3, SIDE, SIDE) and prompts (3, WIDTH)."""
    return draw("pixels", (2, 3, SIDE, SIDE)) * 50, draw("prompts", (3, WIDTH)) * 5


def picture(height: int, width: int) -> np.ndarray:
    """Coloured noise (height, width, 3) uint8."""
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def load_names() -> dict[str, dict[str, list[int]]]:
    """Of every released model, and of the small ones: the names of its weights and their shapes."""
    return json.loads(lzma.decompress(NAMES.read_bytes()))


def main() -> None:
    """Ask the packages."""
    from segment_anything_hq import sam_model_registry

    shapes, outputs = {}, {}
    for version in ("sam2", "sam2.1"):
        for letter, size in SAM2_FILES.items():
            with torch.device("cpu"):
                shapes[f"{version}_hiera_{size}"] = _shapes(_sam2(f"{version}/{version}_hiera_{letter}"))
    for size in ("vit_b", "vit_l", "vit_h"):
        with torch.device("meta"):
            shapes[f"sam_hq_{size}"] = _shapes(sam_model_registry[size]())
    for name, (model, run) in {"sam2": (_small_sam2(), _run_sam2), "sam_hq": (_small_hq(), _run_hq)}.items():
        shapes[f"small_{name}"] = _shapes(model)
        model.load_state_dict(draw_all(shapes[f"small_{name}"]))
        with torch.no_grad():
            outputs |= {f"{name}/{key}": value.contiguous() for key, value in run(model.eval()).items()}
    from sam2.utils.transforms import SAM2Transforms

    outputs |= {f"pixels/{k}": SAM2Transforms(SQUARE, 0.0)(picture(*size)) for k, size in enumerate(PICTURES)}
    NAMES.write_bytes(lzma.compress(json.dumps(shapes).encode()))
    save_file(outputs, OUTPUTS)


def _shapes(model: torch.nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def _sam2(config: str, changes: dict[str, Any] | None = None) -> torch.nn.Module:
    """The package's model for videos, of a config of the package with some fields changed."""
    import sam2
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    settings = OmegaConf.load(Path(sam2.__file__).parent / "configs" / f"{config}.yaml")
    for key, value in (changes or {}).items():
        OmegaConf.update(settings.model, key, value, force_add=True)
    return instantiate(settings.model, _recursive_=True)


def _small_sam2() -> torch.nn.Module:
    trunk, neck = "image_encoder.trunk.", "image_encoder.neck."
    attention, memory = "memory_attention.", "memory_encoder."
    changes = {
        "image_size": SIDE,
        trunk + "embed_dim": 8,
        trunk + "stages": [1, 2, 2, 1],
        trunk + "global_att_blocks": [4],
        trunk + "window_spec": [4, 4, 3, 2],
        trunk + "window_pos_embed_bkg_spatial_size": [3, 3],
        neck + "d_model": WIDTH,
        neck + "backbone_channel_list": [64, 32, 16, 8],
        neck + "position_encoding.num_pos_feats": WIDTH,
        attention + "d_model": WIDTH,
        attention + "layer.d_model": WIDTH,
        attention + "layer.self_attention.embedding_dim": WIDTH,
        attention + "layer.cross_attention.embedding_dim": WIDTH,
        memory + "in_dim": WIDTH,
        memory + "mask_downsampler.embed_dim": WIDTH,
        memory + "fuser.layer.dim": WIDTH,
    }
    return _sam2("sam2.1/sam2.1_hiera_t", changes)


def _run_sam2(model: torch.nn.Module) -> dict[str, Tensor]:
    """By hand, as the package's predictor for pictures does it, a picture at a time."""
    pixels, prompts = inputs()
    _, features, _, sizes = model._prepare_backbone_features(model.forward_image(pixels))
    features[-1] = features[-1] + model.no_mem_embed
    stride_4, stride_8, image = (
        f.permute(1, 2, 0).reshape(len(pixels), -1, *s) for f, s in zip(features, sizes, strict=True)
    )
    _, dense = model.sam_prompt_encoder(points=None, boxes=None, masks=None)
    results = {"image": image, "fine_0": stride_4, "fine_1": stride_8}
    for kind in ("token_0", "dynamic"):
        model.sam_mask_decoder.dynamic_multimask_via_stability = kind == "dynamic"
        parts = [
            model.sam_mask_decoder(
                image_embeddings=image[k : k + 1],
                image_pe=model.sam_prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=prompts[n : n + 1, None],
                dense_prompt_embeddings=dense,
                multimask_output=False,
                repeat_image=True,
                high_res_features=[stride_4[k : k + 1], stride_8[k : k + 1]],
            )
            for n, k in enumerate(IMAGE_OF)
        ]
        results[f"low_res_{kind}"] = torch.cat([part[0][:, 0] for part in parts])
        results[f"scores_{kind}"] = torch.cat([part[1][:, 0] for part in parts])
    return results


def _small_hq() -> torch.nn.Module:
    from functools import partial

    from segment_anything_hq.modeling import ImageEncoderViT, MaskDecoderHQ, PromptEncoder, Sam, TwoWayTransformer

    encoder = ImageEncoderViT(
        img_size=SIDE,
        patch_size=16,
        embed_dim=32,
        depth=3,
        num_heads=2,
        mlp_ratio=4,
        out_chans=WIDTH,
        qkv_bias=True,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=3,
        global_attn_indexes=[1, 2],
    )
    prompts = PromptEncoder(
        embed_dim=WIDTH, image_embedding_size=(SIDE // 16,) * 2, input_image_size=(SIDE,) * 2, mask_in_chans=16
    )
    decoder = MaskDecoderHQ(
        transformer_dim=WIDTH,
        transformer=TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=64, num_heads=2),
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=16,
        vit_dim=32,
    )
    return Sam(encoder, prompts, decoder)


def _run_hq(model: torch.nn.Module) -> dict[str, Tensor]:
    """By hand, as the package's predictor does it, a picture at a time."""
    pixels, prompts = inputs()
    image, states = model.image_encoder(pixels)
    _, dense = model.prompt_encoder(points=None, boxes=None, masks=None)
    results = {"image": image, "fine_0": states[0].permute(0, 3, 1, 2)}
    for kind in ("sum", "hq_only"):
        parts = [
            model.mask_decoder(
                image_embeddings=image[k : k + 1],
                image_pe=model.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=prompts[n : n + 1, None],
                dense_prompt_embeddings=dense,
                multimask_output=False,
                hq_token_only=kind == "hq_only",
                interm_embeddings=[state[k : k + 1] for state in states],
            )
            for n, k in enumerate(IMAGE_OF)
        ]
        results[f"low_res_{kind}"] = torch.cat([part[0][:, 0] for part in parts])
        results[f"scores_{kind}"] = torch.cat([part[1][:, 0] for part in parts])
    return results


if __name__ == "__main__":
    main()
