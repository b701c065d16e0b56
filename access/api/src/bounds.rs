//! Shared limits of fields: deserialization checks, OpenAPI schemas, or both.

use serde::{Deserialize, Deserializer, de::Error};
use utoipa::openapi::{
    ObjectBuilder, RefOr,
    schema::{AdditionalProperties, ArrayBuilder, Schema, SchemaType, Type},
};

/// Maximum number of items of a page.
const PAGE: u32 = 500;

/// Maximum number of characters of a text of a section or drawing.
const TEXT: usize = 200;

/// Shortens a text to the maximum. An ellipsis marks the cut.
pub(crate) fn shorten(text: &mut String) {
    if text.chars().count() > TEXT {
        *text = text.chars().take(TEXT - 1).chain(['…']).collect();
    }
}

/// Shortens all texts.
pub(crate) fn shorten_all(texts: &mut [String]) {
    for text in texts {
        shorten(text);
    }
}

/// Parses the page size. A larger number is rejected and not capped: the caller would take the page for the
/// whole list.
pub(crate) fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    match Option::<u32>::deserialize(deserializer)? {
        Some(limit) if !(1..=PAGE).contains(&limit) => Err(D::Error::custom(format_args!(
            "{limit} is not between 1 and {PAGE}; for more items pass the page's `next` as `after`"
        ))),
        limit => Ok(limit),
    }
}

/// Schema of labels. The façade validates them.
pub(crate) fn labels() -> RefOr<Schema> {
    let text = || {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[a-zA-Z0-9._/-]{1,63}$"))
    };
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(Schema::from(text().build())))
        .additional_properties(Some(AdditionalProperties::RefOr(text().into())))
        .max_properties(Some(64))
        .description(Some(
            "Labels: at most 64; keys and values of 1 to 63 characters from a-z, A-Z, 0-9, -, _, . and /.",
        ))
        .into()
}

/// Schema of an optional port range. The façade validates it.
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
        .description(Some("Range of published ports: first and last."))
        .build()
        .into()
}
