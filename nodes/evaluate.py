"""Evaluate Images: is the domain any good, varied enough, or memorised?"""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..domain_guidance.data import BatchImages
from .comfy_host.evaluation import evaluate_in_host
from .comfy_host.input_folder import NO_FOLDER, folder_choices, folder_fingerprint, image_source
from .comfy_host.sampling import as_image

NAME = "Evaluate Images"


class DomainGuidanceEvaluate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DomainGuidanceEvaluate",
            display_name=NAME,
            category="model/training",
            description=(
                "Compares pictures with real ones of the domain: how far they are (KID, CMMD), whether they look like "
                "it and show all of it (precision, recall), how varied they are, and whether they are copies. Nothing "
                "is downloaded."
            ),
            search_aliases=[
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
            inputs=[
                io.Image.Input(
                    "images", tooltip="The pictures to judge, such as VAE Decode gives; 100 or more say most."
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    tooltip="What the pictures are compared with, from Load CLIP Vision. Compare "
                    "only numbers of the same model.",
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="Real pictures of the domain, as a batch. For many pictures use a folder.",
                ),
                io.Combo.Input(
                    "reference_folder",
                    options=folder_choices(),
                    default=NO_FOLDER,
                    optional=True,
                    tooltip="Instead of reference: a sub-folder of ComfyUI's input folder, with all its sub-folders. "
                    "The training images show memorisation, others of the domain show quality.",
                ),
                io.String.Input(
                    "save_name",
                    default="evaluation",
                    tooltip="Name of the JSON file in the output folder, without folders. An older file stays.",
                ),
                io.Int.Input(
                    "neighbours",
                    default=3,
                    min=1,
                    max=100,
                    optional=True,
                    advanced=True,
                    tooltip="A picture is within reach of another one that is no farther than that one's "
                    "neighbour of this rank. 3 is usual.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**31 - 1,
                    control_after_generate=False,
                    optional=True,
                    advanced=True,
                    tooltip="Of the resampling that the distance's interval is from.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="report", tooltip="The measures in words, each with its number of pictures."
                ),
                io.Image.Output(
                    display_name="picture",
                    tooltip="The measures as plots, and the closest pairs: a picture "
                    "above, its nearest reference below.",
                ),
                io.String.Output(display_name="file_name", tooltip="The JSON file, in ComfyUI's output folder."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, reference_folder: str = NO_FOLDER, **_) -> str:
        return folder_fingerprint(reference_folder)

    @classmethod
    def execute(
        cls, images, clip_vision, save_name, reference=None, reference_folder=NO_FOLDER, neighbours=3, seed=0
    ) -> io.NodeOutput:
        real = image_source(reference, reference_folder, NAME, "reference")
        made, path = evaluate_in_host(clip_vision, BatchImages(images), real, save_name, neighbours, seed)
        picture = as_image(made.picture)
        return io.NodeOutput(made.text, picture, path.name, ui=ui.PreviewImage(picture, cls=cls))
