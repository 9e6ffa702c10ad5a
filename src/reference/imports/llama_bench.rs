//! Results of llama-bench: JSON, JSON lines, CSV, SQL, Markdown. A row is one test of bare decode calls, and has
//! nothing that a run of requests has.

use serde_json::{Map, Value};

use super::csv;
use super::draft::{Draft, EXACT, Percentiles};
use super::value::{MOST, as_number, count, has, number, parsed, text};
use crate::ground::results::ReferenceRun;

/// `avg_ns` is rounded, and the mean of rates is not the rate of the mean time.
const SPREAD: f64 = 1e-2;
const INSERT: &str = "INSERT INTO ";
/// Every row has them: a table that somebody made of such rows may lack what a test was.
const ROW: [&str; 5] = ["build_commit", "n_prompt", "n_gen", "avg_ns", "avg_ts"];
const UNFINISHED: &str =
    "a table of llama-bench without a row: the run ended before its first test had a rate";
/// How an object begins.
const OBJECT: &str = "{\"build_commit\"";

pub fn is(value: &Value) -> bool {
    has(value, &ROW) && number(value, "n_prompt").is_some()
}

pub fn is_csv(text: &str) -> bool {
    head(text).is_some()
}

/// The line of names, and what follows; the server's or backend's words may stand before.
fn head(text: &str) -> Option<&str> {
    let is_head = |line: &str| ROW.iter().all(|name| line.contains(name)) && !line.contains(INSERT);
    let at = text.lines().find(|line| is_head(line))?;
    text.get(text.find(at)?..)
        .filter(|rest| !rest.starts_with(['{', '[']))
}

/// The JSON of a text that has other lines before or between; `None` where it has none.
pub fn unmixed(text: &str) -> Option<String> {
    let objects = text.lines().filter(|line| line.starts_with(OBJECT));
    let objects = objects.collect::<Vec<_>>().join("\n");
    if !objects.is_empty() {
        return Some(objects);
    }
    let list = text.lines().skip_while(|line| *line != "[");
    let list = list.collect::<Vec<_>>().join("\n");
    let (list, _) = list.rsplit_once(']')?;
    list.contains(ROW[0]).then(|| format!("{list}]"))
}

pub fn is_sql(text: &str) -> bool {
    text.contains(INSERT) && text.contains("avg_ts")
}

pub fn is_markdown(text: &str) -> bool {
    let is_head =
        |line: &str| line.starts_with('|') && line.contains(" test |") && line.contains(" t/s |");
    text.lines().any(is_head)
}

pub fn read(value: &Value, source: &str) -> ReferenceRun {
    let whole = |name: &str| number(value, name).and_then(count);
    let prompt = whole("n_prompt").unwrap_or(0);
    let output = whole("n_gen").unwrap_or(0);
    let depth = whole("n_depth").unwrap_or(0);
    let mut test = match (prompt, output) {
        (prompt, 0) => format!("pp{prompt}"),
        (0, output) => format!("tg{output}"),
        (prompt, output) => format!("pp{prompt}+tg{output}"),
    };
    if depth > 0 {
        test += &format!(" @ d{depth}");
    }
    let model = text(value, &["model_filename"]).map(|path| file_name(&path).to_owned());
    let model = model.or_else(|| text(value, &["model_type"]));
    let mut draft = draft(source, &test, model);
    draft.run.hardware.gpu = text(value, &["gpu_info"]);
    draft.run.hardware.cpu = text(value, &["cpu_info"]);
    if let Some(name) = &draft.run.hardware.gpu {
        draft.run.hardware.name.clone_from(name);
        draft.run.hardware.gpus = 1;
    }
    let rate = number(value, "avg_ts");
    let computed = number(value, "avg_ns").map(|ns| 1e9 * (prompt + output) as f64 / ns);
    draft.check("tokens / time = avg_ts", rate, computed, SPREAD);
    let samples = value.get("samples_ts").and_then(Value::as_array);
    let samples: Vec<f64> = samples
        .into_iter()
        .flatten()
        .filter_map(as_number)
        .collect();
    let mean = samples.iter().sum::<f64>() / samples.len() as f64;
    // Samples are printed with few digits.
    draft.check("mean of samples_ts = avg_ts", rate, Some(mean), 1e3 * EXACT);
    fill(&mut draft, &test, rate, number(value, "stddev_ts"));
    draft.finish()
}

