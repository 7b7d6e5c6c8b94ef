"""docs/backbones.md says what is so."""

import pytest
from families import FAMILIES
from write_table import COLUMNS, PAGE, describe

SAME_EVERYWHERE = set(COLUMNS) - {"[SEG] state", "speed-up"}


def page() -> dict[str, dict[str, str]]:
    lines = [line.strip("| ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    rows = [dict(zip(COLUMNS, line.split(" | "), strict=True)) for line in lines]
    return {row["family"].strip("`"): row for row in rows}


def test_the_page_lists_every_family():
    assert set(page()) == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_line_of_the_page_is_true(name):
    now, written = describe(name), page()[name]
    assert {column: now[column] for column in SAME_EVERYWHERE} == {
        column: written[column] for column in SAME_EVERYWHERE
    }
    assert float(now["[SEG] state"]) < 1e-5
    assert float(written["[SEG] state"]) < 1e-5
