//! Typed columns: enums, JSON documents and timestamps, parsed when a row is read.

use chainpool_api::Timestamp;
use sea_orm::{ColIdx, DbErr, DeriveValueType, QueryResult, TryGetError, TryGetable, Value, sea_query};
use sea_query::{ArrayType, ColumnType, Nullable, ValueType, ValueTypeErr};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Display, str::FromStr};

/// A column that holds the name of an enum variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnumColumn<T>(pub T);

/// A column that holds a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Json<T>(pub T);

/// A column that holds a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Timestamp);

/// The version of a row: the number of its changes on which a decision may depend.
///
/// A save compares the version that was read and is refused as [`Error::Overtaken`](crate::Error::Overtaken) if
/// the stored row has another one. A row that was read twice with equal versions is the same row, unchanged in
/// every column but those that only record what was last seen: `checked_at` and `height` of a cluster. Any other
/// statement that changes a row increments its version, also if it changes a single column (a lease taken by an
/// apply, a host that stops to offer its clusters, an operation claimed).
///
/// It covers one row. A cluster's row contains its lease (`leased`) and its operation (`operation_id`), so its
/// version changes with them; its host has a version of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, DeriveValueType)]
pub struct RowVersion(i64);

impl RowVersion {
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl From<Timestamp> for Moment {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp)
    }
}

fn foreign(error: impl Display) -> TryGetError {
    TryGetError::DbErr(DbErr::Type(format!(
        "the database holds a value that this version cannot read: {error}"
    )))
}

macro_rules! text_column {
    ($name:ident, [$($bound:tt)*], $write:expr, $read:expr) => {
        impl<T: $($bound)*> From<$name<T>> for Value {
            fn from($name(value): $name<T>) -> Self {
                let write: fn(&T) -> String = $write;
                Value::String(Some(write(&value)))
            }
        }

        impl<T: $($bound)*> TryGetable for $name<T> {
            fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
                let text = String::try_get_by(row, index)?;
                let read: fn(&str) -> Result<T, TryGetError> = $read;
                read(&text).map($name)
            }
        }

        impl<T: $($bound)*> ValueType for $name<T> {
            fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
                let text = <String as ValueType>::try_from(value)?;
                let read: fn(&str) -> Result<T, TryGetError> = $read;
                read(&text).map($name).map_err(|_| ValueTypeErr)
            }

            fn type_name() -> String {
                stringify!($name).to_owned()
            }

            fn array_type() -> ArrayType {
                ArrayType::String
            }

            fn column_type() -> ColumnType {
                ColumnType::Text
            }
        }

        impl<T> Nullable for $name<T> {
            fn null() -> Value {
                Value::String(None)
            }
        }
    };
}

text_column!(
    EnumColumn,
    [Display + FromStr<Err: Display>],
    T::to_string,
    |text| text.parse().map_err(foreign)
);
text_column!(
    Json,
    [Serialize + DeserializeOwned],
    |value| serde_json::to_string(value).expect("our documents have string keys"),
    |text| { serde_json::from_str(text).map_err(foreign) }
);

impl From<Moment> for Value {
    fn from(moment: Moment) -> Self {
        Value::BigInt(Some(moment.0.0))
    }
}

impl TryGetable for Moment {
    fn try_get_by<I: ColIdx>(row: &QueryResult, index: I) -> Result<Self, TryGetError> {
        i64::try_get_by(row, index).map(|millis| Self(Timestamp(millis)))
    }
}

impl ValueType for Moment {
    fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
        <i64 as ValueType>::try_from(value).map(|millis| Self(Timestamp(millis)))
    }

    fn type_name() -> String {
        "Moment".to_owned()
    }

    fn array_type() -> ArrayType {
        ArrayType::BigInt
    }

    fn column_type() -> ColumnType {
        ColumnType::BigInteger
    }
}

impl Nullable for Moment {
    fn null() -> Value {
        Value::BigInt(None)
    }
}
