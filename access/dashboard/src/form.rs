//! A submitted form: its input, which is kept on rejection, and its field errors.

use crate::{
    error::Rejection,
    request::{AuthedRequest, RequestInfo},
};
use axum::extract::{FromRequest, Request};
use chainpool_api::{Problem, UnknownValue};
use chainpool_orchestrator::{Caller, Error, RequestKey};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, str::FromStr};
use uuid::Uuid;

/// The idempotency key: a form that is submitted twice is one request.
const KEY: &str = "request_key";

/// A submitted form.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form {
    values: Vec<(String, String)>,
    /// The rejection, if any.
    pub(crate) problem: Option<Rejection>,
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Rejection;
    async fn from_request(request: Request, state: &S) -> Result<Self, Rejection> {
        let read = axum::extract::Form::<Vec<(String, String)>>::from_request(request, state).await;
        let values = read
            .map_err(|rejection| Rejection::from(Error::field("form", rejection.body_text())))?
            .0;
        Ok(Self {
            values,
            problem: None,
        })
    }
}

impl Form {
    /// A form filled in with these values.
    pub(crate) fn filled(values: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self {
            values: values
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            problem: None,
        }
    }

    /// Fills in one more field.
    pub(crate) fn fill(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.values.push((name.into(), value.into()));
    }

    /// A field's input; empty if the field is absent.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.values
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// All inputs of a repeated field.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// True if a checkbox is set.
    pub(crate) fn ticked(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// A field's trimmed input; `None` if empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let text = self.get(name).trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The error of a field; empty if none.
    pub(crate) fn error(&self, name: &str) -> &str {
        self.problem
            .as_ref()
            .and_then(|rejection| rejection.problem.fields.get(name))
            .map_or("", String::as_str)
    }

    /// The error body of the rejection.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref().map(|rejection| &rejection.problem)
    }

    /// The same form, rejected. Internal errors are returned instead.
    pub(crate) fn rejected(mut self, error: Error, info: &RequestInfo) -> Result<Self, Rejection> {
        let internal = matches!(error, Error::Internal(_));
        let mut rejection = Rejection::from(error);
        rejection
            .problem
            .request_id
            .get_or_insert_with(|| info.request_id.clone());
        if internal {
            return Err(rejection);
        }
        self.values
            .retain(|(name, _)| name != KEY && !name.contains("password"));
        self.problem = Some(rejection);
        Ok(self)
    }

    /// The idempotency key of the form; generated if absent.
    pub(crate) fn key(&self) -> String {
        match self.get(KEY) {
            "" => Uuid::now_v7().to_string(),
            key => key.to_owned(),
        }
    }

    /// The caller with the idempotency key of this form: a repeated submission runs once.
    pub(crate) fn caller(&self, request: &AuthedRequest) -> Caller {
        let mut caller = request.caller.clone();
        let key = self.get(KEY);
        if !key.is_empty() {
            let mut hash = Sha256::new();
            for (name, value) in self.values.iter().filter(|(name, _)| name != KEY) {
                for part in [name, value] {
                    hash.update(part.len().to_be_bytes());
                    hash.update(part.as_bytes());
                }
            }
            let path = request.info.path.split('?').next().unwrap_or_default();
            caller.key = Some(RequestKey {
                route: format!("POST {path}"),
                key: key.to_owned(),
                body: hash.finalize().into(),
            });
        }
        caller
    }

    /// The names of all inputs.
    #[cfg(test)]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(name, _)| name.as_str())
    }

    /// A reader of typed field values.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader {
            form: self,
            errors: BTreeMap::new(),
        }
    }
}

/// Parses fields into typed values and collects all field errors.
pub(crate) struct Reader<'a> {
    /// The form.
    pub(crate) form: &'a Form,
    errors: BTreeMap<String, String>,
}

