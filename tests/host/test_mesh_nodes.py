"""Views of a mesh, sampling in which they agree, and the painted mesh, in the real host on the toy world's vase."""

import pytest
import torch
from gltf_reader import colours, read_glb
from host_process import PromptError
from mesh_scenes import COUNT, SIZE, Painting, Seen, decibels
from messages import OUT_OF_MEMORY
from probe_nodes import seeded
from prompts import ksampler
from scenes import EMPTY, assert_differs, assert_same, build


@pytest.fixture
def painting():
    return Painting()


@pytest.fixture
def host_workshop(host):
    """The host's own nodes for meshes."""
    import nodes

    if "RenderMesh" not in nodes.NODE_CLASS_MAPPINGS:
        pytest.skip("this ComfyUI has no nodes that render and unwrap meshes, which a later one has")


@pytest.fixture(scope="module")
def library_meshes(host):
    return host.library("domain_guidance.meshes")


@pytest.fixture(scope="module")
def seen(host):
    return Seen(host)


def test_the_views_are_those_of_the_hosts_own_renderer(host, painting, host_workshop):
    """RenderMesh traces rays; its silhouette and normals are the oracle for the camera, the axes and the pixels."""
    g, size = painting.graph, 128
    views = painting.views_of(painting.mesh, width=size, height=size, count=3)
    cameras, masks = host.value(g, views[0]).views, host.value(g, views[3])
    normals = host.value(g, views[2])
    for number in range(3):
        x, y, z = cameras.eyes[number].tolist()
        camera = {
            "position": {"x": x, "y": y, "z": z},
            "target": dict(zip("xyz", cameras.target.tolist(), strict=True)),
            "fov": 40.0,
            "zoom": 1.0,
            "cameraType": "perspective",
        }
        render = _nodes()["RenderMesh"]
        mesh = host.value(g, painting.mesh)
        picture, mask = render.execute(mesh, "normal", size, size, "#8080ff", camera_info=camera).args
        assert (mask[0] == masks[number]).float().mean() > 0.995
        both = (mask[0] > 0) & (masks[number] > 0)
        assert (picture[0][both] - normals[number][both]).abs().mean() < 0.02  # the host's are flat, ours are smooth


def _nodes():
    import nodes

    return nodes.NODE_CLASS_MAPPINGS


def test_the_first_step_is_synchronised_where_a_flow_models_level_rounds_to_above_1(host, seen):
    import comfy.model_sampling

    sampling = comfy.model_sampling.ModelSamplingDiscreteFlow()
    sampling.set_parameters(shift=1.58)
    first = sampling.sigma_max.expand(COUNT)
    assert float(first[0]) > sampling.percent_to_sigma(0.0)
    meshes, synchronise = (host.library(f"nodes.comfy_host.meshes.{name}") for name in ("mesh", "synchronise"))
    pictures = seeded(3, COUNT, 3, SIZE, SIZE)

    def agreed(start):
        mesh_views = meshes.MeshViews(seen.surface, seen.views)
        return synchronise.Synchroniser(mesh_views, 1.0, start, 1.0).apply(pictures, first, sampling)

    assert_same(agreed(0.0), seen.correspondence.average(pictures))
    assert_differs(agreed(0.0), pictures)
    assert torch.equal(agreed(0.1), pictures)


def test_a_share_of_nothing_or_an_empty_range_gives_the_hosts_latent_bit_for_bit(host, painting):
    plain = host.samples(painting.graph, painting.sample(painting.toy[0]))
    for changes in ({"share": 0.0}, {"start": 0.5, "end": 0.5}):
        same = painting.synchronised(painting.toy[0], **changes)
        assert torch.equal(host.samples(painting.graph, painting.sample(same)), plain)


def test_the_model_that_was_patched_goes_on_as_it_was(host, painting):
    before = host.samples(painting.graph, painting.sample(painting.toy[0]))
    host.samples(painting.graph, painting.sample(painting.synchronised(painting.toy[0])))
    assert torch.equal(host.samples(painting.graph, painting.sample(painting.toy[0]), fresh=True), before)


