"""Small folders in the layouts that benchmarks publish, and Moderators of fakes to run them through."""

import json
from collections.abc import Sequence
from pathlib import Path

from protector_models.evaluation.protector.report import JudgeFigures
from protector_models.moderation.conversation import Exchange

SCENARIOS = ("01-Illegal_Activitiy", "02-HateSpeech")


class WordAnswerJudge:
    """Calls an answer with "bad" or "harm=" in it unsafe; cannot judge one with "odd". Implements `AnswerJudge`."""

    def __init__(self, *, revision: str = "word-judge@1") -> None:
        self.revision = revision
        self.threshold = 0.5
        self.judged: list[str] = []

    def describe(self) -> JudgeFigures:
        return JudgeFigures(revision=self.revision, threshold=self.threshold, blind_to="all but two words")

    async def judge(self, exchanges: Sequence[Exchange]) -> list[float | None]:
        self.judged += [exchange.response for exchange in exchanges]
        return [
            None if "odd" in text else float("bad" in text or "harm=" in text)
            for text in self.judged[-len(exchanges) :]
        ]


def write_mm_safetybench(root: Path, *, num_questions: int = 2) -> Path:
    """Writes two scenarios with pictures of every kind, each of them a few bytes that name it."""
    for scenario in SCENARIOS:
        questions = {
            str(number): {
                "Question": f"{scenario} {number}?",
                "Rephrased Question": f"{scenario} {number}, as typed?",
                "Rephrased Question(SD)": f"{scenario} {number}, as drawn?",
            }
            for number in range(num_questions)
        }
        file = root / "processed_questions" / f"{scenario}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(questions))
        for folder in ("SD", "TYPO", "SD_TYPO"):
            for number in questions:
                picture = root / "imgs" / scenario / folder / f"{number}.jpg"
                picture.parent.mkdir(parents=True, exist_ok=True)
                picture.write_bytes(f"{scenario} {folder} {number}".encode())
    return root


def write_figstep(root: Path) -> Path:
    """Writes three questions on two topics, and their pictures."""
    rows = [(1, 1, "Illegal Activity"), (1, 2, "Illegal Activity"), (2, 1, "Hate Speech")]
    lines = [f"ForbidQI,{category},{task},{name},A question?,A list." for category, task, name in rows]
    (root / "question").mkdir(parents=True)
    (root / "question/safebench.csv").write_text(
        "\n".join(["dataset,category_id,task_id,category_name,question,instruction", *lines])
    )
    (root / "images/SafeBench").mkdir(parents=True)
    for category, task, _ in rows:
        (root / f"images/SafeBench/query_ForbidQI_{category}_{task}_6.png").write_bytes(b"a picture")
    return root
