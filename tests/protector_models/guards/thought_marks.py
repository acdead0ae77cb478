"""Pairs of marks that guards put around what they think."""

MARKS = [
    *(("<think>", "</think>"), ("<Think>", "</THINK>"), ("<thinking>", "</thinking>"), ("[THINK]", "[/THINK]")),
    *(("<reasoning>", "</reasoning>"), ("<seed:think>", "</seed:think>"), ("<think budget=9>", "</think>")),
    *(("<|begin_of_thought|>", "<|end_of_thought|>"), ("<|START_THINKING|>", "<|END_THINKING|>")),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>commentary to=x<|message|>", "<|end|><|channel|>Final<|message|>"),
    ("◁think▷", "◁/think▷"),
]
