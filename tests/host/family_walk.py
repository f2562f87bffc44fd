"""One family's models, prompts and sampling, for the tests that walk over the families."""

import families
import pytest
import torch
from families import MINIS

CLOSE = 5e-6
# Its last step is the denoised prediction as it is; Euler's takes it from a latent that may be a thousand times larger.
SAMPLER = "dpmpp_2m"


class Walk:
    """One family's models and prompts, and the pack's own parts for them."""

    def __init__(self, host, folder, name):
        if not families.is_known(name):
            pytest.skip("this ComfyUI does not know the family")
        self.library, self.folder, self.name, self.mini = host.library, folder, name, MINIS[name]

    def load(self, seed=0, change=None):
        import comfy.sd

        path = self.folder / f"{len(list(self.folder.iterdir()))}.safetensors"
        families.write(path, self.name, seed, change)
        return comfy.sd.load_diffusion_model(str(path))

    def guide(self, model, domain, weight, **settings):
        apply = self.library("nodes.comfy_host.guidance.apply").apply_domain
        return apply(model, domain, weight, domain_conditioning=self.mini.empty(), **settings)

    def sample(self, model, positive=None, cfg=3.0, steps=1, count=2, latent=None):
        import comfy.sample

        latent = self.latent(count) if latent is None else latent
        noise = comfy.sample.prepare_noise(latent, 5)
        prompt = self.mini.prompt(3) if positive is None else positive
        with torch.inference_mode():
            result = comfy.sample.sample(
                model,
                noise,
                steps,
                cfg,
                SAMPLER,
                "simple",
                prompt,
                self.mini.empty(),
                latent,
                disable_pbar=True,
                seed=5,
            )
        return torch.cat([part.flatten() for part in result.unbind()]) if result.is_nested else result

    def run(self, model, function, positive, cfg):
        """Four noise levels through a sampler of the host. function: as k-diffusion's, (model, x, sigmas) -> x."""
        import comfy.sample
        import comfy.samplers

        latent = self.latent(2)
        sampling = model.get_model_object("model_sampling")
        with torch.inference_mode():
            comfy.sample.sample_custom(
                model,
                comfy.sample.prepare_noise(latent, 5),
                cfg,
                comfy.samplers.KSAMPLER(function),
                comfy.samplers.calculate_sigmas(sampling, "simple", 4),
                positive,
                self.mini.empty(),
                latent,
                disable_pbar=True,
                seed=5,
            )

    def steps(self, model, positive, cfg):
        """[(x, sigma, denoised)] of an Euler sampler."""
        seen = []

        def euler(denoise, x, sigmas, extra_args, **_):
            for sigma, following in zip(sigmas, sigmas[1:]):
                denoised = denoise(x, sigma.expand(len(x)), **extra_args)
                seen.append((x, sigma, denoised))
                x = x + (x - denoised) / sigma * (following - sigma)
            return x

        self.run(model, euler, positive, cfg)
        return seen

    def answers(self, model, positive, cfg, steps):
        """[denoised]: what a model says of the latents and levels of `steps`, each alone."""
        said = []

        def ask(denoise, x, sigmas, extra_args, **_):
            said.extend(denoise(seen, sigma.expand(len(seen)), **extra_args) for seen, sigma, _ in steps)
            return x

        self.run(model, ask, positive, cfg)
        return said

    def pictures(self, model):
        """What is sampled without the sound beside it."""
        sampled, shape = self.sample(model), (2, *self.mini.latent)
        return sampled[: torch.Size(shape).numel()].reshape(shape) if self.mini.sound else sampled

    def cells(self, mask):
        """A mask [h, w] over what is sampled: all of the sound beside pictures is within it."""
        import comfy.utils

        pictures = mask.expand(2, *self.mini.latent)
        return comfy.utils.pack_latents([pictures, torch.ones(2, *self.mini.sound)])[0] if self.mini.sound else pictures

    def latent(self, count):
        return self.mini.make_latent(count)


def close(a, b):
    return _distance(a, b) <= CLOSE


def _distance(a, b):
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))


def loaded(walk, base, path, form):
    """The file as the pack's loader reads it, and as the host's own does."""
    import comfy.sd
    import comfy.utils
    import folder_paths

    folder = "loras" if form == "adapter" else "diffusion_models"
    folder_paths.add_model_folder_path(folder, str(walk.folder))
    try:
        if form == "adapter":
            lora = comfy.utils.load_torch_file(str(path))
            load = walk.library("nodes.comfy_host.domains.load_adapter").load_domain_adapter
            return load(base, folder, path.name), comfy.sd.load_lora_for_models(base, None, lora, 1.0, 0)[0]
        load = walk.library("nodes.comfy_host.domains.load_domain").load_domain_unet
        return load(folder, path.name), comfy.sd.load_diffusion_model(str(path))
    finally:
        folder_paths.folder_names_and_paths[folder][0].remove(str(walk.folder))
        folder_paths.filename_list_cache.pop(folder, None)


def same_network(ours, stock):
    mine, theirs = ours.model.diffusion_model.state_dict(), stock.model.diffusion_model.state_dict()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert ours.patches.keys() == stock.patches.keys()


def same_prompt(kept, expected):
    [[embedding, beside]], [[ours, rest]] = expected, kept
    assert torch.equal(embedding, ours)
    assert all(torch.equal(torch.as_tensor(rest[key]), torch.as_tensor(value)) for key, value in beside.items())


def origin(walk, model):
    return walk.library("nodes.comfy_host.domains.origin").origin_of(model)
