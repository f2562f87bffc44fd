"""Tensors as pictures, grids of them, and plots, with Pillow."""
