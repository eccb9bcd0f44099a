"""The demo's job: 48 dictionary entries of WordNet, each sorted into one of six topics.

The table has the topic a lexicographer chose (`LABEL_COLUMN`), which the prompt never shows, so the
demo can say how often the small model agrees. Measured through the whole demo with the built-in
executor and SmolLM2-135M-Instruct (Q4_1): agreement on 34 of 48 rows, in 70 seconds on two busy
cores. The examples were tuned on these rows; on the next 48 entries by the same rule it agreed on
29. Quote the first figure only together with the second.
"""

from typing import Any

DATA = "wordnet-nouns.csv"
"""The table's file name, in `data/` beside this module."""

ID_COLUMN = "id"
LABEL_COLUMN = "label"

TOPICS = ("animal", "artifact", "feeling", "food", "person", "plant")

# None of these words is in the table. The order matters to so small a model: alphabetical
# examples made it answer "plant" to nearly everything.
_EXAMPLES = (
    ("oak", "a tall tree that bears acorns", "plant"),
    ("teacher", "someone whose job is to teach", "person"),
    ("bread", "a food made from baked dough", "food"),
    ("joy", "the emotion of great happiness", "feeling"),
    ("spoon", "a utensil for eating or stirring", "artifact"),
    ("lion", "a large cat of Africa and Asia", "animal"),
    ("hammer", "a tool with a heavy head for driving nails", "artifact"),
    ("shark", "a large fish with sharp teeth", "animal"),
)

SYSTEM = (
    "Sort each word into a topic: animal, artifact, feeling, food, person or plant.\n\n"
    + "\n".join(
        f'Word: {word}\nDefinition: {definition}\nAnswer: {{"topic": "{topic}"}}\n'
        for word, definition, topic in _EXAMPLES
    )
)

PROMPT = "Word: {{ word }}\nDefinition: {{ definition }}\nAnswer:"

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"topic": {"type": "string", "enum": list(TOPICS)}},
    "required": ["topic"],
    "additionalProperties": False,
}

MODEL = "smollm2-135m-instruct"
"""The model whose agreement was measured; of another one these figures say nothing."""

UNSEEN_ROWS, UNSEEN_AGREED = 48, 29
"""The next entries by the same rule, on which nothing was tuned, and the agreement there."""

PARAMS: dict[str, Any] = {"temperature": 0, "max_tokens": 48}
