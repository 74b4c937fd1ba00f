"""What a run on the user's own videos trains, where neither a recipe nor an option says it.

It is chosen from the videos and the device, each value with its reason. Needs no PyTorch.

No value was tuned on real videos; the reasons say where each comes from.
"""
