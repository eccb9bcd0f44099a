"""Prompts over columns: strict, by any name, and harmless."""

import pytest

from doubleword_batch.errors import InputError
from doubleword_batch.requests import Template

DOUBLING = "{% set b = a %}" + "{% set b = b + b %}" * 25 + "{{ b|length }}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Say {{ text }} or {{text}}!\n", "Say hello or hello!\n"),
        ("{{ order id }}/{{row['order id']}}", "A-7/A-7"),
        ("{{ Größe (cm) }} {{ 名前 }} {{ class }} {{ 2nd }}", "180 Ada c second"),
        ("100 % of {{ text }} %s %%", "100 % of hello %s %%"),
        ("{% if n > 2 %}{{ text|upper }}{% else %}no{% endif %}", "HELLO"),
        ("{% for tag in tags %}{{ loop.index }}{{ tag }} {% endfor %}", "1x 2y "),
        ("{{ text[:2] ~ '…' }} {{ n * 2 + 1 }} {{ tags|join('-') }}", "he… 7 x-y"),
        ("{{ text|replace('l', 'L') }} {{ text.split('e')[1] }}", "heLLo llo"),
        ("{# note #}{% raw %}{{ text }}{% endraw %} {{- text -}} .", "{{ text }}hello."),
        (
            "{{ none }}|{{ yes }}|{{ n }}|{{ tags }}|{{ tags|tojson }}",
            '|true|3|["x","y"]|["x","y"]',
        ),
        ("{% for k, v in row.items() if v is string %}{{ k[0] }}{% endfor %}", "toG名c2"),
        ("{% for t in tags %}{{ t }}{{ ', ' if not loop.last }}{% endfor %}", "x, y"),
        (
            "{% set best = tags|first %}{{ best }} {{ 2.345|round(1) }} {{ 'x' in ['x', 'y'] }}",
            "x 2.3 true",
        ),
        ("{{ row.text }} {{ row.get('gone', 'x') }}", "hello x"),
    ],
)
def test_a_template_renders_columns_by_any_name_and_values_as_text_or_json(text, expected):
    row = {
        "text": "hello",
        "order id": "A-7",
        "Größe (cm)": "180",
        "名前": "Ada",
        "class": "c",
        "2nd": "second",
        "n": 3,
        "none": None,
        "yes": True,
        "tags": ["x", "y"],
    }
    assert Template(text, tuple(row)).render(row) == expected


def test_a_value_that_looks_like_a_template_stays_text():
    attack = "{{ 7*7 }} {% for x in range(9) %} {{ ''.__class__ }} %s %(x)s"
    for text in ("{{ a }}", "{% if true %}{{ a }}{% endif %}", "{{ a|trim }}"):
        assert Template(text, ["a"]).render({"a": attack}) == attack


def test_markup_is_not_escaped():
    assert Template("<b>{{ a }}</b>{{ a|trim }}", ["a"]).render({"a": "<&>"}) == "<b><&></b><&>"


@pytest.mark.parametrize(
    "text",
    [
        "{{ txet }}",
        "{{ order nr }}",
        "{{ row['txet'] }}",
        "{{ row.txet }}",
        "{{ txet|default(1) }}",
        "{{ TEXT }}",
    ],
)
def test_an_unknown_column_is_named_with_those_there_are_and_the_nearest(text):
    with pytest.raises(InputError) as refused:
        Template(text, ["text", "order id"])
    assert refused.value.code == "unknown_column"
    assert "«text», «order id»" in refused.value.hint
    assert "Did you mean" in refused.value.hint


def test_the_list_of_columns_is_cut_at_thirty():
    with pytest.raises(InputError) as refused:
        Template("{{ zzz }}", [f"column{i}" for i in range(45)])
    assert "«column29» and 15 more" in refused.value.hint
    assert "column30" not in refused.value.hint


