//! Two tasks talk over a pipe, each with one end.

use mpwasm_guest::objects::{Connection, ObjectErrorKind};
use mpwasm_guest::{Error, Model};

/// Asks questions over a duplex pipe, and closes its end.
///
/// Args: the end, and the questions. Result: the answers.
#[derive(Default)]
pub struct Ask;

impl Model for Ask {
    type Args = (Connection<String>, Vec<String>);
    type Output = Vec<String>;

    fn runnable((end, questions): Self::Args) -> Result<Vec<String>, Error> {
        let mut answers = Vec::new();
        for question in &questions {
            end.send(question)?;
            answers.push(end.recv()?);
        }
        end.close()?;
        Ok(answers)
    }
}

/// Answers each question that comes over a duplex pipe, until the other end is closed.
///
/// Args: the end. Result: the number of questions.
#[derive(Default)]
pub struct Answer;

impl Model for Answer {
    type Args = (Connection<String>,);
    type Output = usize;

    fn runnable((end,): Self::Args) -> Result<usize, Error> {
        let mut questions = 0;
        for question in end.iter() {
            end.send(&format!("{}!", question?.trim_end_matches('?')))?;
            questions += 1;
        }
        Ok(questions)
    }
}

/// Sends values into a one-way pipe, and closes it.
///
/// Args: the sending end, and the values.
#[derive(Default)]
pub struct Send;

impl Model for Send {
    type Args = (Connection<i64>, Vec<i64>);
    type Output = ();

    fn runnable((end, values): Self::Args) -> Result<(), Error> {
        for value in &values {
            end.send(value)?;
        }
        Ok(end.close()?)
    }
}

/// Receives from a one-way pipe until it is closed. This end can't send.
///
/// Args: the receiving end. Result: the values.
#[derive(Default)]
pub struct Receive;

impl Model for Receive {
    type Args = (Connection<i64>,);
    type Output = Vec<i64>;

    fn runnable((end,): Self::Args) -> Result<Vec<i64>, Error> {
        match end.send(&0) {
            Err(error) if error.kind == ObjectErrorKind::WrongType => {}
            other => return Err(format!("sent into the wrong end: {other:?}").into()),
        }
        let values: Result<_, _> = end.iter().collect();
        Ok(values?)
    }
}
