"""A small world on real data: handwritten digits as coloured strokes, and one domain of it.

`digits` reads and splits the handwriting, `scenes` paints, `prompts` is the text encoder, `model` the shape of the net,
`features` judges pictures, `checkpoints` loads what `train` made. Nothing is imported here: reading the weights must
not cost the import of scikit-learn, and composing scenes must not cost that of diffusers.
"""
