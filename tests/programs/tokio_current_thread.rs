//! A program with `#[tokio::main(flavor = "current_thread")]` that calls `mpwasm::init()` in the first line of it. The runtime
//! has no threads of its own, and yet it came before `init`: the pool must refuse to start, and say why. It prints how a task
//! ended, or the error.

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
