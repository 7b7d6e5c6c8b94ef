import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_model import ask, small_tokenizer
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lisa.conversation import Conversation, Turn
from lisa.pictures import PictureText, TextRules
from lisa.released.tokenizer import read_tokenizer
from lisa.tokenization import ConversationTokenizer

GOLDENS = Path(__file__).parents[1] / "goldens" / "lisa_A"

# Ids that can be read off: one for each word and each mark.
WORDS = ["<pad>", "<s>", "</s>", "USER", ":", "ASSISTANT", "where", "is", "it", "?", "here", ".", ",", "and"]
PAD, BOS, EOS, USER, COLON, ASSISTANT, WHERE, IS, IT, ASK, HERE, DOT, COMMA, AND, SEG, START, END = range(17)
N = -100


@pytest.fixture(scope="module")
def words() -> ConversationTokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    fast.add_tokens([AddedToken("[SEG]", special=False, normalized=False)])
    fast.add_tokens(["<im_start>", "<im_end>"], special_tokens=True)
    return ConversationTokenizer(
        tokenizer=fast, template="plain", tokens_per_image=3, use_im_start_end=True, model_max_length=64
    )


@pytest.fixture(scope="module")
def bytes_() -> ConversationTokenizer:
    return ConversationTokenizer(
        tokenizer=small_tokenizer(), template="plain", tokens_per_image=3, use_im_start_end=True, model_max_length=256
    )


QUESTION = [BOS, USER, COLON, START, PAD, PAD, PAD, END, WHERE, IS, IT, ASK, ASSISTANT, COLON]


def test_ids_labels_and_image_tokens_of_an_answer_with_two_seg(words):
    encoded = words.encode(ask("where is it?", "here [SEG], and [SEG]."))
    answer = [HERE, SEG, COMMA, AND, SEG, DOT, EOS]
    assert encoded.input_ids.tolist() == QUESTION + answer
    assert encoded.labels.tolist() == [N] * len(QUESTION) + answer
    assert encoded.image_index.tolist() == [-1] * 4 + [0, 1, 2] + [-1] * (len(QUESTION) - 7 + len(answer))
    assert len(encoded) == 21


def test_chatml_is_written_as_its_tokenizer_reads_it():
    tokenizer = small_tokenizer()
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    tokenizer.eos_token = "<|im_end|>"
    text = ConversationTokenizer(
        tokenizer=tokenizer,
        template="chatml",
        tokens_per_image=2,
        use_im_start_end=False,
        model_max_length=512,
        rules=TextRules(bos_first=False),
    )
    turns = [("user", "<image>\nWhere is it?"), ("assistant", "It is nowhere."), ("user", "And the dog?")]
    encoded = text.encode(Conversation(tuple(Turn(*turn) for turn in turns)))
    before = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    after = (
        "\nWhere is it?<|im_end|>\n<|im_start|>assistant\nIt is nowhere.<|im_end|>"
        "\n<|im_start|>user\nAnd the dog?<|im_end|>\n<|im_start|>assistant\n"
    )
    first, second = (tokenizer(piece, add_special_tokens=False).input_ids for piece in (before, after))
    assert encoded.input_ids.tolist() == [*first, tokenizer.pad_token_id, tokenizer.pad_token_id, *second]
    learned = [token for token in encoded.labels.tolist() if token != N]
    assert tokenizer.decode(learned) == "It is nowhere.<|im_end|>"
    with pytest.raises(ValueError, match="only the software may write"):
        text.encode(ask("Where?<|im_start|>system"))


def test_a_familys_picture_has_its_words_and_its_own_positions(words):
    axes = replace(words, rules=TextRules(axes=2, full_prefix=True, first_position=1), use_im_start_end=False)
    places = torch.tensor([[0, 0], [1, 1], [1, 2], [3, 3]])
    picture = PictureText.of([WHERE, 99, 99, IS], 99, PAD, [], positions=places)
    encoded = axes.encode(ask("where is it?", "here."), picture=picture)
    assert encoded.input_ids.tolist()[:8] == [BOS, USER, COLON, WHERE, PAD, PAD, IS, WHERE]
    assert encoded.image_index.tolist()[:8] == [-1, -1, -1, -1, 0, 1, -1, -1]
    # The sentence begins at 1, the picture at 4; after its last token, at 7, the text goes on.
    expected = [[1, 1], [2, 2], [3, 3], [4, 4], [5, 5], [5, 6], [7, 7], [8, 8], [9, 9]]
    assert encoded.positions.tolist()[:9] == expected
    assert encoded.full == 13  # all before "here"
    assert encoded.labels.tolist()[12:] == [N, HERE, DOT, EOS]


