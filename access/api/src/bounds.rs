//! Bounds that several nouns share, each as the check at the edge, as its place in the description, or as both.

use serde::{Deserialize, Deserializer, de::Error};
use utoipa::openapi::{
    ObjectBuilder, RefOr,
    schema::{AdditionalProperties, ArrayBuilder, Schema, SchemaType, Type},
};

/// The most items of a page.
const PAGE: u32 = 500;

/// Reads how many items a page may have. A number that would be cut is refused, because whoever asks for it would take the page for
/// the whole.
pub(crate) fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    match Option::<u32>::deserialize(deserializer)? {
        Some(limit) if !(1..=PAGE).contains(&limit) => Err(D::Error::custom(format_args!(
            "{limit} is not between 1 and {PAGE}; use next of a page as after for more"
        ))),
        limit => Ok(limit),
    }
}

/// Labels. The check is the façade's.
pub(crate) fn labels() -> RefOr<Schema> {
    let word = || {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[a-zA-Z0-9._/-]{1,63}$"))
    };
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(Schema::from(word().build())))
        .additional_properties(Some(AdditionalProperties::RefOr(word().into())))
        .max_properties(Some(64))
        .description(Some(
            "Labels: at most 64, keys and values of 1 to 63 of a-z, A-Z, 0-9, -, _, . and /.",
        ))
        .into()
}

/// A range of ports that may be left out. The check is the façade's.
pub(crate) fn ports() -> RefOr<Schema> {
    let port = || {
        Schema::from(
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(1024))
                .maximum(Some(65_535))
                .build(),
        )
    };
    ArrayBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .prefix_items([port(), port()])
        .description(Some("The range for published ports: first and last."))
        .build()
        .into()
}
