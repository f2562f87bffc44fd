"""Every model class of the host that makes pictures or video: guided, trained, saved and loaded, or refused in words.

A class that a later ComfyUI brings fails the first test until someone has looked at it and put it into `families.py`.
"""

import logging

import families
import mini_models
import pytest
import torch
from families import MINIS, NOT_WALKED, SAMPLE_OF

STEPS = 12
CLOSE = 5e-6
# Its last step is the denoised prediction as it is; Euler's takes it from a latent that may be a thousand times larger.
SAMPLER = "dpmpp_2m"


@pytest.fixture(autouse=True)
def fresh_device():
    import comfy.model_management

    yield
    comfy.model_management.unload_all_models()


class Walk:
    """One family's models and prompts, and the pack's own parts for them."""

    def __init__(self, host, folder, name):
        self.library, self.folder, self.name, self.mini = host.library, folder, name, MINIS[name]

    def load(self, seed=0, change=None):
        import comfy.sd

        path = self.folder / f"{len(list(self.folder.iterdir()))}.safetensors"
        families.write(path, self.name, seed, change)
        return comfy.sd.load_diffusion_model(str(path))

    def guide(self, model, domain, weight, **settings):
        apply = self.library("nodes.comfy_host.guidance.apply").apply_domain
        return apply(model, domain, weight, domain_conditioning=self.mini.empty(), **settings)

    def sample(self, model, positive=None, cfg=3.0, steps=1, count=2):
        import comfy.sample

        latent = self.latent(count)
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

    def pictures(self, model):
        """What is sampled without the sound beside it."""
        sampled, shape = self.sample(model), (2, *self.mini.latent)
        return sampled[: torch.Size(shape).numel()].reshape(shape) if self.mini.sound else sampled

    def latent(self, count):
        return self.mini.make_latent(count)


@pytest.fixture
def walk(host, tmp_path, name):
    with families.known_to_the_host([name]):
        yield Walk(host, tmp_path, name)


def close(a, b):
    return _distance(a, b) <= CLOSE


def _distance(a, b):
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))


def test_every_model_class_of_this_comfyui_has_been_looked_at(host):
    import comfy.supported_models

    seen = {families.host_class(name).__name__ for name in MINIS} | NOT_WALKED.keys() | SAMPLE_OF.keys()
    here = {model.__name__ for model in comfy.supported_models.models}
    assert not here - seen, (
        f"{sorted(here - seen)} are new in this ComfyUI: try them with the pack, then give each a mini in families.py, "
        "or its reason in NOT_WALKED."
    )
    assert not NOT_WALKED.keys() & {families.host_class(name).__name__ for name in MINIS}


@pytest.mark.parametrize("name", MINIS)
def test_a_weight_of_zero_changes_nothing_and_a_term_is_what_the_formula_says(walk):
    base, domain = walk.load(), walk.load(change=mini_models.trained)
    plain = walk.sample(base)
    assert torch.equal(walk.sample(walk.guide(base, domain, 0.0)), plain)
    empty = walk.mini.empty()
    towards, away = (walk.sample(model, empty, cfg=1.0) for model in (domain, base))
    assert not close(towards, away)  # or nothing would be tested
    guided = walk.sample(walk.guide(base, domain, 1.5))
    # Relative to what is added up, each of which is rounded.
    size = sum(map(torch.linalg.vector_norm, (plain, 1.5 * towards, 1.5 * away)))
    assert torch.linalg.vector_norm(guided - (plain + 1.5 * (towards - away))) <= CLOSE * size


@pytest.mark.parametrize("name", MINIS)
def test_a_domain_that_is_the_base_pulls_nowhere(walk):
    base, copy = walk.load(), walk.load()
    assert close(walk.sample(walk.guide(base, copy, 2.0), steps=4), walk.sample(base, steps=4))


