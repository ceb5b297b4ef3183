//! Tasks that share objects, as the examples of Python's `multiprocessing` do.
//!
//! Each model gets its objects in its args. On the command line, where they have names, `{"object":"NAME"}` stands for one:
//!
//! ```sh
//! mpwasm run guests/sharing#increment --object total=value:i64 --size 5 \
//!     --args '[{"object":"total"},1000]' --args '[{"object":"total"},1000]' --objects-out objects.json
//! ```
//!
//! - `pipe`: two tasks talk over a pipe
//! - `queue`: tasks hand items over, one at a time or until the queue is closed
//! - `numbers`: tasks change numbers in shared memory
//! - `collections`: tasks change a dict and a list

#![forbid(unsafe_code)]

mod collections;
mod numbers;
mod pipe;
mod queue;

mpwasm_guest::export! {
    "ask" => pipe::Ask: runnable,
    "answer" => pipe::Answer: runnable,
    "send" => pipe::Send: runnable,
    "receive" => pipe::Receive: runnable,

    "fill" => queue::Fill: runnable,
    "produce" => queue::Produce: runnable,
    "consume" => queue::Consume: runnable,
    "consume_by_name" => queue::ConsumeByName: runnable,
    "work" => queue::Work: runnable,
    "join" => queue::Join: runnable,

    "increment" => numbers::Increment: runnable,
    "increment_with_lock" => numbers::IncrementWithLock: runnable,
    "change" => numbers::Change: runnable,

    "collect" => collections::Collect: runnable,
    "count" => collections::Count: runnable,
    "count_with_lock" => collections::CountWithLock: runnable,
}
