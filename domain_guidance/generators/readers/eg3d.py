"""The pickles of EG3D: a dict of networks, like that of stylegan2-ada-pytorch.

Renderer and decoder are classes that pickle plainly. What no tensor tells is in attributes of G_ema: the options of the
rendering, and how many rays it was trained with in the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..eg3d.layout import Rendering, standard_eg3d
from ..errors import Refused
from .nvidia import Network, plain

CLASSES = (
    "training.triplane.OSGDecoder",
    "training.volumetric_rendering.renderer.ImportanceRenderer",
    "training.volumetric_rendering.ray_sampler.RaySampler",
    "training.volumetric_rendering.ray_marcher.MipRayMarcher2",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.activation.Softplus",
)
TABLE = {name: plain(name) for name in CLASSES}
# How many blocks of each super-resolution double their input; no shape tells. The two of eight times, which count from
# the 64 px that training begins with, differ in their widths alone.
ENLARGING = {
    "SuperresolutionHybrid8X": 2,
    "SuperresolutionHybrid8XDC": 2,
    "SuperresolutionHybrid4X": 1,
    "SuperresolutionHybrid2X": 1,
}
# Fields of Rendering, and others, by the file's names. What a file leaves out is as published.
_RENDERING = {
    "samples": "depth_resolution",
    "importance_samples": "depth_resolution_importance",
    "near": "ray_start",
    "far": "ray_end",
    "box": "box_warp",
    "white": "white_back",
}
_OTHERS = {
    "superresolution_noise": "superresolution_noise_mode",
    "decoder_rate": "decoder_lr_mul",
    "radius": "avg_camera_radius",
}
_WORDS = {int: "whole number", float: "number", bool: "yes or no", str: "word"}
_KINDS = {"samples": int, "importance_samples": int, "white": bool, "superresolution_noise": str}


def is_eg3d(network: Network) -> bool:
    return network.modules[""].class_name == "TriPlaneGenerator" or "backbone." in network.modules


def told(network: Network) -> dict[str, Any]:
    """What `infer_eg3d` is told of a generator.

    Raises Refused for one that is rendered in another way than the published ones.
    """
    options = network.modules[""].state.get("rendering_kwargs")
    if not isinstance(options, dict):
        raise Refused("it is an EG3D generator without options of its rendering, 'rendering_kwargs'")
    _check_kind(network, options)
    try:
        settings = {
            "rendering": Rendering(**_resolution(network), **_read(options, _RENDERING)),
            **_read(options, _OTHERS),
            **_pivot(options),
            "camera_scale": _camera_scale(options),
            "superresolution_clamp": network.conv_clamp("superresolution."),
            "superresolution_doublings": ENLARGING[network.modules["superresolution."].class_name],
        }
        standard_eg3d(**settings)  # which checks them
    except Refused:
        raise
    except ValueError as error:
        raise Refused(f"an option of its rendering cannot be: {str(error).removesuffix('.')}") from error
    return {**settings, "conv_clamp": network.conv_clamp("backbone.")}


def _check_kind(network: Network, options: Mapping[str, Any]) -> None:
    enlarging = network.modules.get("superresolution.")
    kind = enlarging.class_name if enlarging else "none"
    if kind not in ENLARGING:
        raise Refused(f"its super-resolution is {kind!r:.60}, expected one of EG3D's, {', '.join(ENLARGING)}")
    if options.get("disparity_space_sampling") or options.get("clamp_mode", "softplus") != "softplus":
        raise Refused(
            "it is an EG3D generator that samples in disparity or clamps its density otherwise, which is not known here"
        )


def _resolution(network: Network) -> dict[str, int]:
    value = network.modules[""].state.get("neural_rendering_resolution")
    return {} if value is None else {"resolution": _checked("neural_rendering_resolution", value, int)}


def _read(options: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        field: _checked(name, options[name], _KINDS.get(field, float))
        for field, name in names.items()
        if options.get(name) is not None
    }


def _camera_scale(options: Mapping[str, Any]) -> float:
    """0 for a file that gives none, as the format's own loader has it."""
    return 0.0 if options.get("c_gen_conditioning_zero") else _checked("c_scale", options.get("c_scale", 0), float)


def _pivot(options: Mapping[str, Any]) -> dict[str, tuple]:
    pivot = options.get("avg_camera_pivot")
    if pivot is None:
        return {}
    if not isinstance(pivot, (list, tuple)) or len(pivot) != 3:
        raise Refused("its option 'avg_camera_pivot' is no list of three numbers")
    return {"pivot": tuple(_checked("avg_camera_pivot", number, float) for number in pivot)}


def _checked(name: str, value: Any, kind: type) -> Any:
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    if type(value) is not kind or (kind is int and abs(value) >= 2**53):
        raise Refused(f"its option '{name}' is not the {_WORDS[kind]} that published generators have there")
    return value
