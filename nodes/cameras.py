"""Generator Cameras: from where an EG3D generator's volume is looked at."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io

from ..domain_guidance.generators.eg3d.poses import Arrangement, Poses
from .finite_inputs import finite_inputs
from .generator_types import GeneratorCamerasIO


class DomainGuidanceCamera(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def degrees(name: str, default: float, most: float, tooltip: str) -> io.Float.Input:
            return io.Float.Input(name, default=default, min=-most, max=most, step=1.0, round=0.01, tooltip=tooltip)

        return io.Schema(
            node_id="DomainGuidanceCamera",
            display_name="Generator Cameras",
            category="domain guidance",
            description=(
                "Sets the cameras from which View Generator looks at a head: a single one, an orbit of frames, or a "
                "grid."
            ),
            search_aliases=["3d", "orbit", "turntable", "multi view", "camera pose", "eg3d camera"],
            inputs=[
                io.Combo.Input(
                    "arrangement",
                    options=list(get_args(Arrangement)),
                    default="orbit",
                    tooltip="one: a single camera. orbit: frames once around an ellipse, which play as a loop. grid: "
                    "rows and columns of cameras.",
                ),
                degrees(
                    "yaw", 0.0, 180.0, "Direction of the middle camera in degrees; positive moves it to the right."
                ),
                degrees(
                    "pitch",
                    -3.0,
                    85.0,
                    "Height of the middle camera in degrees; positive moves it down, so that it looks up. -3 looks "
                    "slightly from above.",
                ),
                degrees(
                    "yaw_range",
                    20.0,
                    180.0,
                    "orbit and grid: how far the cameras move to either side, in degrees. Face generators cover "
                    "about 20; far beyond that, heads become flat or fall apart.",
                ),
                degrees(
                    "pitch_range",
                    14.0,
                    85.0,
                    "orbit and grid: how far the cameras move up and down, in degrees. Face generators cover about 14.",
                ),
                io.Int.Input("count", default=24, min=1, max=4096, tooltip="orbit: number of frames once around."),
                io.Int.Input("columns", default=5, min=1, max=64, tooltip="grid: cameras from left to right."),
                io.Int.Input("rows", default=3, min=1, max=64, tooltip="grid: rows of cameras from top to bottom."),
            ],
            outputs=[
                GeneratorCamerasIO.Output(
                    display_name="cameras",
                    tooltip="For View Generator. For Project Image Into Generator, they say where your images were "
                    "taken from.",
                )
            ],
        )

    @classmethod
    @finite_inputs
    def execute(cls, arrangement, yaw, pitch, yaw_range, pitch_range, count, columns, rows) -> io.NodeOutput:
        return io.NodeOutput(Poses(arrangement, yaw, pitch, yaw_range, pitch_range, count, columns, rows))
