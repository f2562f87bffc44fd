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
    """A seeded embedding [1, 77, dim] with pooled vector [1, pooled] if asked; seed 0 is 'the empty prompt' of all
    tests.
    """

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "seed": ("INT", {"default": 0}),
                "dim": ("INT", {"default": 768}),
                "pooled": ("INT", {"default": 0}),
            }
        }

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


class ProbeQuantised:
    """A UNet whose linear layers keep 8-bit integers and widen them when they compute, as GGUF loaders do."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "load"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"unet_name": ("STRING", {"default": ""})}}

    def load(self, unet_name):
        import comfy.ops
        import comfy.sd
        import folder_paths

        class Integers(comfy.ops.manual_cast):
            class Linear(comfy.ops.manual_cast.Linear):
                def _load_from_state_dict(self, state, prefix, *args):
                    weight, self.bias = state.pop(prefix + "weight"), None
                    if prefix + "bias" in state:
                        self.bias = torch.nn.Parameter(state.pop(prefix + "bias"), requires_grad=False)
                    self.weight = torch.nn.Parameter(integers(weight), requires_grad=False)

                def forward(self, x):
                    return torch.nn.functional.linear(x, widened(self.weight), self.bias)

        path = folder_paths.get_full_path_or_raise("diffusion_models", unet_name)
        return (comfy.sd.load_diffusion_model(path, model_options={"custom_operations": Integers}),)


INTEGER_SCALE = 1 / 256


def integers(weight):
    return (weight / INTEGER_SCALE).round().clamp(-127, 127).to(torch.int8)


def widened(weight):
    return weight.float() * INTEGER_SCALE


class ProbeLora:
    """A LORA_MODEL as the host's trainer gives it out: the tensors of a file in the loras folder."""

    RETURN_TYPES = ("LORA_MODEL",)
    FUNCTION = "read"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"lora_name": ("STRING", {"default": ""})}}

    def read(self, lora_name):
        import comfy.utils
        import folder_paths

        return (comfy.utils.load_torch_file(folder_paths.get_full_path_or_raise("loras", lora_name), safe_load=True),)


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


NODES = {
    node.__name__: node
    for node in (
        ProbeCapture,
        ProbeConditioning,
        ProbeLatent,
        ProbeImage,
        ProbeHalfMask,
        ProbeBreak,
        ProbeEditInPlace,
        ProbeQuantised,
        ProbeLora,
        ProbeClipVision,
    )
}
