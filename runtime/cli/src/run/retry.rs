//! `--retries` and the other options of further attempts.

use anyhow::{Result, anyhow};
use clap::Args;
use mpwasm::{Backoff, Kind, Retry};

/// Options of further attempts.
#[derive(Debug, Args)]
pub struct RetryOptions {
    /// Try a task again, up to N times, when its worker process died (`crash`).
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100))]
    pub retries: u32,

    /// Also try a task again when it ended as one of these kinds: error, timeout, trap, exit, memory, fuel or limit.
    #[arg(long, value_name = "KIND,...", value_delimiter = ',', value_parser = kind, requires = "retries")]
    pub retry_on: Vec<Kind>,

    /// Pause before each further attempt: 100ms is the same each time, 100ms..10s doubles from the first up to the second. ~50%
    /// after it shortens each pause by a random part of up to 50 %. While 4096 tasks pause, no other task is started
    /// [default: none].
    #[arg(long, value_name = "DUR[..DUR][~P%]", requires = "retries")]
    pub backoff: Option<Backoff>,

    /// Do not try a task again once N workers have died while they ran it.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub crash_limit: u32,
}

impl RetryOptions {
    /// Returns the retry policy of the library.
    pub fn policy(&self) -> Retry {
        let retry = Retry::times(self.retries)
            .backoff(self.backoff.unwrap_or(Backoff::NONE))
            .crash_limit(self.crash_limit);
        self.retry_on.iter().copied().fold(retry, Retry::also_on)
    }
}

/// Parses a kind for which a task can be retried.
fn kind(text: &str) -> Result<Kind> {
    let covered = || Kind::ALL.into_iter().filter(|&kind| Retry::can_cover(kind));
    covered()
        .find(|kind| kind.as_str() == text.trim())
        .ok_or_else(|| {
            let kinds: Vec<&str> = covered().map(Kind::as_str).collect();
            anyhow!(
                "no task is tried again for that; the kinds are {}",
                kinds.join(", ")
            )
        })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        retries: RetryOptions,
    }

    fn policy(line: &str) -> Result<Retry, clap::Error> {
        let words = ["run"].into_iter().chain(line.split_whitespace());
        let line = Line::try_parse_from(words)?;
        Ok(line.retries.policy())
    }

    #[test]
    fn the_policy_is_what_was_written() {
        assert_eq!(policy("").unwrap(), Retry::default());
        assert_eq!(policy("--retries 3").unwrap(), Retry::times(3));
        let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(10)).jitter(20);
        let expected = Retry::times(3)
            .also_on(Kind::Timeout)
            .also_on(Kind::Trap)
            .backoff(backoff)
            .crash_limit(5);
        let line = "--retries 3 --retry-on timeout,trap --backoff 100ms..10s~20% --crash-limit 5";
        assert_eq!(policy(line).unwrap(), expected);
    }

    #[test]
    fn a_wrong_value_is_refused_with_a_reason() {
        for (line, why) in [
            ("--retries 101", "not in"),
            (
                "--retries 1 --retry-on cancelled",
                "the kinds are error, timeout, trap",
            ),
            ("--retries 1 --retry-on timeout,", "the kinds are"),
            ("--retries 1 --backoff soon", "--backoff"),
            ("--retries 1 --crash-limit 0", "not in"),
            ("--retry-on trap", "--retries"),
            ("--backoff 1s", "--retries"),
        ] {
            let refusal = policy(line).unwrap_err().to_string();
            assert!(refusal.contains(why), "{line}: {refusal}");
        }
    }
}
