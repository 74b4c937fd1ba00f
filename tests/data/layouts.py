"""Miniature data sets in their official layouts: real file formats, copies of one tiny real video."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from video_files import varied_copy


def build(root: Path, video: Path, videos: list[str], texts: Mapping[str, object]) -> Path:
    """Put a video under every name, no two the same byte by byte, and texts (or JSON) in files."""
    for name in videos:
        path = root / name
        varied_copy(video, path)
    for name, content in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((content if isinstance(content, str) else json.dumps(content)).encode())
    return root


def ucf101(root: Path, video: Path) -> Path:
    """Four classes in the official order, which is not the alphabetical one; Windows line ends."""
    names = {
        "Hammering": ["v_Hammering_g01_c01", "v_Hammering_g08_c01"],
        "HammerThrow": ["v_HammerThrow_g01_c01", "v_HammerThrow_g08_c01"],
        "HandstandPushups": ["v_HandStandPushups_g01_c01", "v_HandStandPushups_g08_c01"],
    }
    lists = "ucfTrainTestlist"
    texts = {f"{lists}/classInd.txt": "35 Hammering\r\n36 HammerThrow\r\n37 HandstandPushups\r\n"}
    for fold, (train, test) in {1: (1, 0), 2: (0, 1), 3: (0, 1)}.items():
        texts[f"{lists}/trainlist0{fold}.txt"] = "".join(
            f"{label}/{stems[train]}.avi {35 + number}\r\n"
            for number, (label, stems) in enumerate(names.items())
        )
        texts[f"{lists}/testlist0{fold}.txt"] = "".join(
            f"{label}/{stems[test]}.avi\r\n" for label, stems in names.items()
        )
    videos = [f"UCF-101/{label}/{stem}.avi" for label, stems in names.items() for stem in stems]
    return build(root, video, videos, texts)


def hmdb51(root: Path, video: Path) -> Path:
    """Names with every character that breaks a careless parser; tags 0, 1 and 2."""
    smile = ["A#1 (x)_smile_h_nm_np1_fr_goo_0.avi", "b;c!&_smile_h_nm_np1_fr_goo_1.avi", "gone_smile_2.avi"]
    chew = ["A#1 (x)_smile_h_nm_np1_fr_goo_0.avi", "chew_2.avi"]  # the same name in another class
    tags = {1: "120", 2: "211", 3: "011"}
    texts = {}
    for fold, row in tags.items():
        place = "testTrainMulti_7030_splits"
        texts[f"{place}/smile_test_split{fold}.txt"] = "".join(
            f"{name} {tag} \n" for name, tag in zip(smile, row)
        )
        texts[f"{place}/chew_test_split{fold}.txt"] = "".join(
            f"{name} {tag} \n" for name, tag in zip(chew, row)
        )
    videos = [f"hmdb51_org/smile/{name}" for name in smile[:2]] + [f"hmdb51_org/chew/{name}" for name in chew]
    return build(root, video, videos, texts)


def kinetics(root: Path, video: Path) -> Path:
    """Flat and in class folders, with and without times in the name; one file is gone, one was replaced."""
    head = "label,youtube_id,time_start,time_end,split\n"
    texts = {
        "annotations/train.csv": head
        + "playing ukulele,aaaaaaaaaaa,10,20,train\n"
        + "massaging person's head,bbbbbbbbbbb,0,10,train\n"
        + "playing ukulele,-_ccccccccc,100,110,train\n"
        + "playing ukulele,ddddddddddd,5,15,train\n"
        + "tap dancing,ddddddddddd,50,60,train\n",
        "annotations/val.csv": head + '"tap dancing",eeeeeeeeeee,3,13,val\n',
        "annotations/test.csv": "youtube_id,time_start,time_end,split\nfffffffffff,1,11,test\n",
    }
    videos = [
        "train/aaaaaaaaaaa_000010_000020.mp4",
        "train/massaging_person's_head/bbbbbbbbbbb_000000_000010.mp4",
        "replacement/replacement_for_corrupted_k400/bbbbbbbbbbb_000000_000010.mp4",
        "train/playing ukulele/-_ccccccccc.mp4",
        "train/ddddddddddd_000005_000015.mp4",
        "train/zzzzzzzzzzz_000000_000010.mp4",
        "val/eeeeeeeeeee_3_13.mkv",
        "test/fffffffffff_000001_000011.mp4",
    ]
    return build(root, video, videos, texts)


SSV2_LABELS = {
    "Holding something": "2",
    "Pushing something from left to right": "0",
    "Moving something down": "1",
}


def ssv2(root: Path, video: Path, old: bool = False) -> Path:
    """The present names (labels/train.json) or the first ones (something-something-v2-train.json)."""

    def item(number: str, template: str) -> dict[str, object]:
        return {"id": number, "label": "x", "template": template, "placeholders": ["a cup"]}

    name = "something-something-v2-{}" if old else "labels/{}"
    texts: dict[str, object] = {
        name.format("labels.json"): SSV2_LABELS,
        name.format("train.json"): [
            item("1", "Pushing [something] from left to right"),
            item("2", "Holding [something]"),
            item("9", "Holding [something]"),
        ],
        name.format("validation.json"): [item("3", "Moving [something] down")],
        name.format("test.json"): [{"id": "4"}],
    }
    if not old:
        texts["labels/test-answers.csv"] = "4;Holding something\n"
    videos = [f"20bn-something-something-v2/{number}.webm" for number in "1234"]
    return build(root, video, videos, texts)


GYM_ELEMENTS = ["0LtLS9wROrk_E_002407_002435_A_0003_0005", "_A_wROrk-_E_E_000010_000012_A_0000_0001"]
GYM_CATEGORIES = """\
Clabel:   0; set:  1; Glabel:   1; (VT) round-off, flic-flac with 0.5 turn on, stretched salto forward
Clabel:   1; set: 21; Glabel: 141; (FX) switch leap with 1 turn      
"""


def finegym(root: Path, video: Path, cut: bool) -> Path:
    """Elements that were cut, or whole videos and the times of events and elements."""
    texts: dict[str, object] = {
        "annotations/gym99_train_element_v1.1.txt": f"{GYM_ELEMENTS[0]} 1\n",
        "annotations/gym99_val_element.txt": (
            f"{GYM_ELEMENTS[1]} 0\nabsentabsen_E_000001_000002_A_0000_0001 1\n"
        ),
        "annotations/gym99_categories.txt": GYM_CATEGORIES,
    }
    if cut:
        return build(root, video, [f"subactions/{name}.mp4" for name in GYM_ELEMENTS], texts)
    texts["annotations/finegym_annotation_info_v1.1.json"] = {
        "0LtLS9wROrk": {
            "E_002407_002435": {
                "event": 1,
                "timestamps": [[0.4, 1.8]],
                "segments": {"A_0003_0005": {"stages": 1, "timestamps": [[0.2, 0.6]]}},
            }
        },
        "_A_wROrk-_E": {
            "E_000010_000012": {
                "event": 2,
                "timestamps": [[0.0, 1.0]],
                "segments": {"A_0000_0001": {"stages": 2, "timestamps": [[0.0, 0.2], [0.3, 0.8]]}},
            }
        },
    }
    return build(root, video, ["videos/0LtLS9wROrk.mp4", "videos/_A_wROrk-_E.mp4"], texts)


def diving48(root: Path, video: Path) -> Path:
    """Two dives."""
    texts: dict[str, object] = {
        "Diving48_vocab.json": [["Back", "15som", "05Twis", "FREE"], ["Back", "25som", "NoTwis", "PIKE"]],
        "Diving48_V2_train.json": [
            {"vid_name": "_8Vy3dlHg2w_00000", "label": 1, "start_frame": 0, "end_frame": 10}
        ],
        "Diving48_V2_test.json": [
            {"vid_name": "_8Vy3dlHg2w_00001", "label": 0, "start_frame": 0, "end_frame": 10},
            {"vid_name": "gone_00002", "label": 0, "start_frame": 0, "end_frame": 10},
        ],
    }
    return build(root, video, [f"rgb/_8Vy3dlHg2w_0000{number}.mp4" for number in (0, 1)], texts)


AVA_TRAIN = """\
-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,80,1
-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,12,1
-5KQ66BBWC4,0902,0.500,0.100,0.700,0.900,12,2
-5KQ66BBWC4,0903,0.077,0.151,0.283,0.811,12,1
gone_gone_g,1798,0.0,0.0,1.0,1.0,80,7
"""


def ava(root: Path, video: Path) -> Path:
    """Two films, one of them gone; a person with two actions; an excluded second; three extracted frames."""
    texts: dict[str, object] = {
        "annotations/ava_train_v2.2.csv": AVA_TRAIN,
        "annotations/ava_val_v2.2.csv": "1j20qq1JyX4,0905,0.1,0.2,0.3,0.4,12,1\n",
        "annotations/ava_train_excluded_timestamps_v2.2.csv": "-5KQ66BBWC4,0903\n",
        "annotations/ava_action_list_v2.2.pbtxt": (
            'label {\n  name: "bend/bow (at the waist)"\n  label_id: 1\n  label_type: PERSON_MOVEMENT\n}\n'
            'label {\n  name: "stand"\n  label_id: 12\n  label_type: PERSON_MOVEMENT\n}\n'
            'label {\n  name: "watch (a person)"\n  label_id: 80\n  label_type: PERSON_INTERACTION\n}\n'
        ),
        "annotations/ava_action_list_v2.2_for_activitynet_2019.pbtxt": (
            'item {\n  name: "stand"\n  id: 12\n}\nitem {\n  name: "watch (a person)"\n  id: 80\n}\n'
        ),
        "annotations/ava_val_predicted_boxes.csv": (
            "1j20qq1JyX4,0905,0.1,0.2,0.3,0.4,,0.99\n1j20qq1JyX4,0905,0.5,0.2,0.9,0.4,,0.30\n"
        ),
    }
    for number in (1, 2, 3):
        texts[f"frames/-5KQ66BBWC4/-5KQ66BBWC4_{number:06d}.jpg"] = "jpeg"
    return build(root, video, ["videos/-5KQ66BBWC4.mkv", "videos/1j20qq1JyX4.mp4"], texts)
