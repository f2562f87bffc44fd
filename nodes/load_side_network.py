"""Load Side Network: a domain of a few MB that costs a fraction of an evaluation."""

from __future__ import annotations

import folder_paths
from comfy_api.latest import io

from .comfy_host.domains.load_domain import changed_at
from .comfy_host.domains.side_network import FOLDER, load_side_network


class DomainGuidanceLoadSideNetwork(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceLoadSideNetwork",
            display_name="Load Side Network",
            category="domain guidance",
            description=(
                "A domain as a small network that corrects what your model has already answered, as the domain_model "
                "of Apply Domain Guidance: a few MB, and hardly slower than sampling without a domain."
            ),
            search_aliases=["domain", "load domain", "fast domain guidance", "side tuning", "side network"],
            inputs=[
                io.Model.Input("model", tooltip="The same checkpoint as at Apply Domain Guidance, in any precision."),
                io.Combo.Input(
                    "side_network",
                    options=folder_paths.get_filename_list(FOLDER),
                    tooltip="A side network in models/side_networks or output/side_networks, as Train Domain writes "
                    "it.",
                ),
            ],
            outputs=[io.Model.Output(display_name="domain_model", tooltip="Connect it to Apply Domain Guidance.")],
        )

    @classmethod
    def fingerprint_inputs(cls, side_network: str, **_) -> float:
        """A domain that was trained further under its name is another input."""
        return changed_at(FOLDER, side_network)

    @classmethod
    def execute(cls, model, side_network: str) -> io.NodeOutput:
        return io.NodeOutput(load_side_network(model, side_network))
