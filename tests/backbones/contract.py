"""What every family of backbones must keep: each check takes a toy family and fails with an AssertionError.

`tests/backbones/test_contract.py` runs all of them on all families, `test_add_a_backbone.py` on that of the docs page.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import torch
from families import Toy, Whole, ask, picture, talk, toy_lisa
from torch import Tensor

from lisa import load
from lisa.arguments import TrainArgs
from lisa.attention import Layout
from lisa.checkpoint import save
from lisa.decoding import Said, decode, prefill, step
from lisa.generation import Predictor
from lisa.modeling import LisaModel
from lisa.packing import PADDING, Rows
from lisa.processing import Batch, LisaProcessor
from lisa.session import ChatSession
from lisa.tokenization import IGNORE_INDEX, EncodedConversation
from lisa.trainable import choose_trainable, train_mode

PICTURES = [picture(30, 60, seed=1), picture(70, 40, seed=2)]
"""A wide one and a higher one: families that cut pictures cut them in different ways."""
LESSONS = [
    [
        ask("Where is the red ball?", "Sure, [SEG]."),
        ask("Where is the red ball?", "There is no dog."),
        ask("What is the dog on the left in this image?", "Sure, [SEG] and [SEG]."),
    ],
    [
        ask("Show both of them, please.", "[SEG]."),
        talk("Where is the red ball?", "Sure, [SEG].", "What is the dog on the left?", "[SEG]."),
    ],
]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@dataclass(frozen=True)
class Subject:
    """A toy family with its model, which no check changes."""

    toy: Toy

    @cached_property
    def lisa(self) -> tuple[LisaModel, LisaProcessor]:
        return toy_lisa(self.toy)

    @cached_property
    def plain(self):
        """transformers' own model with the same weights."""
        return copy.deepcopy(toy_lisa(self.toy)[0].vlm)

    @property
    def model(self) -> LisaModel:
        return self.lisa[0]

    @property
    def processor(self) -> LisaProcessor:
        return self.lisa[1]

    def batch(self, *, packing: bool = True, learning: bool = False) -> Batch:
        """The lessons; with masks to learn from, if `learning`."""
        _, processor = self.lisa
        processor = copy.copy(processor)
        processor.packing = packing
        if not learning:
            return processor(PICTURES, LESSONS)
        generator = torch.Generator().manual_seed(0)
        counts = [sum(one.num_seg for one in group) for group in LESSONS]
        masks = [
            (torch.rand(count, *image.shape[:2], generator=generator) > 0.5).numpy()
            for count, image in zip(counts, PICTURES, strict=True)
        ]
        return processor(PICTURES, LESSONS, masks=masks, ignore=[~mask[0] & mask[0] for mask in masks])

    def whole(self, image: int, ids: Tensor, image_index: Tensor, prefix: int) -> Whole:
        """A conversation, whose first answer stands after `prefix` tokens, as transformers' own processor would hand it
        over."""
        pixels, (shape,) = self.processor.pictures.pixels([PICTURES[image]])
        config = self.model.config.vlm_config
        own = getattr(config, "image_token_id", None) or config.image_token_index
        at = image_index[None] >= 0
        return Whole(
            ids=torch.where(at, own, ids[None]),
            is_image=at,
            is_prefix=torch.arange(len(ids))[None] < prefix,
            pixels=pixels,
            shape=shape,
        )

    @torch.no_grad()
    def plain_states(self, whole: Whole) -> Tensor:
        """(T, D): states after the final norm, by transformers' own forward."""
        caught = []
        norm = self.model.backbone.__class__(self.plain).language_model.norm
        hook = norm.register_forward_hook(lambda *args: caught.append(args[2]))
        self.plain(input_ids=whole.ids, attention_mask=torch.ones_like(whole.ids), **self.toy.plain(whole))
        hook.remove()
        return caught[0][0]


def prefix_of(one: EncodedConversation) -> int:
    """Tokens before the first learned one."""
    return int((one.labels != IGNORE_INDEX).long().argmax()) if (one.labels != IGNORE_INDEX).any() else len(one)


def encoded(subject: Subject):
    """(image, encoded conversation) of all lessons, in reading order."""
    for image, group in enumerate(LESSONS):
        _, (shape,) = subject.processor.pictures.pixels([PICTURES[image]])
        for conversation in group:
            yield image, subject.processor.encode(conversation, shape)