impl Reader<'_> {
    /// A number; `None` if the field is empty.
    pub(crate) fn number<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let text = self.form.text(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.wrong(name, format!("{text:?} is not a number in the valid range"));
        }
        number
    }

    /// An enum value; `None` if the field is empty.
    pub(crate) fn choice<T: FromStr<Err = UnknownValue>>(&mut self, name: &str) -> Option<T> {
        match self.form.text(name)?.parse() {
            Ok(word) => Some(word),
            Err(unknown) => {
                self.wrong(name, unknown.to_string());
                None
            }
        }
    }

    /// Labels: `key=value`, separated by spaces, commas or line breaks.
    pub(crate) fn labels(&mut self, name: &str) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for part in self
            .form
            .get(name)
            .split([' ', ',', '\n', '\r', '\t'])
            .filter(|part| !part.is_empty())
        {
            match part.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    labels.insert(key.to_owned(), value.to_owned());
                }
                _ => self.wrong(name, format!("{part:?} is not a label; write key=value")),
            }
        }
        labels
    }

    /// Parameters on one line: `validators=4 block_interval_ms=500`.
    pub(crate) fn parameters(&mut self, name: &str, text: &str) -> Map<String, Value> {
        let mut parameters = Map::new();
        for part in text.split_whitespace() {
            match part.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    parameters.insert(key.to_owned(), typed(value));
                }
                _ => self.wrong(name, format!("{part:?} is not a parameter; write name=value")),
            }
        }
        parameters
    }

    /// Records a field error.
    pub(crate) fn wrong(&mut self, name: &str, why: impl Into<String>) {
        self.errors.entry(name.to_owned()).or_insert_with(|| why.into());
    }

    /// The value, or all field errors.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Error> {
        if self.errors.is_empty() {
            Ok(value)
        } else {
            Err(Error::fields(self.errors))
        }
    }
}

/// A text as a number or boolean if it is one, otherwise as a string.
pub(crate) fn typed(text: &str) -> Value {
    if let Ok(number) = text.parse::<i64>() {
        return Value::from(number);
    }
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => Value::from(text),
    }
}

/// An enum filter in the address; `None` if empty.
pub(crate) fn filter_word<T: FromStr<Err = UnknownValue>>(
    request: &AuthedRequest,
    name: &str,
) -> Result<Option<T>, Rejection> {
    request
        .query(name)
        .map(|word| word.parse())
        .transpose()
        .map_err(|unknown: UnknownValue| Error::field(name, unknown.to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_field_errors_are_reported_together() {
        let form = Form::filled([
            ("capacity", "many".to_owned()),
            ("labels", "team".to_owned()),
            ("share", "2".to_owned()),
        ]);
        let mut reader = form.reader();
        assert_eq!(reader.number::<u32>("capacity"), None);
        assert_eq!(reader.number::<u32>("share"), Some(2));
        assert!(reader.labels("labels").is_empty());
        let problem = reader.finish(()).unwrap_err().problem();
        assert_eq!(problem.fields.keys().collect::<Vec<_>>(), ["capacity", "labels"]);
    }

    #[test]
    fn parameters_have_types() {
        let form = Form::default();
        let mut reader = form.reader();
        let read = reader.parameters("fill", "validators=7 empty_blocks=false name=x");
        assert_eq!(
            Value::Object(read),
            serde_json::json!({"validators": 7, "empty_blocks": false, "name": "x"})
        );
    }

    #[test]
    fn a_rejected_form_keeps_its_input_but_no_password() {
        let form = Form::filled([
            ("name", "h1".to_owned()),
            ("registry_password", "hush".to_owned()),
        ]);
        let info = RequestInfo {
            path: "/".into(),
            theme: "auto",
            https: false,
            fragment: false,
            request_id: "r-1".into(),
            client_address: String::new(),
            secret: None,
            site: std::sync::Arc::default(),
        };
        let form = form.rejected(Error::field("name", "is taken"), &info).unwrap();
        assert_eq!(
            (
                form.get("name"),
                form.get("registry_password"),
                form.error("name")
            ),
            ("h1", "", "is taken")
        );
        assert_eq!(form.problem().unwrap().request_id.as_deref(), Some("r-1"));
    }
}
