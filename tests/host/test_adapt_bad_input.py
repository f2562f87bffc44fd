"""Whatever is connected or asked for that cannot work is refused in one sentence, before any step."""

from unittest.mock import patch

import pytest
import torch
from adapt_scenes import Adaptation, register, state_of
from host_process import PromptError
from scenes import assert_one_sentence
from training_scenes import vae_file


@pytest.fixture(scope="module", autouse=True)
def probes(host):
    register(host)


def refused(host, a):
    with pytest.raises(PromptError) as caught:
        host.value(a.graph, a.node)
    assert_one_sentence(caught.value.message)
    return caught.value.message


def change(a, **inputs):
    a.graph[a.node.id]["inputs"] |= {
        name: [link.id, 0] if hasattr(link, "id") else link for name, link in inputs.items()
    }
    return a


def test_a_vae_of_other_latents_than_the_models(host, minis):
    a = Adaptation(minis, "sd15", save_name="other vae")
    change(a, vae=a.graph.add("VAELoader", vae_name=vae_file(minis, 16)))
    assert "16 channels, but the model works with 4" in refused(host, a)


def test_a_vae_of_pixels_beside_a_latent_model(host, minis):
    a = Adaptation(minis, "sd15", save_name="pixel vae")
    change(a, vae=a.graph.add("VAELoader", vae_name="pixel_space"))
    assert "3 channels, but the model works with 4" in refused(host, a)


def test_a_checkpoint_without_a_vae(host, minis):
    a = Adaptation(minis, "sd15", save_name="no vae")
    vae = host.value(a.before, a.vae)
    with patch.object(vae, "first_stage_model", None):
        assert "contains no VAE" in refused(host, a)


def test_a_model_or_vae_of_videos(host, minis):
    a = Adaptation(minis, "sd15", save_name="videos")
    model, vae = host.value(a.before, a.model), host.value(a.before, a.vae)
    with patch.object(type(model.model.latent_format), "latent_dimensions", 3):
        assert "3-dimensional latents" in refused(host, a) and "image model" in refused(host, a)
    with patch.object(vae, "latent_dim", 3):
        assert "connect an image VAE" in refused(host, a)


@pytest.mark.parametrize("later", [None, 0.6])
def test_a_hook_that_follows_the_order_of_a_sampling(host, minis, later):
    """Asked about less noise first, it would not go back to its first keyframe; with a single one there is nothing to
    go back to.
    """
    a = Adaptation(minis, "sd15", save_name=f"keyframes {later}", steps=1)
    frames = a.graph.add("CreateHookKeyframe", strength_mult=0.5, start_percent=0.0)
    if later:
        frames = a.graph.add("CreateHookKeyframe", strength_mult=1.0, start_percent=later, prev_hook_kf=frames)
    lora = a.graph.add("CreateHookLoraModelOnly", lora_name=minis.lora(), strength_model=0.8)
    hooks = a.graph.add("SetHookKeyframes", hooks=lora, hook_kf=frames)
    change(
        a,
        positive=a.graph.add(
            "ConditioningSetProperties", cond_NEW=a.positive, strength=1.0, set_cond_area="default", hooks=hooks
        ),
    )
    if later:
        assert "connect the hook without keyframes" in refused(host, a)
    else:
        host.value(a.graph, a.node)


def test_a_sampling_that_has_no_noise_velocity_or_flow(host, minis):
    a = Adaptation(minis, "sd15", save_name="edm")
    change(
        a,
        model=a.graph.add("ModelSamplingContinuousEDM", model=a.model, sampling="edm", sigma_max=80.0, sigma_min=0.002),
    )
    said = refused(host, a)
    assert "noise prediction, velocity or flow" in said and "remove the ModelSampling node in front" in said


@pytest.mark.parametrize(
    "asked, said",
    [
        ({"resolution": 60}, "multiple of 8"),
        ({"noise_low": 0.5, "noise_high": 0.3}, "from 0.5 to 0.3"),
        ({"relative_distance": 1.0}, "at least 3"),
        ({"layers": 9}, "layers is 9"),
        ({"save_name": "../elsewhere"}, "plain name without folders"),
        ({"save_name": "a|b"}, "Windows does not allow '|' in names"),
        ({"perceptual": 1.0}, "set perceptual to 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_work(host, minis, base_directory, asked, said):
    a = Adaptation(minis, "sd15", **{"save_name": f"asked {next(iter(asked))}", **asked})
    assert said in refused(host, a)
    assert not state_of(a, base_directory).exists()


@pytest.mark.parametrize(
    "socket, link", [("generator", "model"), ("model", "vae"), ("vae", "generator"), ("positive", "model")]
)
def test_a_wrong_type_is_refused_by_the_host_before_anything_runs(host, minis, socket, link):
    a = Adaptation(minis, "sd15", save_name="wrong type")
    change(a, **{socket: getattr(a, link)})
    with pytest.raises(PromptError) as caught:
        host.value(a.graph, a.node)
    assert "return_type_mismatch" in str(caught.value.details)


def test_a_disk_that_takes_nothing(host, minis, base_directory):
    a = Adaptation(minis, save_name="full disk")
    with patch("shutil.disk_usage", return_value=type("Usage", (), {"free": 10})):
        assert "free some space" in refused(host, a)


def test_a_model_larger_than_the_device_is_one_sentence(host, minis):
    import comfy.model_management

    def no_room(*args, **kwargs):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    a = Adaptation(minis, save_name="no room")
    with patch.object(comfy.model_management, "load_models_gpu", no_room):
        assert "ran out of memory" in refused(host, a) and "nothing was trained yet" in refused(host, a)
