//! Tests of the imports for shared objects, with a client that holds a few objects itself.

use std::sync::{Arc, Mutex};

use super::*;
use crate::abi::call::{CallReport, Export};
use crate::deadline::Deadline;
use crate::object_client::ObjectClient;
use crate::testing::{Rig, call, ended, guest};
use mpwasm_system::number_memory;
use mpwasm_types::ids::{ModelId, TaskId};
use mpwasm_types::objects::{ObjectId, ObjectSpec};
use mpwasm_types::outcome::Kind;
use mpwasm_types::time::Time;

/// Holds objects whose names are their specs, and notes what it is asked for.
struct Fake {
    deadline: Arc<Deadline>,
    notes: Arc<Mutex<Vec<String>>>,
    numbers: Vec<(ObjectId, Arc<NumberMemory>)>,
}

impl Fake {
    fn note(&self, note: String) {
        self.notes.lock().unwrap().push(note);
    }

    fn numbers(&mut self, id: ObjectId, spec: ObjectSpec) -> Option<Arc<NumberMemory>> {
        let (number, count) = spec.numbers()?;
        if let Some((_, memory)) = self.numbers.iter().find(|(held, _)| *held == id) {
            return Some(Arc::clone(memory));
        }
        let file = number_memory::create(number, count).unwrap();
        let memory = Arc::new(NumberMemory::map(file, number, count).unwrap());
        self.numbers.push((id, Arc::clone(&memory)));
        Some(memory)
    }
}

impl ObjectClient for Fake {
    fn start_call(&mut self, caller: ObjectCaller) {
        self.note(format!(
            "start {:?} {} {}",
            caller.export, caller.task_id, caller.attempt
        ));
    }

    fn open(&mut self, target: ObjectTarget<'_>) -> Result<OpenedObject, ObjectCallError> {
        let (name, how) = match target {
            ObjectTarget::Name(name) => (name, "name"),
            ObjectTarget::Handle(handle) => (&*handle.label, "handle"),
        };
        self.note(format!("open {how} {name}"));
        let Ok(spec) = name.parse::<ObjectSpec>() else {
            return Err(ObjectError::new(ObjectErrorKind::NoSuchObject, name, "open").into());
        };
        let id = ObjectId(name.bytes().fold(0, |id, byte| id * 31 + u64::from(byte)));
        Ok(OpenedObject {
            id,
            spec,
            label: name.into(),
            numbers: self.numbers(id, spec),
        })
    }

    fn call(
        &mut self,
        object: &OpenedObject,
        operation: &str,
        args: &[u8],
        timeout: Option<Duration>,
    ) -> Result<Vec<u8>, ObjectCallError> {
        self.note(format!(
            "{operation} {} {timeout:?}",
            String::from_utf8_lossy(args)
        ));
        match operation {
            "wait" => {
                self.deadline.sleep_until(Time::NEVER)?;
                unreachable!("nothing is that late")
            }
            "put" => Err(ObjectError::new(ObjectErrorKind::Full, &object.label, operation)
                .on(object.spec.kind())
                .into()),
            _ => Ok(args.to_vec()),
        }
    }

    fn end_call(&mut self, succeeded: bool) {
        self.note(format!("end {succeeded}"));
    }
}

/// A guest that has these texts at addresses 0 and 256, and this `runnable`.
fn using(name: &str, operation: &str, body: &str) -> String {
    let name = name.replace('"', "\\\"");
    guest(&format!(
        r#"(data (i32.const 0) "{name}")
           (data (i32.const 256) "{operation}[1]")
           (func $open (result i32) (call $object_open (i32.const 0) (i32.const {})))
           (func $operate (param $object i32) (param $timeout i64) (result i32)
             (call $object_call (local.get $object) (i32.const 256) (i32.const {}) (i32.const {}) (i32.const 3)
               (local.get $timeout)))
           (func $put_reply (call $output_write (i32.const 1024)
             (call $object_reply (i32.const 1024) (i32.const 0) (call $object_reply_len))))
           (func (export "runnable") (export "callback") (result i32) {body})"#,
        name.replace("\\\"", "\"").len(),
        operation.len(),
        256 + operation.len()
    ))
}

