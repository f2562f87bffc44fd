"""Domain Guidance as a ComfyUI node pack. ComfyUI calls `comfy_entrypoint`; the library is in `domain_guidance/`."""

from .nodes.extension import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
