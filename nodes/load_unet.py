"""Load Domain UNet: a domain file becomes a MODEL that brings its own empty prompt."""

from __future__ import annotations

import folder_paths
from comfy_api.latest import io

from .comfy_host.domains.load_domain import WEIGHT_DTYPES, changed_at, load_domain_unet

FOLDER = "diffusion_models"


class DomainGuidanceLoadUNet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceLoadUNet",
            display_name="Load Domain UNet",
            category="domain guidance",
            description=(
                "Loads a domain file: the domain's UNet, the empty prompt it was trained with, and a card that "
                "records its training."
            ),
            search_aliases=["style model", "domain", "load domain", "text-free unet", "domain guidance loader"],
            inputs=[
                io.Combo.Input(
                    "unet_name",
                    options=folder_paths.get_filename_list(FOLDER),
                    tooltip="A domain file in models/diffusion_models or output/diffusion_models.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_DTYPES),
                    default="default",
                    optional=True,
                    advanced=True,
                    tooltip="How the weights are stored in memory; default is the file's own type. Use the same as "
                    "for the base model, or rounding differences become part of the guidance.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="domain_model", tooltip="The domain. Connect it to Apply Domain Guidance.")
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, unet_name: str, **_) -> float:
        """A domain that was trained further under its name is another input."""
        return changed_at(FOLDER, unet_name)

    @classmethod
    def execute(cls, unet_name: str, weight_dtype: str = "default") -> io.NodeOutput:
        return io.NodeOutput(load_domain_unet(FOLDER, unet_name, weight_dtype))
