"""Files that survive: atomic writes, plain tables, and the sharded store of activations.

Nothing here imports torch. The written format is in ``FORMAT.md`` beside this file.
"""
