"""Through the real server, as a browser would: what it lists, and that its latents are those of the in-process host."""

import json
import urllib.error

import pytest
import torch
from prompts import Graph, ksampler
from safetensors.torch import load_file
from scenes import assert_differs

PROMISED = {
    "DomainGuidanceLoadUNet": ({"unet_name"}, {"weight_dtype"}, ["MODEL"]),
    "DomainGuidanceApply": (
        {"model", "domain_model", "weight"},
        {
            "domain_conditioning",
            "reference_model",
            "mask",
            "reference",
            "start_percent",
            "end_percent",
            "control",
            "projection",
        },
        ["MODEL"],
    ),
    "DomainGuidanceToyWorld": (
        {"digit", "stroke", "ground", "batch_size"},
        set(),
        ["MODEL", "MODEL", "VAE", "CONDITIONING", "CONDITIONING", "LATENT", "IMAGE", "GENERATOR", "MESH", "MODEL"],
    ),
}


@pytest.mark.parametrize("node", PROMISED)
def test_the_server_lists_the_promised_inputs_and_outputs(server, node):
    required, optional, outputs = PROMISED[node]
    listed = server.get(f"/object_info/{node}")[node]
    names = {kind: set(listed["input"].get(kind, {})) for kind in ("required", "optional")}
    assert required <= names["required"] and required | optional <= names["required"] | names["optional"]
    assert listed["output"] == outputs
    assert listed["description"] and listed["category"]


def test_no_node_of_the_pack_failed_to_load(server):
    assert "IMPORT FAILED" not in "\n".join(
        line for line in server.log.read_text(errors="replace").splitlines() if "domain-guidance" in line
    )


def latent_from_server(server, weight, prefix):
    """SaveLatent of a guided run with core nodes only (the server has none of the tests' nodes); None is the plain
    graph.
    """
    graph = Graph()
    toy = graph.add("DomainGuidanceToyWorld", digit="3", stroke="red", ground="any", batch_size=2)
    model = toy[0]
    if weight is not None:
        model = graph.add("DomainGuidanceApply", model=toy[0], domain_model=toy[1], weight=weight)
    link = ksampler(graph, model, toy[3], toy[4], toy[5])
    saved = graph.add("SaveLatent", samples=link, filename_prefix=prefix)
    record = server.make(graph)
    name = record["outputs"][saved.id]["latents"][0]["filename"]
    return graph, link, load_file(str(server.base_directory / "output" / name))["latent_tensor"]


def test_weight_zero_saves_the_plain_graphs_latent_bit_for_bit_and_another_weight_does_not(server):
    _, _, plain = latent_from_server(server, None, "plain")
    _, _, zero = latent_from_server(server, 0.0, "zero")
    _, _, guided = latent_from_server(server, 2.0, "guided")
    assert torch.equal(zero, plain)
    assert_differs(guided, plain)


def test_the_server_and_the_in_process_host_agree_bit_for_bit(server, host):
    graph, link, saved = latent_from_server(server, 2.0, "agree")
    assert torch.equal(host.samples(graph, link, fresh=True), saved)


def test_the_server_refuses_a_domain_file_that_is_not_in_its_folders(server, minis):
    graph = Graph()
    base = graph.add("UNETLoader", unet_name=minis.unet("sd15"))
    domain = graph.add("DomainGuidanceLoadUNet", unet_name="../../../etc/passwd.safetensors")
    graph.add(
        "ModelSave", model=graph.add("DomainGuidanceApply", model=base, domain_model=domain), filename_prefix="never"
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.run(graph)
    answer = json.load(refused.value)
    (error,) = answer["node_errors"][domain.id]["errors"]
    assert refused.value.code == 400 and error["type"] == "value_not_in_list"
