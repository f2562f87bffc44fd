"""Meshes in the host: its MESH as a surface and back, and sampling in which the views of one agree."""