@pytest.mark.parametrize(
    ("sampler", "cfg"), [("dpmpp_2m", 4.0), ("euler", 4.0), ("euler_ancestral", 4.0), ("dpmpp_2m", 1.0)]
)
@pytest.mark.parametrize("domain", [False, True], ids=["plain", "guided by a domain"])
def test_synchronised_views_agree_and_others_do_not(host, painting, seen, sampler, cfg, domain):
    model = painting.guided(painting.toy[0]) if domain else painting.toy[0]
    before, after = (
        decibels(seen.disagreement(host.samples(painting.graph, sampled)))
        for sampled in (
            painting.sample(chosen, sampler_name=sampler, cfg=cfg) for chosen in (model, painting.synchronised(model))
        )
    )
    assert after >= max(30, before + 10)


def test_unseen_views_of_the_painted_vase_are_as_near_to_the_domain_as_pictures_guided_by_it(host, seen):
    """Seen from halfway between the views; a vase painted without the domain is farther from it."""
    painting = Painting(digit="8")
    comparison = host.library("domain_guidance.toy_world.comparison")
    distance = host.library("domain_guidance.evaluation.scores").kernel_distance
    judge = comparison.load_models().judge
    domain = judge.read(comparison.held_out_domain(1000).images).features
    graph, ordinary, between = painting.graph, {}, {}
    for name, model in (("plain", painting.toy[0]), ("guided", painting.guided(painting.toy[0]))):
        ordinary[name], between[name] = [], []
        for seed in range(4):
            ordinary[name].append(host.samples(graph, painting.sample(model, seed=seed)))
            views = host.samples(graph, painting.sample(painting.synchronised(model), seed=seed))
            images = (views.permute(0, 2, 3, 1) + 1) / 2
            texture = seen.meshes.paint(seen.surface, seen.views, images, 256).image
            between[name].append(seen.rendered(texture * 2 - 1, seen.turned(0.5), views))
    far = {
        name: distance(judge.read(torch.cat(pictures).clamp(-1, 1)).features, domain)
        for name, pictures in (*between.items(), ("ordinary", ordinary["guided"]))
    }
    assert far["guided"] <= min(1.2 * far["ordinary"], 0.8 * far["plain"]), far


def test_what_lies_beside_the_mesh_is_left_to_each_view_in_a_single_step(host, painting, seen):
    one = {"steps": 1, "sampler_name": "euler"}
    plain = host.samples(painting.graph, painting.sample(painting.toy[0], **one))
    agreed = host.samples(painting.graph, painting.sample(painting.synchronised(painting.toy[0]), **one))
    beside = ~seen.correspondence.covered[:, None].expand_as(plain)
    assert torch.equal(agreed[beside], plain[beside])
    assert_differs(agreed[~beside], plain[~beside])


def test_it_does_not_matter_whether_the_domain_comes_before_or_after(host, painting):
    before = painting.synchronised(painting.guided(painting.toy[0]))
    after = painting.guided(painting.synchronised(painting.toy[0]))
    one, two = (host.samples(painting.graph, painting.sample(model)) for model in (before, after))
    assert_same(one, two)
    assert_differs(one, host.samples(painting.graph, painting.sample(painting.synchronised(painting.toy[0]))))


def test_a_batch_that_is_not_the_views_is_refused_in_a_sentence(host):
    painting = Painting(batch_size=3)
    with pytest.raises(PromptError, match="3 latents are sampled, but Synchronise Views has 8 views"):
        host.samples(painting.graph, painting.sample(painting.synchronised(painting.toy[0])))


def test_latents_of_another_shape_than_the_views_are_refused_in_a_sentence(host, painting):
    painting.views = painting.views_of(painting.mesh, width=32)
    with pytest.raises(PromptError, match="16 x 16 cells, but the views are 32 x 16 pixels"):
        host.samples(painting.graph, painting.sample(painting.synchronised(painting.toy[0])))


def test_latents_eight_times_smaller_than_the_views_are_synchronised_too(host, minis):
    s = build(minis, negative=EMPTY)
    toy = s.graph.add("DomainGuidanceToyWorld", digit="1", stroke="red", ground="any", batch_size=1)
    views = s.graph.add("DomainGuidanceMeshViews", mesh=toy[8], arrangement="ring", count=4, width=128, height=128)
    latent = s.graph.add("EmptyLatentImage", width=128, height=128, batch_size=4)
    model = s.graph.add("DomainGuidanceSynchroniseViews", model=s.model, views=views)
    sampled = [
        host.samples(s.graph, ksampler(s.graph, chosen, s.positive, s.negative, latent)) for chosen in (s.model, model)
    ]
    assert sampled[1].shape == (4, 4, 16, 16) and sampled[1].isfinite().all()
    assert_differs(sampled[0], sampled[1])


