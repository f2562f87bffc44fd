"""Paint Mesh From Views: a texture made from one picture of each view."""

from __future__ import annotations

import comfy.model_management
from comfy_api.latest import io
from torch import Tensor

from ..domain_guidance.meshes import paint
from .comfy_host.meshes.mesh import check_same, room_for, surface_of, with_texture
from .finite_inputs import finite_inputs
from .mesh_types import ViewsIO

TEXEL = 400  # bytes that a texel takes while it is painted (measured)


class DomainGuidancePaintMesh(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidancePaintMesh",
            display_name="Paint Mesh From Views",
            category="domain guidance",
            description="Paints the mesh's texture from one picture of each view, and fills what no view shows.",
            search_aliases=["3d", "project texture", "bake views", "texture a mesh", "multi view texture"],
            inputs=[
                io.Mesh.Input(
                    "mesh",
                    tooltip="The mesh that the views were made from, with texture coordinates (Unwrap Mesh UVs).",
                ),
                ViewsIO.Input("views", tooltip="From Views Of Mesh."),
                io.Image.Input("images", tooltip="One picture for each view, in the order of the views."),
                io.Int.Input(
                    "texture_size",
                    default=1024,
                    min=16,
                    max=8192,
                    step=8,
                    tooltip="Width and height of the texture, in pixels.",
                ),
                io.Float.Input(
                    "sharpness",
                    default=6.0,
                    min=0.0,
                    max=64.0,
                    step=0.5,
                    advanced=True,
                    tooltip="How strongly a view that faces the surface outweighs one that sees it at an angle. Low "
                    "values blend more, high values give sharper seams.",
                ),
            ],
            outputs=[
                io.Mesh.Output(display_name="mesh", tooltip="The painted mesh, for Save 3D Model."),
                io.Image.Output(display_name="texture", tooltip="The texture as a picture."),
                io.Mask.Output(
                    display_name="unseen",
                    tooltip="White where no view shows the surface, for inpainting the texture.",
                ),
            ],
        )

    @classmethod
    @finite_inputs
    def execute(cls, mesh, views, images, texture_size, sharpness=6.0) -> io.NodeOutput:
        surface = surface_of(mesh)
        check_same(surface, views)
        given, device = _checked(images), surface.vertices.device
        with room_for(texture_size**2 * TEXEL + 8 * given.nbytes, device, "lower texture_size"):
            interrupted = comfy.model_management.throw_exception_if_processing_interrupted
            painted = paint(
                surface, views.views, given.to(surface.vertices), texture_size, sharpness, check=interrupted
            )
        unseen = (painted.charted & ~painted.seen).float()
        return io.NodeOutput(with_texture(mesh, surface, painted.image), painted.image[None].cpu(), unseen[None].cpu())


def _checked(images: Tensor) -> Tensor:
    """The images' colours, [V, H, W, 3]. Raises ValueError for what no texture can be made of."""
    if images.ndim != 4 or images.shape[3] not in (3, 4):
        raise ValueError(
            f"The images have the shape {list(images.shape)}, but [views, height, width, 3] is expected: connect an "
            "IMAGE in colour."
        )
    if bad := int((~images.isfinite()).flatten(1).any(1).sum()):
        raise ValueError(
            f"{bad} of the {len(images)} images hold NaN or infinity, as a VAE in half precision may give: decode them "
            "in higher precision, or check what made them."
        )
    return images[..., :3]
