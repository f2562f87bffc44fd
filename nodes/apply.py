"""Apply Domain Guidance: one more term for whatever sampler the MODEL reaches."""

from __future__ import annotations

from comfy_api.latest import io

from .comfy_host.guidance.apply import apply_domain
from .comfy_host.node_text import line_at
from .finite_inputs import finite_inputs
from .guidance_inputs import shaping_inputs


class DomainGuidanceApply(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceApply",
            display_name="Apply Domain Guidance",
            category="domain guidance",
            description=(
                "Gives whatever the sampler draws the look of a domain, at a weight you choose, alongside prompt, "
                "ControlNet, IP-Adapter and LoRA. Place it between checkpoint and sampler; chain several for "
                "several domains."
            ),
            search_aliases=[
                "style",
                "look",
                "style transfer",
                "my style",
                "domain",
                "style guidance",
                "text-free",
                "image is all you need",
                "DoG",
                "fine-tune guidance",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The model that your prompt, LoRAs and ControlNets apply to."),
                io.Model.Input(
                    "domain_model",
                    tooltip="The domain: from Load Domain UNet, Load Domain Adapter or Load Side Network, a fine-tuned "
                    "checkpoint, or this checkpoint with a LoRA on it.",
                ),
                io.Float.Input(
                    "weight",
                    default=1.5,
                    min=-20.0,
                    max=20.0,
                    step=0.05,
                    round=0.001,
                    tooltip="How strongly the domain pulls: 1 to 2.5 is usual, with cfg 3 to 4. 0 changes nothing; "
                    "negative values push away from the domain. Keep cfg + weight below 8.",
                ),
                io.Conditioning.Input(
                    "domain_conditioning",
                    optional=True,
                    tooltip="The empty prompt (CLIP Text Encode with no text), only needed if domain_model has no "
                    "stored empty prompt. Domain files and domain adapters have one.",
                ),
                io.Model.Input(
                    "reference_model",
                    optional=True,
                    tooltip="The checkpoint that the domain was trained from, if it is not the one connected to "
                    "model. Its prediction is subtracted, so that only the domain remains.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the domain acts: fully where the mask is white, not at all where it is black. "
                    "Any size with the image's aspect ratio.",
                ),
                io.Combo.Input(
                    "reference",
                    options=["auto", "empty", "negative", "prompt", "fast"],
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="The prediction to subtract. auto and empty: the one on the empty prompt, which costs "
                    "nothing extra if your negative prompt is empty. negative: the one on your negative prompt; "
                    "faster if that is not empty, but it then leaks into the domain. prompt: domain and base both "
                    "read your positive prompt; for distilled models at cfg 1 with a domain adapter, where weight 1 "
                    "equals the plain LoRA. fast: nothing is subtracted, and nothing costs extra. Only for domain "
                    "adapters and LoRAs, which then act on your prompt but not on the negative; weight is their "
                    "strength; begin with 0.75. Your prompt is followed a little less, and mask, projection and "
                    "norm_cap are not available. With a side network, reference chooses the prediction that it "
                    "corrects. auto: the one on the empty prompt where the sampler makes it, else the one on your "
                    "prompt. prompt: always the one on your prompt, which comes closer to the domain in our tests. "
                    "Neither costs anything extra, unless reference_model is connected.",
                ),
                *shaping_inputs("domain"),
            ],
            outputs=[io.Model.Output(tooltip="The model with domain guidance. Connect it to any sampler or guider.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @finite_inputs
    def execute(cls, model, domain_model, weight, **settings) -> io.NodeOutput:
        return io.NodeOutput(apply_domain(model, domain_model, weight, say=line_at(cls.hidden.unique_id), **settings))
