"""Domain Guidance Term: any condition of any model as one more guidance."""

from __future__ import annotations

from comfy_api.latest import io

from .comfy_host.guidance.apply import apply_term
from .comfy_host.node_text import line_at
from .finite_inputs import finite_inputs
from .guidance_inputs import shaping_inputs


class DomainGuidanceTerm(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceTerm",
            display_name="Domain Guidance Term",
            category="domain guidance",
            description=(
                "Adds one more guidance term alongside cfg and domains: another prompt, a ControlNet with its own "
                "weight, another model, or the difference between two prompts. Chain it with Apply Domain Guidance "
                "in any order."
            ),
            search_aliases=[
                "guidance term",
                "composable diffusion",
                "negative guidance",
                "contrastive",
                "slider",
                "compose",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model that your prompt, LoRAs and ControlNets apply to."),
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="The prompt that the term pulls towards, with or without a ControlNet. To limit it to "
                    "part of the image, use mask.",
                ),
                io.Float.Input(
                    "weight",
                    default=1.0,
                    min=-20.0,
                    max=20.0,
                    step=0.05,
                    round=0.001,
                    tooltip="How strongly the term pulls; 0 changes nothing, negative values push away. It adds to "
                    "cfg: keep the sum of cfg and all weights below 8.",
                ),
                io.Model.Input(
                    "term_model",
                    optional=True,
                    tooltip="The model that reads conditioning: another checkpoint, a domain, or this checkpoint "
                    "with a LoRA on it, which needs no second UNet. Without it, model itself.",
                ),
                io.Conditioning.Input(
                    "minus",
                    optional=True,
                    tooltip="The prompt to subtract, read by the same model, so that only the difference between "
                    "the two prompts acts. Without it, the sampler's negative prompt is subtracted, as in cfg, or "
                    "the stored empty prompt if term_model is a domain file.",
                ),
                io.Model.Input(
                    "reference_model",
                    optional=True,
                    tooltip="The model whose prediction is subtracted. Without it, model; with minus, the one that "
                    "reads conditioning.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the term acts: fully where the mask is white, not at all where it is black. Any "
                    "size with the image's aspect ratio.",
                ),
                *shaping_inputs("term"),
            ],
            outputs=[io.Model.Output(tooltip="The model with one more term. Connect it to any sampler or guider.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @finite_inputs
    def execute(cls, model, conditioning, weight, **settings) -> io.NodeOutput:
        return io.NodeOutput(apply_term(model, conditioning, weight, say=line_at(cls.hidden.unique_id), **settings))
