from pathlib import Path

from sam_bridge.table import make_table


def test_the_table_in_the_docs_is_the_one_that_is_made():
    page = Path(__file__).resolve().parents[2] / "docs" / "sam.md"
    assert make_table() in page.read_text(encoding="utf-8"), (
        "python -m sam_bridge.table prints the table of docs/sam.md"
    )
