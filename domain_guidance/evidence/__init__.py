"""The papers' ordering of methods in miniature: one set of prompts, one noise and one judge for every method.

Every method is judged at its best weights. `plan` says how much, `jobs` lists what is to be done, `run` does what is
not done yet, `tables` makes Markdown of the results. `worlds` trains, `methods` guides, `cells` measures; `control`,
`editing` and `two_domains` are tasks of their own; `benchmarks/toy_world.py` is the command. `emoji` sets the methods
beside each other in the emoji world, for `benchmarks/emoji_world.py`. Nothing is imported here.
"""
