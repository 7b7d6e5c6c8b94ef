import copy

import pytest
import torch
from small_model import ask, picture, small_lisa

from lisa.generation import Predictor
from lisa.losses import text_loss

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small():
    """(model, processor) with random weights; shared, so whoever changes the model copies it first."""
    return small_lisa()


LESSONS = (
    (
        picture(30, 40, seed=1),
        (("Where is the red ball?", "Sure, it is the red ball [SEG]."), ("Where is the dog?", "No.")),
    ),
    (
        picture(50, 20, seed=2),
        (
            ("Where is the red ball?", "Sure, [SEG] and [SEG]."),
            ("Is there a cat, or is there nothing but grass, sand and sky?", "There is grass and sand."),
            ("Show both of them, please.", "[SEG]."),
        ),
    ),
)


@pytest.fixture(scope="session")
def lessons():
    """(images, questions with answers, one list for each image) that `taught` knows by heart."""
    images = [image for image, _ in LESSONS]
    return images, [[ask(question, answer) for question, answer in pairs] for _, pairs in LESSONS]


@pytest.fixture(scope="session")
def taught(small, lessons):
    """A predictor whose language model has learned the lessons by heart, so that it ends its answers."""
    model, processor = copy.deepcopy(small[0]).train(), small[1]
    images, conversations = lessons
    batch = processor(images, conversations)
    optimizer = torch.optim.AdamW(model.vlm.parameters(), lr=5e-3)
    for _ in range(400):
        hidden = model.hidden_states(batch.rows, model.backbone.image_tokens(batch.pixel_values))
        loss = text_loss(hidden, batch.rows.labels, model.backbone.logits)
        if loss.item() < 0.005:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.005, f"the lessons were not learned: {loss.item()}"
    return Predictor(model, processor, name="taught")