def check_ids_and_labels_line_up_with_the_states(subject: Subject) -> None:
    batch, seg = subject.batch(), subject.model.config.seg_token_id
    rows = batch.rows
    learned = rows.labels != IGNORE_INDEX
    assert torch.equal(rows.labels[learned], rows.input_ids[learned])
    assert not (learned & (rows.image_index >= 0)).any()
    assert int((rows.labels == seg).sum()) == sum(one.num_seg for group in LESSONS for one in group)
    written = [
        subject.processor.text.decode(one.input_ids[one.labels != IGNORE_INDEX].tolist()) for _, one in encoded(subject)
    ]
    answers = [one.turns[-1].text for group in LESSONS for one in group]
    assert [text.split("</s>")[-1][-len(answer) :] for text, answer in zip(written, answers, strict=True)] == answers
    image_tokens = subject.model.image_tokens(batch)
    embeds = subject.model.embed_rows(rows, image_tokens)
    for row, image in enumerate(rows.image_of_row.tolist()):
        at = rows.image_index[row]
        count = int(at.max()) + 1
        assert at[at >= 0].unique().tolist() == list(range(count))
        assert torch.equal(embeds[row][at >= 0], image_tokens[image][at[at >= 0]])
        assert not image_tokens[image, count:].any()
    states = subject.model.hidden_states(rows, image_tokens)
    assert states.shape == (*rows.labels.shape, subject.model.backbone.width)


def check_states_are_those_of_the_plain_forward(subject: Subject) -> None:
    """Every token's, [SEG] among them, of packed and of separate rows; so are the logits' choices."""
    plain = [
        subject.plain_states(subject.whole(image, one.input_ids, one.image_index, prefix_of(one)))
        for image, one in encoded(subject)
    ]
    for packing in (True, False):
        batch = subject.batch(packing=packing)
        with torch.no_grad():
            states = subject.model.hidden_states(batch.rows, subject.model.image_tokens(batch))
        seen = list(conversations(batch.rows, states))
        assert len(seen) == len(plain)
        for own, expected in zip(seen, plain, strict=True):
            torch.testing.assert_close(own, expected, **CLOSE)
            words = subject.model.backbone.logits(own), subject.plain.lm_head(expected)
            torch.testing.assert_close(*words, rtol=1e-4, atol=1e-4)


def conversations(rows: Rows, states: Tensor):
    """The states (T, D) of each conversation, the prefix of its row before its own."""
    for segments, of_row in zip(rows.segments, states, strict=True):
        for segment in range(1, int(segments.max()) + 1):
            yield of_row[(segments == 0) | (segments == segment)]


def check_packed_equals_unpacked(subject: Subject) -> None:
    """Losses and gradients, the auxiliary ones of the tiny model among them."""
    weights = {"dense_loss_weight": 1.0, "ground_loss_weight": 1.0, "look_loss_weight": 1.0, "iou_loss_weight": 0.1}
    model, processor = toy_lisa(subject.toy, mask_loss_size="low_res", **weights)
    terms, gradients = [], []
    for packing in (True, False):
        processor.packing = packing
        with_names = Subject(subject.toy)
        with_names.__dict__["lisa"] = (model, processor)
        batch = with_names.batch(learning=True)
        names = processor._names([["red ball", "dog", ""], ["dog", "left", "ball"]])
        model.zero_grad()
        given = model(replace(batch, names=names))
        given["loss"].backward()
        terms.append({name: value.item() for name, value in given.items()})
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert terms[0].keys() == terms[1].keys()
    assert "look" in terms[0]
    for name, value in terms[0].items():
        assert abs(value - terms[1][name]) <= 1e-5 * max(1, abs(value)), name
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[1].items():
        largest = max(gradient.abs().max().item(), 1e-3)
        torch.testing.assert_close(gradients[0][name] / largest, gradient / largest, rtol=1e-4, atol=1e-4, msg=name)


def check_cached_generation_equals_recomputation(subject: Subject, steps: int = 5) -> None:
    """Token by token from a cache, the states are those of a plain forward over all that was said so far."""
    questions = [[ask("Where is the red ball?"), ask("What is the dog?")], [ask("Show both of them, please.")]]
    model, processor = subject.lisa
    batch = processor(PICTURES, questions)
    with torch.no_grad():
        decoding = prefill(model, batch.rows, model.image_tokens(batch))
        said: list[Tensor] = []
        for _ in range(steps):
            for slot, (image, question) in enumerate((i, q) for i, group in enumerate(questions) for q in group):
                row, place = (0, slot) if image == 0 else (1, 0)
                one = processor.encode(question, batch.shapes[image])
                ids = torch.cat([one.input_ids, *(tokens[row, place][None] for tokens in said)])
                index = torch.cat([one.image_index, torch.full((len(said),), -1)])
                plain = subject.plain_states(subject.whole(image, ids, index, prefix_of(one)))
                torch.testing.assert_close(decoding.state[row, place], plain[-1], **CLOSE)
            said.append(model.backbone.logits(decoding.state).argmax(-1))
            step(model, decoding, said[-1])


