"""docs/add-a-backbone.md, followed to the letter."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import contract
import families
import pytest
from test_contract import CHECKS

import lisa.backbones

PAGE = Path(__file__).parents[2] / "docs" / "add-a-backbone.md"
BLOCKS = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """The family of the page, added as the page adds it; it is gone afterwards."""
    (written,) = (name for name in BLOCKS if name.startswith("lisa/backbones/") and "__init__" not in name)
    file = tmp_path_factory.mktemp("added") / Path(written).name
    file.write_text(BLOCKS[written], encoding="utf-8")
    module_name = f"lisa.backbones.{file.stem}"
    assert importlib.util.find_spec(module_name) is None, "the family is in the list: write the page with another one"
    spec = importlib.util.spec_from_file_location(module_name, file)
    sys.modules[module_name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    registered, toys = set(lisa.backbones.FAMILIES), set(families.FAMILIES)
    exec(BLOCKS["lisa/backbones/__init__.py"], vars(lisa.backbones))
    exec(BLOCKS["tests/backbones/families.py"], vars(families))
    (added,) = set(lisa.backbones.FAMILIES) - registered
    (toy,) = set(families.FAMILIES) - toys
    yield contract.Subject(families.FAMILIES[toy])
    del lisa.backbones.FAMILIES[added], families.FAMILIES[toy], sys.modules[module_name]


def test_the_page_has_a_file_a_line_and_a_tiny_model():
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("check", CHECKS)
def test_what_the_page_adds_keeps_the_contract(subject, check, tmp_path):
    needs_folder = "folder" in inspect.signature(CHECKS[check]).parameters
    CHECKS[check](subject, *[tmp_path] * needs_folder)