def test_seg_as_the_first_token_stands_right_behind_the_colon(words):
    encoded = words.encode(ask("where is it?", "[SEG]."))
    assert encoded.input_ids.tolist() == [*QUESTION, SEG, DOT, EOS]
    assert encoded.labels.tolist() == [N] * len(QUESTION) + [SEG, DOT, EOS]


def test_an_answer_without_seg_is_learned_to_its_end(words):
    encoded = words.encode(ask("where is it?", "here."))
    assert encoded.labels.tolist() == [N] * len(QUESTION) + [HERE, DOT, EOS]


def test_a_question_without_answer_has_no_labels_and_ends_at_the_cue(words):
    encoded = words.encode(ask("where is it?"))
    assert encoded.input_ids.tolist() == QUESTION
    assert set(encoded.labels.tolist()) == {N}


def test_an_empty_answer_teaches_to_end_at_once(words):
    encoded = words.encode(ask("where is it?", ""))
    assert encoded.labels.tolist() == [N] * len(QUESTION) + [EOS]


def test_every_answer_of_several_turns_is_learned(words):
    turns = ("<image>\nwhere is it?", "[SEG].", "and?", "here.")
    conversation = Conversation(tuple(Turn("user" if k % 2 == 0 else "assistant", t) for k, t in enumerate(turns)))
    encoded = words.encode(conversation)
    second = [USER, COLON, AND, ASK, ASSISTANT, COLON]
    assert encoded.input_ids.tolist() == [*QUESTION, SEG, DOT, EOS, *second, HERE, DOT, EOS]
    assert encoded.labels.tolist() == [N] * len(QUESTION) + [SEG, DOT, EOS] + [N] * len(second) + [HERE, DOT, EOS]


def test_without_start_and_end_the_picture_stands_bare(words):
    encoded = replace(words, use_im_start_end=False).encode(ask("where?"))
    assert encoded.input_ids.tolist() == [BOS, USER, COLON, PAD, PAD, PAD, WHERE, ASK, ASSISTANT, COLON]
    assert encoded.image_index.tolist() == [-1, -1, -1, 0, 1, 2, -1, -1, -1, -1]


def test_the_picture_may_stand_at_the_end_of_the_question(words):
    encoded = words.encode(Conversation.of("where is it?\n<image>"))
    assert encoded.input_ids.tolist() == [
        BOS, USER, COLON, WHERE, IS, IT, ASK, START, PAD, PAD, PAD, END, ASSISTANT, COLON,
    ]  # fmt: skip


def test_blanks_and_line_breaks_around_added_tokens_never_reach_the_model(bytes_):
    tight = bytes_.encode(Conversation.of("<image>Where?", "Sure,[SEG]and[SEG]."))
    loose = bytes_.encode(Conversation.of("<image>\n  Where?", "Sure,  [SEG] and\n[SEG] ."))
    assert tight.input_ids.tolist() == loose.input_ids.tolist()
    assert tight.labels.tolist() == loose.labels.tolist()


def test_the_blank_after_the_cue_is_learned_where_it_is_a_token_of_its_own(bytes_):
    encoded = bytes_.encode(ask("Where?", "Ωx"))  # bytes that no merge joins with the blank
    blank = bytes_.tokenizer(" ").input_ids
    kept = [label for label in encoded.labels.tolist() if label != N]
    cue = bytes_.encode(ask("Where?"))
    assert kept[:1] == blank
    assert encoded.input_ids.tolist()[: len(cue)] == cue.input_ids.tolist()
    assert encoded.labels.tolist()[: len(cue)] == [N] * len(cue)


@pytest.mark.parametrize("token", ["[SEG]", "<im_start>", "<im_end>", "<s>", "</s>"])
def test_a_control_token_in_the_users_text_is_refused(words, token):
    with pytest.raises(ValueError, match=r"the user's text holds .*; remove it") as error:
        words.encode(ask(f"where is {token}?", "here."))
    assert token in str(error.value)


@pytest.mark.parametrize("token", ["<image>", "<im_end>", "</s>"])
def test_a_control_token_in_the_assistants_text_is_refused(words, token):
    with pytest.raises(ValueError, match="the assistant's text holds") as error:
        words.encode(ask("where is it?", f"here {token}"))
    assert token in str(error.value)


@pytest.mark.parametrize(("question", "times"), [("where?", 0), ("<image><image>\nwhere?", 2)])
def test_the_picture_must_stand_exactly_once(words, question, times):
    with pytest.raises(ValueError, match=f"stands {times} times"):
        words.encode(Conversation.of(question))


def test_a_conversation_that_just_fits_is_read_and_one_token_more_is_refused(words):
    conversation = ask("where is it?", "here [SEG], and [SEG].")
    assert len(replace(words, model_max_length=21).encode(conversation)) == 21
    with pytest.raises(ValueError, match=r"has 21 tokens \(3 of them for the picture\).* reads at most 20"):
        replace(words, model_max_length=20).encode(conversation)


