//! Command guests, through the library.

use mpwasm::Error;
use mpwasm::Kind;

use crate::common::{GUEST, builder, outcome};

const COMMAND: &str = crate::support::COMMAND;

#[test]
fn a_command_gets_its_arguments_and_its_stdin() {
    let pool = builder().start().unwrap();
    let guest = pool.load_bytes("some/folder/tool", COMMAND.as_bytes()).unwrap();
    assert!(guest.info().is_command);
    let cat = pool.submit(guest.task(["cat"]).stdin(*b"\xffbytes")).unwrap();
    let args = pool.submit(guest.task(("args", "x"))).unwrap();
    let result = |json: &str| format!(r#"{{"exit_code":0,{json},"stderr":""}}"#);
    assert_eq!(
        outcome(&cat).result.unwrap().get(),
        result(r#""stdout_base64":"/2J5dGVz""#)
    );
    assert_eq!(
        outcome(&args).result.unwrap().get(),
        result(r#""stdout":"tool\u0000args\u0000x\u0000""#)
    );
    pool.stop().unwrap();
}

#[test]
fn its_exit_code_is_reported() {
    let pool = builder().start().unwrap();
    let guest = pool.load_bytes("tool", COMMAND.as_bytes()).unwrap();
    let error = outcome(&pool.submit(guest.task(["x7"])).unwrap())
        .result
        .unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::Exit, Some(7)));
    assert_eq!(
        error.data.unwrap().get(),
        r#"{"exit_code":7,"stdout":"","stderr":"to stderr\n"}"#
    );
    assert_eq!(error.args.get(), r#"["x7"]"#);
    pool.stop().unwrap();
}

#[test]
fn what_a_command_can_not_be_given_is_refused_when_it_is_pushed() {
    let pool = builder().max_args(100).start().unwrap();
    let command = pool.load_bytes("tool", COMMAND.as_bytes()).unwrap();
    let model = pool.load_bytes("model", GUEST.as_bytes()).unwrap();
    for (task, words) in [
        (command.task((1,)), "strings"),
        (command.task(["a\0b"]), "zero byte"),
        (command.task(["cat"]).stdin([b'x'; 100]), "107 bytes"),
        (model.task(()).stdin(""), "only for command guests"),
    ] {
        let refused = pool.push(task);
        assert!(
            matches!(&refused, Err(Error::InvalidArgs(why)) if why.to_string().contains(words)),
            "{refused:?}"
        );
    }
    pool.stop().unwrap();
}

#[test]
fn the_inputs_of_a_command_never_share_an_instance() {
    let pool = builder().start().unwrap();
    let guest = pool.load_bytes("tool", COMMAND.as_bytes()).unwrap();
    let inputs = ["args", "x7", "args", "args"];
    let results = pool.map(&guest, inputs).unwrap().chunk_size(10);
    let ends: Vec<_> = results
        .map(|outcome| outcome.result.map(|json| json.get().to_owned()))
        .collect();
    let args = r#"{"exit_code":0,"stdout":"tool\u0000args\u0000","stderr":""}"#;
    for (input, end) in inputs.iter().zip(&ends) {
        match end {
            Ok(result) => assert_eq!((*input, result.as_str()), ("args", args)),
            Err(error) => assert_eq!((*input, error.kind), ("x7", Kind::Exit)),
        }
    }
    assert_eq!(ends.len(), inputs.len());
    pool.stop().unwrap();
}