fn draft(source: &str, test: &str, model: Option<String>) -> Draft {
    let mut draft = Draft::new("llama-bench", source, Percentiles::Linear);
    draft.run.backend = "llama.cpp".to_owned();
    draft.run.model = model.unwrap_or_default();
    let model = &draft.run.model;
    draft.run.name = format!("llama-bench/{model}/{}", test.replace(' ', ""));
    draft
}

fn fill(draft: &mut Draft, test: &str, rate: Option<f64>, deviation: Option<f64>) {
    let what = format!("tokens a second of {test}: decode calls alone, one stream");
    draft.beside("avg_ts", rate, &format!("{what}; mean over repetitions"));
    draft.beside(
        "stddev_ts",
        deviation,
        &format!("{what}; sample deviation over repetitions"),
    );
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// # Errors
/// It has no row.
pub fn read_csv(text: &str, source: &str) -> Result<Vec<ReferenceRun>, String> {
    let rows = csv::rows(head(text).unwrap_or_default(), ',');
    let (header, rows) = rows.split_first().ok_or(UNFINISHED)?;
    let rows = rows.iter().filter(|row| row.len() == header.len());
    let runs = rows
        .take(MOST + 1)
        .map(|row| read(&keyed(header, row), source));
    finished(runs.collect())
}

fn finished(runs: Vec<ReferenceRun>) -> Result<Vec<ReferenceRun>, String> {
    match runs.is_empty() {
        true => Err(UNFINISHED.to_owned()),
        false => Ok(runs),
    }
}

fn keyed(header: &[String], row: &[String]) -> Value {
    let pairs = header.iter().zip(row);
    let pairs = pairs.map(|(name, cell)| (name.clone(), Value::from(cell.as_str())));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// `INSERT INTO test (names) VALUES ('texts');`
pub fn read_sql(text: &str, source: &str) -> Vec<ReferenceRun> {
    let statements = text.split(INSERT).skip(1);
    let row = |statement: &str| {
        let (names, values) = statement.split_once("VALUES")?;
        let inside = |text: &str| {
            let (_, text) = text.split_once('(')?;
            let (text, _) = text.rsplit_once(')')?;
            Some(csv::rows(&text.replace('\'', "\""), ','))
        };
        let names = inside(names)?.into_iter().next()?;
        // Texts are quoted and hold no quotes of SQL's own.
        let values = inside(&values.replace(", '", ",'"))?.into_iter().next()?;
        let value = keyed(&names, &values);
        is(&value).then(|| read(&value, source))
    };
    statements.filter_map(row).take(MOST + 1).collect()
}

/// The table that is printed: `| model | … | test | t/s |`.
///
/// # Errors
/// It has no row.
pub fn read_markdown(text: &str, source: &str) -> Result<Vec<ReferenceRun>, String> {
    let mut header: Vec<&str> = Vec::new();
    let mut runs = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if cells.contains(&"t/s") {
            header = cells;
            continue;
        }
        let cell = |name: &str| {
            let at = header.iter().position(|head| *head == name)?;
            cells.get(at).copied()
        };
        if runs.len() > MOST {
            break;
        }
        let (Some(test), Some(rate)) = (cell("test"), cell("t/s")) else {
            continue;
        };
        let (rate, deviation) = rate.split_once('±').unwrap_or((rate, ""));
        let Some(rate) = parsed(rate) else {
            continue;
        };
        let test = test.replace("pp ", "pp").replace("tg ", "tg");
        let mut draft = draft(source, &test, cell("model").map(str::to_owned));
        fill(&mut draft, &test, Some(rate), parsed(deviation));
        runs.push(draft.finish());
    }
    finished(runs)
}
