"""A training through the real server, from a folder of pictures, in every family: learn, cancel, go on, use in a later
prompt.
"""

import io
import threading
import time
import urllib.parse
import urllib.request

import host_process
import pytest
import torch
from mini_models import FAMILIES
from PIL import Image
from prompts import Graph, ksampler
from real_server import real_server
from scenes import EMPTY, Scene
from training_scenes import Training, handwriting, held_out, log_of, register, result_of, state_of

PROBES = """
import sys
sys.path.append({here!r})
from probe_nodes import NODES as NODE_CLASS_MAPPINGS
"""
RUNS = {
    "sd15 adapter": ("sd15", {"learning_rate": 3e-4}),
    "sd15 text-free": ("sd15", {"form": "text-free", "learning_rate": 2e-5}),
    "sdxl adapter": ("sdxl", {"learning_rate": 1e-4, "steps": 4, "evaluate_every": 4}),
    "sdxl text-free": ("sdxl", {"form": "text-free", "learning_rate": 5e-6, "steps": 3, "evaluate_every": 3}),
    "sd3 adapter": ("sd3", {"learning_rate": 2e-3}),
    "sd3 empty-prompt": ("sd3", {"form": "empty-prompt", "learning_rate": 2e-4}),
}

# adapter or not -> how a later prompt reads the result, and whether that loader hands on the empty prompt in it
LOADERS = {
    True: [
        (lambda s, file: s.graph.add("LoraLoaderModelOnly", model=s.model, lora_name=file, strength_model=1.0), True)
    ],
    False: [(lambda s, file: s.load_domain(file), True), (lambda s, file: s.load(file), False)],
}


