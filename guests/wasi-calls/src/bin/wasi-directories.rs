//! Calls on a granted directory: entries, links, and paths that lead outside.

use wasi_calls::{BOTH, ROOT, file, open};

/// Returns the names in the granted directory, sorted.
fn names() -> Vec<String> {
    let mut bytes = vec![0; 4096];
    // SAFETY: the buffer is valid, and has the given length.
    let len = unsafe { wasi::fd_readdir(ROOT, bytes.as_mut_ptr(), bytes.len(), 0) };
    bytes.truncate(len.expect("it can be listed"));
    let mut names = Vec::new();
    let mut rest = bytes.as_slice();
    // An entry is a header, with the name's length at 16, and the name.
    while rest.len() >= 24 {
        let len = u32::from_le_bytes(rest[16..20].try_into().expect("it is four bytes")) as usize;
        names.push(String::from_utf8_lossy(&rest[24..24 + len]).into_owned());
        rest = &rest[24 + len..];
    }
    names.retain(|name| name != "." && name != "..");
    names.sort();
    names
}

fn main() {
    // SAFETY: paths and buffers are valid during the call.
    unsafe {
        // The granted directory.
        let prestat = wasi::fd_prestat_get(ROOT).expect("a directory was granted");
        let mut name = vec![0; prestat.u.dir.pr_name_len];
        wasi::fd_prestat_dir_name(ROOT, name.as_mut_ptr(), name.len()).expect("it has a name");
        assert_eq!(name, b"/");
        assert_eq!(wasi::fd_prestat_get(ROOT + 1).map(|_| ()), Err(wasi::ERRNO_BADF));

        // Names.
        let fd = file("a", b"a");
        wasi::fd_close(fd).expect("it can be closed");
        wasi::path_create_directory(ROOT, "d").expect("a directory can be made");
        assert_eq!(wasi::path_create_directory(ROOT, "d"), Err(wasi::ERRNO_EXIST));
        wasi::path_rename(ROOT, "a", ROOT, "d/b").expect("it can be moved");
        assert_eq!(wasi::path_remove_directory(ROOT, "d"), Err(wasi::ERRNO_NOTEMPTY));
        assert_eq!(wasi::path_unlink_file(ROOT, "a"), Err(wasi::ERRNO_NOENT));
        wasi::path_link(ROOT, 0, "d/b", ROOT, "c").expect("it can have two names");
        assert_eq!(names(), ["c", "d"]);
        let times = wasi::FSTFLAGS_ATIM | wasi::FSTFLAGS_MTIM;
        wasi::path_filestat_set_times(ROOT, 0, "c", 1, 2_000_000_000, times).expect("times can be set");
        let stat = wasi::path_filestat_get(ROOT, 0, "d/b").expect("it can be looked at");
        assert_eq!((stat.nlink, stat.size, stat.mtim), (2, 1, 2_000_000_000));

        // Links.
        wasi::path_symlink("d/b", ROOT, "l").expect("a link can be made");
        let mut target = [0; 10];
        assert_eq!(
            wasi::path_readlink(ROOT, "l", target.as_mut_ptr(), target.len()),
            Ok(3)
        );
        assert_eq!(&target[..3], b"d/b");
        let link = wasi::path_filestat_get(ROOT, 0, "l").expect("it can be looked at");
        assert_eq!(link.filetype, wasi::FILETYPE_SYMBOLIC_LINK);
        let followed = wasi::path_filestat_get(ROOT, wasi::LOOKUPFLAGS_SYMLINK_FOLLOW, "l");
        assert_eq!(
            followed.map(|stat| stat.filetype),
            Ok(wasi::FILETYPE_REGULAR_FILE)
        );
        assert_eq!(open("l", 0, BOTH), Err(wasi::ERRNO_LOOP));

        // Outside of the granted directory.
        for path in ["..", "../a", "d/../../a", "/"] {
            assert_eq!(open(path, 0, BOTH), Err(wasi::ERRNO_PERM), "{path}");
        }
        wasi::path_symlink("../..", ROOT, "up").expect("a link can be made");
        let follow = wasi::LOOKUPFLAGS_SYMLINK_FOLLOW;
        let up = wasi::path_open(ROOT, follow, "up/etc", 0, wasi::RIGHTS_FD_READ, 0, 0);
        assert_eq!(up, Err(wasi::ERRNO_PERM));

        for file in ["c", "d/b", "l", "up"] {
            wasi::path_unlink_file(ROOT, file).expect("it can be removed");
        }
        wasi::path_remove_directory(ROOT, "d").expect("it can be removed");
        assert_eq!(names(), [""; 0]);
    }
}
