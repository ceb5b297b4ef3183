use super::*;

#[test]
fn a_backtrace_names_functions_as_their_programmer_did() {
    let frame = |frame: &str| demangle(frame.to_owned());
    assert_eq!(
        frame("_ZN12mpwasm_guest4call8runnable17h9e71d11b23a318c9E @ 0xba41"),
        "mpwasm_guest::call::runnable @ 0xba41"
    );
    assert_eq!(frame("spin.runnable @ 0x157c0"), "spin.runnable @ 0x157c0");
    assert_eq!(frame("_ZN"), "_ZN");
    assert_eq!(
        frame("_ZN7$u202e$17h0123456789abcdefE @ 0x1"),
        "\\u{202e} @ 0x1",
        "escaped after demangling"
    );
}

#[test]
fn args_that_are_not_json_become_null() {
    let error = TaskError::new(Failure::new(Kind::Invalid, "bad"), "[1,", TaskId(0), 1);
    assert_eq!(error.args.get(), "null");
}

#[test]
fn a_record_has_the_fields_of_the_contract_in_their_order() {
    let failure = Failure {
        code: Some(3),
        ..Failure::new(Kind::Exit, "proc_exit(3)")
    };
    let outcome = Outcome {
        id: TaskId(7),
        key: Some("k".to_owned()),
        model: "m".to_owned(),
        result: Err(TaskError::new(failure, "[1]", TaskId(7), 1)),
        attempts: 1,
        tried: Vec::new(),
        usage: Usage {
            worker: Some(WorkerNumber(0)),
            pid: Some(9),
            run_us: Some(5),
            stdout_bytes: 2,
            ..Usage::default()
        },
        callback: CallbackStatus::Failed(Kind::Trap),
    };
    let expected = concat!(
        r#"{"id":7,"key":"k","model":"m","status":"exit","error":{"kind":"exit","message":"proc_exit(3)","code":3,"#,
        r#""args":[1],"id":7,"attempt":1},"attempts":1,"worker":0,"pid":9,"started_us":null,"#,
        r#""queued_us":null,"run_us":5,"cpu_us":null,"memory_peak":null,"stdout_bytes":2,"output_truncated":false,"callback":"trap"}"#
    );
    assert_eq!(serde_json::to_string(&outcome).unwrap(), expected);
}

#[test]
fn a_record_has_no_tokens() {
    let token = "0123456789abcdef".repeat(2);
    let handle = format!(r#"{{"object":"jobs","token":"{token}"}}"#);
    let json = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let mut outcome = Outcome {
        id: TaskId(7),
        key: None,
        model: String::new(),
        result: Ok(json(&format!("[{handle},1.50]"))),
        attempts: 2,
        tried: vec![Attempt {
            attempt: 1,
            kind: Kind::Error,
            message: handle.clone(),
            worker: WorkerNumber(0),
            pid: 1,
            run_us: 1,
        }],
        usage: Usage::default(),
        callback: CallbackStatus::None,
    };
    let record = serde_json::to_string(&outcome).unwrap();
    assert!(
        record.contains(r#""result":[{"object":"jobs"},1.50]"#),
        "{record}"
    );
    assert!(!record.contains(&token), "{record}");
    let failure = Failure {
        data: Some(handle.clone()),
        ..Failure::new(Kind::Error, format!("cannot use {handle}"))
    };
    let error = TaskError::new(failure, &format!("[{handle}]"), TaskId(7), 2);
    assert_eq!(
        error.to_string(),
        r#"task 7 ended as error: cannot use {"object":"jobs"}"#
    );
    // The guest's `error_callback` gets the args of the task as they are.
    assert!(serde_json::to_string(&error).unwrap().contains(&token));
    outcome.result = Err(error);
    let record = serde_json::to_string(&outcome).unwrap();
    for part in [
        r#""data":{"object":"jobs"}"#,
        r#""args":[{"object":"jobs"}]"#,
        r#""message":"cannot use {\"object\":\"jobs\"}""#,
    ] {
        assert!(record.contains(part), "{record}");
    }
    assert!(!record.contains(&token), "{record}");
}
