"""Evaluate Images: is the domain any good, varied enough, or memorised?"""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..domain_guidance.data import BatchImages
from .comfy_host.evaluation import evaluate_in_host
from .comfy_host.input_folder import NO_FOLDER, folder_choices, folder_fingerprint, image_source
from .comfy_host.node_text import line_at
from .comfy_host.sampling import as_image
from .input_lists import takes_lists

NAME = "Evaluate Images"


class DomainGuidanceEvaluate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceEvaluate",
            display_name=NAME,
            category="domain guidance",
            description=(
                "Compares generated images with real ones of the domain: how far apart they are (KID, CMMD), "
                "whether they look like the domain and cover all of it (precision, recall), how varied they are, "
                "and whether they are copies. Nothing is downloaded."
            ),
            search_aliases=[
                "dataset quality",
                "compare images",
                "domain guidance evaluation",
                "KID",
                "FID",
                "CMMD",
                "precision recall",
                "memorisation",
                "overfitting check",
                "diversity",
            ],
            is_output_node=True,
            is_input_list=True,  # a list of images is one set
            inputs=[
                io.Image.Input(
                    "images",
                    tooltip="The generated images to evaluate, for example from VAE Decode. Use 100 or more, all "
                    "made with the same settings; below 50 the distance is mostly noise.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    tooltip="The model whose features are compared, from Load CLIP Vision. Numbers from different "
                    "models cannot be compared.",
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="Real images of the domain, as a batch or a list. For many images use reference_folder.",
                ),
                io.Combo.Input(
                    "reference_folder",
                    options=folder_choices(),
                    default=NO_FOLDER,
                    optional=True,
                    tooltip="A sub-folder of ComfyUI's input folder, including its own sub-folders, used instead of a "
                    "connected reference. The training images reveal memorisation; other images of the domain measure "
                    "quality. If a new folder is missing from the list, press R.",
                ),
                io.String.Input(
                    "save_name",
                    default="evaluation",
                    tooltip="Name of the JSON file in the output folder, without folders. If it exists already, the "
                    "new file becomes name-2.",
                ),
                io.Int.Input(
                    "neighbours",
                    default=3,
                    min=1,
                    max=100,
                    optional=True,
                    advanced=True,
                    tooltip="Number of nearest neighbours that defines how close counts as alike, for precision and "
                    "recall; 3 is usual.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**31 - 1,
                    control_after_generate=False,
                    optional=True,
                    advanced=True,
                    tooltip="Seed of the resampling behind the distance's confidence interval.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="report",
                    tooltip="The measures in words, each with the number of images it is based on.",
                ),
                io.Image.Output(
                    display_name="picture",
                    tooltip="The measures as plots, and below them the closest pairs: each generated image above "
                    "its nearest reference image.",
                ),
                io.String.Output(
                    display_name="file_name",
                    tooltip="Name of the JSON file in ComfyUI's output folder, with all numbers and the nearest "
                    "reference image of each image.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @takes_lists("images", "reference")
    def fingerprint_inputs(cls, reference_folder: str = NO_FOLDER, **_) -> str:
        return folder_fingerprint(reference_folder)

    @classmethod
    @takes_lists("images", "reference")
    def execute(
        cls, images, clip_vision, save_name, reference=None, reference_folder=NO_FOLDER, neighbours=3, seed=0
    ) -> io.NodeOutput:
        real = image_source(reference, reference_folder, NAME, "reference", say=line_at(cls.hidden.unique_id))
        made, path = evaluate_in_host(clip_vision, BatchImages(images), real, save_name, neighbours, seed)
        picture = as_image(made.picture)
        return io.NodeOutput(made.text, picture, path.name, ui=ui.PreviewImage(picture, cls=cls))
