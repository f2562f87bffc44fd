"""Views Of Mesh: cameras round a mesh, and what they see of it."""

from __future__ import annotations

from math import radians

import comfy.model_management
from comfy_api.latest import io

from ..domain_guidance.meshes import ARRANGEMENTS, arrange, depth_pictures, draw_views, normal_pictures
from .comfy_host.meshes.mesh import MeshViews, room_for, surface_of
from .finite_inputs import finite_inputs
from .mesh_types import ViewsIO

PIXEL = 80  # bytes that a pixel of the views takes: its triangle, the place in it, depth and normal


class DomainGuidanceMeshViews(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceMeshViews",
            display_name="Views Of Mesh",
            category="domain guidance",
            description="Looks at a mesh from all sides. The depth pictures guide a ControlNet, and the views go to "
            "Synchronise Views and Paint Mesh From Views.",
            search_aliases=["3d", "multi view", "mesh cameras", "depth from mesh", "texture a mesh", "turntable"],
            inputs=[
                io.Mesh.Input("mesh", tooltip="The mesh to look at."),
                io.Combo.Input(
                    "arrangement",
                    options=list(ARRANGEMENTS),
                    default="ring, top and bottom",
                    tooltip="Where the cameras stand. Rings start at the front; two rings look from above and below.",
                ),
                io.Int.Input(
                    "count", default=4, min=1, max=64, tooltip="How many cameras each ring has, evenly spaced."
                ),
                io.Int.Input("width", default=512, min=16, max=4096, step=8, tooltip="Width of each view, in pixels."),
                io.Int.Input(
                    "height", default=512, min=16, max=4096, step=8, tooltip="Height of each view, in pixels."
                ),
                io.Float.Input(
                    "field_of_view",
                    default=40.0,
                    min=1.0,
                    max=120.0,
                    step=1.0,
                    advanced=True,
                    tooltip="Vertical angle of the lens, in degrees. Small angles show the mesh with less perspective.",
                ),
            ],
            outputs=[
                ViewsIO.Output(display_name="views", tooltip="For Synchronise Views and Paint Mesh From Views."),
                io.Image.Output(
                    display_name="depth", tooltip="One picture for each view: near is white, the background is black."
                ),
                io.Image.Output(
                    display_name="normals", tooltip="Surface directions: red is right, green up, blue to the viewer."
                ),
                io.Mask.Output(display_name="masks", tooltip="White where the view shows the mesh."),
                io.Int.Output(
                    display_name="view_count", tooltip="How many views there are: the batch_size of the empty latent."
                ),
            ],
        )

    @classmethod
    @finite_inputs
    def execute(cls, mesh, arrangement, count, width, height, field_of_view=40.0) -> io.NodeOutput:
        surface = surface_of(mesh)
        views = arrange(
            surface, arrangement, count=count, field_of_view=radians(field_of_view), height=height, width=width
        )
        device = surface.vertices.device
        with room_for(len(views) * width * height * PIXEL, device, "lower count, or the views' width and height"):
            drawn = draw_views(surface, views, comfy.model_management.throw_exception_if_processing_interrupted)
            depth = depth_pictures(drawn)
            return io.NodeOutput(
                MeshViews(surface, views),
                depth[..., None].expand(-1, -1, -1, 3).cpu(),
                normal_pictures(surface, views, drawn).cpu(),
                depth.gt(0).float().cpu(),
                len(views),
            )
