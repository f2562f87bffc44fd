"""Apply Domain Guidance: one more term for whatever sampler the MODEL reaches."""

from __future__ import annotations

from comfy_api.latest import io

from .comfy_host.guidance.apply import apply_domain
from .guidance_inputs import shaping_inputs


class DomainGuidanceApply(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceApply",
            display_name="Apply Domain Guidance",
            category="model/patch",
            description=(
                "Draws in the domain of domain_model, at a weight of your choice, beside prompt, ControlNet, "
                "IP-Adapter and LoRA. Put it between the checkpoint and the sampler; chain it for several domains."
            ),
            search_aliases=[
                "domain",
                "style guidance",
                "text-free",
                "image is all you need",
                "DoG",
                "fine-tune guidance",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model that your prompt, LoRAs and ControlNets work on."),
                io.Model.Input(
                    "domain_model",
                    tooltip="The domain: from Load Domain UNet or Load Domain Adapter, a fine-tuned checkpoint, "
                    "or this checkpoint with a LoRA.",
                ),
                io.Float.Input(
                    "weight",
                    default=1.5,
                    min=-20.0,
                    max=20.0,
                    step=0.05,
                    round=0.001,
                    tooltip="How strongly the domain pulls; 0 changes nothing, negative pushes away. Usual: 1 to "
                    "2.5, with cfg 3.",
                ),
                io.Conditioning.Input(
                    "domain_conditioning",
                    optional=True,
                    tooltip="The empty prompt (CLIP Text Encode with no text) for a domain model that brings none. "
                    "A domain file brings its own.",
                ),
                io.Model.Input(
                    "reference_model",
                    optional=True,
                    tooltip="The checkpoint that the domain was trained from, if it is not model itself. "
                    "Its prediction is subtracted, so that only the domain remains.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="Where the domain acts: white fully, black not at all."),
                io.Combo.Input(
                    "reference",
                    options=["auto", "empty", "negative", "prompt"],
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="What is subtracted. auto: the empty prompt, free where your negative prompt is empty. "
                    "empty: the same. negative: always your negative prompt; faster, but an unusual negative "
                    "prompt then leaks into the domain. prompt: domain and base both read your positive "
                    "prompt; for distilled models at cfg 1 with a domain adapter, where weight 1 is the plain "
                    "LoRA.",
                ),
                *shaping_inputs("domain"),
            ],
            outputs=[
                io.Model.Output(tooltip="The model with the domain's guidance; connect it to any sampler or guider.")
            ],
        )

    @classmethod
    def execute(cls, model, domain_model, weight, **settings) -> io.NodeOutput:
        return io.NodeOutput(apply_domain(model, domain_model, weight, **settings))
