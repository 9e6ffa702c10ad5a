//! The constructs that public chat templates use, and Python's methods and filters beside them. The expected texts were
//! rendered once by Python's jinja2 3.1.6, set up as transformers 4 sets it up, over [`MESSAGES`] and [`TOOLS`].

/// A conversation, in JSON.
pub const MESSAGES: &str = r#"[{"role": "system", "content": "Be terse. "}, {"role": "user", "content": " Hello \n"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHi."}, {"role": "user", "content": "How?"}]"#;

/// One tool, in JSON.
pub const TOOLS: &str = r#"[{"type": "function", "function": {"name": "get_w", "description": "Get it's <b> weather é", "parameters": {"type": "object", "properties": {"loc": {"type": "string", "description": "place"}, "n": {"type": "integer", "enum": [1, 2]}, "x": {"anyOf": [{"type": "number"}, {"type": "null"}]}}, "required": ["loc"]}}}]"#;

/// Special tokens of `tokenizer_config.json`, in JSON.
pub const TOKENS: &str = r#"{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "additional_special_tokens": ["<a>", "<b>"]}"#;

/// Template and text.
pub const CONSTRUCTS: &[(&str, &str)] = &[
    (
        r#"a{% generation %}b {{ messages[0].content }}{% endgeneration %}c"#,
        r#"ab Be terse. c"#,
    ),
    (
        r#"{% for m in messages %}{%- if m.role == 'assistant' -%}{% generation %}
{{ m.content }}{{ eos_token }}
{%- endgeneration %}
{% endif %}{% endfor %}|"#,
        r#"<think>
hm
</think>

Hi.</s>|"#,
    ),
    (
        r#"{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}"#,
        r#"21"#,
    ),
    (
        r#"{{ 'a.b.c'.rsplit('.',1) }}{{ 'a b  c'.rsplit() }}{{ 'a b  c'.rsplit(None, 1) }}{{ ' a b  c '.split(None, 1) }}{{ 'a,b'.split(',', maxsplit=1) }}"#,
        r#"['a.b', 'c']['a', 'b', 'c']['a b', 'c']['a', 'b  c ']['a', 'b']"#,
    ),
    (
        r#"{{ 'hello'.index('l') }}{{ 'hello'.rindex('l') }}{{ 'hello'.find('z') }}{{ 'hello'.find('l', 3) }}{{ 'hello'.count('l') }}"#,
        r#"23-132"#,
    ),
    (
        r#"{{ 'ab'.ljust(8) }}|{{ 'ab'.rjust(5,'*') }}|{{ 'ab'.center(7,'-') }}|{{ 'abc'.center(6) }}|{{ 'a'.center(4) }}|{{ '-5'.zfill(5) }}"#,
        r#"ab      |***ab|---ab--| abc  | a  |-0005"#,
    ),
    (
        r#"{{ 'prefix-x'.removeprefix('prefix-') }}{{ 'x.py'.removesuffix('.py') }}{{ 'a-b-c'.partition('-') }}{{ 'a-b-c'.rpartition('-') }}{{ 'abc'.partition('-') }}"#,
        r#"xx('a', '-', 'b-c')('a-b', '-', 'c')('abc', '', '')"#,
    ),
    (
        r#"{{ '%s' % 'x' }}{{ '%s-%d' % ('a', 3) }}{{ '%5.2f|%-5s|%05d' % (3.14159, 'ab', 42) }}{{ 7 % 3 }}{{ -7 % 3 }}{{ 7.5 % 2 }}"#,
        r#"xa-3 3.14|ab   |00042121.5"#,
    ),
    (
        r#"{% set f = '%s!' %}{{ f % messages[0].role }}{{ ('a' ~ '%s') % 'b' }}{{ '%(k)s' % {'k': 'v'} }}"#,
        r#"system!abv"#,
    ),
    (
        r#"{{ '%s and %s'|format('a', 'b') }}{{ '{} {name}'.format('x', name='y') }}{{ '{:>5}|{:<5}|{:^5}|{:05.1f}'.format('a','b','c',2.25) }}"#,
        r#"a and bx y    a|b    |  c  |002.2"#,
    ),
    (
        r#"{{ tools[0]|tojson }}
{{ tools[0]|tojson(indent=2) }}
{{ tools[0]|tojson(separators=(',',':')) }}
{{ {'b':1,'a':[1,{'z':None,'y':True}]}|tojson(sort_keys=true) }}
{{ 'é"\\/\n\t\x08'|tojson }}{{ 'é🦀'|tojson(ensure_ascii=True) }}{{ {}|tojson(indent=4) }}{{ [[],[1]]|tojson(indent=1) }}{{ {'a':1}|tojson(indent=0) }}{{ [1.0, 1e20, 1.5e-7, 100]|tojson }}"#,
        r#"{"type": "function", "function": {"name": "get_w", "description": "Get it's <b> weather é", "parameters": {"type": "object", "properties": {"loc": {"type": "string", "description": "place"}, "n": {"type": "integer", "enum": [1, 2]}, "x": {"anyOf": [{"type": "number"}, {"type": "null"}]}}, "required": ["loc"]}}}
{
  "type": "function",
  "function": {
    "name": "get_w",
    "description": "Get it's <b> weather é",
    "parameters": {
      "type": "object",
      "properties": {
        "loc": {
          "type": "string",
          "description": "place"
        },
        "n": {
          "type": "integer",
          "enum": [
            1,
            2
          ]
        },
        "x": {
          "anyOf": [
            {
              "type": "number"
            },
            {
              "type": "null"
            }
          ]
        }
      },
      "required": [
        "loc"
      ]
    }
  }
}
{"type":"function","function":{"name":"get_w","description":"Get it's <b> weather é","parameters":{"type":"object","properties":{"loc":{"type":"string","description":"place"},"n":{"type":"integer","enum":[1,2]},"x":{"anyOf":[{"type":"number"},{"type":"null"}]}},"required":["loc"]}}}
{"a": [1, {"y": true, "z": null}], "b": 1}
"é\"\\/\n\t\b""\u00e9\ud83e\udd80"{}[
 [],
 [
  1
 ]
]{
"a": 1
}[1.0, 1e+20, 1.5e-07, 100]"#,
    ),
    (
        r#"{{ ['é']|tojson(true) }}{{ [1,2]|tojson(indent='\t') }}{{ [1,2]|tojson(false, 1) }}{{ 1.0 }}|{{ 1e15 }}|{{ 0.1+0.2 }}|{{ 3/2 }}|{{ 4/2 }}|{{ 7//2 }}|{{ 2**10 }}|{{ 2**-1 }}"#,
        r#"["\u00e9"][
	1,
	2
][
 1,
 2
]1.0|1000000000000000.0|0.30000000000000004|1.5|2.0|3|1024|0.5"#,
    ),
    (
        r#"{{ none }}|{{ true }}|{{ [1,none,'a',true] }}|{{ {'a':none} }}|{{ (1,'x') }}|{{ (1,) }}|{{ missing }}|{{ tools is none }}|{{ documents is none }}|{{ documents is defined }}|{{ 'it\'s' ~ ["it's"] }}"#,
        r#"None|True|[1, None, 'a', True]|{'a': None}|(1, 'x')|(1,)||False|True|True|it's["it's"]"#,
    ),
    (
        r#"{{ pad_token }}{{ unk_token }}{{ additional_special_tokens }}{{ sep_token is defined }}{{ sep_token }}"#,
        r#"<pad><unk>['<a>', '<b>']False"#,
    ),
    (
        r#"{{ 'a long sentence of words here that goes on and on'|truncate(20) }}|{{ 'abcdefghijkl'|truncate(5, True) }}|{{ 'one two  three_x'|wordcount }}|{{ 'a b&c=é'|urlencode }}|{{ 'ab'|center(6) }}|{{ '<b>x</b>  y'|striptags }}|{{ 12345|filesizeformat }}"#,
        r#"a long sentence...|ab...|3|a%20b%26c%3D%C3%A9|  ab  |x y|12.3 kB"#,
    ),
    (
        r#"{{ "they're bill's".title() }}|{{ "they're bill's"|title }}|{{ 'hELLO wORLD'.capitalize() }}|{{ 'aBc'.swapcase() }}|{{ 'a\tb'.expandtabs(4) }}|{{ 'ß'.casefold() }}|{{ 'abc'.islower() }}{{ 'A1'.isalnum() }}{{ '12'.isdigit() }}{{ 'Ab Cd'.istitle() }}{{ 'ab_1'.isidentifier() }}{{ ' '.isspace() }}"#,
        r#"They'Re Bill'S|They're Bill's|Hello world|AbC|a   b|ss|TrueTrueTrueTrueTrueTrue"#,
    ),
    (
        r#"{{ 'a\nb\r\nc\n'.splitlines() }}{{ 'a\nb'.splitlines(True) }}{{ 'a\nb'.splitlines(keepends=true) }}{{ ''.splitlines() }}{{ ''.split() }}{{ ''.split(',') }}{{ 'aXbX'.split('X') }}"#,
        r#"['a', 'b', 'c']['a\n', 'b']['a\n', 'b'][][]['']['a', 'b', '']"#,
    ),
    (
        r#"{{ 'hello'.startswith(('x','he')) }}{{ 'hello'.endswith('lo') }}{{ 'hello'.startswith('l', 2) }}{{ '  x '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xya'.lstrip('yx') }}|{{ ' a '.rstrip(none) }}|"#,
        r#"TrueTrueTruex|a|a| a|"#,
    ),
    (
        r#"{{ 'aaa'.replace('a','b',2) }}{{ 'abc'.replace('','-') }}{{ 'abc'|replace('b','x') }}{{ ', '.join(['a','b']) }}{{ ['a',1]|join('-') }}{{ 'abc'[::-1] }}{{ 'abc'[1:] }}{{ 'abc'[-1] }}{{ [1,2,3][::-1] }}{{ 'abc'|reverse }}"#,
        r#"bba-a-b-c-axca, ba-1cbabcc[3, 2, 1]cba"#,
    ),
    (
        r#"{% set ns = namespace(a=1, l=[]) %}{% for m in messages %}{% set ns.a = ns.a + loop.index %}{% set ns.l = ns.l + [m.role] %}{% endfor %}{{ ns.a }}{{ ns.l }}"#,
        r#"11['system', 'user', 'assistant', 'user']"#,
    ),
    (
        r#"{% for k, v in {'a':1,'b':2}.items() %}{{ k }}{{ v }}{% endfor %}{{ {'a':1}.keys()|list }}{{ {'a':1}.values()|list }}{{ {'a':1}.get('b') }}{{ {'a':1}.get('b', 3) }}{{ {'b':2,'a':1}|dictsort }}{{ {'a':1}|items|list }}{{ dict(a=1, b=2) }}"#,
        r#"a1b2['a'][1]None3[('a', 1), ('b', 2)][('a', 1)]{'a': 1, 'b': 2}"#,
    ),
    (
        r#"{% for m in messages if m.role != 'system' %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem.role if not loop.first }}{{ loop.cycle('x','y') }};{% else %}none{% endfor %}"#,
        r#"1TrueFalse3x;2FalseFalse3usery;3FalseTrue3assistantx;"#,
    ),
    (
        r#"{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}{{ range(3)|list }}{{ range(1,10,3)|list }}{{ range(3,0,-1)|list }}"#,
        r#"023[0, 1, 2][1, 4, 7][3, 2, 1]"#,
    ),
    (
        r#"{% macro f(a, b='d', c=none) %}{{ a }}{{ b }}{{ c }}{{ caller() if caller }}{% endmacro %}{{ f(1) }}{{ f(1, c=2) }}{% call f('x') %}body{% endcall %}"#,
        r#"1dNone1d2xdNonebody"#,
    ),
    (
        r#"{% set x %}cap {{ messages|length }}{% endset %}{{ x|upper }}{% filter upper %}abc{% endfilter %}{% with a=1, b=2 %}{{ a+b }}{% endwith %}"#,
        r#"CAP 4ABC3"#,
    ),
    (
        r#"{{ messages|selectattr('role','equalto','user')|list|length }}{{ messages|map(attribute='role')|join(',') }}{{ messages|rejectattr('role','in',['user'])|map(attribute='role')|list }}{{ [1,2,3,4]|select('even')|list }}{{ [3,1,2]|sort }}{{ [3,1,2]|sort(reverse=true) }}{{ [1,1,2]|unique|list }}{{ [1,2,3]|sum }}{{ [1,2]|first }}{{ [1,2]|last }}{{ [3,4]|max }}{{ messages|groupby('role')|length }}"#,
        r#"2system,user,assistant,user['system', 'assistant'][2, 4][1, 2, 3][3, 2, 1][1, 2]61243"#,
    ),
    (
        r#"{{ x is defined }}{{ messages is iterable }}{{ messages is sequence }}{{ messages[0] is mapping }}{{ 'a' is string }}{{ 1 is number }}{{ 1.0 is float }}{{ 1 is integer }}{{ true is boolean }}{{ none is none }}{{ 'a' in 'abc' }}{{ 'role' in messages[0] }}{{ 3 not in [1,2] }}{{ 4 is divisibleby 2 }}{{ 'A' is upper }}{{ 1 is sameas 1 }}{{ false is false }}{{ f is callable }}{{ range is callable }}"#,
        r#"FalseTrueTrueTrueTrueTrueTrueTrueTrueTrueTrueTrueTrueTrueTrueTrueTrueTrueTrue"#,
    ),
    (
        r#"{{ 'a' if false }}|{{ 'a' if true else 'b' }}|{{ none or 'x' }}|{{ '' or none }}|{{ 1 and 2 }}|{{ not 1 }}|{{ 1 < 2 < 3 }}|{{ 1 == 1.0 }}|{{ 'a' < 'b' }}|{{ [1] == [1] }}|{{ [1,2] + [3] }}|{{ [1]*3 }}|{{ 'ab'*2 }}"#,
        r#"|a|x|None|2|False|True|True|True|True|[1, 2, 3]|[1, 1, 1]|abab"#,
    ),
    (
        r#"{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%Y-%m-%d') }}|{{ strftime_now('%B %d, %Y') }}|{{ strftime_now('%A %H:%M:%S') }}|{{ strftime_now('%-d %B %Y') }}"#,
        r#"05 Nov 2024|2024-11-05|November 05, 2024|Tuesday 07:08:00|5 November 2024"#,
    ),
    (
        r#"{{ 'x'|default('y') }}{{ missing|default('y') }}{{ ''|default('y', true) }}{{ none|default('y') }}{{ '42'|int }}{{ 'x'|int(7) }}{{ '3.5'|float }}{{ 3.7|int }}{{ 3.14159|round(2) }}{{ 2.5|round }}{{ -3|abs }}{{ 'abc'|list }}{{ 'abc'|length }}{{ 5|string }}"#,
        r#"xyyNone4273.533.142.03['a', 'b', 'c']35"#,
    ),
    (
        r#"{{ 'a\nb'|indent }}|{{ 'a\n\nb'|indent(2, true) }}|{{ 'a\nb'|indent(width=3, first=true, blank=true) }}|{{ '  a '|trim }}|{{ 'xxaxx'|trim('x') }}|{{ 'Ab'|lower }}{{ 'ab c'|capitalize }}{{ '<a>'|e }}{{ '<a>'|escape }}{{ '<a>'|safe }}"#,
        r#"a
    b|  a

  b|   a
   b|a|a|abAb c&lt;a&gt;&lt;a&gt;<a>"#,
    ),
    (
        r#"{{ [1,2,3,4,5]|batch(2)|list }}{{ [1,2,3,4,5]|slice(2)|list }}{{ [[1,2],[3]]|first|join }}{{ 'abc'|first }}{{ 'b,a'.split(',')|sort|join(',') }}{{ {'x':[1,2]}['x'][0] }}{{ {'x':1}.x }}{{ messages[0]['role'] }}{{ messages[-1].content }}"#,
        r#"[[1, 2], [3, 4], [5]][[1, 2, 3], [4, 5]]12aa,b11systemHow?"#,
    ),
    (
        r#"{%- set a = 1 -%}
   x
{%- if a %}
   y
{% endif %}
   {#- c -#}
 z
{{- ' w' }}
  {%+ if true %}k{% endif %}"#,
        r#"x   y
z w
  k"#,
    ),
    (
        r#"{% raw %}{{ x }}{% generation %}{% endraw %}{{ "{{" }}"#,
        r#"{{ x }}{% generation %}{{"#,
    ),
    (
        r#"{{ messages[0].content|string|trim }}{{ messages[0]['nokey'] }}|{{ messages[0].nokey is defined }}|{{ 'nokey' in messages[0] }}"#,
        r#"Be terse.|False|False"#,
    ),
    (
        r#"{% for a, b in [(1,2),(3,4)] %}{{ a }}-{{ b }};{% endfor %}{% for c in 'abc' %}{{ c }}.{% endfor %}{% set a, b = 1, 2 %}{{ a }}{{ b }}"#,
        r#"1-2;3-4;a.b.c.12"#,
    ),
    (
        r#"{% set j = joiner(', ') %}{% for i in range(3) %}{{ j() }}{{ i }}{% endfor %}{% set c = cycler('a','b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}"#,
        r#"0, 1, 2aba"#,
    ),
    (
        r#"{{ 1000000|string }}{{ 12345678901234567890 }}{{ '%.3f'|format(2) }}{{ (1,2)|list }}{{ 'é'|length }}{{ 'éa'.upper() }}{{ "a" "b" }}{{ 1_000 }}"#,
        r#"1000000123456789012345678902.000[1, 2]1ÉAab1000"#,
    ),
    (
        r#"{{ messages|tojson }}"#,
        r#"[{"role": "system", "content": "Be terse. "}, {"role": "user", "content": " Hello \n"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHi."}, {"role": "user", "content": "How?"}]"#,
    ),
    (
        r#"{{ '\u00e9' }}{{ 'a\\nb' }}{{ "tab\there" }}{{ 'line
break' }}"#,
        r#"éa\nbtab	hereline
break"#,
    ),
    (
        r#"{% if messages[0].role == "system" %}{% set loop_messages = messages[1:] %}{% set sys = messages[0].content %}{% else %}{% set loop_messages = messages %}{% endif %}{{ loop_messages|length }}{{ sys|trim }}"#,
        r#"3Be terse."#,
    ),
    (
        r#"{% for m in messages[::-1] %}{{ loop.index0 }}{{ m.role }}{% if loop.nextitem is defined %}>{% endif %}{% endfor %}{{ loop is defined }}"#,
        r#"0user>1assistant>2user>3systemFalse"#,
    ),
    (
        r#"{{ messages | map('tojson') | join('\n') }}{{ ['a','b']|map('upper')|list }}{{ [' a ']|map('trim')|list }}"#,
        r#"{"role": "system", "content": "Be terse. "}
{"role": "user", "content": " Hello \n"}
{"role": "assistant", "content": "<think>\nhm\n</think>\n\nHi."}
{"role": "user", "content": "How?"}['A', 'B']['a']"#,
    ),
    (
        r#"{{ ({'a':1}).items()|list|tojson }}{{ [(1,2)]|tojson }}{{ {1:2, none: 3, true: 4}|tojson }}"#,
        r#"[["a", 1]][[1, 2]]{"1": 4, "null": 3}"#,
    ),
    (
        r#"{{ messages|length > 2 and messages[2].role == 'assistant' }}{{ (messages|length) % 2 == 0 }}{{ loop }}"#,
        r#"TrueTrue"#,
    ),
    (
        r#"{{ "%d%%" % 5 }}{{ '%x' % 255 }}{{ '%s' % none }}{{ '%s' % [1,2] }}"#,
        r#"5%ffNone[1, 2]"#,
    ),
    (
        r#"{{ 'a,b;c'.replace(',', ' ').replace(';', ' ').split() }}{{ 'Hello'.lower().startswith('he') }}{{ 'x' ~ 1 ~ none ~ true ~ 1.5 }}"#,
        r#"['a', 'b', 'c']Truex1NoneTrue1.5"#,
    ),
    (
        r#"{{ 'abc'.find('c') if 'c' in 'abc' else -1 }}{{ ['x','y'].index('y') }}{{ [1,2,1].count(1) }}{{ 'a' * 3 ~ 'b' }}{{ messages[0].items()|list|length }}"#,
        r#"212aaab2"#,
    ),
    (
        r#"{{ 3 is eq 3 }}{{ 3 is gt(2) }}{{ 3 is in [3] }}{{ 'x' is filter }}{{ 'upper' is filter }}{{ 'odd' is test }}{{ 3 is odd }}"#,
        r#"TrueTrueTrueFalseTrueTrueTrue"#,
    ),
    (
        r#"{% set ns = namespace() %}{% set ns.x = {'a': [1]} %}{{ ns.x.a[0] }}{{ ns.y is defined }}"#,
        r#"1False"#,
    ),
    (r#"{% block b %}in{% endblock %}{{ self.b() }}"#, r#"inin"#),
    (
        r#"{{ [1, 2, 3][1:]|tojson }}{{ '{\n'|indent(4, first=True) }}{{ 'a\r\nb\n'|indent('> ') }}|{{ ''|indent(2, true) }}|"#,
        r#"[2, 3]    {
a
> b
|  |"#,
    ),
    (
        r#"{%- macro show(fields) -%}
{%- for key, value in fields.items() -%}
{{ '  ' * loop.depth }}{{ key }}:{% if value is mapping %}{{ show(value) }}{% elif value is iterable and value is not string %}[{{ value|join('/') }}]{% else %}{{ value }}{% endif %};
{%- endfor -%}
{%- endmacro -%}
{{ show(tools[0].function) }}"#,
        r#"  name:get_w;  description:Get it's <b> weather é;  parameters:  type:object;  properties:  loc:  type:string;  description:place;;  n:  type:integer;  enum:[1/2];;  x:  anyOf:[{'type': 'number'}/{'type': 'null'}];;;  required:[loc];;"#,
    ),
    (
        r#"{%- set ns = namespace(system='', found=false) -%}
{%- for m in messages -%}
    {%- if m['role'] == 'system' and not ns.found -%}
        {%- set ns.system = m['content']|trim -%}
        {%- set ns.found = true -%}
    {%- endif -%}
{%- endfor -%}
<<{{ ns.system }}>>
{%- for m in messages if m['role'] != 'system' %}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('order') }}{% endif %}
{{ '[' ~ m['role'][:1]|upper ~ '] ' ~ m['content'].split('</think>')[-1].strip() ~ (eos_token if m['role'] == 'assistant' else '') }}
{%- endfor %}"#,
        r#"<<Be terse.>>[U] Hello[A] Hi.</s>[U] How?"#,
    ),
    (
        r#"{%- for tool in tools %}{%- set f = tool.function if tool.function is defined else tool %}
{{ f.name }}({% for name, p in f.parameters.properties.items() %}{{ name }}: {{ p.type if 'type' in p else 'any' }}{{ '?' if name not in f.parameters.required }}{{ ', ' if not loop.last }}{% endfor %})
{%- endfor %}"#,
        r#"get_w(loc: string, n: integer?, x: any?)"#,
    ),
    (
        r#"{% set roles = {'user': 'Human', 'assistant': 'AI'} %}{% for m in messages %}{% if m.role in roles %}{{ roles[m.role] }}={{ roles.get(m.role)|length }} {% endif %}{% endfor %}{{ roles|length }}{{ 'x' if roles.nope is not defined }}"#,
        r#"Human=5 AI=2 Human=5 2x"#,
    ),
    (
        r#"{% for m in messages recursive %}{{ m.role[0] }}{% endfor %}{% for row in [[1,[2,3]],[4]] recursive %}{% if row is iterable %}({{ loop(row) }}){% else %}{{ row }}{% endif %}{% endfor %}"#,
        r#"suau(1(23))(4)"#,
    ),
    (
        r#"{{ messages[1]['content']|trim|length }}{{ messages[1:3]|length }}{{ messages[-2:][0].role }}{{ (messages|last).role }}{{ messages|map(attribute='content')|map('trim')|map('length')|list }}"#,
        r#"52assistantuser[9, 5, 24, 4]"#,
    ),
    (
        r#"{% if tools is not none and tools|length > 0 %}T{% endif %}{% if documents %}D{% endif %}{% if enable_thinking is defined and enable_thinking is false %}N{% endif %}{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ add_generation_prompt }}"#,
        r#"TTrue"#,
    ),
    (
        r#"{{ '\n\n'.join(['a','b']) }}{{ "\n" in 'a\nb' }}{{ 'x\n' }}
{{- '|' -}}
   {{ 'y' }}"#,
        r#"a

bTruex
|y"#,
    ),
    (
        r#"{{ messages|selectattr('role', 'in', ['user', 'tool'])|map(attribute='content')|list|tojson }}{{ messages|selectattr('content')|list|length }}{{ tools|map(attribute='function.name')|first }}{{ tools|selectattr('function.name', 'equalto', 'get_w')|list|count }}"#,
        r#"[" Hello \n", "How?"]4get_w1"#,
    ),
    (
        r#"{% set content = 'a</t>b</t>c' %}{{ content.split('</t>')|last }}{{ content.rsplit('</t>', 1)[0] }}{{ content.partition('</t>')[2] }}{{ content.removesuffix('c').removesuffix('</t>') }}{{ (content.split('</t>')|length) - 1 }}"#,
        r#"ca</t>bb</t>ca</t>b2"#,
    ),
];

/// Templates that Python refuses.
pub const REFUSED: &[&str] = &[
    r#"{{ raise_exception('no: ' ~ messages[0].role) }}"#,
    r#"{{ missing.attr }}"#,
    r#"{{ messages[9] }}|{{ messages[9].role }}"#,
    r#"{{ 'a' + 1 }}"#,
    r#"{{ messages.append(1) }}"#,
    r#"{% set _ = {'a':1}.update({'b':2}) %}x"#,
    r#"{% include 'x' %}"#,
    r#"{{ 'a'.nomethod() }}"#,
    r#"{{ 5 // 0 }}"#,
    r#"{{ 'a'|nofilter }}"#,
];
