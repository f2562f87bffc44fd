"""What the templates say, and in which order they show their nodes. The graphs are those of tests/workflows/.

A plan is a template's note and its boxes; numbers are the ids of nodes. Text is small in a note, so that the two
headings carry what one must know, and can be read when the template opens.
"""

from __future__ import annotations

from template_layout import Box, Note, group, row, stack

CHECKPOINT = "`v1-5-pruned-emaonly-fp16.safetensors` in `models/checkpoints`, or any other SD 1.5 checkpoint"
TRAINED_HERE = """The domain is trained here, on pictures that come with the pack. Once that is done, here or in
another of these templates, a run only loads it. **Your own pictures**: put them into a folder inside ComfyUI's `input`
folder, choose it as `folder` in Train Domain, which then ignores the pack's pictures, and give it another
`save_name`, the `preset` *good*, `learning_rate` and `resolution` 0, and `mirror` 0.5."""
OWN_MODEL = """It needs no files. **With your own model**, replace *Toy World* with *Load Checkpoint*, and its `domain`
with *Load Domain Adapter*, *Load Side Network* or *Load Domain UNet*."""


def note(text: str) -> Note:
    """A note whose paragraphs are written over several lines here."""
    paragraphs = "\n\n".join(paragraph.replace("\n", " ") for paragraph in text.strip().split("\n\n"))
    return Note(paragraphs.replace("`", "**"))  # Nodes 2.0 writes code in blue, which a note's colour swallows


def explained(text: str, *groups: Box) -> Box:
    """A note above the groups that are read first."""
    return stack(note(text), row(*groups))


# Templates with so many nodes that these are drawn no wider than this.
NARROW = {"22-picture-to-mesh-in-a-domain": 215}

