"""Decoupled domain guidance for diffusion models, and the training of the text-free domain UNets behind it.

The library knows no host. It speaks to one small protocol, `diffusion.denoiser.Denoiser`, which ComfyUI (in `nodes/`)
and diffusers (in `diffusers_host`) both fulfil.
"""

__version__ = "0.1.0"
