"""Load Domain Adapter: a domain of LoRA size, on the weights of the connected MODEL."""

from __future__ import annotations

import folder_paths
from comfy_api.latest import io

from .comfy_host.domains.load_adapter import load_domain_adapter
from .comfy_host.domains.load_domain import changed_at
from .finite_inputs import finite_inputs

FOLDER = "loras"


class DomainGuidanceLoadAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceLoadAdapter",
            display_name="Load Domain Adapter",
            category="domain guidance",
            description=(
                "Loads a domain adapter made by Train Domain, with its stored empty prompt, as the domain_model of "
                "Apply Domain Guidance. It runs on your model's weights, which are neither copied nor changed."
            ),
            search_aliases=["style lora", "domain", "load domain", "domain lora", "lora guidance", "adapter"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The same checkpoint as for Apply Domain Guidance, in any precision, before or after "
                    "your own LoRAs. Merges and fine-tunes of the adapter's base work, too.",
                ),
                io.Combo.Input(
                    "lora_name",
                    options=folder_paths.get_filename_list(FOLDER),
                    tooltip="A domain adapter in models/loras or output/loras.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    round=0.001,
                    optional=True,
                    advanced=True,
                    tooltip="Strength of the LoRA itself; 1 is as trained. How strongly the domain pulls is set by "
                    "weight in Apply Domain Guidance.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="domain_model", tooltip="The domain. Connect it to Apply Domain Guidance.")
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, lora_name: str, **_) -> float:
        """A domain that was trained further under its name is another input."""
        return changed_at(FOLDER, lora_name)

    @classmethod
    @finite_inputs
    def execute(cls, model, lora_name: str, strength: float = 1.0) -> io.NodeOutput:
        return io.NodeOutput(load_domain_adapter(model, FOLDER, lora_name, strength))
