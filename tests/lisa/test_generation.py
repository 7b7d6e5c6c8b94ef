import copy

import numpy as np
import pytest
import torch
from small_model import ask, picture, plain_hidden_states, small_lisa, unpacked

from lisa.conversation import Conversation, Turn
from lisa.generation import Predictor

MANY = [
    [ask("Where is the red ball?"), ask("Is there a cat, or is there nothing but grass, sand and sky?"), ask("A?")],
    [ask("What is the dog on the left in this image?")],
    [ask("Where is the red ball?"), ask("Where is the red ball?")],
]
PICTURES = [picture(30, 40, seed=5), picture(10, 90, seed=6), picture(64, 64, seed=7)]


def questions(conversations):
    """The conversations without their last answers."""
    return [[Conversation(c.turns[:-1]) for c in group] for group in conversations]


def flat(groups):
    """The items of all groups."""
    return [item for group in groups for item in group]


def said_ids(predictor, images, conversations, max_new_tokens):
    """Ids that were generated: a list for each conversation, in reading order; they end before </s>."""
    said = [[] for group in conversations for _ in group]
    predictor.generate(images, conversations, max_new_tokens, on_token=lambda slot, token: said[slot].append(token))
    return said


@torch.no_grad()
def plain_greedy(predictor, image, conversation, max_new_tokens):
    """Token by token, the whole sequence anew each time, by Hugging Face's own forward: (ids, states that predict)."""
    model, processor = predictor.model, predictor.processor
    ids = processor.text.encode(conversation).input_ids.tolist()
    said, states = [], []
    for _ in range(max_new_tokens):
        state = plain_hidden_states(model, processor, image, ids + said)[-1]
        token = int(model.vlm.lm_head(state).argmax())
        if token == processor.tokenizer.eos_token_id:
            break
        said.append(token)
        states.append(state)
    return said, states


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("seed", [0, 2])
def test_greedy_tokens_are_those_of_a_forward_without_cache(seed, packed):
    model, processor = small_lisa(tied=False)
    torch.manual_seed(seed)
    for parameter in model.vlm.model.language_model.parameters():  # small random weights repeat one word
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.5)
    predictor = Predictor(model, processor if packed else unpacked(processor))
    said = said_ids(predictor, PICTURES, MANY, max_new_tokens=12)
    pairs = [(image, c) for image, group in zip(PICTURES, MANY, strict=True) for c in group]
    expected = [plain_greedy(predictor, image, c, 12)[0] for image, c in pairs]
    assert said == expected
    assert len({tuple(ids) for ids in said}) > 3  # the answers differ, so that the test can fail


def test_a_taught_model_gives_the_lessons_back(taught, lessons):
    images, conversations = lessons
    answers = taught.generate(images, questions(conversations))
    assert [[a.text for a in group] for group in answers] == [[c.turns[1].text for c in g] for g in conversations]


def test_every_seg_in_an_answer_has_a_mask_of_the_pictures_size_and_a_score(taught, lessons):
    images, conversations = lessons
    answers = taught.generate(images, questions(conversations))
    assert [[a.masks.shape for a in group] for group in answers] == [
        [(1, 30, 40), (0, 30, 40)],
        [(2, 50, 20), (0, 50, 20), (1, 50, 20)],
    ]
    for answer in (a for group in answers for a in group):
        assert answer.masks.dtype == bool
        for score in (answer.scores.expected_iou, answer.scores.seg_probability):
            assert score.shape == (len(answer.masks),)
            assert ((score >= 0) & (score <= 1)).all()


@pytest.mark.parametrize("seg_state", ["before", "at"])
def test_states_caught_while_generating_are_those_of_a_teacher_forced_pass(taught, lessons, seg_state):
    images, conversations = lessons
    predictor = Predictor(copy.deepcopy(taught.model), taught.processor)
    predictor.model.config.seg_state = seg_state
    seen = []
    predictor.model.text_hidden_fcs[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].clone()))
    generated = predictor.generate(images, questions(conversations))
    forced = predictor.teacher_forced(images, conversations)
    caught, expected = seen
    assert caught.shape == (4, 32)
    torch.testing.assert_close(caught, expected, rtol=1e-4, atol=1e-4)
    for one, other in zip(flat(generated), flat(forced), strict=True):
        assert one.text == other.text
        assert (one.masks != other.masks).mean() < 0.001 if len(one.masks) else len(other.masks) == 0


