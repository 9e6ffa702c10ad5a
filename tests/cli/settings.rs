//! Flags under other tools' names, from the environment and from a file.

use std::fs;

use crate::cli_support::{Outcome, command, run};

/// What a command would run with.
fn settings(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    run(&[&words[..], &["--print-config"]].concat())
        .succeeded()
        .stdout
}

/// What the parser says to a line that it does not take.
fn refused(words: &[&str]) -> String {
    let outcome = run(words);
    assert_eq!(outcome.code, Some(2), "{words:?}: {outcome:?}");
    outcome.stderr
}

fn with(line: &str, variables: &[(&str, &str)]) -> Outcome {
    let words: Vec<&str> = line.split(' ').collect();
    let mut command = command(&words);
    Outcome::of(command.envs(variables.iter().copied()).output().unwrap())
}

#[test]
fn other_tools_names_set_the_same_flags() {
    let bench = "bench --request-rate 2";
    for (theirs, ours) in [
        ("bench --tensor-parallel-size 2", "bench --tp 2"),
        ("bench -tp 2", "bench --tp 2"),
        ("bench -m QwQ-32B", "bench --model QwQ-32B"),
        ("bench -t 1", "bench --threads 1"),
        ("bench -r 3", "bench --repeats 3"),
        ("bench --repetitions 3", "bench --repeats 3"),
        ("bench -ctk f16", "bench --kv-cache-dtype f16"),
        ("bench --enable-expert-parallel", "bench --expert-parallel"),
        ("bench --enforce-eager", "bench --no-cuda-graphs"),
        (
            "bench --kv-cache-memory-bytes 1G",
            "bench --kv-cache-memory 1G",
        ),
        ("bench --enable-prefix-caching", "bench --prefix-cache"),
        ("bench --max-concurrency 4", "bench --concurrency 4"),
        ("bench --num-prompts 40", "bench --requests 40"),
        ("bench --num-requests 40", "bench --requests 40"),
        ("bench --num-warmups 3", "bench --warmup 3"),
        ("bench --random-input-len 7", "bench --input-len 7"),
        ("bench --random-output-len 7", "bench --output-len 7"),
        ("bench --random-prefix-len 7", "bench --prefix-len 7"),
        ("bench --dataset-path a.jsonl", "bench --dataset a.jsonl"),
        (
            "bench --goodput ttft:1 tpot:2 --tp 2",
            "bench --goodput ttft:1,tpot:2 --tp 2",
        ),
        (
            "generate --prompt a --tensor-parallel-size 2",
            "generate --prompt a --tp 2",
        ),
        ("profile --enforce-eager", "profile --no-cuda-graphs"),
    ] {
        let (found, expected) = (settings(theirs), settings(ours));
        assert_eq!(found, expected, "{theirs}");
        let plain = ours.split(' ').next().unwrap();
        let plain = if plain == "generate" {
            "generate --prompt a"
        } else {
            plain
        };
        assert_ne!(found, settings(plain), "{theirs} changes nothing");
    }
    // What is done in any case.
    let same = |text: String| text.replace("ignore-eos = true", "ignore-eos = false");
    assert_eq!(same(settings("bench --ignore-eos")), settings("bench"));
    assert!(settings(bench).contains("request-rate = [2]\n"));
}

