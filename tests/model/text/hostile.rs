//! Templates that would not end, or fill memory, or end the stack: each is a sentence, soon and in little memory.

use std::time::{Duration, Instant};

use candlepower::text::{ChatTemplate, Message, TextError};

use super::memory::peak_mib;

/// What a machine that does much else may take; alone it is a fraction of a second.
const SOON: Duration = Duration::from_secs(10);
const MOST_MIB: u64 = 200;

fn failure(source: &str) -> String {
    let start = Instant::now();
    let template = ChatTemplate::new(source, "tokenizer_config.json");
    let rendered = template.render(&[Message::user("Hi")], true);
    let took = start.elapsed();
    let shown: String = source.chars().take(100).collect();
    assert!(took < SOON, "{shown} took {took:?}");
    if let Some(peak) = peak_mib() {
        assert!(peak < MOST_MIB, "{shown} took {peak} MiB");
    }
    match rendered {
        Err(TextError::Template { file, reason, .. }) => {
            assert_eq!(file, "tokenizer_config.json");
            assert!(
                reason.len() < 600,
                "{shown}: a reason of {} bytes",
                reason.len()
            );
            reason
        }
        Err(other) => panic!("{shown}: {other}"),
        Ok(text) => panic!("{shown} gave {} bytes", text.len()),
    }
}

/// A value that is made again from itself.
fn repeated(start: &str, step: &str, times: u32, end: &str) -> String {
    format!(
        "{{% set ns = namespace(x={start}) %}}{{% for i in range({times}) %}}{{% set ns.x = {step} %}}{{% endfor %}}{end}"
    )
}

#[test]
fn loops_without_end_run_out_of_fuel() {
    let loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(9) %}{% endfor %}{% endfor %}{% endfor %}";
    for source in [
        loops,
        "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{% for i in range(50) %}{{ m(n - 1) if n }}{% endfor %}{% endmacro %}{{ m(9) }}",
        "{{ range(99999)|map('string')|list|join(range(99999)|join) }}",
    ] {
        assert!(
            failure(source).contains("1500000 steps"),
            "{}",
            failure(source)
        );
    }
}

#[test]
fn texts_that_grow_are_stopped() {
    for step in [
        "ns.x + ns.x",
        "ns.x ~ ns.x",
        "ns.x * 2",
        "[ns.x, ns.x]|join",
        "''.join([ns.x, ns.x])",
        "ns.x.replace('a', 'aa')",
        "ns.x|replace('a', 'aa')",
        "'%s%s' % (ns.x, ns.x)",
        "'%s%s'|format(ns.x, ns.x)",
        "'{0}{0}'.format(ns.x)",
        "(ns.x ~ '\nx')|indent(ns.x|length, true)",
        "ns.x.ljust(2 * ns.x|length)",
        "ns.x|urlencode ~ ns.x",
        "{'a': ns.x, 'b': ns.x}|string",
        "(ns.x ~ '\t').expandtabs(ns.x|length)",
        "ns.x|tojson ~ ns.x|tojson",
        "ns.x|center(2 * ns.x|length)",
        "ns.x.zfill(2 * ns.x|length)",
        "ns.x.upper() ~ ns.x.title()",
    ] {
        let reason = failure(&repeated("'aa'", step, 60, "{{ ns.x }}"));
        assert!(
            reason.contains("keeps growing") || reason.contains("bytes"),
            "{step}: {reason}"
        );
    }
    let block = "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}";
    let reason = failure(block);
    let told = reason.contains("keeps growing") || reason.contains("bytes");
    assert!(told, "{reason}");
}

#[test]
fn a_single_step_makes_nothing_huge() {
    for source in [
        "{{ 'a' * 10**9 }}",
        "{{ 'ab' * 1000000000000 }}",
        "{{ ['a'] * 100000000 }}",
        "{{ ['a'] * 100000000 ~ '' }}",
        "{{ ['a'] * 100000000 == ['b'] * 100000000 }}",
        "{{ 'x' in ['a'] * 100000000 }}",
        "{{ ('a', 'b') * 100000000 ~ '' }}",
        "{{ [['a'] * 100000] * 100000 < [1] }}",
        "{{ [['a'] * 1000] * 1000000 }}",
        "{{ ('a',) * 1000000000 }}",
        "{{ range(1000000000)|list }}",
        "{{ 'x'|indent(10000000000) }}",
        "{{ 'x\ny'|indent(1000000000) }}",
        "{{ 'x'.center(1000000000) }}",
        "{{ 'x'|center(1000000000) }}",
        "{{ 'x'.ljust(10**12) }}{{ 'x'.rjust(10**9, 'é') }}",
        "{{ '7'.zfill(10**10) }}",
        "{{ 'a\tb'.expandtabs(10**9) }}",
        "{{ '%1000000000d'|format(5) }}",
        "{{ '%1000000000d' % 5 }}",
        "{{ '%.1000000000f' % 5 }}",
        "{{ '%*d' % (1000000000, 5) }}",
        "{{ '{:1000000000}'.format(5) }}",
        "{{ '{:.1000000000f}'.format(5.5) }}",
        "{{ '{:>{}}'.format(5, 1000000000) }}",
        "{{ messages|tojson(indent=1000000000) }}",
        "{{ ['a'] * 1000000|tojson }}{{ (['a'] * 1000000)|tojson(separators=('x' * 1000, ':')) }}",
        "{{ [1]|batch(1000000000, 'x')|list }}",
        "{{ [1]|slice(1000000000)|list }}",
        "{{ 2 ** 100000000 }}",
        "{{ ['a' * 1000000] * 100000 }}",
        "{{ (['a' * 1000000] * 100000)|join }}",
        "{{ 'a'.join(['b'] * 100000000) }}",
        "{{ ('a' * 4000000).split('') }}",
        "{{ ('a ' * 4000000).split()|length }}{{ ('a ' * 4000000).split() }}",
    ] {
        failure(source);
    }
}

