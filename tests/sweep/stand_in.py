"""Stands in for a training: leaves its results, or fails, or runs until it is stopped. Needs no package.

python stand_in.py BEHAVIOUR RUN_DIR SEED, with BEHAVIOUR = a score, fail, endless or silent.
"""

import json
import sys
import time
from pathlib import Path

behaviour, run, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
run.mkdir(parents=True, exist_ok=True)
(run / "begun").write_text("")
if behaviour == "fail":
    print("the disk is full")
    sys.exit(3)
if behaviour == "endless":
    time.sleep(1000)
row = {"semantic": "shape", "features": "backbone", "untrained": 0.5, "skipped": None, "train": 8, "test": 8}
clip = {"frames": 8, "stride": 2, "size": 16, "fps": None, "views": 2}
config = {"data": "shapes", "method": "simclr", "decouple": "bod", "seed": seed, "clip": clip}
(run / "config.yaml").write_text(json.dumps({**config, "batch_size": 4, "model": {"backbone": "tiny"}}))
(run / "summary.json").write_text(json.dumps({"steps": 5, "planned steps": 5}))
(run / "metrics.jsonl").write_text(json.dumps({"step": 5, "clips_per_second": 4.0, "memory_gb": 2.0}) + "\n")
if behaviour != "silent":
    (run / "probe.json").write_text(json.dumps({"rows": [{**row, "pretrained": float(behaviour)}]}))
