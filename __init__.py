"""Domain Guidance as a ComfyUI node pack. ComfyUI calls `comfy_entrypoint`; the library is in `domain_guidance/`."""

from .nodes.extension import comfy_entrypoint

WEB_DIRECTORY = "./web"  # ComfyUI shows docs/<node id>.md of it as the node's help

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
