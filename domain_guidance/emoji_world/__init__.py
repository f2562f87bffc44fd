"""A small world of drawn pictures: things that a child can name, in the hands of several artists.

`things` names them, `drawings` renders other people's emoji from their packages once, `scenes` lays a drawing on a
ground, `autoencoder` and `model` are the shapes of the nets, `prompts` is the text encoder, `judge` reads pictures, and
`stages` trains them all.
Nothing is imported here: reading the weights must not cost the import of what made them.
"""
