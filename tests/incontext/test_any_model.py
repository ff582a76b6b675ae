"""Any transformers model under the engine's requests: equal to reading one prompt at a time, without a cache."""

import functools
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import transformers
from packaging.version import Version
from transformers import GenerationConfig

sys.path.insert(0, str(Path(__file__).parent))
import foreign_models as made

from lorgnette.document import Document, Image, Text, Video
from lorgnette.errors import ConfigError, ContextError, DataError, ResourceError
from lorgnette.evaluation.items import Item
from lorgnette.evaluation.run import evaluate
from lorgnette.evaluation.task import Task
from lorgnette.incontext.decoding import Decoding
from lorgnette.incontext.foreign import Paired, TransformersModel, load
from lorgnette.incontext.foreign.model import OLDEST
from lorgnette.incontext.requests import Answers, Request
from lorgnette.prompts import prompt

# Of each class: how pictures are read, whether a prompt runs once for its candidates, and for what is generated.
CLASSES = {
    "idefics": (made.idefics, "Beside", True, True),
    "idefics resampler": (lambda: made.idefics(resampler=True), "Beside", True, True),
    "llava": (made.llava, "Among", True, True),
    "idefics3": (made.idefics3, "Among", True, True),
    "smolvlm": (made.smolvlm, "Among", True, True),
    "gemma3": (made.gemma3, "Among", True, True),
    "paligemma": (made.paligemma, "Pixels", True, True),
    "paligemma2": (lambda: made.paligemma(kind="gemma2"), "Pixels", True, False),
    "qwen2-vl": (made.qwen2_vl, "Among", True, True),
    "lfm2-vl": (made.lfm2_vl, "Among", False, False),
}
# PaliGemma's processor is not yet written for NumPy 2.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.skipif(Version(transformers.__version__).release < OLDEST, reason="it needs a later transformers"),
]
WORDS = (" cat", " cat face", " dog", " c", "", " a much longer answer")


@pytest.fixture(scope="module", params=CLASSES)
def foreign(request) -> tuple[str, Any, Any, TransformersModel]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        model, processor = CLASSES[request.param][0]()
        return request.param, model, processor, TransformersModel(model, processor)


def picture(seed: int) -> Image:
    size = (24 + 9 * (seed % 4), 50 - 7 * (seed % 3), 3)
    return Image(np.random.default_rng(seed).integers(0, 255, size, dtype=np.uint8))


def document(seed: int, answer: str, question: str = "") -> Document:
    return Document((picture(seed), Text(question), Text(answer, weight=1.0)), key=f"d{seed}")


def prompts() -> list[Document]:
    """Of several lengths; the last ends in a picture."""
    support = [document(i, f" thing {i}", "What is this?") for i in range(2)]
    queries = [document(100 + i, "x", "What is this" + " now" * i) for i in range(2)]
    return [
        *(prompt(query, support, induction="Answer.") for query in queries),
        prompt(queries[0], support[:1]),
        Document((Text("Look at"), picture(7), picture(0)), key="ends in a picture"),
    ]


@torch.inference_mode()
def inputs(name: str, processor: Any, document: Document) -> dict[str, torch.Tensor]:
    """A prompt by the processor's own call, as its documentation shows it."""
    texts: list[Any] = []
    for part in document.parts:
        if isinstance(part, Image):
            texts.append(part.open())
        elif isinstance(part, Text) and texts and isinstance(texts[-1], str):
            texts[-1] += part.text
        elif isinstance(part, Text) and part.text:
            texts.append(part.text)
    pictures = [part for part in texts if isinstance(part, PIL.Image.Image)]
    if name.startswith("idefics") and "3" not in name:
        return dict(processor(text=[texts], return_tensors="pt"))
    shown = "<start><image><stop>" if name == "qwen2-vl" else processor.image_token
    text = "".join(part if isinstance(part, str) else shown for part in texts)
    found = dict(processor(text=[text], images=[pictures], return_tensors="pt"))
    found.pop("labels", None)
    return found


