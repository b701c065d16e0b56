//! Timestamps: milliseconds since 1970 internally, RFC 3339 in UTC externally.

use ::time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr};

/// A point in time, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Current wall-clock time.
    pub fn now() -> Self {
        let since = OffsetDateTime::now_utc() - OffsetDateTime::UNIX_EPOCH;
        Self(i64::try_from(since.whole_milliseconds()).expect("the year is below 290 million"))
    }

    /// This time plus `seconds`.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// Milliseconds from `earlier` to this time.
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// First and last millisecond representable in RFC 3339: of the years 0001 and 9999.
const WRITABLE: (i64, i64) = (-62_135_596_800_000, 253_402_300_799_999);

/// Clamps to the years 0001 to 9999: one bad row must not break a list.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format =
            format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        let millis = self.0.clamp(WRITABLE.0, WRITABLE.1);
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
            .expect("clamped to four digits for the year");
        f.write_str(
            &moment
                .format(&format)
                .expect("the format uses only date and time"),
        )
    }
}

impl FromStr for Timestamp {
    type Err = ::time::error::Parse;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment = OffsetDateTime::parse(text, &Rfc3339)?;
        let millis = moment.unix_timestamp_nanos() / 1_000_000;
        Ok(Self(
            i64::try_from(millis).expect("RFC 3339 has four digits for the year"),
        ))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::DateTime,
            )))
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_round_trips_through_text() {
        let moment = Timestamp(1_795_000_123_045);
        assert_eq!(&moment.to_string()[19..], ".045Z");
        assert_eq!(moment.to_string().parse(), Ok(moment));
    }

    #[test]
    fn every_timestamp_formats_and_parses() {
        for (millis, text) in [
            (i64::MIN, "0001-01-01T00:00:00.000Z"),
            (WRITABLE.0 - 1, "0001-01-01T00:00:00.000Z"),
            (WRITABLE.0, "0001-01-01T00:00:00.000Z"),
            (0, "1970-01-01T00:00:00.000Z"),
            (WRITABLE.1, "9999-12-31T23:59:59.999Z"),
            (WRITABLE.1 + 1, "9999-12-31T23:59:59.999Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp(millis).to_string(), text);
            assert_eq!(
                serde_json::to_string(&Timestamp(millis)).unwrap(),
                format!("\"{text}\"")
            );
            assert_eq!(text.parse(), Ok(Timestamp(millis.clamp(WRITABLE.0, WRITABLE.1))));
        }
        assert_eq!(Timestamp(i64::MAX).plus_seconds(i64::MAX), Timestamp(i64::MAX));
        assert_eq!(Timestamp(i64::MIN).millis_since(Timestamp(i64::MAX)), i64::MIN);
    }
}
