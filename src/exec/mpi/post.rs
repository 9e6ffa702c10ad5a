//! Values as messages between ranks. What cannot be read ends the job, as what does not come does.

use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::parallel::mpi::Link;

/// Tags of the messages from rank 0, and of those to it.
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

    /// From rank 0 to every other rank.
    pub fn command(&mut self, command: &impl Serialize) {
        self.write(command);
        for other in 1..self.link.size() {
            self.link.send(other, COMMAND, &self.message);
        }
    }

    /// The next command, however long it takes.
    pub fn await_command<T: DeserializeOwned>(&mut self) -> T {
        self.link.await_any(&[0], COMMAND, &mut self.message);
        self.read(0)
    }

    /// To rank 0.
    pub fn answer(&mut self, answer: &impl Serialize) {
        self.write(answer);
        self.link.send(0, ANSWER, &self.message);
    }

    /// The answers of every other rank to one command, in rank order.
    pub fn answers<T: DeserializeOwned>(&mut self) -> Vec<T> {
        let others = 1..self.link.size();
        others
            .map(|other| {
                self.link.receive(other, ANSWER, &mut self.message);
                self.read(other)
            })
            .collect()
    }

    /// The first answer to come from one of `ranks`, however long it takes, and whose it is.
    pub fn await_answer<T: DeserializeOwned>(&mut self, ranks: &[usize]) -> (usize, T) {
        let from = self.link.await_any(ranks, ANSWER, &mut self.message);
        (from, self.read(from))
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