PLANS: dict[str, Box] = {
    "01-first-look": row(
        explained(
            """
# First look

## All three rows have the same words and seed. The lower two also have Apply Domain Guidance. Press Run.

A small model that comes with the pack draws the things that you name. A **domain** is a look that was learned from
pictures, without any text. The two domains here, *ink* and *glossy*, were trained on pictures of other things: only
the base has ever seen a cat, a car or a house.

Then write other words into `things`, such as *panda, tractor, pineapple*, or change a `weight` under *The domains*
to 0 (no domain), 1 or -1. It needs no files.

The `style` is *flat*, and glossy adds light and shading to flat shapes. Apply Domain Guidance for glossy has
`start_percent` 0.6, so that shapes stay crisp. Ink draws shapes of its own, so its row uses *unstyled*: the same words
without a style. At weight 0, that row shows the base in mixed styles.
""",
            group("Your model", [1]),
            group("The domains", [3, 11]),
        ),
        stack(
            group("Without domain guidance", [2], [5, 6], [7]),
            group("In the domain ink", [4], [8, 9], [10]),
            group("In the domain glossy", [12], [13, 14], [15]),
        ),
    ),
    "02-unconditional": row(
        explained(
            f"""
# Pictures of the domain, without a prompt

## With the empty prompt on both sides and cfg 1, only the domain remains.

It is `base + weight x (domain - base)`. Weights of 1.5 to 2.5 are usual here. The upper row is what the base draws
without a prompt.

{OWN_MODEL}
""",
            group("Your model", [1]),
            group("The domain", [2]),
        ),
        stack(group("The base alone", [3], [4, 5], [6]), group("With the domain", [7], [8, 9], [10])),
    ),
    "03-on-your-own-checkpoint": row(
        explained(
            f"""
# A domain for your own checkpoint

## Choose your checkpoint in the first node and press Run: Train Domain learns the look of some pictures, and the
lower row draws the prompt in that look.

{TRAINED_HERE}

The prompt says *what* is drawn, the domain *how it looks*: do not name the domain in the prompt. Weight 2 with cfg 3 is
a good start; above a sum of about 8, pictures burn. Leave the negative prompt empty if you can: then it costs nothing.

**File**: {CHECKPOINT}.
""",
            group("Your model", [1, 2, 3, 4]),
            group("The domain", [5, 6], [7]),
        ),
        stack(group("Without the domain", [9, 10], [11]), group("With the domain", [8], [12, 13], [14])),
    ),
    "04-controlnet": row(
        explained(
            f"""
# The layout of a picture, in the look of a domain

## The ControlNet decides what is where, and the domain how it looks.

The domain side sees the same ControlNet (`control` is *same*), so that the domain is added and the layout stays.
*Apply Domain Guidance* may come before or after any other node on the MODEL line.

{TRAINED_HERE}

**Files**: {CHECKPOINT}; `control_v11p_sd15_scribble_fp16.safetensors` in `models/controlnet`, from
[its page](https://huggingface.co/comfyanonymous/ControlNet-v1-1_fp16_safetensors/tree/main). `example.png` comes with
ComfyUI: choose a picture of your own.
""",
            stack(group("Your model", [1, 4], [2, 3]), group("The layout", [9, 11], [12, 10, 13])),
            group("The domain", [5, 6], [7]),
        ),
        group("Without the domain", [14, 15, 16]),
        group("With the domain", [8, 17, 18, 19]),
    ),
    "05-ip-adapter": row(
        explained(
            f"""
# The subject of a picture, in the look of a domain

## IP-Adapter decides what is drawn, and the domain how it looks.

The domain side sees the same picture, so that only the look changes. If the picture is too strong, lower the weight of
IP-Adapter before you raise the domain's.

{TRAINED_HERE}

**Files**: the pack [ComfyUI_IPAdapter_plus](https://github.com/cubiq/ComfyUI_IPAdapter_plus); {CHECKPOINT};
`ip-adapter_sd15.safetensors` in `models/ipadapter`, from
[its page](https://huggingface.co/h94/IP-Adapter/tree/main/models); `CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors` in
`models/clip_vision`, which is [model.safetensors](https://huggingface.co/h94/IP-Adapter/tree/main/models/image_encoder),
renamed. `example.png` comes with ComfyUI.
""",
            stack(group("Your model", [1, 4], [2, 3]), group("The subject", [10, 8], [9, 11])),
            group("The domain", [5, 6], [7]),
        ),
        group("Without the domain", [13, 14, 15]),
        group("With the domain", [12, 16, 17, 18]),
    ),
    "06-image-to-image-and-inpaint": row(
        explained(
            """
# A picture, redrawn in the domain

## The second row redraws the pictures of the first, and the third only their right half.

`denoise` says how much may change. In the third row a mask says where: white is drawn anew, black is kept.

It needs no files. **With your own model**, replace *Toy World* with *Load Checkpoint*, and connect *Load Image* to *VAE
Encode*. For a mask of your own, open the picture in the mask editor and connect the MASK of *Load Image*.
""",
            stack(group("Your model", [1]), group("The domain", [2])),
            group("The mask", [12, 13, 14, 15]),
        ),
        stack(
            group("A picture to start from", [3], [4, 5, 7], [6]),
            group("Image to image", [8], [9, 10], [11]),
            group("Inpaint", [16], [17, 18], [19]),
        ),
    ),
    "07-train-a-domain": row(
        explained(
            """
# Train a domain from pictures

## Train Domain learns a look from pictures alone, without captions. The last row draws in that look.

The pictures are bold black ink drawings of 61 things. No cat, car or house is among them, yet the last row draws those
in ink, too. It takes a minute on a CPU, because the model is small. A preview and the loss curves appear
while it works. **Cancel** keeps the work, and **Run** continues it. With more `steps` it trains further; without a
change it just loads its file, which is in `output/side_networks`. When the *held-out* loss rises while the *training*
loss falls, the model memorises: stop, or add pictures. Set `form` to adapter for a LoRA, which trains more slowly but
loads in other nodes.

**For your own domain**, use template 03-on-your-own-checkpoint: its note says how to choose your pictures and settings.
""",
            group("Your model", [1]),
            group("The pictures", [2, 3, 4]),
        ),
        group("The domain", [5]),
        stack(
            group("Without domain guidance", [8], [10, 11], [12]),
            group("With the domain", [7, 9], [13, 14], [15, 6]),
        ),
    ),
    "08-save-a-domain": row(
        explained(
            """
# A domain from a checkpoint that you have

## A fine-tuned checkpoint is a domain already: its difference from its base.

The rows show it before you keep it. **Save Domain UNet** writes its network, its empty prompt and the name of its base
into one file, which *Load Domain UNet* loads from `output/diffusion_models` in any graph. Nothing is ever overwritten.
To look without saving, bypass it (Ctrl+B). A LoRA works the same way: put *Load LoRA* after the base in place
of the second checkpoint.

**Files** in `models/checkpoints`: `v1-5-pruned-emaonly-fp16.safetensors`, the base; a fine-tuned checkpoint of it, for
example `DreamShaper_8_pruned.safetensors` from [its page](https://huggingface.co/Lykon/DreamShaper/tree/main).
""",
            group("Your model", [1, 4, 5, 8]),
            group("The domain", [2, 6, 3]),
        ),
        stack(group("Without the domain", [9, 10], [11]), group("With the domain", [7], [12, 13], [14])),
    ),
    "09-two-domains-with-masks": row(
        explained(
            """
# Two domains, each in its part of the picture

## A mask says where a domain acts: plates on the left, a sky-blue background on the right.

A domain acts fully where its mask is white, not at all where it is black. The base knows the sky by name, and
**Domain Guidance Term** turns a prompt into a domain. For two domains of your own, use **Apply Domain Guidance** twice
in a row on the MODEL line, each with its own file and mask; the order does not matter. Masks may be soft, overlap, and
have any size of the picture's shape.

It needs no files.
""",
            stack(group("Your model", [1]), group("Second domain", [2])),
            group("The masks", [3, 4, 5, 6]),
        ),
        stack(
            group("Without domains", [13], [14, 15], [16]),
            group("Two domains", [7, 8], [9, 10, 11], [12]),
        ),
    ),
    "10-away-from-a-domain": row(
        explained(
            """
# A negative weight pushes away

## The same prompt and seed without the domain, towards it, and away from it.

Towards the domain, the digits are on plates. Away from it, with weight -1, they are anywhere else: no plate, no rim, no
table. Use it against a look that a model falls into again and again: train or load that look as a domain, and give it a
weight of -0.5 to -1. Much more overshoots, as a large cfg does: colours become extreme.

It needs no files.
""",
            group("Your model", [1]),
            group("The domain", [2, 3]),
        ),
        stack(
            group("Without the domain", [12], [13, 14], [15]),
            group("Towards the domain", [4], [5, 6], [7]),
            group("Away from the domain", [8], [9, 10], [11]),
        ),
    ),
    "11-one-domain-after-the-other": row(
        explained(
            """
# One domain after the other

## In the last row, the plates act in the first 30 % of the steps, and the sky in the rest.

Early steps decide the layout, late steps the colours and the detail: the last row has the round shape of the plates,
and the blue of the sky all over it. The rows above show each of them alone.

**Domain Guidance Schedule** is a factor for a weight over the sampling. Connect the two the other way round, and white
plates come out. To fade from one into the other, use the shape `linear`. A step with factor 0 costs nothing. It needs
no files.
""",
            stack(group("Your model", [1]), group("Second domain", [2])),
            group("The schedules", [3, 4, 7]),
        ),
        stack(
            group("The plates", [5], [9], [10, 11], [12]),
            group("The sky", [6], [13], [14, 15], [16]),
            group("Both, in turn", [8], [17], [18, 19], [20]),
        ),
    ),
    "12-which-weights": row(
        explained(
            """
# Which weights to use

## The report says in words what to change. It starts with a weight of 12 and cfg 8, which burn.

**Domain Guidance Report** is a KSampler that also measures how strongly prompt and domain pull in every step, whether
they agree, and whether the picture burns. Enter the numbers that it suggests in *Apply Domain Guidance* and in the
report, and press **Run** again.

**Domain Guidance Sweep** draws the same noise at every weight and cfg: on the right, colours are gaudy and outlines
broken. Cancel keeps the cells that are done.

It needs no files. **With your own model**, replace *Toy World* with *Load Checkpoint*, its prompts
with *CLIP Text Encode*, its latent with *Empty Latent Image*, and its `domain` with *Load Domain Adapter*, *Load Side
Network* or *Load Domain UNet*, whichever has your file.
""",
            group("Your model", [1]),
            group("The domain", [2]),
        ),
        stack(group("The report", [3], [4], [5, 6, 7]), group("The sweep", [8], [9])),
    ),
    "13-few-steps-at-cfg-1": row(
        explained(
            """
# A domain at few steps and cfg 1

## Eight steps at cfg 1, as few-step models are run, without and with the domain.

`reference` is **prompt**: the model with the trained adapter and the model without it both read your prompt, and their
difference is the domain. It takes two evaluations per step. At weight 1 the result is that of the plain LoRA, and from
there you can raise or lower it. A **side network** needs only one: see template 20.

The adapter is trained here in a minute or two, or loaded if template 07 has trained it already. It needs no files.

**With your own model**, put *Load Checkpoint* in place of Toy World and *Load Domain Adapter* in place of Train Domain.
A LoRA for few steps, such as [LCM](https://huggingface.co/latent-consistency/lcm-lora-sdv1-5), goes between the
checkpoint and *Apply Domain Guidance*, with the sampler and the scheduler that it asks for.
""",
            group("Your model", [1]),
            group("The domain", [2], [3]),
        ),
        stack(group("Without the domain", [4], [5, 6], [7]), group("With the domain", [8], [9, 10], [11])),
    ),
    "14-adapt-a-generator-to-a-domain": row(
        explained(
            """
# A GAN that learns a domain

## A generator that draws digits learns to draw them on plates. Each seed keeps its composition.

It never sees a plate: its pictures are shown to the diffusion model with **Apply Domain Guidance** on it, and every
step moves them the way that model would change them. `positive` and `negative` are both the empty prompt and cfg is 1,
so that the domain alone decides. The plates come out soft and without a sharp rim, because score distillation smooths
what it teaches. It takes about a minute on a CPU. With more `steps` it continues, and Cancel keeps the
work. More is not always better: watch the preview. It needs no files.

**With your own**, use *Load Generator*, your checkpoint with its VAE, and your domain; `resolution` 0, and a few
hundred `steps` at the default `learning_rate`. *Load Generator* lists the result, which is in `output/generators`.
""",
            group("Your models", [1, 2]),
            group("The adaptation", [3]),
        ),
        stack(
            group("Before", [4], [6], [7]),
            group("Adapted", [5], [8], [9]),
            group("Progress", [10]),
        ),
    ),
    "15-adapt-a-generator-to-a-prompt": row(
        explained(
            """
# A GAN that learns a prompt

## A generator that draws digits learns a sky-blue background. Each seed keeps its composition.

The model looks at what the generator draws and tells it how to change it to match the prompt. The generator itself
changes: afterwards it draws in milliseconds, without the model. The directional `regulariser` stays close to the
source. It takes less than a minute on a CPU. It needs no files.

**With your own**, use *Load Generator*, your checkpoint with its VAE, and prompts from *CLIP Text Encode*; 1000
`steps`, cfg 100 as in the paper, `batch_size` 1, `resolution` 0 and the default `learning_rate`. LoRAs and *Apply
Domain Guidance* on the model count as well. Cancel keeps the work, and Run continues.
""",
            group("Your models", [1]),
            group("The adaptation", [2]),
        ),
        stack(
            group("Before", [3], [4], [5]),
            group("Adapted", [6], [7], [8]),
            group("Progress", [9]),
        ),
    ),
    "16-generator-pictures-train-a-domain": row(
        explained(
            """
# A domain from what a GAN draws

## A generator draws two hundred pictures, and they train a domain that follows prompts.

With the domain, prompts, ControlNets and everything else work. The generator is the one that template 14 adapts: it is
adapted here, or loaded if that is done. All of it takes two or three minutes on a CPU. It needs no files.

**With your own generator**, use *Load Generator* in place of Adapt Generator, and your checkpoint in place of Toy
World.
""",
            group("Your models", [1, 2]),
            group("The generator", [3]),
        ),
        group("Its pictures", [4, 6, 7, 8]),
        group("The domain", [9, 5]),
        stack(
            group("Without the domain", [10, 11], [12, 13]),
            group("With the domain", [14, 15], [16, 17]),
        ),
    ),
    "17-my-picture-in-this-style": row(
        explained(
            """
# Your picture, drawn by an adapted generator

## The generator finds your picture, and its adapted version redraws that in its own style.

**Project Image Into Generator** searches for the latent from which the *source* draws your picture. An adapted
generator reads the same latents. **Blend Generators** takes coarse blocks (pose, shape) from one generator and fine
blocks (textures, colours) from the other. The adapted one is that of template 14: it is adapted here, or loaded if that
is done. It needs no files.

**With your own**, use *Load Image* and *Load Generator*, once for the source and once for what was adapted from it.
Frame the picture like the generator's own: for faces, upright and centred, from chin to forehead. 500 steps are a good
start.
""",
            group("Your models", [1, 6]),
            group("The picture", [2, 3, 4, 5]),
        ),
        stack(group("The blend", [9]), group("The style", [7])),
        stack(
            group("In the style", [13], [14], [15]),
            group("In the blend", [16], [17, 10], [18]),
            group("The source", [8], [11], [12]),
        ),
    ),
    "18-how-good-is-a-domain": row(
        explained(
            """
# Is my domain any good, and has it memorised?

## Evaluate Images compares pictures with real ones of the domain, in numbers and in words.

It says how far apart the two sets are, as a CLIP vision model sees them, with an interval; what share of the pictures
is plausible (precision) and what share of the real ones is covered (recall); how varied they are; and which real
picture is closest to each. So it reveals a domain that copies.

Use 100 pictures or more. Compare only numbers from the same CLIP vision model and the same number of pictures. **With
your own**, use your graph in place of the toy's, and the folder that the domain was trained on as `reference_folder`.

**File**: `CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors` in `models/clip_vision`, which is
[model.safetensors](https://huggingface.co/h94/IP-Adapter/tree/main/models/image_encoder), renamed; or any other one.
""",
            group("Your model", [1, 2]),
            group("The domain", [3]),
            group("Draw", [4, 5]),
        ),
        stack(group("In numbers", [6], [8]), group("The evaluation", [7])),
    ),
    "19-a-head-from-all-sides": row(
        explained(
            """
# One head, seen from all sides, and as a mesh

## An EG3D generator draws a head as a volume: pictures, depth, normals and a mesh.

**View Generator** shows it from any camera, and **Generator To Mesh** makes a mesh of it, the same head because it gets
the same latent. *Adapt Generator* (templates 14 and 15) accepts such a generator too: it is drawn from random cameras
while it learns, and can be viewed here afterwards. Between the pictures of an orbit, only what the super-resolution
adds flickers.

**File**: `ffhqrebalanced512-128.pkl` in `models/generators`, NVIDIA's generator of faces, from
[its page](https://catalog.ngc.nvidia.com/orgs/nvidia/teams/research/models/eg3d); or any other EG3D generator. Nothing
in such a file is executed.
""",
            group("The generator", [1, 2]),
            group("Draw", [3]),
        ),
        stack(
            row(group("The pictures", [5]), group("The mesh", [4], [8])),
            row(group("Their depth", [6]), group("Their normals", [7])),
        ),
    ),
    "20-a-side-network": row(
        explained(
            """
# A domain of a few MB that hardly costs anything

## A side network corrects what your own model answers. No second model is evaluated.

The rows show the same prompt and seed without the domain, with a whole network, and with a side network of the same
domain. *Train Domain* with the `form` *side-network* makes one from pictures alone, and no gradient has to pass through
your model. Everything else works as with any domain.

It needs no files. **With your own model**, replace *Toy World* with *Load Checkpoint*, and its `side_network` with
*Load Side Network*.
""",
            group("Your model", [1]),
            group("The domain", [2, 3]),
        ),
        stack(
            group("Without the domain", [4], [5, 6], [7]),
            group("A whole network", [8], [9, 10], [11]),
            group("A side network", [12], [13, 14], [15]),
        ),
    ),
    "21-paint-a-mesh-in-a-domain": row(
        explained(
            """
# A mesh, painted in a domain

## The same vase from eight sides, drawn in the domain and painted back onto it.

**Views Of Mesh** looks at the vase, and the sampler draws a picture for each view: *what* comes from the prompt, *how
it looks* from the domain. **Synchronise Views** makes them agree wherever they show the same spot, and **Paint Mesh
From Views** makes a texture of them.

It needs no files. **With your own model**, raise width and height in *Views Of Mesh*, give the empty latent the same
size and `view_count` as its batch size, and connect `depth` to a ControlNet.
""",
            group("Your model", [1, 2]),
            group("The domain", [3, 4]),
        ),
        stack(
            group("The views", [5], [6, 9], [10]),
            group("The mesh", [7], [11], [8]),
        ),
    ),
    "22-picture-to-mesh-in-a-domain": row(
        stack(
            note(f"""
# From a picture to a painted mesh, in a domain

## A picture of one object, a shape made of it, and a texture for the shape, all in the domain.

The shape is made by ComfyUI's own nodes. Then **Views Of Mesh** looks at it from eight sides, the sampler draws each of
them in the domain, with the depth as its ControlNet, **Synchronise Views** makes them agree, and **Paint Mesh From
Views** makes a texture of them. `octree_resolution` is 128, so that unwrapping takes seconds; above 200, put *Decimate
Mesh* before *Unwrap Mesh UVs*. The domain is the look of a fine-tuned checkpoint (template 08); one that you have
trained goes in its place.

**Files**: {CHECKPOINT}; a fine-tuned one, for example `DreamShaper_8_pruned.safetensors` from
[its page](https://huggingface.co/Lykon/DreamShaper/tree/main); `hunyuan3d-dit-v2_fp16.safetensors` in
`models/checkpoints`, from
[its page](https://huggingface.co/Comfy-Org/hunyuan3D_2.0_repackaged/tree/main/split_files);
`control_v11f1p_sd15_depth_fp16.safetensors` in `models/controlnet`, from
[its page](https://huggingface.co/comfyanonymous/ControlNet-v1-1_fp16_safetensors/tree/main).
"""),
            group("Your model", [1, 6], [3, 4]),
            group("The domain", [2], [29]),
        ),
        stack(
            group("The picture", [5], [7, 8], [9]),
            group("The views", [19, 20], [22, 21], [23, 24, 25]),
        ),
        stack(
            group("The shape", [10, 11, 14], [12, 13, 15], [16, 17, 18]),
            group("The mesh", [27, 26], [28]),
        ),
    ),
    "23-draw-in-a-domain.app": row(
        explained(
            f"""
# Draw in a domain, as an app

## The app asks for checkpoint, name of the domain, prompt, weight and seed. This is the graph behind it.

To draw in a domain of your own pictures, use the app of template 24.

{TRAINED_HERE}

**File**: {CHECKPOINT}.
""",
            group("Your model", [1, 2, 3, 4]),
            group("The domain", [5, 6], [7]),
        ),
        group("With the domain", [8], [9, 10], [11]),
    ),
    "24-train-a-domain-from-a-folder.app": row(
        explained(
            f"""
# Train a domain from a folder, as an app

## Choose a folder of pictures, and get a picture that looks like them. This is the graph behind it.

Put the pictures into a sub-folder of ComfyUI's `input` and choose it as the folder; it is used instead of the pack's
pictures. If a new folder is missing from the list, press R. The first run trains the domain, and later runs only load
it and draw. Another folder needs another name.

**File**: {CHECKPOINT}.
""",
            group("Your model", [1, 2, 3, 4]),
            group("The domain", [5, 6], [7]),
        ),
        stack(group("With the domain", [8], [9, 10], [11]), group("The training", [12])),
    ),
}
