//! Schemas of non-JSON bodies: bytes and event streams, whose schema in `OpenAPI` 3.1 is that of one event.

use chainpool_api as api;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, Ref, RefOr, SchemaFormat,
        schema::{OneOfBuilder, Schema, Type},
    },
};

/// Raw bytes.
pub(crate) enum Bytes {}

impl ToSchema for Bytes {}

impl PartialSchema for Bytes {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(format))
            .into()
    }
}

/// One event of an operation's stream.
pub(crate) enum OperationEvent {}

impl ToSchema for OperationEvent {}

impl PartialSchema for OperationEvent {
    fn schema() -> RefOr<Schema> {
        event(
            "operation",
            "Current state of the operation.",
            reference::<api::Operation>(),
        )
        .into()
    }
}

/// One event of the stream of changes.
pub(crate) enum ChangeEvent {}

impl ToSchema for ChangeEvent {}

impl PartialSchema for ChangeEvent {
    fn schema() -> RefOr<Schema> {
        let missed = ObjectBuilder::new()
            .property(
                "missed",
                ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)),
            )
            .required("missed");
        OneOfBuilder::new()
            .item(event(
                "change",
                "Changed resource, to be read again.",
                reference::<api::Event>(),
            ))
            .item(event(
                "lagged",
                "Number of lost changes; everything must be read again.",
                missed.into(),
            ))
            .into()
    }
}

fn reference<T: ToSchema>() -> RefOr<Schema> {
    Ref::from_schema_name(T::name()).into()
}

/// Schema of an event: its name, and its data as JSON in a string.
fn event(name: &str, about: &str, data: RefOr<Schema>) -> ObjectBuilder {
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some([name]));
    let data = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(about))
        .content_media_type("application/json")
        .content_schema(Some(data));
    ObjectBuilder::new()
        .property("event", name)
        .property("data", data)
        .required("event")
        .required("data")
}