#[test]
fn values_within_values_are_bounded() {
    let twice = |end: &str| repeated("[1]", "[ns.x, ns.x]", 60, end);
    for source in [
        twice("{{ ns.x }}"),
        twice("{{ (ns.x ~ '')|length }}"),
        twice("{{ ns.x|string|length }}"),
        twice("{{ ns.x|tojson }}"),
        twice("{{ ns.x == ns.x[0] }}"),
        repeated("[1]", "ns.x + ns.x", 60, "{{ ns.x }}"),
        repeated("[1]", "(ns.x, ns.x)", 60, "{{ ns.x }}"),
        repeated("1", "{'a': ns.x, 'b': ns.x}", 60, "{{ ns.x }}"),
        repeated("1", "dict(a=ns.x, b=ns.x)", 60, "{{ ns.x }}"),
        repeated("[1]", "ns.x|zip(ns.x)|list", 60, "{{ ns.x }}"),
        repeated("[1]", "[ns.x]|batch(1)|list + ns.x", 60, "{{ ns.x }}"),
        repeated("[1]", "[ns.x]", 99_999, "end"),
        repeated("1", "{'a': ns.x}", 99_999, "end"),
        repeated("1", "namespace(x=ns.x)", 99_999, "end"),
        repeated("[1]", "[ns.x]", 99_999, "{{ ns.x|tojson }}"),
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}".to_owned(),
        "{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns }}".to_owned(),
        "{% set n = namespace %}{% set a = n() %}{% set b = n(a=a) %}{% set a.b = b %}{{ a }}"
            .to_owned(),
    ] {
        let reason = failure(&source);
        let bounds = [
            "nested deeper",
            "more than 16777216 bytes",
            "a namespace is put",
            "1500000 steps",
        ];
        assert!(
            bounds.iter().any(|bound| reason.contains(bound)),
            "{source}: {reason}"
        );
    }
    // What is computed when it is asked for does not pile up.
    let lazy = [
        "ns.x[0:]",
        "ns.x|reverse|list",
        "ns.x[::-1]",
        "ns.x * 1",
        "ns.x|list",
        "ns.x|map('string')",
    ];
    for step in lazy {
        let source = repeated("[1, 2]", step, 20_000, "{{ ns.x }}");
        let text = ChatTemplate::new(source, "t").render(&[], true).unwrap();
        assert!(text.starts_with('['), "{step}: {text}");
    }
}

#[test]
fn recursion_ends() {
    for source in [
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
        "{% block b %}{{ self.b() }}{% endblock %}",
        "{% include 'tokenizer_config.json' %}",
        "{% extends 'tokenizer_config.json' %}",
        "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}",
    ] {
        failure(source);
    }
}

#[test]
fn sources_are_bounded() {
    let deep = |open: &str, inner: &str, close: &str, times| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    for source in [
        deep("{% if true %}", "x", "{% endif %}", 60_000),
        deep("{% for a in b %}", "x", "{% endfor %}", 50_000),
        format!("{{{{ {} }}}}", deep("(", "1", ")", 1_000)),
        format!("{{{{ {} }}}}", deep("[", "1", "]", 1_000)),
        format!("{{{{ x{} }}}}", "+x".repeat(400_000)),
        format!("{{{{ x{} }}}}", "|upper".repeat(100_000)),
        format!("{{{{ not {}x }}}}", "not ".repeat(1_000)),
        "x".repeat(2 << 20),
        "{{ '".to_owned(),
        "{% raw %}x".to_owned(),
        "{% generation %}x".to_owned(),
        "{% generation %}x{% endwith %}{% endgeneration %}".to_owned(),
    ] {
        failure(&source);
    }
    // As long as a tag may be, whatever nests in it.
    for (part, end) in [
        ("+x", ""),
        ("~'a'", ""),
        ("|e", ""),
        (".x", " is defined"),
        ("[0]", " if false"),
        (" if x else x", ""),
    ] {
        let source = format!("{{{{ x{}{end} }}}}", part.repeat(2000 / part.len()));
        let _ = ChatTemplate::new(source, "t").render(&[], true);
    }
    let source = format!(
        "{{% if x %}}{}a{{% endif %}}",
        "{% elif x %}".repeat(50_000)
    );
    let _ = ChatTemplate::new(source, "t").render(&[], true);
}

#[test]
fn a_long_prompt_fits() {
    let source = "{% for m in messages %}{% set c = m.content|trim %}{% if '</think>' in c %}{% set c = c.split('</think>')[-1].lstrip('\\n') %}{% endif %}{{ '<|' + m.role + '|>' + c + '\\n' }}{% endfor %}";
    let template = ChatTemplate::new(source, "t");
    let message = Message::user("some words and more ".repeat(100_000));
    let text = template.render(&[message], true).unwrap();
    assert_eq!(text.len(), 2_000_000 - 1 + "<|user|>\n".len());
    let messages = vec![Message::user("a short turn of a dialogue"); 4_000];
    let lines = template.render(&messages, true).unwrap().lines().count();
    assert_eq!(lines, 4_000);
}

#[test]
fn a_reason_is_short_and_plain() {
    let reason = failure("{{ raise_exception('\\x1b[2J' ~ 'no ' * 1000) }}");
    assert!(reason.starts_with("\\u{1b}[2Jno no"), "{reason}");
}
