//! Calls on args, environment, streams and exit: echoes args, environment and stdin, and exits with 33.

use std::env;

use wasi_calls::{read, write};

fn main() {
    let args: Vec<_> = env::args().skip(1).collect(); // args_sizes_get, args_get
    println!("{args:?} {:?}", env::var("GREETING")); // environ_sizes_get, environ_get
    println!("{:?}", env::vars().count());
    assert_eq!(read(0).as_deref(), Ok(&[][..]), "stdin is empty");
    assert_eq!(write(2, b"to stderr\n"), Ok(10));
    assert_eq!(write(0, b"x"), Err(wasi::ERRNO_BADF));
    assert_eq!(read(9).unwrap_err(), wasi::ERRNO_BADF);
    // SAFETY: no memory is given.
    unsafe {
        let stdout = wasi::fd_fdstat_get(1).expect("stdout is open");
        assert_ne!(stdout.fs_filetype, wasi::FILETYPE_DIRECTORY);
        assert!(
            wasi::fd_seek(1, 0, wasi::WHENCE_CUR).is_err(),
            "a stream has no position"
        );
        assert!(wasi::fd_tell(1).is_err());
        for how in [wasi::SDFLAGS_RD, wasi::SDFLAGS_WR] {
            assert_eq!(wasi::sock_shutdown(1, how), Err(wasi::ERRNO_NOTSOCK));
            assert_eq!(wasi::sock_shutdown(9, how), Err(wasi::ERRNO_BADF));
        }
        wasi::proc_exit(33)
    }
}