def followed(name: str, given: dict[str, torch.Tensor], ids: list[int]) -> dict[str, torch.Tensor]:
    """With more tokens; the kind of an answer's is that which the class gives it in training."""
    kind, more = int(name.startswith("paligemma")), torch.tensor([ids])
    longer = dict(given)
    for key, tensor in given.items():
        if key == "input_ids":
            longer[key] = torch.cat([tensor, more], 1)
        elif key == "attention_mask":
            longer[key] = torch.cat([tensor, torch.ones_like(more)], 1)
        elif key.endswith("type_ids"):
            longer[key] = torch.cat([tensor, torch.full_like(more, kind)], 1)
        elif key == "image_attention_mask":
            longer[key] = torch.cat([tensor, tensor[:, -1:].expand(-1, len(ids), -1)], 1)
    return longer


@torch.inference_mode()
def naive_score(name: str, model: Any, processor: Any, document: Document, text: str, eos: bool) -> float:
    ids = processor.tokenizer.encode(text, add_special_tokens=False) + [1] * eos
    if not ids:
        return 0.0
    logits = model(**followed(name, inputs(name, processor, document), ids), use_cache=False).logits[0]
    told = logits[-len(ids) - 1 : -1].log_softmax(-1)
    return sum(float(told[i, token]) for i, token in enumerate(ids))


@torch.inference_mode()
def naive_generate(name: str, model: Any, processor: Any, document: Document, number: int) -> tuple[str, bool]:
    given, ids, words = inputs(name, processor, document), list[int](), processor.tokenizer
    for _ in range(number):
        logits = model(**(followed(name, given, ids) if ids else given), use_cache=False).logits[0, -1]
        logits[[token for token in words.all_special_ids if token != 1]] = -torch.inf
        logits[[i for token, i in words.get_vocab().items() if token in ("<image>", "<video>")]] = -torch.inf
        if (token := int(logits.argmax())) == 1:
            return words.decode(ids).strip(), True
        ids.append(token)
    return words.decode(ids).strip(), False


def test_what_each_class_shares(foreign):
    name, _, _, system = foreign
    reader = system.reader
    found = type(reader.pictures).__name__, reader.shares_prompt, reader.resumes
    assert found == CLASSES[name][1:]


def test_scores_equal_the_definition(foreign):
    name, model, processor, system = foreign
    asked = [Request(p, WORDS[: 3 + i], eos=i % 2 == 0) for i, p in enumerate(prompts())]
    expected = [
        [naive_score(name, model, processor, request.prompt, text, request.eos) for text in request.candidates]
        for request in asked
    ]
    for batch_size in (1, 3, 64):
        system.reader.batch_size = batch_size
        order = random.Random(batch_size).sample(range(len(asked)), len(asked))
        for i, reply in zip(order, system.run([asked[i] for i in order]), strict=True):
            torch.testing.assert_close(reply.scores, torch.tensor(expected[i]), atol=1e-4, rtol=0)
            assert reply.lengths == tuple(len(text) + asked[i].eos for text in asked[i].candidates)


def test_answers_equal_the_definition(foreign):
    name, model, processor, system = foreign
    asked = [Request(p, decoding=Decoding(4, stop=())) for p in prompts()]
    for request, reply in zip(asked, system.run(asked), strict=True):
        expected = naive_generate(name, model, processor, request.prompt, 4)
        assert (reply.answer.text, reply.answer.ended) == expected


def test_beams_equal_those_without_a_cache_of_the_prompt(foreign):
    name, model, processor, system = foreign
    decoding = Decoding(5, stop=(), beams=3, length_penalty=1.0)
    for request in [Request(p, WORDS[:2], decoding=decoding) for p in prompts()[1:]]:
        given = inputs(name, processor, request.prompt)
        config = GenerationConfig(
            num_beams=3,
            max_new_tokens=5,
            length_penalty=1.0,
            eos_token_id=system.ends,
            pad_token_id=0,
            suppress_tokens=system.banned,
        )
        ids = model.generate(**given, generation_config=config)[0, given["input_ids"].shape[1] :].tolist()
        (reply,) = system.run([request])
        assert reply.answer.text == processor.tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_company_changes_nothing_and_equal_prompts_run_once(foreign):
    name, model, processor, _ = foreign
    system = TransformersModel(model, processor)
    asked = [Request(p, WORDS[: 2 + i], eos=True, decoding=Decoding(3, stop=())) for i, p in enumerate(prompts())]
    alone = [system.run([request])[0] for request in asked]
    read, seen, shared = system.reader.num_read, system.reader.pictures.num_encoded, CLASSES[name]
    told: dict[int, Any] = {}
    together = system.run([*asked[::-1], *asked], told.__setitem__)
    assert sorted(told) == list(range(2 * len(asked)))
    for one, other in zip([*alone[::-1], *alone], together, strict=True):
        torch.testing.assert_close(one.scores, other.scores, atol=1e-5, rtol=0)
        assert one.answer == other.answer
    assert system.reader.num_read == 2 * read
    if shared[1] != "Pixels":
        assert system.reader.pictures.num_encoded == seen == 5  # two examples, two queries, and one more
    if shared[2:] == (True, True):
        lengths = [inputs(name, processor, p)["input_ids"].shape[1] for p in prompts()]
        # Where pictures stand among the words, a prompt that ends in one is read again to generate.
        assert read == sum(lengths) + lengths[-1] * (shared[1] == "Among" and name not in CLOSED)


