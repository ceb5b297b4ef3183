//! Compares reports with the schema of their JSON form.

use serde_json::{Map, Value, json};

use super::{BadLine, BadLineReason, BadLines};
use crate::aggregator::Aggregator;
use crate::log_reader::LogReader;

const SCHEMA: &str = include_str!("../../../../docs/reference/report.schema.json");

/// Asserts that a value has the form of a schema: all fields of an object are described, required and of their types.
fn assert_form(root: &Value, schema: &Value, value: &Value, path: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let definition = &root["$defs"][name.trim_start_matches("#/$defs/")];
        return assert_form(root, definition, value, path);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let schema = any
            .iter()
            .find(|schema| (schema["type"] == "null") == value.is_null());
        return assert_form(root, schema.unwrap(), value, path);
    }
    if let Some(one) = schema["oneOf"].as_array() {
        return assert!(
            one.iter().any(|schema| schema["const"] == *value),
            "{path}: {value}"
        );
    }
    let name = type_name(value);
    let types = [&schema["type"]];
    let mut types = schema["type"]
        .as_array()
        .map_or(types.to_vec(), |types| types.iter().collect())
        .into_iter();
    assert!(
        types.any(|ty| ty == name),
        "{path} is {name}, not {}",
        schema["type"]
    );
    if let Some(values) = value.as_array() {
        values
            .iter()
            .for_each(|value| assert_form(root, &schema["items"], value, &format!("{path}[]")));
    }
    if let Some(fields) = value.as_object() {
        assert_fields(root, schema, fields, path);
    }
}

/// Asserts that the fields of an object are those of a schema.
fn assert_fields(root: &Value, schema: &Value, fields: &Map<String, Value>, path: &str) {
    let Some(properties) = schema["properties"].as_object() else {
        let of_each = &schema["additionalProperties"];
        return fields
            .values()
            .for_each(|value| assert_form(root, of_each, value, &format!("{path}.*")));
    };
    for (name, value) in fields {
        assert!(
            properties.contains_key(name),
            "{path}.{name} is not in the schema"
        );
        assert_form(root, &properties[name], value, &format!("{path}.{name}"));
    }
    for name in properties.keys() {
        assert!(fields.contains_key(name), "{path}.{name} is not in the report");
        assert!(
            schema["required"].as_array().unwrap().contains(&json!(name)),
            "{path}.{name} is not required"
        );
    }
}

/// Returns the name of a value's type in schemas.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn assert_is_described(logs: &[&str], bad_lines: Option<BadLines>) {
    let mut reader = LogReader::default();
    let mut aggregator = Aggregator::new(10);
    for (n, log) in logs.iter().enumerate() {
        reader
            .read(&n.to_string(), log.as_bytes(), &mut aggregator)
            .unwrap();
    }
    let report = aggregator.finish(bad_lines.unwrap_or_else(|| reader.bad_lines()));
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    assert_form(
        &schema,
        &schema,
        &serde_json::to_value(&report).unwrap(),
        "report",
    );
}

#[test]
fn reports_have_the_form_of_the_committed_schema() {
    let ran = concat!(
        r#"{"id":3,"key":"a","model":"","status":"trap","error":{"kind":"trap","message":"1","backtrace":["f"]},"attempts":2,"#,
        r#""tried":[{"attempt":1,"kind":"crash","message":"x","worker":1,"pid":2,"run_us":3}],"worker":2,"pid":4,"#,
        r#""started_us":5000000,"queued_us":6,"run_us":7,"cpu_us":9,"memory_peak":8,"stdout_bytes":9,"#,
        r#""output_truncated":true,"callback":"trap"}"#
    );
    let never_ran = concat!(
        r#"{"id":3,"key":null,"model":"","status":"cancelled","error":null,"attempts":1,"worker":null,"pid":null,"#,
        r#""started_us":null,"queued_us":null,"run_us":null,"cpu_us":null,"memory_peak":null,"stdout_bytes":0,"#,
        r#""output_truncated":false,"callback":"none"}"#
    );
    assert_is_described(&[], None);
    assert_is_described(&[ran, &format!("{never_ran}\n{never_ran}\n[1]\n\0\n{{")], None);
    for reason in [
        BadLineReason::TooLong,
        BadLineReason::NotUtf8,
        BadLineReason::NotJson,
        BadLineReason::NotRecord,
        BadLineReason::Torn,
    ] {
        let line = BadLine {
            log: "a".to_owned(),
            line: 1,
            reason,
            why: None,
        };
        assert_is_described(
            &[],
            Some(BadLines {
                total: 1,
                first: vec![line],
                ..BadLines::default()
            }),
        );
    }
}
