"""A talk about one picture: answers as if it were asked anew each time, and nothing is read twice."""

import copy

import numpy as np
import pytest
import torch
from small_model import picture, small_lisa

from lisa.conversation import Conversation, Turn
from lisa.generation import Predictor
from lisa.pointing import Click
from lisa.session import ChatSession
from lisa.tokenization import EncodedConversation

QUESTIONS = ["Where is the red ball?", "Where is the dog?", "Show both of them, please.", "Where is the red ball?"]


class Meter:
    """Counts what passes the parts of a model, by hooks that know nothing of a session."""

    def __init__(self, model):
        self.tower = self.sam = self.tokens = 0
        parts = model.backbone.parts()
        parts["vision_tower"].register_forward_hook(self._count("tower"), with_kwargs=True)
        model.sam.image_encoder.register_forward_hook(self._count("sam"), with_kwargs=True)
        parts["language_model"].register_forward_hook(self._tokens, with_kwargs=True)

    def _count(self, name):
        def hook(_, args, kwargs, __):
            setattr(self, name, getattr(self, name) + len([*args, *kwargs.values()][0]))

        return hook

    def _tokens(self, _, args, kwargs, __):
        self.tokens += kwargs["inputs_embeds"].shape[1]


def anew(predictor, image, turns, **options):
    """The answer to the last of the turns, by a fresh call with the whole conversation."""
    [[answer]] = predictor.generate([image], [[Conversation(turns)]], **options)
    return answer


def assert_same(answer, expected):
    assert answer.text == expected.text
    np.testing.assert_array_equal(answer.masks, expected.masks)
    for name in ("expected_iou", "seg_probability"):
        mine, wanted = getattr(answer.scores, name), getattr(expected.scores, name)
        np.testing.assert_allclose(mine, wanted, atol=1e-5)


@pytest.mark.parametrize("seg_state", ["before", "at"])
@pytest.mark.parametrize("template", ["plain", "llava_v1", "llava_llama_2"])
def test_answers_are_those_of_a_fresh_call_with_the_whole_history(taught, lessons, seg_state, template):
    predictor = with_settings(taught, seg_state, template)
    image = lessons[0][1]
    session = ChatSession(predictor, image)
    masks = 0
    for question in QUESTIONS:
        before = session.turns
        heard, again = [], []
        answer = session.ask(question, max_new_tokens=20, on_token=heard.append)
        turns = (*before, Turn("user", question if before else f"<image>\n{question}"))
        on_token = lambda _, token, again=again: again.append(token)  # noqa: E731
        assert_same(answer, anew(predictor, image, turns, max_new_tokens=20, on_token=on_token))
        assert heard == again
        assert session.turns == (*turns, Turn("assistant", answer.text))
        masks += len(answer.masks)
    if template == "plain":
        assert masks > 0


def with_settings(predictor, seg_state, template):
    """A copy of a predictor, its [SEG] read and its conversations written in another way."""
    from small_model import reconfigured

    model = copy.deepcopy(predictor.model)
    model.config.seg_state = seg_state
    return Predictor(model, reconfigured(predictor.processor, template=template, model_max_length=500))


def test_a_second_question_encodes_no_picture_and_reads_only_what_is_new(taught, lessons):
    predictor = Predictor(copy.deepcopy(taught.model), taught.processor)
    session = ChatSession(predictor, lessons[0][1])
    meter = Meter(predictor.model)
    first = session.ask(QUESTIONS[0])
    assert len(first.masks) == 2
    assert (session.work.tower_images, session.work.sam_images) == (1, 1)
    assert (meter.tower, meter.sam) == (1, 1)
    assert meter.tokens == session.work.read_tokens + session.work.said_tokens
    encode = predictor.processor.text.encode
    length = len(encode(Conversation(session.turns[:1])))
    assert session.work.read_tokens == length
    read, said = session.work.read_tokens, session.work.said_tokens
    second = session.ask("Show both of them, please.")
    assert len(second.masks) >= 0
    # Only the end of the first answer's turn and the new question are read; what was said stands in the cache.
    whole = len(encode(Conversation((*session.turns[:2], session.turns[2]))))
    assert session.work.read_tokens - read <= whole - length - said + 1
    assert session.work.read_tokens - read < length
    assert (meter.tower, meter.sam) == (1, 1)
    assert meter.tokens == session.work.read_tokens + session.work.said_tokens


def test_sam_sees_a_picture_only_when_an_answer_points_at_it(taught, lessons):
    predictor = Predictor(copy.deepcopy(taught.model), taught.processor)
    meter = Meter(predictor.model)
    session = ChatSession(predictor, lessons[0][0])
    assert len(session.ask("Where is the dog?").masks) == 0
    assert (meter.sam, session.work.sam_images) == (0, 0)
    session.reset()
    assert len(session.ask("Where is the red ball?").masks) == 1
    assert (meter.sam, session.work.sam_images) == (1, 1)


def test_after_a_reset_the_picture_is_known_and_the_talk_is_forgotten(taught, lessons):
    predictor = Predictor(copy.deepcopy(taught.model), taught.processor)
    session, image = ChatSession(predictor, lessons[0][0]), lessons[0][0]
    session.ask("Where is the dog?")
    session.reset()
    assert session.turns == ()
    read = session.work.read_tokens
    answer = session.ask("Where is the red ball?")
    assert_same(answer, anew(taught, image, (Turn("user", "<image>\nWhere is the red ball?"),)))
    assert session.work.tower_images == 1
    assert session.work.read_tokens - read < 10  # of the question, from the word that differs


