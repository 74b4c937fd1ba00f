"""Videos: from files, or rendered, to batches of clips.

A room imports only from those before it::

    randomness, workers < made < sets < files < clips < sources < show

=============== ===========================================================================================
``randomness``  random numbers that depend only on (seed, purpose, epoch, index)
``workers``     processes that answer in order, and what happens when one dies
``made``        how the videos of the built-in data sets are drawn and written
``sets``        data sets by name: which videos there are, their splits and labels
``files``       what a video file holds, exact access to its frames, scans, training copies
``clips``       which frames, crops and colours a training step sees
``sources``     the batches: decoding with PyAV, DALI or TorchCodec
``show``        clips as training sees them, beside the whole frames
=============== ===========================================================================================
"""
