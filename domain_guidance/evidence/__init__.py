"""The papers' ordering of methods in miniature: the same prompts, noise and judge for every method, each at its best
weights.

`plan` says how much, `jobs` lists what is to be done, `run` does what is not done yet, `tables` makes Markdown of the
results. `worlds` trains, `methods` guides, `cells` measures; `control`, `editing` and `two_domains` are tasks of their
own. `benchmarks/toy_world.py` is the command. Nothing is imported here.
"""