/// A rig with a fake client, and the client's notes.
fn rig(wat: &str) -> (Rig, Arc<Mutex<Vec<String>>>) {
    let mut rig = Rig::new(wat);
    let notes = Arc::new(Mutex::new(Vec::new()));
    let client = Fake {
        deadline: rig.deadline.clone(),
        notes: Arc::clone(&notes),
        numbers: Vec::new(),
    };
    rig.executor.set_object_client(Box::new(client)).unwrap();
    (rig, notes)
}

fn run(name: &str, operation: &str, body: &str) -> (CallReport, Vec<String>) {
    let (mut rig, notes) = rig(&using(name, operation, body));
    let report = rig.call(Export::Runnable, "[]");
    let notes = std::mem::take(&mut *notes.lock().unwrap());
    (report, notes)
}

const FAILS_IF_NEGATIVE: &str = "(local $object i32) (local.set $object (call $open))
    (if (i32.lt_s (local.get $object) (i32.const 0)) (then (call $put_reply) (return (i32.const 1))))";

#[test]
fn an_operation_is_called_and_its_reply_is_read() {
    let (report, notes) = run(
        "dict",
        "get",
        &format!(
            "{FAILS_IF_NEGATIVE}
             (if (i32.ne (call $operate (local.get $object) (i64.const 1500)) (i32.const 3))
               (then (return (i32.const 1))))
             (drop (call $operate (local.get $object) (i64.const -1)))
             (if (i32.ne (call $object_reply (i32.const 1024) (i32.const 2) (i32.const 9)) (i32.const 1))
               (then (return (i32.const 2))))
             (if (i32.ne (call $object_reply (i32.const 1024) (i32.const -1) (i32.const 9)) (i32.const 0))
               (then (return (i32.const 3))))
             (call $put_reply) (i32.const 0)"
        ),
    );
    assert_eq!(report.result.as_deref(), Ok("[1]"));
    let expected = [
        "start Runnable 7 2",
        "open name dict",
        "get [1] Some(1.5s)",
        "get [1] None",
        "end true",
    ];
    assert_eq!(notes, expected);
}

#[test]
fn a_failed_operation_returns_its_code_and_the_reply_says_why() {
    let body = format!(
        "{FAILS_IF_NEGATIVE}
         (if (i32.ne (call $operate (local.get $object) (i64.const 0)) (i32.const -2))
           (then (return (i32.const 1))))
         (call $put_reply) (i32.const 0)"
    );
    let (report, notes) = run("queue:3", "put", &body);
    let expected = r#"{"kind":"Full","message":"queue `queue:3`: put: full"}"#;
    assert_eq!(report.result.as_deref(), Ok(expected));
    assert_eq!(notes[2], "put [1] Some(0ns)");
}

#[test]
fn an_object_is_opened_by_its_handle_and_keeps_its_descriptor() {
    let handle = r#"{"object":"lock","token":"00112233445566778899aabbccddeeff"}"#;
    let body = "(i32.ne (call $open) (call $open))";
    let (report, notes) = run(handle, "", body);
    assert_eq!(report.result.as_deref(), Ok("null"));
    assert_eq!(notes[1..3], ["open handle lock", "open handle lock"]);
    // Without a token it is a name.
    let (report, notes) = run(
        r#"{"object":"lock"}"#,
        "",
        "(i32.lt_s (call $open) (i32.const 0))",
    );
    assert_eq!(report.result.as_deref(), Ok("null"));
    assert_eq!(notes[1], "open name lock");
}

#[test]
fn what_names_no_object_is_an_error() {
    let long = "x".repeat(200);
    for (name, code, message) in [
        ("stack", -7, "object `stack`: open: no such object"),
        ("{}", -14, "object ``: open: invalid operation: it is no handle"),
        ("", -14, "object ``: open: invalid operation: a name is not empty"),
        (&long, -7, "no such object"),
    ] {
        let body = format!(
            "(if (i32.ne (call $open) (i32.const {code})) (then (return (i32.const 0)))) (call $put_reply) (i32.const 1)"
        );
        let (report, _) = run(name, "", &body);
        let failure = ended(Kind::Error, report);
        let said = serde_json::to_string(&failure).unwrap();
        assert!(said.contains(message), "{said}");
    }
    let body = "(i32.add (i32.const 14) (call $object_open (i32.const 0) (i32.const 1025)))";
    assert_eq!(run("a", "", body).0.result.as_deref(), Ok("null"));
}

