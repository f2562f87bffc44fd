"""Synchronise Views: the views of one mesh are drawn as pictures of one thing."""

from __future__ import annotations

from comfy_api.latest import io

from .comfy_host.meshes.synchronise import synchronised
from .comfy_host.node_text import line_at
from .finite_inputs import finite_inputs
from .mesh_types import ViewsIO


class DomainGuidanceSynchroniseViews(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def moment(name: str, default: float, tooltip: str) -> io.Float.Input:
            return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.01, tooltip=tooltip)

        return io.Schema(
            node_id="DomainGuidanceSynchroniseViews",
            display_name="Synchronise Views",
            category="domain guidance",
            description="Makes the pictures of a batch agree wherever they show the same point of a mesh, while they "
            "are sampled. Put it anywhere between the checkpoint and the sampler.",
            search_aliases=["3d", "multi view consistency", "SyncMVD", "texture a mesh", "consistent views"],
            inputs=[
                io.Model.Input("model", tooltip="The model that draws the views."),
                ViewsIO.Input("views", tooltip="From Views Of Mesh. The empty latent needs one picture for each view."),
                moment(
                    "share", 1.0, "How much of the average over the views is mixed in at each step; 0 does nothing."
                ),
                moment("start", 0.0, "When it begins, as a share of the sampling: 0 is the first step."),
                moment(
                    "end", 1.0, "When it ends, as a share of the sampling. Lower values leave the fine detail alone."
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model; it draws the views as one thing.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @finite_inputs
    def execute(cls, model, views, share, start, end) -> io.NodeOutput:
        say = line_at(cls.hidden.unique_id)
        return io.NodeOutput(synchronised(model, views, share, start, end, say))
