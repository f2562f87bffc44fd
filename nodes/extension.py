"""The list of nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .adapt_generator import DomainGuidanceAdaptGenerator
from .apply import DomainGuidanceApply
from .blend_generators import DomainGuidanceBlendGenerators
from .cameras import DomainGuidanceCamera
from .comfy_host.domains.side_network import register_folder as register_side_networks
from .comfy_host.generators.folders import register_folder
from .comfy_host.said import register_messages
from .emoji_world import DomainGuidanceEmojiWorld
from .evaluate import DomainGuidanceEvaluate
from .generator_mesh import DomainGuidanceGeneratorMesh
from .invert_image import DomainGuidanceInvertImage
from .load_adapter import DomainGuidanceLoadAdapter
from .load_generator import DomainGuidanceLoadGenerator
from .load_side_network import DomainGuidanceLoadSideNetwork
from .load_unet import DomainGuidanceLoadUNet
from .mesh_views import DomainGuidanceMeshViews
from .paint_mesh import DomainGuidancePaintMesh
from .report import DomainGuidanceReport
from .sample_generator import DomainGuidanceSampleGenerator
from .save_generator import DomainGuidanceSaveGenerator
from .save_unet import DomainGuidanceSaveUNet
from .schedule import DomainGuidanceSchedule
from .sweep import DomainGuidanceSweep
from .synchronise_views import DomainGuidanceSynchroniseViews
from .term import DomainGuidanceTerm
from .toy_world import DomainGuidanceToyWorld
from .train import DomainGuidanceTrain
from .view_generator import DomainGuidanceViewGenerator


class DomainGuidanceExtension(ComfyExtension):
    async def on_load(self) -> None:
        register_folder()
        register_side_networks()
        register_messages()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            DomainGuidanceLoadUNet,
            DomainGuidanceLoadAdapter,
            DomainGuidanceLoadSideNetwork,
            DomainGuidanceApply,
            DomainGuidanceTerm,
            DomainGuidanceSchedule,
            DomainGuidanceReport,
            DomainGuidanceSweep,
            DomainGuidanceTrain,
            DomainGuidanceEvaluate,
            DomainGuidanceSaveUNet,
            DomainGuidanceEmojiWorld,
            DomainGuidanceToyWorld,
            DomainGuidanceLoadGenerator,
            DomainGuidanceAdaptGenerator,
            DomainGuidanceSampleGenerator,
            DomainGuidanceViewGenerator,
            DomainGuidanceCamera,
            DomainGuidanceGeneratorMesh,
            DomainGuidanceInvertImage,
            DomainGuidanceBlendGenerators,
            DomainGuidanceSaveGenerator,
            DomainGuidanceMeshViews,
            DomainGuidanceSynchroniseViews,
            DomainGuidancePaintMesh,
        ]


async def comfy_entrypoint() -> DomainGuidanceExtension:
    return DomainGuidanceExtension()