#[test]
fn without_a_client_there_are_no_objects() {
    let body = "(if (i32.ne (call $open) (i32.const -11)) (then (return (i32.const 1)))) (call $put_reply) (i32.const 0)";
    let report = Rig::new(&using("jobs", "", body)).call(Export::Runnable, "[]");
    assert_eq!(
        report.result.as_deref(),
        Ok(
            r#"{"kind":"Unavailable","message":"object `jobs`: open: no manager: this pool has no shared objects"}"#
        )
    );
    // Without any use, there is nothing to read either.
    let report = crate::testing::run("(call $object_reply_len)");
    assert_eq!(report.result.as_deref(), Ok("null"));
}

#[test]
fn a_call_that_uses_no_objects_is_not_noticed() {
    let (report, notes) = run("dict", "", "(i32.const 0)");
    assert!(report.result.is_ok());
    assert_eq!(notes, [""; 0]);
}

#[test]
fn the_end_of_a_call_says_whether_it_succeeded() {
    for (body, succeeded) in [
        ("(i32.lt_s (call $open) (i32.const 0))", true),
        ("(drop (call $open)) (i32.const 1)", false),
        ("(drop (call $open)) unreachable", false),
        (
            "(drop (call $open)) (call $output_write (i32.const 0) (i32.const 4)) (i32.const 0)",
            false,
        ),
    ] {
        let (report, notes) = run("lock", "", body);
        assert_eq!(report.result.is_ok(), succeeded, "{report:?}");
        assert_eq!(*notes.last().unwrap(), format!("end {succeeded}"));
    }
}

#[test]
fn a_descriptor_does_not_outlive_its_call() {
    let wat = using(
        "value:i64",
        "get",
        "(global.set $before (i32.eqz (global.get $kept)))
         (if (global.get $before) (then (global.set $kept (call $open))))
         (i64.ne (call $object_info (global.get $kept)) (i64.const 0x10401))",
    )
    .replace(
        "(memory (export",
        "(global $kept (mut i32) (i32.const 0)) (global $before (mut i32) (i32.const 0)) (memory (export",
    );
    let (mut rig, notes) = rig(&wat);
    assert!(rig.kept(Export::Callback, 0).result.is_ok());
    let failure = ended(Kind::Trap, rig.kept(Export::Callback, 0));
    assert!(
        failure.message.contains("no shared object is open as 1024"),
        "{}",
        failure.message
    );
    // The trap discarded the instance. The next one opens the object anew.
    assert!(rig.kept(Export::Callback, 0).result.is_ok());
    // As do the items of a chunk.
    rig.deadline.arm(Time::NEVER);
    let item = call(Export::Runnable, ModelId(0), "[]");
    assert!(rig.executor.run_chunk_item(&item).result.is_ok());
    ended(Kind::Trap, rig.executor.run_chunk_item(&item));
    let ends = notes
        .lock()
        .unwrap()
        .iter()
        .filter(|note| note.starts_with("end"))
        .count();
    assert_eq!(ends, 3, "calls that opened something");
}

