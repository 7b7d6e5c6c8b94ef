"""torch.compile, for the parts of a model whose shapes change little."""

from __future__ import annotations

from lisa.modeling import LisaModel


def compile_parts(model: LisaModel, backend: str = "inductor") -> None:
    """Compile, on first use, the blocks of both image encoders and the language model's MLPs; weights keep their names.

    Attention over packed rows is left out: its blocks have other sizes in every batch.
    """
    backbone = model.backbone
    mlps = [module for name, module in backbone.language_model.named_modules() if name.endswith(".mlp")]
    for module in [*backbone.tower_layers(), *model.sam.image_encoder.blocks, *mlps]:
        # The numbers of pictures and tokens differ from batch to batch.
        module.compile(dynamic=True, backend=backend)
