"""Everything the pack knows of ComfyUI's internals.

The nodes beside this folder only declare inputs and call into it.
"""