#[test]
fn flags_without_an_equal_say_what_to_use() {
    for (line, tip) in [
        ("bench --host 0.0.0.0", "without a server"),
        ("bench --base-url=http://localhost", "without a server"),
        ("bench --metric-percentiles 99", "--format full"),
        ("bench --batch-size 8", "--concurrency"),
        ("bench --result-dir here", "--out DIR"),
        ("bench --pp 2", "--tp"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let said = refused(&words);
        assert!(
            said.contains("unexpected argument") && said.contains(tip),
            "{line}: {said}"
        );
    }
}

#[test]
fn the_command_line_wins_then_the_environment_then_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.toml");
    fs::write(
        &file,
        "max-num-seqs = 4\nblock_size = 32\nseed = 7\ngpu = 'h100-sxm'\n[bench]\nconcurrency = [1, 8]\nseed = 9\n\
         prefix-cache = true\n[generate]\nprompt = ['a', 'b c']\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let line = format!("bench --block-size 8 --config {file} --print-config");
    let variables = [
        ("CANDLEPOWER_BLOCK_SIZE", "64"),
        ("CANDLEPOWER_MAX_NUM_SEQS", "16"),
        ("CANDLEPOWER_NO_CUDA_GRAPHS", "true"),
        ("CANDLEPOWER_TP", ""),
    ];
    let told = with(&line, &variables).succeeded().stdout;
    for expected in [
        "block-size = 8",
        "max-num-seqs = 16",
        "no-cuda-graphs = true",
        "concurrency = [1, 8]",
        "seed = 9",
        "prefix-cache = true",
        "tp = 1",
    ] {
        assert!(
            told.lines().any(|line| line == expected),
            "{expected}: {told}"
        );
    }
    // What is printed gives the same again.
    let again = folder.path().join("again.toml");
    fs::write(&again, &told).unwrap();
    let again = format!("bench --config {} --print-config", again.display());
    assert_eq!(with(&again, &[]).succeeded().stdout, told);
    // The file's name may come from the environment, and a file need not be for one command.
    let variables = [("CANDLEPOWER_CONFIG", file)];
    let told = with("generate --print-config", &variables)
        .succeeded()
        .stdout;
    assert!(
        told.contains("prompt = [\"a\", \"b c\"]") && told.contains("seed = 7"),
        "{told}"
    );
    // A stronger flag takes away what excludes it.
    let told = with("bench --request-rate 2 --print-config", &variables)
        .succeeded()
        .stdout;
    assert!(
        told.contains("request-rate = [2]") && !told.contains("concurrency"),
        "{told}"
    );
    let fit = with("fit --model QwQ-32B --json", &variables);
    let card = fit.json()["gpu"].clone();
    assert!(
        card.as_str().is_some_and(|name| name.contains("H100")),
        "{fit:?}"
    );
}

/// Whatever else a command is told, so that it is whole.
fn whole(command: &str) -> Vec<&str> {
    match command {
        "generate" => vec!["generate", "--prompt", "a"],
        "fit" => vec!["fit", "--model", "QwQ-32B", "--gpu", "h100-sxm"],
        command => vec![command],
    }
}

/// Each flag that a command has, by its own help.
fn flags(command: &str) -> Vec<String> {
    let help = run(&[command, "--help"]).succeeded().stdout;
    let lines = help.lines().map(str::trim_start);
    let names = lines.filter_map(|line| {
        let line = line.strip_prefix("-m, ").or(Some(line))?;
        let name = line.strip_prefix("--")?;
        Some(name.split([' ', '=', '[', '.']).next()?.to_owned())
    });
    let own = |name: &String| !["config", "print-config", "help", "version"].contains(&&**name);
    names.filter(own).collect()
}

/// A variable and a line of a file do what the flag does on the command line, of every flag of every command.
#[test]
fn every_flag_may_come_from_the_environment_and_from_a_file() {
    const VALUES: [&str; 16] = [
        "2", "true", "0.5", "cpu", "f16", "1G", "reserve", "nccl", "c1", "full", "ttft:5", "pp8",
        "p95", "cut", "1..3", "decode",
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.toml");
    let mut seen = 0;
    for command in ["bench", "capacity", "generate", "profile", "fit"] {
        let whole = whole(command);
        let told = |words: &[&str], variable: Option<(&str, &str)>| {
            let words = [&whole[..], words, &["--print-config"]].concat();
            let mut program = self::command(&words);
            let outcome = Outcome::of(program.envs(variable).output().unwrap());
            (outcome.code == Some(0)).then_some(outcome.stdout)
        };
        let plain = told(&[], None).unwrap();
        for flag in flags(command) {
            let word = format!("--{flag}");
            if whole.contains(&word.as_str()) {
                continue;
            }
            let on_line = |value: &&str| match *value {
                "true" => told(&[&word], None),
                value => told(&[&word, value], None),
            };
            // One that goes with others alone is tried where these are tested.
            let Some((value, expected)) = VALUES
                .iter()
                .find_map(|value| Some((*value, on_line(value).filter(|text| *text != plain)?)))
            else {
                continue;
            };
            let variable = format!("CANDLEPOWER_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(
                told(&[], Some((&variable, value))).as_ref(),
                Some(&expected),
                "{variable}={value}"
            );
            fs::write(&file, format!("[{command}]\n{flag} = '{value}'\n")).unwrap();
            let of_file = told(&["--config", file.to_str().unwrap()], None);
            assert_eq!(
                of_file.as_ref(),
                Some(&expected),
                "{flag} = '{value}' in a file"
            );
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} flags");
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.toml");
    let of_file = |text: &str| {
        fs::write(&file, text).unwrap();
        refused(&["bench", "--config", file.to_str().unwrap()])
    };
    for (text, parts) in [
        ("tp = 0", &["--tp", "tp in", "run.toml"][..]),
        (
            "nonsense = 1",
            &["no command has a flag --nonsense", "run.toml"],
        ),
        ("[bench]\ngpu = 'a'", &["bench has no flag --gpu"]),
        ("[nobody]\ntp = 1", &["[nobody]"]),
        ("tp = ", &["run.toml", "line 1"]),
        ("prefix-cache = 3", &["--prefix-cache is true or false"]),
        ("seed = {a = 1}", &["[seed] is no command's name"]),
    ] {
        let said = of_file(text);
        for part in parts {
            assert!(said.contains(part), "{text}: {said}");
        }
    }
    let said = refused(&["bench", "--config", "/nowhere/run.toml"]);
    assert!(
        said.contains("/nowhere/run.toml") && said.contains("No such file"),
        "{said}"
    );
    let said = with("bench", &[("CANDLEPOWER_TP", "none")]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("CANDLEPOWER_TP"), "{said:?}");
}

#[test]
fn shells_and_man_are_told() {
    for (shell, part) in [
        ("bash", "_candlepower()"),
        ("zsh", "#compdef candlepower"),
        ("fish", "-l max-num-seqs"),
    ] {
        let text = run(&["completions", shell]).succeeded().stdout;
        assert!(
            text.contains(part) && text.contains("max-num-seqs"),
            "{shell}"
        );
    }
    let page = run(&["man"]).succeeded().stdout;
    assert!(
        page.contains(".TH candlepower 1") && page.contains("candlepower bench"),
        "{page}"
    );
    let page = run(&["man", "bench"]).succeeded().stdout;
    assert!(page.contains("\\-\\-max\\-num\\-seqs"), "{page}");
    let said = refused(&["man", "nothing"]);
    assert!(
        said.contains("bench, capacity, sweep, compare, explain, verify, profile"),
        "{said}"
    );
}
