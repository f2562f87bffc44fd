"""Domain Guidance Term: any condition of any model as one more guidance."""

from __future__ import annotations

from comfy_api.latest import io

from .comfy_host.guidance.apply import apply_term
from .guidance_inputs import shaping_inputs


class DomainGuidanceTerm(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceTerm",
            display_name="Domain Guidance Term",
            category="model/patch",
            description=(
                "One more guidance beside cfg and domains: another prompt, a ControlNet with a weight of its own, "
                "another model, or the difference of two prompts. Chain it with Apply Domain Guidance, in any order."
            ),
            search_aliases=[
                "domain",
                "guidance term",
                "composable diffusion",
                "negative guidance",
                "contrastive",
                "slider",
                "compose",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model that your prompt, LoRAs and ControlNets work on."),
                io.Conditioning.Input(
                    "conditioning",
                    tooltip="What the term draws towards: a prompt, with a ControlNet or not. For a part of the "
                    "picture use mask.",
                ),
                io.Float.Input(
                    "weight",
                    default=1.0,
                    min=-20.0,
                    max=20.0,
                    step=0.05,
                    round=0.001,
                    tooltip="How strongly the term pulls; 0 changes nothing, negative pushes away. It adds to "
                    "cfg: usual is a sum up to 8.",
                ),
                io.Model.Input(
                    "term_model",
                    optional=True,
                    tooltip="The model that reads conditioning: another checkpoint, a domain, or this checkpoint with "
                    "a LoRA. Without it, model itself.",
                ),
                io.Conditioning.Input(
                    "minus",
                    optional=True,
                    tooltip="The opposite of conditioning: the term is then the difference of the two prompts, both "
                    "read by the same model. Without it the sampler's negative prompt is subtracted, as cfg "
                    "does, or the empty prompt that a domain file as term_model brings.",
                ),
                io.Model.Input(
                    "reference_model",
                    optional=True,
                    tooltip="Whose prediction is subtracted, if not model's. With minus: if not the one that "
                    "reads conditioning.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="Where the term acts: white fully, black not at all."),
                *shaping_inputs("term"),
            ],
            outputs=[io.Model.Output(tooltip="The model with one more term; connect it to any sampler or guider.")],
        )

    @classmethod
    def execute(cls, model, conditioning, weight, **settings) -> io.NodeOutput:
        return io.NodeOutput(apply_term(model, conditioning, weight, **settings))
