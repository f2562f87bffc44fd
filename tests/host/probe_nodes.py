"""Nodes that only the tests have: seeded inputs, a capture for any output, a model that breaks on purpose."""

import torch


class AnyType(str):
    """A socket type that fits every other one."""

    def __ne__(self, other):
        return False


def seeded(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class ProbeCapture:
    """Hands a value to the test."""

    RETURN_TYPES = ()
    FUNCTION = "capture"
    OUTPUT_NODE = True
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (AnyType("*"),)}}

    @classmethod
    def IS_CHANGED(cls, **inputs):
        return float("nan")

    def capture(self, value):
        return {"ui": {"captured": [value]}}


class ProbeConditioning:
    """A seeded embedding [1, 77, dim] with pooled vector [1, pooled] if asked; seed 0 is 'the empty prompt' of all tests."""

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 0}), "dim": ("INT", {"default": 768}), "pooled": ("INT", {"default": 0})}}

    def make(self, seed, dim, pooled):
        return ([[seeded(seed, 1, 77, dim), {"pooled_output": seeded(seed + 1, 1, pooled)} if pooled else {}]],)


class ProbeLatent:
    """A seeded latent, or an empty one for seed -1."""

    RETURN_TYPES = ("LATENT",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        names = ("seed", "channels", "height", "width", "batch")
        return {"required": {name: ("INT", {"default": 4, "min": -1}) for name in names}}

    def make(self, seed, channels, height, width, batch):
        shape = (batch, channels, height, width)
        return ({"samples": torch.zeros(shape) if seed < 0 else seeded(seed, *shape)},)


class ProbeImage:
    """A seeded picture [1, height, width, 3] in 0..1."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {name: ("INT", {"default": 64}) for name in ("seed", "height", "width")}}

    def make(self, seed, height, width):
        return (torch.rand((1, height, width, 3), generator=torch.Generator().manual_seed(seed)),)


class ProbeHalfMask:
    """A mask [1, height, width] that is 1 on the left half."""

    RETURN_TYPES = ("MASK",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {name: ("INT", {"default": 64}) for name in ("height", "width")}}

    def make(self, height, width):
        mask = torch.zeros(1, height, width)
        mask[:, :, : width // 2] = 1.0
        return (mask,)


class ProbeBreak:
    """A clone of the model whose `call`-th evaluation raises, counted from 1."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "call": ("INT", {"default": 2})}}

    @classmethod
    def IS_CHANGED(cls, **inputs):
        return float("nan")

    def patch(self, model, call):
        calls = []

        def evaluate(apply_model, args):
            calls.append(1)
            if len(calls) == call:
                raise RuntimeError("broken on purpose")
            return apply_model(args["input"], args["timestep"], **args["c"])

        broken = model.clone()
        broken.set_model_unet_function_wrapper(evaluate)
        return (broken,)


class ProbeEditInPlace:
    """A pre-cfg function that halves the raw unconditional prediction where it lies."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def patch(self, model):
        def halve(args):
            args["conds_out"][1].mul_(0.5)
            return args["conds_out"]

        edited = model.clone()
        edited.set_model_sampler_pre_cfg_function(halve)
        return (edited,)


class ProbeClipVision:
    """A CLIP vision model of two layers with random weights."""

    RETURN_TYPES = ("CLIP_VISION",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        import mini_models

        return (mini_models.clip_vision(),)


NODES = {node.__name__: node for node in (
    ProbeCapture, ProbeConditioning, ProbeLatent, ProbeImage, ProbeHalfMask, ProbeBreak, ProbeEditInPlace,
    ProbeClipVision)}
