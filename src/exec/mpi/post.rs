//! Values as messages between processes. What cannot be read ends the job, as what does not come does.

use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::parallel::mpi::Link;

/// Tags of the messages from the first process, and of those to it.
const COMMAND: i32 = 1;
const ANSWER: i32 = 2;

pub struct Post {
    pub link: Rc<Link>,
    message: Vec<u8>,
}

impl Post {
    pub fn new(link: Rc<Link>) -> Self {
        Self {
            link,
            message: Vec::new(),
        }
    }

    /// From the first process to every other.
    pub fn command(&mut self, command: &impl Serialize) {
        self.write(command);
        for other in 1..self.link.size() {
            self.link.send(other, COMMAND, &self.message);
        }
    }

    /// From the first process to one other.
    pub fn command_one(&mut self, other: usize, command: &impl Serialize) {
        self.write(command);
        self.link.send(other, COMMAND, &self.message);
    }

    /// The next command, however long it takes; `None`: it took longer than `patience`.
    pub fn await_command<T: DeserializeOwned>(&mut self, patience: Option<Duration>) -> Option<T> {
        self.link
            .await_any(&[0], COMMAND, patience, &mut self.message)?;
        Some(self.read(0))
    }

    /// To the first process.
    pub fn answer(&mut self, answer: &impl Serialize) {
        self.write(answer);
        self.link.send(0, ANSWER, &self.message);
    }

    /// The answers of every other process to one command, in their order.
    pub fn answers<T: DeserializeOwned>(&mut self) -> Vec<T> {
        let others = 1..self.link.size();
        others.map(|other| self.answer_of(other)).collect()
    }

    /// The answer of another process.
    pub fn answer_of<T: DeserializeOwned>(&mut self, other: usize) -> T {
        self.link.receive(other, ANSWER, &mut self.message);
        self.read(other)
    }

    /// The first answer to come from one of `processes`, however long it takes, and whose it is.
    pub fn await_answer<T: DeserializeOwned>(&mut self, processes: &[usize]) -> (usize, T) {
        loop {
            let from = self
                .link
                .await_any(processes, ANSWER, None, &mut self.message);
            if let Some(from) = from {
                return (from, self.read(from));
            }
        }
    }

    fn write(&mut self, value: &impl Serialize) {
        let mut message = std::mem::take(&mut self.message);
        message.clear();
        match postcard::to_extend(value, message) {
            Ok(written) => self.message = written,
            Err(error) => self
                .link
                .fail(&format!("a message cannot be written: {error}")),
        }
    }

    fn read<T: DeserializeOwned>(&self, from: usize) -> T {
        postcard::from_bytes(&self.message).unwrap_or_else(|error| {
            let from = self.link.name(from);
            self.link.fail(&format!(
                "a message from {from} cannot be read ({error}); start the same build of candlepower on every machine"
            ))
        })
    }
}
