"""Writes generator files of every foreign format, as the original programs do: with Python's pickle and with
torch.save.

    python write_files.py FOLDER

A program of its own, because it invents the modules that those pickles name (`torch_utils.persistence`, `dnnlib`, ...).
"""

import argparse
import collections
import copyreg
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import sheet


def module(name):
    for depth in range(1, name.count(".") + 2):
        part = ".".join(name.split(".")[:depth])
        sys.modules.setdefault(part, types.ModuleType(part))
    return sys.modules[name]


def placed(where):
    def place(thing):
        thing.__module__ = where
        thing.__qualname__ = thing.__name__
        setattr(module(where), thing.__name__, thing)
        return thing

    return place


@placed("dnnlib.util")
class EasyDict(dict):
    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


@placed("torch_utils.persistence")
def _reconstruct_persistent_obj(meta):
    raise NotImplementedError


class Persistent(torch.nn.Module):
    """A module that pickles as its class' name, its state, and source for the loader to execute."""

    def __init__(self, class_name, source, **attributes):
        super().__init__()
        self.__dict__["_class_name"], self.__dict__["_source"] = class_name, source
        self.__dict__.update(attributes)

    def __reduce__(self):
        state = {name: value for name, value in self.__dict__.items() if name not in ("_class_name", "_source")}
        meta = EasyDict(type="class", version=6, module_src=self._source, class_name=self._class_name, state=state)
        return _reconstruct_persistent_obj, (meta,)


def network(tensors, source, class_name="Generator", **attributes):
    """Nested persistent modules that hold these tensors."""
    root = Persistent(
        class_name, source, _init_args=(), _init_kwargs=EasyDict(z_dim=sheet.Z, channel=np.int64(3)), extra={"a", "b"}
    )
    for name, tensor in tensors.items():
        at = root
        *path, leaf = name.split(".")
        for part in path:
            if part not in at._modules:
                at.add_module(
                    part, Persistent("Layer", source, **(attributes if part.startswith(("conv", "torgb")) else {}))
                )
            at = at._modules[part]
        buffer = leaf in ("w_avg", "noise_const", "resample_filter")
        at.register_buffer(leaf, tensor.clone()) if buffer else at.register_parameter(
            leaf, torch.nn.Parameter(tensor.clone())
        )
    return root


def filters():
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return {
        f"synthesis.b{r}.{layer}resample_filter": torch.outer(taps, taps) / 64
        for r in (8, 16, 32)
        for layer in ("", "conv0.", "conv1.")
    }


def nvidia(tensors, source="raise SystemExit('executed')", **attributes):
    averaged = network({**tensors, **filters()}, source, **attributes)
    other = network({"b4.weight": torch.ones(2, 2)}, source)
    options = EasyDict(class_name="training.dataset", resolution=np.int32(32), mean=np.arange(3.0))
    return {"G": other, "D": other, "G_ema": averaged, "augment_pipe": None, "training_set_kwargs": options}


@placed("dnnlib.tflib.network")
class Network:
    def __init__(self, variables, components=(), **static_kwargs):
        self.state = {
            "version": 4,
            "name": "Gs",
            "static_kwargs": EasyDict(static_kwargs),
            "components": dict(components),
            "build_module_src": "raise SystemExit('executed')",
            "build_func_name": "G_main",
            "variables": list(variables.items()),
        }

    def __getstate__(self):
        return self.state


def tensorflow(tensors, **static_kwargs):
    top, mapping, synthesis = sheet.tensorflow(tensors)
    generator = Network(top, {"mapping": Network(mapping), "synthesis": Network(synthesis)}, **static_kwargs)
    return Network({}), Network({}), generator


def as_a_session_gives_them(variables):
    """TensorFlow's Session.run makes a NumPy scalar of a variable without axes, and `lod` is left over in old files."""
    return {name: x[()] for name, x in variables.items()} | {"lod": np.float32(0)}


def tensorflow_with_scalars(tensors):
    top, mapping, synthesis = sheet.tensorflow(tensors)
    parts = {"mapping": Network(mapping), "synthesis": Network(as_a_session_gives_them(synthesis))}
    return Network({}), Network({}), Network(as_a_session_gives_them(top), parts)