@pytest.fixture(scope="module")
def base(base_directory, minis, host, tmp_path_factory):
    """A base directory of its own: the session's models, the pack, the tests' probes, and pictures in input/digits."""
    register(base_directory)
    minis.lora()  # the prompts' helper wants a first entry in every list
    root = host_process.make_base_directory(tmp_path_factory.mktemp("training"))
    for kind in ("diffusion_models", "vae", "checkpoints"):
        (root / "models" / kind).rmdir()
        (root / "models" / kind).symlink_to(base_directory / "models" / kind, target_is_directory=True)
    (root / "custom_nodes" / "domain-guidance").symlink_to(host_process.PACK_ROOT, target_is_directory=True)
    (root / "custom_nodes" / "probes.py").write_text(PROBES.format(here=str(host_process.PACK_ROOT / "tests" / "host")))
    (root / "input" / "digits").mkdir()
    for number, image in enumerate(handwriting()):
        Image.fromarray((image * 255).round().to(torch.uint8).numpy()).save(root / "input" / "digits" / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def training_server(base, tmp_path_factory):
    with real_server(base, tmp_path_factory.mktemp("training_server") / "log.txt") as running:
        yield running


def from_folder(minis, family, name, **changes):
    return Training(minis, family, save_name=name, images=None, folder="digits", **changes)


def drawn(s, model):
    """A node that saves what a model draws for the empty prompt; the server has no other way to hand out a latent."""
    latent = ksampler(s.graph, model, s.negative, s.negative, s.latent, cfg=1.0)
    return s.graph.add("SaveLatent", samples=latent, filename_prefix="drawn")


def latent_of(server, record, node):
    from safetensors.torch import load_file

    file = record["outputs"][node.id]["latents"][0]
    return load_file(str(server.base_directory / "output" / file["filename"]))["latent_tensor"]


@pytest.mark.parametrize("name", RUNS)
def test_a_training_learns_and_a_later_prompt_draws_with_its_file(training_server, base, minis, name):
    family, settings = RUNS[name]
    t = from_folder(minis, family, name, **settings)
    fresh = t.scene()
    first, guided, plain = drawn(fresh, t.node), drawn(fresh, fresh.guide(t.model, t.node)), drawn(fresh, t.model)
    record = training_server.make(t.graph)
    returned, with_term, without = (latent_of(training_server, record, node) for node in (first, guided, plain))
    losses = held_out(t, base)
    assert losses[-1] < 0.98 * losses[0], losses
    assert not torch.allclose(with_term, without, rtol=1e-4, atol=1e-4)
    for load, brings_prompt in LOADERS[t.form == "adapter"]:
        s = later_prompt(minis, family)
        domain = load(s, result_of(t, base).name)
        prompt = {} if brings_prompt else {"domain_conditioning": s.negative}
        saved = drawn(s, domain), drawn(s, s.guide(s.model, domain, **prompt))
        record = training_server.make(s.graph)
        for node, expected in zip(saved, (returned, with_term)):
            assert torch.allclose(latent_of(training_server, record, node), expected, rtol=1e-4, atol=1e-4)


def later_prompt(minis, family):
    graph, (dim, pooled, channels, _) = Graph(), FAMILIES[family]
    model = graph.add("UNETLoader", unet_name=minis.unet(family))
    negative = graph.add("ProbeConditioning", seed=EMPTY, dim=dim, pooled=pooled)
    return Scene(
        graph,
        family,
        model,
        negative,
        negative,
        graph.add("ProbeLatent", seed=-1, channels=channels, height=8, width=8, batch=1),
    )


@pytest.mark.parametrize("form", ["adapter", "empty-prompt"])
def test_the_model_browser_gets_the_domains_picture(training_server, base, minis, form):
    t = from_folder(minis, "sd15", f"pictured {form}", steps=1, preview_every=1, evaluate_every=0, form=form)
    training_server.make(t.graph)
    file = result_of(t, base).name
    (index,) = [
        entry["pathIndex"] for entry in training_server.get(f"/experiment/models/{t.folder}") if entry["name"] == file
    ]
    address = f"{training_server.address}/experiment/models/preview/{t.folder}/{index}/{urllib.parse.quote(file)}"
    with urllib.request.urlopen(address) as answer:
        assert Image.open(io.BytesIO(answer.read())).size == (128, 64)


def test_interrupt_keeps_the_state_and_the_queue_goes_on(training_server, base, minis):
    t = from_folder(minis, "sd15", "long", steps=100_000, evaluate_every=0, batch_size=1)

    def interrupt_after_some_steps():
        while not state_of(t, base).with_name("log.jsonl").exists() or len(log_of(t, base)) < 4:
            training_server.check_alive("training")
            time.sleep(0.05)
        urllib.request.urlopen(
            urllib.request.Request(training_server.address + "/interrupt", b"", method="POST")
        ).close()

    watcher = threading.Thread(target=interrupt_after_some_steps)
    watcher.start()
    record = training_server.run(t.graph)
    watcher.join()
    assert "execution_interrupted" in [event for event, _ in record["status"]["messages"]]
    made = max(line["step"] for line in log_of(t, base) if line["event"] == "step")
    assert 1 <= made < 100_000 and state_of(t, base).exists()
    shorter = from_folder(minis, "sd15", "long", steps=made + 2, evaluate_every=0, batch_size=1)
    training_server.make(shorter.graph)
    assert [line["step"] for line in log_of(t, base) if line["event"] == "step"] == list(range(1, made + 3))
    assert result_of(t, base).exists()


def test_the_text_encoder_of_a_checkpoint_gives_the_empty_prompt(training_server, base, minis):
    t = from_folder(minis, "sd15", "with clip", steps=1, evaluate_every=0, empty_conditioning=None)
    checkpoint = t.graph.add(
        "CheckpointLoaderSimple", ckpt_name=minis.checkpoint(name="with_clip.safetensors", text_encoder=True)
    )
    t.graph[t.node.id]["inputs"] |= {"clip": checkpoint[1], "model": checkpoint[0], "vae": checkpoint[2]}
    training_server.make(t.graph)
    assert result_of(t, base).exists()


def test_the_server_lists_the_training_nodes(training_server):
    for node, required, outputs in (
        (
            "DomainGuidanceTrain",
            {
                "model",
                "vae",
                "form",
                "steps",
                "learning_rate",
                "batch_size",
                "rank",
                "seed",
                "save_name",
                "on_existing",
            },
            ["MODEL", "IMAGE", "STRING"],
        ),
        ("DomainGuidanceSaveUNet", {"model", "name"}, ["STRING"]),
    ):
        listed = training_server.get(f"/object_info/{node}")[node]
        assert set(listed["input"]["required"]) == required and listed["output"] == outputs
        assert all(
            options[1].get("tooltip")
            for kind in ("required", "optional")
            for options in listed["input"].get(kind, {}).values()
        )
