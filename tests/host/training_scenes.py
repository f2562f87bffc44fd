"""Small trainings in the real host: real handwriting as pictures, a tiny VAE, and the folders that `main.py`
registers.
"""

import json

import torch
from mini_models import FAMILIES, tiny_vae
from prompts import Graph
from safetensors.torch import save_file
from scenes import EMPTY, POSITIVE, Scene

# Two dozen pictures of one latent size: four of them are held out.
IMAGES, SIDE = 24, 64
SETTINGS = {
    "form": "adapter",
    "steps": 6,
    "learning_rate": 1e-3,
    "batch_size": 2,
    "rank": 4,
    "seed": 3,
    "resolution": SIDE,
    "preview_every": 0,
    "evaluate_every": 3,
    "checkpoint_every": 0,
    "on_existing": "resume",
    "gradient_checkpointing": False,
}


def handwriting(count=IMAGES, side=SIDE):
    """Scanned digits as an IMAGE [count, side, side, 3] in 0..1."""
    import pytest

    datasets = pytest.importorskip("sklearn.datasets", reason="the real images of these trainings are scikit-learn's")
    digits = torch.from_numpy(datasets.load_digits().images[:count] / 16).float()[:, None]
    return (
        torch.nn.functional.interpolate(digits, (side, side), mode="bilinear")
        .clamp(0, 1)
        .movedim(1, -1)
        .repeat(1, 1, 1, 3)
    )


class ProbeHandwriting:
    """The first pictures of the set, all alike for one set of inputs."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"count": ("INT", {"default": IMAGES}), "side": ("INT", {"default": SIDE})}}

    def make(self, count, side):
        return (handwriting(count, side),)


def register(base_directory):
    """What the host's `main.py` and these tests add to a process: the loaders' output folders and the probe."""
    import folder_paths

    import nodes

    nodes.NODE_CLASS_MAPPINGS["ProbeHandwriting"] = ProbeHandwriting
    for kind in ("diffusion_models", "loras"):
        folder = base_directory / "output" / kind
        folder.mkdir(parents=True, exist_ok=True)
        if str(folder) not in folder_paths.folder_names_and_paths[kind][0]:
            folder_paths.add_model_folder_path(kind, str(folder))


def vae_file(minis, channels):
    """vae/tiny_<channels>.safetensors: a tiny autoencoder for latents of so many channels."""
    from comfy.taesd.taesd import TAESD

    name = f"tiny_{channels}.safetensors"
    path = minis.root / "vae" / name
    if not path.exists():
        state = tiny_vae() if channels == 4 else _random_vae(TAESD(latent_channels=channels).state_dict())
        save_file(
            {key.removeprefix("first_stage_model."): tensor.contiguous() for key, tensor in state.items()}, str(path)
        )
    return name


def _random_vae(state):
    from mini_models import _random_like

    return {key: tensor for key, tensor in _random_like(state, 11).items() if tensor.dim() > 0} | {
        "vae_scale": torch.tensor(1.0),
        "vae_shift": torch.tensor(0.0),
    }


class Training:
    """A graph with one Train Domain node in it."""

    def __init__(self, minis, family="sd15", *, save_name, graph=None, model=None, vae=None, images=IMAGES, **changes):
        dim, pooled, channels, _ = FAMILIES[family]
        self.family, self.name, self.graph = family, save_name, Graph() if graph is None else graph
        self.form = changes.get("form", SETTINGS["form"])
        self.model = model or self.graph.add("UNETLoader", unet_name=minis.unet(family))
        self.vae = vae or self.graph.add("VAELoader", vae_name=vae_file(minis, channels))
        inputs = {
            "empty_conditioning": self.graph.add("ProbeConditioning", seed=EMPTY, dim=dim, pooled=pooled),
            **SETTINGS,
            **changes,
        }
        if images:
            inputs["images"] = self.graph.add("ProbeHandwriting", count=images)
        given = {name: value for name, value in inputs.items() if value is not None}
        self.node = self.graph.add("DomainGuidanceTrain", model=self.model, vae=self.vae, save_name=save_name, **given)

    def scene(self):
        """Prompts and a latent in the same graph, to sample with."""
        dim, pooled, channels, _ = FAMILIES[self.family]
        positive, negative = (
            self.graph.add("ProbeConditioning", seed=seed, dim=dim, pooled=pooled) for seed in (POSITIVE, EMPTY)
        )
        latent = self.graph.add("ProbeLatent", seed=-1, channels=channels, height=8, width=8, batch=1)
        return Scene(self.graph, self.family, self.model, positive, negative, latent)

    def loaded(self, file):
        """The result as the loaders read it."""
        if self.form == "adapter":
            return [self.graph.add("LoraLoaderModelOnly", model=self.model, lora_name=file, strength_model=1.0)]
        if self.form == "side-network":
            return [self.graph.add("DomainGuidanceLoadSideNetwork", model=self.model, side_network=file)]
        return [self.graph.add(loader, unet_name=file) for loader in ("DomainGuidanceLoadUNet", "UNETLoader")]

    @property
    def folder(self):
        return {"adapter": "loras", "side-network": "side_networks"}.get(self.form, "diffusion_models")


def result_of(training, base_directory):
    return base_directory / "output" / training.folder / f"{training.name}.safetensors"


def state_of(training, base_directory):
    return base_directory / "output" / training.folder / f"{training.name}.training" / "run.state"


def log_of(training, base_directory):
    path = state_of(training, base_directory).with_name("log.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def held_out(training, base_directory):
    """The held-out losses, in the order of the steps."""
    return [line["held_out"] for line in log_of(training, base_directory) if line["event"] == "evaluated"]