def test_the_caught_state_is_the_one_that_predicts_seg_in_a_forward_without_cache(taught, lessons):
    images, conversations = lessons
    seen = []
    hook = taught.model.text_hidden_fcs[0].register_forward_hook(lambda _, i, __: seen.append(i[0].clone()))
    taught.generate(images, questions(conversations))
    hook.remove()
    expected = []
    for image, group in zip(images, questions(conversations), strict=True):
        for conversation in group:
            ids, states = plain_greedy(taught, image, conversation, 64)
            seg = taught.model.config.seg_token_id
            expected += [state for token, state in zip(ids, states, strict=True) if token == seg]
    torch.testing.assert_close(seen[0], torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_an_answer_that_ends_early_leaves_the_others_as_they_are(taught, lessons):
    """Alone or beside an answer that ends sooner or later: the same words."""
    images, conversations = lessons
    together = taught.generate(images, questions(conversations))
    for image, group, answers in zip(images, questions(conversations), together, strict=True):
        for conversation, answer in zip(group, answers, strict=True):
            ((alone,),) = taught.generate([image], [[conversation]])
            assert alone.text == answer.text
            np.testing.assert_array_equal(alone.masks, answer.masks)


def test_max_new_tokens_cuts_every_answer(taught, lessons):
    images, conversations = lessons
    whole = said_ids(taught, images, questions(conversations), 64)
    cut = said_ids(taught, images, questions(conversations), 2)
    assert max(len(ids) for ids in whole) > 2
    assert cut == [ids[:2] for ids in whole]


def test_no_new_tokens_give_empty_answers(taught, lessons):
    images, conversations = lessons
    answers = taught.generate(images, questions(conversations), max_new_tokens=0)
    assert [(a.text, len(a.masks)) for group in answers for a in group] == [("", 0)] * 5


@pytest.mark.parametrize("seg_state", ["before", "at"])
def test_a_seg_as_the_last_token_that_is_allowed_still_has_its_mask(taught, lessons, seg_state):
    images, conversations = lessons
    predictor = Predictor(copy.deepcopy(taught.model), taught.processor)
    predictor.model.config.seg_state = seg_state
    question = questions(conversations)[1][2]  # answered by "[SEG]."
    first = said_ids(predictor, images[1:], [[question]], 64)[0]
    length = first.index(predictor.model.config.seg_token_id) + 1
    ((answer,),) = predictor.generate(images[1:], [[question]], max_new_tokens=length)
    assert answer.text == "[SEG]"
    assert answer.masks.shape == (1, 50, 20)


def test_on_token_tells_each_step_in_reading_order(taught, lessons):
    images, conversations = lessons
    calls = []
    answers = taught.generate(images, questions(conversations), on_token=lambda *call: calls.append(call))
    assert [slot for slot, _ in calls[:5]] == [0, 1, 2, 3, 4]
    texts = [a.text for group in answers for a in group]
    for slot, text in enumerate(texts):
        assert taught.processor.text.decode([token for s, token in calls if s == slot]) == text
    steps = [sum(s == slot for s, _ in calls) for slot in range(5)]
    assert len(set(steps)) > 1  # the answers end at different steps
    assert len(calls) == sum(steps)


def test_earlier_turns_are_read_and_their_seg_gets_no_mask_again(taught, lessons):
    images, conversations = lessons
    first = conversations[0][0]
    conversation = Conversation((*first.turns, Turn("user", "Where is the dog?")))
    ((answer,),) = taught.generate(images[:1], [[conversation]], max_new_tokens=8)
    ids = plain_greedy(taught, images[0], conversation, 8)[0]
    assert answer.text == taught.processor.text.decode(ids)
    assert len(answer.masks) == ids.count(taught.model.config.seg_token_id)


def test_teacher_forced_gives_as_many_masks_as_its_text_has_seg_when_there_is_a_history(taught, lessons):
    images, conversations = lessons
    first = conversations[0][0]
    conversation = Conversation((*first.turns, Turn("user", "And?"), Turn("assistant", "[SEG] and [SEG].")))
    ((answer,),) = taught.teacher_forced(images[:1], [[conversation]])
    assert answer.text == "[SEG] and [SEG]."
    assert len(answer.masks) == 2


def test_teacher_forced_keeps_images_without_seg_apart(taught, lessons):
    images, conversations = lessons
    answers = taught.teacher_forced([*images, images[0]], [*conversations, [ask("Where?", "No.")]])
    assert [[len(a.masks) for a in group] for group in answers] == [[1, 0], [2, 0, 1], [0]]
    assert answers[2][0].masks.shape == (0, 30, 40)


def test_masks_are_the_decoders_logits_above_0_at_the_pictures_size(taught, lessons):
    images, conversations = lessons
    masks = taught.teacher_forced(images[:1], [conversations[0][:1]])[0][0].masks
    batch = taught.processor(images[:1], [conversations[0][:1]])
    model = taught.model
    with torch.no_grad():
        hidden = model.hidden_states(batch.rows, model.backbone.image_tokens(batch.pixel_values))
        at = int((batch.rows.labels[0] == model.config.seg_token_id).nonzero()) - 1
        low_res = model.masks_from_states(hidden[0, at][None], torch.tensor([0]), batch.sam_pixels).low_res
    full = model.sam.postprocess_masks(low_res[None], (48, 64), (30, 40))[0]
    np.testing.assert_array_equal(masks, (full > 0).numpy())


def test_an_image_without_questions_has_no_answers(taught, lessons):
    images, conversations = lessons
    answers = taught.generate([images[0], images[1]], [[], questions(conversations)[1]])
    assert [len(group) for group in answers] == [0, 3]
    assert [a.text for a in answers[1]] == [c.turns[1].text for c in conversations[1]]


def test_an_untied_head_generates_as_well():
    model, processor = small_lisa(tied=False)
    predictor = Predictor(model, processor)
    conversation = ask("Where?")
    expected = plain_greedy(predictor, PICTURES[0], conversation, 4)[0]
    assert said_ids(predictor, PICTURES[:1], [[conversation]], 4) == [expected]


def test_an_unanswerable_question_is_refused_before_anything_is_computed(taught):
    with pytest.raises(ValueError, match="the user's text holds"):
        taught.generate([picture(8, 8)], [[ask("What is [SEG]?")]])


def calls_of(module):
    """Shapes of what a module is given, call by call."""
    shapes = []
    module.register_forward_hook(
        lambda _, args, kwargs, __: shapes.append(tuple([*args, *kwargs.values()][0].shape)), with_kwargs=True
    )
    return shapes


def test_logits_are_computed_for_the_next_tokens_only(taught, lessons):
    images, conversations = lessons
    predictor = Predictor(copy.deepcopy(taught.model), taught.processor)
    shapes = calls_of(predictor.model.vlm.lm_head)
    predictor.generate(images, questions(conversations))
    assert set(shapes) == {(2, 3, 32)}  # 2 rows with up to 3 conversations each, also at the first step


def test_every_picture_is_encoded_once_and_all_masks_are_decoded_in_one_call(taught, lessons):
    images, conversations = lessons
    predictor = Predictor(copy.deepcopy(taught.model), taught.processor)
    tower = calls_of(predictor.model.backbone.parts()["vision_tower"])
    encoder, decoder = (calls_of(getattr(predictor.model.sam, name)) for name in ("image_encoder", "mask_decoder"))
    silent = [conversations[0][1]]  # "No.", so that SAM never sees its picture
    for call in (predictor.teacher_forced, lambda i, c: predictor.generate(i, questions(c))):
        call([*images, images[0]], [*conversations, silent])
        assert [shape[0] for shape in tower] == [3]
        assert [shape[0] for shape in encoder] == [2]
        assert len(decoder) == 1
        for shapes in (tower, encoder, decoder):
            shapes.clear()
