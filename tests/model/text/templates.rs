//! Chat templates in the styles that checkpoints carry. The expected texts were rendered once by Python's jinja2 3.1.6
//! (sandboxed, `trim_blocks`, `lstrip_blocks`, loop controls), which is what Hugging Face uses.

/// Qwen2 style: a default system message before the first turn.
pub const CHATML: &str = r"{% for message in messages %}
    {% if loop.first and message['role'] != 'system' %}
        {{- '<|im_start|>system\nBe brief.<|im_end|>\n' }}
    {% endif %}
    {{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{% endfor %}
{% if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{% endif %}
";

/// Qwen3 style: old thoughts are dropped, `tools` and `enable_thinking` are absent.
pub const THINKING: &str = r#"{%- if tools %}
    {{- 'tools: ' + tools | length | string }}
{%- endif %}
{%- set ns = namespace(last_user=messages|length - 1, searching=true) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string and not message.content.startswith('<tool>') %}
        {%- set ns.searching = false %}
        {%- set ns.last_user = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "assistant" %}
        {%- set thought = '' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_user and thought %}
            {{- '<|im_start|>' + message.role + '\n<think>\n' + thought.strip('\n') + '\n</think>\n\n' + content + '<|im_end|>\n' }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
        {%- endif %}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"#;

/// Llama 3 style.
pub const HEADERS: &str = r"{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

/// R1 style: the system message in front, thoughts cut off.
pub const MARKS: &str = r"{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, system='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system = message['content'] %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system }}{%- for message in messages %}{%- if message['role'] == 'user' %}{{ '<User>' + message['content'] }}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{ '<Assistant>' + content + eos_token }}{%- endif %}{%- endfor -%}{% if add_generation_prompt %}{{ '<Assistant>' }}{% endif %}";

/// Mistral style: refuses turns out of order.
pub const ALTERNATING: &str = r"{{ bos_token }}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate, but turn ' ~ loop.index ~ ' is ' ~ message['role']) }}
    {%- endif %}
    {{- '[' ~ message['role'] | upper ~ ']' ~ message['content'].strip() ~ '\n' }}
{%- endfor %}";

/// Filters, methods and statements that the others lack.
pub const CORNERS: &str = r#"  {% set data = {"a<b": [1, 2.5, true, none], "q": "it's \"é\" & <x>", "e": []} %}
{{ data | tojson }}
{{ data | tojson(indent=2) }}
Today is {{ strftime_now("%d %b %Y, %H:%M") }}.
{% for message in messages %}
    {% if message.role == 'system' %}{% continue %}{% endif %}
    {% if loop.index > 2 %}{% break %}{% endif %}
{{ loop.index }}: {{ message.get('content', '').title() }} {{ messages[1:] | length }} {{ missing }}|
{% endfor %}
{# a comment #}
{% macro shout(text) %}{{ text.upper() }}!{% endmacro %}
{{ shout(messages[-1]['content'].replace('o', '0')) }}
{% for key, value in data.items() %}{{ key }}={{ value | string | length }};{% endfor %}
{% if messages | selectattr('role', 'equalto', 'user') | list | length == 2 %}two users{% endif %}

"#;

/// Role and content of each turn.
pub const TALK: [(&str, &str); 4] = [
    ("system", "You are terse."),
    ("user", " Hello there \n"),
    ("assistant", "<think>\nhm, greet\n</think>\n\nHi."),
    ("user", "How are you?"),
];

/// A last turn with a thought.
pub const ANSWER: (&str, &str) = ("assistant", "<think>\nwell\n</think>\n\nFine.");

pub const CHATML_TALK: &str = "<|im_start|>system\nYou are terse.<|im_end|>\n\n<|im_start|>user\n Hello there \n<|im_end|>\n\n<|im_start|>assistant\n<think>\nhm, greet\n</think>\n\nHi.<|im_end|>\n\n<|im_start|>user\nHow are you?<|im_end|>\n\n<|im_start|>assistant\n\n";
pub const CHATML_ONE_USER_TURN: &str =
    "<|im_start|>system\nBe brief.<|im_end|>\n\n<|im_start|>user\n Hello there \n<|im_end|>\n\n";
pub const THINKING_TALK: &str = "<|im_start|>system\nYou are terse.<|im_end|>\n<|im_start|>user\n Hello there \n<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n";
pub const THINKING_ANSWERED: &str = "<|im_start|>system\nYou are terse.<|im_end|>\n<|im_start|>user\n Hello there \n<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n<think>\nwell\n</think>\n\nFine.<|im_end|>\n";
pub const HEADERS_TALK: &str = "<s><|start_header_id|>system<|end_header_id|>\n\nYou are terse.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello there<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n<think>\nhm, greet\n</think>\n\nHi.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHow are you?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n";
pub const MARKS_TALK: &str =
    "<s>You are terse.<User> Hello there \n<Assistant>\n\nHi.</s><User>How are you?<Assistant>";
pub const ALTERNATING_FROM_USER: &str =
    "<s>[USER]Hello there\n[ASSISTANT]<think>\nhm, greet\n</think>\n\nHi.\n[USER]How are you?\n";
pub const CORNERS_TALK: &str = "{\"a<b\": [1, 2.5, true, null], \"q\": \"it's \\\"é\\\" & <x>\", \"e\": []}\n{\n  \"a<b\": [\n    1,\n    2.5,\n    true,\n    null\n  ],\n  \"q\": \"it's \\\"é\\\" & <x>\",\n  \"e\": []\n}\nToday is 05 Nov 2024, 07:08.\n2:  Hello There \n 3 |\nH0W ARE Y0U?!\na<b=20;q=14;e=2;two users";
