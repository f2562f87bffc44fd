"""Taking the text out of a UNet: every cross-attention becomes one constant vector (arXiv 2312.08195).

Works on every torch UNet whose cross-attentions are modules called `attn2` with `to_q`, `to_k`, `to_v` and `to_out[0]`:
diffusers' and ComfyUI's alike, and on the state dict of either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..diffusion.double_precision import in_double

VALUES, BIAS = "to_v.weight", "to_out.0.bias"
# Read by nothing once the values are zero; they stay the base's, for adapters that add their own values (our choice).
FROZEN = ("to_q.", "to_k.", "to_v.", "to_out.0.weight")


@dataclass(frozen=True)
class ConstantEstimate:
    """One cross-attention's mean output for the empty prompt.

    constant: [C], in fp32. residual: root mean square of what the constant misses, as a share of the output's own.
    """

    constant: Tensor
    residual: float


def cross_attentions(unet: nn.Module) -> dict[str, nn.Module]:
    """The UNet's cross-attentions by module name. Raises ValueError if it has none."""
    found = {name: module for name, module in unet.named_modules() if is_cross_attention(name, module)}
    if not found:
        raise ValueError(
            f"{type(unet).__name__} has no cross-attention called attn2, so there is no text to take out: "
            "train this model with its empty prompt as a constant input instead."
        )
    return found


def is_cross_attention(name: str, module: nn.Module) -> bool:
    """Whether the module of this name makes its keys and values of the text, and not of the picture.

    The second self-attention of SD 3.5's blocks is called attn2 as well; it has one matrix for all three.
    """
    return name.rpartition(".")[2] == "attn2" and all(hasattr(module, part) for part in ("to_q", "to_k", "to_v"))


@torch.no_grad()
def measure_constants(
    unet_call: Callable[..., object], attn2_modules: Mapping[str, nn.Module], batches: Iterable[tuple]
) -> dict[str, ConstantEstimate]:
    """Average every cross-attention's output over images, tokens and noise levels.

    batches: the arguments of each `unet_call`, with the empty prompt in them. The paper measures in one call; several
    noise levels and real latents of the domain are our choice, and the residual says how good a constant can be.
    """
    meters = {name: _Meter() for name in attn2_modules}
    with ExitStack() as hooks:
        for name, module in attn2_modules.items():
            hooks.callback(module.register_forward_hook(meters[name].see).remove)
        for batch in batches:
            unet_call(*batch)
    unseen = [name for name, meter in meters.items() if not meter.count]
    if unseen:
        raise ValueError(
            f"{len(unseen)} cross-attentions never ran (the first is '{unseen[0]}'): give at least one batch."
        )
    return {name: meter.estimate() for name, meter in meters.items()}


def norm_before(unet: nn.Module, attention: str) -> nn.Module:
    """The norm in front of the cross-attention of this name."""
    return unet.get_submodule(f"{attention.rpartition('.')[0]}.norm2")


def make_text_free(state: Mapping[str, Tensor], constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with the text taken out, in the layout it came in: values 0, output bias = constant [C].

    constants: for every cross-attention, by its module name in `state`. Zero values rather than a zero output matrix,
    so that what an adapter adds inside the attention still passes through it.
    """
    wanted = {key.removesuffix(f".{VALUES}") for key in state if key.endswith(f"attn2.{VALUES}")}
    if wanted != set(constants):
        odd = sorted(wanted ^ set(constants))
        raise ValueError(
            f"The weights have {len(wanted)} cross-attentions and there are {len(constants)} constants, which differ "
            f"at '{odd[0]}': measure the constants on these weights, and name them in the same layout."
        )
    changed = dict(state)
    for name, constant in constants.items():
        values, bias = state[f"{name}.{VALUES}"], state[f"{name}.{BIAS}"]
        changed[f"{name}.{VALUES}"] = torch.zeros_like(values)
        changed[f"{name}.{BIAS}"] = constant.to(bias)
    return changed


def freeze_text_path(unet: nn.Module) -> None:
    """Freeze what a text-free UNet no longer uses: the attention's matrices and the norm before it.

    The constant itself, `to_out.0.bias`, stays trainable, and so does the rest of the UNet.
    """
    for name, attention in cross_attentions(unet).items():
        for parameter_name, parameter in attention.named_parameters():
            if parameter_name.startswith(FROZEN):
                parameter.requires_grad_(False)
        norm_before(unet, name).requires_grad_(False)


@contextmanager
def cross_attention_skipped(unet: nn.Module) -> Iterator[None]:
    """Within the block every cross-attention returns its output bias and computes nothing, nor does the norm before it.

    Equal to the text-free weights in value and in the constant's gradient, at no attention cost. For training only: at
    sampling it would also skip what adapters put into the attention.
    """
    attentions = cross_attentions(unet)
    norms = [norm_before(unet, name) for name in attentions]
    try:
        for attention, norm in zip(attentions.values(), norms):
            attention.forward, norm.forward = _constant_of(attention), _unchanged
        yield
    finally:
        for module in (*attentions.values(), *norms):
            vars(module).pop("forward", None)


def _constant_of(attention: nn.Module) -> Callable[..., Tensor]:
    def constant(tokens: Tensor, *_, **__) -> Tensor:
        return attention.get_parameter(BIAS).to(tokens.dtype).expand(*tokens.shape[:2], -1)

    return constant


def _unchanged(tokens: Tensor, *_, **__) -> Tensor:
    return tokens


class _Meter:
    """Sums of one module's output [B, N, C] and of its square, in fp64."""

    def __init__(self):
        self.count, self.power = 0, 0.0
        self.total = torch.zeros((), dtype=torch.float64)
        self.answers = torch.empty(0)  # has the device that the estimate goes to

    def see(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        rows, self.answers = in_double(output.flatten(0, -2)), output.new_empty(0, dtype=torch.float32)
        self.count += len(rows)
        self.total = self.total.to(rows) + rows.sum(0)
        self.power += rows.square().sum().item()

    def estimate(self) -> ConstantEstimate:
        mean = self.total / self.count
        missed = max(0.0, self.power - self.count * mean.square().sum().item())
        return ConstantEstimate(mean.to(self.answers), (missed / self.power) ** 0.5 if self.power else 0.0)