def test_the_same_question_again_reads_one_token(taught, lessons):
    session, image = ChatSession(taught, lessons[0][0]), lessons[0][0]
    once = session.ask("Where is the red ball?")
    session.reset()
    read = session.work.read_tokens
    assert_same(session.ask("Where is the red ball?"), once)
    assert session.work.read_tokens - read == 1
    assert len(image)


def test_an_answer_whose_text_has_other_ids_is_read_anew_from_where_they_differ(taught, lessons):
    """Two tokens were said for what the tokenizer writes as others: the cache is cropped to what is the same."""
    image = lessons[0][1]
    session = ChatSession(taught, image)
    first = session.ask(QUESTIONS[0])
    session.turns = (session.turns[0], Turn("assistant", "Sure, it is the red ball [SEG]."))
    turns = (*session.turns, Turn("user", QUESTIONS[1]))
    assert first.text != session.turns[1].text
    read = session.work.read_tokens
    assert_same(session.ask(QUESTIONS[1], max_new_tokens=12), anew(taught, image, turns, max_new_tokens=12))
    encoded = taught.processor.text.encode(Conversation(turns))
    assert isinstance(encoded, EncodedConversation)
    assert 1 < session.work.read_tokens - read < len(encoded) - 20


def test_random_weights_agree_over_many_turns():
    """Answers of nonsense, which seldom have the ids of their text, cut off at any length."""
    model, processor = small_lisa(tied=False)
    torch.manual_seed(3)
    for parameter in model.vlm.model.language_model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.5)
    predictor = Predictor(model, processor)
    image = picture(20, 30, seed=4)
    session = ChatSession(predictor, image)
    for length, question in zip((3, 0, 7, 1), QUESTIONS, strict=True):
        before = session.turns
        turns = (*before, Turn("user", question if before else f"<image>\n{question}"))
        assert_same(session.ask(question, max_new_tokens=length), anew(predictor, image, turns, max_new_tokens=length))


def test_a_refused_question_changes_nothing_and_a_broken_off_answer_is_forgotten(taught, lessons):
    image = lessons[0][0]
    session = ChatSession(taught, image)
    session.ask("Where is the dog?")
    turns = session.turns
    with pytest.raises(ValueError, match="the question holds"):
        session.ask("Where is [SEG]?")

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.ask("Where is the red ball?", on_token=stop)
    assert session.turns == turns
    expected = anew(taught, image, (*turns, Turn("user", "Where is the red ball?")), max_new_tokens=12)
    assert_same(session.ask("Where is the red ball?", max_new_tokens=12), expected)


def test_what_is_pointed_at_is_told_at_once_and_is_what_the_answer_holds(taught, lessons):
    image = lessons[0][1]
    told, order = [], []

    def on_pointed(pointed):
        told.append(pointed)
        order.append("mask")

    session = ChatSession(taught, image)
    heard = session.listen(QUESTIONS[0], 20, lambda token: order.append(token), on_pointed)
    expected = ChatSession(taught, image).ask(QUESTIONS[0], max_new_tokens=20)
    assert heard.text == expected.text
    assert list(heard.pointed) == told
    seg = taught.model.config.seg_token_id
    assert [order[place - 1] for place, what in enumerate(order) if what == "mask"] == [seg, seg]
    assert order[-1] != "mask"
    np.testing.assert_array_equal(np.stack([session.mask(one) for one in told]), expected.masks)
    np.testing.assert_allclose([one.expected_iou for one in told], expected.scores.expected_iou, atol=1e-5)
    np.testing.assert_allclose([one.seg_probability for one in told], expected.scores.seg_probability, atol=1e-5)


def test_a_correction_depends_on_the_answer_and_the_clicks_alone(taught, lessons):
    session = ChatSession(taught, lessons[0][1])  # 20 x 50 pixels
    (first, _) = session.listen(QUESTIONS[0]).pointed
    clicks = [Click(3, 40), Click(19.5, 0.5, inside=False)]
    corrected = session.correct(first, clicks)
    assert corrected.seg_probability == first.seg_probability
    assert not torch.allclose(corrected.low_res, first.low_res)
    assert not torch.allclose(corrected.low_res, session.correct(first, clicks[:1]).low_res)
    assert torch.equal(session.correct(first, clicks).low_res, corrected.low_res)
    assert session.correct(first, []) is first
    for click in (Click(-1, 0), Click(0, 51), Click(21, 0)):
        with pytest.raises(ValueError, match="is not in the picture of 20 x 50 pixels"):
            session.correct(first, [click])


def test_a_session_that_rested_reads_the_talk_again_and_says_the_same(taught, lessons):
    resting, awake = (ChatSession(taught, lessons[0][1]) for _ in range(2))
    for question in QUESTIONS:
        resting.rest()
        assert_same(resting.ask(question, max_new_tokens=12), awake.ask(question, max_new_tokens=12))
    assert resting.work.read_tokens > awake.work.read_tokens
    assert resting.work.tower_images == 1