def test_the_painted_mesh_shows_its_views_in_the_hosts_renderer_and_is_saved_with_its_texture(
    host, painting, base_directory, host_workshop
):
    g = painting.graph
    views = painting.views_of(painting.mesh, arrangement="ring, top and bottom", count=6, width=192, height=192)
    normals = host.value(g, views[2])
    painted = g.add(
        "DomainGuidancePaintMesh", mesh=painting.mesh, views=views, images=views[2], texture_size=512, sharpness=24.0
    )
    texture, unseen = host.value(g, painted[1]), host.value(g, painted[2])
    assert texture.shape == (1, 512, 512, 3) and unseen.shape == (1, 512, 512)
    cameras, mesh = host.value(g, views[0]).views, host.value(g, painted)
    camera = {
        "position": dict(zip("xyz", cameras.eyes[0].tolist(), strict=True)),
        "target": dict(zip("xyz", cameras.target.tolist(), strict=True)),
        "fov": 40.0,
    }
    picture, mask = _nodes()["RenderMesh"].execute(mesh, "texture", 192, 192, "#000000", camera_info=camera).args
    centre = (slice(80, 112), slice(80, 112))  # faces the first camera, so that it is painted by it nearly alone
    assert (mask[0][centre] > 0).all()
    assert (picture[0][centre] - normals[0][centre]).abs().mean() < 0.03
    g.add("SaveGLB", mesh=painted, filename_prefix="vase")
    host.run(g)
    saved = read_glb(next((base_directory / "output").glob("vase*.glb")).read_bytes())
    assert torch.allclose(saved.vertices, mesh.vertices[0], atol=1e-6) and torch.equal(
        saved.faces, mesh.faces[0].long()
    )
    assert (saved.texture - texture[0]).abs().max() <= 1 / 255  # the file has eight bits
    front = (saved.vertices[:, 2] > 0.5) & (saved.vertices[:, 1].abs() < 0.3)
    places, _ = cameras.project(saved.vertices[front])
    there = torch.nn.functional.grid_sample(normals[:1].movedim(-1, 1), places[:1, None], align_corners=False)
    assert front.sum() > 20 and (colours(saved)[front] - there[0, :, 0].T).abs().mean() < 0.03


def test_a_painted_mesh_loses_the_vertex_colours_that_would_darken_it_and_the_mesh_that_was_given_keeps_them(
    host, painting, host_workshop
):
    import copy

    from comfy_extras.nodes_save_3d import mesh_item_to_glb_bytes

    grey = copy.copy(host.value(painting.graph, painting.mesh))
    grey.vertex_colors = torch.full_like(grey.vertices, 0.5)
    white = torch.ones(8, 16, 16, 3)
    painted = _nodes()["DomainGuidancePaintMesh"].execute(grey, host.value(painting.graph, painting.views), white, 64)
    saved = read_glb(mesh_item_to_glb_bytes(painted.args[0], 0))
    assert saved.vertex_colours is None
    assert (colours(saved) > 0.99).all()
    assert torch.equal(grey.vertex_colors, torch.full_like(grey.vertices, 0.5))


def test_a_mesh_without_texture_coordinates_names_the_node_that_makes_them(host, painting):
    import copy

    bare = copy.copy(host.value(painting.graph, painting.mesh))
    bare.uvs = None
    paint = _nodes()["DomainGuidancePaintMesh"]
    with pytest.raises(ValueError, match="Unwrap Mesh UVs"):
        paint.execute(bare, host.value(painting.graph, painting.views), torch.zeros(8, 16, 16, 3), 64)