def check_a_chat_goes_on_where_it_was(subject: Subject) -> None:
    """A second question, asked on the cache of the first, is answered as the whole conversation is."""
    model, processor = subject.lisa
    predictor = Predictor(model, processor)
    session = ChatSession(predictor, PICTURES[0])
    session.ask("Where is the red ball?", max_new_tokens=2)
    session.turns = talk("Where is the red ball?", "It is the red ball.").turns
    read = session.work.read_tokens
    answer = session.ask("What is the dog?", max_new_tokens=4)
    asked = talk("Where is the red ball?", "It is the red ball.", "What is the dog?")
    (((whole,),),) = (predictor.generate(PICTURES[:1], [[asked]], max_new_tokens=4),)
    assert answer.text == whole.text
    assert session.work.tower_images == 1
    first_question = len(processor.encode(talk("Where is the red ball?"), session._picture.shapes[0]))
    # All of the first question is still in the cache.
    assert session.work.read_tokens - read <= len(processor.encode(asked, session._picture.shapes[0])) - first_question
    session.reset()
    for one in (ask("Show both of them, please."), talk("Where is the red ball?", "It is the red ball.", "Why?")):
        encoded_one = processor.encode(one, *session._picture.shapes)
        with torch.no_grad():
            batch = processor(PICTURES[:1], [[one]])
            afresh = prefill(model, batch.rows, model.image_tokens(batch))
            torch.testing.assert_close(session._read(encoded_one).state, afresh.state, **CLOSE)
        session._remember(encoded_one, Said())


def check_left_and_right_padding_agree(subject: Subject) -> None:
    batch = subject.batch(packing=False)
    model, rows = subject.model, batch.rows
    padding = (rows.segments == PADDING).sum(1)
    assert padding.max() > 0
    there = (torch.arange(rows.segments.shape[1]) - padding[:, None]) % rows.segments.shape[1]
    row = torch.arange(len(rows.segments))[:, None]
    left = replace(
        rows, **{f.name: getattr(rows, f.name)[row, there] for f in fields(rows) if _per_token(rows, f.name)}
    )
    assert (left.segments[:, 0] == PADDING).any()
    image_tokens = model.image_tokens(batch)
    with torch.no_grad():
        for states in (
            lambda given: model.backbone.run(
                model.embed_rows(given, image_tokens), given.attention_bias(torch.float32), given.positions
            ),
            lambda given: model.hidden_states(given, image_tokens),
        ):
            at_right, at_left = states(rows)[rows.segments != PADDING], states(left)[left.segments != PADDING]
            torch.testing.assert_close(at_left, at_right, **CLOSE)


def _per_token(rows: Rows, name: str) -> bool:
    return name != "image_of_row" and getattr(rows, name) is not None


ADAPTED = TrainArgs(lora_dropout=0.0, gradient_checkpointing=False)


def check_gradient_reaches_what_learns_and_nothing_frozen(subject: Subject) -> None:
    model, processor = toy_lisa(subject.toy)
    choose_trainable(model, processor, ADAPTED)
    with_adapters = Subject(subject.toy)
    with_adapters.__dict__["lisa"] = (model, processor)
    model(with_adapters.batch(learning=True))["loss"].backward()
    seen = {name: p.grad for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert set(seen) <= {name for name, p in model.named_parameters() if p.requires_grad}
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad and p.grad is not None]
    assert frozen == []
    for part in ("text_hidden_fcs.0.0", "text_hidden_fcs.0.2", "sam.mask_decoder", ".lora_B."):
        assert any(part in name for name in seen), part
    inside = [name for name in seen if ".lora_" in name]
    assert len({name.split(".lora_")[0] for name in inside}) == 4  # query and value of both layers
    assert all(_language_model_of(model, name) for name in inside)
    (rows,) = {name for name in seen if "trainable_tokens" in name and "embed_tokens" in name} or {None}
    assert rows is not None
    vocabulary = processor.tokenizer.get_vocab()
    added = sorted(vocabulary[token] for token in ("[SEG]", "<im_start>", "<im_end>"))
    assert seen[rows][added.index(model.config.seg_token_id)].abs().max() > 0


