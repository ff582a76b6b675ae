"""Every official set as its fixture has it."""

from sets import Set

from lorgnette.document import Targets

CAPTIONED = {"BLEU-4": (1, 0), "ROUGE-L": (1, 0)}
CHOSEN = {"choice": (1, 0)}
COCO_FILES = (
    "val2014/COCO_val2014_000000391895.jpg",
    "val2014/COCO_val2014_000000060623.jpg",
    "val2014/COCO_val2014_000000522418.jpg",
    "val2014/COCO_val2014_000000184613.jpg",
    "train2014/COCO_train2014_000000057870.jpg",
)
FLICKR_FILES = tuple(
    f"flickr30k-images/{name}.jpg" for name in ("1000092795", "10002456", "1007129816", "1009434119", "1018148011")
)
MOPED = (
    "A man with a red helmet on a small moped on a dirt road.",
    "Man riding a motor bike on a dirt road on the countryside.",
)
PIERCED = (
    "The man with pierced ears is wearing glasses and an orange hat.",
    "A man with glasses is wearing a beer can crocheted hat.",
)


def coco(fixture: str) -> Set:
    return Set(
        "coco",
        COCO_FILES,
        (2, 2),
        "coco/391895",
        (COCO_FILES[0], MOPED[0]),
        Targets(references=MOPED),
        CAPTIONED,
        prompt="<image>Output:",
        fixture=fixture,
    )


def flickr30k(fixture: str) -> Set:
    return Set(
        "flickr30k",
        FLICKR_FILES,
        (2, 2),
        "flickr30k/1007129816",
        (FLICKR_FILES[2], PIERCED[0]),
        Targets(references=PIERCED),
        CAPTIONED,
        prompt="<image>Output:",
        fixture=fixture,
    )


def released(name: str, names: tuple[str, ...], question: str, answer: str, *, closed: bool = True) -> Set:
    stem = f"{name}_shots_1_ways_2_id"
    files = tuple(f"{stem}_{k}_{end}.jpg" for k in (0, 1) for end in ("image_1", "image_2", "question"))
    return Set(
        name,
        files,
        (2, 0),
        f"{name}/1-shot-2-way/0",
        (f"{stem}_0_question.jpg", question, answer),
        Targets(references=(answer,), choices=names),
        {"exact": (1, 0)} | (CHOSEN if closed else {}),
        prompt=f"<image>{question}",
        shots=2,
    )


