//! The verdict as it stands in the page, so that it is read before any script runs, and where none does.

use std::fmt::Write;

use super::escaped;
pub(super) use crate::report::headline::Verdict;

impl Verdict {
    /// `name` tells the result from others on the page; empty where there is none.
    pub(super) fn html(&self, name: &str) -> String {
        let mut out = String::from("<section class=\"verdict\">\n");
        let kind = self.kind;
        let span = |class: &str, text: &str| match text {
            "" => String::new(),
            text => format!(" <span class=\"{class}\">{}</span>", escaped(text)),
        };
        let _ = writeln!(
            out,
            "<h1>{}{}{}{}{}{}{}</h1>",
            span("name", name),
            span(&format!("kind {kind}"), kind),
            span("kind partial", if self.partial { "partial" } else { "" }),
            span("what", &self.what),
            span("answer", &self.answer),
            span("load", &self.load),
            span("against", &self.against.join("; ")),
        );
        let mut say = |class: &str, text: &str| {
            let _ = writeln!(out, "<p class=\"{class}\">{}</p>", escaped(text));
        };
        self.troubles.iter().for_each(|text| say("trouble", text));
        self.seen.iter().for_each(|text| say("seen", text));
        say("work", &self.work);
        self.beside.iter().for_each(|text| say("beside", text));
        say("checks", &self.checks);
        out.push_str("</section>\n");
        out
    }
}
