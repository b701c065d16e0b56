//! The OpenAPI document: generated from the handlers, completed with the parts common to all routes.

use chainpool_api::{
    ClusterState, Event, HealthState, HostState, LeaseState, Noun, Operation, OperationKind, OperationState,
    Platform, Problem,
};
use utoipa::{
    OpenApi as _,
    openapi::{
        Content, OpenApi, Ref, RefOr, Required, ResponseBuilder, Server,
        path::{Operation as Route, ParameterBuilder, ParameterIn, PathItem},
        schema::{ArrayItems, Object, ObjectBuilder, Schema, SchemaType, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

/// Base of the document. It lists the schemas used only in queries or event streams, which utoipa does not
/// collect.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Chainpool", description = "Pool of ready-to-use blockchain networks on your own machines."),
    tags(
        (name = "hosts", description = "Machines that run clusters."),
        (name = "clusters", description = "Blockchain networks."),
        (name = "leases", description = "Leases of clusters."),
        (name = "operations", description = "Accepted work with its progress and result, and event streams."),
        (name = "accounts", description = "Accounts, sessions, API tokens."),
        (name = "status", description = "Overall status, network types, backup."),
    ),
    components(schemas(
        ClusterState, Event, HealthState, HostState, LeaseState, Noun, Operation, OperationKind, OperationState, Platform, Problem
    ))
)]
struct Base;

/// The document without routes.
pub(crate) fn base() -> OpenApi {
    Base::openapi()
}

/// Error responses common to many routes: status, component name, description.
const COMMON_ERRORS: [(&str, &str, &str); 9] = [
    ("400", "Invalid", "Invalid request; `fields` has the errors."),
    (
        "401",
        "Unauthenticated",
        "Missing or invalid credentials; `Authorization: Bearer …` required.",
    ),
    (
        "404",
        "NotFound",
        "Resource does not exist or is not visible to the caller.",
    ),
    (
        "413",
        "TooLarge",
        "Body above 1 MiB, or above 8 KiB on public routes.",
    ),
    (
        "422",
        "KeyReused",
        "Idempotency key already used for another request.",
    ),
    (
        "429",
        "TooMany",
        "Too many requests; `Retry-After` has the delay in seconds.",
    ),
    (
        "500",
        "Internal",
        "Internal error; the server's log has the cause under `request_id`.",
    ),
    (
        "503",
        "Unavailable",
        "Platform unreachable, or request timed out.",
    ),
    ("507", "StorageFull", "Server disk full; nothing changed."),
];

/// The document of these routes as JSON, for an API below a base path.
pub(crate) fn json(mut openapi: OpenApi, base: &str) -> String {
    add_common_parts(&mut openapi);
    if !base.is_empty() {
        openapi.servers = Some(vec![Server::new(base)]);
    }
    let mut text = openapi
        .to_pretty_json()
        .expect("the document has string keys only");
    text.push('\n');
    text
}

/// Adds the parts common to all routes.
fn add_common_parts(openapi: &mut OpenApi) {
    openapi.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
    let components = openapi.components.get_or_insert_default();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("Session token or API token."))
        .build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    for (_, name, about) in COMMON_ERRORS {
        let content = Content::new(Some(RefOr::<Schema>::Ref(Ref::from_schema_name("Problem"))));
        let response = ResponseBuilder::new()
            .description(about)
            .content("application/json", content)
            .build();
        components.responses.insert(name.to_owned(), response.into());
    }
    for (path, item) in &mut openapi.paths.paths {
        let PathItem {
            get,
            post,
            patch,
            delete,
            ..
        } = item;
        for (route, writes) in [(get, false), (post, true), (patch, true), (delete, true)] {
            if let Some(route) = route {
                add_common_errors(path, route, writes);
            }
        }
    }
    merge_flattened(openapi);
    reference_page_items(openapi);
    describe_pairs_as_arrays(openapi);
    add_aliases(openapi);
    mark_optional_bodies(openapi);
}

/// Merges the parts of a struct with flattened fields into one object. Client generators make a type of each part.
fn merge_flattened(openapi: &mut OpenApi) {
    let schemas = openapi
        .components
        .iter_mut()
        .flat_map(|components| components.schemas.values_mut());
    for schema in schemas {
        let RefOr::T(Schema::AllOf(whole)) = schema else {
            continue;
        };
        let mut object = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(whole.description.take())
            .build();
        add_parts(&mut object, std::mem::take(&mut whole.items));
        *schema = Schema::Object(object).into();
    }
}

/// Adds the properties of these parts. A flattened field with a description is a part that has parts.
fn add_parts(object: &mut Object, parts: Vec<RefOr<Schema>>) {
    for part in parts {
        match part {
            RefOr::T(Schema::Object(part)) => {
                object.properties.extend(part.properties);
                object.required.extend(part.required);
            }
            RefOr::T(Schema::AllOf(part)) => add_parts(object, part.items),
            _ => {}
        }
    }
}

