"""A small world of drawn pictures: things that a child can name, in the hands of several artists.

`things` names them, `drawings` renders other people's emoji from their packages once, `scenes` lays a drawing on a
ground, `variations` shows it in other looks, `patch_code` makes latents of pictures, `model` is the shape of the UNet,
`prompts` the text encoder, `words` reads what a user writes, `stages` trains them all, `drawing` draws with them, and
`judge` and `evaluation` say how well. `forms` trains the domains in every form, for `evidence.emoji`.
Nothing is imported here: reading the weights must not cost the import of what made them.
"""
