//! A submitted form: its input, which is kept when it is refused, and what was wrong with which field.

use crate::{
    error::Refused,
    session::{Manner, Visit},
};
use axum::extract::{FromRequest, Request};
use chainpool_api::{Problem, UnknownWord};
use chainpool_orchestrator::{Caller, Error, RequestKey};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, str::FromStr};
use uuid::Uuid;

/// The field that makes a form sent twice one request.
const KEY: &str = "request_key";

/// A form as it was filled in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form {
    values: Vec<(String, String)>,
    /// Why it was refused.
    pub(crate) problem: Option<Refused>,
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Refused;
    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let read = axum::extract::Form::<Vec<(String, String)>>::from_request(request, state).await;
        let values = read
            .map_err(|rejection| Refused::from(Error::field("form", rejection.body_text())))?
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

    /// A field's input; empty when it was left empty.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.values
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// All inputs of a field that comes several times.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a box was ticked.
    pub(crate) fn ticked(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// A field's input without blanks around it, when there is any.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let text = self.get(name).trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// What is wrong with a field.
    pub(crate) fn error(&self, name: &str) -> &str {
        self.problem
            .as_ref()
            .and_then(|refused| refused.problem.fields.get(name))
            .map_or("", String::as_str)
    }

    /// Why the form was refused.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref().map(|refused| &refused.problem)
    }

    /// The same form, refused. A signed-out caller and our own faults are not the form's matter.
    pub(crate) fn refused(mut self, error: Error, manner: &Manner) -> Result<Self, Refused> {
        let internal = matches!(error, Error::Internal(_));
        let mut refused = Refused::from(error);
        refused
            .problem
            .request_id
            .get_or_insert_with(|| manner.request_id.clone());
        if internal {
            return Err(refused);
        }
        self.values
            .retain(|(name, _)| name != KEY && !name.contains("password"));
        self.problem = Some(refused);
        Ok(self)
    }

    /// A fresh value for the field that makes a form sent twice one request.
    pub(crate) fn key(&self) -> String {
        match self.get(KEY) {
            "" => Uuid::now_v7().to_string(),
            key => key.to_owned(),
        }
    }

    /// The caller, tied to this form: sent twice, it is done once.
    pub(crate) fn caller(&self, visit: &Visit) -> Caller {
        let mut caller = visit.caller.clone();
        let key = self.get(KEY);
        if !key.is_empty() {
            let mut hash = Sha256::new();
            for (name, value) in self.values.iter().filter(|(name, _)| name != KEY) {
                for part in [name, value] {
                    hash.update(part.len().to_be_bytes());
                    hash.update(part.as_bytes());
                }
            }
            let path = visit.manner.path.split('?').next().unwrap_or_default();
            caller.key = Some(RequestKey {
                route: format!("POST {path}"),
                key: key.to_owned(),
                body: hash.finalize().into(),
            });
        }
        caller
    }

    /// Begins reading fields into typed values.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader {
            form: self,
            errors: BTreeMap::new(),
        }
    }
}

/// Reads fields into typed values and gathers what is wrong with all of them.
pub(crate) struct Reader<'a> {
    /// The form.
    pub(crate) form: &'a Form,
    errors: BTreeMap<String, String>,
}

impl Reader<'_> {
    /// A number; absent when the field is empty.
    pub(crate) fn number<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let text = self.form.text(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.wrong(name, format!("{text:?} is not a number that fits here"));
        }
        number
    }

    /// One of several words; absent when the field is empty.
    pub(crate) fn word<T: FromStr<Err = UnknownWord>>(&mut self, name: &str) -> Option<T> {
        match self.form.text(name)?.parse() {
            Ok(word) => Some(word),
            Err(unknown) => {
                self.wrong(name, unknown.to_string());
                None
            }
        }
    }

    /// Labels: `name=value`, with blanks, commas or line ends between.
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
                _ => self.wrong(name, format!("{part:?} is not a label; write name=value")),
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

    /// Notes what is wrong with a field.
    pub(crate) fn wrong(&mut self, name: &str, why: impl Into<String>) {
        self.errors.entry(name.to_owned()).or_insert_with(|| why.into());
    }

    /// The value, when nothing was wrong.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Error> {
        if self.errors.is_empty() {
            Ok(value)
        } else {
            Err(Error::fields(self.errors))
        }
    }
}

/// A text as the number or the yes or no that it is.
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

/// A word of a filter in the address; absent when empty.
pub(crate) fn filter_word<T: FromStr<Err = UnknownWord>>(
    visit: &Visit,
    name: &str,
) -> Result<Option<T>, Refused> {
    visit
        .query(name)
        .map(|word| word.parse())
        .transpose()
        .map_err(|unknown: UnknownWord| Error::field(name, unknown.to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_told_at_once() {
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
    fn a_refused_form_keeps_its_input_but_no_password() {
        let form = Form::filled([
            ("name", "h1".to_owned()),
            ("registry_password", "hush".to_owned()),
        ]);
        let manner = Manner {
            path: "/".into(),
            theme: "auto",
            https: false,
            fragment: false,
            request_id: "r-1".into(),
            from: String::new(),
            secret: None,
            site: std::sync::Arc::default(),
        };
        let form = form.refused(Error::field("name", "is taken"), &manner).unwrap();
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
