"""ComfyUI's nodes, one file each: a schema, its tooltips and one call into the library or `comfy_host`."""
