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
            category="model/merging",
            description=(
                "Writes a model with everything on it (LoRAs, merges) as a domain file into output/diffusion_models: "
                "its weights, its empty prompt and a card. An existing file is never overwritten."
            ),
            search_aliases=["domain guidance", "save domain", "convert checkpoint to domain"],
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="A fine-tuned checkpoint, a merge, or a base with a LoRA."),
                io.Clip.Input(
                    "clip", optional=True, tooltip="The model's text encoder; only the empty prompt is encoded with it."
                ),
                io.Conditioning.Input(
                    "empty_conditioning",
                    optional=True,
                    tooltip="Instead of clip: the encoded empty prompt. A model from Load Domain UNet needs neither.",
                ),
                io.Model.Input(
                    "base_model",
                    optional=True,
                    tooltip="The checkpoint that the model was trained from, so that the file can warn when it is "
                    "used on another. A base with a LoRA on it is its own.",
                ),
                io.String.Input("name", default="my domain", tooltip="Name of the file, without folders."),
            ],
            outputs=[io.String.Output(display_name="file_name", tooltip="As Load Domain UNet lists it.")],
        )

    @classmethod
    def execute(cls, model, name: str, clip=None, empty_conditioning=None, base_model=None) -> io.NodeOutput:
        return io.NodeOutput(save_domain(model, clip, empty_conditioning, base_model, name).name)