def test_the_hosts_own_unwrapping_is_painted_as_well(host, painting, monkeypatch, host_workshop):
    from server import PromptServer

    said = []  # the host's node tells its server what it made, and here there is none
    stand_in = type("Server", (), {"send_progress_text": lambda self, text, node: said.append(text)})()
    monkeypatch.setattr(PromptServer, "instance", stand_in, raising=False)
    g = painting.graph
    unwrapped = g.add("UnwrapMesh", mesh=painting.mesh, resolution=256)
    views = painting.views_of(unwrapped, arrangement="ring, top and bottom", count=4, width=64, height=64)
    painted = g.add("DomainGuidancePaintMesh", mesh=unwrapped, views=views, images=views[2], texture_size=256)
    unseen = host.value(g, painted[2])
    assert unseen.mean() < 0.2


def test_views_of_another_mesh_are_refused_in_a_sentence(host, painting):
    import copy

    mesh, paint = host.value(painting.graph, painting.mesh), _nodes()["DomainGuidancePaintMesh"]
    for change in (torch.eye(3) * 2, torch.diag(torch.tensor([1.0, 1.0, 0.5]))):
        other = copy.copy(mesh)
        other.vertices = mesh.vertices @ change
        with pytest.raises(ValueError, match="made from another mesh"):
            paint.execute(other, host.value(painting.graph, painting.views), torch.zeros(8, 16, 16, 3), 64)


def test_a_mesh_that_was_turned_after_its_views_were_made_is_refused_in_a_sentence(host, painting, library_meshes):
    box = torch.tensor([1.0, 0.5, 0.25]) * (torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3))
    faces = torch.combinations(torch.arange(8), 3)
    mesh, views = (library_meshes.Surface(box @ turn, faces) for turn in (torch.eye(3), torch.eye(3).roll(1, 0)))
    cameras = library_meshes.arrange(mesh, "ring", count=2, field_of_view=0.7, height=16, width=16)
    check = host.library("nodes.comfy_host.meshes.mesh")
    check.check_same(mesh, check.MeshViews(mesh, cameras))
    with pytest.raises(ValueError, match="before it was moved, turned or scaled"):
        check.check_same(views, check.MeshViews(mesh, cameras))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.full((8, 16, 16, 3), torch.nan), "8 of the 8 images hold NaN"),
        (torch.zeros(8, 16, 16, 2), r"shape \[8, 16, 16, 2\]"),
        (torch.zeros(8, 16, 16), "connect an IMAGE in colour"),
    ],
)
def test_images_that_no_texture_can_be_made_of_are_refused_in_a_sentence(host, painting, images, said):
    mesh, views = (host.value(painting.graph, link) for link in (painting.mesh, painting.views))
    with pytest.raises(ValueError, match=said):
        _nodes()["DomainGuidancePaintMesh"].execute(mesh, views, images, 64)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["PyTorch's", "the driver's"])
def test_running_out_of_memory_names_what_takes_less_and_leaves_the_device_empty(host, painting, monkeypatch, error):
    import comfy.model_management as management

    mesh, views = (host.value(painting.graph, link) for link in (painting.mesh, painting.views))
    asked, emptied = [], []
    monkeypatch.setattr(management, "free_memory", lambda needed, *others, **more: asked.append(needed))
    monkeypatch.setattr(management, "unload_all_models", lambda: emptied.append(True))
    for name, work, given, said in (
        ("paint_mesh", "paint", (mesh, views, torch.zeros(8, 16, 16, 3), 64), "lower texture_size"),
        ("mesh_views", "draw_views", (mesh, "ring", 8, 16, 16), "lower count"),
    ):
        node = host.library(f"nodes.{name}")
        with monkeypatch.context() as patch, pytest.raises(ValueError, match=said):
            patch.setattr(node, work, lambda *given, **more: (_ for _ in ()).throw(error()))
            (kind,) = (value for key, value in vars(node).items() if key.startswith("DomainGuidance"))
            kind.execute(*given)
    assert len(asked) == len(emptied) == 2 and min(asked) > 64 * 64 * 3 * 4


def test_a_cancel_stops_the_painting(host, painting):
    import comfy.model_management as management

    mesh, views = (host.value(painting.graph, link) for link in (painting.mesh, painting.views))
    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        _nodes()["DomainGuidancePaintMesh"].execute(mesh, views, torch.zeros(8, 16, 16, 3), 64)


def test_a_range_without_a_step_is_said(host, painting, caplog):
    host.value(painting.graph, painting.synchronised(painting.toy[0], start=0.7, end=0.3))
    assert "Nothing changes, because end is 0.3 and start is 0.7; set end above start." in caplog.text
