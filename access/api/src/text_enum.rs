//! Enums with one spelling in JSON, the database, URLs and the command line.

use utoipa::openapi::{
    ObjectBuilder, RefOr,
    schema::{Schema, Type},
};

/// A value outside the allowed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not known; use one of: {allowed}")]
pub struct UnknownValue {
    /// The given value.
    pub value: String,
    /// The allowed values, separated by commas.
    pub allowed: String,
}

macro_rules! text_enum {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[doc = $vdoc])* #[serde(rename = $word)] $variant),+ }

        // utoipa's derive does not see a `rename` with a literal from a macro and would emit `Variant` for
        // `"word"`.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $crate::text_enum::schema(concat!($($doc),*), &[$(($word, concat!($($vdoc),*))),+])
            }
        }

        impl utoipa::ToSchema for $name {}

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Spelling of this value.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::UnknownValue;
            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(crate::UnknownValue { value: word.to_owned(), allowed: [$($word),+].join(", ") }),
                }
            }
        }
    };
}

pub(crate) use text_enum;

/// Schema of an enum: values, and in the description the meaning of each.
pub(crate) fn schema(about: &str, words: &[(&str, &str)]) -> RefOr<Schema> {
    let lines = words
        .iter()
        .map(|(word, about)| format!("\n- `{word}`: {}", about.trim()));
    let description = format!("{}\n{}", about.trim(), lines.collect::<String>());
    let words = words.iter().map(|(word, _)| *word);
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
        .description(Some(description))
        .into()
}

#[cfg(test)]
mod tests {
    use serde::{Serialize, de::DeserializeOwned};
    use serde_json::{Value, json};
    use std::{fmt::Debug, str::FromStr};
    use utoipa::ToSchema;

    /// Asserts that serde, `Display` and `FromStr` use the words of the schema.
    fn assert_words<T>(name: &str, all: &[T])
    where
        T: ToSchema + Serialize + DeserializeOwned + FromStr<Err: Debug> + ToString + PartialEq + Debug,
    {
        let schema = serde_json::to_value(T::schema()).unwrap();
        let words: Vec<Value> = all
            .iter()
            .map(|value| serde_json::to_value(value).unwrap())
            .collect();
        assert_eq!(
            (schema["type"].as_str(), &schema["enum"]),
            (Some("string"), &json!(words)),
            "{name}"
        );
        assert_eq!(T::name(), name);
        for (value, word) in all.iter().zip(words) {
            let text = word.as_str().unwrap();
            assert_eq!(
                (value.to_string().as_str(), &text.parse::<T>().unwrap()),
                (text, value)
            );
            assert_eq!(&serde_json::from_value::<T>(word.clone()).unwrap(), value);
            assert!(
                schema["description"]
                    .as_str()
                    .unwrap()
                    .contains(&format!("\n- `{text}`: ")),
                "{name}: {schema}"
            );
        }
    }

    macro_rules! assert_words {
        ($($name:ident),+) => { $(assert_words(stringify!($name), crate::$name::ALL);)+ };
    }

    #[test]
    fn every_enum_is_described_by_its_serialized_words() {
        assert_words!(
            ClusterState,
            HealthState,
            HostState,
            LeaseState,
            LogLevel,
            LogType,
            Mark,
            Noun
        );
        assert_words!(OperationKind, OperationState, ParameterKind, Role, StepState);
    }
}