@pytest.mark.parametrize("name", MINIS)
def test_a_mask_is_of_the_picture(walk):
    base, domain = walk.load(), walk.load(change=mini_models.trained)
    rows, columns = walk.mini.latent[-2:]
    mask = torch.zeros(rows, columns)
    mask[:, : columns // 2] = 1
    masked, whole, plain = (
        walk.pictures(model)
        for model in (walk.guide(base, domain, 1.5, mask=mask), walk.guide(base, domain, 1.5), base)
    )
    inside = (mask > 0).expand(plain.shape)
    assert close(masked[inside], whole[inside]) and close(masked[~inside], plain[~inside])


@pytest.mark.parametrize("name", MINIS)
def test_an_adapter_on_shared_weights_is_a_separately_patched_copy(walk):
    import comfy.sd

    base, copy, state = walk.load(), walk.load(), families.weights(walk.name)
    layers = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv3d)
    modules = base.model.diffusion_model.named_modules()
    lora = mini_models.lora({f"{n}.weight": state[f"{n}.weight"] for n, m in modules if isinstance(m, layers)})
    shared, separate = (comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0)[0] for model in (base, copy))
    ours, theirs = (walk.sample(walk.guide(base, domain, 1.5)) for domain in (shared, separate))
    assert close(ours, theirs) and not close(ours, walk.sample(base))


@pytest.mark.parametrize("form", ["adapter", "empty-prompt"])
@pytest.mark.parametrize("name", MINIS)
def test_training_lowers_the_loss_and_its_file_is_read_whole_or_it_is_refused(walk, form, caplog):
    with torch.inference_mode(False):
        if walk.mini.refused:
            with pytest.raises(ValueError, match=walk.mini.refused):
                _trained(walk, walk.load(), form)
            return
        base = walk.load()
        first, last, path = _trained(walk, base, form)
    assert last < first
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        ours, stock = _loaded(walk, base, path, form)
    assert not [record for record in caplog.records if "missing" in record.message or "not loaded" in record.message]
    _same_network(ours, stock)
    [[embedding, beside]], [[kept, rest]] = walk.mini.empty(), _origin(walk, ours).empty
    assert torch.equal(embedding, kept)
    assert all(torch.equal(rest[key], value) for key, value in beside.items())
    assert close(walk.sample(ours, _origin(walk, ours).empty), walk.sample(stock, _origin(walk, ours).empty))


def _trained(walk, model, form):
    forms, loss = walk.library("nodes.comfy_host.training.forms"), walk.library("domain_guidance.training.loss")
    size = walk.library("domain_guidance.data").Size(8 * walk.mini.latent[-1], 8 * walk.mini.latent[-2])
    prompts = walk.library("nodes.comfy_host.domains.empty_prompt")
    forms.check_trainable(model, form)
    empty = prompts.with_guidance(prompts.empty_prompt(None, walk.mini.empty()), model, default=True)
    settings = {"form": form, "rank": 2, "seed": 0, "save_memory": True}
    ready = forms.prepared(model, empty, 8, size, **settings)
    making = forms.made_trainable(model, _pixels(), empty, None, 8, eight_bit_adam=False, ready=ready, **settings)
    with making as trainable:
        trained = [parameter for parameter in trainable.module.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-3)
        clean = trainable.latent_scale(families.seeded(4, 1, *trainable.latent_shape(size)))
        batch, losses = loss.Batch(clean, trainable.conditioning(1, size)), []
        for _ in range(STEPS):
            noise = torch.Generator().manual_seed(0)
            losses.append(loss.noise_loss(trainable.predict, batch, trainable.schedule, trainable.prediction, noise))
            optimizer.zero_grad()
            losses[-1].backward()
            assert all(parameter.grad is not None for parameter in trained)
            optimizer.step()
        path = walk.folder / "result.safetensors"
        trainable.write(path, {})
    return losses[0].item(), losses[-1].item(), path


def _pixels():
    import comfy.sd

    return comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}).patcher


def _loaded(walk, base, path, form):
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


def _same_network(ours, stock):
    mine, theirs = ours.model.diffusion_model.state_dict(), stock.model.diffusion_model.state_dict()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert ours.patches.keys() == stock.patches.keys()


def _origin(walk, model):
    return walk.library("nodes.comfy_host.domains.origin").origin_of(model)