CLOSED = ("gemma3", "idefics3", "smolvlm", "qwen2-vl")
"""Classes that write another token after a picture."""


@pytest.fixture(scope="module")
def llava() -> TransformersModel:
    return TransformersModel(*made.llava())


def test_it_answers_requests(llava):
    assert isinstance(llava, Answers)
    assert llava.run([]) == []


def test_text_alone_is_read(llava):
    asked = Document((Text("two and two are"),), key="t")
    (reply,) = llava.run([Request(asked, (" four", " five"))])
    naive = [naive_text(llava, asked.text, text) for text in (" four", " five")]
    torch.testing.assert_close(reply.scores, torch.tensor(naive), atol=1e-4, rtol=0)


@torch.inference_mode()
def naive_text(system: TransformersModel, before: str, text: str) -> float:
    words = system.writer.processor.tokenizer
    first, more = words.encode(before), words.encode(text, add_special_tokens=False)
    told = system.model(input_ids=torch.tensor([first + more])).logits[0].log_softmax(-1)
    return sum(float(told[len(first) - 1 + i, token]) for i, token in enumerate(more))


def test_what_is_sampled_depends_on_seed_and_key_alone(llava):
    def answers(seed: int, key: str, *others: str) -> str:
        asked = [Document((picture(1), Text("?")), key=k) for k in (*others, key)]
        drawn = Decoding(12, stop=(), temperature=2.0, top_k=50, top_p=0.99, seed=seed)
        return llava.run([Request(p, decoding=drawn) for p in asked])[-1].answer.text

    state = torch.get_rng_state()
    assert answers(0, "a") == answers(0, "a", "b", "c")
    assert len({answers(0, "a"), answers(1, "a"), answers(0, "b")}) == 3
    assert torch.equal(torch.get_rng_state(), state)


def test_stops_and_lengths(llava, monkeypatch):
    asked = Document((picture(1), Text("?")), key="a")

    def said(**kwargs: Any) -> Any:
        return llava.run([Request(asked, decoding=Decoding(**kwargs))])[0].answer

    whole = said(max_tokens=8, stop=()).text
    stop = whole[3]
    cut = said(max_tokens=8, stop=("nowhere to be found", stop))
    assert (cut.text, cut.ended) == (whole[: whole.index(stop)].strip(), True)
    assert not said(max_tokens=2, stop=()).ended
    for kind in ({}, {"beams": 2}, {"temperature": 1.0}):
        first = said(max_tokens=8, stop=(), **kind).text[:1]
        late = said(max_tokens=8, min_tokens=4, stop=(first,), **kind)
        assert len(late.text) >= 3, kind
        assert first not in late.text
    given = inputs("llava", llava.writer.processor, asked)
    with torch.inference_mode():
        likeliest = int(llava.model(**given).logits[0, -1].argmax())
    monkeypatch.setattr(llava, "ends", [likeliest])
    assert (said(max_tokens=4, stop=()).text, said(max_tokens=4, stop=()).ended) == ("", True)
    assert said(max_tokens=4, min_tokens=1, stop=()).text


@pytest.fixture(scope="module")
def chat() -> TransformersModel:
    return TransformersModel(*made.gemma3(), chat=True)