def checkpoint(tensors, **others):
    state, mean = sheet.rosinality(tensors)
    return {"g_ema": collections.OrderedDict(state), "latent_avg": mean, **others}


def write(folder):
    plain, labelled = sheet.nvidia_weights(), sheet.nvidia_weights(classes=sheet.CLASSES)
    canary = folder / "canary"
    source = f"import os; os.remove({str(canary)!r})"
    for protocol in (2, 3, 4, 5):
        if protocol != 5:  # for arrays NumPy uses a global of its own there, which no known file has
            (folder / f"nvidia{protocol}.pkl").write_bytes(pickle.dumps(nvidia(plain, source), protocol))
    (folder / "nvidia-labels.pkl").write_bytes(pickle.dumps(nvidia(labelled, source, conv_clamp=256), 4))
    (folder / "nvidia-two-clamps.pkl").write_bytes(pickle.dumps(two_clamps(plain), 4))
    for protocol in (3, 4):
        (folder / f"tensorflow{protocol}.pkl").write_bytes(pickle.dumps(tensorflow(plain), protocol))
        (folder / f"tensorflow-scalars{protocol}.pkl").write_bytes(
            pickle.dumps(tensorflow_with_scalars(plain), protocol)
        )
    (folder / "tensorflow-ada.pkl").write_bytes(
        pickle.dumps(tensorflow(labelled, conv_clamp=256, architecture="skip"), 4)
    )
    for name, new in (("rosinality", True), ("rosinality-old", False)):
        torch.save(checkpoint(plain), folder / f"{name}.pt", _use_new_zipfile_serialization=new)
    torch.save(trainer(plain), folder / "trainer.pt")
    torch.save({"g_ema": converted_half(plain)}, folder / "nada.pt")
    bare = {name: tensor for name, tensor in checkpoint(plain)["g_ema"].items() if not name.startswith("noises")}
    torch.save({"g_ema": bare}, folder / "without-noise-and-mean.pt")
    unlabelled = {name: tensor for name, tensor in labelled.items() if not name.startswith("mapping.embed")}
    torch.save(checkpoint(unlabelled), folder / "without-its-label-embedding.pt")
    write_refused(folder, plain)


def two_clamps(tensors):
    networks = nvidia(tensors, conv_clamp=256)
    networks["G_ema"].synthesis.b8.conv1.conv_clamp = 128
    return networks


