"""Training data of the judges, small enough to train on in a second."""

from pathlib import Path

from protector_models.training.judges.judge_rows import HARM_SETS, TOXICITY_SETS
from tests.protector_models.training.builders import make_record, write_records


def write_judges_data(directory: Path, *, rows_per_set: int = 60) -> Path:
    """Writes every set that the judges read, with invented rows."""
    for name in TOXICITY_SETS:
        rows = [
            make_record(text=f"{'you stupid' if number % 2 else 'my good'} friend {number} {name}", label=number % 2)
            for number in range(rows_per_set)
        ]
        write_records(directory / f"{name}.jsonl", rows)
    for name in HARM_SETS:
        rows = [
            make_record(
                prompt=f"question {number} {name}",
                response=f"{'burn it all' if number % 3 == 0 else 'water the plants'} on day {number}",
                label=int(number % 3 == 0),
            )
            for number in range(rows_per_set)
        ]
        write_records(directory / f"{name}.jsonl", rows)
    pairs = [
        make_record(text=f"the damn bus of line {number} is late", pair=f"the bus of line {number} is late", label=1)
        for number in range(rows_per_set)
    ]
    write_records(directory / "paradetox/train.jsonl", pairs)
    plain = [make_record(text=f"we took the train number {number}", label=0) for number in range(rows_per_set)]
    write_records(directory / "paradetox/cannot_rewrite.jsonl", plain)
    return directory
