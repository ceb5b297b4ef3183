//! Calls on an open file: reading, writing, positions, sizes, times, flags, rights and descriptors.

use wasi_calls::{BOTH, file, from, into, open, read, write};

fn main() {
    let fd = file("file", b"0123456789");
    // SAFETY: buffers are valid during the call.
    unsafe {
        // Positions.
        assert_eq!(wasi::fd_tell(fd), Ok(10));
        assert_eq!(wasi::fd_seek(fd, -4, wasi::WHENCE_END), Ok(6));
        assert_eq!(wasi::fd_seek(fd, 1, wasi::WHENCE_CUR), Ok(7));
        assert_eq!(wasi::fd_seek(fd, -1, wasi::WHENCE_SET), Err(wasi::ERRNO_INVAL));
        assert_eq!(read(fd).as_deref(), Ok(&b"789"[..]));
        let mut two = [0; 2];
        assert_eq!(wasi::fd_pread(fd, &[into(&mut two)], 3), Ok(2));
        assert_eq!(&two, b"34");
        assert_eq!(wasi::fd_pwrite(fd, &[from(b"AB")], 0), Ok(2));
        assert_eq!(wasi::fd_tell(fd), Ok(10), "it is where it was");

        // Sizes.
        wasi::fd_filestat_set_size(fd, 4).expect("it can be cut");
        // Newer WASI systems don't have these calls, and neither does the engine.
        assert_eq!(wasi::fd_allocate(fd, 0, 6), Err(wasi::ERRNO_NOTSUP));
        wasi::fd_advise(fd, 0, 4, wasi::ADVICE_SEQUENTIAL).expect("advice is heard");
        assert_eq!(wasi::fd_seek(fd, 0, wasi::WHENCE_SET), Ok(0));
        assert_eq!(read(fd).as_deref(), Ok(&b"AB23"[..]));

        // Times.
        let times = wasi::FSTFLAGS_ATIM | wasi::FSTFLAGS_MTIM;
        wasi::fd_filestat_set_times(fd, 1_000_000_000, 2_000_000_000, times).expect("times can be set");
        let stat = wasi::fd_filestat_get(fd).expect("it can be looked at");
        assert_eq!((stat.size, stat.filetype), (4, wasi::FILETYPE_REGULAR_FILE));
        assert_eq!((stat.atim, stat.mtim), (1_000_000_000, 2_000_000_000));
        let both = wasi::FSTFLAGS_MTIM | wasi::FSTFLAGS_MTIM_NOW;
        assert_eq!(
            wasi::fd_filestat_set_times(fd, 0, 0, both),
            Err(wasi::ERRNO_INVAL)
        );

        // Flags, and rights.
        wasi::fd_fdstat_set_flags(fd, wasi::FDFLAGS_APPEND).expect("it can be for appending");
        let fdstat = wasi::fd_fdstat_get(fd).expect("it can be looked at");
        assert_eq!(fdstat.fs_flags & wasi::FDFLAGS_APPEND, wasi::FDFLAGS_APPEND);
        assert_eq!(wasi::fd_seek(fd, 0, wasi::WHENCE_SET), Ok(0));
        assert_eq!(write(fd, b"!"), Ok(1));
        assert_eq!(wasi::fd_filestat_get(fd).map(|stat| stat.size), Ok(5));
        let fewer = wasi::fd_fdstat_set_rights(fd, wasi::RIGHTS_FD_READ, 0);
        assert_eq!(fewer, Err(wasi::ERRNO_NOTSUP));
        wasi::fd_sync(fd).expect("it can be synced");
        wasi::fd_datasync(fd).expect("it can be synced");

        // Descriptors.
        let other = open("file", 0, BOTH).expect("it is there");
        wasi::fd_renumber(fd, other).expect("it can have another number");
        assert_eq!(wasi::fd_filestat_get(fd).map(|_| ()), Err(wasi::ERRNO_BADF));
        wasi::fd_close(other).expect("it can be closed");
        assert_eq!(wasi::fd_close(other), Err(wasi::ERRNO_BADF));
        let exclusive = wasi::OFLAGS_CREAT | wasi::OFLAGS_EXCL;
        assert_eq!(open("file", exclusive, BOTH), Err(wasi::ERRNO_EXIST));
        assert_eq!(open("none", 0, BOTH), Err(wasi::ERRNO_NOENT));
    }
}