@torch.inference_mode()
def test_a_chat_shows_worked_examples_as_turns(chat):
    support = [document(i, f" thing {i}", "What is this?") for i in range(2)]
    asked = prompt(document(100, "x", "And this?"), support, induction="Answer.")
    expected = (
        "<bos><turn>user\nAnswer.\n<start>What is this?<end>\n<turn>assistant\nthing 0<end>\n"
        "<turn>user\n<start>What is this?<end>\n<turn>assistant\nthing 1<end>\n"
        "<turn>user\n<start>And this?<end>\n<turn>assistant\n"
    )
    written = chat.writer.written(asked)
    assert written.text(["<start>"] * 3) == expected
    assert [p.digest for p in written.pictures] == [p.digest for p in asked.images]

    words, pictures = chat.writer.processor, [[image.open() for image in asked.images]]
    given = dict(words(text=[expected], images=pictures, return_tensors="pt", add_special_tokens=False))
    (reply,) = chat.run([Request(asked, (" cat", " dog"), eos=True, decoding=Decoding(3, stop=()))])
    close = words.tokenizer.convert_tokens_to_ids("<end>")
    for text, score in zip(("cat", "dog"), reply.scores.tolist(), strict=True):
        more = [*words.tokenizer.encode(text, add_special_tokens=False), close]
        told = chat.model(**followed("gemma3", given, more)).logits[0, -len(more) - 1 : -1].log_softmax(-1)
        assert score == pytest.approx(sum(float(told[i, token]) for i, token in enumerate(more)), abs=1e-4)
    assert reply.lengths == (4, 4)
    assert chat.ends == [1, close]
    assert close not in chat.banned


def test_a_template_that_shows_no_pictures_is_named():
    model, processor = made.gemma3()
    processor.chat_template = "{% for m in messages %}{{ m.role }}{% endfor %}"
    with pytest.raises(ConfigError, match="shows 0 of 2 pictures"):
        TransformersModel(model, processor, chat=True)
    processor.chat_template = None
    with pytest.raises(ConfigError, match="Gemma3Processor has no chat template"):
        TransformersModel(model, processor, chat=True)


@pytest.mark.parametrize("kind", ["llava", "chat"])
def test_a_task_is_evaluated(kind, request):
    system = request.getfixturevalue(kind)
    items = tuple(
        Item(document(100 + i, " cat", "What?"), (" cat", " dog"), " cat", (document(i, " dog", "What?"),))
        for i in range(3)
    )
    task = Task("tiny", items, chance=0.5, decoding=Decoding(4), calibrated=True)
    result = evaluate(system, task)
    assert [record.key for record in result.records] == ["d100", "d101", "d102"]
    assert all(record.generated is not None and len(record.scores) == 2 for record in result.records)
    again = evaluate(system, Task("tiny", items[::-1], chance=0.5, decoding=Decoding(4), calibrated=True))
    for one, other in zip(result.records, again.records[::-1], strict=True):
        assert one.generated == other.generated
        assert one.scores == pytest.approx(other.scores, abs=1e-4)


def test_a_prompt_too_long_says_how_many_examples_would_fit():
    model, processor = made.gemma3()
    system = TransformersModel(model, processor, context=100)
    support = tuple(document(i, " dog", "What is this?") for i in range(5))
    task = Task("tiny", (Item(document(9, " cat", "What is this?"), (" cat",), " cat", support),))
    with pytest.raises(ContextError, match=r"d9: \d+ positions and an answer of 16 do not fit the context of 100. Of"):
        evaluate(system, task)
    with pytest.raises(ContextError, match="an answer of 200"):
        system.run([Request(Document((Text("a"),), key="k"), decoding=Decoding(200))])


def test_what_is_no_prompt_is_named(llava):
    with pytest.raises(DataError, match="nothing: an empty prompt"):
        llava.run([Request(Document((Text(""),), key="nothing"))])
    with pytest.raises(DataError, match="v: text and images are read, not Video"):
        llava.run([Request(Document((Video(b"a"), Text("a")), key="v"))])
    with pytest.raises(DataError, match="t: the text holds the image token <image>"):
        llava.run([Request(Document((Text("an <image>"),), key="t"))])


def test_a_processor_is_needed():
    model, processor = made.llava()
    with pytest.raises(ConfigError, match="processor: a model needs its processor, which NoneType is not"):
        TransformersModel(model, None)
    with pytest.raises(ConfigError, match="needs its processor"):
        TransformersModel(model, processor.tokenizer)
    processor.image_token = "<picture>"
    with pytest.raises(ConfigError, match="the image token <picture> is not in its tokenizer's vocabulary"):
        TransformersModel(model, processor)
    with pytest.raises(ConfigError, match="LlavaForConditionalGeneration: it does not read what its processor writes"):
        TransformersModel(model, made.idefics3()[1])