/// Marks bodies as optional if all their fields are.
fn mark_optional_bodies(openapi: &mut OpenApi) {
    let schemas = openapi
        .components
        .iter()
        .flat_map(|components| &components.schemas);
    let optional = schemas
        .filter(|(_, schema)| matches!(schema, RefOr::T(Schema::Object(noun)) if noun.required.is_empty()));
    let optional: Vec<RefOr<Schema>> = optional
        .map(|(name, _)| Ref::from_schema_name(name).into())
        .collect();
    for PathItem {
        get,
        post,
        patch,
        delete,
        ..
    } in openapi.paths.paths.values_mut()
    {
        let routes = [get, post, patch, delete].into_iter().flatten();
        for body in routes.filter_map(|route| route.request_body.as_mut()) {
            if let RefOr::T(body) = body
                && body
                    .content
                    .values()
                    .all(|content| matches!(content, RefOr::T(Content { schema: Some(schema), .. }) if optional.contains(schema)))
            {
                body.required = Some(Required::False);
            }
        }
    }
}

/// Describes pairs as arrays of two equal items. Client generators often fail on `prefixItems`.
fn describe_pairs_as_arrays(openapi: &mut OpenApi) {
    let Some(components) = openapi.components.as_mut() else {
        return;
    };
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::Object(noun)) = schema else {
            continue;
        };
        for property in noun.properties.values_mut() {
            if let RefOr::T(Schema::Array(pair)) = property
                && let Some(first) = pair.prefix_items.first().cloned()
            {
                let length = Some(pair.prefix_items.len());
                (pair.items, pair.min_items, pair.max_items) =
                    (ArrayItems::RefOrSchema(Box::new(first.into())), length, length);
                pair.prefix_items.clear();
            }
        }
    }
}

/// Replaces inline page items by references. utoipa inlines them, which duplicates every type in generated
/// clients.
fn reference_page_items(openapi: &mut OpenApi) {
    let Some(components) = openapi.components.as_mut() else {
        return;
    };
    for (name, schema) in &mut components.schemas {
        let Some(noun) = name.strip_prefix("Page_") else {
            continue;
        };
        if let RefOr::T(Schema::Object(page)) = schema
            && let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items")
        {
            items.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(noun).into()));
        }
    }
}

/// Adds `type` as an alias of `network_type`, which utoipa omits.
fn add_aliases(openapi: &mut OpenApi) {
    let about = "Alias of `network_type`; use one of the two.";
    let text = || ObjectBuilder::new().schema_type(Type::String);
    if let Some(RefOr::T(Schema::Object(create))) = openapi
        .components
        .as_mut()
        .and_then(|known| known.schemas.get_mut("ClusterCreate"))
    {
        let name = text()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some(about));
        create.properties.insert("type".to_owned(), name.into());
    }
    if let Some(list) = openapi
        .paths
        .paths
        .get_mut("/api/v1/clusters")
        .and_then(|item| item.get.as_mut())
    {
        let name = ParameterBuilder::new()
            .name("type")
            .parameter_in(ParameterIn::Query)
            .required(Required::False);
        let name = name.description(Some(about)).schema(Some(text())).build();
        list.parameters.get_or_insert_default().push(name.into());
    }
}

/// Adds the common error responses of a route, and the idempotency key.
fn add_common_errors(path: &str, route: &mut Route, writes: bool) {
    if path == "/healthz" {
        return;
    }
    let public = route.security.is_some();
    // The façade stores keys of requests that start something; the others are idempotent.
    let starts = route
        .operation_id
        .as_deref()
        .is_some_and(|id| ["host_create", "lease_apply", "lease_release"].contains(&id));
    let keyed = starts || route.responses.responses.contains_key("202");
    if keyed {
        route
            .parameters
            .get_or_insert_default()
            .push(idempotency_key().into());
    }
    let takes_body = route.request_body.is_some();
    let parameters = route.parameters.iter().flatten();
    let asks =
        parameters.filter(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in != ParameterIn::Path)).count() > 0;
    for (status, name, _) in COMMON_ERRORS {
        let applies = match status {
            // Writing routes also reject an invalid idempotency key.
            "400" => takes_body || asks || (writes && !public),
            "401" => !public,
            "404" => path.contains('{'),
            "413" => takes_body,
            "422" => keyed,
            "429" => !public || takes_body,
            "507" => writes,
            _ => true,
        };
        if applies {
            route
                .responses
                .responses
                .entry(status.to_owned())
                .or_insert_with(|| RefOr::Ref(Ref::from_response_name(name)));
        }
    }
}

fn idempotency_key() -> utoipa::openapi::path::Parameter {
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Key of an idempotent request, valid for 24 hours: 1 to 128 visible ASCII characters.",
        ))
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^[!-~]{1,128}$")),
        ))
        .build()
}
