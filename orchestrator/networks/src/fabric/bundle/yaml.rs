//! JSON values as readable YAML.

use serde_json::Value;
use std::fmt::Write;

/// Formats a document.
pub(crate) fn yaml(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0);
    text
}

/// Writes one entry per line: scalars as JSON, which is valid YAML, and multi-line strings as blocks.
fn block(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, entry) in map {
                let _infallible = write!(text, "{indent}{}:", Value::from(name.as_str()));
                entry_of(text, entry, depth);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for entry in list {
                let _infallible = write!(text, "{indent}-");
                entry_of(text, entry, depth);
            }
        }
        scalar => {
            let _infallible = writeln!(text, "{indent}{scalar}");
        }
    }
}

/// Writes the value after a key or a dash.
fn entry_of(text: &mut String, value: &Value, depth: usize) {
    let _infallible = match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            block(text, value, depth + 1);
            Ok(())
        }
        Value::Array(list) if !list.is_empty() => {
            text.push('\n');
            block(text, value, depth + 1);
            Ok(())
        }
        Value::String(lines) if is_lines(lines) => {
            let indent = "  ".repeat(depth + 1);
            text.push_str(" |\n");
            lines
                .lines()
                .try_for_each(|line| writeln!(text, "{indent}{line}"))
        }
        scalar => writeln!(text, " {scalar}"),
    };
}

/// Returns true if a text can be written as a block: printable ASCII lines without leading spaces, each
/// terminated.
fn is_lines(text: &str) -> bool {
    text.ends_with('\n')
        && text.lines().all(|line| {
            !line.is_empty() && !line.starts_with(' ') && line.is_ascii() && !line.contains(char::is_control)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_written_one_entry_per_line() {
        let value = json!({"a": {"b": ["x", {"c": 1, "d": null}], "e": []}, "pem": "one\ntwo\n", "odd": " x\n", "last": true});
        let expected = concat!(
            "\"a\":\n  \"b\":\n    - \"x\"\n    -\n      \"c\": 1\n      \"d\": null\n  \"e\": []\n",
            "\"last\": true\n\"odd\": \" x\\n\"\n\"pem\": |\n  one\n  two\n",
        );
        assert_eq!(yaml(&value), expected);
    }
}