def test_a_model_must_generate():
    model, processor = made.llava()
    with pytest.raises(ConfigError, match="model: LlavaModel has no generate"):
        TransformersModel(model.model, processor)


def test_a_tokenizer_and_an_image_processor_make_a_processor():
    model, processor = made.llava()
    own = TransformersModel(model, processor)
    paired = TransformersModel(model, Paired(processor.image_processor, processor.tokenizer, "<image>", 4))
    asked = [Request(p, WORDS, decoding=Decoding(4)) for p in prompts()]
    for one, other in zip(own.run(asked), paired.run(asked), strict=True):
        torch.testing.assert_close(one.scores, other.scores)
        assert one.answer == other.answer
    with pytest.raises(ConfigError, match="no token '<nothing>'"):
        Paired(processor.image_processor, processor.tokenizer, "<nothing>")


def test_a_cache_that_tells_otherwise_is_given_up(monkeypatch):
    """As a class would whose later words see less of the prompt than its definition says."""
    model, processor = made.llava()
    asked = [Request(p, WORDS, decoding=Decoding(4)) for p in prompts()]
    expected = TransformersModel(model, processor).run(asked)
    forward = type(model).forward

    @functools.wraps(forward)
    def forgetful(self, *args: Any, **kwargs: Any) -> Any:
        cache = kwargs.get("past_key_values")
        resumed = cache is not None and cache.get_seq_length() > 0 and kwargs["input_ids"].shape[1] > 1
        out = forward(self, *args, **kwargs)
        out.logits = out.logits + 0.001 * out.logits.sin() * resumed
        return out

    monkeypatch.setattr(type(model), "forward", forgetful)
    system = TransformersModel(model, processor)
    assert not system.reader.shares_prompt
    for one, other in zip(system.run(asked), expected, strict=True):
        torch.testing.assert_close(one.scores, other.scores, atol=1e-4, rtol=0)
        assert one.answer == other.answer


@pytest.mark.parametrize("name", ["gemma3", "paligemma2"])
def test_a_prompt_beyond_the_window_is_tried_too(name):
    """At construction the trial is within the window, where both share all."""
    model, processor = made.gemma3(window=64) if name == "gemma3" else made.paligemma(kind="gemma2", window=64)
    system = TransformersModel(model, processor)
    assert (system.reader.shares_prompt, system.reader.resumes) == (True, True)
    asked = [Request(p, WORDS, decoding=Decoding(4, stop=())) for p in prompts()]
    for request, reply in zip(asked, system.run(asked), strict=True):
        naive = [naive_score(name, model, processor, request.prompt, text, False) for text in WORDS]
        torch.testing.assert_close(reply.scores, torch.tensor(naive), atol=1e-4, rtol=0)
        assert reply.answer.text == naive_generate(name, model, processor, request.prompt, 4)[0]
    assert (system.reader.shares_prompt, system.reader.resumes) == (True, name == "gemma3")


def test_a_prompt_that_sees_its_answer_is_refused(monkeypatch):
    model, processor = made.llava()
    forward = type(model).forward

    @functools.wraps(forward)
    def peeking(self, *args: Any, **kwargs: Any) -> Any:
        out = forward(self, *args, **kwargs)
        out.logits = out.logits * (1 + 0.01 * kwargs["input_ids"][0, -1])
        return out

    monkeypatch.setattr(type(model), "forward", peeking)
    with pytest.raises(ConfigError, match="LlavaForConditionalGeneration: it lets a prompt see what follows it"):
        TransformersModel(model, processor)


def test_from_a_folder(tmp_path, llava):
    llava.model.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="processor: "):
        load(str(tmp_path))
    llava.writer.processor.save_pretrained(tmp_path)
    asked = [Request(p, WORDS) for p in prompts()]
    for one, other in zip(load(str(tmp_path)).run(asked), llava.run(asked), strict=True):
        torch.testing.assert_close(one.scores, other.scores)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(Exception, match="its weights cannot be read"):
        load(str(tmp_path))


def test_an_older_transformers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = made.llava()
    monkeypatch.setattr("lorgnette.incontext.foreign.model.OLDEST", (99, 1))
    with pytest.raises(ResourceError, match=r"transformers: transformers 5\..* Install 99\.1 or a later one"):
        TransformersModel(model, processor)