#[test]
fn only_so_many_objects_are_open_at_once() {
    let body = "(local $n i32) (local $opened i32)
        (i32.store (i32.const 0) (i32.const 0x75657571)) ;; queue:
        (i32.store16 (i32.const 4) (i32.const 0x3a65))
        (loop $next
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (i32.store8 (i32.const 6) (i32.add (i32.const 49) (i32.div_u (local.get $n) (i32.const 1000))))
          (i32.store8 (i32.const 7) (i32.add (i32.const 48)
            (i32.rem_u (i32.div_u (local.get $n) (i32.const 100)) (i32.const 10))))
          (i32.store8 (i32.const 8) (i32.add (i32.const 48)
            (i32.rem_u (i32.div_u (local.get $n) (i32.const 10)) (i32.const 10))))
          (i32.store8 (i32.const 9) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
          (local.set $opened (call $object_open (i32.const 0) (i32.const 10)))
          (br_if $next (i32.ge_s (local.get $opened) (i32.const 0))))
        (call $put_reply)
        (i32.sub (local.get $n) (i32.const 1025))";
    let (report, _) = run("queue:0000", "", body);
    let said = report.result.unwrap();
    assert!(said.contains("1024 objects are open already"), "{said}");
}

#[test]
fn a_wait_ends_at_the_deadline_and_the_next_call_succeeds() {
    let wat = using(
        "event",
        "wait",
        &format!(
            "{FAILS_IF_NEGATIVE} (call $log (i32.const 3) (i32.const 0) (i32.const 0))
             (if (i32.eqz (call $input_len)) (then (return (i32.const 0))))
             (call $operate (local.get $object) (i64.const -1))"
        ),
    );
    let (mut rig, notes) = rig(&wat);
    rig.timed_out("in `runnable`");
    assert_eq!(*notes.lock().unwrap().last().unwrap(), "end false");
    assert!(rig.call(Export::Runnable, "").result.is_ok());
    assert_eq!(*notes.lock().unwrap().last().unwrap(), "end true");
}

#[test]
fn a_wait_ends_when_the_call_is_cancelled() {
    let wat = using(
        "event",
        "wait",
        &format!(
            "{FAILS_IF_NEGATIVE} (call $log (i32.const 3) (i32.const 0) (i32.const 0))
             (call $operate (local.get $object) (i64.const 600000))"
        ),
    );
    let (mut rig, _) = rig(&wat);
    let failure = rig.cancelled_in_wait(|rig| rig.call(Export::Runnable, "[]"));
    assert_eq!(failure.message, "cancelled in `runnable`");
}

#[test]
fn out_of_bounds_traps() {
    for (import, code) in [
        ("object_open", "(call $object_open PTR LEN)"),
        (
            "object_call",
            "(call $object_call (call $open) PTR LEN (i32.const 0) (i32.const 0) (i64.const 0))",
        ),
        (
            "object_call",
            "(call $object_call (call $open) (i32.const 0) (i32.const 0) PTR LEN (i64.const 0))",
        ),
        ("object_reply", "(call $object_reply PTR (i32.const 0) LEN)"),
    ] {
        for (ptr, len) in [(65537_i32, 0_i32), (65530, 7), (-1, 1), (0, -1), (0, i32::MAX)] {
            let code = code
                .replace("PTR", &format!("(i32.const {ptr})"))
                .replace("LEN", &format!("(i32.const {len})"));
            let failure = ended(Kind::Trap, run("lock", "", &code).0);
            let expected = format!("`{import}` was given {} bytes at", len.cast_unsigned());
            assert!(failure.message.contains(&expected), "{}", failure.message);
        }
    }
}

#[test]
fn a_descriptor_that_is_not_open_traps() {
    for code in [
        "(call $operate (i32.const OBJECT) (i64.const 0))",
        "(i32.wrap_i64 (call $object_info (i32.const OBJECT)))",
        "(i32.wrap_i64 (call $number_int (i32.const OBJECT) (i32.const 0) (i32.const 0) (i64.const 0) (i64.const 0)))",
        "(i32.trunc_f64_s (call $number_float (i32.const OBJECT) (i32.const 0) (i32.const 0) (f64.const 0) (f64.const 0)))",
    ] {
        for object in [-1, 0, 1025, i32::MAX] {
            for before in ["", "(drop (call $open))"] {
                let body = format!("{before} {}", code.replace("OBJECT", &object.to_string()));
                let failure = ended(Kind::Trap, run("lock", "get", &body).0);
                let expected = format!("no shared object is open as {object}");
                assert!(failure.message.contains(&expected), "{}", failure.message);
            }
        }
    }
}

#[test]
fn numbers_are_changed_without_requests_and_stay_from_call_to_call() {
    let add = "(call $number_int (call $open) (i32.const 1) (i32.const 3) (i64.const 5) (i64.const 0))";
    let wat = using(
        "array:i16:2",
        "",
        &format!("(i32.wrap_i64 (i64.sub {add} (i64.load8_u (i32.const 4096))))"),
    )
    .replace("(func $open", "(data (i32.const 4096) \"\\00\") (func $open");
    let (mut first, notes) = rig(&wat);
    assert!(first.call(Export::Runnable, "[]").result.is_ok());
    let failure = ended(Kind::Error, first.call(Export::Runnable, "[]"));
    assert!(failure.message.contains('5'), "{}", failure.message);
    let notes = notes.lock().unwrap();
    assert!(notes.iter().all(|note| !note.contains("Some")), "{notes:?}");
    drop(notes);

    let float = "(i32.trunc_f64_s (call $number_float (call $open) (i32.const 0) (i32.const OP) (f64.const 2.5) (f64.const 0)))";
    let body = format!(
        "(drop {}) (i32.sub {} (i32.const 2))",
        float.replace("OP", "3"),
        float.replace("OP", "0")
    );
    assert_eq!(run("value:f64", "", &body).0.result.as_deref(), Ok("null"));
}

#[test]
fn an_operation_that_a_number_does_not_have_traps() {
    let int = "(i32.wrap_i64 (call $number_int (call $open) (i32.const INDEX) (i32.const OP) (i64.const 1) (i64.const 0)))";
    let float = "(i32.trunc_f64_s (call $number_float (call $open) (i32.const INDEX) (i32.const OP) (f64.const 1) (f64.const 0)))";
    for (object, code, index, operation, message) in [
        (
            "lock",
            int,
            0,
            0,
            "`number_int` on lock `lock`: it has no numbers",
        ),
        (
            "value:u8",
            int,
            1,
            3,
            "`number_int` on value `value:u8`: index 1 of 1",
        ),
        ("array:u8:9", int, -1, 3, "index 4294967295 of 9"),
        ("value:u8", int, 0, 11, "no operation 11"),
        ("value:u8", int, 0, -1, "no operation -1"),
        ("value:u8", float, 0, 0, "`number_float` on value `value:u8`"),
        ("value:f32", int, 0, 0, "f32"),
        ("value:f32", float, 0, 9, "f32"),
    ] {
        let code = code
            .replace("INDEX", &index.to_string())
            .replace("OP", &operation.to_string());
        let failure = ended(Kind::Trap, run(object, "", &code).0);
        assert!(failure.message.contains(message), "{}", failure.message);
    }
}

#[test]
fn the_info_says_what_an_object_is() {
    for (object, info) in [
        ("lock", 3),
        ("queue:9", 10),
        ("value:i64", 0x0001_0401),
        ("array:f64:10", 0x000a_0a02),
    ] {
        let body = format!("(i64.ne (call $object_info (call $open)) (i64.const {info}))");
        assert_eq!(run(object, "", &body).0.result.as_deref(), Ok("null"), "{object}");
    }
}

#[test]
fn a_name_of_an_operation_is_short() {
    let body = "(i32.add (i32.const 14)
        (call $object_call (call $open) (i32.const 0) (i32.const 65) (i32.const 0) (i32.const 0) (i64.const 0)))";
    let (report, notes) = run("lock", "", body);
    assert_eq!(report.result.as_deref(), Ok("null"));
    assert_eq!(notes.len(), 3, "{notes:?}");
}

#[test]
fn an_object_caller_is_the_running_call() {
    let (mut rig, notes) = rig(&using("lock", "", "(i32.lt_s (call $open) (i32.const 0))"));
    assert!(rig.kept(Export::Callback, 0).result.is_ok());
    let caller = ObjectCaller {
        export: Export::Callback,
        task_id: TaskId(7),
        attempt: 2,
    };
    let expected = format!("start {:?} {} {}", caller.export, caller.task_id, caller.attempt);
    assert_eq!(notes.lock().unwrap()[0], expected);
}
