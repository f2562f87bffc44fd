"""Save Domain UNet: any model becomes a domain file."""

from __future__ import annotations

from comfy_api.latest import io

from .comfy_host.domains.save_domain import save_domain


class DomainGuidanceSaveUNet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceSaveUNet",
            display_name="Save Domain UNet",
            category="domain guidance",
            description=(
                "Saves a model, with everything applied to it (LoRAs, merges), as a domain file in "
                "output/diffusion_models: its weights, its empty prompt and a card. Existing files are never "
                "overwritten."
            ),
            search_aliases=["export domain", "domain guidance", "save domain", "convert checkpoint to domain"],
            is_output_node=True,
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model to save: a fine-tuned checkpoint, a merge, or a base with a LoRA. Everything "
                    "applied to it is baked in.",
                ),
                io.Clip.Input(
                    "clip", optional=True, tooltip="The model's text encoder, used only to encode the empty prompt."
                ),
                io.Conditioning.Input(
                    "empty_conditioning",
                    optional=True,
                    tooltip="Instead of clip: the encoded empty prompt (CLIP Text Encode with no text). A model "
                    "from Load Domain UNet needs neither.",
                ),
                io.Model.Input(
                    "base_model",
                    optional=True,
                    tooltip="The checkpoint that the model was trained from, so that the file can warn when it is "
                    "used with another one. Not needed for a base with a LoRA on it.",
                ),
                io.String.Input(
                    "name",
                    default="my domain",
                    tooltip="File name without folders or extension. If it exists already, the new file becomes "
                    "name-2.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="file_name",
                    tooltip="Name of the file in output/diffusion_models, as Load Domain UNet lists it after a "
                    "refresh (R).",
                )
            ],
        )

    @classmethod
    def execute(cls, model, name: str, clip=None, empty_conditioning=None, base_model=None) -> io.NodeOutput:
        return io.NodeOutput(save_domain(model, clip, empty_conditioning, base_model, name).name)
