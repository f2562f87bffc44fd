"""A reader of binary glTF written from the specification alone (Khronos glTF 2.0, sections 3.6, 3.8, 3.9 and 4.4)."""

import io
import json
import struct
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
TRIANGLES = 4


@dataclass(frozen=True)
class Textured:
    """Vertices [N, 3], their places in the texture [N, 2], triangles [M, 3] and the base colour's texture [H, W, 3].

    vertex_colours: [N, 3 or 4], by which the texture is multiplied (section 3.9.2), or None.
    """

    vertices: torch.Tensor
    uvs: torch.Tensor
    faces: torch.Tensor
    texture: torch.Tensor
    vertex_colours: torch.Tensor | None


def read_glb(data: bytes) -> Textured:
    """The one textured mesh of a .glb."""
    magic, version, length = struct.unpack_from("<III", data)
    assert (magic, version, length) == (MAGIC, 2, len(data))
    chunks, start = {}, 12
    while start < length:
        size, kind = struct.unpack_from("<II", data, start)
        assert size % 4 == 0  # chunks end on four bytes
        chunks.setdefault(kind, data[start + 8 : start + 8 + size])
        start += 8 + size
    document, binary = json.loads(chunks[JSON_CHUNK]), chunks[BINARY_CHUNK]
    assert document["asset"]["version"] == "2.0" and document["buffers"][0]["byteLength"] <= len(binary)
    (mesh,) = document["meshes"]
    (primitive,) = mesh["primitives"]
    assert primitive.get("mode", TRIANGLES) == TRIANGLES
    base = document["materials"][primitive["material"]]["pbrMetallicRoughness"]["baseColorTexture"]
    places = primitive["attributes"][f"TEXCOORD_{base.get('texCoord', 0)}"]
    colour = primitive["attributes"].get("COLOR_0")
    return Textured(
        _accessor(document, binary, primitive["attributes"]["POSITION"]).float(),
        _accessor(document, binary, places).float(),
        _accessor(document, binary, primitive["indices"]).long().view(-1, 3),
        _image(document, binary, document["textures"][base["index"]]["source"]),
        None if colour is None else _accessor(document, binary, colour).float(),
    )


def _accessor(document, binary, number):
    accessor = document["accessors"][number]
    kind, width = np.dtype(COMPONENTS[accessor["componentType"]]), WIDTHS[accessor["type"]]
    view = document["bufferViews"][accessor["bufferView"]]
    start, row = view.get("byteOffset", 0) + accessor.get("byteOffset", 0), kind.itemsize * width
    assert start % kind.itemsize == 0 and view.get("byteStride", row) == row
    assert accessor.get("byteOffset", 0) + accessor["count"] * row <= view["byteLength"]
    values = np.frombuffer(binary, kind, accessor["count"] * width, start).reshape(accessor["count"], width)
    return torch.from_numpy(values.astype("f8" if kind.kind == "f" else "i8"))


def _image(document, binary, number):
    image = document["images"][number]
    view = document["bufferViews"][image["bufferView"]]
    start = view.get("byteOffset", 0)
    opened = Image.open(io.BytesIO(binary[start : start + view["byteLength"]]))
    assert Image.MIME[opened.format] == image["mimeType"]
    return torch.from_numpy(np.array(opened.convert("RGB"))).float() / 255


def colours(mesh: Textured) -> torch.Tensor:
    """What a viewer shows at every vertex, [N, 3]: texture coordinates begin at the upper left corner."""
    height, width = mesh.texture.shape[:2]
    column = (mesh.uvs[:, 0] * width).long().clamp(0, width - 1)
    row = (mesh.uvs[:, 1] * height).long().clamp(0, height - 1)
    factor = 1.0 if mesh.vertex_colours is None else mesh.vertex_colours[:, :3]
    return mesh.texture[row, column] * factor
