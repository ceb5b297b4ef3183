//! Has `#[tokio::main(flavor = "current_thread")]` and calls `mpwasm::init()` in the first line of `main`. The runtime
//! has no threads of its own, but it was started before `init`, so the pool must refuse to start, and say why. It prints
//! how a task ended, or the error.

#[path = "support/one_task.rs"]
mod one_task;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    mpwasm::init();
    match one_task::run().await {
        Ok(status) => println!("{status}"),
        Err(error) => println!("{error}"),
    }
}