def test_a_column_called_row_or_range_is_itself():
    row = {"row": "r", "range": "g"}
    assert Template("{{ row }}{{ range }}{{ row|upper }}", list(row)).render(row) == "rgR"


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\n{{ text", 2), ("{% if text %}", 1), ("\n\n{{ text | nofilter }}", 3), ("{{ a b + }}", 1)],
)
def test_a_syntax_error_is_refused_with_its_line(text, line):
    with pytest.raises(InputError) as refused:
        Template(text, ["text", "a", "b"], name="system prompt")
    assert refused.value.code == "invalid_template"
    assert refused.value.details == {"line": line}
    assert "system prompt" in refused.value.message


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_prompt_is_refused(text):
    with pytest.raises(InputError, match="prompt is empty") as refused:
        Template(text, ["a"])
    assert refused.value.code == "invalid_template"


@pytest.mark.parametrize("text", ["{{ note }}", "{{ note|upper }}", "{{ row['note'] ~ 'x' }}"])
def test_a_row_that_lacks_a_column_is_refused_unless_a_default_is_given(text):
    with pytest.raises(InputError, match="note") as refused:
        Template(text, ["note"]).render({})
    assert refused.value.code == "missing_value"
    assert "default" in refused.value.hint
    assert Template("{{ note|default('none') }}", ["note"]).render({}) == "none"


@pytest.mark.parametrize(
    "text",
    [
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% from 'x' import y %}",
        "{% extends 'x' %}",
        "{% block b %}{% endblock %}",
        "{% macro m() %}{% endmacro %}",
        "{% for x in a recursive %}{% endfor %}",
        "{{ 9 ** 9 ** 9 }}",
        "{% set b %}{{ a }}{{ a }}{% endset %}",
        "{% set b = [a, a] %}",
        "{% set b = {'x': a} %}",
        "{% set b = (a, a) %}",
        "{{ a|format }}",
        "{{ a|center(10) }}",
        "{{ a|attr('upper') }}",
        "{{ a|map('upper') }}",
    ],
)
def test_features_that_a_prompt_does_not_need_are_not_available(text):
    with pytest.raises(InputError) as refused:
        Template(text, ["a"])
    assert refused.value.code == "invalid_template"


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ a.format }}",
        "{{ a.format(a) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '{x:>1000000000}'.format_map({'x': 1}) }}",
        "{{ a.center(1000000000) }}",
        "{{ a.ljust(1000000000) }}",
        "{{ a * 1000000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ range(1000000000) }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in a %}{% for j in a %}{% for k in a %}{% endfor %}{% endfor %}{% endfor %}",
        "{{ a|join(a) }}",
        "{{ a|replace('x', a) }}",
        "{{ a|replace('', a) }}",
        "{% for i in range(99999) %}{{ a }}{% endfor %}",
        DOUBLING.replace("+", "~"),
        DOUBLING,
        "{% set n = 9999999999999999 %}" + "{% set n = n * n %}" * 40 + "{{ n }}",
        "{{ 5|round(999999999, 'ceil') }}",
        "{{ 1e308 * 10 }}",
        "{{ a / 0 }}",
        "{{ 1 / 0 }}",
        "{{ lipsum(9) if false else row.__class__ }}",
        "{{ a[99999] }}",
    ],
)
def test_a_template_can_neither_reach_python_nor_exhaust_the_machine(text):
    with pytest.raises(InputError) as refused:
        Template(text, ["a"], max_characters=1_000_000).render({"a": "x" * 3000})
    assert refused.value.code in {
        "invalid_template",
        "request_too_large",
        "missing_value",
        "unknown_column",
    }


def test_every_row_has_the_whole_budget_again():
    template = Template("{% for x in a %}{{ x }}{% endfor %}", ["a"], max_characters=1000)
    for _ in range(50):
        assert template.render({"a": "abcde"}) == "abcde"


@pytest.mark.parametrize("text", ["{{ a }}{{ a }}", "{{ a|trim }}{{ a|trim }}"])
def test_a_rendering_beyond_the_limit_is_refused(text):
    template = Template(text, ["a"], max_characters=100)
    assert len(template.render({"a": "x" * 40})) == 80
    with pytest.raises(InputError) as refused:
        template.render({"a": "x" * 60})
    assert refused.value.code == "request_too_large"


def test_a_template_knows_whether_it_uses_a_column():
    assert Template("Say hello.", ["a"]).is_constant
    assert Template("{% if 1 %}x{% endif %}{{ range(3)|list }}", ["a"]).is_constant
    assert not Template("{{ a }}", ["a"]).is_constant
    assert not Template("{% for k in row %}{{ k }}{% endfor %}", ["a"]).is_constant
