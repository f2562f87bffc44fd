"""The list of nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io
from typing_extensions import override

from .apply import DomainGuidanceApply
from .load_adapter import DomainGuidanceLoadAdapter
from .load_unet import DomainGuidanceLoadUNet
from .report import DomainGuidanceReport
from .save_unet import DomainGuidanceSaveUNet
from .schedule import DomainGuidanceSchedule
from .sweep import DomainGuidanceSweep
from .term import DomainGuidanceTerm
from .toy_world import DomainGuidanceToyWorld
from .train import DomainGuidanceTrain


class DomainGuidanceExtension(ComfyExtension):
    @override
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            DomainGuidanceLoadUNet,
            DomainGuidanceLoadAdapter,
            DomainGuidanceApply,
            DomainGuidanceTerm,
            DomainGuidanceSchedule,
            DomainGuidanceReport,
            DomainGuidanceSweep,
            DomainGuidanceTrain,
            DomainGuidanceSaveUNet,
            DomainGuidanceToyWorld,
        ]


async def comfy_entrypoint() -> DomainGuidanceExtension:
    return DomainGuidanceExtension()