SETS = (
    coco("coco"),
    coco("coco_karpathy"),
    flickr30k("flickr30k"),
    flickr30k("flickr30k_tokens"),
    Set(
        "vqav2",
        (
            "val2014/COCO_val2014_000000000042.jpg",
            "train2014/COCO_train2014_000000458752.jpg",
        ),
        (2, 2),
        "vqav2/42000",
        ("val2014/COCO_val2014_000000000042.jpg", "What color are the gym shoes?", "white"),
        Targets(answers={"white": 7.0, "red": 1.0, "": 1.0, "black and white": 1.0}),
        {"VQA accuracy": (1, 0)},
        {"answer_type": "other", "question_type": "what is", "cluster": "coco/42", "listed": "no"},
        "<image>Question: What color are the gym shoes? Short answer:",
    ),
    Set(
        "okvqa",
        (
            "val2014/COCO_val2014_000000297147.jpg",
            "val2014/COCO_val2014_000000339761.jpg",
            "train2014/COCO_train2014_000000051606.jpg",
            "train2014/COCO_train2014_000000081721.jpg",
        ),
        (2, 2),
        "okvqa/2971475",
        ("val2014/COCO_val2014_000000297147.jpg", "What sport can you use this for?", "race"),
        Targets(answers={"race": 4.0, "motocross": 4.0, "ride": 2.0}),
        {"VQA accuracy": (1, 0)},
        prompt="<image>Question: What sport can you use this for? Short answer:",
    ),
    Set(
        "textvqa",
        tuple(
            f"train_images/{name}.jpg"
            for name in ("003a8ae2ef43b901", "b9dc400eb20bad64", "11a8ae2ef43b9001", "22c400eb20bad640")
        ),
        (2, 2),
        "textvqa/34602",
        ("train_images/003a8ae2ef43b901.jpg", "what is the brand of this camera?", "dakota"),
        Targets(answers={"nous les gosses": 1.0, "dakota": 6.0, "dakota digital": 3.0}),
        {"VQA accuracy": (1, 0)},
        {"cluster": "textvqa/003a8ae2ef43b901"},
        "<image>Question: what is the brand of this camera? Short answer:",
    ),
    Set(
        "vizwiz",
        tuple(f"{part}/VizWiz_{part}_{n:08d}.jpg" for part, n in (("val", 0), ("val", 28), ("train", 0), ("train", 1))),
        (2, 2),
        "vizwiz/VizWiz_val_00000000",
        (
            "val/VizWiz_val_00000000.jpg",
            "Ok. There is another picture I hope it is a better one.",
            "unanswerable",
        ),
        Targets(answers={"unanswerable": 8.0, "blank screen": 1.0, "no": 1.0}),
        {"VQA accuracy": (1, 0)},
        {"answer_type": "unanswerable"},
    ),
    Set(
        "hateful_memes",
        ("img/42953.png", "img/23058.png", "img/08291.png", "img/46971.png"),
        (2, 2),
        "hateful_memes/8291",
        ("img/08291.png", "yes"),
        Targets(label="yes"),
        {"ROC AUC": (1, 0), "choice": (1, 0)},
        {"text": "you are all fools"},
        '<image>is an image with written: "you are all fools" on it. Is it hateful? Answer:',
    ),
    Set(
        "visdial",
        (
            "VisualDialog_val2018/VisualDialog_val2018_000000185565.jpg",
            "VisualDialog_val2018/VisualDialog_val2018_000000284024.jpg",
            "train2014/COCO_train2014_000000057870.jpg",
            "val2014/COCO_val2014_000000378466.jpg",
        ),
        (2, 2),
        "visdial/185565/2",
        ("VisualDialog_val2018/VisualDialog_val2018_000000185565.jpg", "how many people are there?", "just 1"),
        Targets(
            answers={"i think so": 0.0, "just 1": 1.0, "2": 0.0, "no": 0.0, "yes": 0.0},
            choices=("i think so", "just 1", "2", "no", "yes"),
        ),
        {"NDCG": (1, 0), "choice": (1, 0), "R@5": (1, 1), "R@10": (1, 1)},
        {"cluster": "visdial/185565"},
        "<image>a man holds a surfboard. Question: is it a color photo? Answer: yes "
        "Question: how many people are there? Answer:",
    ),
    Set(
        "nlvr2",
        (
            *(f"images/train/{n}/train-{k}-0-img{i}.png" for n, k in ((74, 10171), (77, 10108)) for i in (0, 1)),
            *(f"dev/dev-850-{k}-img{i}.png" for k in (0, 1) for i in (0, 1)),
        ),
        (2, 2),
        "nlvr2/dev-850-0-0",
        (
            "dev/dev-850-0-img0.png",
            "dev/dev-850-0-img1.png",
            "The right image shows a curving walkway of dark glass circling the edge of a mountain.",
            "true",
        ),
        Targets(label="true"),
        CHOSEN,
        {"cluster": "nlvr2/dev-850"},
        "<image><image>The right image shows a curving walkway of dark glass circling the edge of a mountain. "
        "True or false? Answer:",
    ),
    Set(
        "snli_ve",
        tuple(f"flickr30k-images/{name}.jpg" for name in ("2407214681", "1007129816", "1009434119")),
        (3, 2),
        "snli_ve/1007129816.jpg#0r1e",
        ("flickr30k-images/1007129816.jpg", "The man is wearing glasses.", "true"),
        Targets(label="entailment"),
        CHOSEN,
        {"cluster": "flickr30k/1007129816", "premise": "A man."},
        "<image>The man is wearing glasses. True, false or neither? Answer:",
    ),
    Set(
        "multi30k",
        FLICKR_FILES,
        (2, 2),
        "multi30k/test_2016_flickr/1",
        (
            FLICKR_FILES[2],
            "A man in an orange hat starring at something.",
            "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.",
        ),
        Targets(references=("Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.",)),
        {"BLEU-4": (1, 0)},
        {"source": "English", "target": "German"},
        "<image>English: A man in an orange hat starring at something. German:",
    ),
    Set(
        "imagenet",
        tuple(
            f"{part}/{synset}/{synset}_{i}.JPEG"
            for part, number in (("train", 3), ("val", 1))
            for synset in ("n01440764", "n02012849", "n03126707")
            for i in range(number)
        ),
        (3, 9),
        "imagenet/val/n01440764/n01440764_0.JPEG",
        ("val/n01440764/n01440764_0.JPEG", "tench"),
        Targets(label="n01440764"),
        {"choice": (1, 0), "top-5": (1, 1)},
        prompt="<image>Output:",
    ),
    released("open_ended_mi", ("dax", "blicket"), "This is a", "blicket"),
    released("real_name_mi", ("lion", "golden retriever"), "This is a", "golden retriever"),
    released("fast_vqa", (), "Q: What is the dax on? A:", "the blicket", closed=False),
    released("guided_vqa", ("dog", "sofa"), "Q: What is the dog on? A:", "sofa", closed=False),
    Set(
        "msvd_qa",
        tuple(f"video/vid{i}.avi" for i in (1, 2, 1201, 1301, 1302)),
        (2, 2),
        "msvd_qa/37348",
        ("video/vid1301.avi", "what is a man with long hair and a beard is playing?", "guitar"),
        Targets(references=("guitar",)),
        {"same answer": (1, 0)},
        {"cluster": "msvd_qa/video 1301"},
        "<video>Question: what is a man with long hair and a beard is playing? Answer:",
    ),
    Set(
        "msrvtt_qa",
        tuple(f"video/video{i}.mp4" for i in (0, 1, 6513, 7010, 7011)),
        (2, 2),
        "msrvtt_qa/170858",
        ("video/video7010.mp4", "who is driving?", "man"),
        Targets(references=("man",)),
        {"same answer": (1, 0)},
    ),
    Set(
        "ivqa",
        tuple(
            f"video/{name}.mp4" for name in ("GLd3aX16zBg", "ZtsT3eWgGgw", "FZMLBsv63x4", "DXS3rPfxSKk", "bPdExyA5Tkw")
        ),
        (2, 2),
        "ivqa/test/0",
        ("video/DXS3rPfxSKk.mp4", "What does she hold, in the end?", "whisk"),
        Targets(answers={"whisk": 1.0, "a whisk": 1.0, "fork": 1.0, "mixer": 1.0, "spoon": 1.0}),
        {"iVQA accuracy": (1, 0)},
        {"cluster": "ivqa/DXS3rPfxSKk"},
    ),
    Set(
        "next_qa",
        tuple(
            f"NExTVideo/{name}.mp4"
            for name in ("3606518674", "2414793083", "1164/4924794333", "0001/5772591393", "3233088823")
        ),
        (2, 2),
        "next_qa/4924794333/4",
        ("NExTVideo/1164/4924794333.mp4", "is the baby old enough to converse?", "no"),
        Targets(references=("no",)),
        {"same answer": (1, 0)},
        {"cluster": "next_qa/4924794333", "type": "DB"},
        "<video>Question: is the baby old enough to converse? Answer:",
    ),
    Set(
        "next_qa_choice",
        tuple(f"NExTVideo/{name}.mp4" for name in ("4010069381", "4882821564", "6418108744", "4010069399")),
        (2, 2),
        "next_qa/6418108744/0",
        ("NExTVideo/6418108744.mp4", "why is the lady leaning forward slightly as she walked?", "pushing a pram"),
        Targets(choices=("dancing", "strong wind", "pushing a pram", "posing", "bowing")),
        CHOSEN,
    ),
    Set(
        "star",
        tuple(
            f"clips/{name}.mp4"
            for name in ("Interaction_T1_13", "Sequence_T2_9", "Interaction_T1_4", "Feasibility_T6_1")
        ),
        (2, 2),
        "star/Interaction_T1_4",
        ("clips/Interaction_T1_4.mp4", "Which object was eaten by the person?", "The sandwich."),
        Targets(choices=("The medicine.", "The sandwich.", "The food.", "The picture.")),
        CHOSEN,
        {"type": "Interaction", "cluster": "star/TJZ0P"},
    ),
    Set(
        "vatex",
        tuple(
            f"videos/{name}.mp4"
            for name in (
                "Ptf_2VRj-V0_000122_000132",
                "WsJX7mWmLkc_000010_000020",
                "pIjTt1H4kSY_000001_000011",
                "1bVz0tvC_5g_000017_000027",
                "ZDyqZKSjvlE_000004_000014",
            )
        ),
        (2, 2),
        "vatex/1bVz0tvC_5g_000017_000027",
        ("videos/1bVz0tvC_5g_000017_000027.mp4", "A man plays the trumpet on the street."),
        Targets(references=("A man plays the trumpet on the street.", "A street musician is playing a trumpet.")),
        CAPTIONED,
        prompt="<video>Output:",
    ),
    Set(
        "youcook2",
        tuple(f"clips/{name}_{i}.mp4" for name in ("GLd3aX16zBg", "xHr8X2Wpmno") for i in (0, 1)),
        (2, 2),
        "youcook2/xHr8X2Wpmno/0",
        ("clips/xHr8X2Wpmno_0.mp4", "pick the ends off the verdalago"),
        Targets(references=("pick the ends off the verdalago",)),
        CAPTIONED | {"CIDEr-D": (10, 0)},
        {"cluster": "youcook2/xHr8X2Wpmno"},
        "<video>Output:",
    ),
    Set(
        "kinetics",
        (
            *(f"train/{name}.mp4" for name in ("--GkrdYZ9Tc_000000_000010", "--bO6XwZ9HI_000000_000010")),
            "train/-3B32lodo2M_000059_000069.mp4",
            "val/---QUuC4vJs_000084_000094.mp4",
            "val/--nQbRBEz2s_000104_000114.mp4",
        ),
        (2, 3),
        "kinetics/---QUuC4vJs/84/94",
        ("val/---QUuC4vJs_000084_000094.mp4", "abseiling"),
        Targets(label="abseiling"),
        {"choice": (1, 0), "top-5": (1, 1)},
        prompt="<video>Output:",
    ),
    Set(
        "rareact",
        tuple(f"clips/{i}.mp4" for i in range(4)),
        (4, 0),
        "rareact/0",
        ("clips/0.mp4", "cut laptop"),
        Targets(label="cut laptop"),
        {"mWAP": (1, 1 / 3)},
        {"verb": "cut", "noun": "laptop", "annotation": 1, "video": "7frRY7aGwMU", "cluster": "rareact/7frRY7aGwMU"},
        "<video>Caption: a person",
        shots=0,
    ),
)
