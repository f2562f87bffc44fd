"""The socket type of views: VIEWS is a `comfy_host.meshes.mesh.MeshViews`."""

from __future__ import annotations

from comfy_api.latest import io

ViewsIO = io.Custom("VIEWS")