def _language_model_of(model: LisaModel, name: str) -> bool:
    decoder = model.backbone.language_model
    inside = next(path for path, module in model.named_modules() if module is decoder)
    return name.startswith(inside + ".")


def check_recomputed_activations_give_the_same_gradients(subject: Subject) -> None:
    gradients = []
    for recompute in (False, True):
        model, processor = toy_lisa(subject.toy)
        choose_trainable(model, processor, replace(ADAPTED, gradient_checkpointing=recompute))
        train_mode(model)
        learning = Subject(subject.toy)
        learning.__dict__["lisa"] = (model, processor)
        model(learning.batch(learning=True))["loss"].backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def check_every_part_can_learn(subject: Subject) -> None:
    """All of the model has a gradient when all of it is trained: no part is cut off."""
    model, processor = toy_lisa(subject.toy)
    choose_trainable(model, processor, replace(ADAPTED, trainable="all"))
    everything = Subject(subject.toy)
    everything.__dict__["lisa"] = (model, processor)
    model(everything.batch(learning=True))["loss"].backward()
    for name, part in model.backbone.parts().items():
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters()), name


def check_it_comes_back_from_its_folder(subject: Subject, folder: Path) -> None:
    model, processor = subject.lisa
    save(model, processor, folder / "model")
    loaded = load(folder / "model", device="cpu")
    batch, again = subject.batch(), loaded.processor(PICTURES, LESSONS)
    assert torch.equal(batch.pixel_values, again.pixel_values)
    assert torch.equal(batch.rows.input_ids, again.rows.input_ids)
    assert batch.shapes == again.shapes
    before, after = (
        one.hidden_states(given.rows, one.image_tokens(given)) for one, given in ((model, batch), (loaded.model, again))
    )
    assert torch.equal(before, after)


def check_without_adapters_it_is_the_base_model(subject: Subject, steps: int = 5) -> None:
    """With the adapters switched off, states are bit for bit the base model's, and answers transformers' own."""
    model, processor = toy_lisa(subject.toy)
    choose_trainable(model, processor, ADAPTED)
    with torch.no_grad():
        for name, parameter in model.vlm.named_parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.5, generator=torch.Generator().manual_seed(len(name)))
    batch, base = subject.batch(), subject.model
    question = ask("Where is the red ball?")
    asked = processor(PICTURES[:1], [[question]])
    with torch.no_grad():
        wanted = base.hidden_states(batch.rows, base.image_tokens(batch))
        adapted = model.hidden_states(batch.rows, model.image_tokens(batch))
        with model.vlm.disable_adapter():
            given = model.hidden_states(batch.rows, model.image_tokens(batch))
            (said,) = decode(model, prefill(model, asked.rows, model.image_tokens(asked)), -1, steps)
    assert (adapted - wanted).abs().max() > 1e-2
    assert torch.equal(given, wanted)
    one = processor.encode(question, asked.shapes[0])
    whole = subject.whole(0, one.input_ids, one.image_index, prefix_of(one))
    answer = subject.plain.generate(
        input_ids=whole.ids,
        attention_mask=torch.ones_like(whole.ids),
        max_new_tokens=steps,
        do_sample=False,
        eos_token_id=None,
        **subject.toy.plain(whole),
    )
    assert said.ids == answer[0, -steps:].tolist()


def check_image_tokens_know_what_they_show(subject: Subject) -> None:
    """A mask over the whole picture covers each place of each view; half of it half of them."""
    from lisa.pictures import coverage

    for image in PICTURES:
        _, (shape,) = subject.processor.pictures.pixels([image])
        text = subject.processor.pictures.text(shape)
        shown = torch.cat([view.tokens.flatten() for view in text.views])
        assert len(shown.unique()) == len(shown)
        masks = torch.zeros(2, *image.shape[:2], dtype=torch.bool)
        masks[0] = True
        masks[1, :, : image.shape[1] // 2] = True
        everything, left = coverage(masks.numpy(), text)
        torch.testing.assert_close(everything[shown], torch.ones(len(shown)))
        for view in text.views:
            width = view.box[2] - view.box[0]
            seen = max(0.0, min(0.5, view.box[2]) - view.box[0]) / width
            assert abs(left[view.tokens].mean().item() - seen) < 1e-4


def check_layouts_cover_every_token(subject: Subject) -> None:
    """What is read of a batch is each token once."""
    rows = subject.batch().rows
    assert sorted(Layout.of(rows).places.tolist()) == (rows.segments.flatten() != PADDING).nonzero()[:, 0].tolist()
