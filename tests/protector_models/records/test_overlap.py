"""What the detector is trained and chosen on holds nothing of the public sets that it is measured on."""

import ast
import hashlib
import re
import sys
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from protector_models.records.examples import WRITTEN_ROWS, Example, load_examples
from protector_models.records.labelled_records import RecordError, find_record_files, read_records
from protector_models.records.mix import RowKind
from protector_models.training.detector.detector_recipe import DetectorRecipe
from tests.protector_models.training.builders import write_mix

pytestmark = pytest.mark.training

PROJECT = Path(__file__).parents[3]
DATA = PROJECT.parent / "shared" / "data"


def canonicalise(text: str) -> str:
    """Case, white space, marks and letters of other shapes make no other text."""
    return " ".join(re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold()).split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """A text that is in both."""

    canonical: str
    source_set: str
    evaluation_sets: frozenset[str]

    def __str__(self) -> str:
        digest = hashlib.sha256(self.canonical.encode()).hexdigest()[:16]
        return f"{self.source_set}: {digest} is in {', '.join(sorted(self.evaluation_sets))}"


def find_overlaps(examples: list[Example], evaluation_sets: dict[str, set[str]]) -> set[Overlap]:
    """Finds the distinct texts of examples that are in an evaluation set; keyed by canonical text."""
    found: set[Overlap] = set()
    for example in examples:
        for text in (example.prompt, example.response):
            canonical = canonicalise(text)
            if canonical in evaluation_sets:
                overlap = Overlap(
                    canonical=canonical,
                    source_set=example.source_set,
                    evaluation_sets=frozenset(evaluation_sets[canonical]),
                )
                found.add(overlap)
    return found


def read_texts(directory: Path) -> dict[str, set[str]]:
    """Reads every text of the evaluation sets: canonical text to the names of the sets that hold it."""
    sets_by_text: dict[str, set[str]] = defaultdict(set)
    for file in find_record_files(directory):
        for record in read_records(file):
            for text in (record.prompt, record.response, record.text, record.pair):
                if canonical := canonicalise(text):
                    sets_by_text[canonical].add(file.parent.name)
    return dict(sets_by_text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The mix as it is trained and chosen on, and what was opened to make it."""

    examples: list[Example]
    opened: list[Path]


class OpenedFiles:
    """An audit hook that notes the files that are opened. A hook cannot be removed: it stops noting."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.is_noting = True

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.is_noting and event == "open" and isinstance(arguments[0], str):
            self.paths.append(Path(arguments[0]).resolve())


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    if not DATA.is_dir():
        pytest.skip(f"needs the training and evaluation data at {DATA.parent.name}/{DATA.name} beside the project")
    recipe = DetectorRecipe()
    opened = OpenedFiles()
    sys.addaudithook(opened)
    split = load_examples(DATA / "train", validation_percent=recipe.validation_percent, seed=recipe.seed)
    opened.is_noting = False
    return Loaded(examples=split.training + split.validation, opened=opened.paths)


@pytest.fixture(scope="module")
def overlaps(loaded: Loaded) -> set[Overlap]:
    return find_overlaps(loaded.examples, read_texts(DATA / "eval"))


# Reading all of both takes twelve seconds of an idle core.
@pytest.mark.timeout(900)
def test_no_evaluation_prompt_or_answer_is_trained_or_chosen_on(overlaps: set[Overlap]) -> None:
    assert sorted(map(str, overlaps)) == []


def test_loading_the_mix_opens_training_records_only(loaded: Loaded) -> None:
    records = [path for path in loaded.opened if path.name.endswith((".jsonl", ".gz"))]
    assert records
    rooms = ((DATA / "train").resolve(), WRITTEN_ROWS)
    assert all(any(path.is_relative_to(room) for room in rooms) for path in records)


def test_a_text_is_found_again_whatever_its_case_marks_and_letters(tmp_path: Path) -> None:
    split = load_examples(write_mix(tmp_path / "train"), validation_percent=30, seed=3)
    examples = [example for example in split.training if example.kind is RowKind.ANSWER and example.prompt]
    disguised = f"  {examples[0].prompt.upper().translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)})} ?!"
    (overlap,) = find_overlaps(examples[:1], {canonicalise(disguised): {"some_set"}})
    assert overlap.evaluation_sets == {"some_set"}


@pytest.mark.parametrize("linked", ["gptfuzz", "gptfuzz/train.jsonl"])
def test_a_set_that_is_a_link_to_evaluation_data_is_refused(tmp_path: Path, linked: str) -> None:
    mix = write_mix(tmp_path / "train")
    (tmp_path / "eval").mkdir()
    (mix / linked).rename(tmp_path / "eval" / Path(linked).name)
    (mix / linked).symlink_to(tmp_path / "eval" / Path(linked).name)
    with pytest.raises(RecordError, match="never trained on"):
        load_examples(mix, validation_percent=20, seed=5)


def test_training_code_reads_records_through_one_door_which_refuses_evaluation_data() -> None:
    modules = [
        *(PROJECT / "protector_models" / "training").rglob("*.py"),
        *(PROJECT / "pipelines" / "commands").glob("train*.py"),
        PROJECT / "protector_models" / "records" / "examples.py",
    ]
    assert len(modules) > 30
    readers = {"read_records", "find_record_files", "read_rows", "find_sets", "find_overlaps"}
    using = {module.name for module in modules if readers & _names_in(module)}
    assert using == {"examples.py"}


def _names_in(module: Path) -> set[str]:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return names | {node.name for node in ast.walk(tree) if isinstance(node, ast.alias | ast.FunctionDef)}
