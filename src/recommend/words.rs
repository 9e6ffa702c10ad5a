//! A command line, word by word.

/// Characters that a shell leaves alone.
const PLAIN: &str = "-_./:=,@+%";

/// Words of a command, each as a shell must read it.
#[derive(Debug, Clone)]
pub struct Words(Vec<String>);

impl Words {
    /// The program and what comes before its flags, in words without spaces of their own.
    pub fn of(program: &str) -> Self {
        Self(program.split(' ').map(str::to_owned).collect())
    }

    pub fn word(mut self, word: &str) -> Self {
        self.0.push(quoted(word));
        self
    }

    /// A flag with its value.
    pub fn flag(self, name: &str, value: impl ToString) -> Self {
        self.word(name).word(&value.to_string())
    }

    /// A flag whose value may be left to the program.
    pub fn given(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.flag(name, value),
            None => self,
        }
    }

    /// A flag without a value.
    pub fn switch(self, is_on: bool, name: &str) -> Self {
        match is_on {
            true => self.word(name),
            false => self,
        }
    }

    pub fn line(self) -> String {
        self.0.join(" ")
    }
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || PLAIN.contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_words_that_were_meant() {
        let line = Words::of("vllm serve")
            .word("./it's a model")
            .flag("--tp", 2);
        assert_eq!(line.line(), r"vllm serve './it'\''s a model' --tp 2");
    }
}
