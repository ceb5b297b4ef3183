//! `--object` and the options beside it: what is refused, what is read and written, and what nothing shows.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::completed::{CompletedRun, LIMIT, run, run_lines};
use crate::support::{BackgroundRun, descendants, guest, role, send, until};

/// A folder with a file of contents and the place for another.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    /// Creates a folder, in which `in.json` has these contents.
    fn new(contents: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("in.json"), contents).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().unwrap()
    }

    fn written(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("out.json")).unwrap()).unwrap()
    }

    /// Returns the names of the files in the folder.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn sharing(model: &str) -> String {
    format!("{}#{model}", guest("sharing").display())
}

/// Runs one task that adds 5 to `total`.
fn increment(options: &[&str]) -> CompletedRun {
    let args = json!([{"object": "total"}, 5]).to_string();
    run(&[&[&*sharing("increment"), "--args", &args], options].concat())
}

#[test]
fn objects_are_filled_before_the_first_task_and_written_at_the_end() {
    let files = Files::new(r#"{"total": 37, "seen": {"a": 1.50}, "jobs": ["x"]}"#);
    let ended = increment(&[
        "--object",
        "total=value:i64",
        "--object",
        "seen=dict",
        "--object",
        "jobs=queue:3",
        "--object",
        "door=lock",
        "--objects-in",
        &files.text("in.json"),
        "--objects-out",
        &files.text("out.json"),
    ]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let text = fs::read_to_string(files.path("out.json")).unwrap();
    assert_eq!(text, "{\"jobs\":[\"x\"],\"seen\":{\"a\":1.50},\"total\":42}\n");
    assert_eq!(files.names(), ["in.json", "out.json"]);
}

#[test]
fn objects_are_written_after_failed_tasks_too() {
    let files = Files::new("{}");
    let tasks = [
        json!({"model": "increment", "args": [{"object": "total"}, 5]}),
        json!({"model": "increment", "args": ["no object"]}),
    ];
    let ended = run_lines(
        format!("{}\n{}\n", tasks[0], tasks[1]),
        &[
            guest("sharing").to_str().unwrap(),
            "--object",
            "total=value:i64",
            "--objects-out",
            &files.text("out.json"),
        ],
    );
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert_eq!(files.written(), json!({"total": 5}));
}

#[test]
fn what_can_not_be_an_object_is_a_usage_error_before_anything_runs() {
    let files = Files::new(r#"{"other": 1}"#);
    let (input, text) = (files.text("in.json"), files.text("text"));
    fs::write(files.path("text"), "no JSON").unwrap();
    for (options, words) in [
        (&["--object", "total"][..], "no `=`"),
        (&["--object", "total=stack"], "no kind of object"),
        (&["--object", "total=value"], "`value:TYPE`"),
        (
            &["--object", "total=dict", "--object", "total=list"],
            "names have to differ",
        ),
        (&["--object", "{}=dict"], "does not begin with a brace"),
        (
            &["--object", "total=dict", "--objects-in", &input],
            "`other`, which no --object names",
        ),
        (&["--object", "total=dict", "--objects-in", &text], "--objects-in"),
        (
            &["--object", "total=dict", "--objects-in", "/nowhere/in.json"],
            "No such file",
        ),
        (
            &["--object", "total=dict", "--objects-out", "/nowhere/out.json"],
            "No such file",
        ),
        (
            &["--object", "total=array:f64:1000", "--objects-memory", "1KiB"],
            "memory",
        ),
        (&["--objects-out", "x"], "--object"),
        (&["--objects-in", "x"], "--object"),
    ] {
        let ended = increment(options);
        assert_eq!(ended.code, Some(2), "{options:?}: {ended:#?}");
        assert!(ended.stderr.contains(words), "{options:?}: {}", ended.stderr);
        assert_eq!(ended.records, Vec::<Value>::new(), "{options:?}");
    }
    let wrong = Files::new(r#"{"total": "text"}"#);
    let ended = increment(&[
        "--object",
        "total=value:i64",
        "--objects-in",
        &wrong.text("in.json"),
    ]);
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.stderr.contains("value `total`"), "{}", ended.stderr);
}

#[test]
fn an_earlier_file_stays_when_the_manager_has_ended() {
    let files = Files::new("{}");
    fs::write(files.path("out.json"), "earlier").unwrap();
    let mut run = BackgroundRun::start(&[
        &sharing("consume_by_name"),
        "--args",
        "[]",
        "--object",
        "numbers=queue",
        "--size",
        "1",
        "--timeout",
        "60s",
        "--objects-out",
        &files.text("out.json"),
    ]);
    let manager = until(|| {
        let children = descendants(run.pid());
        children
            .into_iter()
            .find(|pid| role(*pid).as_deref() == Some("manager"))
    });
    run.workers(1);
    send(manager, Signal::SIGKILL);
    assert_eq!(run.wait(LIMIT).code(), Some(3));
    assert_eq!(fs::read_to_string(files.path("out.json")).unwrap(), "earlier");
}

#[test]
fn without_an_object_there_is_no_manager_and_an_operation_says_so() {
    let ended = increment(&[]);
    assert_eq!(ended.column("status"), ["error"], "{ended:#?}");
    assert!(
        ended.records[0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no manager")
    );
}
