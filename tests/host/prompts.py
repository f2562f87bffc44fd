"""API-format prompts, written as Python: `graph.add("KSampler", model=loader, seed=1)`."""

import copy

SAMPLING = {"seed": 7, "steps": 3, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}


class Node:
    """A node in a graph; `node[1]` is its second output, the node itself stands for the first."""

    def __init__(self, node_id):
        self.id = node_id

    def __getitem__(self, index):
        return [self.id, index]


class Graph(dict):
    """A prompt as the host takes it: node id -> {class_type, inputs}."""

    def add(self, class_type, /, **inputs):
        """Append a node; widgets that are not given stand at their defaults, as in the frontend."""
        node_id = str(len(self) + 1)
        given = {name: _link(value) for name, value in inputs.items()}
        self[node_id] = {"class_type": class_type, "inputs": {**_widget_defaults(class_type), **given}}
        return Node(node_id)

    def copy(self):
        return copy.deepcopy(self)


def _widget_defaults(class_type):
    import nodes

    required = nodes.NODE_CLASS_MAPPINGS[class_type].INPUT_TYPES().get("required", {})
    return {name: default for name, spec in required.items() if (default := _default(spec)) is not None}


def _default(spec):
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    choices = kind if isinstance(kind, list) else options.get("options") or [None]
    return options.get("default", choices[0])


def _link(value):
    return value[0] if isinstance(value, Node) else value


def ksampler(graph, model, positive, negative, latent, **changes):
    """A KSampler with this suite's small settings (3 steps), some of them changed."""
    return graph.add(
        "KSampler", model=model, positive=positive, negative=negative, latent_image=latent, **{**SAMPLING, **changes}
    )


def sample_with_guider(graph, model, guider, latent, *, sampler="euler", steps=3, seed=7, denoise=1.0):
    """SamplerCustomAdvanced around a guider."""
    return graph.add(
        "SamplerCustomAdvanced",
        guider=guider,
        latent_image=latent,
        noise=graph.add("RandomNoise", noise_seed=seed),
        sampler=graph.add("KSamplerSelect", sampler_name=sampler),
        sigmas=graph.add("BasicScheduler", model=model, scheduler="normal", steps=steps, denoise=denoise),
    )
