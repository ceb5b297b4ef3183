//! Uses the pool from async code on a multi-threaded Tokio runtime, in one of the two ways that the library documents:
//! with the argument `tokio_main` it calls that function, otherwise it builds the runtime after `init`. It prints how a
//! task ended, or the error.

#[path = "support/one_task.rs"]
mod one_task;

fn main() {
    let result = match std::env::args().nth(1).as_deref() {
        Some("tokio_main") => mpwasm::tokio_main(one_task::run()),
        _ => {
            mpwasm::init();
            tokio::runtime::Runtime::new()
                .expect("the system gives a runtime its threads")
                .block_on(one_task::run())
        }
    };
    match result {
        Ok(status) => println!("{status}"),
        Err(error) => println!("{error}"),
    }
}