def trainer(tensors):
    layers = torch.nn.Linear(3, 3).state_dict()
    moments = {
        number: {"step": torch.tensor(1.0), "exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)}
        for number in range(2)
    }
    group = {"lr": 0.002, "betas": (0.0, 0.99), "eps": 1e-8, "amsgrad": False, "fused": None, "params": [0, 1]}
    optimizer = {"state": moments, "param_groups": [group]}
    state = checkpoint(tensors)["g_ema"]
    state._metadata = {"": {"version": 1}}
    options = argparse.Namespace(path="data", iter=800000, lr=0.002, mixing=0.9, augment=False)
    others = {"g": layers, "d": layers, "g_optim": optimizer, "d_optim": optimizer}
    return {**others, "g_ema": state, "args": options, "ada_aug_p": 0.0, "latent_avg": sheet.rosinality(tensors)[1]}


def converted_half(tensors):
    return {name: tensor.half() if tensor.ndim else tensor for name, tensor in sheet.rosinality(tensors)[0].items()}


def write_refused(folder, plain):
    """Files of honest programs that are something else."""
    refused = folder / "refused"
    refused.mkdir()

    def pkl(name, thing):
        (refused / f"{name}.pkl").write_bytes(pickle.dumps(thing, 4))

    def renamed(old, new):
        return {(new if name == old else name): tensor for name, tensor in plain.items()}

    def without(*ends):
        return {name: tensor for name, tensor in plain.items() if not name.endswith(ends)}

    def changed(name, tensor):
        return {**plain, name: tensor}

    pkl(
        "stylegan3",
        nvidia(
            {f"{name}.weight": torch.ones(2, 2) for name in ("mapping.fc0", "synthesis.L0_36_512", "synthesis.input")}
        ),
    )
    pkl("resnet", nvidia({**plain, "synthesis.b8.skip.weight": torch.ones(8, 8, 1, 1)}))
    pkl("orig", nvidia({name: t for name, t in plain.items() if "torgb" not in name or "b32" in name}))
    pkl("unknown-key", nvidia({**plain, "synthesis.b8.attention.weight": torch.ones(3)}))
    pkl("missing-key", nvidia(without("b8.conv1.bias")))
    pkl("wrong-shape", nvidia(changed("synthesis.b16.conv0.weight", torch.ones(6, 7, 3, 3))))
    pkl("gap-between-blocks", nvidia({name: t for name, t in plain.items() if ".b8." not in name}))
    pkl("nan", nvidia(changed("synthesis.b16.conv0.bias", torch.full((6,), float("nan")))))
    pkl("infinity", nvidia(changed("mapping.w_avg", torch.full((sheet.W,), float("inf")))))
    pkl("integers", nvidia(changed("mapping.w_avg", torch.ones(sheet.W, dtype=torch.int64))))
    pkl("other-filter", nvidia({**plain, "synthesis.b4.resample_filter": torch.ones(4, 4) / 16}))
    pkl("no-averaged-generator", {"G": nvidia(plain)["G_ema"]})
    pkl("generator-itself", nvidia(plain)["G_ema"])
    top, mapping, synthesis = sheet.tensorflow(plain)
    style_mod = {f"4x4/Const/StyleMod/{part}": np.ones((2, 2), np.float32) for part in ("weight", "bias")}
    pkl(
        "stylegan1",
        (Network({}), Network({}), Network(top, {"mapping": Network(mapping), "synthesis": Network(style_mod)})),
    )
    skips = {**synthesis, "8x8/Skip/weight": np.ones((1, 1, 8, 8), np.float32)}
    labels = {**mapping, "LabelConcat/weight": np.ones((3, 3), np.float32)}
    pkl("tensorflow-resnet", (Network({}), Network({}), Network(top, {"synthesis": Network(skips)})))
    pkl("tensorflow-labels-1", (Network({}), Network({}), Network(top, {"mapping": Network(labels)})))
    pkl("tensorflow-pair", tensorflow(plain)[:2])
    pkl("tensorflow-unknown", (Network({}), Network({}), Network({**top, "secret": np.ones(2, np.float32)})))
    pkl("tensorflow-objects", (Network({}), Network({}), Network({**top, "lod": np.array([None, 3])})))
    pkl("tensorflow-big-endian", (Network({}), Network({}), Network({"dlatent_avg": np.ones(12, ">f4")})))
    placed("tfutil")(type("Network", (Network,), {}))
    old = module("tfutil").Network({})
    pkl("progressive-gan", (old, old, old))
    placed("training.triplane")(type("OSGDecoder", (torch.nn.Module,), {}))
    pkl("eg3d", {"G_ema": Persistent("TriPlaneGenerator", "", decoder=module("training.triplane").OSGDecoder())})
    pkl("numpy-5", None)
    (refused / "numpy-5.pkl").write_bytes(pickle.dumps(tensorflow(plain), 5))
    torch.save(checkpoint(plain)["g_ema"], refused / "no-key.pt")
    torch.save({"generator.progression.0.conv1.weight": torch.ones(2)}, refused / "stylegan1.pt")
    torch.save({"g_ema": {"style.1.weight": torch.ones(2, 2), 7: torch.ones(2)}}, refused / "number-key.pt")
    torch.save({"g_ema": {"style.1.weight": "text"}}, refused / "text-for-weights.pt")
    torch.save(checkpoint(changed("mapping.w_avg", torch.full((sheet.W,), float("nan")))), refused / "nan.pt")
    with zipfile.ZipFile(refused / "torchscript.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"linear/{name}", pickle.dumps(()))
    torch.save({"g_ema": {"style.1.weight": torch.ones(3).to_sparse()}}, refused / "sparse.pt")
    torch.save({"g_ema": {"style.1.weight": torch.ones(1).expand(1000, 1000)}}, refused / "expanded.pt")
    aliased = torch.ones(1000)
    torch.save({"g_ema": {f"style.{n}.weight": aliased for n in range(1, 50)}}, refused / "one-storage-many-tensors.pt")


copyreg.pickle(Network, lambda self: (copyreg.__newobj__, (type(self),), self.__getstate__()))

if __name__ == "__main__":
    write(Path(sys.argv[1]))
