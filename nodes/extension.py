"""The list of nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io
from typing_extensions import override

from .apply import DomainGuidanceApply
from .load_unet import DomainGuidanceLoadUNet
from .toy_world import DomainGuidanceToyWorld


class DomainGuidanceExtension(ComfyExtension):
    @override
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [DomainGuidanceLoadUNet, DomainGuidanceApply, DomainGuidanceToyWorld]


async def comfy_entrypoint() -> DomainGuidanceExtension:
    return DomainGuidanceExtension()
