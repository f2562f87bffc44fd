"""The VAE of a graph with a gradient: what a critic sees of a picture, and how the picture should change."""

from __future__ import annotations

import math

import comfy.ops
import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ....domain_guidance.domains.fingerprint import fingerprint
from ....domain_guidance.memory.frozen_gradient import frozen_gradient

# Of the memory that the host plans for an encoding: that much in work, and half as much kept for the gradient (measured
# for SD's).
GRAPH_SHARE = 1.5


class DifferentiableVae:
    """A second VAE with tensors of its own, in fp32, that a gradient can pass through.

    The weights that a node receives are inference tensors, which no gradient can pass. Make it outside inference mode,
    after `check_vae`. patcher: for the host to load it by; never a dynamic one, which may page a weight out between the
    forward and the backward pass.
    """

    def __init__(self, vae: comfy.sd.VAE):
        state = {name: _own(tensor) for name, tensor in vae.first_stage_model.state_dict().items()}
        self._vae = comfy.sd.VAE(sd=state, device=vae.device, dtype=torch.float32)
        if (
            type(self._vae.first_stage_model) is not type(vae.first_stage_model)
            or self._vae.latent_channels != vae.latent_channels
        ):
            raise ValueError(
                f"The VAE ({type(vae.first_stage_model).__name__}) cannot be rebuilt from its weights, which its "
                "gradient needs: connect the VAE of a checkpoint, or one from Load VAE."
            )
        network = self._vae.first_stage_model.requires_grad_(False)
        for module in network.modules():
            if isinstance(module, nn.SiLU):
                module.inplace = False  # an activation in place has to be copied for the gradient
        self.patcher = ModelPatcher(network, load_device=vae.device, offload_device=vae.patcher.offload_device)

    def settle(self) -> None:
        """Make what the host has loaded, in inference mode, differentiable and whole on its device.

        On a small device the host leaves weights off it and casts them at use. Such convolutions keep their inputs for
        the gradient, and without CUDA's own allocator one buffer takes all weights in turn, before the backward pass
        has read them.
        """
        for module in self.patcher.model.modules():
            parameters = {
                name: nn.Parameter(p.clone(), requires_grad=False)
                for name, p in module.named_parameters(recurse=False)
                if p.is_inference()
            }
            module._parameters.update(parameters)
            module._buffers.update(
                {name: buffer.clone() for name, buffer in module.named_buffers(recurse=False) if buffer.is_inference()}
            )
        self.patcher.partially_load(self.patcher.load_device, math.inf)

    def encode(self, pixels: Tensor) -> Tensor:
        """The posterior's mode [B, C, h, w] of pixels [B, 3, R, R] in [-1, 1].

        In the VAE's own scale, with a graph to the pixels.
        """
        with frozen_gradient(self._encoder, _is_plain):
            return self._vae.first_stage_model.encode(
                self._vae.process_input((pixels + 1) / 2).to(self._vae.device)
            ).float()

    @property
    def _encoder(self) -> nn.Module:
        """The part of the network that keeps most for its gradient.

        It is the encoder, under the name that the host's autoencoders have for it, or else the whole network.
        """
        network = self._vae.first_stage_model
        return next((part for name, part in network.named_children() if name == "encoder"), network)

    def memory(self, batch: int, resolution: int) -> int:
        """Bytes that an encoding keeps for its gradient."""
        return int(GRAPH_SHARE * batch * self._vae.memory_used_encode((1, 3, resolution, resolution), torch.float32))


def check_vae(vae: comfy.sd.VAE, channels: int) -> None:
    """Raises ValueError unless it makes latents of pictures with so many channels, the critic's."""
    if vae.first_stage_model is None:
        raise ValueError("The checkpoint contains no VAE: connect Load VAE with the model's VAE.")
    if vae.latent_dim != 2:
        raise ValueError(
            f"The VAE makes {vae.latent_dim}-dimensional latents, but images need 2-dimensional ones: connect an "
            "image VAE."
        )
    if vae.latent_channels != channels:
        raise ValueError(
            f"The VAE makes latents with {vae.latent_channels} channels, but the model works with {channels}: "
            "connect the VAE that belongs to the model."
        )


def vae_fingerprint(vae: comfy.sd.VAE) -> str:
    return f"{type(vae.first_stage_model).__name__} {fingerprint(vae.first_stage_model.state_dict())}"


def _is_plain(module: nn.Conv2d) -> bool:
    """Whether one of the host's convolutions has its weight on the device, so that nothing is done to it in use."""
    if type(module) is not comfy.ops.disable_weight_init.Conv2d:
        return False
    return not (module.comfy_cast_weights or module.weight_function or module.bias_function)


def _own(tensor: Tensor) -> Tensor:
    # With dynamic VRAM the host's loader keeps the tensors that it is given.
    return tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