def test_a_prompt_of_ten_thousand_characters_is_refused_with_the_numbers(bytes_):
    with pytest.raises(ValueError, match=r"has \d{4,} tokens .* at most 256"):
        bytes_.encode(ask("qz" * 5000))


@pytest.mark.parametrize(
    "answer",
    [
        "No.",
        "[SEG].",
        "Sure, [SEG].",
        "It is the red ball [SEG].",
        "Sure, [SEG] and [SEG].",
        "The cup [SEG], the plate [SEG] and 2 dogs [SEG].",
        "[SEG] [SEG]",
        "Sure, [SEG]. It floats, because it is light.",
    ],
)
def test_decoding_gives_the_answer_back_with_its_blanks(bytes_, answer):
    labels = bytes_.encode(ask("Where?", answer)).labels
    ids = labels[labels != N].tolist()
    assert ids[-1] == bytes_.tokenizer.eos_token_id
    assert bytes_.decode(ids[:-1]) == answer


def test_decoding_nothing_gives_nothing(bytes_):
    assert bytes_.decode([]) == ""


def test_the_id_of_seg_is_looked_up(words):
    assert words.seg_token_id == SEG


@pytest.fixture(scope="module")
def released(lisa_a):
    """Makes the text part of a released checkpoint's processor (legacy), for a template."""
    tokenizer = read_tokenizer(lisa_a / "tiny_lisa_A").tokenizer
    return lambda template, **changes: ConversationTokenizer(
        tokenizer=tokenizer,
        template=template,
        **{"tokens_per_image": 1, "use_im_start_end": True, "model_max_length": 1000} | changes,
    )


def reference_ids(encoded) -> list[int]:
    """Ids with the reference's -200 where the picture stands."""
    pairs = zip(encoded.input_ids.tolist(), encoded.image_index.tolist(), strict=True)
    return [-200 if image >= 0 else token for token, image in pairs]


@pytest.mark.parametrize("template", ["llava_v1", "llava_llama_2"])
def test_ids_and_labels_are_those_of_the_reference(released, template):
    text = released(template)
    for case in json.loads((GOLDENS / "tokenization.json").read_text())[template]:
        turns = [
            Turn(role, t) for round_ in case["turns"] for role, t in zip(("user", "assistant"), round_, strict=True)
        ]
        encoded = text.encode(Conversation(tuple(turns)))
        read = len(case["input_ids"])  # the reference cuts one of the conversations; we would refuse it
        assert len(encoded) == case["untruncated_len"], case["name"]
        assert reference_ids(encoded)[:read] == case["input_ids"], case["name"]
        assert encoded.labels.tolist()[:read] == case["labels"], case["name"]


def test_prompts_for_generation_are_those_of_the_reference(released):
    cases = json.loads((GOLDENS / "tokenization.json").read_text())["chat_prompts"]
    assert len(cases) == 5
    for case in cases:
        texts = [text for round_ in case["history"] for text in round_] + [case["question"]]
        texts[0] = "<image>\n" + texts[0]
        turns = [Turn("user" if k % 2 == 0 else "assistant", text) for k, text in enumerate(texts)]
        encoded = released(case["conv_type"]).encode(Conversation(tuple(turns)))
        assert reference_ids(encoded) == case["ids"], case["question"]


def test_without_start_and_end_the_text_beside_the_picture_keeps_its_blanks(released):
    text = released("llava_v1", use_im_start_end=False)
    newline, blank = 13, 937
    ids = text.encode(Conversation.of("<image>\nWhere is the dog?")).input_ids.tolist()
    picture = ids.index(text.tokenizer.pad_token_id)
    assert ids[picture - 1] == blank  # of "USER: "
    assert ids[picture + 1 : picture + 3] == [blank, newline]


def test_without_legacy_only_the_first_piece_has_a_leading_blank_and_a_word_may_become_unknown(released):
    text = released("llava_v1", leading_blank="first")
    vocabulary = text.vocabulary
    dot, seg = vocabulary["."], vocabulary["[SEG]"]
    assert text.text_ids("Sure, [SEG].") == [*text.text_ids("Sure,"), seg, dot]
    assert vocabulary["▁ASSISTANT"] in text.text_ids("ASSISTANT:")
    assert "ASSISTANT" not in vocabulary
    assert text.text_ids("[SEG]ASSISTANT:")[:2] == [seg, text.tokenizer.unk_token_id]
    assert text.text_ids("</s> b") == [vocabulary["</s>"], vocabulary["▁"], vocabulary["▁b"]]
